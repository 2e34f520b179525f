"""Small datasets and ways to call cvkit that several tests share."""

import errno
import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest
import torch
from command_lines import Outcome
from copies import Copy
from leftovers import left_in
from networks import DILATED_TOY
from torch import nn

from cvkit import catalog
from cvkit.cli import run
from cvkit.commands.train import run_training
from cvkit.console import Reporter
from cvkit.data.synthetic.samples import WRITERS, write_segmentation
from cvkit.engine.evaluate import Measured
from cvkit.engine.train import Trainer
from cvkit.ops import proposals as searching
from cvkit.options.tree import OPTIONS

# The reference precision, also on machines where `auto` would choose another.
for verb in ("TRAIN", "EVAL", "PREDICT", "PRETRAIN", "PROBE"):
    os.environ[f"CVKIT_{verb}_PRECISION"] = "fp32"


HERE = ("127.", "::1", "localhost", "0.0.0.0", "::", socket.gethostname())
"""Beginnings of the addresses of this machine."""
_called: list[str] = []
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "*"  # what is called is seen as it is


def _no_network(event, arguments):
    """Refuse to call other machines, and note who was called; `.invalid` names nobody."""
    if event not in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        return
    address = arguments[0] if event == "socket.getaddrinfo" else arguments[-1]
    host = address[0] if isinstance(address, tuple) else address
    name = host.decode(errors="replace") if isinstance(host, bytes) else host
    if isinstance(name, str) and name and not name.startswith((*HERE, "/", "\0")):
        if not name.endswith(".invalid"):
            _called.append(f"{event} {name}")
        raise OSError(errno.ENETUNREACH, f"tests call no other machine: {name}")


sys.addaudithook(_no_network)


@pytest.fixture(autouse=True)
def no_network():
    """Fail a test that calls another machine; the call fails, too. Return who was called."""
    _called.clear()
    yield _called
    assert not _called, f"the network was used: {_called}"


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Keep what cvkit caches out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def true_search_width():
    """Search small images for regions; return the width that users get.

    The images of tests are small, and searching one that was enlarged first takes seconds.
    """
    width = searching.WORK_WIDTH
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(searching, "WORK_WIDTH", 160)
        yield width


@pytest.fixture(scope="session", autouse=True)
def unsynced_files():
    """Leave what tests write to the system's cache, since nothing is to survive a power failure.

    Whether cvkit asks for it is tested by what calls arrive; a test's own stand-in replaces this.
    """

    def sync(descriptor):
        os.fstat(descriptor)  # a closed file is an error, as it is in earnest

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", sync)
        yield


@pytest.fixture(scope="session", autouse=True)
def known_batches():
    """Work out once for each network how many samples its batches need.

    Every training asks for it, and it costs a training of a few small images half its time.
    """

    def remembered(get, known):
        def min_batch(task):
            key = repr((task.network, task.preprocessing, len(task.classes)))
            if key not in known:
                known[key] = get(task)
            return known[key]

        return property(min_batch)

    with pytest.MonkeyPatch.context() as patch:
        for place in catalog.TASKS.values():
            kind = catalog.resolve(place)
            patch.setattr(kind, "min_batch", remembered(kind.min_batch.fget, {}))
        yield


ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def clean_folders():
    """Fail a test that leaves something in the project or in the folder that the tests began in."""
    folders = {folder: {*os.listdir(folder)} for folder in {ROOT, Path.cwd()}}
    yield
    for folder, before in folders.items():
        assert not (new := left_in(folder, before)), f"left in {folder}: {', '.join(new)}"


