"""Which networks learn motion: accuracy of each on clips in which no single frame tells it.

Trains every network from scratch with the same flags and prints a table, also of single classes.

    python benchmarks/video_time.py [DATA] [EPOCHS] [ARCH ...]

DATA is a dataset of videos, or `samples` (the built-in clips). An entry of ARCH may carry flags, as
in "late-fusion --fusion concat".
"""

import json
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ARCHS = (
    "single-frame",
    "late-fusion",
    "late-fusion --fusion concat",
    "early-fusion",
    "slow-fusion",
    "cnn-lstm",
    "r3d-small",
)
SHARED = ("--frames", "8", "--stride", "2", "--sampling", "clip", "--quiet", "--json")


def main() -> None:
    """Train and measure each network."""
    data = sys.argv[1] if len(sys.argv) > 1 else "samples"
    epochs = sys.argv[2] if len(sys.argv) > 2 else "30"
    for arch in sys.argv[3:] or ARCHS:
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            run = cvkit(
                *("train", "--data", data, "--epochs", epochs, "--out", folder),
                *("--arch", *shlex.split(arch), *SHARED),
            )["run"]
            minutes = (time.perf_counter() - start) / 60
            found = cvkit("eval", "--weights", run, "--data", data, "--no-files", "--json")
        recall = ", ".join(
            f"{name} {row['recall'] or 0:.2f}" for name, row in found["per_class"].items()
        )
        accuracy = found["metrics"]["video_top1"]
        print(f"| {arch} | {accuracy:.3f} | {recall} | {minutes:.1f} min |", flush=True)


def cvkit(*arguments: str) -> dict:
    """Return what a command prints as JSON."""
    command = [sys.executable, "-m", "cvkit", "video", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path.cwd())
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
