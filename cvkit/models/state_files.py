"""Files of tensors that other programs wrote, read without running code.

Three kinds are read: safetensors, files of `torch.save`, and detectron2's pickles of numpy arrays.
Training programs store more than the network: the tensors are then looked for under the names that
these programs use.
"""

import argparse
import pickle
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from cvkit.errors import ModelFileError
from cvkit.model_files import MOST_TENSORS, read_model
from cvkit.texts import counted, require_regular

WRAPPERS = (
    *("state_dict", "model_state_dict", "model", "network", "net", "teacher", "student"),
    *("classy_state_dict", "base_model", "trunk", "module"),
    *("model_ema", "state_dict_ema", "ema_state_dict", "ema"),
)
"""Names of the entry with the network in files of training programs; the first one is taken.

An average of the weights (`ema`) is taken only from a file without the weights themselves; of
DINO's two networks it is the teacher, which its authors evaluate.
"""
COPIES = {
    "model_ema": "averaged copy",
    "state_dict_ema": "averaged copy",
    "ema_state_dict": "averaged copy",
    "ema": "averaged copy",
    "student": "copy of the student",
    "heads": "projection head",
}
"""What other entries with tensors are, for messages."""
MOST_PICKLE = 8 * 2**20
"""Maximum bytes of what a .pth file holds besides numbers; of 2,000 tensors it is 0.3 MB."""
MOST_DIRECTORY = 4 * 2**20
"""Maximum bytes of the directory of a .pth file, which is a zip archive."""
MOST_SHARED = 4
"""How many times the bytes of its file the tensors may have, as some share their numbers."""


@dataclass(frozen=True)
class StateFile:
    """The tensors of a file.

    Attributes:
        tensors: by name.
        left: number of tensors that were not taken, by what they are.
        about: other entries of the file, such as the classes or the configuration.
    """

    tensors: dict[str, Tensor]
    left: Mapping[str, int] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file; see `read_state_file`."""
    return read_state_file(path).tensors


def read_state_file(path: Path) -> StateFile:
    """Return the tensors of a .safetensors file, of a .pth state dict or of a .pkl; runs no code.

    Raises:
        ModelFileError: missing, damaged, or without a dict of tensors.
    """
    try:
        require_regular(path, area="model", error=ModelFileError)
        if path.suffix == ".safetensors":
            return StateFile(_verified_tensors(path))
        content = READERS.get(path.suffix, _read_torch)(path)
        found = _unwrapped(content, {}, {}, path)
    except ModelFileError:
        raise
    except FileNotFoundError as error:
        raise ModelFileError(f"{path} does not exist", code="model.missing") from error
    except SafetensorError as error:
        raise ModelFileError(f"{path} is damaged: {error}", code="model.corrupt") from error
    except Exception as error:  # the unpickler raises many kinds of exceptions
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        reason = reason.partition(". In PyTorch")[0]  # torch then suggests the unsafe way
        raise ModelFileError(
            f"{path} is not a state dict that can be loaded safely: {reason}",
            code="model.unsafe",
            hint="save it with torch.save(model.state_dict(), FILE)",
        ) from error
    if found is None:
        raise ModelFileError(f"{path} is not a dictionary of tensors", code="model.foreign")
    return found


def _verified_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a .safetensors file; a cvkit model must match its hash."""
    try:
        return read_model(path)[0]
    except ModelFileError as error:
        if error.code != "model.foreign":
            raise
    return load_file(path)  # a file of another program


def _read_torch(path: Path) -> Any:
    _require_plain_archive(path)
    with warnings.catch_warnings(), torch.serialization.safe_globals(list(PLAIN)):
        warnings.simplefilter("ignore")  # of the unpickler; its refusals are reported by the caller
        return torch.load(path, map_location="cpu", weights_only=True)


def _require_plain_archive(path: Path) -> None:
    """Refuse an archive that unpacks to more than it holds; `torch.save` does not compress.

    Raises:
        ModelFileError: it does, or has more entries than networks have tensors.
    """
    with path.open("rb") as stream:
        if stream.read(2) != b"PK":
            return  # written by torch before 1.6
        stream.seek(max(0, path.stat().st_size - 2**16))
        tail = stream.read()
    if _directory_bytes(tail) > MOST_DIRECTORY:
        raise _swollen(path, f"its directory has over {MOST_DIRECTORY // 2**20} MiB")
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    if (unpacked := sum(entry.file_size for entry in entries)) > path.stat().st_size:
        raise _swollen(path, f"it unpacks to {unpacked / 2**20:,.0f} MiB")
    if any(e.filename.endswith("data.pkl") and e.file_size > MOST_PICKLE for e in entries):
        raise _swollen(path, f"it has over {MOST_PICKLE // 2**20} MiB besides its numbers")


def _directory_bytes(tail: bytes) -> int:
    """Return the size of the directory of a zip archive from its end; 0 if it has none."""
    large, usual = tail.rfind(b"PK\x06\x06"), tail.rfind(b"PK\x05\x06")
    if large >= 0 and len(tail) >= large + 48:
        return int(struct.unpack_from("<Q", tail, large + 40)[0])
    if usual >= 0 and len(tail) >= usual + 16:
        return int(struct.unpack_from("<I", tail, usual + 12)[0])
    return 0


