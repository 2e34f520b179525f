"""Predict of all tasks: its files do not depend on what reads, and its threads fit the cores."""

import multiprocessing
import threading

import cv2
import pytest
import torch

from cvkit import catalog
from cvkit.data.synthetic.samples import WRITERS
from cvkit.engine import inference, predict, runtime
from cvkit.engine.inference import IN_TURNS

WEIGHTS = {
    "classify": "shapes",
    "segment": "scenes",
    "detect": "boxes",
    "instance": "masks",
    "video": "motions",
}


@pytest.fixture(scope="module")
def mixed_inputs(tmp_path_factory):
    """A folder of inputs of each task: two sizes in turn, the fourth one damaged."""
    found = {}

    def make(task):
        if task not in found:
            root = found[task] = tmp_path_factory.mktemp(task)
            (root / "in").mkdir()
            for place, size_hw in enumerate([(40, 48), (48, 40)]):
                WRITERS[task](root / str(place), {"val": 3}, seed=place, size_hw=size_hw)
                kind = "*.mp4" if task == "video" else "*.png"
                files = sorted((root / str(place)).rglob(kind))
                images = [path for path in files if "masks" not in path.parts]
                for number, path in enumerate(images[:3]):
                    path.rename(root / "in" / f"{2 * number + place}{path.suffix}")
            (root / "in" / f"3{path.suffix}").write_bytes(b"none")
        return found[task] / "in"

    return make


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "predict.json"  # it has the number of workers
    }


@pytest.mark.parametrize("task", catalog.TASKS)
def test_all_files_are_the_same_whatever_reads(cvkit, mixed_inputs, tmp_path, task):
    made = {}
    for workers in (IN_TURNS, 0, 1, 3):
        out = tmp_path / str(workers)
        flags = ("--weights", WEIGHTS[task], "--batch-size", 2, "--device", "cpu", "--quiet")
        done = cvkit(
            *(task, "predict", mixed_inputs(task), *flags),
            *("--workers", workers, "--contact-sheet", 0, "--out", out),
        )
        assert done.code == 3, done.err
        made[workers] = contents(out)
    first = made.pop(IN_TURNS)
    lines = first["predictions.jsonl"].decode().splitlines()
    assert [line[10] for line in lines] == list("01245")  # {"path": "0...
    assert len(lines) == 5 and first["failures.jsonl"].count(b"\n") == 1
    for workers, files in made.items():
        assert files.keys() == first.keys()
        for name, content in files.items():
            assert content == first[name], (workers, name)


class Busy:
    """Counts the calls that run at the same time."""

    def __init__(self):
        self.now = self.most = self.total = 0
        self.lock = threading.Lock()

    def counted(self, function):
        def call(*arguments, **named):
            with self.lock:
                self.now, self.total = self.now + 1, self.total + 1
                self.most = max(self.most, self.now)
            try:
                return function(*arguments, **named)
            finally:
                with self.lock:
                    self.now -= 1

        return call


@pytest.mark.parametrize("cores", [1, 2, 3])
@pytest.mark.parametrize("task", catalog.TASKS)
def test_no_more_threads_are_busy_than_there_are_cores(
    cvkit, mixed_inputs, tmp_path, monkeypatch, task, cores
):
    """The network has all cores, and while it works nothing is read; all else shares the cores."""
    kind, helpers, reading, beside = catalog.resolve(catalog.TASKS[task]), Busy(), Busy(), []
    real = kind.predict

    def network(*arguments):
        beside.append(reading.now)
        result = real(*arguments)
        beside.append(reading.now)
        return result

    read = reading.counted(inference.read_sample)
    monkeypatch.setattr(inference, "read_sample", helpers.counted(read))
    monkeypatch.setattr(kind, "write", helpers.counted(kind.write))
    monkeypatch.setattr(kind, "predict", network)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    asked = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    for module in (inference, predict, runtime):
        monkeypatch.setattr(module, "cores", lambda: cores)
    flags = ("--weights", WEIGHTS[task], "--batch-size", 2, "--device", "cpu", "--quiet")
    done = cvkit(task, "predict", mixed_inputs(task), *flags, "--out", tmp_path / "out")
    assert done.code == 3, done.err
    assert asked == [cores]
    assert reading.total == 6 and helpers.total == 6 + 5
    assert helpers.most <= cores
    assert beside == [0] * len(beside) and len(beside) == 6, "three batches"
    assert cv2.getNumThreads() == 1
    assert not [t for t in threading.enumerate() if t.name.startswith(("decode", "write"))]
    assert not multiprocessing.active_children()
