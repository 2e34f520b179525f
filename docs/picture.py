"""The picture on the first page: photographs with the predictions of models trained on others.

    python docs/picture.py FOLDER docs/images/photographs.jpg

Trains on the photographs of the demo, longer than the demo does, and shows parts of them that the
models were not trained on: the lower rows of the coins, and tiles and a video of the validation
split. Models that FOLDER already holds are not trained again. docs/demo.py names the sources.
"""

import json
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from cvkit.cli import run
from cvkit.output.lettering import text_size, write_text
from demo import PHOTOGRAPHS, write
from demo import main as write_photographs

WIDTH, GAP, LETTERS = 620, 16, 17
"""Of a panel, between panels, and of its title, in pixels."""
COINS, TILES, MOVING = "upper-coins-of-a-photograph", "tiles-of-photographs", "moving-photographs"
TRAININGS = {
    "segment": (COINS, "--format pairs --weights scenes --epochs 40"),
    "detect": (COINS, "--format coco --weights boxes --epochs 40"),
    "instance": (COINS, "--format coco --weights masks --epochs 40"),
    "classify": (TILES, "--weights shapes --epochs 20"),
    "video": (MOVING, "--weights motions --epochs 20"),
}
"""Dataset and flags of each model."""
TITLES = {
    "segment": "cvkit segment: a class per pixel",
    "detect": "cvkit detect: boxes",
    "instance": "cvkit instance: boxes and masks",
    "classify": "cvkit classify: which photograph is this a part of?",
    "video": "cvkit video: how does the piece move?",
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
        inputs: images or videos.
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
    high = text_size("x", LETTERS - 4)[1]
    panel = np.full((side + high + 4, WIDTH, 3), 255, np.uint8)
    for number, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        x = number * (side + 8)
        panel[:side, x : x + side] = cv2.resize(
            picture, (side, side), interpolation=cv2.INTER_CUBIC
        )
        write_text(panel, caption, (x, side + 2), LETTERS - 4)
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
    """Return the first tile of the validation split of some photographs."""
    names = [name for name in PHOTOGRAPHS if name not in ("grass", "gravel", "hubble_deep_field")]
    tiles, paths = folder / TILES / "val", []
    for name in names[:5]:
        paths.append(out / "tiles" / name / f"{name}.png")
        write(paths[-1], cv2.imread(str(tiles / name / "00.png"))[..., ::-1])
    lines = predicted("classify", paths, folder, out / "classify")
    pictures = [cv2.imread(str(path))[..., ::-1] for path in paths]
    words = [caption(line, path) for line, path in zip(lines, paths, strict=True)]
    return titled(TITLES["classify"], row(pictures, words))


def video_panel(folder: Path, out: Path) -> np.ndarray:
    """Return five frames of the first video of the validation split of one motion."""
    path = folder / MOVING / "val" / "right" / "00.mp4"
    (line,) = predicted("video", [path], folder, out / "video")
    video, frames = cv2.VideoCapture(str(path)), []
    while (read := video.read())[0]:
        frames.append(read[1][..., ::-1])
    chosen = [frames[k] for k in np.linspace(0, len(frames) - 1, 5).round().astype(int)]
    return titled(TITLES["video"], row(chosen, [caption(line, path), "", "", "", ""]))


def joined(columns: list[list[np.ndarray]]) -> np.ndarray:
    """Return columns of panels beside each other, on white."""
    stacks = [np.vstack([framed(panel, 0, GAP, GAP) for panel in column]) for column in columns]
    high = max(len(stack) for stack in stacks)
    return np.hstack([framed(stack, 0, high - len(stack), 0) for stack in stacks])


def framed(image: np.ndarray, above: int, below: int, right: int) -> np.ndarray:
    """Return an image with white around it."""
    return np.pad(image, ((above, below), (0, right), (0, 0)), constant_values=255)


def main(arguments: list[str]) -> None:
    """Do what the command line says."""
    if len(arguments) != 2:
        raise SystemExit(__doc__)
    folder, target = map(Path, arguments)
    if not folder.exists():
        write_photographs(["photographs", str(folder)])
    with tempfile.TemporaryDirectory() as place:
        out = Path(place)
        left = [coin_panel("segment", folder, out), tile_panel(folder, out)]
        right = [coin_panel(task, folder, out) for task in ("detect", "instance")]
        sheet = joined([[*left, video_panel(folder, out)], right])
    target.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(target), sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])


if __name__ == "__main__":
    main(sys.argv[1:])