def _swollen(path: Path, reason: str) -> ModelFileError:
    return ModelFileError(
        f"{path} ({path.stat().st_size / 2**20:.1f} MiB) is not a file of torch.save: {reason}",
        code="model.bomb",
        hint="save it again with torch.save(model.state_dict(), FILE)",
    )


PLAIN = (argparse.Namespace,)
"""Classes that hold values and do nothing: DINO, for one, stores the flags of its training."""


def _read_arrays(path: Path) -> Any:
    with path.open("rb") as stream:
        if stream.read(2) == b"PK":  # a zip archive, which `torch.save` writes under any name
            return _read_torch(path)
        stream.seek(0)
        return _ArrayUnpickler(stream, encoding="latin1").load()


READERS: dict[str, Callable[[Path], Any]] = {".pkl": _read_arrays}
"""Readers by suffix; other files are torch's."""


def _latin1(text: str, encoding: str) -> bytes:
    """Return the bytes that protocol 2 stores as text.

    Raises:
        pickle.UnpicklingError: another encoding, which numpy does not write.
    """
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"unsupported encoding {encoding}")
    return text.encode("latin1")


_ARRAY = object()
"""What `numpy.ndarray` is in a pickle: a name, since calling it would make an array of any size."""


def _empty_array(kind: object, shape: tuple[int, ...], _: bytes) -> np.ndarray:
    """Return the array of no values with which numpy's pickles begin.

    Raises:
        pickle.UnpicklingError: another one, which numpy does not write.
    """
    if kind is not _ARRAY or shape != (0,):
        raise pickle.UnpicklingError("it begins an array in a way that numpy does not")
    return np.zeros(0, np.int8)


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles numpy arrays in dicts and lists; any other class or function is refused."""

    allowed: ClassVar[dict[tuple[str, str], Any]] = {
        ("collections", "OrderedDict"): OrderedDict,
        ("numpy", "ndarray"): _ARRAY,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): _latin1,
        **{
            (f"numpy.{core}.multiarray", "_reconstruct"): _empty_array for core in ("core", "_core")
        },
        **{
            (f"numpy.{core}.multiarray", "scalar"): np.float32(0).__reduce__()[0]
            for core in ("core", "_core")
        },
        **{
            (f"numpy.{core}.numeric", "_frombuffer"): np.zeros(1).__reduce_ex__(5)[0]
            for core in ("core", "_core")
        },
    }

    def find_class(self, module: str, name: str) -> Any:
        """Return one of the allowed classes.

        Raises:
            pickle.UnpicklingError: any other one.
        """
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(f"it contains {module}.{name}, which is not an array")
        return self.allowed[module, name]


def _unwrapped(
    content: Any, left: Mapping[str, int], about: Mapping[str, Any], path: Path
) -> StateFile | None:
    """Return the tensors in the content of a file; None if there are none.

    Raises:
        ModelFileError: they are larger than the file.
        RecursionError: the content contains itself.
    """
    if not isinstance(content, dict):
        return None
    tensors = _tensors(content, path)
    if tensors is not None:
        return StateFile(tensors, left, about)
    chosen = next((name for name in WRAPPERS if isinstance(content.get(name), dict)), None)
    if chosen is None:
        return None
    left, about = dict(left), dict(about)
    for name, value in content.items():
        if name == chosen:
            continue
        if name in COPIES and (count := _count(value, set())):
            left[COPIES[name]] = left.get(COPIES[name], 0) + count
        elif not isinstance(value, Tensor):
            about[str(name)] = value
    return _unwrapped(content[chosen], left, about, path)


def _tensors(content: dict[Any, Any], path: Path) -> dict[str, Tensor] | None:
    """Return a dict's values as tensors; None unless all are tensors or arrays.

    A network's own counters, which some programs store as numbers, are left out.

    Raises:
        ModelFileError: they are larger than the file.
    """
    found: dict[str, Tensor | np.ndarray] = {}
    for name, value in content.items():
        if _holds_numbers(value):
            found[str(name)] = value
        elif not isinstance(value, int | float | str) or name in WRAPPERS:
            return None
    if not found and content:
        return None
    _require_held(found, path)
    return {
        name: torch.tensor(value) if isinstance(value, np.ndarray) else value
        for name, value in found.items()
    }


def _holds_numbers(value: Any) -> bool:
    """Return whether a value is an array of numbers, or a tensor that has them one by one."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "fiub"
    return isinstance(value, Tensor) and value.layout == torch.strided and value.is_cpu


def _require_held(found: Mapping[str, Tensor | np.ndarray], path: Path) -> None:
    """Refuse tensors that a few stored numbers, repeated, make larger than their file.

    Raises:
        ModelFileError: they are, or there are more than networks have.
    """
    size = path.stat().st_size
    sizes = [value.nbytes for value in found.values()]
    if len(sizes) > MOST_TENSORS:
        raise _swollen(path, f"it has over {counted(MOST_TENSORS, 'tensor')}")
    if max(sizes, default=0) > size or sum(sizes) > MOST_SHARED * size:
        raise _swollen(path, f"its tensors have {sum(sizes) / 2**20:,.0f} MiB")


def _count(value: Any, seen: set[int]) -> int:
    """Return the number of tensors in nested dicts, each dict counted once."""
    if isinstance(value, dict):
        if id(value) in seen:
            return 0
        seen.add(id(value))
        return sum(_count(each, seen) for each in value.values())
    return int(isinstance(value, Tensor))
