"""What a trained network can run on: its own layers, fused layers, or another program."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import nn

from cvkit.errors import UsageError
from cvkit.models.fuse import Fusion, supported
from cvkit.models.parts import Parts
from cvkit.models.runtimes import (
    Compiled,
    OnnxRuntime,
    OpenVino,
    has_compiler,
    missing_package,
)

FEW = 32
"""Samples up to which building another form of a network takes longer than it saves."""


@dataclass(frozen=True)
class Absence:
    """Why an engine is not available.

    Attributes:
        reason: follows `--engine NAME is not available`.
        remedy: what to do.
    """

    reason: str
    remedy: str = "--engine auto, or --device cpu"


Available = Callable[[str, torch.device], Absence | None]
"""Takes precision and device; returns why the engine is not available there."""


def _fused_absence(precision: str, device: torch.device) -> Absence | None:
    if device.type == "cpu" and supported(precision):
        return None
    where = f"on {device.type} in {precision}" if device.type != "cpu" else f"in {precision}"
    return Absence(f"{where} with torch {torch.__version__}")


def _needs(*packages: str, extra: str, precisions: tuple[str, ...] = ("fp32", "bf16")) -> Available:
    """Return the check of an engine for CPUs that needs packages, which an extra installs."""

    def absence(precision: str, device: torch.device) -> Absence | None:
        if device.type != "cpu":
            return Absence(f"on {device.type}")
        if precision not in precisions:
            return Absence(f"in {precision}", f"--precision {precisions[0]}")
        return package_absence(packages, extra)

    return absence


def package_absence(packages: Iterable[str], extra: str) -> Absence | None:
    """Return which of some packages, which an extra installs, is missing; None if none is."""
    if name := missing_package(*packages):
        return Absence(f"without the package {name}", f"pip install 'cvkit[{extra}]'")
    return None


def _compiler_absence(precision: str, device: torch.device) -> Absence | None:
    if device.type not in ("cpu", "cuda"):
        return Absence(f"on {device.type}")
    if device.type == "cpu" and not has_compiler():
        return Absence("without a C++ compiler", "install g++, or set CXX")
    return None


ENGINES: dict[str, tuple[type[Parts], Available]] = {
    "fused": (Fusion, _fused_absence),
    "compile": (Compiled, _compiler_absence),
    "openvino": (OpenVino, _needs("openvino", extra="openvino")),
    "onnxruntime": (OnnxRuntime, _needs("onnxruntime", "onnx", extra="onnx", precisions=("fp32",))),
}
"""Forms of a network besides its own layers, and where they are available."""
TIMED = ("eager", "fused", "openvino")
"""Engines that auto times if there are many samples."""


def available(name: str, precision: str, device: torch.device) -> bool:
    """Return whether an engine can be used."""
    return name == "eager" or ENGINES[name][1](precision, device) is None


def require_available(name: str, precision: str, device: torch.device) -> None:
    """Check that an engine can be used.

    Raises:
        UsageError: it cannot.
    """
    absence = None if name in ("auto", "eager") else ENGINES[name][1](precision, device)
    if absence:
        raise UsageError(
            f"--engine {name} is not available {absence.reason}",
            code="engine.missing",
            hint=absence.remedy,
        )


def usual_engine(precision: str, device: torch.device, samples: int) -> str:
    """Return the engine that needs no timing: fused on a CPU that can, with enough samples."""
    return "fused" if samples > FEW and available("fused", precision, device) else "eager"


def run_on(name: str, model: nn.Module, precision: str) -> Parts | None:
    """Let a network run on an engine; return its parts, None for its own layers."""
    return None if name == "eager" else ENGINES[name][0](model, precision)


def run_as_it_is(model: nn.Module) -> None:
    """Let a network run on its own layers again."""
    for part in model.modules():
        part.__dict__.pop("forward", None)
