"""Long runs and failures for people, R19 and R31 to R35.

Not part of `make test`: see `make soak`.
"""

import hashlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from soak_checkpoints import differing_bits

from cvkit.catalog import TASKS
from cvkit.data.annotated import make_truth
from cvkit.data.classes import make_classes
from cvkit.data.decode import read_image
from cvkit.metrics.coco import CocoMetric
from cvkit.structures import Instances

ROOT = Path(__file__).parents[2]


def resident():
    """Return the bytes of memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# R19


@pytest.mark.parametrize("seed", range(4))
def test_r19_parsers(count, seed):
    """The readers' tests with many more examples, each time other ones."""
    tests = "tests/data/test_hostile.py::test_a_spoilt_file_is_read_or_refused_in_words"
    code = (
        "import sys, hypothesis, pytest\n"
        "real = hypothesis.settings.__init__\n"
        "def more(self, *a, **k):\n"
        "    if k.get('max_examples') == 150: k['max_examples'] = 500\n"
        "    real(self, *a, **k)\n"
        "hypothesis.settings.__init__ = more\n"
        f"sys.exit(pytest.main(['-q', '-n', '0', '--hypothesis-seed={seed}', '{tests}']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 0, done.stdout[-3000:]
    passed = int(done.stdout.rsplit(" passed", 1)[0].split()[-1])
    count["documents"] += 500 * passed
    count["parsers"] = passed


# R31


def test_r31_reading_images(server, tmp_path, count):
    """The memory of a process that reads images, good and bad, does not grow."""
    values = np.random.default_rng(1).integers(0, 256, (400, 600, 3), np.uint8)
    Image.fromarray(values).save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "b.jpg").write_bytes(content[:9000])

    def act():
        sizes = []
        for number in range(1200):
            for name in ("a.jpg", "b.jpg"):
                try:
                    read_image(tmp_path / name)
                except ValueError:
                    pass
                except Exception as error:
                    assert type(error).__name__ == "DataError", error
            if number in (200, 1199):
                sizes.append(resident())
        grown = sizes[1] - sizes[0]
        print(grown)
        return 0 if grown < 5 * 2**20 else 1

    ended = server.Running(act).wait()
    assert ended.code == 0, ended.out + ended.err
    count["images"] += 2400


def test_r31_evaluating_20000_images(server, count):
    """100 detections an image: less than 1 MB per 1,000 images beyond the arrays themselves."""

    def act():
        metric, rng = CocoMetric(make_classes(["a", "b"])), np.random.default_rng(0)
        sizes = []
        for number in range(20_000):
            corner = rng.uniform(0, 400, (100, 2))
            boxes = np.concatenate([corner, corner + rng.uniform(5, 90, (100, 2))], 1)
            result = Instances(
                boxes=boxes.astype(np.float32),
                labels=rng.integers(1, 3, 100),
                scores=np.sort(rng.random(100).astype(np.float32))[::-1].copy(),
            )
            metric.update(result, make_truth(boxes[:5], rng.integers(1, 3, 5)))
            if number % 1000 == 999:
                sizes.append(resident())
        before = time.monotonic()
        metric.compute()
        print(
            (sizes[-1] - sizes[1]) / 2**20 / 18, "MB per 1,000 images;", time.monotonic() - before
        )
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(peak / 2**20, "MB at the peak")
        return 0 if peak < 2 * 2**30 and (sizes[-1] - sizes[1]) / 18 < 6 * 2**20 else 1

    ended = server.Running(act).wait(900)
    assert ended.code == 0, ended.out + ended.err
    count["images"] += 20_000


