"""What is read ahead, in which batches it is predicted, and that results keep their order."""

import multiprocessing
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from cvkit.engine import inference, runtime
from cvkit.engine.evaluate import evaluate
from cvkit.engine.inference import (
    IN_TURNS,
    UNFORKABLE,
    InOrder,
    by_size,
    one_by_one,
    read_ahead,
)
from cvkit.engine.loader import in_order, load
from cvkit.engine.processes import Layout
from cvkit.engine.ranks import Ranks
from cvkit.engine.shares import share_of
from cvkit.errors import DataError
from cvkit.structures import Batch, Classes, Failure, Geometry, Sample

CPU = torch.device("cpu")


class Sizes:
    """Sample i has the i-th width and is filled with i; a width of 0 cannot be read."""

    def __init__(self, widths, python_bound=False):
        self.widths, self.python_bound, self.started = widths, python_bound, []

    def __len__(self):
        return len(self.widths)

    def key(self, index):
        return str(index)

    def read(self, index, seed=0):
        self.started.append(index)
        width = self.widths[index]
        if not width:
            raise DataError(f"{index} is damaged", code="image.truncated")
        image = np.full((2, width, 3), index, np.uint8)
        mask, truth = image[..., 0], Classes(index % 5)
        return Sample(str(index), image, Geometry((2, width), (2, width)), mask, truth)


def batches(data, batch_size, workers=0):
    """Return the places of each batch; its pixels, masks and labels are those of its places."""
    found = []
    with read_ahead(data, in_order(len(data), batch_size), workers, CPU) as loaded:
        for places, item in by_size(loaded, batch_size):
            found.append(places)
            if isinstance(item, Failure):
                assert [item.path] == [str(place) for place in places]
                continue
            assert item.images.is_contiguous(memory_format=torch.channels_last)
            assert [sample.path for sample in item.samples] == [str(place) for place in places]
            assert item.labels.tolist() == [place % 5 for place in places]
            for place, image, mask in zip(places, item.images, item.masks, strict=True):
                assert image.shape == (3, 2, data.widths[place])
                assert (image == place).all() and (mask == place).all()
    assert sorted(place for places in found for place in places) == list(range(len(data)))
    return found


def test_samples_of_one_size_make_the_batches_of_their_order():
    assert batches(Sizes([7] * 10), 4) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_sizes_that_alternate_make_whole_batches_and_failures_take_no_place():
    widths = [4, 6, 4, 0, 6, 4, 6, 4, 6, 4]
    assert batches(Sizes(widths), 4) == [[3], [0, 2, 5, 7], [1, 4, 6, 8], [9]]


@pytest.mark.parametrize("workers", [IN_TURNS, 0, 1, 2, 3])
@pytest.mark.parametrize("python_bound", [False, True])
def test_batches_do_not_depend_on_how_samples_are_read(workers, python_bound):
    widths = [int(width) for width in np.random.default_rng(1).choice([0, 4, 5, 6, 9], 60)]
    expected = batches(Sizes(widths), 4)
    assert batches(Sizes(widths, python_bound), 4, workers) == expected


class Headers(Sizes):
    """Samples whose headers tell their widths, also of some that cannot be read."""

    def __init__(self, widths, cut_off):
        super().__init__([0 if place in cut_off else width for place, width in enumerate(widths)])
        self.in_header = widths

    def geometry(self, index):
        if not self.in_header[index]:
            raise DataError(f"{index} is no image", code="image.unreadable")
        size = (2, self.in_header[index])
        return Geometry(size, size)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("world", [1, 2, 3])
def test_ranks_share_the_batches_of_one_process(monkeypatch, world, seed):
    monkeypatch.setattr(inference, "LOOK_AHEAD", 3)
    rng = np.random.default_rng(seed)
    widths = [int(width) for width in rng.choice([0, 4, 5, 6, 9], 50)]
    data = Headers(widths, set(rng.integers(0, 50, 8).tolist()))
    with read_ahead(data, in_order(50, 4), 0, CPU) as loaded:
        alone = [places for places, item in by_size(loaded, 4, data) if isinstance(item, Batch)]
    found, keys = [], []
    for rank in range(world):
        group = Ranks(Layout(rank, world, rank, world), runtime.StopSignal())
        known = [
            [inference.geometry_of(data, place) for place in range(other, 50, world)]
            for other in range(world)
        ]
        group.gather = lambda value, rank=rank, known=known: known if value == known[rank] else 0
        share = share_of(group, data, 4)
        assert share.places == sorted(place for batch in share.batches for place in batch)
        keys += share.places
        with read_ahead(data, share.keys, 2, CPU) as loaded:
            placed = list(share.placed(loaded, 4, data))
        found += [places for places, item in placed if isinstance(item, Batch)]
        assert sorted(place for places, _ in placed for place in places) == share.places
    assert sorted(keys) == list(range(50))
    assert sorted(found) == sorted(alone)
    sizes = [sum(len(places) for places in found[rank::world]) for rank in range(world)]
    assert max(map(len, alone)) == 4 and max(sizes) < 50 / world + 12


