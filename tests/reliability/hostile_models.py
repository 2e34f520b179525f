"""Model files that nobody should load: they would run code, or swell to many times their size."""

import io
import json
import pickle
import struct
import zipfile
from collections import OrderedDict

import torch

CANARY = "canary"


class Gadget:
    """What a pickle calls when it is loaded."""

    def __init__(self, module, name, *arguments):
        self.module, self.name, self.arguments = module, name, arguments


def gadgets(folder):
    """Return calls that would leave a canary in a folder, open a connection, or read a secret."""
    canary = str(folder / CANARY)
    touch = f"open({canary!r}, 'w')"
    return {
        "os.system": Gadget("os", "system", f"touch {canary}"),
        "posix.system": Gadget("posix", "system", f"touch {canary}"),
        "os.popen": Gadget("os", "popen", f"touch {canary}"),
        "os.execl": Gadget("os", "execlp", "touch", "touch", canary),
        "os.mkdir": Gadget("os", "mkdir", canary),
        "eval": Gadget("builtins", "eval", touch),
        "exec": Gadget("builtins", "exec", touch),
        "open": Gadget("builtins", "open", canary, "w"),
        "__import__": Gadget("builtins", "__import__", "antigravity"),
        "getattr": Gadget("builtins", "getattr", "", "join"),
        "compile": Gadget("builtins", "compile", touch, "x", "exec"),
        "subprocess": Gadget("subprocess", "check_output", ["touch", canary]),
        "Popen": Gadget("subprocess", "Popen", ["touch", canary]),
        "socket": Gadget("socket", "create_connection", ("127.0.0.1", 9)),
        "urllib": Gadget("urllib.request", "urlopen", "http://127.0.0.1:9/"),
        "runpy": Gadget("runpy", "run_path", canary),
        "pty": Gadget("pty", "spawn", ["touch", canary]),
        "shutil": Gadget("shutil", "copy", "/etc/hostname", canary),
        "pathlib": Gadget("pathlib", "Path", canary),
        "importlib": Gadget("importlib", "import_module", "os"),
        "pickle": Gadget("pickle", "loads", b"cos\nsystem\n(S'x'\ntR."),
        "numpy.load": Gadget("numpy", "load", "/etc/hostname", None, True),
        "torch.load": Gadget("torch", "load", "/etc/hostname"),
        "torch.hub": Gadget("torch.hub", "load", "a/b", "c"),
        "functools": Gadget("functools", "partial", print),
        "operator": Gadget("operator", "attrgetter", "system"),
        "ctypes": Gadget("ctypes", "CDLL", "libc.so.6"),
        "tempfile": Gadget("tempfile", "mkdtemp"),
        "logging": Gadget("logging.config", "fileConfig", "/etc/hostname"),
        "webbrowser": Gadget("webbrowser", "open", "http://127.0.0.1:9/"),
    }


def pickled(gadget):
    """Return a pickle of a dict of tensors whose second entry calls something."""
    return (
        b"\x80\x02}X\x01\x00\x00\x00ac"
        + f"{gadget.module}\n{gadget.name}\n".encode()
        + pickle.dumps(gadget.arguments, 2)[2:-1]
        + b"Rs."
    )


