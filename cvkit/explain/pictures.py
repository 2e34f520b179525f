"""The files of an explanation: the raw map, and the picture; of clips also a video."""

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from cvkit.options.explain import SIGNED
from cvkit.output.files import write_array, write_rgb
from cvkit.output.heat import draw_filmstrip, draw_heat, strength
from cvkit.output.sheet import Tile, draw_sheet
from cvkit.output.videos import write_video
from cvkit.tasks.explainable import Question

FPS = 8.0
"""Frames per second of the videos; the frames of a clip are chosen over all of its time."""


def input_frames(question: Question) -> list[np.ndarray]:
    """Return the input that is explained, as HWC RGB uint8 frames."""
    pixels = (question.pixels[0] * 255).round().clamp(0, 255).byte().cpu().numpy()
    frames = pixels[:, None] if pixels.ndim == 3 else pixels
    return [np.ascontiguousarray(frame) for frame in frames.transpose(1, 2, 3, 0)]


def write_explanation(
    folder: Path, stem: str, method: str, question: Question, found: Tensor, heads: list[Tensor]
) -> dict[str, Any]:
    """Write the files of a map; return their names, relative to the folder.

    Args:
        folder: of the results.
        stem: name of the input's files.
        method: that made the map.
        question: that it answers.
        found: [T, H, W].
        heads: [heads, T, H, W] maps of single heads, if there are any.
    """
    frames, values = input_frames(question), found.numpy().astype(np.float32)
    signed, most = method in SIGNED, strength(found.numpy())
    entry = {"map": f"maps/{method}/{stem}.npy", "picture": f"pictures/{method}/{stem}.png"}
    clip = question.pixels.ndim == 5
    write_array(folder / entry["map"], values if clip else values[0])
    painted = [
        draw_heat(frame, each, signed=signed, most=most)
        for frame, each in zip(frames, values, strict=True)
    ]
    write_rgb(folder / entry["picture"], draw_filmstrip(painted) if clip else painted[0])
    if clip:
        entry["video"] = f"videos/{method}/{stem}.mp4"
        write_video(folder / entry["video"], painted, FPS)
    for maps in heads:
        entry["heads"] = f"heads/{stem}.png"
        middle = len(frames) // 2
        tiles = [
            Tile(draw_heat(frames[middle], each[middle].numpy(), signed=False), (f"head {n}",))
            for n, each in enumerate(maps, 1)
        ]
        write_rgb(folder / entry["heads"], draw_sheet(f"attention of {stem}", tiles))
    return entry
