"""What a trained network runs on: as `--engine` says, or the fastest on this machine."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from cvkit.engine.loader import in_order, load
from cvkit.engine.runtime import processor
from cvkit.errors import CvkitError
from cvkit.models.engines import (
    TIMED,
    available,
    require_available,
    run_as_it_is,
    run_on,
    usual_engine,
)
from cvkit.models.parts import Parts
from cvkit.storage import cache_folder, cache_trouble, write_json
from cvkit.structures import Batch
from cvkit.tasks.contract import Dataset
from cvkit.tasks.trained import Trained
from cvkit.texts import read_json

MANY = 100_000_000
"""Pixels of all images from which on timing engines takes less than the fastest one saves."""
RUNS = 3
"""Timed passes over a batch per engine; the fastest counts."""


Choice = tuple[str, Mapping[str, float] | None]
"""An engine, and the seconds per batch of each if they were measured."""


@dataclass(frozen=True)
class Engine:
    """What a trained network runs on.

    Attributes:
        wanted: name of the engine.
        parts: that run on it; None for the network's own layers.
        seconds: per batch, of each engine that was timed; empty if none was.
    """

    wanted: str
    parts: Parts | None = None
    seconds: Mapping[str, float] | None = None

    @property
    def name(self) -> str:
        """The engine that was used, when the work is done."""
        return self.parts.used if self.parts else self.wanted

    @property
    def notes(self) -> list[str]:
        """What is to be reported when the work is done."""
        if self.parts is None:
            return []
        rejected = ", ".join(self.parts.rejected)
        if rejected:
            return [
                f"--engine {self.wanted}: the results of {rejected} differed, so their own layers "
                "were used"
            ]
        if not self.parts.replaced and self.parts.called:
            return [f"--engine {self.wanted}: no part of the network could be converted"]
        return []


def _alone(make: Callable[[], Choice]) -> Choice:
    return make()


def use_engine(
    wanted: str,
    trained: Trained,
    data: Dataset | None,
    batch_size: int,
    share: Callable[[Callable[[], Choice]], Choice] = _alone,
) -> Engine:
    """Let a trained network run on an engine.

    In a long job on a CPU, auto is the fastest engine for the model, its precision and the size of
    the first batch. It is found once per machine and stored in the user's cache. In a shorter job
    the choice depends on the number of samples alone.

    Args:
        wanted: `--engine`.
        trained: its network is changed in place.
        data: the inputs; None if they are not known yet.
        batch_size: samples per batch.
        share: returns what the first of several processes chooses.

    Raises:
        UsageError: the engine is not available.
    """
    if trained.runtime:  # an exported file
        return Engine(trained.runtime)
    device, precision = trained.fabric.device, trained.precision
    require_available(wanted, precision, device)
    if wanted != "auto":
        return Engine(wanted, run_on(wanted, trained.model, precision))
    samples = 0 if data is None else len(data)
    name, seconds = usual_engine(precision, device, samples), None
    if data is not None and name != "eager":
        usual = name
        name, seconds = share(lambda: _fastest(usual, trained, data, batch_size))
    return Engine(name, run_on(name, trained.model, precision), seconds)


def _fastest(usual: str, trained: Trained, data: Dataset, batch_size: int) -> Choice:
    """Return the engine to use, and the seconds per batch of each if they were measured now."""
    names = [name for name in TIMED if available(name, trained.precision, trained.fabric.device)]
    batch = _first_batch(data, batch_size)
    if batch is None or len(data) * _pixels(batch) < MANY or cache_trouble("engines"):
        return usual, None  # without a cache the choice could differ from one run to the next
    stored = cache_folder("engines") / f"{_key(trained, batch)}.json"
    if (known := _known(stored)) in names:
        return str(known), None
    seconds = {name: _seconds(name, trained, batch) for name in names}
    fastest = min(seconds, key=seconds.__getitem__)
    write_json(stored, {"engine": fastest, "seconds_per_batch": seconds})
    return fastest, seconds


def _first_batch(data: Dataset, batch_size: int) -> Batch | None:
    """Return the first samples of a dataset that have one size; None if none can be read."""
    keys = in_order(min(len(data), batch_size), batch_size)
    with load(data, keys, workers=0) as loaded:
        found = [item for items in loaded for item in items if isinstance(item, Batch)]
    return max(found, key=len, default=None)


def _pixels(batch: Batch) -> int:
    """Return the pixels of a sample, those of all frames of a clip."""
    assert isinstance(batch.images, torch.Tensor), "only training lists images of several sizes"
    return batch.images[0, 0].numel()


@torch.inference_mode()
def _seconds(name: str, trained: Trained, batch: Batch) -> float:
    """Return the seconds that an engine takes for a batch, building it not counted."""
    model, fabric = trained.model, trained.fabric
    run_on(name, model, trained.precision)
    taken = []
    try:
        for _ in range(1 + RUNS):
            start = time.perf_counter()
            with fabric.autocast():
                trained.task.predict(model, batch.to(fabric.device))
            taken.append(time.perf_counter() - start)
    finally:
        run_as_it_is(model)
    return min(taken[1:])


def _key(trained: Trained, batch: Batch) -> str:
    """Return a name for what the fastest engine depends on."""
    facts = {
        "cpu": processor(),
        "threads": torch.get_num_threads(),
        "versions": {name: _version(name) for name in ("torch", "openvino")},
        "model": trained.header["sha256"],
        "precision": trained.precision,
        "samples": len(batch),
        "pixels": _pixels(batch),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _known(stored: Path) -> object:
    """Return the engine that a file of the cache names; None if there is none."""
    try:
        content = read_json(stored) if stored.is_file() else None
    except CvkitError:  # damaged: it is measured again
        return None
    return content.get("engine") if isinstance(content, dict) else None