def archived(content, names=("archive/data.pkl",), more=()):
    """Return a zip archive of torch's with a pickle."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, content)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
        for name, data in more:
            archive.writestr(name, data)
    return stream.getvalue()


def legacy(content):
    """Return a file as torch wrote it before 1.6."""
    head = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2)
    return head + content + pickle.dumps([], 2)


def code_files(folder):
    """Write files that would run code; return their paths."""
    paths = []
    for number, (_, gadget) in enumerate(gadgets(folder).items()):
        for suffix, make in ((".pth", archived), (".pt", legacy), (".pkl", lambda c: c)):
            paths.append(folder / f"g{number}{suffix}")
            paths[-1].write_bytes(make(pickled(gadget)))
    paths.append(folder / "script.pt")
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), str(paths[-1]))
    paths.append(folder / "slip.pth")
    plain = pickle.dumps(OrderedDict(a=1), 2)
    paths[-1].write_bytes(archived(plain, ("../../data.pkl",)))
    paths.append(folder / "whole.pth")
    torch.save(torch.nn.Linear(1, 1), paths[-1])
    return paths


def claimed(length, header=b""):
    return struct.pack("<Q", length) + header


def safetensors(entries, data=b""):
    header = json.dumps(entries).encode()
    return claimed(len(header), header) + data


def tensor(shape, first, last, kind="F32"):
    return {"dtype": kind, "shape": shape, "data_offsets": [first, last]}


def deflated(content, path, size):
    """Write an archive of torch's with a record of zeros, compressed."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", content, zipfile.ZIP_STORED)
        archive.writestr("archive/version", "3\n", zipfile.ZIP_STORED)
        with archive.open("archive/data/0", "w") as stream:
            for _ in range(size // 2**20):
                stream.write(bytes(2**20))


def repeated(path, *shape):
    """Save a tensor of many values that all are one stored value."""
    torch.save({"a.weight": torch.zeros(1).expand(*shape)}, path)


def without_numbers(path):
    """Save a tensor of the `meta` device, which has no values at all."""
    torch.save({"a.weight": torch.zeros(10**6, 10**6, device="meta")}, path)


def nested(path):
    """Save dicts that contain each other twice: 2^60 of them, if each is counted."""
    inner = {"w": torch.zeros(1)}
    for _ in range(60):
        inner = {"a": inner, "b": inner}
    torch.save({"model": {"w": torch.zeros(1)}, "model_ema": inner}, path)


def endless(path):
    """Save a dict that contains itself."""
    content = {"w": torch.zeros(1), "other": []}
    content["model"] = content
    torch.save(content, path)


def of_arrays(path, content):
    path.write_bytes(content)


def large_array(path):
    """A pickle that asks numpy for an array of 80 GB."""
    path.write_bytes(
        b"\x80\x02}X\x01\x00\x00\x00acnumpy\nndarray\n"
        + pickle.dumps(((10**10,),), 2)[2:-1]
        + b"Rs."
    )


def rebuilt_array(path):
    """The same by the function that numpy's pickles call, with a shape that they do not have."""
    arguments = b"(cnumpy\nndarray\n" + pickle.dumps((10**10,), 2)[2:-1] + b"U\x01bt"
    path.write_bytes(
        b"\x80\x02}X\x01\x00\x00\x00acnumpy.core.multiarray\n_reconstruct\n" + arguments + b"Rs."
    )


def swollen_files(folder, size=2**28):
    """Write files that claim or unpack to `size` or more; return their paths."""
    raw = {
        "length of 2^63": claimed(2**63, b"{}"),
        "length of 2^64 - 1": claimed(2**64 - 1, b"{}"),
        "header of 100 MB": claimed(100 * 2**20, b"{}" + b" " * 100),
        "header beyond the file": claimed(10**6, b"{}"),
        "no header": claimed(0),
        "seven bytes": b"\0" * 7,
        "deep header": claimed(2 * 10**6, b"[" * 2 * 10**6),
        "many tensors": safetensors({str(n): tensor([0], 0, 0) for n in range(200_000)}),
        "overlap": safetensors({"a": tensor([4], 0, 16), "b": tensor([4], 8, 24)}, bytes(24)),
        "beyond the end": safetensors({"a": tensor([2**40], 0, 2**42)}, bytes(8)),
        "negative": safetensors({"a": tensor([-1], 0, 4)}, bytes(4)),
        "overflow": safetensors({"a": tensor([2**32, 2**32], 0, 4)}, bytes(4)),
        "a hole": safetensors({"a": tensor([1], 0, 4), "b": tensor([1], 100, 104)}, bytes(104)),
        "twice": claimed(
            *(lambda h: (len(h), h))(
                b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
                b'"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
            )
        )
        + bytes(4),
        "unknown type": safetensors({"a": tensor([1], 0, 4, "X9")}, bytes(4)),
        "large metadata": safetensors({"__metadata__": {"cvkit": "[" * 10**6}}),
    }
    paths = []
    for name, content in raw.items():
        paths.append(folder / f"{name}.safetensors")
        paths[-1].write_bytes(content)
    one = pickle.dumps({}, 2)
    made = {
        "zeros.pth": lambda p: deflated(one, p, size),
        "zeros of a pickle.pth": lambda p: bomb_of_text(p, size),
        "one value.pth": lambda p: repeated(p, 10**5, 10**5),
        "no values.pth": without_numbers,
        "nested.pth": nested,
        "endless.pth": endless,
        "large array.pkl": large_array,
        "rebuilt array.pkl": rebuilt_array,
        "many entries.pth": many_entries,
        "zeros under another name.pkl": lambda p: deflated(one, p, size),
    }
    for name, make in made.items():
        paths.append(folder / name)
        make(paths[-1])
    return paths


def bomb_of_text(path, size):
    """Write an archive whose pickle is a compressed text."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/version", "3\n")
        with archive.open("archive/data.pkl", "w", force_zip64=True) as stream:
            stream.write(b"\x80\x02X" + struct.pack("<I", size))
            for _ in range(size // 2**20):
                stream.write(b" " * 2**20)
            stream.write(b".")


def many_entries(path):
    """Write an archive whose directory has 100,000 entries."""
    entry = b"PK\x01\x02" + bytes(24) + struct.pack("<H", 10) + bytes(16) + b"archive/ab"
    start = archived(pickle.dumps({}, 2))
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 34_464, 34_464, 0, 0, 0)
    directory = entry * 100_000
    end = end[:12] + struct.pack("<II", len(directory), len(start)) + bytes(2)
    path.write_bytes(start + directory + end)
