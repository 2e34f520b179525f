"""Checkpoints and resuming, R1 to R9: kills, full disks, damage and signals in great numbers.

Not part of `make test`: see `make soak`.
"""

import builtins
import contextlib
import errno
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from cvkit import catalog
from cvkit.catalog import TASKS
from cvkit.engine import checkpoint
from cvkit.engine.train import Trainer
from cvkit.errors import MachineError, ModelFileError
from cvkit.model_files import read_model, write_sealed

DATA = {"fingerprint": "x"}


def result_of(run):
    """Everything that a run ends with: states, models and the lines of metrics."""
    newest = max((run / "ckpt").glob("step-*"))
    files = [*newest.glob("*.safetensors"), run / "best.safetensors", run / "last.safetensors"]
    tensors = {
        f"{file.stem}.{name}": value for file in files for name, value in load_file(file).items()
    }
    return tensors, (run / "metrics.jsonl").read_text()


def differing_bits(run, reference):
    """Return the number of bytes in which two runs differ, and what differs first."""
    (tensors, lines), (wanted, wanted_lines) = result_of(run), result_of(reference)
    assert tensors.keys() == wanted.keys()
    wrong = [
        name
        for name, value in tensors.items()
        if value.numpy().tobytes() != wanted[name].numpy().tobytes()
    ]
    return len(wrong) + (lines != wanted_lines)


def resumed(server, task, run, **more):
    flags = [part for name, value in more.items() for part in (f"--{name}", value)]
    return server.run([task, "train", "--resume", run, "--quiet", *flags])


def verified(server, run):
    """Whether every file of a run folder is what was written."""
    return server.run(["weights", "verify", run]).code == 0


# R1


@pytest.mark.parametrize("number", range(4))
def test_r1_kills(server, training, undisturbed, emptied, chance, count, task, number):
    """A run is killed again and again; each time it is intact, and it ends in the same bits."""
    reference = undisturbed(task)
    deadline, kills = time.monotonic() + 60, 0
    while kills < 10 and time.monotonic() < deadline:
        out = emptied()
        flags = {"ema": 0.9, "workers": chance.choice([0, 2])}
        arguments = [*training(task, out, **flags), "--save-minutes", 0]
        run = None
        for _ in range(5):
            running = server.start(arguments)
            while running.running() and not list(out.glob("*/ckpt/last")):
                time.sleep(0.002)
            time.sleep(chance.random() ** 2 * 1.5)
            killed = running.kill()
            assert killed.code in (0, -9), killed.err
            (run,) = out.iterdir()
            count["kills"] += killed.code == -9
            kills += killed.code == -9
            assert verified(server, run), "a kill has left a damaged run"
            count["verified"] += 1
            arguments = [task, "train", "--resume", run, "--quiet", "--save-minutes", 0]
            if killed.code == 0 or kills >= 10:
                break
        ended = resumed(server, task, run, **{"save-minutes": 5})
        assert ended.code == 0, ended.err
        assert differing_bits(run, reference) == 0
        count["resumed to the same bits"] += 1


OPERATIONS = (
    *((os, "fsync"), (os, "replace"), (os, "mkdir"), (os, "unlink"), (os, "rmdir")),
    *((builtins, "open"), (os, "open"), (shutil, "rmtree"), (os, "write"), (shutil, "disk_usage")),
)
"""What touches the disk."""


def fail_at(number, fail):
    """Make the n-th operation on the disk, counted from 1, fail; return a counter."""
    done = [0]

    def wrap(real, label):
        def wrapped(*arguments, **named):
            if label == "open" and "w" not in str(arguments[1:2]) and "O_CREAT" not in label:
                return real(*arguments, **named)
            done[0] += 1
            if done[0] == number:
                fail()
            return real(*arguments, **named)

        return wrapped

    for module, name in OPERATIONS:
        setattr(module, name, wrap(getattr(module, name), name))
    return done


def no_input_output():
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def small_state(run, step):
    tensors = {"model": {"w": torch.full((3,), float(step))}, "optim": {"s": torch.tensor(1.0)}}
    checkpoint.save_state(run, step, tensors, {"step": step, "data": DATA})


def step_of(run):
    tensors, content, _ = checkpoint.load_state(run, DATA)
    assert tensors["model"]["w"].tolist() == [content["step"]] * 3
    return content["step"]


