"""Removing the results of an earlier prediction from a folder."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cvkit.storage import machine_errors

FILES = (
    *("contact_sheet.png", "videos.jsonl", "predictions.csv", "timeline.csv", "areas.csv"),
    *("instances.csv", "detections.csv", "results.json", "coco.json", "data.yaml", "cvat.xml"),
    *("labelstudio.xml", "labelstudio.json"),
)
"""Files about all results; the journal's are replaced by it."""
NAMED = {
    "labels": ".txt",
    "voc/Annotations": ".xml",
    "labelme": ".json",
    "geojson": ".geojson",
    "timelines": ".png",
}
"""Folders of files that have the names of inputs, and their suffixes."""
TOLD = ("mask", "overlay", "sorted", "features", "timeline", "video")
"""Members of lines that are paths of files."""


def clear(folder: Path) -> None:
    """Remove what an earlier prediction has written; other files in the folder stay.

    Args:
        folder: of results, if it has a `predict.json`.

    Raises:
        MachineError: a file cannot be removed.
    """
    if not (folder / "predict.json").is_file():
        return
    used = {folder / name for name in ("voc", *NAMED)}
    with machine_errors(folder):
        for path in [*_told(folder), *(folder / name for name in FILES)]:
            if path.is_symlink() or not path.is_dir():
                path.unlink(missing_ok=True)
            used |= {place for place in path.parents if place.is_relative_to(folder)}
        for path in (folder / "voc").glob("comp3_det_test_*.txt"):
            path.unlink()
        for place in sorted(used - {folder}, reverse=True):
            if place.is_dir() and not any(place.iterdir()):
                place.rmdir()


def _told(folder: Path) -> Iterator[Path]:
    """Yield the paths of the files of single inputs."""
    for line in (line for name in ("predictions", "videos") for line in _lines(folder, name)):
        found = [line[name] for name in TOLD if name in line]
        if isinstance(name := line.get("name"), str):
            found += [f"{place}/{name}{suffix}" for place, suffix in NAMED.items()]
        for path in found:
            inner = isinstance(path, str) and "\0" not in path and ".." not in Path(path).parts
            if inner and not os.path.isabs(path):
                yield folder / path


def _lines(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    """Yield the lines of all files of a kind, also of those of single processes."""
    for path in folder.glob(f"{name}*.jsonl"):
        with path.open("rb") as stream:
            for text in stream:
                try:
                    line = json.loads(text)
                except ValueError:
                    continue  # cut off by a kill, or not a line of results: it names no file
                if isinstance(line, dict):
                    yield line
