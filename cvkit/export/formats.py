"""The formats of exported files: how each is written, read and run.

A format is a row of `FORMATS`. Every file contains the header of its model, so that it says by
itself which task, classes and preprocessing it is for.
"""

import hashlib
import importlib
import io
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from cvkit.errors import CvkitError, ModelFileError, UsageError
from cvkit.export.forms import Form
from cvkit.export.signature import Signature
from cvkit.export.smaller import quantise, with_half_weights
from cvkit.models.engines import Absence, package_absence
from cvkit.models.runtimes import compiled_openvino, imported_openvino, onnx_session
from cvkit.storage import sha256

OPSET = 17
"""Version of the ONNX operators; the last one that torch's exporter by tracing writes in full."""
KEY = "cvkit"
"""Name of the header among the metadata of a file."""
_EXTRA = f"{KEY}.json"

Run = Callable[[Sequence[Tensor]], Sequence[Tensor]]
"""Takes the inputs in order; returns the outputs in order."""


class Writer(Protocol):
    """Writes a form as a file."""

    def __call__(
        self, path: Path, form: Form, inputs: tuple[Tensor, ...], told: Signature, header: str
    ) -> None:
        """Write the file, with the header among its metadata."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """How files of a format are written, read and run.

    Attributes:
        suffix: of the file.
        runtime: name of the program that runs it; "" for torch itself.
        packages: that writing needs.
        extra: of cvkit, which installs them.
        opset: version of the ONNX operators, if it is made of them.
        beside: suffixes of further files.
        safe: whether reading a file cannot run code in it.
        write: writes a form.
        from_onnx: makes a file of an ONNX file in 8 bits; None: there is no such file.
        read: returns the header of a file; raises anything for a damaged one.
        run: returns what computes the outputs of a file.
    """

    suffix: str
    runtime: str
    packages: tuple[str, ...] = ()
    extra: str = ""
    opset: int | None = None
    beside: tuple[str, ...] = ()
    safe: bool = False
    write: Writer
    from_onnx: Callable[[Path, Path, Signature, str], None] | None = None
    read: Callable[[Path], str]
    run: Callable[[Path, Signature], Run] = field(repr=False)

    def files(self, path: Path) -> list[Path]:
        """Return all files of an exported model."""
        return [path, *(path.with_suffix(suffix) for suffix in self.beside)]

    def absence(self) -> Absence | None:
        """Return which package is missing."""
        return package_absence(self.packages, self.extra) if self.packages else None


def write_onnx(
    path: Path, form: Form, inputs: tuple[Tensor, ...], told: Signature, header: str
) -> None:
    """Write an ONNX file."""
    onnx: Any = importlib.import_module("onnx")
    stream = io.BytesIO()
    export: Any = torch.onnx.export  # its annotation lacks streams
    axes = {name: dict(named) for name, named in told.open_axes().items()}
    axes |= {name: _left_open(named, axes) for name, named in form.axes.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer, on numbers taken from sizes
        export(
            *(form, inputs, stream),
            dynamo=False,
            input_names=list(form.inputs),
            output_names=list(told.outputs),
            dynamic_axes=axes,
            opset_version=OPSET,
        )
    model = onnx.load_from_string(stream.getvalue())
    if told.precision == "fp16":
        with_half_weights(model)
    onnx.helper.set_model_props(model, {KEY: header})
    onnx.save_model(model, str(path))


def _onnx_from_onnx(source: Path, path: Path, told: Signature, header: str) -> None:
    onnx: Any = importlib.import_module("onnx")
    model = onnx.load_model(str(source))
    onnx.helper.set_model_props(model, {KEY: header})
    onnx.save_model(model, str(path))


def _left_open(named: Mapping[int, str], given: Mapping[str, Mapping[int, str]]) -> dict[int, str]:
    """Return those axes of an output that follow from open axes of the inputs, or from values."""
    known = {name for axes in given.values() for name in axes.values()}
    bound = {"batch", "height", "width"}
    return {axis: name for axis, name in named.items() if name in known or name not in bound}


def _onnx_header(path: Path) -> str:
    onnx: Any = importlib.import_module("onnx")
    model = onnx.load_model(str(path), load_external_data=False)
    return next(entry.value for entry in model.metadata_props if entry.key == KEY)


def _run_onnx(path: Path, told: Signature) -> Run:
    return onnx_session(str(path))


def traced(form: Form, inputs: tuple[Tensor, ...]) -> torch.jit.ScriptModule:
    """Return a form as TorchScript, recorded by running it once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer, on numbers taken from sizes
        return cast(
            torch.jit.ScriptModule, torch.jit.trace(form, inputs, strict=False, check_trace=False)
        )


