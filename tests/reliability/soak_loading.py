"""Loading models and configurations, R10 to R14: hostile files, hashes, and no network.

Not part of `make test`: see `make soak`.
"""

import hashlib
import sys
from types import SimpleNamespace

import hostile_models
import pytest

from cvkit import config
from cvkit.catalog import TASKS
from cvkit.errors import CvkitError, ModelFileError
from cvkit.models import weights
from cvkit.models.state_files import read_state_file
from cvkit.options.tree import OPTIONS

WATCHED = ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect")
WATCHED += ("socket.getaddrinfo", "os.mkdir", "os.rename", "os.remove", "shutil", "ctypes.dlopen")


def watch(seen, allowed):
    """Note what a file makes this process do, from here to its end."""

    def hook(event, arguments):
        if event.startswith(WATCHED):
            seen.append(f"{event} {arguments!r:.200}")
        if event == "open" and isinstance(arguments[0], str | bytes):
            name = str(arguments[0])
            if name not in allowed and not name.startswith((sys.prefix, sys.base_prefix)):
                seen.append(f"open {name}")
        if event in ("exec", "compile") and "pickle" in repr(arguments):
            seen.append(event)

    sys.addaudithook(hook)


def load(path, seen):
    """Load a file; return 2 if it is refused, as a command would."""
    try:
        read_state_file(path)
    except ModelFileError as error:
        return error.exit_code if not seen else 98
    return 0


# R10


def test_r10_no_file_runs_code(server, tmp_path, count):
    for path in hostile_models.code_files(tmp_path):
        seen = []

        def act(path=path, seen=seen):
            watch(seen, {str(path)})
            code = load(path, seen)
            print(*seen, sep="\n")
            return code

        ended = server.Running(act).wait()
        assert ended.code == 2, (path.name, ended.out, ended.err)
        assert not (tmp_path / hostile_models.CANARY).exists()
        count["files"] += 1
    flags = ("--task", "classify", "--arch", "resnet18", "--out", tmp_path / "x.safetensors")
    for path in sorted(tmp_path.glob("g1*")):
        ended = server.run(["weights", "import", path, *flags])
        assert ended.code == 2, ended.err
        server.say_well(ended)
        count["commands"] += 1
    assert not (tmp_path / "x.safetensors").exists()


# R11


def test_r11_no_file_exhausts_the_machine(server, tmp_path, count):
    for path in hostile_models.swollen_files(tmp_path):
        ended = server.Running(lambda path=path: load(path, [])).wait()
        odd = path.name in ("nested.pth", "twice.safetensors")  # they may be read
        assert ended.code in (2, 0 if odd else 2), (path.name, ended.err)
        assert ended.seconds < 2, path.name
        assert ended.grown < 200 * 2**20, (path.name, ended.grown)
        count["files"] += 1


# R12


URL = "https://nowhere.invalid/models/net-{}.pth"


def test_r12_cached_weights_are_verified(server, tmp_path, chance, count, monkeypatch):
    monkeypatch.setenv("CVKIT_WEIGHTS", str(tmp_path))
    content = bytes(chance.randrange(256) for _ in range(5000))
    digest = hashlib.sha256(content).hexdigest()[:8]
    entry = SimpleNamespace(url=URL.format(digest), meta={"_file_size": 1})
    place = tmp_path / entry.url.rpartition("/")[2]
    place.write_bytes(content)
    assert weights.fetched(entry, True, print) == place
    changed = [
        bytes([content[0] ^ 1]) + content[1:],
        content[:-1],
        content + b"x",
        b"",
        bytes(5000),
    ]
    changed += [content[::-1], content[:2500] * 2]
    for _ in range(20):
        flipped = bytearray(content)
        flipped[chance.randrange(5000)] ^= 1 << chance.randrange(8)
        changed.append(bytes(flipped))
    for each in changed:
        place.write_bytes(each)
        with pytest.raises(ModelFileError, match="is damaged"):
            weights.fetched(entry, True, print)
        count["files"] += 1


# R13

LINKS = ("http://127.0.0.1:9/x.jpg", "https://x.invalid/x.mp4", "rtsp://127.0.0.1:9/x")


