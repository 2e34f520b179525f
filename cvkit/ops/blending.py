"""The label map of an image from the class probabilities of overlapping tiles."""

import numpy as np
import torch
from torch import Tensor

from cvkit.ops.tiling import Grid


class Blend:
    """Means of the class probabilities of tiles, weighted by `blend_weights`, and their maxima.

    Only what later tiles still add to is kept: K x (overlap x side) x W probabilities.

    Args:
        grid: of the image.
        kept: keep the probability of each pixel's class; its mean is known of each class anyway.

    Attributes:
        labels: HW uint8; the lowest class index wins a tie.
        confidence: HW float16; None if it is not kept.
        pixels: [K] number of pixels of each class.
        sums: [K] float64 of the probabilities of these pixels.
    """

    def __init__(self, grid: Grid, *, kept: bool) -> None:
        self.grid, self.count = grid, 0
        self.labels = np.zeros(grid.size_hw, np.uint8)
        self.confidence = np.zeros(grid.size_hw, np.float16) if kept else None
        self.pixels: np.ndarray = np.zeros(0, np.int64)
        self.sums: np.ndarray = np.zeros(0)
        self._above: Tensor | None = None
        self._below: Tensor | None = None
        self._beside: Tensor | None = None
        self._weights = [torch.from_numpy(each) for each in grid.weights()]

    def add(self, scores: Tensor) -> None:
        """Add the [K, h, w] probabilities of the next tile, in the order of `Grid.tiles`."""
        ys, xs, (height, width) = self.grid.ys, self.grid.xs, self.grid.tile_hw
        row, column = divmod(self.count, len(xs))
        y, x = ys[row], xs[column]
        down = ys[row + 1] - y if row + 1 < len(ys) else height
        right = xs[column + 1] - x if column + 1 < len(xs) else width
        if column == 0:
            self._above, self._beside = self._below, None
            shape = (len(scores), height - down, self.grid.size_hw[1])
            self._below = scores.new_zeros(shape, dtype=torch.float32)
        assert self._below is not None, "the first tile of a row makes it"
        rows, columns = (
            weights[place].to(scores.device)
            for weights, place in zip(self._weights, (row, column), strict=True)
        )
        total = scores.float() * (rows[:, None] * columns)  # [K, h, w]
        if self._beside is not None:
            total[:, :, : self._beside.shape[2]] += self._beside
        if self._above is not None:
            total[:, : self._above.shape[1], :right] += self._above[:, :, x : x + right]
        self._below[:, :, x : x + right] = total[:, down:, :right]
        self._beside = total[:, :, right:].clone()
        self._finish(total[:, :down, :right], y, x)
        self.count += 1

    def _finish(self, scores: Tensor, y: int, x: int) -> None:
        """Store the classes of pixels to which no further tile adds."""
        best, label = scores.max(0)
        values, labels = best.cpu().numpy(), label.to(torch.uint8).cpu().numpy()
        place = slice(y, y + labels.shape[0]), slice(x, x + labels.shape[1])
        self.labels[place] = labels
        if self.confidence is not None:
            self.confidence[place] = values
        flat, classes = labels.ravel(), len(scores)
        pixels = np.bincount(flat, minlength=classes)
        sums = np.bincount(flat, values.ravel().astype(float), minlength=classes)
        self.pixels = pixels if self.count == 0 else self.pixels + pixels
        self.sums = sums if self.count == 0 else self.sums + sums