@pytest.mark.parametrize("how", ["exit", "EIO"])
def test_r1_every_step_of_the_writer(server, emptied, count, how):
    """The process ends, or the disk fails, at each operation while the third state is saved."""
    for number in range(1, 200):
        run = emptied()
        small_state(run, 1)
        small_state(run, 2)

        def act(run=run, number=number):
            done = fail_at(number, no_input_output if how == "EIO" else lambda: os._exit(137))
            try:
                small_state(run, 3)
            except MachineError:
                return 6
            return 0 if done[0] < number else 7  # 7: failed, and went on all the same

        ended = forks_running(server, act)
        assert "Traceback" not in ended.err or how == "exit", ended.err
        count[f"failures ({how})"] += ended.code != 0
        assert step_of(run) in (2, 3)
        small_state(run, 4)
        assert step_of(run) == 4
        assert not list((run / "ckpt").glob(".tmp-*"))
        if ended.code == 0:
            break
    assert ended.code == 0 and number > 15


def forks_running(server, act):
    return server.Running(act).wait()


# R2


def hashes(folder):
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


FILL = """
import os, shutil, sys
from pathlib import Path
import torch
from cvkit.engine import checkpoint
from cvkit.engine.journal import Journal
from cvkit.errors import MachineError
from cvkit.storage import write_json

def state(step):
    tensors = {"model": {"w": torch.full((100_000,), float(step))}}
    checkpoint.save_state(root / "run", step, tensors, {"step": step, "data": {}})

root, what = Path(sys.argv[1]), sys.argv[2]
for level in range(30):
    for name in ("run", "out"):
        (root / name).mkdir()
    state(1)
    write_json(root / "metrics.json", {"a": 1})
    journal = Journal(root / "out", resume=False, model="m")
    journal.result({"path": "a"})
    journal.sync()
    with open(root / "filler", "wb") as stream:
        stream.write(bytes(max(0, shutil.disk_usage(root).free - 20_000 * level)))
    try:
        for step in range(2, 40):
            if what == "states":
                state(step)
            elif what == "metrics":
                write_json(root / f"metrics{step}.json", {"a": "x" * 400_000})
            else:
                journal.result({"path": "x" * 400_000})
                journal.sync()
        sys.exit("it was never full")
    except MachineError as error:
        text = str(error)
        assert error.exit_code == 6 and "MiB free" in text and str(root) in text, text
    (root / "filler").unlink()
    assert not [path for path in root.rglob("*") if ".tmp" in path.name]
    assert (root / "metrics.json").read_text().split() == ["{", '"a":', "1", "}"]
    tensors, content, rejected = checkpoint.load_state(root / "run", {})
    assert not rejected, rejected
    assert tensors["model"]["w"].unique().tolist() == [content["step"]]
    try:
        journal.close()
    except MachineError:
        pass
    again = Journal(root / "out", resume=True, model="m")
    assert "a" in again.done
    again.close()
    for path in root.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    print("well")
"""


@pytest.mark.parametrize("what", ["states", "metrics", "predictions"])
def test_r2_a_full_disk(emptied, count, what):
    """A file system of 8 MB is filled but for 0 to 580 kB, and written to until it is full."""
    place = emptied()
    script = 'mount -t tmpfs -o size=8m none "$1" && exec "$2" -c "$3" "$1" "$4"'
    command = ["unshare", "-Urm", "sh", "-c", script, "sh", str(place), sys.executable, FILL, what]
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": root}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    count[f"levels of {what}"] += done.stdout.count("well")
    assert done.stdout.count("well") == 30


def test_r2_a_limit_of_file_sizes(server, training, emptied, count, task):
    """No file may be larger than a limit: the run ends with 6, and the old state stays."""
    out = emptied()
    assert server.run(training(task, out, epochs=1)).code == 0
    (run,) = out.iterdir()
    size = max(path.stat().st_size for path in run.rglob("*.safetensors"))
    before = hashes(run / "ckpt")
    for share in (0.02, 0.3, 0.6, 0.9):
        limit = server.at_most(resource.RLIMIT_FSIZE, int(size * share))
        ended = server.run([task, "train", "--resume", run, "--epochs", 2, "--quiet"], limit)
        assert ended.code == 6, ended.err
        server.say_well(ended)
        assert str(run) in ended.err
        now = hashes(run / "ckpt")
        assert {name: now.get(name) for name in before} == before
        assert not [name for name in now if ".tmp" in str(name)]
        count["limits"] += 1


