"""The gallery of a report: which samples are shown, and their pictures as data."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from cvkit.errors import CvkitError
from cvkit.reporting.contract import Pages, Shown
from cvkit.scoring.contract import Scored

EACH = 6
"""Maximum number of the worst, the best and the random samples, each."""
BUDGET = 1_900_000
"""Bytes of all pictures; in base64 a third more, so that a report stays below 3 MB."""
STEPS = ((720, 84), (640, 72), (480, 62), (360, 50), (240, 40), (160, 30))
"""Longer side in pixels and quality of a picture; the first that fits the budget is used."""
SMALL = 200
"""Pictures with a shorter side below this are enlarged without smoothing."""


@dataclass(frozen=True)
class Picture:
    """A picture as data.

    Attributes:
        title: `truth`, `prediction`, or empty.
        data: URI.
        width: in pixels.
        height: in pixels.
    """

    title: str
    data: str
    width: int
    height: int

    @property
    def small(self) -> bool:
        """Whether its pixels should stay visible when it is enlarged."""
        return min(self.width, self.height) < SMALL


@dataclass(frozen=True)
class Item:
    """A sample of the gallery.

    Attributes:
        path: of the sample.
        quality: larger for better ones; None for undecided ones.
        truth: in words.
        prediction: in words.
        pictures: none if the sample has no image.
        problem: why its image cannot be shown.
    """

    path: str
    quality: float | None
    truth: str
    prediction: str
    pictures: tuple[Picture, ...]
    problem: str


def make_gallery(pages: Pages, scored: Scored[Any, Any]) -> dict[str, list[Item]]:
    """Return the samples of each group that has some: worst, best, random."""
    paths = [path for path, _ in scored.outcomes]
    qualities = pages.qualities()
    groups = choose(paths, qualities)
    count = sum(map(len, groups.values()))
    result: dict[str, list[Item]] = {}
    for group, places in groups.items():
        result[group] = [
            _item(pages, scored, place, qualities[place], BUDGET // (2 * count)) for place in places
        ]
    return result


def choose(paths: Sequence[str], qualities: Sequence[float | None]) -> dict[str, list[int]]:
    """Return the places of the worst, the best and some random samples; no sample is in two groups.

    The random ones are a function of the paths, so that a report can be reproduced.
    """
    pairs = enumerate(qualities)
    decided = sorted((quality, place) for place, quality in pairs if quality is not None)
    half = (len(decided) + 1) // 2
    worst = [place for _, place in decided[: min(EACH, half)]]
    rest = decided[len(worst) :]
    best = [place for _, place in rest[::-1][:EACH]]
    others = sorted({*range(len(paths))} - {*worst, *best}, key=lambda place: _key(paths[place]))
    groups = {"worst": worst, "best": best, "random": others[:EACH]}
    return {name: places for name, places in groups.items() if places}


def _key(path: str) -> bytes:
    return hashlib.sha256(path.encode("utf-8", "surrogateescape")).digest()


def _item(
    pages: Pages, scored: Scored[Any, Any], place: int, quality: float | None, budget: int
) -> Item:
    path, _ = scored.outcomes[place]
    problem = ""
    try:
        scene = scored.scene(path)
    except CvkitError as error:
        scene, problem = None, str(error)
    shown: Shown = pages.show(place, scene)
    pictures = tuple(encode(title, image, budget) for title, image in shown.pictures)
    if not pictures and not problem:
        problem = "no image is known"
    return Item(path, quality, shown.truth, shown.prediction, pictures, problem)


def encode(title: str, image: np.ndarray, budget: int) -> Picture:
    """Return an HWC RGB uint8 image as a picture of at most `budget` bytes, if possible."""
    for side, quality in STEPS:
        factor = min(1.0, side / max(image.shape[:2]))
        size_wh = [max(1, round(factor * length)) for length in image.shape[1::-1]]
        small = image
        if factor < 1:
            small = cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA)
        content = _webp(small, quality)
        if len(content) <= budget:
            break
    return Picture(title, _uri(content), size_wh[0], size_wh[1])


def as_data(image: np.ndarray, quality: int) -> str:
    """Return an HWC RGB uint8 image as a URI."""
    return _uri(_webp(image, quality))


def _webp(image: np.ndarray, quality: int) -> bytes:
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, content = cv2.imencode(".webp", bgr, [cv2.IMWRITE_WEBP_QUALITY, quality])
    return content.tobytes()


def _uri(content: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(content).decode()}"
