"""Files of detections: COCO results, VOC result files, a table."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from cvkit.annotation.label_studio import BOXES, MASKS
from cvkit.output.annotated import detected
from cvkit.output.annotation_files import Results, write_annotations
from cvkit.output.files import write_csv
from cvkit.output.names import class_words
from cvkit.output.records import read_lines
from cvkit.storage import machine_errors, whole_file, write_json_list
from cvkit.structures import ClassList, Failure, Instances
from cvkit.texts import lines_of, shown


def describe_boxes(
    result: Instances, classes: ClassList, size_hw: tuple[int, int]
) -> dict[str, Any]:
    """Return size and objects of an image, best first; boxes are x1, y1, x2, y2 in pixels."""
    places = (result.labels - 1).tolist()
    return {
        "width": size_hw[1],
        "height": size_hw[0],
        "labels": [classes.names[place] for place in places],
        "category_ids": [classes.ids[place] for place in places],
        "scores": result.prediction_scores().astype(float).tolist(),
        "boxes": result.boxes.astype(float).tolist(),
    }


def write_results(
    folder: Path,
    classes: ClassList,
    kinds: Sequence[str],
    ids: Mapping[str, int],
    *,
    masks: bool = False,
) -> list[Failure]:
    """Write `results.json` (COCO's format) and other files from `predictions.jsonl`.

    Boxes in `results.json` are x, y, width, height in pixels of the upright image; each entry
    also names its file and its class. One line is in memory at a time.

    Args:
        folder: of the predictions; everything is written into it.
        classes: of the model.
        kinds: further files, as `--save` names them.
        ids: of the images, by path.
        masks: the objects have masks.

    Returns:
        The images whose own file cannot be written.
    """
    write_json_list(folder / "results.json", _coco_rows(read_lines(folder), ids))
    failures = _write_voc(folder, classes, ids) if "voc" in kinds else []
    if "csv" in kinds:
        _write_table(folder)
    results = Results(
        folder=folder,
        classes=classes,
        read=lambda: (detected(line, classes) for line in read_lines(folder)),
        controls=[MASKS if masks else BOXES],
        ids=ids,
    )
    failures += write_annotations(results, kinds)
    return list({failure.path: failure for failure in failures}.values())


def _coco_rows(lines: Iterable[dict], ids: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    for line in lines:
        masks = line.get("masks", [None] * len(line["boxes"]))
        columns = (line["category_ids"], line["labels"], line["boxes"], line["scores"], masks)
        for category, name, (x1, y1, x2, y2), score, mask in zip(*columns, strict=True):
            row = {
                "image_id": ids[line["path"]],
                "file_name": line["path"],
                "category_id": category,
                "category_name": name,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": score,
            }
            yield row if mask is None else row | {"segmentation": mask}


def _short_names(
    paths: Iterable[str], spellings: Callable[[PurePosixPath], list[str]]
) -> dict[str, str]:
    """Return for each path its first spelling that is unique, else the path."""
    possible = {path: [*spellings(PurePosixPath(path)), path] for path in paths}
    counts = Counter(name for names in possible.values() for name in set(names))
    return {
        path: next((name for name in names if counts[name] == 1), path)
        for path, names in possible.items()
    }


VOC_FILES_AT_ONCE = 200
"""Maximum number of open VOC files; a process may usually have 1024 open files."""


def _write_voc(folder: Path, classes: ClassList, paths: Iterable[str]) -> list[Failure]:
    """Write `voc/comp3_det_test_CLASS.txt`: image, score and 1-based inclusive box.

    An image is named without its suffix, and with its folders if the name is not unique.

    Returns:
        The images whose names a line cannot hold, which are left out.
    """
    names = _short_names(paths, lambda path: [path.stem, str(path.with_suffix(""))])
    unfit = {path: name for path, name in names.items() if not _fits_line(name)}
    with machine_errors(folder):
        (folder / "voc").mkdir(exist_ok=True)
    suffixes = list(zip(classes.names, class_words(classes.names), strict=True))
    for first in range(0, len(suffixes), VOC_FILES_AT_ONCE):
        with contextlib.ExitStack() as files:
            streams = {
                name: files.enter_context(
                    whole_file(folder / "voc" / f"comp3_det_test_{suffix}.txt")
                )
                for name, suffix in suffixes[first : first + VOC_FILES_AT_ONCE]
            }
            for line in read_lines(folder):
                if line["path"] not in unfit:
                    _write_voc_rows(streams, line, names[line["path"]])
    text = "a line of VOC's result files cannot hold the name {} (rename it)"
    return [Failure(path, "voc.name", text.format(shown(name))) for path, name in unfit.items()]


def _fits_line(name: str) -> bool:
    """Return whether a name is read again as the first part of a line."""
    return lines_of(name) == [name.rstrip()]


def _write_voc_rows(streams: Mapping[str, BinaryIO], line: dict, image: str) -> None:
    columns = (line["labels"], line["boxes"], line["scores"])
    for label, (x1, y1, x2, y2), score in zip(*columns, strict=True):
        if label in streams:
            box = f"{x1 + 1:.6f} {y1 + 1:.6f} {x2:.6f} {y2:.6f}"
            row = f"{image} {score:.8f} {box}\n"
            streams[label].write(row.encode("utf-8", "surrogateescape"))


def _write_table(folder: Path) -> None:
    """Write `detections.csv`, one row per box."""
    rows = (
        [line["path"], label, category, score, *box]
        for line in read_lines(folder)
        for label, category, score, box in zip(
            line["labels"], line["category_ids"], line["scores"], line["boxes"], strict=True
        )
    )
    header = ["path", "label", "category_id", "score", "x1", "y1", "x2", "y2"]
    write_csv(folder / "detections.csv", header, rows)