# R3


def test_r3_flips_truncations_and_missing_files(undisturbed, emptied, chance, count, task):
    run = shutil.copytree(undisturbed(task), emptied() / "run")
    states = sorted((run / "ckpt").glob("step-*"))
    assert len(states) == 2
    newest = states[-1]
    data = json.loads((newest / "state.json").read_text())["data"]
    files = sorted(newest.iterdir())
    older = int(states[0].name.removeprefix("step-"))

    def refused(file):
        _, state, rejected = checkpoint.load_state(run, data)
        assert state["progress"]["step"] == older
        assert any(newest.name in text for text in rejected)

    for number in range(200):
        file = files[number % len(files)]
        content = file.read_bytes()
        changed = bytearray(content)
        changed[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        file.write_bytes(changed)
        refused(file)
        file.write_bytes(content)
        count["flips"] += 1
    for number in range(13):
        file = files[number % len(files)]
        content = file.read_bytes()
        file.write_bytes(content[: chance.randrange(len(content))])
        refused(file)
        file.write_bytes(content)
        count["truncations"] += 1
    for file in files:
        content = file.read_bytes()
        file.unlink()
        refused(file)
        file.write_bytes(content)
        count["missing files"] += 1
    for folder in states:
        (folder / "state.json").write_bytes(b"{}")
    with pytest.raises(ModelFileError) as caught:
        checkpoint.load_state(run, data)
    assert all(folder.name in str(caught.value) for folder in states)
    assert caught.value.exit_code == 2
    count["without any state"] += 1


# R4


def test_r4_old_states_are_removed_and_never_the_last(tmp_path_factory, count):
    steps = st.lists(
        st.tuples(st.integers(1, 10**6), st.sampled_from(["save", "crash", "damage"])),
        min_size=1,
        max_size=8,
        unique_by=lambda pair: pair[0],
    )

    @settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
    @given(steps)
    def sequences(pairs):
        run = tmp_path_factory.mktemp("states", numbered=True)
        saved = None
        for step, how in sorted(pairs):
            if how == "crash" and saved is not None:
                with pytest.MonkeyPatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
                    patch.setattr(os, "replace", stop)
                    small_state(run, step)
            else:
                small_state(run, step)
                saved = step
            kept = sorted((run / "ckpt").glob("step-*"))
            assert len(kept) <= checkpoint.KEEP
            assert step_of(run) == saved
            numbers = [int(folder.name[5:]) for folder in kept]
            assert numbers[-1] == saved
        shutil.rmtree(run)
        count["sequences"] += 1

    sequences()


def stop(*_):
    raise KeyboardInterrupt


# R5

CUTS = {
    "at the end of an epoch": ("loss", 4),
    "in an epoch": ("loss", 6),
    "in the validation": ("predict", 2),
}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("cut", CUTS)
def test_r5_the_same_bits(server, training, undisturbed, emptied, count, task, cut, workers):
    out = emptied()
    method, call = CUTS[cut]
    kind = catalog.resolve(TASKS[task])

    def prepare():
        real, calls = getattr(kind, method), [0]

        def wrapped(self, *rest):
            calls[0] += 1
            if calls[0] == call:
                signal.raise_signal(signal.SIGTERM)
            return real(self, *rest)

        setattr(kind, method, wrapped)

    stopped = server.run(training(task, out, ema=0.9, workers=2 - workers), prepare)
    assert stopped.code == 143, stopped.err
    (run,) = out.iterdir()
    ended = resumed(server, task, run, workers=workers)
    assert ended.code == 0, ended.err
    assert differing_bits(run, undisturbed(task)) == 0
    count["pairs"] += 1


# R6


def rewritten(folder, change):
    """Change a state and give it a manifest that fits."""
    state = json.loads((folder / "state.json").read_text())
    tensors = {file.stem: load_file(file) for file in folder.glob("*.safetensors")}
    change(state, tensors)
    (folder / "state.json").write_text(json.dumps(state))
    for file in folder.glob("*.safetensors"):
        file.unlink()
    for name, group in tensors.items():
        save_file(group, folder / f"{name}.safetensors")
    manifest = json.loads((folder / "MANIFEST.json").read_text())
    manifest["files"] = {
        path.name: {
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "size": path.stat().st_size,
        }
        for path in folder.iterdir()
        if path.name != "MANIFEST.json"
    }
    (folder / "MANIFEST.json").write_text(json.dumps(manifest))


def without(*place):
    def change(state, tensors):
        inner = tensors if place[0] in tensors else state
        for key in place[:-1]:
            inner = inner[key]
        del inner[place[-1]]

    return change


def reset(*place, to):
    def change(state, tensors):
        inner = state
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = to(inner[place[-1]]) if callable(to) else to

    return change


def zeroed(group):
    def change(state, tensors):
        tensors[group] = {name: torch.zeros_like(value) for name, value in tensors[group].items()}

    return change


LOST = {
    "weights": (without("model"), zeroed("model")),
    "optimizer": (without("optim"), zeroed("optim")),
    "average": (without("ema"), zeroed("ema")),
    "scaler": (without("scaler"), None),
    "epoch": (None, reset("progress", "epoch", to=0)),
    "position": (None, reset("progress", "position", to=lambda now: now - 1)),
    "step": (None, reset("progress", "step", to=lambda now: now - 1)),
    "sums": (None, reset("progress", "sums", to={})),
    "best value": (None, reset("progress", "best", to=2.0)),
    "history": (None, reset("progress", "history", to=[])),
    "data": (without("data"), None),
}
"""What a state is made to lack, and what it is made to have forgotten."""


@pytest.fixture(scope="module")
def in_the_second_epoch(server, training, tmp_path_factory):
    out = tmp_path_factory.mktemp("stopped")

    def prepare():
        kind = catalog.resolve(TASKS["segment"])
        real, calls = kind.loss, [0]

        def wrapped(self, *rest):
            calls[0] += 1
            if calls[0] == 6:
                signal.raise_signal(signal.SIGTERM)
            return real(self, *rest)

        kind.loss = wrapped

    assert server.run(training("segment", out, ema=0.9), prepare).code == 143
    (run,) = out.iterdir()
    return run


@pytest.mark.parametrize("part", LOST)
def test_r6_a_state_that_lacks_something(
    server, undisturbed, in_the_second_epoch, emptied, count, part
):
    missing, forgotten = LOST[part]
    if missing:
        run = shutil.copytree(in_the_second_epoch, emptied() / "run")
        for state in (run / "ckpt").glob("step-*"):
            rewritten(state, missing)
        ended = resumed(server, "segment", run)
        assert ended.code == 2, ended.err
        server.say_well(ended)
        count["refused"] += 1
    if forgotten:
        run = shutil.copytree(in_the_second_epoch, emptied() / "run")
        for state in (run / "ckpt").glob("step-*"):
            rewritten(state, forgotten)
        ended = resumed(server, "segment", run)
        same = False
        if ended.code == 0:
            with contextlib.suppress(FileNotFoundError):
                same = differing_bits(run, undisturbed("segment")) == 0
        assert not same, f"nobody notices that {part} is lost"
        count["noticed"] += 1


# R7


def other_weights(change):
    def apply(path):
        tensors, header = read_model(path)
        change(tensors, header)
        write_sealed(path, tensors, {k: v for k, v in header.items() if k != "sha256"})

    return apply


def drop(tensors, header):
    del tensors[min(tensors)]


def add(tensors, header):
    tensors["more.weight"] = torch.ones(2)


def reshape(tensors, header):
    name = max(tensors, key=lambda each: tensors[each].numel())
    tensors[name] = torch.ones(3, 3)


def retype(tensors, header):
    name = max(tensors, key=lambda each: tensors[each].numel())
    tensors[name] = torch.ones(tensors[name].shape, dtype=torch.complex64)


def fewer_classes(tensors, header):
    header["classes"] = header["classes"][:-1]


def more_classes(tensors, header):
    header["classes"] = [*header["classes"], {**header["classes"][-1], "name": "more", "id": 99}]


def no_classes(tensors, header):
    del header["classes"]


def other_task(tensors, header):
    header["task"] = "segment" if header["task"] != "segment" else "classify"


def no_network(tensors, header):
    del header["network"]


def no_preprocessing(tensors, header):
    del header["preprocessing"]


def unknown_arch(tensors, header):
    header["network"]["arch"] = "transmogrifier"


def newer(tensors, header):
    header["classes"] = 7


MISFITS = {
    each.__name__: each
    for each in (
        *(drop, add, reshape, retype, fewer_classes, more_classes, no_classes, other_task),
        *(no_network, no_preprocessing, unknown_arch, newer),
    )
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_r7_what_does_not_fit_is_refused(server, run_of, data_of, emptied, count, task, misfit):
    model = shutil.copy(run_of(task) / "best.safetensors", emptied() / "m.safetensors")
    other_weights(MISFITS[misfit])(Path(model))
    ended = server.run(
        [task, "eval", "--weights", model, "--data", data_of(task), "--out", Path(model).parent]
    )
    assert ended.code == 2, (misfit, ended.err)
    server.say_well(ended)
    count["files"] += 1


# R8


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_r8_signals(server, training, undisturbed, emptied, chance, count, task, number):
    for trial in range(6):
        out = emptied()
        workers = chance.choice([0, 1, 2])
        running = server.start(training(task, out, ema=0.9, workers=workers))
        time.sleep(chance.random() * 2.5)
        sent, twice = time.monotonic(), trial == 5
        running.send(number)
        if twice:
            time.sleep(0.02)
            running.send(number)
        ended = running.wait()
        assert time.monotonic() - sent < 10
        assert ended.code in (0, 128 + number), ended.err
        count["signals"] += ended.code != 0
        assert "Traceback" not in ended.err
        runs = list(out.iterdir())
        if not runs or not list(runs[0].glob("ckpt/last")):
            continue  # before the work began
        assert verified(server, runs[0])
        if ended.code:
            assert resumed(server, task, runs[0]).code == 0
        assert differing_bits(runs[0], undisturbed(task)) == 0
        count["resumed to the same bits"] += 1


# R9


def poison_loss(kind, value):
    real, calls = kind.loss, [0]

    def loss(self, *rest):
        calls[0] += 1
        terms = real(self, *rest)
        if calls[0] == 3:
            name = min(terms)
            terms[name] = terms[name] * value
        return terms

    kind.loss = loss


def poison_input(kind, value):
    real, calls = kind.loss, [0]

    def poisoned(layer, inputs):
        image = inputs[0].clone()
        image[(0,) * image.ndim] = value
        return image, *inputs[1:]

    def loss(self, model, batch):
        calls[0] += 1
        kinds = (torch.nn.Conv2d, torch.nn.Conv3d, torch.nn.Linear)
        first = next(each for each in model.modules() if isinstance(each, kinds))
        hook = first.register_forward_pre_hook(poisoned) if calls[0] == 3 else None
        terms = real(self, model, batch)
        if hook:
            hook.remove()
        return terms

    kind.loss = loss


def poison_gradient(kind, value):
    real, calls = Trainer._clip, [0]

    def clip(self, batches):
        calls[0] += 1
        if calls[0] == 3:
            parameter = next(p for p in self.model.parameters() if p.grad is not None)
            parameter.grad[(0,) * parameter.grad.ndim] = value
        return real(self, batches)

    Trainer._clip = clip


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", [poison_loss, poison_input, poison_gradient])
def test_r9_nothing_non_finite(server, training, emptied, count, task, where, value):
    out, kind = emptied(), catalog.resolve(TASKS[task])
    arguments = [*training(task, out), "--save-minutes", 0]
    ended = server.run(arguments, lambda: where(kind, value))
    assert ended.code == 5, (ended.code, ended.err)
    server.say_well(ended)
    assert "step 3" in ended.err and "images: " in ended.err, ended.err
    (run,) = out.iterdir()
    state = max((run / "ckpt").glob("step-*"))
    assert int(state.name[5:]) <= 2
    for file in run.rglob("*.safetensors"):
        for name, tensor in load_file(file).items():
            assert torch.isfinite(tensor.float()).all(), (file, name)
    assert resumed(server, task, run).code == 0
    count["poisoned steps"] += 1
