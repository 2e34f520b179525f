"""Training with torch's compiler: the pass through a network becomes one compiled function."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn
from torch._dynamo.exc import TorchDynamoException

from cvkit.errors import UsageError
from cvkit.models.runtimes import has_compiler

BACKEND = "inductor"
"""Of `torch.compile`."""
Say = Callable[[str], object]


def require_compiler(device: torch.device) -> None:
    """Check that torch's compiler can compile for a device.

    Raises:
        UsageError: it cannot.
    """
    absence = {
        "cpu": None if has_compiler() else ("without a C++ compiler", "install g++, or set CXX"),
        "cuda": None if find_spec("triton") else ("without Triton", "pip install triton"),
    }.get(device.type, (f"on {device.type}", "omit it"))
    if absence:
        why, remedy = absence
        raise UsageError(f"--compile is not available {why}", code="compile.missing", hint=remedy)


def compile_training(part: nn.Module, warn: Say) -> None:
    """Let a module run compiled where gradients are computed.

    Its state dict keeps its names. Without gradients, as in validation, it runs layer by layer.

    Args:
        part: changed in place.
        warn: is told if the compiler cannot translate it; it then runs layer by layer.
    """
    part.forward = _Forward(part, warn)


class _Forward:
    """The forward of a module that is compiled when it is first called; copied with its module."""

    def __init__(self, part: nn.Module, warn: Say) -> None:
        self.part, self.warn = part, warn
        self.compiled: Callable[..., Any] | None = None
        self.fails = False

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Forward":
        return _Forward(memo[id(self.part)], self.warn)

    def __call__(self, *inputs: Any) -> Any:
        forward = type(self.part).forward
        if self.fails or not torch.is_grad_enabled():
            return forward(self.part, *inputs)
        if self.compiled is None:
            # A whole function or none: half of one would count a batch norm's statistics twice.
            self.compiled = torch.compile(forward, backend=BACKEND, fullgraph=True)
        try:
            return self.compiled(self.part, *inputs)
        except TorchDynamoException as error:
            self.fails = True
            reason = next(iter(str(error).split("\n")), type(error).__name__)
            self.warn(f"--compile: torch cannot compile the network, which runs as it is: {reason}")
            return forward(self.part, *inputs)
