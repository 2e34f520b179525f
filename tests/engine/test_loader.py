"""Order, content and failures do not depend on how many processes decode."""

import itertools
import multiprocessing
import multiprocessing.synchronize
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from cvkit.engine import loader
from cvkit.engine.loader import in_order, load, stack
from cvkit.engine.progress import Settings
from cvkit.engine.sampler import batch_plan, batch_sizes, describe_epoch
from cvkit.errors import CvkitWarning, DataError
from cvkit.structures import Batch, Failure, Geometry, Sample, SegMap


class Numbers:
    """Sample i is an image of the value i plus its seed; number 3 cannot be read."""

    def __len__(self):
        return 7

    def key(self, index):
        return f"n{index}"

    def read(self, index, seed=0):
        if index == 3:
            raise DataError("n3 is damaged", code="image.truncated")
        side = 4 if index < 5 else 6
        image = np.full((side, 8, 3), index + seed, np.uint8)
        return Sample(f"n{index}", image, Geometry((4, 8), (side, 8)), mask=image[..., 0])


def contents(workers):
    found = []
    keys = [[(0, 1), (1, 0), (3, 0)], [(4, 0), (5, 0), (6, 2)]]
    with load(Numbers(), keys, workers) as loaded:
        for item in itertools.chain.from_iterable(loaded):
            if isinstance(item, Failure):
                found.append(item)
            else:
                values = item.images[:, 0, 0, 0].tolist()
                found.append((values, tuple(item.images.shape), [s.path for s in item.samples]))
                assert torch.equal(item.masks, item.images[:, 0].long())
                assert item.images.is_contiguous(memory_format=torch.channels_last)
    return found


def test_batches_are_split_by_size_and_keep_failures_in_place():
    expected = [
        ([1, 1], (2, 3, 4, 8), ["n0", "n1"]),
        Failure("n3", "image.truncated", "n3 is damaged"),
        ([4], (1, 3, 4, 8), ["n4"]),
        ([5, 8], (2, 3, 6, 8), ["n5", "n6"]),
    ]
    assert contents(0) == contents(2) == expected


def test_batches_move_as_a_whole_and_drop_what_was_stacked():
    sample = Sample("a", np.zeros((2, 2, 3), np.uint8), Geometry((2, 2), (2, 2)), truth=SegMap(0))
    (batch,) = stack([sample])
    assert isinstance(batch, Batch)
    assert len(batch) == 1
    assert batch.samples[0].image.size == 0
    assert batch.to(torch.device("cpu")).masks is None


def test_evaluation_visits_every_sample_once_whatever_the_processes():
    for world in (1, 2, 3):
        seen = [
            index
            for rank in range(world)
            for batch in in_order(10, 3, rank, world)
            for index, _ in batch
        ]
        assert sorted(seen) == list(range(10))
    assert in_order(3, 2) == [[(0, 0), (1, 0)], [(2, 0)]]


PLAIN = {
    **{"epochs": 1, "batch_size": 3, "accumulate": 1, "optimizer": "sgd", "lr": 1.0},
    **{"momentum": 0.0, "weight_decay": 0.0, "schedule": "poly", "warmup_epochs": 0.0},
    **{"l1": 0.0, "l2": 0.0, "clip_grad": 0.0, "ema": 0.0, "patience": 0, "seed": 1},
    "save_minutes": 1.0,
}


def plan(count=20, epoch=0, rank=0, world=1, groups=None, **changes):
    return batch_plan(count, epoch, settings(**changes), rank, world, groups)


def test_training_order_is_a_function_of_seed_and_epoch():
    def order(**changes):
        return [index for batch in plan(**changes) for index, _ in batch]

    assert plan() == plan()
    assert order() != order(epoch=1)
    assert order() != order(seed=2)
    assert sorted(order()) == list(range(20))
    seeds = {seed for epoch in (0, 1) for batch in plan(epoch=epoch) for _, seed in batch}
    assert len(seeds) == 40, "every sample has another seed in every epoch"


def test_two_processes_see_what_one_would_accumulate():
    alone = plan(accumulate=2)
    both = [plan(rank=rank, world=2) for rank in (0, 1)]
    assert alone == [batch for pair in zip(*both, strict=True) for batch in pair]


