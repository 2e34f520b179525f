"""What the inputs and outputs of an exported file are."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from cvkit.errors import ModelFileError
from cvkit.export.forms import BATCH, SIZE, Form

Axis = int | str


@dataclass(frozen=True)
class Signature:
    """What the inputs and outputs of a file are; stored in its header.

    Attributes:
        format: key of `cvkit.export.formats.FORMATS`.
        inputs: axes of each input: sizes, or names of those that are left open.
        outputs: names in order.
        precision: fp32, fp16 (weights) or int8.
        opset: version of the ONNX operators, in files that are made of ONNX.
    """

    format: str
    inputs: Mapping[str, tuple[Axis, ...]]
    outputs: tuple[str, ...]
    precision: str = "fp32"
    opset: int | None = None

    @classmethod
    def of(
        cls,
        form: Form,
        inputs: Sequence[Tensor],
        open_axes: Sequence[str],
        name: str,
        opset: int | None,
        precision: str = "fp32",
    ) -> "Signature":
        """Return the signature of a form for example inputs.

        Args:
            form: that is exported.
            inputs: of which the sizes that are not left open are kept.
            open_axes: of `BATCH` and `SIZE`.
            name: of the format.
            opset: version of the ONNX operators; None: the format has none.
            precision: fp32, fp16 or int8.
        """
        shapes = {}
        for key, value in zip(form.inputs, inputs, strict=True):
            known = form.axes.get(key, {})
            shapes[key] = tuple(
                known[axis] if axis in known and _is_open(known[axis], open_axes) else int(size)
                for axis, size in enumerate(value.shape)
            )
        return cls(name, shapes, form.outputs, precision, opset=opset)

    @classmethod
    def from_header(cls, path: Path, header: dict[str, Any]) -> "Signature":
        """Return the signature in the header of a file.

        Raises:
            ModelFileError: there is none.
        """
        try:
            content = dict(header["export"])
            content["inputs"] = {n: tuple(axes) for n, axes in content["inputs"].items()}
            content["outputs"] = tuple(content["outputs"])
            return cls(**content)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelFileError(
                f"{path}: its header does not say what its inputs and outputs are",
                code="model.header",
                hint="export the model again",
            ) from error

    def open_axes(self) -> dict[str, dict[int, str]]:
        """Return the names of the axes that are left open, by input."""
        return {
            name: {axis: size for axis, size in enumerate(axes) if isinstance(size, str)}
            for name, axes in self.inputs.items()
        }

    def as_json(self) -> dict[str, Any]:
        """Return the content of `export` in a header."""
        return asdict(self)


def _is_open(axis: str, chosen: Sequence[str]) -> bool:
    """Return whether a named axis is left open; every axis but the batch is of a size."""
    return (BATCH if axis == BATCH else SIZE) in chosen
