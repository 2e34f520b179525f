"""Photographs for `make demo`, as datasets, and the joining of its contact sheets.

    python docs/demo.py photographs FOLDER
    python docs/demo.py sheets FOLDER

The photographs come with scikit-image and scikit-learn; nothing is downloaded. Their documentation
states: astronaut and hubble_deep_field (NASA) and rocket (SpaceX) are in the public domain; brick,
grass and gravel (CC0Textures), chelsea (Stefan van der Walt) and coffee (Rachel Michetti) are CC0;
coins (Brooklyn Museum) has no known copyright restrictions; china and flower are CC BY 2.0 by
danielbuechele and vultilion on Flickr.
"""

import functools
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import skimage.data
from scipy import ndimage
from skimage import filters, measure, segmentation
from sklearn.datasets import load_sample_image

from cvkit.catalog import TASKS

PHOTOGRAPHS = ("astronaut", "brick", "chelsea", "coffee", "grass", "gravel", "hubble_deep_field")
PHOTOGRAPHS += ("rocket", "china", "flower")
TILE = 64
"""Side of what a photograph is cut into for classification, in pixels."""
COIN_ROWS = 165
"""Rows of the photograph of coins that are trained on; it has 303."""


@functools.cache
def photograph(name: str) -> np.ndarray:
    """Return a photograph, HWC RGB uint8."""
    own = name in ("china", "flower")
    image = load_sample_image(f"{name}.jpg") if own else getattr(skimage.data, name)()
    return image if image.ndim == 3 else np.stack([image] * 3, -1)


def write(path: Path, image: np.ndarray) -> None:
    """Write an RGB image or a map as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), image[..., ::-1] if image.ndim == 3 else image):
        raise SystemExit(f"cannot write {path}")


def write_tiles(folder: Path) -> None:
    """Cut photographs into tiles; which photograph is it? A quarter of the tiles is for val."""
    rng = np.random.default_rng(0)
    for name in PHOTOGRAPHS:
        image = photograph(name)
        factor = 512 / min(image.shape[:2])
        image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        corners = [
            (y, x)
            for y in range(0, image.shape[0] - TILE + 1, TILE)
            for x in range(0, image.shape[1] - TILE + 1, TILE)
        ]
        chosen = rng.permutation(len(corners))[:32]
        for number, place in enumerate(chosen.tolist()):
            y, x = corners[place]
            split = "val" if number < 8 else "train"
            write(folder / split / name / f"{number:02d}.png", image[y : y + TILE, x : x + TILE])


def coins() -> tuple[np.ndarray, np.ndarray]:
    """Return the photograph of coins, and a map of their numbers that a watershed made."""
    image = skimage.data.coins()
    sure = np.where(image < 30, 1, np.where(image > 150, 2, 0))
    found = ndimage.binary_fill_holes(segmentation.watershed(filters.sobel(image), sure) == 2)
    numbers = measure.label(found)
    small = [each.label for each in measure.regionprops(numbers) if each.area < 300]
    numbers[np.isin(numbers, small)] = 0
    return np.stack([image] * 3, -1), numbers


def cuts(height: int, width: int) -> Iterator[tuple[str, int, int, int, int]]:
    """Yield split, y, x, height and width of the parts of the photograph of coins."""
    rng = np.random.default_rng(0)
    side = 128
    for _ in range(32):
        yield "train", *rng.integers(0, (COIN_ROWS - side, width - side)).tolist(), side, side
    for x in range(0, width - side + 1, side):
        yield "val", height - side, x, side, side


def write_coins(folder: Path) -> None:
    """Write parts of the photograph of coins for segment (masks/) and detect (annotations/)."""
    image, numbers = coins()
    rows: dict[str, dict] = {
        split: {"images": [], "annotations": [], "categories": [{"id": 1, "name": "coin"}]}
        for split in ("train", "val")
    }
    for index, (split, y, x, high, wide) in enumerate(cuts(*numbers.shape)):
        part, name = numbers[y : y + high, x : x + wide], f"coins{index:02d}.png"
        write(folder / "images" / split / name, image[y : y + high, x : x + wide])
        write(folder / "masks" / split / name, (part > 0).astype(np.uint8))
        own = rows[split]
        number = len(own["images"]) + 1
        own["images"].append({"id": number, "file_name": name, "height": high, "width": wide})
        for label in np.unique(part[part > 0]).tolist():
            mask = part == label
            if mask.sum() >= 100:
                own["annotations"].append(annotation(mask, number, len(own["annotations"]) + 1))
    (folder / "classes.txt").write_text("background 0 0 0\ncoin 230 160 0\n")
    (folder / "annotations").mkdir()
    for split, own in rows.items():
        (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(own))


def annotation(mask: np.ndarray, image: int, number: int) -> dict:
    """Return an object in COCO's form, with uncompressed run lengths down the columns."""
    y, x = np.nonzero(mask)
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat, prepend=False))
    counts = np.diff([0, *edges.tolist(), len(flat)]).tolist()
    low = int(x.min()), int(y.min())
    return {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": [*low, int(x.max()) + 1 - low[0], int(y.max()) + 1 - low[1]],
        "area": int(mask.sum()),
        "segmentation": {"size": list(mask.shape), "counts": counts},
    }


