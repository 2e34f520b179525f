"""Matching of predicted and true masks, and of their classes. Does not import torch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from cvkit.console import Reporter
from cvkit.data.files import inside, walk_images
from cvkit.data.formats.recognise import detect_format
from cvkit.data.joining import join_names
from cvkit.data.labelled import mask_classes, read_pairs
from cvkit.data.masks import Drawing, MaskMap
from cvkit.dividing import model_division, tell_division
from cvkit.errors import DataError
from cvkit.options.segment import SegmentEval
from cvkit.scoring.contract import Places
from cvkit.scoring.mask_names import joined_without_endings, label_masks
from cvkit.scoring.mask_tables import (
    FORMS,
    predicted_masks,
    read_mask_table,
    true_masks,
    true_size_hw,
)
from cvkit.scoring.predicted import (
    MISSING,
    Malformed,
    Predicted,
    line_reason,
    tell_extra,
    tell_unknown,
)
from cvkit.structures import ClassList, Failure
from cvkit.texts import counted, is_text, shown


@dataclass(frozen=True)
class ScoredPair:
    """A truth and its prediction.

    Attributes:
        key: name of the truth, without suffix.
        prediction: its PNG or its rows, or why there is none.
        mask: of the truth.
        labels: names of the predicted classes, as far as known.
        image: that both are of, if the truth is a dataset.
    """

    key: str
    prediction: Path | Drawing | Failure
    mask: Path | Drawing
    labels: tuple[str, ...] = ()
    image: Path | None = None


def is_table(place: Path) -> bool:
    """Return whether masks are in a table, not in a folder."""
    return place.suffix.lower() == ".csv" and place.is_file()


def require_masks(places: Places) -> None:
    """Check the paths of `--predictions` and `--truth`.

    Raises:
        DataError: one of them is neither a folder nor a table, or there are no predictions.
    """
    for flag, place in (("--predictions", places.predictions), ("--truth", places.truth)):
        if not (place.is_dir() or is_table(place)):
            raise DataError(f"{flag} {place} is not a folder", code="data.missing", hint=FORMS)
    if places.predictions.is_dir() and not any(walk_images(places.predictions)):
        raise DataError(
            f"--predictions {places.predictions} contains no images",
            code="predictions.empty",
            hint=FORMS,
        )


def paired_with_table(options: SegmentEval, places: Places, report: Reporter) -> list[ScoredPair]:
    """Return prediction and truth of each sample of the truth, from a table of run-length codes.

    Raises:
        DataError: no row is of an image of the truth, or lists the malformed rows.
    """
    table = read_mask_table(places.predictions)
    truths = {name: (image, mask) for name, image, mask in _truths(options, places, {}, report)}
    _require_truths(list(truths), places.truth)
    joined = join_names(list(truths), list(table.rows))
    if not joined:
        raise DataError(
            f"no row of {table.path} is of an image of the truth",
            code="predictions.names",
            hint=f"expected for example {next(iter(truths))}",
        )
    tell_extra(table.rows.keys() - set(joined.values()), options, report)
    classes, _ = mask_classes(places.truth, [mask for _, mask in truths.values()])
    sizes = {row: true_size_hw(*truths[name][::-1]) for name, row in joined.items()}
    masks, overlapping = predicted_masks(table, sizes, classes)
    if overlapping:
        report.warn(
            f"rows of different classes overlap in {counted(len(overlapping), 'image')}, such as "
            f"{overlapping[0]}: the row with fewer pixels counts there"
        )
    pairs = []
    for name, (image, mask) in truths.items():
        failure = Failure(name, MISSING, f"{table.path} has no prediction for {name}")
        found = masks[joined[name]] if name in joined else failure
        pairs.append(ScoredPair(name, found, mask, image=image))
    return pairs


def paired_by_name(options: SegmentEval, places: Places, report: Reporter) -> list[ScoredPair]:
    """Return prediction and truth of each sample of the truth, joined by their names.

    Names are equal, else equal without an ending that all names of a side share.
    """
    folders = [places.predictions, places.predictions / options.split]
    truths = {name: (image, mask) for name, image, mask in _truths(options, places, {}, report)}
    _require_truths(list(truths), places.truth)
    found: dict[str, Path] = {}
    for name in truths:
        files = [file for folder in folders if (file := folder / f"{name}.png").is_file()]
        if files:
            found[name] = files[0]
    if not found:
        found = _without_endings(list(truths), places.predictions, report)
    if not found:
        raise DataError(
            f"no file in {places.predictions} has the name of a truth mask",
            code="predictions.names",
            hint=f"expected for example {next(iter(truths))}.png",
        )
    _tell_unused(folders, {file: name for name, file in found.items()}, options, report)
    pairs = []
    for name, (image, mask) in truths.items():
        reason = f"{places.predictions} has no prediction for {name}"
        failure = Failure(name, MISSING, reason)
        pairs.append(ScoredPair(name, found.get(name, failure), mask, image=image))
    return pairs


def _without_endings(truths: Sequence[str], folder: Path, report: Reporter) -> dict[str, Path]:
    """Return the prediction of each truth, by names without the ending that all of a side share."""
    files: dict[str, list[Path]] = {}
    for file in walk_images(folder):
        files.setdefault(file.relative_to(folder).with_suffix("").as_posix(), []).append(file)
    unique = {name: paths[0] for name, paths in files.items() if len(paths) == 1}
    joined = joined_without_endings(truths, list(unique))
    if renamed := {name: other for name, other in joined.items() if name != other}:
        name, other = next(iter(renamed.items()))
        report.say(f"names are joined without their endings: {other} is the prediction for {name}")
    return {name: unique[other] for name, other in joined.items()}


def _tell_unused(
    folders: Sequence[Path], used: dict[Path, str], options: SegmentEval, report: Reporter
) -> None:
    """Warn of predictions that are not compared with a truth.

    Args:
        folders: of the predictions; the second one is in the first and named after the split.
        used: the name of the truth of each prediction that is compared.
        options: of the command.
        report: gets the warnings.
    """
    taken = {name: file for file, name in used.items()}
    extra = []
    for file in walk_images(folders[0]):
        if file in used:
            continue
        names = [
            file.relative_to(folder).with_suffix("").as_posix()
            for folder in folders
            if file.is_relative_to(folder)
        ]
        if name := next((name for name in names if name in taken), None):
            report.warn(f"{name} has several predictions: {taken[name]} is scored, {file} is not")
        else:
            extra.append(file.relative_to(folders[0]).as_posix())
    tell_extra(extra, options, report)


def _require_truths(found: Sequence[object], truth: Path) -> None:
    if not found:
        raise DataError(
            f"--truth {truth} contains neither a dataset nor masks",
            code="truth.empty",
            hint="give a dataset, or a folder of masks",
        )


def paired_with_folder(
    options: SegmentEval, places: Places, predicted: Predicted, report: Reporter
) -> list[ScoredPair]:
    """Return prediction and truth of each sample, joined by the names of the images.

    Raises:
        DataError: no predicted image is in the truth, or a line is malformed.
    """
    truths = list(_truths(options, places, predicted.labels, report))
    _require_truths(truths, places.truth)
    lines = {line["path"]: line for line in predicted.lines}
    names = {name: image.as_posix() for name, image, _ in truths if image is not None}
    if not names:  # masks only, which have other suffixes
        stems = {path: PurePosixPath(path).with_suffix("").as_posix() for path in predicted.paths}
        found = join_names([name for name, _, _ in truths], list(stems.values()))
        paths = {stem: path for path, stem in stems.items()}
        joined = {name: paths[stem] for name, stem in found.items()}
    else:
        files = join_names(list(names.values()), predicted.paths)
        joined = {name: files[place] for name, place in names.items() if place in files}
    if not joined:
        raise DataError(
            f"no image of {predicted.folder / 'predictions.jsonl'} is in the truth",
            code="predictions.names",
            hint=f"expected for example {truths[0][0]}",
        )
    tell_extra(lines.keys() - set(joined.values()), options, report)
    pairs = []
    for name, image, mask in truths:
        path = joined.get(name)
        line = None if path is None else lines.get(path)
        if line is None:
            pairs.append(ScoredPair(name, predicted.failure(name, path), mask))
            continue
        try:
            png, labels = inside(predicted.folder, line["mask"]), tuple(line["labels"])
            if not all(map(is_text, labels)):
                raise Malformed("its labels are not text")
        except (KeyError, TypeError, Malformed) as error:
            raise DataError(
                f"{predicted.folder / 'predictions.jsonl'}: {path} has no mask: "
                f"{line_reason(error)}",
                code="predictions.task",
                hint="it must be the output of predict for the same task",
            ) from error
        pairs.append(ScoredPair(name, png, mask, labels, image))
    return pairs


def renumbered(
    predicted: Predicted, classes: ClassList, pairs: list[ScoredPair], report: Reporter
) -> MaskMap:
    """Return the truth's index of each class of the model, by name.

    Raises:
        DataError: a predicted class is not in the truth.
    """
    for pair in pairs:
        if other := [name for name in pair.labels if name not in classes.names]:
            raise DataError(
                f"{pair.prediction}: class {shown(other[0])} is not in the truth",
                code="classes.differ",
                hint=f"it has {', '.join(classes.names[:8])}",
            )
    tell_unknown(classes.names, predicted.names, report)
    known = predicted.names_by_value().items()
    return MaskMap({v: classes.names.index(name) for v, name in known if name in classes.names})


def _truths(
    options: SegmentEval, places: Places, labels: dict[str, Any], report: Reporter
) -> Iterator[tuple[str, Path | None, Path | Drawing]]:
    """Yield the name (without suffix), the image (of a dataset) and the mask of each truth.

    Args:
        options: of the command.
        places: the truth is a dataset, a folder of masks, or a table of run-length codes.
        labels: the predicting model's description of its labels and their division.
        report: for warnings.
    """
    layout, truth = options.format, places.truth
    if is_table(truth):
        yield from true_masks(truth)
        return
    if layout == "auto":
        try:
            layout = detect_format("masks", truth)
        except DataError:
            for mask in label_masks(list(walk_images(truth)), truth):
                yield mask.relative_to(truth).with_suffix("").as_posix(), None, mask
            return
    division = model_division(options, {"labels": labels})
    parts = read_pairs(truth, layout, [options.split], division)
    tell_division(options, truth, parts.heap, division, parts.splits, report)
    for note in parts.notes:
        report.warn(note)
    for pair in parts.splits[options.split]:
        yield pair.name, pair.image, pair.mask
