"""What a Python program may pass as an image or a video."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from cvkit.data.files import InputFile
from cvkit.data.given import GivenImage, GivenVideo, ImageInput, VideoInput
from cvkit.data.pages import page_of
from cvkit.data.unfolding import holds_several, unfold
from cvkit.errors import UsageError
from cvkit.structures import Failure

Media = str | PathLike[str] | Image.Image | np.ndarray | torch.Tensor
"""One image or video: a path, an image of Pillow, an array or a tensor."""
LAYOUTS = {3: ("height, width, 3", "3, height, width"), 4: ("frames, ..., 3", "frames, 3, ...")}
"""Shapes of arrays and tensors, by number of dimensions."""


@dataclass(frozen=True)
class Inputs:
    """The inputs of one call.

    Attributes:
        items: one by one.
        single: it is one image or video, not several.
        listed: they are all there, so that the results can be a list.
    """

    items: Iterable[Any]
    single: bool
    listed: bool


SCALES = {
    "f": '(255 * array).round().astype("uint8") if they are from 0 to 1',
    "b": '255 * array.astype("uint8")',
}
"""How to turn values of other kinds into those of images."""


def inputs_of(given: object, dimensions: int) -> Inputs:
    """Return whether something is one input or several.

    Args:
        given: what was passed.
        dimensions: of one input as an array, see `Task.dimensions`.

    Raises:
        UsageError: it is neither.
    """
    if isinstance(given, str | PathLike) and dimensions == 3 and holds_several(Path(given)):
        return Inputs([given], False, False)
    if isinstance(given, str | PathLike | Image.Image):
        return Inputs([given], True, True)
    if isinstance(given, np.ndarray | torch.Tensor):
        several = given.ndim == dimensions + 1
        return Inputs(list(given) if several else [given], not several, True)
    unfit = isinstance(given, bytes | bytearray | Mapping) or hasattr(given, "read")  # a file
    if unfit or not isinstance(given, Iterable):
        raise _unknown(given, "predict")
    return Inputs(given, False, isinstance(given, list | tuple | set | frozenset))


def read_inputs(
    items: Iterable[Any], dimensions: int, fps: float = 0.0
) -> Iterator[ImageInput | VideoInput | Failure]:
    """Yield the inputs as the tasks read them, and what is missing of a video after its frames.

    Args:
        items: as passed.
        dimensions: of one as an array.
        fps: frames to use per second of a video; 0: all.

    Raises:
        UsageError: one of them has another type, shape or kind of values.
    """
    for number, item in enumerate(items):
        found = _read(item, f"input {number}", dimensions)
        if dimensions == 3 and isinstance(found, InputFile) and _is_inside(found.path):
            inner = unfold([found], fps)
            yield from inner.images
            yield from inner.failures
        else:
            yield found


def _is_inside(path: Path) -> bool:
    """Return whether a path names images inside a file."""
    return page_of(path)[1] is not None or holds_several(path)


def _read(item: object, key: str, dimensions: int) -> ImageInput | VideoInput:
    if isinstance(item, str | PathLike):
        path = fspath(item)
        return InputFile(Path(path), str(path))
    if isinstance(item, torch.Tensor):
        item = _array_of(item, key, dimensions)
    if isinstance(item, Image.Image) and dimensions == 3:
        return GivenImage(item, key)
    if not isinstance(item, np.ndarray):
        raise _unknown(item, key)
    if dimensions == 4:
        _require_shape(item, key, 4, channels=(3,))
        return GivenVideo(item, key)
    if item.dtype == np.uint16 and item.ndim == 2 and item.size:
        return GivenImage(Image.fromarray(item), key)  # the model knows how many bits are in use
    _require_shape(item, key, 3, channels=(1, 3, 4))
    if item.ndim == 3 and item.shape[2] == 3:
        return GivenImage(item, key)
    return GivenImage(Image.fromarray(item[..., 0] if item.shape[2:] == (1,) else item), key)


def _require_shape(array: np.ndarray, key: str, dimensions: int, channels: tuple[int, ...]) -> None:
    """Check that an array is an image or a video of 8-bit values, channels last."""
    grey = dimensions == 3 and array.ndim == 2
    if not grey and (array.ndim != dimensions or array.shape[-1] not in channels):
        first = array.ndim == dimensions and array.shape[-3] in (1, 3, 4)
        raise UsageError(
            f"{key}: an array of shape {array.shape}; ({LAYOUTS[dimensions][0]}) is expected",
            code="inputs.shape",
            hint="np.moveaxis(array, -3, -1) puts the channels last" if first else "",
        )
    if array.dtype != np.uint8:
        raise UsageError(
            f"{key}: an array of {array.dtype}; uint8 values from 0 to 255 are expected",
            code="inputs.dtype",
            hint=SCALES.get(array.dtype.kind, 'array.astype("uint8") if they are from 0 to 255'),
        )
    if not array.size:
        raise UsageError(f"{key}: an array of shape {array.shape} is empty", code="inputs.shape")


def _array_of(tensor: torch.Tensor, key: str, dimensions: int) -> np.ndarray:
    """Return a tensor with channels first as an array with channels last.

    Floating point values from 0 to 1 become whole ones from 0 to 255, rounded.
    """
    if tensor.ndim != dimensions or tensor.shape[-3] not in (1, 3):
        last = tensor.ndim == dimensions and tensor.shape[-1] in (1, 3)
        raise UsageError(
            f"{key}: a tensor of shape {tuple(tensor.shape)}; ({LAYOUTS[dimensions][1]}) is "
            "expected",
            code="inputs.shape",
            hint="tensor.movedim(-1, -3) puts the channels first" if last else "",
        )
    values = tensor.detach().cpu()
    if values.is_floating_point():
        if not bool(((values >= 0) & (values <= 1)).all()):
            raise UsageError(
                f"{key}: a floating-point tensor with values outside 0 to 1",
                code="inputs.range",
                hint="omit the normalisation, which is a part of the model; or pass uint8",
            )
        values = (255 * values.float()).round().to(torch.uint8)
    elif values.dtype != torch.uint8:
        raise UsageError(
            f"{key}: a tensor of {tensor.dtype}; uint8, or floating point from 0 to 1, is expected",
            code="inputs.dtype",
            hint="tensor.to(torch.uint8) if its values are from 0 to 255",
        )
    array: np.ndarray = np.ascontiguousarray(values.movedim(-3, -1).numpy())
    return np.repeat(array, 3, -1) if array.shape[-1] == 1 else array


def _unknown(given: object, where: str) -> UsageError:
    kind = type(given).__name__
    hint = "open it first: PIL.Image.open(io.BytesIO(data))" if kind == "bytes" else ""
    if hasattr(given, "read"):
        hint = "pass its path; an image may also be opened first: PIL.Image.open(file)"
    return UsageError(
        f"{where}: {kind} is neither a path, an image, an array, a tensor nor several of them",
        code="inputs.type",
        hint=hint,
    )