def test_r31_a_long_training(server, training, data_of, tmp_path, count):
    """A training of 2,000 steps takes no more memory at its end than after 200 steps."""
    from cvkit.engine.train import Trainer

    def prepare():
        real, sizes = Trainer._step, {}

        def step(self, batches):
            if self.progress.step in (200, 1990):
                sizes[self.progress.step] = resident()
            if len(sizes) == 2 and self.progress.step == 1990:
                print("grown", (sizes[1990] - sizes[200]) / sizes[200], flush=True)
            return real(self, batches)

        Trainer._step = step

    arguments = training("classify", tmp_path, epochs=500, workers=2)
    ended = server.start(arguments, prepare).wait(900)
    assert ended.code == 0, ended.err
    grown = float(ended.out.split("grown")[1].split()[0])
    assert grown < 0.05, grown
    count["steps"] += 2000


# R32


def test_r32_killed_workers(server, training, undisturbed, emptied, chance, count, task):
    """A decoding process is killed while it works: the command ends, says so, and resumes."""
    for _ in range(4):
        out = emptied()
        running = server.start([*training(task, out, ema=0.9, workers=2), "--save-minutes", 0])
        killed = False
        deadline = time.monotonic() + 60
        while running.running() and time.monotonic() < deadline and not killed:
            children = descendants(running.pid)
            if len(children) >= 2 and list(out.glob("*/ckpt/last")):
                time.sleep(chance.random() * 0.5)
                victim = chance.choice(children)
                try:
                    os.kill(victim, signal.SIGKILL)
                    killed = True
                except ProcessLookupError:
                    continue
            time.sleep(0.002)
        since = time.monotonic()
        ended = running.wait(60)
        assert time.monotonic() - since < 30
        (run,) = out.iterdir()
        assert ended.code in (0, 6), ended.err
        if ended.code:
            server.say_well(ended)
            assert "worker" in ended.err or "killed" in ended.err, ended.err
            again = server.run([task, "train", "--resume", run, "--quiet"])
            assert again.code == 0, again.err
        assert differing_bits(run, undisturbed(task)) == 0
        count["killed workers"] += killed


def descendants(pid):
    """Return the processes that a process has started, and that have not ended."""
    found = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = place.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(place.parent.name))
    return found


def test_r32_little_memory(server, training, emptied, count, task):
    """An address space that is soon used up ends a training in words."""
    base = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    for more in (8, 32):
        limit = server.at_most(resource.RLIMIT_AS, base + more * 2**20)
        ended = server.run(training(task, emptied(), workers=0), limit)
        assert ended.code in (0, 6), (more, ended.err)
        if ended.code:
            server.say_well(ended)
        count["limits"] += 1


# R33


def digest(folder):
    newest = max((folder / "ckpt").glob("step-*"))
    files = [*sorted(newest.glob("*.safetensors")), folder / "best.safetensors"]
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_r33_the_same_bytes(server, training, undisturbed, emptied, count, task, workers):
    out = emptied()
    assert server.run(training(task, out, ema=0.9, workers=workers)).code == 0
    (run,) = out.iterdir()
    assert digest(run)[:-1] == digest(undisturbed(task))[:-1]
    assert differing_bits(run, undisturbed(task)) == 0
    count["equal runs"] += 1
    if workers == 0:
        out = emptied()
        assert server.run(training(task, out, ema=0.9, seed=5)).code == 0
        (run,) = out.iterdir()
        assert differing_bits(run, undisturbed(task)) > 0
        count["other seeds"] += 1


# R34


