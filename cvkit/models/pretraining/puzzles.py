"""Pretraining by questions whose answers are known: how was this image changed?"""

import functools
import itertools

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvkit.models.pretraining.base import (
    Body,
    Outcome,
    PretextNetwork,
    PretextSpec,
    scored,
    standardized,
)

ANGLES = 4
"""0, 90, 180 and 270 degrees."""
TILES = 9
"""Three by three."""
TILE_FEATURES = 128
"""Features of each tile that the order is recognised by."""


class Rotation(PretextNetwork):
    """RotNet: all four rotations of each image are classified.

    Source: Unsupervised Representation Learning by Predicting Image Rotations, 2018,
    arXiv:1803.07728.
    """

    def __init__(self, body: Body, spec: PretextSpec) -> None:
        super().__init__()
        self.backbone, self.head = body.net, nn.Linear(body.channels, ANGLES)

    def forward(self, pixels: Tensor) -> Outcome:
        """Return loss and score of N3HW pixels."""
        turned = torch.cat([pixels.rot90(angle, (2, 3)) for angle in range(ANGLES)])  # [4N, ...]
        logits = self.head(self.backbone(standardized(turned))).float()
        target = torch.arange(ANGLES, device=pixels.device).repeat_interleave(len(pixels))
        right = (logits.argmax(1) == target).view(ANGLES, -1).T
        return Outcome(F.cross_entropy(logits, target), scored(right))


def _permutations(count: int) -> np.ndarray:
    """Return all [count!, count] permutations, int8, in lexicographic order."""
    rows = np.zeros((1, 0), np.int8)
    for size in range(1, count + 1):
        parts = [
            np.column_stack([np.full(len(rows), first, np.int8), rows + (rows >= first)])
            for first in range(size)
        ]
        rows = np.concatenate(parts)
    return rows


@functools.cache
def tile_orders(count: int) -> np.ndarray:
    """Return [count, 9] permutations; each one differs from the others in as many places as it can.

    The first is the identity; each further one has the largest distance to the nearest before it,
    the first such in lexicographic order.
    """
    every = _permutations(TILES)  # [9!, 9]
    chosen, distance = [0], np.full(len(every), TILES + 1)
    while len(chosen) < count:
        distance = np.minimum(distance, (every != every[chosen[-1]]).sum(1))
        chosen.append(int(distance.argmax()))
    return every[chosen].astype(np.int64)


def tile_side(image_size: int) -> int:
    """Return the side of a tile: 64 of the 75 pixels of a cell of 225, in proportion."""
    return max(1, round(image_size // 3 * 64 / 75))


class Jigsaw(PretextNetwork):
    """Jigsaw puzzles: the order of nine shuffled tiles is classified.

    Each tile lies at a random place of its cell and is standardised by itself, so that neither
    edges nor colours tell its neighbours.

    Source: Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles, 2016,
    arXiv:1603.09246.
    """

    def __init__(self, body: Body, spec: PretextSpec) -> None:
        super().__init__()
        self.backbone = body.net
        self.tile = nn.Sequential(nn.Linear(body.channels, TILE_FEATURES), nn.ReLU(inplace=True))
        self.head = nn.Linear(TILES * TILE_FEATURES, spec.permutations)
        self.orders: Tensor
        orders = torch.from_numpy(tile_orders(spec.permutations))
        self.register_buffer("orders", orders, persistent=False)

    def forward(self, pixels: Tensor) -> Outcome:
        """Return loss and score of N3HW pixels."""
        tiles = self._tiles(pixels)  # [N, 9, 3, h, w]
        count = len(tiles)
        target = torch.randint(len(self.orders), (count,), device=pixels.device)
        shuffled = tiles[torch.arange(count, device=pixels.device)[:, None], self.orders[target]]
        features = self.tile(self.backbone(shuffled.flatten(0, 1))).view(count, -1)  # [N, 9F]
        logits = self.head(features).float()
        right = (logits.argmax(1) == target)[:, None]
        return Outcome(F.cross_entropy(logits, target), scored(right))

    def _tiles(self, pixels: Tensor) -> Tensor:
        """Return [N, 9, 3, h, w] standardised tiles, at random places in training."""
        cell, side = pixels.shape[-1] // 3, tile_side(pixels.shape[-1])
        room = cell - side
        tiles = []
        for row, column in itertools.product(range(3), range(3)):
            down, right = (
                torch.randint(room + 1, (2,)).tolist() if self.training else (room // 2, room // 2)
            )
            top, left = row * cell + down, column * cell + right
            tiles.append(pixels[..., top : top + side, left : left + side])
        found = torch.stack(tiles, 1)
        mean = found.mean((-3, -2, -1), keepdim=True)
        return (found - mean) / (found.std((-3, -2, -1), keepdim=True) + 1e-3)