def settings(**changes):
    return Settings(**(PLAIN | changes))


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("accumulate", [1, 3, 4])
@pytest.mark.parametrize(("batch", "smallest"), [(1, 1), (2, 1), (2, 2), (3, 2), (8, 1), (32, 2)])
def test_batches_share_the_samples_evenly_and_leave_out_what_they_must(
    batch, smallest, accumulate, world
):
    for count in (*range(1, 66), 95, 96, 97, 127, 128, 149):
        made = settings(batch_size=batch, accumulate=accumulate, min_batch=smallest)
        sizes = batch_sizes(count, made, world)
        left = count - sum(sizes)
        if not sizes:
            assert count < smallest * world
            with pytest.raises(DataError, match="one step needs at least"):
                describe_epoch(count, made, world)
            continue
        assert smallest <= min(sizes) and max(sizes) <= min(batch, min(sizes) + 1)
        assert len(sizes) % world == 0
        assert 0 <= left < smallest * world
        assert ("left out" in describe_epoch(count, made, world)) == bool(left)
        if world == smallest == 1:
            assert not left
        plans = [
            batch_plan(count, 0, made, rank, world, [i % 3 for i in range(count)])
            for rank in range(world)
        ]
        assert len({len(each) for each in plans}) == 1
        seen = [index for each in plans for batch in each for index, _ in batch]
        assert len(set(seen)) == len(seen) == count - left


@pytest.mark.parametrize(
    ("count", "batch", "accumulate", "sizes"),
    [
        (63, 32, 1, [32, 31]),  # 31 of 63 samples were left out
        (250, 32, 4, [32, 32, 31, 31, 31, 31, 31, 31]),  # 122 of 250 were
        (9, 2, 1, [2, 2, 2, 2, 1]),
        (64, 32, 2, [32, 32]),
    ],
)
def test_half_an_epoch_is_not_left_out(count, batch, accumulate, sizes):
    made = settings(batch_size=batch, accumulate=accumulate)
    assert batch_sizes(count, made, 1) == sizes
    words = describe_epoch(count, made, 1)
    assert words.startswith(f"{count} training samples: ") and "left out" not in words


def test_what_batch_norm_forbids_is_left_out_and_told():
    made = settings(batch_size=2, min_batch=2)
    assert batch_sizes(9, made, 1) == [2, 2, 2, 2]
    assert "1 left out" in describe_epoch(9, made, 1)
    everything = {index for e in range(20) for batch in plan(9, e, **TWO) for index, _ in batch}
    assert everything == set(range(9)), "another one in every epoch"


TWO = {"batch_size": 2, "min_batch": 2}


@pytest.mark.parametrize("count", [1, 2])
def test_a_set_smaller_than_a_batch_is_one_batch(count):
    assert [len(batch) for batch in plan(count)] == [count]


def test_a_ragged_dataset_keeps_different_sizes_together():
    class Ragged(Numbers):
        ragged = True

    with load(Ragged(), [[(3, 0), (4, 0), (5, 0)]], workers=0) as loaded:
        batch, failure = next(loaded)
    assert [tuple(image.shape) for image in batch.images] == [(3, 4, 8), (3, 6, 8)]
    assert len(batch) == 2 and failure.path == "n3"
    assert [image.max() for image in batch.blacked_out().images] == [0, 0]


def test_batches_come_from_one_group_while_there_are_enough():
    groups = [index % 2 for index in range(23)]
    batches = plan(23, 0, groups=groups)
    mixed = [len({groups[index] for index, _ in batch}) > 1 for batch in batches]
    assert len(batches) == len(plan(23, 0)) and sum(mixed) <= 1 and not any(mixed[:-1])
    seen = [key for batch in batches for key in batch]
    assert len(set(seen)) == len(seen)
    everything = {key for batch in plan(23, 0, batch_size=1) for key in batch}
    assert set(seen) <= everything
    assert plan(23, 0, groups=groups) == batches != plan(23, 1, groups=groups)


def test_a_signal_to_all_while_workers_start_ends_none_of_them(monkeypatch):
    real = multiprocessing.Process.start

    def start(process):
        real(process)
        os.kill(process.pid, signal.SIGTERM)  # before it has its handlers

    monkeypatch.setattr(multiprocessing.Process, "start", start)
    with load(Numbers(), [[(0, 0)], [(1, 0)], [(2, 0)]], workers=2) as loaded:
        assert len(list(loaded)) == 3