@pytest.mark.parametrize("victim", [0, 1])
def test_r34_a_killed_rank(training, tmp_path, count, chance, victim):
    """One of two processes is killed: the other ends, and the resumed run has the same bits."""
    reference, out = tmp_path / "reference", tmp_path / "out"
    more = {"epochs": 2, "ema": 0.9, "devices": 2, "device": "cpu"}

    def command(place):
        return [sys.executable, "-m", "cvkit", *map(str, training("classify", place, **more))]

    whole = subprocess.run(command(reference), capture_output=True, text=True)
    assert whole.returncode == 0, whole.stderr
    (wanted,) = reference.iterdir()
    for _ in range(3):
        shutil.rmtree(out, ignore_errors=True)
        process = subprocess.Popen(
            [*command(out), "--save-minutes", "0"],
            start_new_session=True,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        deadline = time.monotonic() + 120
        while not list(out.glob("*/ckpt/last")) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        pids = [process.pid, *descendants(process.pid)]
        time.sleep(chance.random() * 0.3)
        os.kill(pids[min(victim, len(pids) - 1)], signal.SIGKILL)
        killed = time.monotonic()
        _, told = process.communicate(timeout=60)
        while time.monotonic() < killed + 60 and any(alive(pid) for pid in pids):
            time.sleep(0.05)
        assert not any(alive(pid) for pid in pids), told
        (run,) = out.iterdir()
        again = subprocess.run(
            [sys.executable, "-m", "cvkit", "classify", "train", "--resume", str(run), "--quiet"],
            capture_output=True,
            text=True,
        )
        assert again.returncode == 0, again.stderr
        assert differing_bits(run, wanted) == 0
        count["killed ranks"] += 1


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# R35


def test_r35_the_wheel(tmp_path, count):
    """Two builds give the same bytes, and the wheel has the files of the tree and no others."""
    environment = os.environ | {"SOURCE_DATE_EPOCH": "1700000000"}
    found = []
    for name in ("a", "b"):
        source = tmp_path / name
        ignored = shutil.ignore_patterns(
            ".git", ".venv", "__pycache__", "*.egg-info", "demo", "site", "runs", ".*_cache"
        )
        shutil.copytree(ROOT, source, ignore=ignored, symlinks=True)
        build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "--wheel-dir"]
        done = subprocess.run(
            [*build, str(tmp_path / f"out-{name}"), str(source)],
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        (wheel,) = (tmp_path / f"out-{name}").glob("*.whl")
        found.append(wheel)
    first, second = (path.read_bytes() for path in found)
    assert first == second
    count["equal wheels"] += 2
    tree = {
        path.relative_to(ROOT).as_posix(): path.read_bytes()
        for path in (ROOT / "cvkit").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    tree |= {
        f"cvkit/weights/{path.name}": path.read_bytes()
        for path in (ROOT / "weights").glob("*.safetensors")
    }
    with zipfile.ZipFile(found[0]) as archive:
        packed = {
            name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name
        }
    assert packed == tree
    count["files"] += len(packed)


FAILURES = (
    (),
    ("train",),
    ("--data", "/nowhere"),
    ("--weights", "/nowhere"),
    ("--epochs", "x"),
    ("--epochs", "-1"),
    ("--lr", "nan"),
    ("--lr", "-1"),
    ("--batch-size", "0"),
    ("--workers", "-9"),
    ("--device", "tpu"),
    ("--precision", "fp7"),
    ("--config", "/nowhere"),
    ("--config", "/dev/zero"),
    ("--config", "."),
    ("--out", "/proc/x"),
    ("--out", "/dev/null"),
    ("--resume", "/nowhere"),
    ("--resume", "."),
    ("--seed", "9" * 30),
    ("--format", "x"),
    ("--nothing",),
    ("--json", "--x"),
    ("--image-size", "0"),
    ("--data", "/dev/zero"),
    ("--data", "/dev/null"),
    ("--splits", "/dev/zero"),
    ("--data", "http://x/"),
    ("--data", "\udcff"),
    ("--data", "a" * 5000),
    ("--data", ""),
    ("--weights", ""),
    ("--weights", "/dev/zero"),
    ("--weights", "/dev/stdin"),
    ("--data", "-"),
)


@pytest.mark.parametrize("kind", list(TASKS))
def test_r35_failures_are_for_people(server, tmp_path, count, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    for verb in ("train", "eval", "predict"):
        for words in FAILURES:
            if verb == "train" and not words:
                continue  # trains on the samples
            # What is said of the data before is no part of the failure.
            command = [kind, verb, *words, "--quiet", *(["x"] if verb == "predict" else [])]
            with server.told(command):
                server.say_well(server.start(command).wait(60))
            count["commands"] += 1
