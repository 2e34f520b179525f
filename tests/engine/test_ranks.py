"""Processes that share the inputs of eval and predict give what one process gives, to the byte."""

import io
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from command_lines import Outcome
from copies import Copy, Forked, forked
from PIL import Image

from cvkit import catalog, cli
from cvkit.data.synthetic.samples import WRITERS
from cvkit.engine import processes, ranks
from cvkit.engine.journal import Journal
from cvkit.engine.processes import Layout, find_layout, first_host
from cvkit.errors import UsageError
from cvkit.options.base import Predict
from cvkit.options.job import with_given

WEIGHTS = {
    "classify": "shapes",
    "segment": "scenes",
    "detect": "boxes",
    "instance": "masks",
    "video": "motions",
}
FLAGS = ("--device", "cpu", "--batch-size", 2, "--workers", 0, "--quiet")


@pytest.fixture(autouse=True)
def forks(monkeypatch):
    """Let ranks be copies of this process: importing torch takes a process seconds."""
    monkeypatch.setattr(processes, "start_process", Forked)
    monkeypatch.setattr(processes, "cores", lambda: 3)
    monkeypatch.setattr(Forked, "prepare", staticmethod(lambda rank: None))
    monkeypatch.setattr(ranks, "PERIOD", 0.05)
    return Forked


def ended(act):
    """Return the code, stdout and stderr of a copy of this process that is the first rank.

    It is checked that it leaves no other rank and no thread that looks for them.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:

        def alone():
            os.setpgid(0, 0)
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            sys.stdout, sys.stderr = (
                io.TextIOWrapper(io.FileIO(number, "w", closefd=False)) for number in (1, 2)
            )
            code = act()
            assert not [thread for thread in threading.enumerate() if thread.name == "ranks"]
            return code

        pid = forked(alone)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        deadline = time.monotonic() + 10
        while (left := works(pid)) and time.monotonic() < deadline:
            time.sleep(0.02)
        if left:
            os.killpg(pid, signal.SIGKILL)
        out.seek(0)
        err.seek(0)
        found = Outcome(code, out.read(), err.read())
    assert not left, f"ranks are left: {found.err}"
    return found


def works(group):
    """Return whether a process of a group has not ended."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def cvkit():
    """Call the command line in a copy of this process."""
    return lambda *arguments: ended(lambda: cli.run([str(argument) for argument in arguments]))


@pytest.fixture
def started(tmp_path):
    """Call the command line in a new process.

    COCO's metrics run in threads that a copy of this process lacks if it has computed some before.
    """

    def call(*arguments):
        with tempfile.TemporaryDirectory(dir=tmp_path.parent) as folder:
            copy = Copy(arguments, os.environ, Path(folder), together=True)
            out, err = copy.communicate()
        return Outcome(copy.returncode, out, err)

    return call


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Labelled data of each task in three sizes; one file is no image and one is cut off."""
    found = {}

    def make(task):
        if task not in found:
            root = found[task] = tmp_path_factory.mktemp(f"ranks-{task}")
            WRITERS[task](root, {"val": 9}, 5, (40, 48))
            kinds = ("*.mp4",) if task == "video" else ("*.png", "*.jpg")
            files = sorted(path for kind in kinds for path in root.rglob(kind))
            files = [path for path in files if "masks" not in path.parts]
            if task != "video":
                for number, path in enumerate(files):
                    turned(path, number % 3)
            cut_off(files[2])
            files[5].write_bytes(b"none")
        return found[task]

    return make


def turned(path, turns):
    """Give an image of data whose labels allow it another size."""
    with Image.open(path) as image:
        image.load()
    if "images" not in path.parts:  # classify: a label says nothing about places
        image.resize((40 + 8 * turns, 48)).save(path)


def cut_off(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def files_of(folder):
    """Return what is in a folder, but for the configuration."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "predict.json"
    }


def lines(folder, name="predictions"):
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("task", catalog.TASKS)
def test_predictions_are_those_of_one_process(cvkit, inputs, tmp_path, task):
    made = {}
    for count in (1, 3):
        out = tmp_path / str(count)
        flags = ("--weights", WEIGHTS[task], *FLAGS, "--out", out, "--devices", count, "--json")
        done = cvkit(task, "predict", inputs(task), *flags)
        assert done.code == 3, done.err
        made[count] = files_of(out), done.json | {"out": None, "contact_sheet": None}
    first, answer = made[1]
    assert first["failures.jsonl"].count(b"\n") == 2
    assert made[3][1] == answer
    assert made[3][0].keys() == first.keys()
    for name, content in first.items():
        assert made[3][0][name] == content, name