class Wide(Numbers):
    """Samples of 3 KB, all readable; ragged ones are listed."""

    def __init__(self, ragged):
        self.ragged = ragged

    def read(self, index, seed=0):
        image = np.arange(index, index + 3072, dtype=np.int64).astype(np.uint8)
        side = 32 if not self.ragged or index % 2 else 16
        image = image.reshape(side, -1, 3)
        size = image.shape[:2]
        return Sample(f"n{index}", image, Geometry(size, size), mask=image[..., 0])


def tensors(ragged):
    """Return all tensors of two batches that a worker made, with their order in memory."""
    with load(Wide(ragged), [[(0, 0), (1, 0), (2, 0)], [(3, 0)]], workers=1) as loaded:
        batches = [item for items in loaded for item in items]
    assert all(isinstance(batch, Batch) for batch in batches)
    listed = [batch.images if ragged else [batch.images] for batch in batches]
    found = [tensor for images in listed for tensor in images]
    return found + [batch.masks for batch in batches if batch.masks is not None]


def same(first, second):
    return len(first) == len(second) and all(
        torch.equal(a, b) and a.stride() == b.stride() and a.dtype == b.dtype
        for a, b in zip(first, second, strict=True)
    )


@pytest.mark.parametrize("ragged", [False, True])
def test_what_does_not_fit_into_shared_memory_comes_through_pipes(monkeypatch, ragged):
    plain = tensors(ragged)
    assert all(tensor.is_shared() for tensor in plain)
    monkeypatch.setattr(loader, "_free", lambda: 1000)
    with pytest.warns(CvkitWarning, match=r"/dev/shm\) is too small .* --workers"):
        piped = tensors(ragged)
    assert not any(tensor.is_shared() for tensor in piped)
    assert same(plain, piped)


def test_shared_memory_that_another_process_fills_first_ends_nothing(monkeypatch):
    plain = tensors(ragged=False)

    def refuse(tensor):
        raise RuntimeError("unable to allocate shared memory(shm) for file: No space left (28)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", refuse)
    with pytest.warns(CvkitWarning, match="too small"):
        assert same(plain, tensors(ragged=False))


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("number", loader.NO_SEMAPHORE)
def test_without_semaphores_this_process_reads(monkeypatch, number):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(multiprocessing.synchronize.SemLock, "__init__", refuse)
    keys = [[(0, 0)], [(1, 0)]]
    with (
        pytest.warns(CvkitWarning, match="decoded in one process"),
        load(Wide(False), keys, workers=2) as loaded,
    ):
        assert [items[0].images[0, 0, 0, 0].item() for items in loaded] == [0, 1]


def test_the_number_that_ends_workers_needs_no_lock():
    over = loader._start(Wide(False), 1, False).over
    assert not hasattr(over, "get_lock") and over.value == 0


def test_more_workers_than_cores_are_not_torchs_to_comment(recwarn):
    many = 2 * (os.cpu_count() or 1) + 1
    with load(Wide(False), [[(0, 0)]] * many, workers=many) as loaded:
        assert len(list(loaded)) == many
    assert not [str(each.message) for each in recwarn if "DataLoader" in str(each.message)]


class Endless:
    """Samples that take minutes; each reader names itself."""

    def __init__(self, there):
        self.there = there

    def __len__(self):
        return 4

    def key(self, index):
        return str(index)

    def read(self, index, seed=0):
        os.write(self.there, os.getpid().to_bytes(4, "little"))
        time.sleep(300)


def runs(pid):
    """Return whether a process runs; one that nobody waited for may still have its number."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no death signal")
def test_workers_end_with_a_process_that_is_killed():
    here, there = os.pipe()
    torch.set_num_threads(1)  # a fork would not take threads along
    main = os.fork()
    if not main:
        with load(Endless(there), [[(index, 0)] for index in range(4)], 2) as loaded:
            next(loaded)
        os._exit(0)
    workers = [int.from_bytes(os.read(here, 4), "little") for _ in range(2)]
    try:
        assert all(map(runs, workers))
        os.kill(main, signal.SIGKILL)
        os.waitpid(main, 0)
        deadline = time.monotonic() + 20
        while any(map(runs, workers)):
            assert time.monotonic() < deadline, "workers outlive their process"
            time.sleep(0.02)
    finally:
        for pid in filter(runs, workers):
            os.kill(pid, signal.SIGKILL)
