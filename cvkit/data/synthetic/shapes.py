"""Shapes of the built-in scenes, and the pixels that they cover."""

import math
from dataclasses import dataclass

import numpy as np

SHAPES = ("circle", "square", "triangle", "star", "ring")
KINDS = (*SHAPES, "cross")
"""Kinds of shapes in single-shape images; scenes have no crosses."""


@dataclass(frozen=True)
class Shape:
    """One object of a scene.

    Attributes:
        kind: one of `KINDS`.
        centre_xy: in pixels at time 0.
        velocity_xy: in pixels per frame.
        radius: in pixels.
        angle: in radians.
        color: RGB in [0, 255].
        growth: logarithm of the factor of the radius per frame.
        spin: in radians per frame.
    """

    kind: str
    centre_xy: tuple[float, float]
    velocity_xy: tuple[float, float]
    radius: float
    angle: float
    color: tuple[float, float, float]
    growth: float = 0.0
    spin: float = 0.0

    def covers(self, size_hw: tuple[int, int], frame: float = 0.0) -> np.ndarray:
        """Return HW bool: which pixel centres are inside the shape at a time."""
        y, x = np.mgrid[: size_hw[0], : size_hw[1]] + 0.5
        radius = self.radius * math.exp(self.growth * frame)
        x = (x - self.centre_xy[0] - frame * self.velocity_xy[0]) / radius
        y = (y - self.centre_xy[1] - frame * self.velocity_xy[1]) / radius
        angle = self.angle + self.spin * frame
        cos, sin = math.cos(angle), math.sin(angle)
        return _INSIDE[self.kind](cos * x + sin * y, cos * y - sin * x)


def _inside_polygon(x: np.ndarray, y: np.ndarray, corners: int) -> np.ndarray:
    """Return which points are in the regular polygon whose corners have distance 1."""
    sector = 2 * math.pi / corners
    angle = np.mod(np.arctan2(y, x), sector) - sector / 2
    return np.hypot(x, y) * np.cos(angle) < math.cos(sector / 2)


def _inside_star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return which points are in a five-pointed star with inner radius 0.45."""
    sector, inner = 2 * math.pi / 5, 0.45
    angle = np.abs(np.mod(np.arctan2(y, x) + sector / 2, sector) - sector / 2)
    px, py = np.hypot(x, y) * np.cos(angle), np.hypot(x, y) * np.sin(angle)
    # Inside the line from the tip (1, 0) to the inner corner at half a sector.
    cx, cy = inner * math.cos(sector / 2), inner * math.sin(sector / 2)
    return (px - 1) * cy - py * (cx - 1) < 0


_INSIDE = {
    "circle": lambda x, y: np.hypot(x, y) < 1,
    "square": lambda x, y: np.maximum(np.abs(x), np.abs(y)) < math.sqrt(0.5),
    "triangle": lambda x, y: _inside_polygon(x, y, 3),
    "star": _inside_star,
    "ring": lambda x, y: np.abs(np.hypot(x, y) - 0.775) < 0.225,
    "cross": lambda x, y: (
        (np.minimum(np.abs(x), np.abs(y)) < 0.28) & (np.maximum(np.abs(x), np.abs(y)) < 0.9)
    ),
}
