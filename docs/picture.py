"""The picture on the first page: parts of photographs with what models predict in them.

    python docs/picture.py FOLDER docs/images/photographs.jpg

Trains on the photographs of the demo, longer than the demo does, and shows parts of them that the
models were not trained on: all coins of the validation split, and the first tile in it of every
photograph. Models that FOLDER already holds are not trained again. docs/demo.py names the sources.
"""

import json
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from cvkit.cli import run
from cvkit.output.lettering import fit, text_size, write_text
from demo import PHOTOGRAPHS, write
from demo import main as write_photographs

WIDTH, GAP, LETTERS, CAPTION = 620, 16, 17, 11
"""Of a panel, between panels, of its title and of a caption, in pixels."""
COINS, TILES = "upper-coins-of-a-photograph", "tiles-of-photographs"
TRAININGS = {
    "segment": (COINS, "--format pairs --weights scenes --epochs 40"),
    "detect": (COINS, "--format coco --weights boxes --epochs 40"),
    "instance": (COINS, "--format coco --weights masks --epochs 40"),
    "classify": (TILES, "--weights shapes --epochs 20"),
}
"""Dataset and flags of each model."""
TITLES = {
    "segment": "cvkit segment: a class per pixel",
    "detect": "cvkit detect: boxes",
    "instance": "cvkit instance: boxes and masks",
    "classify": "cvkit classify: which photograph is this a part of?",
}


def call(*arguments: object) -> None:
    """Run a command of cvkit.

    Raises:
        SystemExit: it failed.
    """
    words = list(map(str, arguments))
    if (code := run(words)) != 0:
        raise SystemExit(f"cvkit {' '.join(words)} ended with code {code}")


def model(task: str, folder: Path) -> Path:
    """Return a task's model, trained if it is not there.

    It is that of the last epoch: the best one would be picked on what the picture shows.
    """
    data, flags = TRAININGS[task]
    runs = folder / "runs" / task
    if not list(runs.glob("*/last.safetensors")):
        call(
            task, "train", "--data", folder / data, *flags.split(), "--keep", "last", "--out", runs
        )
    return next(runs.glob("*/last.safetensors"))


def predicted(task: str, inputs: list[Path], folder: Path, out: Path) -> list[dict]:
    """Return the lines of `predictions.jsonl` of inputs, in their order.

    Args:
        task: whose model to use.
        inputs: images.
        folder: of the models.
        out: new folder for the results.
    """
    flags = ["--draw-threshold", 0.8] if task in ("detect", "instance") else []
    flags += ["--weights", model(task, folder), "--out", out, "--quiet"]
    call(task, "predict", *inputs, *flags)
    lines = map(json.loads, (out / "predictions.jsonl").read_text().splitlines())
    found = {Path(line["path"]).name: line for line in lines}
    return [found[path.name] for path in inputs]


def scaled(image: np.ndarray, width: int) -> np.ndarray:
    """Return an image at a width."""
    height = round(image.shape[0] * width / image.shape[1])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def titled(title: str, image: np.ndarray) -> np.ndarray:
    """Return a panel with its title above it."""
    head = np.full((text_size(title, LETTERS)[1] + 8, image.shape[1], 3), 255, np.uint8)
    write_text(head, title, (0, 2), LETTERS)
    return np.vstack([head, image])


def row(pictures: list[np.ndarray], captions: list[str]) -> np.ndarray:
    """Return pictures beside each other, each with a caption, as wide as a panel."""
    side = (WIDTH - (len(pictures) - 1) * 8) // len(pictures)
    high = text_size("x", CAPTION)[1]
    panel = np.full((side + high + 4, WIDTH, 3), 255, np.uint8)
    for number, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        x = number * (side + 8)
        panel[:side, x : x + side] = cv2.resize(
            picture, (side, side), interpolation=cv2.INTER_CUBIC
        )
        write_text(panel, fit(caption, CAPTION, side), (x, side + 2), CAPTION)
    return panel


def caption(line: dict, path: Path) -> str:
    """Return the best class and its score; one that is not the input's folder is marked."""
    right = line["labels"][0] == path.parent.name
    return f"{line['labels'][0]} {line['scores'][0]:.2f}" + ("" if right else " (wrong)")


def coin_panel(task: str, folder: Path, out: Path) -> np.ndarray:
    """Return the coins of the validation split, as a task draws them."""
    paths = sorted((folder / COINS / "images" / "val").glob("*.png"))
    lines = predicted(task, paths, folder, out / task)
    drawn = [cv2.imread(str(out / task / line["overlay"]))[..., ::-1] for line in lines]
    side = (WIDTH - (len(drawn) - 1) * 8) // len(drawn)
    squares = [scaled(image[: image.shape[1]], side) for image in drawn]  # without the legend
    return titled(TITLES[task], row(squares, [""] * len(squares)))


def tile_panel(folder: Path, out: Path) -> np.ndarray:
    """Return the first tile of the validation split of every photograph."""
    paths = []
    for name in PHOTOGRAPHS:
        paths.append(out / "tiles" / name / f"{name}.png")
        write(paths[-1], cv2.imread(str(folder / TILES / "val" / name / "00.png"))[..., ::-1])
    lines = predicted("classify", paths, folder, out / "classify")
    pictures = [cv2.imread(str(path))[..., ::-1] for path in paths]
    words = [caption(line, path) for line, path in zip(lines, paths, strict=True)]
    half = len(paths) // 2
    rows = [row(pictures[:half], words[:half]), row(pictures[half:], words[half:])]
    return titled(TITLES["classify"], np.vstack(rows))


def joined(columns: list[list[np.ndarray]]) -> np.ndarray:
    """Return columns of panels beside each other, on white."""
    stacks = [np.vstack([framed(panel, 0, GAP) for panel in column]) for column in columns]
    high = max(len(stack) for stack in stacks)
    even = [np.pad(s, ((0, high - len(s)), (0, 0), (0, 0)), constant_values=255) for s in stacks]
    return np.hstack(even)


def framed(image: np.ndarray, above: int, beside: int) -> np.ndarray:
    """Return an image with white above it and on both sides."""
    return np.pad(image, ((above, 0), (beside // 2, beside // 2), (0, 0)), constant_values=255)


def main(arguments: list[str]) -> None:
    """Do what the command line says."""
    if len(arguments) != 2:
        raise SystemExit(__doc__)
    folder, target = map(Path, arguments)
    if not folder.exists():
        write_photographs(["photographs", str(folder)])
    with tempfile.TemporaryDirectory() as place:
        out = Path(place)
        coins = {task: coin_panel(task, folder, out) for task in ("segment", "detect", "instance")}
        left = [coins["segment"], tile_panel(folder, out)]
        sheet = framed(joined([left, [coins["detect"], coins["instance"]]]), GAP, GAP)
    target.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(target), sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])


if __name__ == "__main__":
    main(sys.argv[1:])
