"""Model files: safetensors with a complete header, sealed by a hash of every byte.

The header is the JSON under `cvkit` in the metadata of safetensors. Its first entry,
`sha256`, is the SHA-256 of the whole file with 64 zeros in its own place. Thus no name, shape,
offset, class or preprocessing value can change unnoticed. In files of format 1, from earlier
versions, the hash covers the tensors only.
"""

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from cvkit.errors import ModelFileError
from cvkit.storage import whole_file
from cvkit.texts import require_regular

FORMAT_VERSION = 2
TENSORS_ONLY = 1
"""The format version whose hash does not cover the header."""
MAX_HEADER = 16 * 2**20
MOST_TENSORS = 20_000
"""Maximum number of tensors in a file; the largest networks have some thousands."""
_BEFORE_HASH = b'{"__metadata__":{"cvkit":"{\\"sha256\\": \\"'
_ZEROS = "0" * 64
BACKBONE = "backbone"
"""Task, in the header, of a file that `--pretrained` takes and that scores no classes."""
PROVEN = "proven"
"""Field of a model's header: precisions that leave its metric as it is, and their measurements."""


def fits(found: Tensor, wanted: Tensor) -> bool:
    """Return whether a tensor of a file can take the place of one of a network.

    Any precision will do. What torch would cast in silence is not loaded: complex numbers, which
    lose their imaginary parts, and whole numbers (of a quantised model) in place of weights.
    """
    kind = found.is_floating_point() or not (found.is_complex() or wanted.is_floating_point())
    return kind and found.shape == wanted.shape


def content_hash(tensors: dict[str, Tensor]) -> str:
    """Return a SHA-256 over the names, types, shapes and bytes of tensors."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def write_sealed(path: Path, tensors: dict[str, Tensor], header: dict) -> None:
    """Write a model file; format version and hash in the header are replaced.

    Args:
        path: of the file.
        tensors: contiguous, on the CPU.
        header: JSON without NaN and infinity.

    Raises:
        MachineError: the disk refused.
    """
    first = {"sha256": _ZEROS, "format_version": FORMAT_VERSION}
    header = first | {name: value for name, value in header.items() if name not in first}
    content = memoryview(save_tensors(tensors, {"cvkit": json.dumps(header, allow_nan=False)}))
    before, after, digest = _sealed_parts(content)
    if not digest:
        raise RuntimeError("safetensors orders its header in a way that cvkit does not know")
    with whole_file(path) as stream:
        for part in (before, digest.encode(), after):
            stream.write(part)


def _sealed_parts(content: memoryview) -> tuple[memoryview, memoryview, str]:
    """Return the bytes before and after the hash of a file, and the expected hash.

    The expected hash is "" if the file has no place for it.
    """
    place = 8 + len(_BEFORE_HASH)  # after the length of the header
    before, after = content[:place], content[place + len(_ZEROS) :]
    if before[8:] != _BEFORE_HASH:
        return before, after, ""
    digest = hashlib.sha256(before)
    digest.update(_ZEROS.encode())
    digest.update(after)
    return before, after, digest.hexdigest()


def read_header(path: Path) -> dict:
    """Return the header of a model file without reading its tensors, and thus unverified.

    Raises:
        ModelFileError: missing, not safetensors, or not written by cvkit.
    """
    try:
        require_regular(path, area="model", error=ModelFileError)
        if path.stat().st_size < 8:
            raise ModelFileError(f"{path} is too short for a model file", code="model.corrupt")
        with open(path, "rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > MAX_HEADER:
                raise ModelFileError(
                    f"{path} is not a safetensors model file",
                    code="model.corrupt",
                    hint="its header length is impossible",
                )
            if stream.read(length).count(b'"data_offsets"') > MOST_TENSORS:
                raise ModelFileError(
                    f"{path} has over {MOST_TENSORS} tensors, more than any network",
                    code="model.corrupt",
                    hint="check that it is the right file",
                )
        with safe_open(path, framework="pt") as file:
            content = (file.metadata() or {}).get("cvkit")
    except OSError as error:
        raise ModelFileError(
            f"cannot read {path}: {error.strerror}", code="model.missing"
        ) from error
    except SafetensorError as error:
        raise ModelFileError(
            f"{path} is not a usable safetensors file: {error}", code="model.corrupt"
        ) from error
    if content is None:
        raise ModelFileError(
            f"{path} has no cvkit header",
            code="model.foreign",
            hint="it is not a model that cvkit wrote",
        )
    try:
        header = json.loads(content)
        version = header["format_version"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ModelFileError(f"{path} has a damaged header", code="model.corrupt") from error
    if version not in (TENSORS_ONLY, FORMAT_VERSION):
        raise ModelFileError(
            f"{path} has format {version}; this version of cvkit reads formats up to "
            f"{FORMAT_VERSION}",
            code="model.version",
        )
    return header


def read_model(path: Path) -> tuple[dict[str, Tensor], dict]:
    """Return the tensors and the header of a model file, its hash verified.

    Raises:
        ModelFileError: see `read_header`; `model.hash` if the file has changed since it was
            written.
    """
    header = read_header(path)
    content = path.read_bytes()
    try:
        tensors = load_tensors(content)
    except SafetensorError as error:
        raise ModelFileError(f"{path} is damaged: {error}", code="model.corrupt") from error
    if header["format_version"] == TENSORS_ONLY:
        what, wanted = "its tensors do", content_hash(tensors)
    else:
        what, wanted = "it does", _sealed_parts(memoryview(content))[2]
    if header.get("sha256") != wanted:
        raise ModelFileError(
            f"{path} is damaged: {what} not match the hash in its header",
            code="model.hash",
            hint="restore it from a copy",
        )
    return tensors, header


def unverified(path: Path) -> str:
    """Return a note on the part of a model file that no hash covers; "" if everything is covered.

    Defects of unusable files are reported when the tensors are read.
    """
    try:
        if path.suffix != ".safetensors" or read_header(path)["format_version"] != TENSORS_ONLY:
            return ""
    except ModelFileError:
        return ""
    return (
        f"{path} is of an earlier version: its hash covers the tensors but not the classes and "
        f"the preprocessing; to rewrite it with a complete hash: cvkit weights import {path} "
        "--out NEW.safetensors"
    )
