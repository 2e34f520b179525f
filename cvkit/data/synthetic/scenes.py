"""Built-in synthetic scenes: textured backgrounds with shapes, and exact labels.

A scene is a list of shapes that move on straight lines over a fixed background. Rendering it at a
time gives the image and, per pixel, the visible shape; class masks, boxes, instance masks and clips
are all derived from that map. Everything is a function of the seed and is computed at pixel centres
with numpy, so labels are exact.

Colours are random around a typical hue for each kind of shape, on pale backgrounds, so that a small
network learns the set within minutes on a CPU.
"""

import colorsys
import math
from dataclasses import dataclass

import numpy as np

from cvkit.data.synthetic.shapes import KINDS, SHAPES, Shape

CLASSES = ("background", *SHAPES)
ANGULAR = ("square", "triangle", "star", "cross")
"""Shapes that look different when they rotate, for clips."""
MOTIONS = ("left", "right", "up", "down", "grows", "shrinks", "spins")


@dataclass(frozen=True)
class Frame:
    """A rendered scene: HWC RGB uint8 image, and HW int16 index of the visible shape or -1."""

    image: np.ndarray
    visible: np.ndarray


@dataclass(frozen=True)
class Scene:
    """Shapes over a background; later shapes cover earlier ones."""

    shapes: tuple[Shape, ...]
    background: np.ndarray
    noise_seed: int

    def render(self, frame: int = 0) -> Frame:
        """Return the scene at a time, in frames."""
        size_hw = self.background.shape[:2]
        image = self.background.copy()
        visible = np.full(size_hw, -1, np.int16)
        for index, shape in enumerate(self.shapes):
            covered = shape.covers(size_hw, frame)
            visible[covered] = index
            shade = 0.85 + 0.3 * (np.mgrid[: size_hw[0]][:, None] / size_hw[0])
            image[covered] = (np.array(shape.color) * shade[..., None]).repeat(size_hw[1], 1)[
                covered
            ]
        rng = np.random.Generator(np.random.Philox(key=[self.noise_seed, frame]))
        image = image + rng.normal(0, 6, image.shape)
        return Frame(np.clip(np.rint(image), 0, 255).astype(np.uint8), visible)

    def class_mask(self, frame: Frame) -> np.ndarray:
        """Return the HW uint8 class index of each pixel; 0 is background."""
        table = np.array([0, *(CLASSES.index(shape.kind) for shape in self.shapes)], np.uint8)
        return table[frame.visible + 1]


def make_scene(seed: int, index: int, size_hw: tuple[int, int] = (128, 128)) -> Scene:
    """Return scene number `index` of a seed: 1 to 6 shapes, each at least partly visible."""
    rng = np.random.Generator(np.random.Philox(key=[seed, index]))
    side = min(size_hw)
    shapes = tuple(_random_shape(rng, size_hw, side) for _ in range(int(rng.integers(1, 7))))
    background = _texture(rng, size_hw)
    return Scene(shapes, background, noise_seed=int(rng.integers(2**62)))


def make_single(seed: int, index: int, size_hw: tuple[int, int] = (64, 64)) -> tuple[Scene, str]:
    """Return an image of one shape, completely visible, and its kind; kinds alternate.

    Colours of neighbouring kinds overlap, so that the hue alone does not decide.
    """
    rng = np.random.Generator(np.random.Philox(key=[seed, index]))
    kind = index % len(KINDS)
    height, width = size_hw
    radius = min(size_hw) * rng.uniform(0.25, 0.42)
    shape = Shape(
        kind=KINDS[kind],
        centre_xy=(rng.uniform(radius, width - radius), rng.uniform(radius, height - radius)),
        velocity_xy=(0.0, 0.0),
        radius=radius,
        angle=rng.uniform(0, 2 * math.pi),
        color=_random_color(rng, kind / len(KINDS) + rng.normal(0, 0.08), (0.55, 0.95)),
    )
    return Scene((shape,), _texture(rng, size_hw), int(rng.integers(2**62))), KINDS[kind]


