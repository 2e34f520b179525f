"""What cvkit reaches on a GPU, for every task: training, its steps alone, prediction, memory.

Training is measured in its second epoch, with images decoded and augmented as always; "steps" is
the same loop fed with one batch again and again, so their quotient says whether the data keep up.
The dataset is made on the fly: synthetic scenes as JPEG.

    python benchmarks/gpu.py [FILE.json] [TASK ...]
"""

import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import torchvision
from PIL import Image

from cvkit.cli import run
from cvkit.data.synthetic.samples import WRITERS
from cvkit.engine import predict as predict_loop
from cvkit.engine.processes import cores
from cvkit.engine.train import Trainer

CASES: dict[str, tuple[int, tuple[int, int], int, tuple[str, ...]]] = {
    "classify": (1024, (256, 256), 64, ("--arch", "resnet50", "--image-size", "224")),
    "segment": (
        64,
        (480, 640),
        16,
        ("--arch", "deeplab", "--backbone", "resnet50", "--image-size", "512x512"),
    ),
    "detect": (48, (480, 640), 4, ("--arch", "faster-rcnn", "--backbone", "resnet50")),
    "instance": (48, (480, 640), 4, ("--arch", "mask-rcnn", "--backbone", "resnet50")),
    "video": (128, (128, 128), 8, ("--arch", "r3d", "--frames", "16", "--image-size", "112")),
}
"""By task: samples, their height and width, samples per batch, and the network."""


def make(task: str, folder: Path) -> None:
    """Write the samples of a task, their images as JPEG."""
    count, size_hw, *_ = CASES[task]
    WRITERS[task](folder, {"train": count, "val": 16}, 1, size_hw)
    for path in folder.rglob("*.png"):
        if "masks" not in path.parts:
            Image.open(path).convert("RGB").save(path.with_suffix(".jpg"), quality=90)
            path.unlink()
    for path in folder.rglob("*.json"):
        path.write_text(path.read_text().replace('.png"', '.jpg"'))


def command(*words: object) -> None:
    """Run cvkit in this process."""
    code = run([str(word) for word in words])
    if code:
        raise SystemExit(f"cvkit {words[0]} {words[1]} ended with {code}")


class Times:
    """Takes the seconds of the calls of a method or function while it is in a `with`."""

    def __init__(self, place: Any, name: str) -> None:
        self.place, self.name, self.seconds = place, name, list[float]()

    def __enter__(self) -> "Times":
        self.real: Callable[..., Any] = getattr(self.place, self.name)

        def timed(*args: Any, **more: Any) -> Any:
            torch.cuda.synchronize()
            start = time.perf_counter()
            result = self.real(*args, **more)
            torch.cuda.synchronize()
            self.seconds.append(time.perf_counter() - start)
            return result

        setattr(self.place, self.name, timed)
        return self

    def __exit__(self, *_: object) -> None:
        setattr(self.place, self.name, self.real)


def repeated(trainer: Trainer, loaded: Any) -> Iterator[Any]:
    """Yield the first batch again and again."""
    first = next(_batches(trainer, loaded))
    while True:
        yield first


_batches = Trainer._batches


def measure(task: str, precision: str, data: Path, out: Path) -> dict[str, float]:
    """Return the rates of a task, in samples per second, and the peak of memory."""
    count, _, batch, network = CASES[task]
    flags = (task, "train", "--data", data, *network, "--batch-size", batch, "--epochs", 2)
    flags = (*flags, "--precision", precision, "--device", "cuda", "--quiet", "--keep", "last")
    found = {}
    torch.cuda.reset_peak_memory_stats()
    for name, batches in (("train", _batches), ("steps", repeated)):
        Trainer._batches = batches  # type: ignore[assignment,method-assign]  # for this measurement
        with Times(Trainer, "_train_epoch") as times:
            command(*flags, "--out", out / name)
        found[name] = round(count / times.seconds[-1], 1)
    Trainer._batches = _batches  # type: ignore[method-assign]
    found["train / steps"] = round(found["train"] / found["steps"], 3)
    found["train peak MiB"] = round(torch.cuda.max_memory_allocated() / 2**20)
    torch.cuda.reset_peak_memory_stats()
    (model,) = (out / "train").iterdir()
    inputs = data / "images" / "train" if (data / "images" / "train").is_dir() else data / "train"
    with Times(predict_loop, "predict") as times:
        for name in ("first", "second"):
            command(
                *(task, "predict", inputs, "--weights", model, "--precision", precision),
                *("--batch-size", batch, "--device", "cuda", "--quiet", "--out", out / name),
            )
    found["predict"] = round(count / times.seconds[-1], 1)
    found["predict peak MiB"] = round(torch.cuda.max_memory_allocated() / 2**20)
    return found


def main() -> None:
    """Measure the tasks and print, or write, one JSON object."""
    names = sys.argv[1:]
    target = Path(names.pop(0)) if names and names[0].endswith(".json") else None
    result: dict[str, Any] = {
        "device": torch.cuda.get_device_name(),
        "cores": cores(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "unit": "samples per second",
        "tasks": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        places = {task: Path(folder, task) for task in names or CASES}
        with ProcessPoolExecutor(mp_context=get_context("spawn")) as makers:
            made = [makers.submit(make, task, data / "data") for task, data in places.items()]
        for job in made:
            job.result()
        for task, place in places.items():
            for precision in ("fp32", "bf16"):
                found = measure(task, precision, place / "data", place / precision)
                result["tasks"].setdefault(task, {})[precision] = found
                print(task, precision, found, file=sys.stderr, flush=True)
            if target:
                target.write_text(json.dumps(result, indent=1) + "\n")
    if not target:
        print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
