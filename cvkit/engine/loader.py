"""Samples in parallel, in a fixed order, stacked into batches."""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from cvkit.engine.task import Dataset
from cvkit.errors import CvkitError
from cvkit.structures import Batch, Classes, Failure, Sample

Key = tuple[int, int]
"""(index of a sample, seed of its random transform)."""


SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _Keyed(torch.utils.data.Dataset):
    """Reads by key; an unusable sample becomes a value, since exceptions do not pickle well."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __getitem__(self, key: Key) -> Sample | Failure:
        index, seed = key
        try:
            return self.dataset.read(index, seed)
        except CvkitError as error:
            return Failure(path=self.dataset.key(index), code=error.code, reason=str(error))


def load(
    dataset: Dataset, batches: Sequence[Sequence[Key]], workers: int
) -> contextlib.closing[Iterator[list[Batch | Failure]]]:
    """Return, to be used in a `with`, an iterator over the samples of each list of keys.

    Each item holds the samples stacked by size, and those that failed. Samples of a ragged
    dataset stay together in one batch, listed instead of stacked. Neither the order nor the
    content depends on `workers`. Leaving the `with`, by an exception too, ends the workers.
    """
    return contextlib.closing(_load(dataset, batches, workers))


def _load(
    dataset: Dataset, batches: Sequence[Sequence[Key]], workers: int
) -> Iterator[list[Batch | Failure]]:
    if not batches:
        return
    workers = min(workers, len(batches))
    over = multiprocessing.get_context().Event() if workers else None
    others = set(multiprocessing.active_children())
    loader = DataLoader(
        _Keyed(dataset),
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=gather if getattr(dataset, "ragged", False) else stack,
        worker_init_fn=partial(_start_worker, over),
    )
    # Until a worker has its handlers, torch's would end it: a signal waits till then.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        iterator = iter(loader)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    own = set(multiprocessing.active_children()) - others
    try:
        yield from iterator
    finally:
        if over:
            over.set()
        for worker in own:
            worker.terminate()
        del iterator  # joins them


def _start_worker(over: Any, _: int) -> None:
    """Leave signals to the main process, which stops at a safe point and ends its workers.

    SIGTERM reaches the workers as well where it is sent to a whole group of processes, so it
    ends a worker only once `over`, an event that the processes share, is set.
    """

    def end(number: int, frame: object) -> None:
        if over.is_set():
            os._exit(0)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def stack(items: Sequence[Sample | Failure]) -> list[Batch | Failure]:
    """Return the samples of consecutive equal size as batches, in order, failures in between.

    Nothing is padded to a common size, so a result never depends on its neighbours.
    """
    groups = groupby(items, lambda item: item.image.shape if isinstance(item, Sample) else None)
    result: list[Batch | Failure] = []
    for shape, group in groups:
        result += [_batch(list(group))] if shape else list(group)
    return result


def gather(items: Sequence[Sample | Failure]) -> list[Batch | Failure]:
    """Return the samples, whatever their sizes, as one batch, and the failures."""
    samples = [item for item in items if isinstance(item, Sample)]
    failures = [item for item in items if isinstance(item, Failure)]
    if not samples:
        return failures
    images = [torch.from_numpy(sample.image).permute(2, 0, 1) for sample in samples]  # CHW
    slim = tuple(replace(sample, image=None) for sample in samples)
    return [Batch(images, None, slim), *failures]


def _batch(samples: list[Sample]) -> Batch:
    images = torch.from_numpy(np.stack([sample.image for sample in samples]))  # [N, ..., H, W, C]
    masks = None
    if samples[0].mask is not None:
        masks = torch.from_numpy(np.stack([sample.mask for sample in samples])).long()
    labels = None
    if isinstance(samples[0].truth, Classes):
        labels = torch.tensor([sample.truth.label for sample in samples])
    slim = tuple(replace(sample, image=None, mask=None) for sample in samples)
    return Batch(images.movedim(-1, 1), masks, slim, labels)


def in_order(count: int, batch_size: int, rank: int = 0, world: int = 1) -> list[list[Key]]:
    """Return the batches of one process that visit every sample once, in order."""
    indices = range(rank, count, world)
    return [
        [(index, 0) for index in indices[first : first + batch_size]]
        for first in range(0, len(indices), batch_size)
    ]