def test_a_rare_size_waits_for_a_window_of_batches_only(monkeypatch):
    monkeypatch.setattr(inference, "LOOK_AHEAD", 3)
    found = batches(Sizes([9] + [4] * 20), 2)
    # It comes once more than 3 * 2 samples came with it or after it.
    assert found[:4] == [[1, 2], [3, 4], [5, 6], [0]]


def test_a_window_is_bounded_in_bytes_beyond_one_batch(monkeypatch):
    """Each sample counts its input and the image that it was made from: 60 and 48 bytes."""
    monkeypatch.setattr(inference, "LOOK_AHEAD_BYTES", 60 + 5 * 48)
    assert batches(Sizes([5] + [4] * 12), 2)[:4] == [[1, 2], [3, 4], [5, 6], [0]]
    monkeypatch.setattr(inference, "LOOK_AHEAD_BYTES", 1)
    assert batches(Sizes([4] * 8), 4) == [[0, 1, 2, 3], [4, 5, 6, 7]], "one batch may be large"
    assert batches(Sizes([5, 4, 4, 4]), 2) == [[1, 2], [0], [3]]


def test_batches_as_they_are_keep_their_order():
    with load(Sizes([4, 6, 0, 6, 6]), in_order(5, 3), 0) as loaded:
        places = [places for places, _ in one_by_one(loaded)]
    assert places == [[0], [1], [2], [3, 4]]


def test_values_leave_in_order_up_to_the_first_that_is_not_ready():
    order = InOrder()
    for place in (2, 0, 3):
        order.put(place, place)
    assert list(order.take()) == [0] and len(order) == 2
    order.put(1, 1)
    assert list(order.take(lambda value: value != 2)) == [1]
    assert list(order.take()) == [2, 3] and len(order) == 0


def test_a_value_whose_use_fails_is_not_given_again():
    order = InOrder()
    order.put(0, "a")
    order.put(1, "b")
    with pytest.raises(OSError):
        for _ in order.take():
            raise OSError
    assert list(order.take()) == ["b"]


def decoding():
    return [t for t in threading.enumerate() if t.name.startswith("decode")]


@pytest.mark.parametrize(
    ("workers", "python_bound", "device", "where"),
    [
        (IN_TURNS, False, "cpu", "threads"),
        (IN_TURNS, True, "cpu", "threads"),
        (0, False, "cpu", "here"),
        (0, True, "cuda", "here"),
        (2, False, "cpu", "threads"),
        (2, False, "mps", "threads"),
        (2, True, "cpu", "processes"),
        (2, False, "cuda", "processes"),
    ],
)
def test_threads_read_beside_a_cpu_and_processes_what_is_python(
    monkeypatch, workers, python_bound, device, where
):
    monkeypatch.setattr(inference, "cores", lambda: 2)
    data = Sizes([4] * 9, python_bound)
    with read_ahead(data, in_order(9, 2), workers, torch.device(device)) as loaded:
        next(loaded)
        here, children = len(decoding()), len(multiprocessing.active_children())
        assert sum(len(items) for items in loaded) >= 4  # of 9 samples: by ones or by twos
    assert here in {"threads": (1, 2)}.get(where, (0,)), "a thread that is idle takes the next one"
    assert children == {"processes": 2}.get(where, 0)
    assert not decoding() and not multiprocessing.active_children()


@pytest.mark.parametrize("python_bound", [False, True])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_frames_of_videos_are_read_by_threads_everywhere(monkeypatch, python_bound, device):
    monkeypatch.setattr(Sizes, "sequential", True, raising=False)
    data = Sizes([4] * 9, python_bound)
    with read_ahead(data, in_order(9, 2), 2, torch.device(device)) as loaded:
        next(loaded)
        assert decoding() and not multiprocessing.active_children()
        assert len(list(loaded)) == 8


@pytest.mark.parametrize("package", UNFORKABLE)
def test_after_a_program_with_threads_this_process_is_not_copied(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, object())
    with read_ahead(Sizes([4] * 9, python_bound=True), in_order(9, 2), 2, CPU) as loaded:
        next(loaded)
        assert decoding() and not multiprocessing.active_children()
        assert len(list(loaded)) == 8


