"""What eval and predict share: samples read ahead, batched by size, results in order."""

import contextlib
import itertools
import math
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar, runtime_checkable

import torch

from cvkit.engine.loader import Loaded, load, read_sample, stack
from cvkit.engine.processes import cores
from cvkit.engine.runtime import choose_workers
from cvkit.engine.workers import KeptWorkers, Key
from cvkit.errors import CvkitError
from cvkit.structures import Batch, Failure, Geometry
from cvkit.tasks.contract import Dataset, Measurable, PythonBound

LOOK_AHEAD = 16
"""Batches over which samples of equal size are looked for."""
LOOK_AHEAD_BYTES = 2**28
"""Bytes of pixels that these samples may have together, beyond one batch."""

Placed = tuple[list[int], Batch | Failure]
"""The places of samples in the order of the inputs, and their batch; or of one that failed."""


IN_TURNS = -1
"""Number of workers that means: all cores read, and write, while the network rests."""
FEW_CORES = 8
"""Below this number of cores a network on the CPU and its readers take turns."""


def choose_readers(wanted: int, device: torch.device) -> int:
    """Return the number of threads or processes that read, or `IN_TURNS`; -1 chooses.

    The threads of a network on the CPU wait for each other many times per image. On few cores
    another busy thread makes all of them wait for it, which costs more than what it does meanwhile.
    """
    if wanted >= 0 or device.type != "cpu":
        return choose_workers(wanted, device)
    return IN_TURNS if cores() < FEW_CORES else cores() // 4


@runtime_checkable
class Sequential(Protocol):
    """A dataset that says whether it is cheaper to read it in order, in one process."""

    @property
    def sequential(self) -> bool:
        """Whether threads should read its samples, also where processes are usual."""


UNFORKABLE = ("openvino", "onnxruntime")
"""Packages whose threads a copy of the process lacks: after their import it crashes or hangs."""


def read_ahead(
    dataset: Dataset,
    batches: Sequence[Sequence[Key]],
    workers: int,
    device: torch.device,
    pool: ThreadPoolExecutor | None = None,
    kept: KeptWorkers | None = None,
) -> contextlib.closing[Loaded]:
    """Return what `load` does, read by threads where they are as fast as processes.

    Decoders release Python's lock, so beside a network on the CPU, which leaves few cores to
    them, threads read as fast as processes do, and need no copy and no shared memory. What is
    mostly Python, and what feeds a GPU, is read by processes, where copying this one is safe.
    Each process would decode a video anew, so frames are read by threads.

    Args:
        dataset: of the samples.
        batches: their keys.
        workers: threads or processes; 0: samples are read when they are asked for; or `IN_TURNS`.
        device: of the network.
        pool: threads that read in turns; what they were given before comes first.
        kept: keeps processes for the next pass.
    """
    if workers == IN_TURNS:
        return contextlib.closing(_read_in_turns(dataset, batches, pool))
    python = isinstance(dataset, PythonBound) and dataset.python_bound
    copies = not any(name in sys.modules for name in UNFORKABLE)
    sequential = isinstance(dataset, Sequential) and dataset.sequential
    if workers == 0 or (not sequential and (device.type == "cuda" or (python and copies))):
        return load(dataset, batches, workers, kept)
    return contextlib.closing(_read_in_threads(dataset, batches, workers))


def _read_in_turns(
    dataset: Dataset, batches: Sequence[Sequence[Key]], pool: ThreadPoolExecutor | None
) -> Loaded:
    """Yield the samples of one batch after the other; nothing is read while the caller has them."""
    with contextlib.ExitStack() as ending:
        pool = pool or ending.enter_context(ThreadPoolExecutor(cores(), "decode"))
        for keys in batches:
            jobs = [pool.submit(_read, dataset, key) for key in keys]
            try:
                yield [item for job in jobs for item in job.result()]
            finally:
                for job in jobs:
                    job.cancel()  # where one of them raised an error


def _read_in_threads(dataset: Dataset, batches: Sequence[Sequence[Key]], workers: int) -> Loaded:
    """Yield samples one by one; the next batch is read while the caller uses the last one."""
    keys = [key for batch in batches for key in batch]
    ahead = max(map(len, batches), default=0) + workers
    waiting: deque[Future[list[Batch | Failure]]] = deque()
    pool = ThreadPoolExecutor(workers, "decode")
    try:
        for key in keys:
            waiting.append(pool.submit(_read, dataset, key))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _read(dataset: Dataset, key: Key) -> list[Batch | Failure]:
    """Return a sample as a batch of its own, or why there is none."""
    return stack([read_sample(dataset, key)])


