"""Signals and divergence end every verb of every task at once, whatever decodes its images.

Each trial is a process of its own, forked from one that has imported everything, so that it
costs a second instead of four.
"""

import importlib
import os
import pkgutil
import signal
import sys
import time
import traceback
from functools import partial

import pytest
import torch

import cvkit
from cvkit import catalog
from cvkit.cli import main
from cvkit.data.synthetic.samples import WRITERS
from cvkit.engine import inference, loader
from cvkit.engine.runtime import stop_signals

SECONDS = 5
"""Between a signal and the end of everything."""

WEIGHTS = {
    "classify": "shapes",
    "segment": "scenes",
    "detect": "boxes",
    "instance": "masks",
    "video": "motions",
}
MOBILE = ("--backbone", "mobilenet_v3_small")
SMALL = {
    "classify": ("--arch", "mlp", "--image-size", 32),
    "segment": ("--arch", "fcn-32s", *MOBILE, "--image-size", "32x32"),
    "detect": (*MOBILE, "--channels", 16, "--min-size", 64, "--roi-samples", 16),
    "instance": (*MOBILE, "--channels", 16, "--min-size", 64, "--roi-samples", 16),
    "video": ("--arch", "single-frame", *MOBILE, "--image-size", 32, "--frames", 4),
}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A small dataset of every task; what a fork needs to import is imported."""
    if torch.cuda.is_initialized():
        pytest.skip("tests in this process have used CUDA, which does not survive a fork")
    for module in pkgutil.walk_packages(cvkit.__path__, "cvkit."):
        if module.name != "cvkit.__main__":
            importlib.import_module(module.name)
    found = {}
    for task, write in WRITERS.items():
        found[task] = tmp_path_factory.mktemp(task)
        write(found[task], {"train": 12, "val": 12}, 3, (64, 64))
    return found


def trial(arguments, inside, workers, prepare=lambda: None):
    """Fork a process that runs the command line and call `inside(pid)` in its loop.

    `prepare` is called in the fork.
    """
    here, there = os.pipe()
    torch.set_num_threads(1)  # a fork would not take threads along
    pid = os.fork()
    if not pid:
        os.setpgid(0, 0)
        try:
            os.dup2(os.open(os.devnull, os.O_RDWR), 1)
            _tell_batches(there)
            prepare()
            main([*map(str, arguments), "--workers", str(workers), "--device", "cpu", "--quiet"])
        except SystemExit as leaving:
            sys.stderr.flush()
            # As the interpreter would: it joins every process that is left.
            import multiprocessing.util

            multiprocessing.util._exit_function()
            os._exit(leaving.code)
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    os.close(there)
    try:
        with os.fdopen(here, "rb") as batches:
            assert batches.read(2) == b"..", "the process ended before its second batch"
            inside(pid)
            return _code_in_time(pid)
    finally:
        _kill_group(pid)


def _tell_batches(pipe):
    """Make whatever reads in this process write a byte for each batch, and be slow."""

    def telling(real, *arguments):
        for items in real(*arguments):
            os.write(pipe, b".")
            yield items
            time.sleep(0.1)

    loader._load = partial(telling, loader._load)
    inference._read_in_threads = partial(telling, inference._read_in_threads)
    inference._read_in_turns = partial(telling, inference._read_in_turns)


def _code_in_time(pid):
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            assert not _alive(pid), "children are left"
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    raise AssertionError(f"still there after {SECONDS} s")


def _alive(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _kill_group(group):
    if _alive(group):
        os.killpg(group, signal.SIGKILL)
        os.waitpid(group, 0)


def commands(task, place, folder):
    """The three verbs of a task, each with work for some seconds."""
    some = sorted(path for path in place.rglob("*") if path.suffix in (".png", ".mp4", ".avi"))
    inputs = [path for path in some if "masks" not in path.parts][:12]
    return {
        "train": (task, "train", "--data", place, "--out", folder / "runs", *SMALL[task])
        + ("--batch-size", 2, "--epochs", 9),
        "eval": (task, "eval", "--data", place, "--weights", WEIGHTS[task], "--batch-size", 1)
        + ("--out", folder / "reports"),
        "predict": (task, "predict", *inputs, "--weights", WEIGHTS[task], "--batch-size", 1)
        + ("--out", folder / "out"),
    }


@pytest.mark.slow
@pytest.mark.parametrize("workers", [-1, 0, 1, 2])
@pytest.mark.parametrize("task", catalog.TASKS)
def test_every_verb_stops_at_a_signal(places, tmp_path, task, workers):
    """Both signals meet every verb of a task, every number of workers, and both of these."""
    to_one = lambda pid: os.kill(pid, signal.SIGINT)  # noqa: E731
    to_all = lambda pid: os.killpg(pid, signal.SIGTERM)  # noqa: E731
    turn = list(catalog.TASKS).index(task) + workers
    for place, (verb, arguments) in enumerate(commands(task, places[task], tmp_path).items()):
        send, code = ((to_one, 130), (to_all, 143))[(turn + place) % 2]
        assert trial(arguments, send, workers) == code, (verb, code)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("task", catalog.TASKS)
def test_a_diverging_training_ends(places, tmp_path, task, workers):
    def poison():
        kind = catalog.resolve(catalog.TASKS[task])
        real, calls = kind.loss, [0]

        def loss(self, *rest):
            calls[0] += 1
            terms = real(self, *rest)
            return {n: v * float("nan" if calls[0] > 2 else 1) for n, v in terms.items()}

        kind.loss = loss

    train = commands(task, places[task], tmp_path)["train"]
    assert trial(train, lambda pid: None, workers, poison) == 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "verb, place",
    [
        ("train", "cvkit.commands.training_job.TrainingJob.prepare"),
        ("eval", "cvkit.tasks.trained.load_trained"),
        ("predict", "cvkit.tasks.trained.load_trained"),
    ],
)
def test_a_signal_before_the_work_ends_it_at_once(
    cvkit, scenes, tmp_path, monkeypatch, verb, place, number
):
    def look(*rest):
        signal.raise_signal(number)
        raise AssertionError("the data would be read to its end")

    monkeypatch.setattr(place, look)
    done = cvkit(*commands("segment", scenes, tmp_path)[verb])
    assert done.code == 128 + number and "before the work began" in done.err
    assert not list(tmp_path.iterdir())


def test_a_signal_while_the_network_is_checked_ends_it(cvkit, scenes, tmp_path, monkeypatch):
    def look(*rest):
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("all checks would run")

    monkeypatch.setattr("cvkit.commands.train._check", look)
    done = cvkit(*commands("segment", scenes, tmp_path)["train"], "--check")
    assert done.code == 143


def test_a_second_signal_ends_the_process_with_its_code():
    pid = os.fork()
    if not pid:
        with stop_signals():
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)  # on its way out
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130


@pytest.mark.parametrize("task", catalog.TASKS)
def test_a_model_that_gives_no_numbers_has_diverged(cvkit, places, tmp_path, task):
    """Its only step per epoch ruins the weights, which only the validation can see."""
    train = commands(task, places[task], tmp_path)["train"]
    done = cvkit(*train, "--batch-size", 12, "--lr", 1e30, "--warmup-epochs", 0, "--workers", 0)
    assert done.code == 5, done.err
    assert not list(tmp_path.rglob("best.safetensors"))