@pytest.mark.parametrize("workers", [1, 3])
def test_no_more_is_read_than_the_next_batch(workers):
    data, most = Sizes([4] * 200), []
    with read_ahead(data, in_order(200, 4), workers, CPU) as loaded:
        for number, _ in zip(range(20), loaded, strict=False):
            time.sleep(0.005)  # the network is slower
            most.append(len(data.started) - number - 1)
    assert max(most) <= 4 + workers


def test_in_turns_nothing_is_read_while_a_batch_is_used():
    data = Sizes([4] * 12)
    with read_ahead(data, in_order(12, 4), IN_TURNS, CPU) as loaded:
        for number, items in enumerate(loaded, 1):
            assert len(items) == 4
            time.sleep(0.005)
            assert sorted(data.started) == list(range(4 * number))


def test_in_turns_what_was_given_to_the_pool_before_comes_first():
    done = []
    with ThreadPoolExecutor(1) as pool:
        pool.submit(time.sleep, 0.01)
        pool.submit(done.append, "written")
        with read_ahead(Sizes([4] * 3), in_order(3, 2), IN_TURNS, CPU, pool) as loaded:
            next(loaded)
            assert done == ["written"]
        pool.submit(done.append, "still open").result()


@pytest.mark.parametrize("workers", [IN_TURNS, 2])
@pytest.mark.parametrize("error", [RuntimeError, MemoryError])
def test_an_error_that_is_no_failure_of_an_image_ends_threads_and_is_raised(error, workers):
    class Broken(Sizes):
        def read(self, index, seed=0):
            if index == 5:
                raise error("here")
            return super().read(index, seed)

    with (
        pytest.raises(error, match="here"),
        read_ahead(Broken([4] * 50), in_order(50, 4), workers, CPU) as loaded,
    ):
        assert len(list(loaded)) < 50
    assert not decoding()


@pytest.mark.parametrize("workers", [IN_TURNS, 2])
def test_leaving_early_ends_threads_and_what_waits(workers):
    data = Sizes([4] * 500)
    with read_ahead(data, in_order(500, 4), workers, CPU) as loaded:
        next(loaded)
    assert not decoding()
    count = len(data.started)
    time.sleep(0.02)
    assert len(data.started) == count < 20


def test_a_batch_of_one_sample_is_not_copied():
    batch = Batch(torch.zeros(1, 3, 2, 2), None, (Sample("a", np.empty(0)),))
    ((places, found),) = by_size([[batch]], 4)
    assert places == [0] and found.images.data_ptr() == batch.images.data_ptr()


@pytest.mark.parametrize(
    ("cores", "device", "wanted", "expected"),
    [
        (1, "cpu", -1, IN_TURNS),
        (7, "cpu", -1, IN_TURNS),
        (8, "cpu", -1, 2),
        (64, "cpu", -1, 16),
        (2, "cpu", 0, 0),
        (2, "cpu", 3, 3),
        (2, "cuda", -1, 1),
        (16, "cuda", -1, 8),
        (16, "cuda", 0, 0),
    ],
)
def test_on_few_cores_network_and_readers_take_turns(monkeypatch, cores, device, wanted, expected):
    for module in (inference, runtime):
        monkeypatch.setattr(module, "cores", lambda: cores)
    assert inference.choose_readers(wanted, torch.device(device)) == expected


class Recorded:
    """A task and its metric: results are paths, batches and updates are written down."""

    def __init__(self):
        self.batches, self.updates, self.seen = [], [], []

    def predict(self, model, batch):
        self.batches.append([sample.path for sample in batch.samples])
        return [sample.path for sample in batch.samples]

    def update(self, result, truth):
        self.updates.append((result, truth.label))
        return result


@pytest.mark.parametrize("workers", [IN_TURNS, 0, 2])
def test_a_metric_gets_its_images_in_order_whatever_their_sizes(workers):
    data, made = Sizes([4, 6, 4, 0, 6, 4, 6, 4, 6, 4]), Recorded()
    failures = evaluate(
        made,
        torch.nn.Identity(),
        data,
        Fabric(accelerator="cpu", devices=1),
        metric=made,
        batch_size=4,
        workers=workers,
        stop=runtime.StopSignal(),
        advance=lambda done, text: None,
        on_image=lambda path, counts: made.seen.append((path, counts)),
    )
    good = [place for place in range(10) if place != 3]
    assert made.batches == [["0", "2", "5", "7"], ["1", "4", "6", "8"], ["9"]]
    assert made.updates == [(str(place), place % 5) for place in good]
    assert made.seen == [(str(place), str(place)) for place in good]
    assert [failure.path for failure in failures] == ["3"]