@dataclass(frozen=True)
class _Waiting:
    """A sample that waits for others of its size.

    Attributes:
        place: in the order of the inputs.
        before: bytes of all samples before it.
        batch: of the sample alone; None if it could not be read, or is yet to be.
    """

    place: int
    before: int
    batch: Batch | None


@dataclass
class _Buckets:
    """Samples that wait for others of their size; the size that waits longest is first."""

    batch_size: int
    waiting: dict[tuple[int, int], list[_Waiting]] = field(default_factory=dict)
    place: int = 0
    size: int = 0

    def add(
        self, size_hw: tuple[int, int], size: int, batch: Batch | None
    ) -> Iterator[list[_Waiting]]:
        """Add a sample of a size and a number of bytes; yield the batches that are due."""
        bucket = self.waiting.setdefault(size_hw, [])
        bucket.append(_Waiting(self.place, self.size, batch))
        self.place, self.size = self.place + 1, self.size + size
        if len(bucket) == self.batch_size:
            yield self.waiting.pop(size_hw)
        while self.waiting and self._is_late(next(iter(self.waiting.values()))[0]):
            yield self._first()

    def add_unread(self, geometry: Geometry) -> Iterator[list[_Waiting]]:
        """Add a sample of which only the size is known; yield the batches that are due."""
        height, width = geometry.input_hw
        size = 3 * (height * width + math.prod(geometry.original_hw))
        return self.add(geometry.input_hw, size, None)

    def skip(self) -> None:
        """Leave out a sample without a size."""
        self.place += 1

    def rest(self) -> Iterator[list[_Waiting]]:
        """Yield the batches of what still waits."""
        while self.waiting:
            yield self._first()

    def _first(self) -> list[_Waiting]:
        return self.waiting.pop(next(iter(self.waiting)))

    def _is_late(self, first: _Waiting) -> bool:
        since = self.place - first.place
        many = since > LOOK_AHEAD * self.batch_size or self.size - first.before > LOOK_AHEAD_BYTES
        return many and since > self.batch_size


def by_size(
    loaded: Iterable[Sequence[Batch | Failure]], batch_size: int, dataset: Dataset | None = None
) -> Iterator[Placed]:
    """Yield the samples of `load` in batches of equal size.

    A sample waits for others of its size while `LOOK_AHEAD` batches of samples come, of
    `LOOK_AHEAD_BYTES` at most. The batches follow from the sizes alone, not from how samples
    were read. Samples that all have one size make the batches that they make in order.

    A sample that cannot be read takes no place in a batch, unless the dataset knows its size: then
    the batches are those that `planned` foresees.
    """
    buckets = _Buckets(batch_size)
    for item in (item for items in loaded for item in items):
        if isinstance(item, Failure):
            yield [buckets.place], item
            geometry = geometry_of(dataset, buckets.place)
            due = [] if geometry is None else list(buckets.add_unread(geometry))
            if geometry is None:
                buckets.skip()
            yield from _read_ones(due)
        else:
            for single in _singles(item):
                height, width = _pixels(single).shape[-2:]
                yield from _read_ones(buckets.add((height, width), _bytes(single), single))
    yield from _read_ones(buckets.rest())


def _read_ones(due: Iterable[Sequence[_Waiting]]) -> Iterator[Placed]:
    """Yield the batches of those samples that could be read."""
    for bucket in due:
        read = [(each.place, each.batch) for each in bucket if each.batch is not None]
        if read:
            yield _joined(read)


def geometry_of(dataset: object, index: int) -> Geometry | None:
    """Return the size of a sample without reading it; None if it is not known."""
    if isinstance(dataset, Measurable):
        try:
            return dataset.geometry(index)
        except CvkitError:  # it is reported when the sample is read
            return None
    return None


def planned(geometries: Sequence[Geometry | None], batch_size: int) -> list[list[int]]:
    """Return the places in each of the batches that `by_size` makes, before anything is read.

    Args:
        geometries: of the samples; None for those whose size is not known, which are alone.
        batch_size: samples of a batch.
    """
    buckets = _Buckets(batch_size)
    batches: list[list[int]] = []
    for place, geometry in enumerate(geometries):
        if geometry is None:
            batches.append([place])
            buckets.skip()
        else:
            batches += ([each.place for each in b] for b in buckets.add_unread(geometry))
    return batches + [[each.place for each in bucket] for bucket in buckets.rest()]