MOTIONS = ("down", "grows", "left", "right", "shrinks", "spins", "up")


def moving(name: str, rng: np.random.Generator, count: int = 16, side: int = 64) -> np.ndarray:
    """Return [T, H, W, 3] frames in which a piece of one photograph moves over another one."""
    ground, piece = (photograph(PHOTOGRAPHS[k]) for k in rng.permutation(len(PHOTOGRAPHS))[:2])
    ground = cv2.resize(ground, (side, side), interpolation=cv2.INTER_AREA)
    cut = min(piece.shape[:2]) // 2
    y, x = (int(rng.integers(0, length - cut)) for length in piece.shape[:2])
    piece = cv2.resize(piece[y : y + cut, x : x + cut], (side, side), interpolation=cv2.INTER_AREA)
    ways = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
    way = np.array(ways.get(name, (0, 0)))
    radius, angle, off = rng.uniform(8, 13), rng.uniform(0, 360), rng.uniform(-6, 6, 2)
    off[np.flatnonzero(way)] = 0
    frames = []
    for step in np.linspace(-1, 1, count):
        factor = (radius + {"grows": 5, "shrinks": -5}.get(name, 0) * step) * 2 / side
        turned = angle + (80 * step if name == "spins" else 0)
        turn = cv2.getRotationMatrix2D((side / 2, side / 2), turned, factor)
        turn[:, 2] += 15 * step * way + off
        shown = cv2.warpAffine(piece, turn, (side, side), flags=cv2.INTER_AREA)
        inside = cv2.warpAffine(np.full((side, side), 255, np.uint8), turn, (side, side))
        frames.append(np.where(inside[..., None] > 127, shown, ground))
    return np.stack(frames)


def write_motions(folder: Path) -> None:
    """Write videos of photographs in motion: SPLIT/CLASS/NAME.mp4."""
    for kind, name in enumerate(MOTIONS):
        for number in range(12):
            path = folder / ("val" if number < 2 else "train") / name / f"{number:02d}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 12, (64, 64))
            for frame in moving(name, np.random.default_rng((kind, number))):
                video.write(np.ascontiguousarray(frame[..., ::-1]))
            video.release()


def join(sheet: Path, parts: list[Path]) -> None:
    """Write contact sheets below each other as one."""
    images = [cv2.imread(str(part)) for part in parts]  # None if it cannot be read
    for part, image in zip(parts, images, strict=True):
        if image is None:
            raise SystemExit(f"{part} is no image")
    width = max(image.shape[1] for image in images)
    wide = [
        cv2.copyMakeBorder(i, 0, 0, 0, width - i.shape[1], cv2.BORDER_CONSTANT, value=(255,) * 3)
        for i in images
    ]
    write(sheet, np.vstack(wide)[..., ::-1])
    for part in parts:  # it is in the joined one
        part.unlink()


def main(arguments: list[str]) -> None:
    """Do what the command line says."""
    if len(arguments) == 2 and arguments[0] == "photographs":
        folder = Path(arguments[1])
        write_tiles(folder / "tiles-of-photographs")
        write_coins(folder / "upper-coins-of-a-photograph")
        write_motions(folder / "moving-photographs")
    elif len(arguments) == 2 and arguments[0] == "sheets":
        for task in TASKS:
            kinds = [Path(arguments[1], kind, task) for kind in ("scenes", "photographs")]
            join(
                Path(arguments[1], "sheets", f"{task}.png"),
                [folder / "contact_sheet.png" for folder in kinds],
            )
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
