"""The files about patches: a line for each, and a contact sheet for each channel."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from cvkit.console import Advance
from cvkit.engine.loader import read_sample, stack
from cvkit.explain.encoding import Encoder
from cvkit.explain.patches import Field, Fields, Strongest
from cvkit.output.files import write_rgb
from cvkit.output.records import write_lines
from cvkit.output.sheet import Tile, draw_sheet
from cvkit.structures import Batch
from cvkit.tasks.contract import Dataset
from cvkit.tasks.explainable import Explainable

MARK = (220, 30, 60)
"""Colour of the frame around a place, where it depends on the whole input."""


def write_patches(
    folder: Path,
    explain: Callable[[nn.Module], Explainable],
    encoder: Encoder,
    data: Dataset,
    channels: Sequence[int],
    found: Strongest,
    advance: Advance,
) -> None:
    """Write `patches.jsonl`, and `patches/channel-N.png` for each channel.

    Args:
        folder: of the results.
        explain: returns a network as explanations see it.
        encoder: the network and its layer.
        data: the inputs.
        channels: of the layer.
        found: where each of them is largest.
        advance: shows the progress.

    Raises:
        MachineError: the disk is full, for example.
    """
    fields: dict[torch.Size, Fields] = {}

    def lines() -> Iterator[dict[str, Any]]:
        for number, channel in enumerate(channels):
            tiles = []
            for rank, index in enumerate(found.inputs[number].tolist()):
                item = stack([read_sample(data, (index, 0))])[0] if index >= 0 else None
                if not isinstance(item, Batch) or isinstance(item.images, list):
                    continue  # there are fewer inputs
                size = item.images.shape
                if size not in fields:
                    fields[size] = Fields(explain, encoder.model, encoder.layer, item)
                frame, row, column = found.places[number, rank].tolist()
                field = fields[size].of(row, column)
                value = float(found.values[number, rank])
                line: dict[str, Any] = {"channel": channel, "rank": rank + 1, "value": value}
                line |= {"path": data.key(index), "place": [frame, row, column]}
                line["box"] = [field.left, field.top, field.right, field.bottom]
                yield line | {"input_hw": list(size[-2:])}
                picture = _picture(item.images[0], frame, fields[size])
                tiles.append(Tile(_part(picture, field, row, column, fields[size]), _words(line)))
            if tiles:
                title = f"channel {channel} of {encoder.layer.name}"
                write_rgb(folder / "patches" / f"channel-{channel}.png", draw_sheet(title, tiles))
            advance(number + 1)

    write_lines(folder / "patches.jsonl", lines())


def _words(line: dict[str, Any]) -> tuple[str, str]:
    return f"{line['value']:.3g}", line["path"]


def _picture(pixels: torch.Tensor, frame: int, fields: Fields) -> np.ndarray:
    """Return what the network sees, HWC RGB uint8; of a clip the frame that a map belongs to."""
    if pixels.ndim == 5:  # CVTHW, of which the view in the middle is used
        pixels = pixels[:, pixels.shape[1] // 2]
    if pixels.ndim == 4:
        frames, count = pixels.shape[1], fields.maps_thw[0]
        pixels = pixels[:, min(frames - 1, int((frame + 0.5) * frames / count))]
    return np.ascontiguousarray(pixels.permute(1, 2, 0).cpu().numpy())


def _part(picture: np.ndarray, field: Field, row: int, column: int, fields: Fields) -> np.ndarray:
    """Return the part of a picture that a place depends on; where it is all, the place is framed.

    Args:
        picture: HWC RGB uint8.
        field: of the place.
        row: of the place.
        column: of the place.
        fields: that it is one of.
    """
    height, width = picture.shape[:2]
    if (field.bottom - field.top, field.right - field.left) != (height, width):
        return np.ascontiguousarray(picture[field.top : field.bottom, field.left : field.right])
    _, high, wide = fields.maps_thw
    left, right = (round(place * width / wide) for place in (column, column + 1))
    top, bottom = (round(place * height / high) for place in (row, row + 1))
    line = max(1, min(height, width) // 100)
    corners = (left, top), (max(left, right - 1), max(top, bottom - 1))
    return cv2.rectangle(picture.copy(), *corners, MARK, line)