def write_openvino(
    path: Path, form: Form, inputs: tuple[Tensor, ...], told: Signature, header: str
) -> None:
    """Write an OpenVINO model: an .xml file, and the weights in a .bin file."""
    openvino = imported_openvino()
    shapes = [
        openvino.PartialShape([-1 if isinstance(size, str) else size for size in axes])
        for axes in told.inputs.values()
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = openvino.convert_model(traced(form, inputs), example_input=inputs, input=shapes)
    save_openvino(path, model, told, header)


def _openvino_from_onnx(source: Path, path: Path, told: Signature, header: str) -> None:
    save_openvino(path, imported_openvino().convert_model(str(source)), told, header)


def save_openvino(path: Path, model: Any, told: Signature, header: str) -> None:
    """Write an OpenVINO model with names of inputs and outputs and the header."""
    openvino = imported_openvino()
    for name, port in zip(told.inputs, model.inputs, strict=True):
        port.get_tensor().set_names({name})
    for name, port in zip(told.outputs, model.outputs, strict=True):
        port.get_tensor().set_names({name})
    model.set_rt_info(header, [KEY, "header"])
    openvino.save_model(model, str(path), compress_to_fp16=told.precision == "fp16")


def _openvino_header(path: Path) -> str:
    found = imported_openvino().Core().read_model(str(path)).get_rt_info([KEY, "header"])
    return str(getattr(found, "value", found))


def _run_openvino(path: Path, told: Signature) -> Run:
    return compiled_openvino(str(path), "fp32")


def write_torchscript(
    path: Path, form: Form, inputs: tuple[Tensor, ...], told: Signature, header: str
) -> None:
    """Write a TorchScript file."""
    module = traced(form, inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is deprecated
        torch.jit.save(module, str(path), _extra_files={_EXTRA: header})


def _torchscript_header(path: Path) -> str:
    found: dict[str, Any] = {_EXTRA: ""}
    _loaded_torchscript(path, found)
    content = found[_EXTRA]
    return content.decode() if isinstance(content, bytes) else str(content)


def _loaded_torchscript(path: Path, extra: dict[str, Any] | None = None) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is deprecated
        return torch.jit.load(str(path), map_location="cpu", _extra_files=extra)


def _run_torchscript(path: Path, told: Signature) -> Run:
    module = _loaded_torchscript(path)
    return lambda tensors: module(*tensors)


def write_torch_export(
    path: Path, form: Form, inputs: tuple[Tensor, ...], told: Signature, header: str
) -> None:
    """Write a program of `torch.export`."""
    axes = told.open_axes()
    dynamic = [dict.fromkeys(axes[name], torch.export.Dim.AUTO) for name in told.inputs]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(form, inputs, dynamic_shapes=tuple(dynamic), strict=False)
        torch.export.save(program, str(path), extra_files={_EXTRA: header})


def _torch_export_header(path: Path) -> str:
    found = {_EXTRA: ""}
    torch.export.load(str(path), extra_files=found)
    return found[_EXTRA]


def _run_torch_export(path: Path, told: Signature) -> Run:
    module = torch.export.load(str(path)).module()
    return lambda tensors: module(*tensors)


FORMATS: Mapping[str, Format] = {
    "onnx": Format(
        suffix=".onnx",
        runtime="onnxruntime",
        packages=("onnx", "onnxruntime"),
        extra="onnx",
        safe=True,
        opset=OPSET,
        write=write_onnx,
        from_onnx=_onnx_from_onnx,
        read=_onnx_header,
        run=_run_onnx,
    ),
    "openvino": Format(
        suffix=".xml",
        runtime="openvino",
        packages=("openvino",),
        extra="openvino",
        safe=True,
        beside=(".bin",),
        write=write_openvino,
        from_onnx=_openvino_from_onnx,
        read=_openvino_header,
        run=_run_openvino,
    ),
    "torchscript": Format(
        suffix=".torchscript",
        runtime="torchscript",
        write=write_torchscript,
        read=_torchscript_header,
        run=_run_torchscript,
    ),
    "torch-export": Format(
        suffix=".pt2",
        runtime="torch-export",
        write=write_torch_export,
        read=_torch_export_header,
        run=_run_torch_export,
    ),
}


def convert(
    path: Path,
    form: Form,
    inputs: tuple[Tensor, ...],
    told: Signature,
    header: Mapping[str, Any],
    calibration: Sequence[tuple[Tensor, ...]] = (),
) -> None:
    """Write a form as a file of a format.

    Args:
        path: of the file.
        form: what it computes.
        inputs: by which it is traced.
        told: what its inputs and outputs are.
        header: of the model; `told` is added to it.
        calibration: inputs by which the ranges of activations are measured, for int8.

    Raises:
        UsageError: the format cannot hold this network.
    """
    kind, content = FORMATS[told.format], json.dumps({**header, "export": told.as_json()})
    try:
        if told.precision == "int8" and kind.from_onnx is not None:
            whole, small = (path.with_name(f"{name}.onnx") for name in ("fp32", "int8"))
            write_onnx(whole, form, inputs, told, content)
            quantise(whole, small, form.inputs, calibration)
            kind.from_onnx(small, path, told, content)
        else:
            kind.write(path, form, inputs, told, content)
    except (CvkitError, OSError, MemoryError):
        raise
    except Exception as error:  # each converter raises errors of its own
        reason = " ".join(str(error).split())[:200]
        raise UsageError(
            f"--format {told.format}: the network cannot be converted: {reason}",
            code="export.unsupported",
            hint="choose another --format, or --dynamic none",
        ) from error


def format_of(path: Path) -> str | None:
    """Return the format of a file by its suffix; None for other files."""
    return next((name for name, kind in FORMATS.items() if path.suffix == kind.suffix), None)


def read_header(path: Path) -> tuple[dict[str, Any], Signature]:
    """Return the header of an exported file, and what its inputs and outputs are.

    `sha256` in it is the hash of the file (and of those beside it).

    Raises:
        ModelFileError: it is missing, damaged, or cvkit did not write it.
        UsageError: the package that reads it is missing.
    """
    kind = FORMATS[str(format_of(path))]
    require_package(kind, f"{path}")
    for each in kind.files(path):
        if not each.is_file():
            raise ModelFileError(f"{each} does not exist", code="model.missing")
    try:
        header = json.loads(kind.read(path))
    except StopIteration as error:
        raise ModelFileError(
            f"{path} has no cvkit header", code="model.foreign", hint="cvkit export writes it"
        ) from error
    except Exception as error:  # each program raises errors of its own
        reason = " ".join(str(error).split())[:200]
        raise ModelFileError(
            f"{path} cannot be read by {kind.runtime}, or has no cvkit header: {reason}",
            code="model.corrupt",
            hint="export the model again",
        ) from error
    if not isinstance(header, dict):
        raise ModelFileError(f"{path} has a damaged header", code="model.corrupt")
    digests = "".join(sha256(each) for each in kind.files(path))
    header["sha256"] = hashlib.sha256(digests.encode()).hexdigest()
    return header, Signature.from_header(path, header)


def require_package(kind: Format, what: str) -> None:
    """Check that the packages of a format are installed.

    Raises:
        UsageError: names the missing one.
    """
    if absence := kind.absence():
        raise UsageError(
            f"{what} is not available {absence.reason}",
            code="export.missing",
            hint=absence.remedy,
        )