@pytest.fixture(autouse=True)
def own_signals():
    """Undo what an interrupted command leaves: it keeps catching signals on its way out."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def cvkit(capsys):
    """Call the command line in this process."""

    def call(*arguments):
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture
def spawn(tmp_path_factory):
    """Start the command line in a process; with `together` its ranks are copies of it."""
    copies = []

    def start(*arguments, together=False, **environment):
        folder = tmp_path_factory.mktemp("copy")
        copies.append(Copy(arguments, os.environ | environment, folder, together))
        return copies[-1]

    yield start
    for copy in copies:
        if copy.poll() is None:
            copy.kill()
        copy.wait()


@pytest.fixture
def measured_last(monkeypatch):
    """Measure and write only the last epoch: of a few images that is most of the time."""
    measure = Trainer.measure

    def last(trainer, network):
        done = trainer.progress.epoch
        if done + 1 < trainer.settings.epochs:
            return Measured({trainer.task.best: None}, loss=float(done))  # none is the best
        return measure(trainer, network)

    monkeypatch.setattr(Trainer, "measure", last)


@pytest.fixture
def learned(measured_last, monkeypatch, tmp_path):
    """Train with a backbone that costs nothing; return the metrics of the samples that it saw."""
    monkeypatch.setitem(catalog.BACKBONES, "toy", DILATED_TOY)
    usual = {"out": tmp_path / "learned", "val_split": "train", "augment": "none", "workers": 0}

    def get(task, **chosen):
        options = OPTIONS[task]["train"](**usual, precision="fp32", **chosen)
        return run_training(options, task, Reporter(quiet=True)).progress.kept("best")

    return get


@pytest.fixture
def wait_until():
    """Wait for what a process does: at most two minutes, and no longer than it lives."""

    def wait(happened, process):
        deadline = time.monotonic() + 120
        while not happened():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, "it has not happened within two minutes"
            time.sleep(0.005)

    return wait


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """A dataset in the pairs layout: 8 scenes to train, 4 to validate, 64x64."""
    folder = tmp_path_factory.mktemp("scenes")
    write_segmentation(folder, {"train": 8, "val": 4}, seed=3, size_hw=(64, 64))
    return folder


@pytest.fixture(scope="session")
def voc(scenes, tmp_path_factory):
    """The same scenes in the VOC layout, without a class list."""
    root = tmp_path_factory.mktemp("voc")
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / name).mkdir(parents=True)
    for split in ("train", "val"):
        images = sorted((scenes / "images" / split).iterdir())
        for image in images:
            (root / "JPEGImages" / image.name).write_bytes(image.read_bytes())
            mask = scenes / "masks" / split / image.name
            (root / "SegmentationClass" / image.name).write_bytes(mask.read_bytes())
        names = "\n".join(image.stem for image in images)
        (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text(names + "\n")
    return root


TINY = (
    *("--backbone", "mobilenet_v3_small", "--image-size", "32x32", "--batch-size", "2"),
    *("--workers", "0", "--quiet"),
)
"""Flags of a training that takes about a second."""


@pytest.fixture
def tiny():
    return TINY


@pytest.fixture(scope="session")
def trained(scenes, tmp_path_factory):
    """A run folder of a small trained model."""
    out = tmp_path_factory.mktemp("runs")
    code = run(
        ["segment", "train", "--data", str(scenes), "--out", str(out), "--epochs", "2", *TINY]
    )
    assert code == 0
    return out / "segment-unet-001"


_DETECTOR = {"backbone": "mobilenet_v3_small", "channels": 16, "min_size": "32", "roi_samples": 16}
_SMALLEST = {
    "classify": {"arch": "lenet", "image_size": "32", "loss": "hinge"},
    "segment": {"arch": "fcn", "backbone": "mobilenet_v3_small", "image_size": "32x32"},
    "detect": _DETECTOR,
    "instance": _DETECTOR,
    "video": {"arch": "r3d-small", "frames": 4, "image_size": "16"},
}


@pytest.fixture(scope="session")
def smallest():
    """Options of the smallest network of each task."""
    return _SMALLEST


@pytest.fixture(scope="session")
def flags_of():
    """Flags of a training of the smallest network of a task, and further ones."""

    def get(task, **more):
        values = _SMALLEST[task] | {"batch_size": 6, "workers": 0} | more
        pairs = ((f"--{name.replace('_', '-')}", str(value)) for name, value in values.items())
        return [part for pair in pairs for part in pair]

    return get


@pytest.fixture(scope="session")
def data_of(tmp_path_factory):
    """The smallest dataset of each task: 14 samples to train, 7 to validate."""
    made = {}

    def get(task):
        if task not in made:
            made[task] = tmp_path_factory.mktemp(f"data-{task}")
            WRITERS[task](made[task], {"train": 14, "val": 7}, 5, (32, 32))
        return made[task]

    return get


@pytest.fixture(scope="session")
def run_of(data_of, flags_of, tmp_path_factory):
    """A finished run of two epochs of each task; not to be changed."""
    made = {}

    def get(task):
        if task not in made:
            out = tmp_path_factory.mktemp(f"runs-{task}")
            more = flags_of(task, epochs=2, data=data_of(task), out=out)
            assert run([task, "train", *more, "--quiet"]) == 0
            (made[task],) = out.iterdir()
        return made[task]

    return get


@pytest.fixture(scope="session")
def real_data():
    """The folder of real datasets, for tests that need one."""
    folder = os.environ.get("CVKIT_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("CVKIT_DATA is unset or missing")
    return Path(folder)


BLOCK = 8191
"""Numbers that a large tensor gets again and again; a prime, so that no two rows are equal."""


def repeated(draw):
    """Return a function that draws the first numbers of a large tensor and repeats them."""

    def fill(tensor, *own, **more):
        if tensor.numel() <= BLOCK or tensor.is_meta or not tensor.is_contiguous():
            return draw(tensor, *own, **more)
        flat = tensor.detach().view(-1)
        block, times = flat[:BLOCK], len(flat) // BLOCK
        draw(block, *own, **more)
        flat[: times * BLOCK].view(times, BLOCK)[1:] = block
        flat[times * BLOCK :] = block[: len(flat) % BLOCK]
        return tensor

    return fill


@pytest.fixture
def quick_weights(monkeypatch):
    """Begin networks with few random numbers: drawing them all is a third of a test's time.

    Not for tests of what weights begin with.
    """
    for owner, name in (
        (torch.Tensor, "normal_"),
        (torch.Tensor, "uniform_"),
        (nn.init, "trunc_normal_"),
    ):
        monkeypatch.setattr(owner, name, repeated(getattr(owner, name)))
