"""Write a model and a run as this version does, for the tests of the versions to come.

    python tests/versions/make.py

Run it once when a version is released. What earlier versions wrote is never written anew.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cvkit

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
FLAGS = (
    *(
        "--arch",
        "linear",
        "--image-size",
        "16",
        "--epochs",
        "2",
        "--batch-size",
        "5",
        "--ema",
        "0.9",
    ),
    *(
        "--workers",
        "0",
        "--device",
        "cpu",
        "--precision",
        "fp32",
        "--augment",
        "none",
        "--optimizer",
        "sgd",
    ),
    *("--keep-states", "--quiet"),
)
KEPT = ("best.safetensors", "last.safetensors", "config.yaml", "metrics.jsonl", "environment.json")
"""Files of a run; pictures are left out."""


def main() -> None:
    """Train, and keep the run folder."""
    place = FOLDER / cvkit.__version__
    if place.exists():
        sys.exit(f"{place} exists")
    out = FOLDER / "out"
    command = [sys.executable, "-m", "cvkit", "classify", "train", "--data", "samples/classify"]
    subprocess.run(
        [*command, *FLAGS, "--out", str(out.relative_to(ROOT))],
        cwd=ROOT,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )
    (run,) = out.iterdir()
    place.mkdir()
    for name in KEPT:
        shutil.copy(run / name, place)
    newest = max((run / "ckpt").glob("step-*"))
    shutil.copytree(newest, place / "ckpt" / newest.name)
    shutil.copy(run / "ckpt" / "last", place / "ckpt")
    shutil.rmtree(out)


if __name__ == "__main__":
    main()
