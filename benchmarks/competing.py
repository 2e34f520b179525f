"""What a network keeps of its throughput beside other work: one busy process per core.

python benchmarks/competing.py [--rounds N] [--json]
"""

import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from networks import Single, our_leg, peer_legs
from pairs import Leg, Line, Skipped, candidates, main, make_model
from torchvision import models

from cvkit.engine.processes import cores
from cvkit.engine.runtime import keep_memory

SHAPE = (8, 3, 224, 224)
BUSY = "import os; start = os.getppid()\nwhile os.getppid() == start: pass"
"""Program that is busy as long as the process that started it lives."""
CALLS = 4
"""Forward passes per measurement."""


@contextlib.contextmanager
def busy() -> Iterator[None]:
    """Keep every core busy with another process inside the block."""
    others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(cores())]
    try:
        time.sleep(0.2)  # until they have begun
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def seconds(leg: Leg) -> float:
    """Return the time of some calls."""
    start = time.perf_counter()
    for _ in range(CALLS):
        leg()
    return time.perf_counter() - start


@torch.inference_mode()
def measure(rounds: int) -> Iterator[Line | Skipped]:
    """Yield a line for each engine and peer."""
    warnings.simplefilter("ignore")  # both runtimes are given traced networks, which is deprecated
    keep_memory()
    what = f"resnet18, 8 images of 224, beside {cores()} busy processes: throughput kept"
    network, images = Single(models.resnet18(weights=None)).eval(), torch.randn(SHAPE)
    legs: dict[str, Leg] = {"torchvision eager fp32": lambda: network(images)}
    for name, leg in peer_legs(network, images):
        if isinstance(leg, Skipped):
            yield Skipped(f"{what}: {name}", leg.why)
        else:
            legs[name] = leg
    with tempfile.TemporaryDirectory() as folder:
        weights = make_model("classify", {"arch": "resnet18", "image_size": "224"}, Path(folder))
        found = [each for each in candidates("classify", weights) if each.trained]
    legs |= {f"cvkit {each.engine} {each.precision}": our_leg(each, images) for each in found}
    kept: dict[str, list[float]] = {name: [] for name in legs}
    for leg in legs.values():
        seconds(leg)
    for _ in range(rounds):
        before = {name: seconds(leg) for name, leg in legs.items()}
        with busy():
            for name, leg in legs.items():
                kept[name].append(before[name] / seconds(leg))
    for name, shares in kept.items():
        goal = 0.45 if name.startswith("cvkit") else None
        middle = statistics.median(shares)
        yield Line(what, name, "itself alone", middle, min(shares), max(shares), goal=goal)


if __name__ == "__main__":
    main(measure)
