"""Files of detections: COCO results, YOLO labels, VOC result files, a table."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from cvkit.errors import DataError
from cvkit.output.files import write_csv
from cvkit.storage import machine_errors, write_file, write_json
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
    folder: Path, classes: ClassList, kinds: Sequence[str], ids_from: Path | None
) -> None:
    """Write `results.json` (COCO's format) and other files from `predictions.jsonl`.

    Boxes in `results.json` are x, y, width, height in pixels of the upright image; each entry
    also names its file and its class. Image ids are those of `ids_from`, else the numbers that
    the files are named by, else 1, 2, ...

    Args:
        folder: of the predictions; everything is written into it.
        classes: of the model.
        kinds: further files: `yolo`, `voc`, `csv`.
        ids_from: a COCO file that knows the images.

    Raises:
        DataError: `ids_from` lacks an image.
    """
    lines = list(read_lines(folder))
    ids = _image_ids([line["path"] for line in lines], ids_from)
    write_json(folder / "results.json", list(_coco_rows(lines, ids)), indent=None)
    for kind in kinds:
        {"yolo": _write_yolo, "voc": _write_voc, "csv": _write_table}[kind](folder, lines, classes)


def read_lines(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of `predictions.jsonl`."""
    with open(folder / "predictions.jsonl") as stream:
        yield from map(json.loads, stream)


def _coco_rows(lines: list[dict], ids: dict[str, int]) -> Iterator[dict[str, Any]]:
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


def _image_ids(paths: list[str], ids_from: Path | None) -> dict[str, int]:
    if ids_from is None:
        stems = [PurePosixPath(path).stem for path in paths]
        if len(set(stems)) == len(stems) and all(stem.isdecimal() for stem in stems):
            numbers = [int(stem) for stem in stems]
            if len(set(numbers)) == len(numbers):
                return dict(zip(paths, numbers, strict=True))
        return {path: number for number, path in enumerate(paths, 1)}
    try:
        rows = json.loads(ids_from.read_text())["images"]
        known = {row["file_name"]: row["id"] for row in rows}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"--image-ids {ids_from} is not a COCO file: {error!r}", code="image_ids.syntax"
        ) from error
    names = Counter(PurePosixPath(name).name for name in known)
    known |= {
        PurePosixPath(name).name: id_
        for name, id_ in list(known.items())
        if names[PurePosixPath(name).name] == 1
    }
    found = {path: known.get(path, known.get(PurePosixPath(path).name)) for path in paths}
    if missing := [path for path, id_ in found.items() if id_ is None]:
        raise DataError(
            f"--image-ids {ids_from} lacks {len(missing)} images, such as {missing[0]}",
            code="image_ids.missing",
        )
    return found


def _write_yolo(folder: Path, lines: list[dict], classes: ClassList) -> None:
    """Write `labels/STEM.txt`: class number from 0, centre and size in shares, score."""
    numbers = {name: number for number, name in enumerate(classes.names)}
    stems = Counter(str(PurePosixPath(line["path"]).with_suffix("")) for line in lines)
    for line in lines:
        width, height = line["width"], line["height"]
        rows = []
        columns = (line["labels"], line["boxes"], line["scores"])
        for label, (x1, y1, x2, y2), score in zip(*columns, strict=True):
            values = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height)
            values += ((x2 - x1) / width, (y2 - y1) / height, score)
            rows.append(f"{numbers[label]} " + " ".join(f"{v:.6f}" for v in values))
        stem = str(PurePosixPath(line["path"]).with_suffix(""))
        name = stem if stems[stem] == 1 else line["path"]
        path = folder / "labels" / f"{name}.txt"
        with machine_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, "".join(f"{row}\n" for row in rows))


def _write_voc(folder: Path, lines: list[dict], classes: ClassList) -> None:
    """Write `voc/comp3_det_test_CLASS.txt`: image, score and 1-based inclusive box."""
    rows: dict[str, list[str]] = {name: [] for name in classes.names}
    for line in lines:
        stem = PurePosixPath(line["path"]).stem
        columns = (line["labels"], line["boxes"], line["scores"])
        for label, (x1, y1, x2, y2), score in zip(*columns, strict=True):
            box = f"{x1 + 1:.6f} {y1 + 1:.6f} {x2:.6f} {y2:.6f}"
            rows[label].append(f"{stem} {score:.8f} {box}\n")
    with machine_errors(folder):
        (folder / "voc").mkdir(exist_ok=True)
    for name, content in rows.items():
        safe = name.replace("/", "_")
        write_file(folder / "voc" / f"comp3_det_test_{safe}.txt", "".join(content))


def _write_table(folder: Path, lines: list[dict], classes: ClassList) -> None:
    """Write `detections.csv`, one row a box."""
    rows = (
        [line["path"], label, category, score, *box]
        for line in lines
        for label, category, score, box in zip(
            line["labels"], line["category_ids"], line["scores"], line["boxes"], strict=True
        )
    )
    header = ["path", "label", "category_id", "score", "x1", "y1", "x2", "y2"]
    write_csv(folder / "detections.csv", header, rows)
