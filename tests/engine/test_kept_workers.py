"""Decoding processes go on from epoch to epoch, read the same, and end with the training."""

import multiprocessing
import os

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cvkit import catalog, cli
from cvkit.engine import loader
from cvkit.engine.loader import load
from cvkit.engine.workers import KeptWorkers
from cvkit.errors import DataError
from cvkit.structures import Geometry, Sample


class Named:
    """Samples that say which process has read them, and with which seed."""

    def __len__(self):
        return 8

    def key(self, index):
        return str(index)

    def read(self, index, seed=0):
        image = np.full((2, 2, 3), index + seed, np.uint8)
        return Sample(str(os.getpid()), image, Geometry((2, 2), (2, 2)))


def numbers(loaded):
    return [(int(b.images[0, 0, 0, 0]), b.samples[0].path) for items in loaded for b in items]


def passes(data, keys, kept, workers=2):
    """Return what each pass reads, and by whom."""
    found = []
    for batches in keys:
        with load(data, batches, workers, kept) as loaded:
            found.append(numbers(loaded))
    return [[n for n, _ in one] for one in found], [{pid for _, pid in one} for one in found]


KEYS = [
    [[(i, seed)] for i in order] for seed, order in ((0, range(8)), (10, (7, 3, 5)), (20, (1,)))
]


def test_workers_are_kept_and_read_what_fresh_ones_do():
    data = Named()
    with KeptWorkers() as kept:
        found, readers = passes(data, KEYS, kept)
        assert len(multiprocessing.active_children()) == 2
    assert not multiprocessing.active_children()
    assert found == passes(data, KEYS, None, 0)[0]
    assert readers[1] | readers[2] <= readers[0] and len(readers[0]) == 2


def test_a_longer_pass_gets_the_workers_that_it_asks_for():
    with KeptWorkers() as kept:
        data = Named()
        found, readers = passes(data, KEYS[2:] + KEYS[:1], kept)
        assert list(map(len, readers)) == [1, 2]
        assert len(multiprocessing.active_children()) == 2
    assert found == passes(data, KEYS[2:] + KEYS[:1], None, 0)[0]


def test_a_pass_that_is_left_ends_its_workers_and_the_next_one_has_its_own():
    data = Named()
    with KeptWorkers() as kept:
        with pytest.raises(DataError), load(data, KEYS[0], 2, kept) as loaded:
            next(loaded)
            raise DataError("stopped", code="stopped")
        assert not multiprocessing.active_children()
        assert passes(data, KEYS[:1], kept)[0] == passes(data, KEYS[:1], None, 0)[0]
    assert not multiprocessing.active_children()


def test_outside_the_block_nothing_is_kept():
    kept = KeptWorkers()
    passes(Named(), KEYS[:1], kept)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("task", catalog.TASKS)
def test_a_training_starts_its_readers_once(task, data_of, flags_of, run_of, tmp_path, monkeypatch):
    without = load_file(run_of(task) / "last.safetensors")
    started, make = [], loader.DataLoader

    def watched(*given, num_workers, **more):
        started.append(num_workers)
        return make(*given, num_workers=num_workers, **more)

    monkeypatch.setattr(loader, "DataLoader", watched)
    more = flags_of(task, data=data_of(task), out=tmp_path, workers=1, epochs=2)
    assert cli.run([task, "train", *more, "--quiet"]) == 0
    assert not multiprocessing.active_children()
    assert started.count(1) == 2, "for training, and for validation"
    found = load_file(next(tmp_path.iterdir()) / "last.safetensors")
    assert all(torch.equal(found[name], without[name]) for name in found | without)
