"""What a second process gains: predict, eval and train, against one process.

    python benchmarks/ranks.py [COUNT]

COUNT images of segment's built-in scenes (600 by default) go through each command in one process
with one thread, in one with two threads, and in two processes with one thread each; the time of an
almost empty run is taken off. Needs two cores that are otherwise idle.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WAYS = {"1 x 1 thread": (1, 1), "1 x 2 threads": (1, 2), "2 x 1 thread": (2, 1)}
"""Processes and threads of each."""
REPEATS = 3


def cvkit(threads: int, *arguments: object) -> float:
    """Run a command, and return the seconds that it took."""
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "cvkit", *map(str, arguments)],
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - started


def commands(folder: Path, data: Path) -> dict[str, list[object]]:
    """Return the arguments of each verb."""
    common = ["--device", "cpu", "--precision", "fp32", "--quiet"]
    model = ["--weights", "scenes", *common]
    network = ["--arch", "unet", "--backbone", "resnet18", "--epochs", 1, *common]
    return {
        "predict": [data / "images", *model, "--out", folder / "out", "--overwrite"],
        "eval": ["--data", data, "--split", "train", *model, "--no-files"],
        "train": ["--data", data, *network, "--out", folder / "runs"],
    }


def main() -> None:
    """Print a table of seconds, and of how much faster each way is than the first."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 600
    print("verb     processes        seconds   against 1 x 1 thread")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for size, images in (("full", count), ("empty", 5)):
            cvkit(1, "samples", folder / size, "--count", images, "--size", 256)
        for verb in ("predict", "eval", "train"):
            base = 0.0
            for way, (processes, threads) in WAYS.items():
                seconds = {}
                for size in ("full", "empty"):
                    arguments = commands(folder, folder / size)[verb]
                    times = [
                        cvkit(threads, "segment", verb, *arguments, "--devices", processes)
                        for _ in range(REPEATS)
                    ]
                    seconds[size] = min(times)
                taken = seconds["full"] - seconds["empty"]
                base = base or taken
                print(f"{verb:8} {way:14} {taken:8.1f}   {base / taken:.2f} x", flush=True)


if __name__ == "__main__":
    main()
