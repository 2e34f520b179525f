"""Large images in tiles: the flags, and the tiles of an image as batches."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from cvkit import catalog
from cvkit.data.windows import ReadTile, Windows
from cvkit.engine.loader import stack
from cvkit.errors import DataError, UsageError
from cvkit.ops.tiling import Grid, Tile, grid_of
from cvkit.options.base import Eval, Predict
from cvkit.options.tiling import Tiled
from cvkit.structures import Batch, Failure, Geometry, Sample
from cvkit.tasks.common import parse_image_size, required

SIDES = 32, 8192
"""Possible sides of a tile."""
LONGEST = 4096
"""Maximum longer side of the overlay of an image that was predicted in tiles."""

R = TypeVar("R")


@dataclass(frozen=True)
class Tiling:
    """How large images are predicted in tiles.

    Attributes:
        tile_hw: size of a tile.
        overlap: of neighbours, as a fraction of their side.
        batch_size: tiles per forward pass.
    """

    tile_hw: tuple[int, int]
    overlap: float
    batch_size: int = 1

    def grid(self, size_hw: tuple[int, int]) -> Grid:
        """Return the tiles of an image."""
        return grid_of(size_hw, self.tile_hw, self.overlap)

    def rule(self) -> dict[str, object]:
        """Return a description for reports."""
        height, width = self.tile_hw
        return {"tiles": f"{width}x{height}", "overlap": self.overlap}


def tiling_for(options: Tiled, auto_hw: tuple[int, int]) -> Tiling | None:
    """Return what `--tiles` and `--overlap` mean; None for whole images.

    Args:
        options: of eval or predict.
        auto_hw: size of the tiles of `--tiles auto`.

    Raises:
        UsageError: `--tiles` is malformed.
    """
    if not options.tiles:
        return None
    tile_hw = auto_hw if options.tiles == "auto" else _parsed(options.tiles)
    size = options.batch_size if isinstance(options, Eval | Predict) else 1
    return Tiling(tile_hw, options.overlap, size)


def _parsed(text: str) -> tuple[int, int]:
    try:
        width, height = parse_image_size(text, *SIDES)
    except UsageError as error:
        near = catalog.closest(text, ("auto",))
        low, high = SIDES
        raise UsageError(
            f"--tiles {text!r} is neither auto, a side in pixels nor WIDTHxHEIGHT",
            code="tiles.syntax",
            hint="did you mean auto?"
            if near
            else f"such as auto, 512 or 640x480, with sides from {low} to {high}",
        ) from error
    return height, width


def windows_of_sample(sample: Sample) -> Windows | None:
    """Return the windows of a sample that is read in tiles; None for one that is in memory."""
    return sample.windows if isinstance(sample.windows, Windows) else None


def predict_each(
    batch: Batch,
    whole: Callable[[Batch], Sequence[R]],
    tiled: Callable[[Sample, Windows, torch.device], R],
) -> list[R | Failure]:
    """Return the results of a batch, some samples of which may be read in tiles.

    Such a sample that turns out to be unreadable gets a failure in the place of its result.

    Args:
        batch: the samples.
        whole: predicts those that are in memory, together.
        tiled: predicts one that is read in tiles, on a device.
    """
    windows = [windows_of_sample(sample) for sample in batch.samples]
    here = [place for place, each in enumerate(windows) if each is None]
    if len(here) == len(windows):
        return list(whole(batch))
    results: dict[int, R | Failure] = {}
    if here:
        assert isinstance(batch.images, torch.Tensor), "only training lists images of several sizes"
        some = Batch(batch.images[here], None, tuple(batch.samples[place] for place in here))
        results = dict(zip(here, whole(some), strict=True))
    device = batch.images[0].device
    for place, (sample, each) in enumerate(zip(batch.samples, windows, strict=True)):
        if each is not None:
            try:
                results[place] = tiled(sample, each, device)
            except DataError as error:
                results[place] = Failure(sample.path, error.code, str(error))
    return [results[place] for place in range(len(windows))]


def tile_batches(
    read: ReadTile,
    tiles: Sequence[Tile],
    prepare: Callable[[np.ndarray], tuple[np.ndarray, Geometry]],
    batch_size: int,
    device: torch.device,
) -> Iterator[tuple[Sequence[Tile], Batch]]:
    """Yield tiles and their batch, each an image by itself; the next batch is read meanwhile.

    Args:
        read: of the image.
        tiles: all of one size.
        prepare: returns the network input of an image, and its geometry.
        batch_size: tiles of a batch.
        device: of the network.
    """
    groups = [tiles[n : n + batch_size] for n in range(0, len(tiles), batch_size)]

    def load(group: Sequence[Tile]) -> Batch:
        samples = []
        for tile in group:
            image, geometry = prepare(np.ascontiguousarray(read(tile)))
            samples.append(Sample(path="", image=image, geometry=geometry))
        (batch,) = stack(samples)
        assert isinstance(batch, Batch), "no tile is a failure"
        return batch

    with ThreadPoolExecutor(1, "tiles") as pool:
        waiting = pool.submit(load, groups[0])
        for number, group in enumerate(groups):
            batch = waiting.result()
            if number + 1 < len(groups):
                waiting = pool.submit(load, groups[number + 1])
            yield group, batch.to(device)


def picture_for(sample: Sample) -> tuple[np.ndarray, int]:
    """Return the image to draw on, HWC RGB uint8, and the factor by which it is reduced.

    Raises:
        DataError: it cannot be read any more.
    """
    windows = windows_of_sample(sample)
    return (required(sample.original), 1) if windows is None else windows.reduced(LONGEST)