@pytest.mark.parametrize("task", catalog.TASKS)
def test_evaluations_are_those_of_one_process(cvkit, started, inputs, tmp_path, task):
    made = {}
    for count in (1, 2):
        out = tmp_path / str(count)
        flags = ("--weights", WEIGHTS[task], *FLAGS, "--out", out, "--devices", count, "--json")
        call = started if task in ("detect", "instance") else cvkit
        done = call(task, "eval", "--data", inputs(task), *flags)
        assert done.code == 3, done.err
        (folder,) = out.iterdir()
        tables = files_of(folder)
        for name in ("report.json", "eval.json"):  # they name their folder
            tables.pop(name)
        answer = json.loads(done.out.replace(str(out), ""))
        made[count] = tables, answer
    assert made[1][1]["counts"]["failed"] == 2
    assert made[2] == made[1]


@pytest.fixture
def photos(tmp_path):
    """Images of one size and of another in turn; the paths are in order."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(24):
        size = (40, 48) if number % 3 else (56, 40)
        Image.new("RGB", size, (10 * number, 99, 5 * number)).save(folder / f"{number:02}.png")
    return folder


def predict(cvkit, photos, out, *more):
    return cvkit("segment", "predict", photos, "--weights", "scenes", *FLAGS, "--out", out, *more)


@pytest.fixture
def whole(cvkit, photos, tmp_path):
    """What one process writes."""
    assert predict(cvkit, photos, tmp_path / "whole", "--contact-sheet", 0).code == 0
    return tmp_path / "whole"


def acting(monkeypatch, at, act):
    """Do something before a batch of this process, numbered from 1; see what it predicts."""
    from cvkit.tasks.segment.task import Segment

    real, seen = Segment.predict, []

    def watched(self, model, batch):
        seen.append([sample.path for sample in batch.samples])
        if len(seen) == at:
            act()
        return real(self, model, batch)

    monkeypatch.setattr(Segment, "predict", watched)
    return seen


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_dead_rank_is_named_and_nothing_is_lost(
    cvkit, photos, whole, tmp_path, monkeypatch, forks
):
    monkeypatch.setattr(forks, "prepare", lambda rank: rank == 2 and acting(monkeypatch, 3, killed))
    out, started = tmp_path / "out", time.monotonic()
    done = predict(cvkit, photos, out, "--devices", 3, "--json")
    assert time.monotonic() - started < 60
    assert done.code == 6
    assert done.json["error"]["code"] == "ranks.ended"
    assert done.err.startswith("error: rank 2 was killed by SIGKILL (")
    kept = {path.name: path.read_bytes() for path in out.glob("predictions*.jsonl")}
    assert (whole / "predictions.jsonl").read_bytes().startswith(kept["predictions.jsonl"])
    keys = {line["path"] for text in kept.values() for line in map(json.loads, text.splitlines())}
    assert 8 <= len(keys) < 24 and len(kept) == 4

    monkeypatch.setattr(forks, "prepare", lambda rank: None)
    again = predict(cvkit, photos, out, "--devices", 2, "--resume", "--json", "--contact-sheet", 0)
    assert again.code == 0, again.err
    counts = {"predicted": 24 - len(keys), "failed": 0, "skipped": len(keys)}
    assert again.json["counts"] == counts
    assert files_of(out) == files_of(whole)


def test_a_killed_prediction_is_resumed_by_one_process(cvkit, photos, whole, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    content = (out / "predictions.jsonl").read_bytes().splitlines(keepends=True)
    (out / "predictions.jsonl").write_bytes(b"".join(content[:4]) + content[4][:9])
    (out / "predictions-rank0.jsonl").write_bytes(content[3] + content[9] + content[21][:30])
    (out / "predictions-rank1.jsonl").write_bytes(content[5] + content[4])
    (out / "failures-rank1.jsonl").write_text('{"path": "06.png", "code": "x", "reason": "y"}\n')
    journal = Journal(
        out, resume=True, model=json.loads((out / "predict.json").read_text())["model"]
    )
    assert journal.done == {f"{number:02}.png" for number in (0, 1, 2, 3, 4, 5, 9)}
    journal.close()
    done = predict(cvkit, photos, out, "--resume", "--json", "--contact-sheet", 0)
    assert done.json["counts"] == {"predicted": 17, "failed": 0, "skipped": 7}
    assert files_of(out) == files_of(whole)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_one_rank_stops_all(
    cvkit, photos, whole, tmp_path, monkeypatch, forks, number, code, rank
):
    here = lambda: signal.raise_signal(number)  # noqa: E731
    slow = lambda: time.sleep(1.5)  # noqa: E731, so that it does not end before it is told
    with monkeypatch.context() as patch:
        if rank == 0:
            patch.setattr(forks, "prepare", lambda rank: acting(patch, 2, slow))
            acting(patch, 2, here)
        else:
            patch.setattr(forks, "prepare", lambda rank: acting(patch, 2, here))
            acting(patch, 2, slow)
        stopped = predict(cvkit, photos, tmp_path / "out", "--devices", 2)
    assert stopped.code == code, stopped.err
    assert stopped.err == "error: prediction interrupted (add --resume to continue)\n"
    done = tmp_path / "out"
    begun = (done / "predictions.jsonl").read_bytes()
    assert (whole / "predictions.jsonl").read_bytes().startswith(begun)
    assert predict(cvkit, photos, done, "--resume", "--devices", 3, "--contact-sheet", 0).code == 0
    assert files_of(done) == files_of(whole)


def test_max_failures_stop_all_ranks_where_one_process_stops(cvkit, photos, tmp_path):
    for number in (5, 6, 13, 20):
        (photos / f"{number:02}.png").write_bytes(b"none")
    made = {}
    for count in (1, 2, 3):
        out = tmp_path / str(count)
        done = predict(cvkit, photos, out, "--max-failures", 3, "--devices", count)
        assert done.code == 2
        content = {
            name: (out / f"{name}.jsonl").read_bytes() for name in ("predictions", "failures")
        }
        made[count] = done.err.replace(str(out), ""), content
    assert made[1][1]["failures"].count(b"\n") == 3
    assert made[2] == made[1] and made[3] == made[1]


def test_the_failure_of_a_rank_is_told_with_its_code(cvkit, photos, tmp_path, monkeypatch, forks):
    def full():
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(forks, "prepare", lambda rank: acting(monkeypatch, 1, full))
    done = predict(cvkit, photos, tmp_path / "out", "--devices", 2)
    assert done.code == 6
    assert done.err.startswith("error: rank 1: no space is left: ")


def test_one_folder_is_refused_by_the_first_rank_alone(cvkit, photos, whole):
    done = predict(cvkit, photos, whole, "--devices", 2)
    assert done.code == 2 and done.err.startswith(f"error: --out {whole} is not empty (")


def wanted(**flags):
    return with_given(Predict(**flags), flags)


TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
SLURM = {"SLURM_NTASKS": "6", "SLURM_PROCID": "4", "SLURM_LOCALID": "1", "SLURM_NNODES": "2"}
HOSTS = {"MASTER_ADDR": "a", "NODE_RANK": "1"}


@pytest.mark.parametrize(
    ("variables", "flags", "layout"),
    [
        ({}, {}, Layout()),
        ({}, {"devices": 3}, Layout(0, 3, 0, 3)),
        (TORCHRUN, {}, Layout(3, 4, 1, 2, "torchrun")),
        (TORCHRUN, {"devices": 2, "nodes": 2}, Layout(3, 4, 1, 2, "torchrun")),
        (SLURM, {}, Layout(4, 6, 1, 3, "SLURM")),
        (SLURM | {"SLURM_NTASKS": "1"}, {"devices": 2}, Layout(0, 2, 0, 2)),
        (HOSTS, {"devices": 2, "nodes": 3}, Layout(2, 6, 0, 2)),
    ],
)
def test_who_works_together_follows_from_variables_and_flags(monkeypatch, variables, flags, layout):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert find_layout(wanted(**flags)) == layout
    assert layout.node == layout.rank // layout.local_world


@pytest.mark.parametrize(
    ("variables", "flags", "code", "shown"),
    [
        (TORCHRUN, {"devices": 4}, "devices.launcher", "torchrun has started 2 processes per mach"),
        (SLURM, {"nodes": 3}, "nodes.launcher", "SLURM has started 2 machines in all"),
        (SLURM | {"SLURM_NNODES": "4"}, {}, "nodes.launcher", "6 tasks on 4 nodes"),
        (TORCHRUN | {"RANK": "x"}, {}, "nodes.variables", "RANK is 'x', not a number"),
        (TORCHRUN | {"RANK": "4"}, {}, "nodes.variables", "contradict each other"),
        (TORCHRUN | {"LOCAL_WORLD_SIZE": "0"}, {}, "nodes.variables", "contradict each other"),
        ({}, {"nodes": 2}, "nodes.variables", "--nodes 2 needs the variable MASTER_ADDR"),
        (HOSTS | {"NODE_RANK": "2"}, {"nodes": 2}, "nodes.variables", "NODE_RANK with --nodes 2"),
    ],
)
def test_variables_that_cannot_be_meant_are_refused(monkeypatch, variables, flags, code, shown):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError) as refused:
        find_layout(wanted(**flags))
    assert refused.value.code == code and shown in str(refused.value)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("n1", "n1"), ("n1,n2", "n1"), ("a[03-05,9],b", "a03"), ("a[7,9]", "a7"), ("", "127.0.0.1")],
)
def test_the_first_host_of_a_list(nodes, first):
    assert first_host(nodes) == first


def test_a_rank_that_does_not_join_is_reported_in_time(monkeypatch):
    monkeypatch.setattr(ranks, "JOIN_SECONDS", 0.5)
    monkeypatch.setattr(ranks, "GRACE_SECONDS", 0.2)
    stop = SimpleNamespace(number=0, raise_if_set=lambda *_: None)
    started = processes.Started(Layout(0, 2, 0, 1), ("127.0.0.1", processes._free_port()))

    def join():
        refused = pytest.raises(ranks.MachineError, match="rank 0 could not join 2 processes")
        with refused, ranks.joined(started, stop):
            pytest.fail("nobody else is here")
        return 0

    found = ended(join)
    assert found.code == 0, found.err
