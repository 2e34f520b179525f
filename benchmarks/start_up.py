"""Start-up: commands against scripts that only import what they need.

python benchmarks/start_up.py [--rounds N] [--json]
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pairs import SIZES, Leg, Line, alternate, compared, main, make_photos


def process(*words: str) -> Leg:
    """Return a leg that runs Python."""
    return lambda: subprocess.run([sys.executable, *words], capture_output=True, check=True)


def measure(rounds: int) -> Iterator[Line]:
    """Yield the lines of all commands."""
    for command in (("--help",), ("segment", "train", "--help")):
        what = f"cvkit {' '.join(command)}"
        bare = process("-c", "import typer, rich")
        seconds = alternate(
            {"import typer, rich": bare, what: process("-m", "cvkit", *command)}, rounds
        )
        yield from compared(f"start-up of {what}", seconds, "import typer, rich")
    with tempfile.TemporaryDirectory() as folder:
        (photo,) = make_photos(Path(folder, "photos"), 1, SIZES[:1])
        more = ("--weights", "shapes", "--out", str(Path(folder, "out")), "--overwrite")
        legs = {
            "import torch, torchvision": process("-c", "import torch, torchvision"),
            "cvkit classify predict": process(
                "-m", "cvkit", "classify", "predict", str(photo), *more
            ),
        }
        what = "start-up of cvkit classify predict one.jpg --weights shapes"
        goals = {"cvkit classify predict": round(1 / 1.15, 2)}
        seconds = alternate(legs, rounds)
        yield from compared(what, seconds, "import torch, torchvision", goals=goals)


if __name__ == "__main__":
    main(measure)
