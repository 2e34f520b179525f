"""Samples in parallel, in a fixed order, stacked into batches."""

import contextlib
import errno
import multiprocessing
import os
import sys
import threading
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import Any, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader

from cvkit.engine.workers import KeptWorkers, Key, Plan, Running, start_worker
from cvkit.errors import CvkitError, CvkitWarning, DataError
from cvkit.structures import Batch, Classes, Failure, Sample
from cvkit.tasks.contract import Dataset, Ragged

Loaded = Generator[list[Batch | Failure], None, None]
"""For each list of keys its samples, in batches of equal size, and those that failed."""

Collate = Callable[[Sequence[Sample | Failure]], list[Batch | Failure]]
"""`stack` or `gather`."""


class _Keyed(torch.utils.data.Dataset):
    """Reads by key."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __getitem__(self, key: Key) -> Sample | Failure:
        return read_sample(self.dataset, key)


def read_sample(dataset: Dataset, key: Key) -> Sample | Failure:
    """Return a sample; an unusable one is a value, since exceptions do not pickle well."""
    index, seed = key
    try:
        return dataset.read(index, seed)
    except CvkitError as error:
        return Failure(path=dataset.key(index), code=error.code, reason=str(error))


def load(
    dataset: Dataset,
    batches: Sequence[Sequence[Key]],
    workers: int,
    kept: KeptWorkers | None = None,
) -> contextlib.closing[Loaded]:
    """Return, to be used in a `with`, an iterator over the samples of each list of keys.

    Each item holds the samples stacked by size, and those that failed. Samples of a ragged
    dataset stay together in one batch, listed instead of stacked. Neither the order nor the
    content depends on `workers`. Leaving the `with`, by an exception too, ends the workers; after
    the last batch, `kept` keeps them for the next pass.

    Workers hand over batches in shared memory, of which a container may have little: what does not
    fit comes through pipes, and where workers cannot even start, this process reads the samples.
    A `CvkitWarning` reports it.
    """
    return contextlib.closing(_load(dataset, batches, workers, kept))


def _load(
    dataset: Dataset,
    batches: Sequence[Sequence[Key]],
    workers: int,
    kept: KeptWorkers | None = None,
) -> Loaded:
    if not batches:
        return
    workers, kept = min(workers, len(batches)), kept if kept is not None and kept.keeps else None
    try:
        running, iterator = _begin(dataset, batches, workers, kept)
    except OSError as error:
        if error.errno not in NO_SEMAPHORE or not workers:
            raise
        _warn(f"cannot be used ({error.strerror}), so images are decoded in one process")
        running, iterator = _begin(dataset, batches, 0, None)
    complete = False
    try:
        for number, items in enumerate(iterator, 1):
            complete = number == len(batches)  # a caller may stop at the last one
            if any(isinstance(item, _Piped) for item in items):
                _warn("is too small for the batches of the workers, which come through pipes")
            yield [item.batch() if isinstance(item, _Piped) else item for item in items]
    finally:
        del iterator
        if complete and kept is not None and running.workers:
            kept.put(running)
        else:
            running.end()


def _begin(
    dataset: Dataset,
    batches: Sequence[Sequence[Key]],
    workers: int,
    kept: KeptWorkers | None,
) -> tuple[Running, Iterator[list[Any]]]:
    """Return a loader, which may have had another pass, and what it reads in this one."""
    running = None if kept is None else kept.take(dataset, workers)
    try:
        running = running or _start(dataset, workers, kept is not None)
        return running, running.read(batches)
    except BaseException:
        if running is not None:
            running.end()
        raise


NO_SEMAPHORE = (errno.ENOSPC, errno.ENOENT, errno.EACCES, errno.EROFS, errno.ENOSYS)
"""Why a semaphore, which lies in shared memory, cannot be made."""

SHARED_MEMORY = "/dev/shm"


def _warn(what: str) -> None:
    """Warn of what shared memory is not enough for; the same text is shown once."""
    warnings.warn(
        f"shared memory ({SHARED_MEMORY}) {what}, which is slower; more of it, as with docker run "
        "--shm-size=1g, or fewer --workers help",
        CvkitWarning,
        stacklevel=2,
    )


def _start(dataset: Dataset, workers: int, keeps: bool) -> Running:
    """Return a loader of a dataset whose workers start with the first pass."""
    over, plan = None, Plan()
    # The death of a parent is signalled when its thread ends, so only the main thread counts.
    forks = sys.platform == "linux" and multiprocessing.get_start_method() == "fork"
    bound = forks and threading.current_thread() is threading.main_thread()
    if workers:
        multiprocessing.Lock()  # torch's loader would fail halfway where there are none
        over = multiprocessing.RawValue("b", 0)
    collate = gather if isinstance(dataset, Ragged) and dataset.ragged else stack
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create")  # more than cores
        loader = DataLoader(
            _Keyed(dataset),
            batch_sampler=plan,
            num_workers=workers,
            collate_fn=partial(_handed_over, collate) if workers else collate,
            worker_init_fn=partial(start_worker, over, os.getpid() if bound else None),
            persistent_workers=keeps and workers > 0,
        )
    return Running(dataset, loader, plan, over)


@dataclass(frozen=True)
class _Array:
    """A tensor as an array.

    Attributes:
        values: with the axes in the order of memory.
        order: the axes of the tensor in that order.
    """

    values: np.ndarray
    order: list[int]

    @classmethod
    def of(cls, tensor: torch.Tensor) -> "_Array":
        """Return the array of a tensor."""
        order = sorted(range(tensor.dim()), key=tensor.stride, reverse=True)
        return cls(tensor.permute(order).contiguous().numpy(), order)

    def tensor(self) -> torch.Tensor:
        """Return the tensor, with the same order in memory."""
        axes = range(len(self.order))
        return torch.from_numpy(self.values).permute([self.order.index(axis) for axis in axes])


@dataclass(frozen=True)
class _Piped:
    """A batch whose tensors travel as arrays, by pickling, which needs no shared memory."""

    images: "_Array | list[_Array]"
    masks: "_Array | None"
    samples: tuple[Sample, ...]
    labels: "_Array | None"

    def batch(self) -> Batch:
        """Return the batch."""
        masks, labels = (a if a is None else a.tensor() for a in (self.masks, self.labels))
        if isinstance(self.images, list):
            return Batch([each.tensor() for each in self.images], masks, self.samples, labels)
        return Batch(self.images.tensor(), masks, self.samples, labels)


def _handed_over(
    collate: Collate, items: Sequence[Sample | Failure]
) -> list[Batch | _Piped | Failure]:
    """Return, in a worker, batches that lie in shared memory, or need none."""
    return [_shared(each) if isinstance(each, Batch) else each for each in collate(items)]


def _shared(batch: Batch) -> Batch | _Piped:
    """Return a batch in shared memory, or one for a pipe where it would fill half of the rest.

    Left to torch, a batch that does not fit is lost in a thread, and the main process waits for
    it without end.
    """
    images = batch.images if isinstance(batch.images, list) else [batch.images]
    tensors = [t for t in (*images, batch.masks, batch.labels) if t is not None]
    needed = sum(tensor.nbytes for tensor in tensors)
    if 2 * needed <= _free():
        try:
            for tensor in tensors:
                tensor.share_memory_()
            return batch
        except RuntimeError:  # another process was faster; tensors that fitted stay as they are
            pass
    arrays = [_Array.of(each) for each in images]
    pixels = arrays if isinstance(batch.images, list) else arrays[0]
    masks, labels = (None if t is None else _Array.of(t) for t in (batch.masks, batch.labels))
    return _Piped(pixels, masks, batch.samples, labels)


def _free() -> float:
    """Return the free bytes of shared memory; infinity where it is not a file system."""
    try:
        about = os.statvfs(SHARED_MEMORY)
    except OSError:
        return float("inf")
    return about.f_bavail * about.f_frsize


def stack(items: Sequence[Sample | Failure]) -> list[Batch | Failure]:
    """Return the samples of consecutive equal size as batches, in order, failures in between.

    Nothing is padded to a common size, so a result never depends on its neighbours.
    """
    groups = groupby(items, lambda item: item.image.shape if isinstance(item, Sample) else None)
    result: list[Batch | Failure] = []
    for _, group in groups:
        samples, failures = _divided(list(group))
        result += [_batch(samples)] if samples else failures
    return result


def gather(items: Sequence[Sample | Failure]) -> list[Batch | Failure]:
    """Return the samples, whatever their sizes, as one batch, and the failures."""
    samples, failures = _divided(items)
    if not samples:
        return list(failures)
    images = [torch.from_numpy(sample.image).permute(2, 0, 1) for sample in samples]  # CHW
    slim = tuple(replace(sample, image=_NO_PIXELS) for sample in samples)
    return [Batch(images, None, slim), *failures]


_NO_PIXELS = np.empty(0, np.uint8)
"""In the samples of a batch, which has the pixels itself."""

_Kind = TypeVar("_Kind", Batch, Sample)


def _divided(items: Sequence[_Kind | Failure]) -> tuple[list[_Kind], list[Failure]]:
    """Return what could be read, and the failures."""
    failures = [item for item in items if isinstance(item, Failure)]
    return [item for item in items if not isinstance(item, Failure)], failures


def all_read(items: Sequence[Batch | Failure]) -> list[Batch]:
    """Return the batches of an item of `load`.

    Raises:
        DataError: a sample could not be read.
    """
    batches, failures = _divided(items)
    if failures:
        raise DataError(failures[0].reason, code=failures[0].code)
    return batches


def only_batch(items: Sequence[Batch | Failure]) -> Batch:
    """Return the batch of a training step.

    Raises:
        DataError: a sample could not be read, or they differ in size.
    """
    batches = all_read(items)
    if len(batches) != 1:
        raise DataError("training samples differ in size", code="data.sizes")
    return batches[0]


def _batch(samples: list[Sample]) -> Batch:
    images = torch.from_numpy(np.stack([sample.image for sample in samples]))  # [N, ..., H, W, C]
    maps = [sample.mask for sample in samples if sample.mask is not None]
    masks = torch.from_numpy(np.stack(maps)).long() if maps else None
    classes = [s.truth.label for s in samples if isinstance(s.truth, Classes)]
    labels = torch.tensor(classes) if classes else None
    slim = tuple(replace(sample, image=_NO_PIXELS, mask=None) for sample in samples)
    return Batch(images.movedim(-1, 1), masks, slim, labels)


def in_order(count: int, batch_size: int, rank: int = 0, world: int = 1) -> list[list[Key]]:
    """Return the batches of one process that visit every sample once, in order."""
    indices = range(rank, count, world)
    return [
        [(index, 0) for index in indices[first : first + batch_size]]
        for first in range(0, len(indices), batch_size)
    ]
