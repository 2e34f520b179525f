"""The contact sheet of a prediction: some of its results in one picture."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cvkit.data.files import InputFile
from cvkit.data.given import read_picture
from cvkit.data.video_frames import VideoFrame
from cvkit.errors import DataError
from cvkit.output.files import write_rgb
from cvkit.output.records import read_lines
from cvkit.output.sheet import UNREADABLE, Tile, draw_sheet
from cvkit.tasks.marked import Markable
from cvkit.tasks.trained import Trained

SHEET = "contact_sheet.png"


def write_contact_sheet(
    trained: Trained, files: Sequence[InputFile | VideoFrame], folder: Path, count: int
) -> Path | None:
    """Draw results, spaced evenly over the lines of `predictions.jsonl` for the inputs.

    Args:
        trained: what made them.
        files: the inputs.
        folder: of the results.
        count: pictures on the sheet.

    Returns:
        The path of the sheet; None if there is nothing to draw.
    """
    inputs = {file.key: file for file in files}
    total = sum(line["path"] in inputs for line in read_lines(folder))
    chosen = {round(place) for place in np.linspace(0, total - 1, min(count, total)).tolist()}
    tiles = list(_tiles(trained, inputs, folder, chosen))
    if not tiles:
        return None
    title = f"{trained.task.name}: {len(tiles)} of {total} results of {model_words(trained)}"
    write_rgb(folder / SHEET, draw_sheet(title, tiles))
    return folder / SHEET


def _tiles(
    trained: Trained, inputs: dict[str, InputFile | VideoFrame], folder: Path, chosen: set[int]
) -> Iterator[Tile]:
    lines = (line for line in read_lines(folder) if line["path"] in inputs)
    for place, line in enumerate(lines):
        if place not in chosen:
            continue
        try:
            path = inputs[line["path"]].path
            found = trained.task.tile(line, path, folder)
            if found is None and "frame" in line and isinstance(trained.task, Markable):
                mark = trained.task.marker(line["labels"], folder)
                found = mark(read_picture(path), line), ""
        except DataError as error:  # it was moved or replaced in the meantime
            found = UNREADABLE, str(error)
        if found is not None:
            picture, words = found
            yield Tile(picture, (line["path"], words) if words else (line["path"],))


def model_words(trained: Trained) -> str:
    """Return the network of a model and what it was trained on."""
    network: dict[str, Any] = trained.header["network"]
    parts = dict.fromkeys(network[name] for name in ("arch", "backbone") if network.get(name))
    data = (trained.header.get("data") or {}).get("name")
    named = "the built-in synthetic samples" if data == "samples" else data
    return " ".join(parts) + (f", trained on {named}" if named else "")
