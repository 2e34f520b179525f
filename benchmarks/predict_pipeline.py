"""The whole of predict (decode, network, results, pictures) against the network alone.

Legs, alternating in one process: the network on batches that lie in memory; predict as the command
runs it, with each number of threads that decode; and, for classify, the loop that a tutorial of
torchvision has. JPEGs of 640x480 (and, after them, of ten sizes) are made on the fly, weights are
random. Medians of the rounds are printed, as images per second and as shares of the network alone,
with the seconds of CPU per image.

    python benchmarks/predict_pipeline.py [ROUNDS [IMAGES [NAME ...]]]
"""

import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from cvkit import catalog
from cvkit.console import Reporter
from cvkit.data.files import InputFile
from cvkit.engine import runtime
from cvkit.engine.checkpoint import save_model
from cvkit.engine.inference import IN_TURNS, by_size, read_ahead
from cvkit.engine.loader import in_order
from cvkit.engine.predict import Journal, predict
from cvkit.options.tree import OPTIONS
from cvkit.tasks.trained import Trained, load_trained

NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet18": ("classify", {"arch": "resnet18", "image_size": "224"}),
    "mobilenet": ("classify", {"arch": "mobilenet_v3_small", "image_size": "224"}),
    "lraspp": (
        "segment",
        {"arch": "lraspp", "backbone": "mobilenet_v3_large", "image_size": "640x480"},
    ),
    "unet": ("segment", {"arch": "unet", "backbone": "resnet18", "image_size": "640x480"}),
    "faster-rcnn": ("detect", {"backbone": "resnet18", "min_size": "480"}),
}
SIZES = [(640, 480), (480, 640), (500, 375), (375, 500), (800, 600)]
SIZES += [(1024, 768), (640, 427), (427, 640), (600, 600), (720, 540)]


def make_photos(folder: Path, count: int, sizes: list[tuple[int, int]]) -> None:
    """Write JPEGs with the smooth areas and the noise of photos."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(count):
        wide, high = sizes[int(rng.integers(len(sizes)))]
        coarse = Image.fromarray(rng.integers(0, 255, (9, 12, 3), np.uint8))
        smooth = np.asarray(coarse.resize((wide, high), Image.Resampling.BICUBIC), int)
        pixels = np.clip(smooth + rng.integers(-9, 9, smooth.shape), 0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index:05d}.jpg", quality=90)


def make_model(name: str, folder: Path) -> Trained:
    """Return a network with random weights as the commands load it."""
    task, flags = NETWORKS[name]
    options = OPTIONS[task]["train"](data="samples", **flags)
    made = catalog.resolve(catalog.TASKS[task]).for_training(options, Reporter(quiet=True))
    save_model(folder / f"{name}.safetensors", made.build().state_dict(), made.header(options))
    weights = str(folder / f"{name}.safetensors")
    return load_trained(weights, OPTIONS[task]["predict"](weights=weights), task)


def legs_of(trained: Trained, folder: Path, out: Path) -> dict[str, Callable[[], None]]:
    """Return what is measured, by name."""
    files = [InputFile(path, path.name) for path in sorted(folder.iterdir())]
    keys = in_order(len(files), 4)
    with read_ahead(trained.task.source(files), keys, 0, trained.fabric.device) as loaded:
        batches = [batch for _, batch in by_size(loaded, 4)]

    def network() -> None:
        with torch.inference_mode(), trained.fabric.autocast():
            for batch in batches:
                trained.task.predict(trained.model, batch)

    def whole(workers: int) -> None:
        journal = Journal(out, resume=False, model="")
        names = {file.key: Path(file.key).stem for file in files}
        stop, quiet = runtime.StopSignal(), {"advance": lambda done, text: None}
        shared = (trained.task, trained.model, files, journal, trained.fabric)
        predict(*shared, names=names, batch_size=4, workers=workers, stop=stop, **quiet)
        journal.close()

    legs = {"network": network} | {f"whole, {n}": lambda n=n: whole(n) for n in (IN_TURNS, 0, 1, 2)}
    if trained.task.name == "classify":
        legs["torchvision"] = lambda: tutorial(trained, files)
    return legs


def tutorial(trained: Trained, files: list[InputFile]) -> None:
    """Classify as a tutorial of torchvision does."""
    from torchvision import models, transforms

    steps = [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()]
    steps += [transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
    transform = transforms.Compose(steps)
    model = getattr(models, trained.task.network.arch)(num_classes=len(trained.task.classes)).eval()
    with torch.inference_mode():
        for first in range(0, len(files), 4):
            images = [Image.open(file.path).convert("RGB") for file in files[first : first + 4]]
            model(torch.stack([transform(image) for image in images])).softmax(1).argmax(1).tolist()


def main() -> None:
    """Print a table for each network and kind of folder."""
    rounds, count = (int(text) for text in (*sys.argv[1:3], "3", "64")[:2])
    names = sys.argv[3:] or list(NETWORKS)
    runtime.keep_memory()
    with tempfile.TemporaryDirectory() as text:
        root = Path(text)
        folders = {"equal": SIZES[:1], "mixed": SIZES}
        for kind, sizes in folders.items():
            make_photos(root / kind, count, sizes)
        for name in names:
            trained = make_model(name, root)
            for kind in folders:
                (root / "out").mkdir()
                legs = legs_of(trained, root / kind, root / "out")
                report(f"{name}, {kind} sizes", legs, rounds, count)
                shutil.rmtree(root / "out")


def report(title: str, legs: dict[str, Callable[[], None]], rounds: int, count: int) -> None:
    """Measure alternating legs, the first round warms up; print the medians."""
    wall: dict[str, list[float]] = {name: [] for name in legs}
    cpu: dict[str, list[float]] = {name: [] for name in legs}
    for _ in range(rounds + 1):
        for name, leg in legs.items():
            start, busy = time.perf_counter(), time.process_time()
            leg()
            wall[name].append(time.perf_counter() - start)
            cpu[name].append(time.process_time() - busy)
    seconds = {name: statistics.median(found[1:]) for name, found in wall.items()}
    for name, found in seconds.items():
        share, busy = seconds["network"] / found, statistics.median(cpu[name][1:]) / count
        print(f"{title:26} {name:12} {count / found:8.1f}/s {share:6.2f} {1000 * busy:8.1f} ms CPU")


if __name__ == "__main__":
    main()
