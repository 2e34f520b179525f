"""Processes that share the inputs of eval and predict give what one process gives, to the byte."""

import json
import os
import signal
import traceback

import pytest
from PIL import Image

from cvkit import catalog, cli
from cvkit.data.synthetic.samples import WRITERS
from cvkit.engine import processes, ranks

WEIGHTS = {
    "classify": "shapes",
    "segment": "scenes",
    "detect": "boxes",
    "instance": "masks",
    "video": "motions",
}
FLAGS = ("--device", "cpu", "--batch-size", 2, "--workers", 0, "--quiet")


class Forked:
    """A rank that is a copy of this process, which has imported everything."""

    prepare = staticmethod(lambda rank: None)
    all = ()

    def __init__(self, arguments, variables):
        self.pid, self.code = os.fork(), None
        Forked.all += (self,)
        if self.pid == 0:
            code = 99
            try:
                os.environ.update(variables)
                Forked.prepare(int(variables["RANK"]))
                code = cli.run(arguments)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)

    def poll(self):
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code

    def send_signal(self, number):
        os.kill(self.pid, number)


@pytest.fixture(autouse=True)
def forks(monkeypatch):
    """Let ranks be copies of this process: importing torch takes a process seconds."""
    monkeypatch.setattr(processes, "start_process", Forked)
    monkeypatch.setattr(processes, "cores", lambda: 3)
    monkeypatch.setattr(Forked, "prepare", staticmethod(lambda rank: None))
    monkeypatch.setattr(Forked, "all", ())
    monkeypatch.setattr(ranks, "PERIOD", 0.05)
    yield Forked
    for child in Forked.all:
        if child.poll() is None:
            os.kill(child.pid, signal.SIGKILL)
            os.waitpid(child.pid, 0)


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
    for count in (1, 2, 3):
        out = tmp_path / str(count)
        flags = ("--weights", WEIGHTS[task], *FLAGS, "--out", out, "--devices", count, "--json")
        done = cvkit(task, "predict", inputs(task), *flags)
        assert done.code == 3, done.err
        made[count] = files_of(out), done.json | {"out": None, "contact_sheet": None}
    first, answer = made[1]
    assert first["failures.jsonl"].count(b"\n") == 2
    for count in (2, 3):
        assert made[count][1] == answer
        assert made[count][0].keys() == first.keys()
        for name, content in first.items():
            assert made[count][0][name] == content, (count, name)


@pytest.mark.parametrize("task", catalog.TASKS)
def test_evaluations_are_those_of_one_process(cvkit, inputs, tmp_path, task):
    made = {}
    for count in (1, 2, 3):
        out = tmp_path / str(count)
        flags = ("--weights", WEIGHTS[task], *FLAGS, "--out", out, "--devices", count, "--json")
        done = cvkit(task, "eval", "--data", inputs(task), *flags)
        assert done.code == 3, done.err
        (folder,) = out.iterdir()
        tables = files_of(folder)
        tables.pop("report.json")  # it names its folder
        answer = json.loads(done.out.replace(str(out), ""))
        made[count] = tables, answer
    assert made[1][1]["counts"]["failed"] == 2
    assert made[2] == made[1] and made[3] == made[1]
