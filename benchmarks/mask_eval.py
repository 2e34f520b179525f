"""mIoU of label masks on all cores: a plain loop, the reading alone, and what `segment eval` calls.

The loop reads with OpenCV and counts with numpy; all legs must count the same pixels.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from pairs import Line, alternate, compared, main
from PIL import Image

from cvkit.console import Reporter
from cvkit.options.segment import SegmentEval
from cvkit.scoring import segment

CLASSES, SIZE, COUNT = 21, (375, 500), 100


def write(folder: Path) -> None:
    """Write truths with discs of classes, their edges without a label, and shifted predictions."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    for kind in ("truth", "found"):
        (folder / kind).mkdir()
    for number in range(COUNT):
        labels = np.zeros(SIZE, np.uint8)
        for label in rng.integers(1, CLASSES, 5):
            row, column, radius = rng.random(3) * [*SIZE, SIZE[0] / 3]
            labels[(y - row) ** 2 + (x - column) ** 2 < radius**2] = label
        edges = labels != np.roll(labels, 2, 0)
        Image.fromarray(np.roll(labels, 3, 1)).save(folder / "found" / f"{number:03}.png")
        Image.fromarray(np.where(edges, 255, labels).astype(np.uint8)).save(
            folder / "truth" / f"{number:03}.png"
        )
    names = "\n".join(f"class{number}" for number in range(CLASSES))
    (folder / "truth" / "classes.txt").write_text(names)


def read(folder: Path) -> Iterator[list[np.ndarray]]:
    """Yield the truth and the prediction of each image."""
    for path in sorted((folder / "truth").glob("*.png")):
        files = (path, folder / "found" / path.name)
        yield [np.asarray(cv2.imread(str(file), cv2.IMREAD_UNCHANGED)) for file in files]


def loop(folder: Path) -> np.ndarray:
    """Return the [K, K] matrix as most programs count it."""
    matrix = np.zeros((CLASSES, CLASSES), np.int64)
    for truth, found in read(folder):
        known = truth != 255
        pairs = truth[known].astype(np.int64) * CLASSES + found[known]
        matrix += np.bincount(pairs, minlength=CLASSES**2).reshape(CLASSES, CLASSES)
    return matrix


def measure(rounds: int) -> Iterator[Line]:
    """Yield cvkit's and the reading's ratio to the loop."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write(folder)
        options = SegmentEval(predictions=folder / "found", truth=folder / "truth")

        def ours() -> np.ndarray:
            return segment.score(options, Reporter(quiet=True)).metric.matrix

        assert (ours() == loop(folder)).all()
        legs = {
            "cv2.imread + numpy.bincount": lambda: loop(folder),
            "reading alone": lambda: list(read(folder)),
            "cvkit": ours,
        }
        yield from compared(
            f"mIoU of {COUNT} masks", alternate(legs, rounds), "cv2.imread + numpy.bincount"
        )


if __name__ == "__main__":
    main(measure)
