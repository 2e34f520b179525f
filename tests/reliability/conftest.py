"""What the long tests of promises share: forks, small runs of each task, and counts."""

import random
import shutil
from collections import Counter

import forks
import pytest

from cvkit.catalog import TASKS

EPOCHS = 2


@pytest.fixture(scope="session")
def server():
    """Commands in forks; see `forks`."""
    forks.import_everything()
    return forks


@pytest.fixture
def count(record_property):
    """Count what was tried: `count["kills"] += 1`; the sums are written to the results."""
    counts = Counter()
    yield counts
    for name, number in counts.items():
        record_property(name, number)


@pytest.fixture
def chance(request):
    """Random numbers that are the same for the same test."""
    return random.Random(request.node.nodeid)


@pytest.fixture(scope="session")
def training(data_of, flags_of):
    """Return the command line of a small training that keeps its states."""

    def get(task, out, **more):
        values = {"epochs": EPOCHS, "data": data_of(task), "out": out, "batch_size": 4} | more
        return [task, "train", *flags_of(task, **values), "--keep-states", "--quiet"]

    return get


@pytest.fixture(scope="session")
def run_of(server, data_of, flags_of, tmp_path_factory):
    """A finished run of two epochs of each task; not to be changed.

    It is made in a fork: threads of the engine that measures boxes would be missing in later ones.
    """
    made = {}

    def get(task):
        if task not in made:
            out = tmp_path_factory.mktemp(f"runs-{task}")
            more = flags_of(task, epochs=EPOCHS, data=data_of(task), out=out)
            ended = server.run([task, "train", *more, "--quiet"])
            assert ended.code == 0, ended.err
            (made[task],) = out.iterdir()
        return made[task]

    return get


@pytest.fixture(scope="session")
def undisturbed(server, training, tmp_path_factory):
    """The folder of a run of each task that nothing has stopped; not to be changed."""
    made = {}

    def get(task):
        if task not in made:
            out = tmp_path_factory.mktemp(f"undisturbed-{task}")
            ended = server.run(training(task, out, ema=0.9))
            assert ended.code == 0, ended.err
            (made[task],) = out.iterdir()
        return made[task]

    return get


@pytest.fixture
def emptied(tmp_path):
    """Return a folder, new each time, and remove the one before."""

    def make():
        shutil.rmtree(tmp_path / "trial", ignore_errors=True)
        (tmp_path / "trial").mkdir()
        return tmp_path / "trial"

    return make


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in TASKS])
def task(request):
    return request.param