def make_motion(
    seed: int, index: int, size_hw: tuple[int, int] = (64, 64), frames: int = 16
) -> tuple[Scene, str]:
    """Return a scene with one moving shape, and its motion; motions alternate.

    A single frame does not show the motion: the property that one motion changes over the frames
        (horizontal position, vertical position, size, angle) is random and constant in all others.
    """
    rng = np.random.Generator(np.random.Philox(key=[seed, index]))
    motion = MOTIONS[index % len(MOTIONS)]
    height, width = size_hw
    side = min(size_hw)
    span = (frames - 1) / 2
    reach = {"x": 0.2 * side, "y": 0.2 * side, "growth": 0.4}
    still = {name: rng.uniform(-limit, limit) for name, limit in reach.items()}
    axis, sign = {
        "left": ("x", -1),
        "right": ("x", 1),
        "up": ("y", -1),
        "down": ("y", 1),
        "grows": ("growth", 1),
        "shrinks": ("growth", -1),
        "spins": ("", 0),
    }[motion]
    speed = dict.fromkeys(reach, 0.0)
    if axis:
        speed[axis], still[axis] = sign * reach[axis] / span, -sign * reach[axis]
    kind = int(rng.integers(len(ANGULAR)))
    shape = Shape(
        kind=ANGULAR[kind],
        centre_xy=(width / 2 + still["x"], height / 2 + still["y"]),
        velocity_xy=(speed["x"], speed["y"]),
        radius=side * rng.uniform(0.16, 0.2) * math.exp(still["growth"]),
        angle=rng.uniform(0, 2 * math.pi),
        color=_random_color(rng, rng.uniform(0, 1), (0.55, 0.95)),
        growth=speed["growth"],
        spin=float(rng.choice((-1, 1))) * math.pi / 20 if motion == "spins" else 0.0,
    )
    return Scene((shape,), _texture(rng, size_hw), int(rng.integers(2**62))), motion


def _random_shape(rng: np.random.Generator, size_hw: tuple[int, int], side: int) -> Shape:
    height, width = size_hw
    kind = int(rng.integers(len(SHAPES)))
    return Shape(
        kind=SHAPES[kind],
        centre_xy=(rng.uniform(0.1, 0.9) * width, rng.uniform(0.1, 0.9) * height),
        velocity_xy=tuple(rng.uniform(-0.02, 0.02, 2) * side),
        radius=side * math.exp(rng.uniform(math.log(0.1), math.log(0.28))),
        angle=rng.uniform(0, 2 * math.pi),
        color=_random_color(rng, kind / len(SHAPES) + rng.normal(0, 0.06), (0.55, 0.95)),
    )


def _random_color(
    rng: np.random.Generator, hue: float, saturation: tuple[float, float]
) -> tuple[float, float, float]:
    """Return an RGB colour in [0, 255] of a hue (1 is the full circle)."""
    sat, value = rng.uniform(*saturation), rng.uniform(0.45, 0.95)
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, sat, value)
    return 255 * red, 255 * green, 255 * blue


def _texture(rng: np.random.Generator, size_hw: tuple[int, int]) -> np.ndarray:
    """Return HW3 float: two colours mixed by smooth noise, with stripes on top."""
    noise = (_smooth_noise(rng, size_hw, cells) / cells for cells in (3, 6, 12, 24))
    smooth = sum(noise, np.zeros(size_hw))
    smooth = (smooth - smooth.min()) / np.ptp(smooth)  # [H, W] in [0, 1]
    first, second = (np.array(_random_color(rng, rng.uniform(0, 1), (0.0, 0.3))) for _ in range(2))
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    angle, period = rng.uniform(0, math.pi), rng.uniform(6, 24)
    phase = 2 * math.pi * (x * math.cos(angle) + y * math.sin(angle)) / period
    stripes = rng.uniform(0, 18) * np.sin(phase)
    return first + smooth[..., None] * (second - first) + stripes[..., None]


def _smooth_noise(rng: np.random.Generator, size_hw: tuple[int, int], cells: int) -> np.ndarray:
    """Return HW noise, bilinearly interpolated from a grid of random values."""
    grid = rng.normal(size=(cells + 1, cells + 1))
    rows, columns = (np.linspace(0, cells, side, endpoint=False) for side in size_hw)
    top, left = rows.astype(int), columns.astype(int)
    v, u = (rows - top)[:, None], (columns - left)[None]
    upper = grid[top][:, left] * (1 - u) + grid[top][:, left + 1] * u
    lower = grid[top + 1][:, left] * (1 - u) + grid[top + 1][:, left + 1] * u
    return upper * (1 - v) + lower * v