def as_planned(
    loaded: Iterable[Sequence[Batch | Failure]], batches: Sequence[Sequence[int]]
) -> Iterator[Placed]:
    """Yield the samples of `load`, read in the order of planned batches, in these batches.

    Samples that turn out to differ in size are predicted apart.
    """
    items = (single for part in loaded for item in part for single in _each(item))
    for places in batches:
        groups: dict[tuple[int, ...], list[tuple[int, Batch]]] = {}
        for place, item in zip(places, items, strict=False):
            if isinstance(item, Failure):
                yield [place], item
            else:
                shape = tuple(_pixels(item).shape[1:])
                groups.setdefault(shape, []).append((place, item))
        yield from map(_joined, groups.values())


def _each(item: Batch | Failure) -> Iterator[Batch | Failure]:
    return iter([item]) if isinstance(item, Failure) else _singles(item)


def one_by_one(
    loaded: Iterable[Sequence[Batch | Failure]], places: Iterable[int] | None = None
) -> Iterator[Placed]:
    """Yield the batches of `load` as they are; the places default to 0, 1, 2, ..."""
    remaining = iter(itertools.count() if places is None else places)
    for item in (item for items in loaded for item in items):
        count = 1 if isinstance(item, Failure) else len(item)
        yield list(itertools.islice(remaining, count)), item


def _singles(batch: Batch) -> Iterator[Batch]:
    """Yield each sample of a batch as one of its own."""
    for n, sample in enumerate(batch.samples):
        masks, labels = (t if t is None else t[n : n + 1] for t in (batch.masks, batch.labels))
        yield Batch(_pixels(batch)[n : n + 1], masks, (sample,), labels)


def _pixels(batch: Batch) -> torch.Tensor:
    assert isinstance(batch.images, torch.Tensor), "only training lists images of several sizes"
    return batch.images


def _joined(bucket: Sequence[tuple[int, Batch]]) -> Placed:
    """Return samples of one size, and their places, as one batch."""
    batches, places = [batch for _, batch in bucket], [place for place, _ in bucket]
    if len(batches) == 1:
        return places, batches[0]
    nhwc = torch.cat([_pixels(batch).movedim(1, -1) for batch in batches])
    masks = [batch.masks for batch in batches if batch.masks is not None]
    labels = [batch.labels for batch in batches if batch.labels is not None]
    return places, Batch(
        nhwc.movedim(-1, 1),
        torch.cat(masks) if masks else None,
        tuple(sample for batch in batches for sample in batch.samples),
        torch.cat(labels) if labels else None,
    )


def _bytes(single: Batch) -> int:
    """Return the bytes of a sample's pixels, those of the image that it was made from too."""
    geometry = single.samples[0].geometry
    height, width = geometry.original_hw if geometry else (0, 0)
    return _pixels(single).nbytes + 3 * height * width


Value = TypeVar("Value")


class InOrder(Generic[Value]):
    """Values that come with their places in any order, and leave in order.

    Args:
        places: of all values, in order; 0, 1, 2, ... by default.
    """

    def __init__(self, places: Iterable[int] | None = None) -> None:
        self._places = iter(itertools.count() if places is None else places)
        self._next = next(self._places, None)
        self._early: dict[int, Value] = {}

    def is_past(self, place: int) -> bool:
        """Return whether all values up to a place have left."""
        return self._next is None or self._next > place

    def put(self, place: int, value: Value) -> None:
        """Add a value."""
        self._early[place] = value

    def take(self, ready: Callable[[Value], bool] = lambda value: True) -> Iterator[Value]:
        """Yield, and forget, the values whose turn it is, up to the first that is not ready."""
        return (value for _, value in self.take_placed(ready))

    def take_placed(
        self, ready: Callable[[Value], bool] = lambda value: True
    ) -> Iterator[tuple[int, Value]]:
        """Yield, and forget, places and values as `take` does."""
        while (place := self._next) is not None and place in self._early:
            if not ready(self._early[place]):
                return
            self._next = next(self._places, None)
            yield place, self._early.pop(place)

    def __len__(self) -> int:
        return len(self._early)
