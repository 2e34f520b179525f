"""Files of detections: COCO results, YOLO labels, VOC result files, a table."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from cvkit.output.files import write_csv
from cvkit.output.records import read_lines
from cvkit.storage import machine_errors, whole_file, write_file, write_json_list
from cvkit.structures import ClassList, Instances


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
        "scores": result.scores.astype(float).tolist(),
        "boxes": result.boxes.astype(float).tolist(),
    }


def write_results(
    folder: Path, classes: ClassList, kinds: Sequence[str], ids: Mapping[str, int]
) -> None:
    """Write `results.json` (COCO's format) and other files from `predictions.jsonl`.

    Boxes in `results.json` are x, y, width, height in pixels of the upright image; each entry
    also names its file and its class. One line is in memory at a time.

    Args:
        folder: of the predictions; everything is written into it.
        classes: of the model.
        kinds: further files: `yolo`, `voc`, `csv`.
        ids: of the images, by path.
    """
    write_json_list(folder / "results.json", _coco_rows(read_lines(folder), ids))
    for kind in kinds:
        {"yolo": _write_yolo, "voc": _write_voc, "csv": _write_table}[kind](folder, classes, ids)


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


def _write_yolo(folder: Path, classes: ClassList, paths: Iterable[str]) -> None:
    """Write `labels/STEM.txt`: class number from 0, centre and size in shares, score."""
    numbers = {name: number for number, name in enumerate(classes.names)}
    names = _own_names(paths, lambda path: [str(path.with_suffix(""))])
    for line in read_lines(folder):
        width, height = line["width"], line["height"]
        rows = []
        columns = (line["labels"], line["boxes"], line["scores"])
        for label, (x1, y1, x2, y2), score in zip(*columns, strict=True):
            values = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height)
            values += ((x2 - x1) / width, (y2 - y1) / height, score)
            rows.append(f"{numbers[label]} " + " ".join(f"{v:.6f}" for v in values))
        path = folder / "labels" / f"{names[line['path']]}.txt"
        with machine_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, "".join(f"{row}\n" for row in rows))


def _own_names(
    paths: Iterable[str], spellings: Callable[[PurePosixPath], list[str]]
) -> dict[str, str]:
    """Return for each path its first spelling that no other path may have, else the path."""
    own = {path: [*spellings(PurePosixPath(path)), path] for path in paths}
    counts = Counter(name for names in own.values() for name in set(names))
    return {
        path: next((name for name in names if counts[name] == 1), path)
        for path, names in own.items()
    }


def file_words(names: Sequence[str]) -> tuple[str, ...]:
    """Return names of classes as parts of file names, unique.

    A slash becomes `_`, or `%2F` where that is the name of another class.
    """
    plain = [name.replace("/", "_") for name in names]
    counts = Counter(plain)
    return tuple(
        word if counts[word] == 1 else name.replace("/", "%2F")
        for name, word in zip(names, plain, strict=True)
    )


VOC_FILES_AT_ONCE = 200
"""Of 1024 that a process may usually have open."""


def _write_voc(folder: Path, classes: ClassList, paths: Iterable[str]) -> None:
    """Write `voc/comp3_det_test_CLASS.txt`: image, score and 1-based inclusive box.

    An image is named without its suffix, and where that may be several with its folders.
    """
    names = _own_names(paths, lambda path: [path.stem, str(path.with_suffix(""))])
    with machine_errors(folder):
        (folder / "voc").mkdir(exist_ok=True)
    words = list(zip(classes.names, file_words(classes.names), strict=True))
    for first in range(0, len(words), VOC_FILES_AT_ONCE):
        with contextlib.ExitStack() as files:
            streams = {
                name: files.enter_context(whole_file(folder / "voc" / f"comp3_det_test_{word}.txt"))
                for name, word in words[first : first + VOC_FILES_AT_ONCE]
            }
            for line in read_lines(folder):
                _write_voc_rows(streams, line, names[line["path"]])


def _write_voc_rows(streams: Mapping[str, BinaryIO], line: dict, image: str) -> None:
    columns = (line["labels"], line["boxes"], line["scores"])
    for label, (x1, y1, x2, y2), score in zip(*columns, strict=True):
        if label in streams:
            box = f"{x1 + 1:.6f} {y1 + 1:.6f} {x2:.6f} {y2:.6f}"
            row = f"{image} {score:.8f} {box}\n"
            streams[label].write(row.encode("utf-8", "surrogateescape"))


def _write_table(folder: Path, classes: ClassList, paths: Iterable[str]) -> None:
    """Write `detections.csv`, one row for each box."""
    rows = (
        [line["path"], label, category, score, *box]
        for line in read_lines(folder)
        for label, category, score, box in zip(
            line["labels"], line["category_ids"], line["scores"], line["boxes"], strict=True
        )
    )
    header = ["path", "label", "category_id", "score", "x1", "y1", "x2", "y2"]
    write_csv(folder / "detections.csv", header, rows)
