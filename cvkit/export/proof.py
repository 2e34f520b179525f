"""Whether an exported file computes what its network does.

Errors are the largest difference of any element, relative to the range of the expected output: its
largest minus its smallest value over all samples that were compared.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from cvkit.console import Advance
from cvkit.export.forms import UNFIT, Form, resized
from cvkit.export.served import ServedFile

TOLERANCES = {"fp32": 1e-4, "fp16": 1e-2}
"""Largest error by precision; int8 is judged by the metric alone."""
LOOSE = 0.1
"""Error up to which detections in int8 are taken for the same."""


@dataclass
class Differences:
    """Differences between a file and its network, over many samples.

    Attributes:
        tolerance: of relative errors.
        largest: by output, in its unit.
        units: what the differences of an output are relative to, if it is not its range.
        low, high: smallest and largest expected value by output.
        samples: how many were compared.
        shapes: of the inputs, in order of their first use.
        problems: outputs of other sizes, or none at all.
        remarks: other differences that no number tells.
    """

    tolerance: float = TOLERANCES["fp32"]

    largest: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    units: dict[str, float] = field(default_factory=dict)
    low: dict[str, float] = field(default_factory=dict)
    high: dict[str, float] = field(default_factory=dict)
    samples: int = 0
    shapes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def add(self, name: str, found: Tensor, expected: Tensor) -> None:
        """Compare an output."""
        if found.shape != expected.shape:
            shapes = ["x".join(map(str, each.shape)) for each in (found, expected)]
            self.problems.append(f"{name} is {shapes[0]} instead of {shapes[1]}")
            return
        self.widen(name, expected)
        self.grow(name, float((found.float() - expected.float()).abs().max()))

    def widen(self, name: str, expected: Tensor) -> None:
        """Let expected values count for the range of an output."""
        low, high = float(expected.min()), float(expected.max())
        self.low[name] = min(low, self.low.get(name, low))
        self.high[name] = max(high, self.high.get(name, high))

    def grow(self, name: str, difference: float, unit: float | None = None) -> None:
        """Let a difference count, relative to a unit, or to the range of the output.

        Not a number is no agreement.
        """
        if unit is not None:
            self.units[name] = unit
        worst = float("inf") if difference != difference else difference
        self.largest[name] = max(self.largest[name], worst)

    def remark(self, text: str) -> None:
        """Add a difference that no number tells."""
        self.remarks.append(text)

    def relative(self) -> dict[str, float]:
        """Return the error of each output, relative to its range."""
        result = {}
        for name, largest in self.largest.items():
            result[name] = largest / (self.units.get(name) or self._range(name))
        return result

    def _range(self, name: str) -> float:
        low, high = self.low[name], self.high[name]
        return (high - low) or max(abs(high), abs(low)) or 1.0

    def saw(self, inputs: Sequence[Tensor]) -> str:
        """Note the shapes of the inputs of a comparison, and return them."""
        shape = ", ".join("x".join(map(str, each.shape)) for each in inputs)
        if shape not in self.shapes:
            self.shapes.append(shape)
        return shape


@dataclass(frozen=True)
class Verdict:
    """What a proof found.

    Attributes:
        errors: by output: the largest difference and the relative one.
        tolerance: of the relative one; None if it does not decide.
        samples: how many were compared.
        shapes: of the inputs.
        reasons: why the file failed; empty if it passed.
    """

    errors: dict[str, dict[str, float]]
    tolerance: float | None
    samples: int
    shapes: list[str]
    reasons: list[str]

    def as_json(self) -> dict[str, Any]:
        """Return the numbers for `export.json`."""
        return {
            "outputs": self.errors,
            "tolerance": self.tolerance,
            "samples": self.samples,
            "inputs": self.shapes,
            "reasons": self.reasons,
        }


@torch.inference_mode()
def compare(
    served: ServedFile,
    form: Form,
    network: nn.Module,
    inputs: Sequence[tuple[Tensor, ...]],
    advance: Advance = lambda done, note="": None,
) -> Verdict:
    """Run a file and its network on the same inputs and compare the outputs.

    Args:
        served: the file.
        form: of which it was made.
        network: the original one, in its memory format.
        inputs: of the form; several sizes and numbers of samples, where these are left open.
        advance: is told the number of inputs that were compared.
    """
    tolerance = TOLERANCES.get(served.signature.precision)
    found = Differences(tolerance or LOOSE)
    for number, each in enumerate(inputs, 1):
        shape = found.saw(each)
        found.samples += len(each[0]) if form.stacks else 1
        expected = form.expected(network, form.scale, each)
        try:
            outputs = served.run(each)
        except Exception as error:  # each program raises errors of its own
            reason = " ".join(str(error).split())[:160]
            found.problems.append(f"the file cannot compute inputs of {shape}: {reason}")
        else:
            form.differences(found, outputs, expected)
        advance(number)
    relative = found.relative()
    reasons = list(dict.fromkeys(found.problems))
    if tolerance is not None:
        reasons += dict.fromkeys(found.remarks)
    for name, share in relative.items():
        if tolerance is not None and not share <= tolerance:
            reasons.append(f"{name} differs by {share:.2e} of its range, more than {tolerance:.0e}")
    errors = {
        name: {"largest": found.largest[name], "relative": share}
        for name, share in relative.items()
    }
    return Verdict(errors, tolerance, found.samples, found.shapes, reasons)


@torch.inference_mode()
def varied(
    inputs: tuple[Tensor, ...], network: nn.Module, form: Form, *, sizes: bool, batches: bool
) -> list[tuple[Tensor, ...]]:
    """Return inputs, and the same in other numbers and sizes where these are left open.

    Sizes that the network itself cannot take are left out.

    Args:
        inputs: of several samples.
        network: the original one.
        form: of it.
        sizes: also return other heights and widths.
        batches: also return the first sample alone.
    """
    found = [inputs]
    if batches and len(inputs[0]) > 1:
        found.append(tuple(each[:1] for each in inputs))
    if not sizes:
        return found
    height, width = inputs[0].shape[-2:]
    for size_hw in ((height, width + 32), (height + 32, width), (height * 3 // 4, width)):
        other = resized(inputs, size_hw)
        try:
            form.expected(network, form.scale, other)
        except UNFIT:  # too small for it
            continue
        found.append(other)
    return found
