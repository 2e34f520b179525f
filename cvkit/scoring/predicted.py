"""Reads the output folder of predict for scoring. Does not import torch."""

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from cvkit.console import Reporter
from cvkit.errors import DataError, UsageError
from cvkit.options.base import Eval
from cvkit.structures import Failure
from cvkit.texts import counted, is_number, is_text, json_reason, read_json, shown, whole_number

LABELS: dict[str, Callable[[Any], bool]] = {
    "mask_map": lambda value: value is None or is_text(value),
    "ignore_index": lambda value: value is None or (type(value) is int and 0 <= value < 256),
    "val_fraction": lambda value: value is None or (is_number(value) and 0 <= value <= 1),
    "test_fraction": lambda value: value is None or (is_number(value) and 0 <= value < 1),
    "group_by": lambda value: value is None or is_text(value),
    "split_seed": lambda value: value is None or (type(value) is int and 0 <= value < 2**63),
}
"""Fields of predict.json about the labels of the training data."""

MISSING = "prediction.missing"
"""Code of a sample without a prediction."""
PARTS = ("masks", "predictions.csv", "predictions.jsonl")
"""Files that mean the whole folder if they are given alone."""


class Malformed(ValueError):
    """A malformed line; the message describes the defect."""


def line_reason(error: Exception) -> str:
    """Return a description of why a line of predictions could not be parsed."""
    if isinstance(error, KeyError):
        return f"it has no {error.args[0]!r}"
    if isinstance(error, RecursionError | json.JSONDecodeError):
        return json_reason(error)
    return str(error) if isinstance(error, Malformed) else "a field has another type or length"


@dataclass(frozen=True)
class Predicted:
    """The content of an output folder of predict.

    Attributes:
        folder: the folder.
        names: of the model's classes in index order; None if the folder does not define them.
        labels: settings of the labels that the model was trained with, such as `mask_map`.
        lines: those of `predictions.jsonl`; each has a `path`.
        failures: inputs that could not be predicted, by path.
    """

    folder: Path
    names: tuple[str, ...] | None
    labels: dict[str, Any]
    lines: list[dict[str, Any]]
    failures: dict[str, Failure]

    @property
    def paths(self) -> list[str]:
        """Paths of all inputs, each once, including failed ones."""
        return list(dict.fromkeys([*(line["path"] for line in self.lines), *self.failures]))

    def names_by_value(self) -> dict[int, str]:
        """Return the class of each value of a mask; without `names`, of the values that occur.

        Raises:
            DataError: the lines are not about masks.
        """
        if self.names is not None:
            return dict(enumerate(self.names))
        try:
            named = {}
            for line in self.lines:
                for value, name in zip(line["category_ids"], line["labels"], strict=True):
                    number = whole_number(value)
                    if number is None or not 0 <= number < 256 or not is_text(name):
                        raise Malformed(
                            "its ids are not numbers up to 255, or its labels are not text"
                        )
                    named[number] = name
            return named
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{self.folder / 'predictions.jsonl'} does not name its classes: "
                f"{line_reason(error)}",
                code="predictions.task",
                hint="run predict again",
            ) from error

    def failure(self, key: str, path: str | None) -> Failure:
        """Return why a truth has no prediction.

        Args:
            key: of the truth.
            path: the matching input, if any.
        """
        found = None if path is None else self.failures.get(path)
        if found is None:
            reason = f"{self.folder} has no prediction for {key}"
            return Failure(key, MISSING, reason)
        return Failure(key, found.code, found.reason)


def require_any(failures: Sequence[Failure], count: int, sample: str) -> None:
    """Check that not all of `count` samples (`image` or `video`) failed.

    Raises:
        DataError: they did.
    """
    if failures and len(failures) == count:
        raise DataError(
            f"none of {counted(count, sample)} could be evaluated: {failures[0].reason}",
            code=failures[0].code,
        )


def tell_unknown(names: Sequence[str], model: Sequence[str] | None, report: Reporter) -> None:
    """Warn of classes of the truth that the model does not know, if its classes are known."""
    unknown = [name for name in names if model is not None and name not in model]
    if unknown:
        shown = ", ".join(unknown[:8]) + (", ..." if len(unknown) > 8 else "")
        count = counted(len(unknown), "class", "classes")
        report.warn(f"the model does not know {count} of the ground truth: {shown}")


def tell_extra(extra: Collection[str], options: Eval, report: Reporter) -> None:
    """Warn of predicted inputs that are not in the truth.

    Raises:
        DataError: `--extra error` forbids them.
    """
    if not extra:
        return
    have = "has" if len(extra) == 1 else "have"
    text = f"{counted(len(extra), 'prediction')} {have} no ground truth, such as {min(extra)}"
    if options.extra == "error":
        raise DataError(
            text, code="prediction.extra", hint="--extra ignore leaves such predictions out"
        )
    report.warn(text)