def test_r13_no_network(server, data_of, run_of, tmp_path, count, task, training):
    seen = []

    def quiet(act):
        def run():
            def hook(event, arguments):
                if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
                    print(event, arguments)
                    seen.append(event)

            sys.addaudithook(hook)
            act()
            return 0

        return run

    model, data, out = run_of(task), data_of(task), tmp_path / "out"
    image = next(p for p in sorted(data.rglob("*")) if p.suffix in (".png", ".jpg", ".mp4", ".avi"))
    commands = [
        training(task, tmp_path / "runs", epochs=1),
        [task, "eval", "--weights", model, "--data", data, "--out", tmp_path / "eval"],
        [task, "predict", image, "--weights", model, "--out", out],
        ["data", "check", data, "--task", task],
        ["weights", "verify", model],
    ]
    for command in commands:
        ended = server.run(command, quiet(lambda: None))
        assert ended.code == 0, ended.err
        assert "socket." not in ended.out
        count["commands"] += 1
    for link in LINKS:
        for command in (
            [task, "predict", link, "--weights", model, "--out", tmp_path / "link"],
            [task, "eval", "--weights", link, "--data", data, "--out", tmp_path / "link"],
            [task, "eval", "--weights", model, "--data", link, "--out", tmp_path / "link"],
            [task, "train", "--data", link, "--out", tmp_path / "link"],
            [task, "train", "--data", data, "--pretrained", link, "--out", tmp_path / "link"],
        ):
            ended = server.run(command, quiet(lambda: None))
            assert ended.code == 2, (command, ended.err)
            assert "socket." not in ended.out
            server.say_well(ended)
            assert not (tmp_path / "link").exists() or not any((tmp_path / "link").iterdir())
            count["links"] += 1


# R14

CONFIGS = {
    "python object": "data: !!python/object/apply:os.system [x]",
    "python name": "data: !!python/name:os.system",
    "python module": "data: !!python/module:os",
    "python tuple": "data: !!python/tuple [1]",
    "binary": "data: !!binary aGk=",
    "set": "data: !!set {a}",
    "timestamp": "data: !!timestamp 2024-01-01",
    "own tag": "data: !own x",
    "aliases": "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]",
    "merge": "a: &a {seed: 1}\n<<: *a",
    "depth": "a: " + "[" * 100_000,
    "depth of mappings": "{a: " * 100_000,
    "key twice": "seed: 1\nseed: 2",
    "key twice in quotes": "seed: 1\n'seed': 2",
    "unknown key": "epoch: 3",
    "unknown key far off": "zzzzzzzz: 3",
    "wrong type": "epochs: many",
    "list for a number": "epochs: [3]",
    "mapping for a number": "epochs: {a: 3}",
    "null": "epochs: null",
    "bool for a number": "epochs: true",
    "not a number": "lr: .nan",
    "endless": "lr: .inf",
    "negative": "epochs: -1",
    "400 digits": "seed: " + "9" * 400,
    "download": "download: import os; os.system('x')",
    "a list": "- a\n- b",
    "a word": "hello",
    "two documents": "seed: 1\n---\nseed: 2",
    "control character": "seed: \x07",
    "Latin-1": b"data: \xe9",
    "UTF-16": "seed: 1".encode("utf-16"),
    "tab": "a:\n\t- b",
    "over 1 MB": "# " + "x" * 1_100_000 + "\nseed: 1",
    "many values": "a: [" + "1," * 200_000 + "1]",
    "choice": "optimizer: transmogrify",
}


@pytest.mark.parametrize("kind", list(TASKS))
def test_r14_configuration_is_data(server, tmp_path, count, kind):
    place = tmp_path / "c.yaml"
    for name, content in CONFIGS.items():
        place.write_bytes(content.encode() if isinstance(content, str) else content)

        def act():
            try:
                config.assemble(OPTIONS[kind]["train"], {"config": place}, {})
            except CvkitError as error:
                print(error)
                return error.exit_code
            return 0

        ended = server.Running(act).wait()
        assert ended.code == 2, (name, ended.err)
        assert "c.yaml" in ended.out or "config" in ended.out, (name, ended.out)
        assert ended.seconds < 1.5 and ended.grown < 100 * 2**20, name
        count["files"] += 1
