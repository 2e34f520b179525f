"""A training step of each task: plain PyTorch and cvkit.

Plain is the same network and loss, trained as a tutorial would: fp32, contiguous memory and the C
library's default memory settings. Each leg runs in a process of its own, alternating.

    python benchmarks/train_step.py [--rounds N] [--json]
"""

import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from pairs import Line, compared, main

STEPS, MOST_ROUNDS = 3, 2
"""Steps that are measured, and rounds at most: each leg starts a process."""
BOXES: dict[str, Any] = {"backbone": "resnet18", "min_size": "256", "batch_size": 2}
CASES: dict[str, dict[str, Any]] = {
    "classify": {"arch": "resnet50", "image_size": "160", "batch_size": 8},
    "segment": {"arch": "unet", "backbone": "resnet18", "image_size": "240x176", "batch_size": 8},
    "detect": BOXES,
    "instance": BOXES,
    "video": {"arch": "r3d", "frames": 8, "image_size": "64", "batch_size": 4},
}
LEGS = ("plain fp32", "cvkit fp32", "cvkit bf16")


def step_seconds(task_name: str, leg: str) -> float:
    """Return the median seconds of a step."""
    import torch

    from cvkit import catalog
    from cvkit.console import Reporter
    from cvkit.engine import runtime
    from cvkit.engine.loader import load
    from cvkit.engine.processes import Layout
    from cvkit.options.tree import task_options
    from cvkit.tasks.common import total

    torch.manual_seed(0)
    ours, precision = leg.split()
    if ours == "cvkit":
        runtime.keep_memory()
    options = task_options(task_name, "train")(data="samples", **CASES[task_name])
    kind = catalog.resolve(catalog.TASKS[task_name])
    task = kind.for_training(options, Reporter(quiet=True))
    fabric = runtime.make_fabric(torch.device("cpu"), Layout(), precision)
    order = task.weight_format if ours == "cvkit" else torch.contiguous_format
    model = task.build().train().to(memory_format=order)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    keys = [(index, 0) for index in range(options.batch_size)]
    with load(task.dataset("train", training=True), [keys], 0) as loaded:
        batches = list(itertools.chain.from_iterable(loaded))
    times = []
    for _ in range(STEPS + 1):
        start = time.perf_counter()
        optimizer.zero_grad()
        for batch in batches:
            with fabric.autocast():
                loss = total(task.loss(model, batch))
            loss.backward()
        optimizer.step()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def measure(rounds: int) -> Iterator[Line]:
    """Yield the lines of all tasks."""
    for task in CASES:
        found: dict[str, list[float]] = {leg: [] for leg in LEGS}
        for number in range(min(rounds, MOST_ROUNDS)):
            for leg in LEGS[:: -1 if number % 2 else 1]:
                command = [sys.executable, __file__, "--leg", task, leg]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                found[leg].append(float(done.stdout.splitlines()[-1]))
        goals = dict.fromkeys(LEGS, 2.2)
        yield from compared(f"training step, {task}", found, "plain fp32", goals=goals)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--leg"]:
        print(step_seconds(*sys.argv[2:]))
    else:
        main(measure)