def require_complete(
    failures: Sequence[Failure], options: Eval, sample: str, *, empties: bool = False
) -> None:
    """Check that `--missing` permits the samples without a prediction.

    Args:
        failures: of the evaluation.
        options: of the command.
        sample: the noun for a sample, in the singular.
        empties: whether a sample of the task can have an empty prediction.

    Raises:
        DataError: `--missing error` forbids them.
        UsageError: `--missing empty` has no meaning for the task.
    """
    if options.missing == "empty" and not empties:
        raise UsageError(
            f"--missing empty: a prediction cannot be empty for {sample}s",
            code="missing.empty",
            hint="use fail or error",
        )
    lost = [each for each in failures if each.code == MISSING]
    if lost and options.missing == "error":
        have = "has" if len(lost) == 1 else "have"
        raise DataError(
            f"{counted(len(lost), sample)} of --truth {have} no prediction, such as {lost[0].path}",
            code=MISSING,
            hint="--missing fail counts such samples as failed",
        )


def predicted_folder(place: Path) -> Path | None:
    """Return the output folder of predict that a path is or refers to; None if there is none."""
    folder = place.parent if place.name in PARTS else place
    wanted = ("predict.json", "predictions.jsonl")
    return folder if all((folder / name).is_file() for name in wanted) else None


def read_predicted(place: Path) -> Predicted | None:
    """Return the content of an output folder of predict; None if the path is not one.

    Args:
        place: the folder, or the file in it that is scored.

    Raises:
        DataError: a line of its files is malformed.
    """
    folder = predicted_folder(place)
    if folder is None:
        return None
    about = _read_about(folder / "predict.json")
    failed = _read_lines(folder / "failures.jsonl") if (folder / "failures.jsonl").exists() else []
    return Predicted(
        folder=folder,
        names=about["classes"],
        labels=about["labels"],
        lines=_read_lines(folder / "predictions.jsonl"),
        failures={
            line["path"]: Failure(line["path"], str(line.get("code")), str(line.get("reason")))
            for line in failed
        },
    )


def read_labels(place: Path) -> dict[str, Any]:
    """Return the predicting model's label settings; empty for files of other programs.

    Raises:
        DataError: the folder of predict is malformed.
    """
    folder = predicted_folder(place)
    return {} if folder is None else _read_about(folder / "predict.json")["labels"]


def made_by(place: Path) -> dict[str, Any]:
    """Return what made predictions, as predict says: `model` (hash), `precision` and `engine`.

    Empty for files of other programs; a value that an older version did not write is missing.

    Raises:
        DataError: the folder of predict is malformed.
    """
    folder = predicted_folder(place) or predicted_folder(place.parent)
    content = read_json(folder / "predict.json") if folder else {}
    known = content if isinstance(content, dict) else {}
    return {n: known[n] for n in ("model", "precision", "engine") if is_text(known.get(n))}


def _read_about(path: Path) -> dict[str, Any]:
    """Return the class names and the label settings of the model, as far as the folder has them."""
    content, reason = None, ""
    try:
        content = read_json(path)
    except DataError as error:
        reason = f": {error}"
    about = content if isinstance(content, dict) else {"labels": None, "classes": 0}
    classes, labels = about.get("classes"), about.get("labels") or {}
    rows = classes if isinstance(classes, list) else []
    names = tuple(row.get("name") for row in rows if isinstance(row, dict))
    fine = classes is None or (len(names) == len(rows) > 0 and all(map(is_text, names)))
    fine &= len(set(map(str, names))) == len(names)
    if (
        not fine
        or not isinstance(labels, dict)
        or not all(fits(labels.get(name)) for name, fits in LABELS.items())
    ):
        raise DataError(
            f"{path} is not as predict writes it{reason}",
            code="predictions.about",
            hint="run predict again, or give results.json itself",
        )
    return {"classes": names or None, "labels": labels}


def _read_lines(path: Path) -> list[dict[str, Any]]:
    lines, seen = [], set()
    with path.open(encoding="utf-8", errors="surrogateescape") as stream:
        for number, text in enumerate(stream, 1):
            try:
                line = json.loads(text, parse_constant=_refuse)
                key = line["path"]
                if not is_text(key) or not PurePosixPath(key).name:
                    raise Malformed(f"its path {shown(key)} is not a path")
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise DataError(
                    f"{path}:{number} is not a line of predictions: {line_reason(error)}",
                    code="predictions.line",
                    hint="complete an interrupted output with predict --resume",
                ) from error
            if key in seen:
                raise DataError(
                    f"{path}:{number} repeats {shown(key)}", code="predictions.duplicate"
                )
            seen.add(key)
            lines.append(line)
    return lines


def _refuse(text: str) -> None:
    raise Malformed(f"{text} is not JSON")
