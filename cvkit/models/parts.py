"""Networks whose parts run in another form than layer by layer.

What is replaced are the parts that `torch.fx` can trace, the largest first; the rest runs as it
is. Every part is compared with its own layers before its other form is used.
"""

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, fx, nn
from torch.fx._symbolic_trace import PH
from torch.utils import _pytree as pytree

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
"""Precisions of other forms."""
TOLERANCES = {"fp32": 1e-4, "bf16": 5e-2}
"""Largest difference from the layers of the network, relative to the largest value."""

Form = Callable[..., Any]
"""What runs instead of a part, on the same inputs."""

_UNTRACED = (
    *(fx.proxy.TraceError, TypeError, ValueError, RuntimeError, AttributeError, NameError),
    *(IndexError, KeyError, NotImplementedError),
)
"""What tracing raises if a module reads the values of its input."""


class Parts(ABC):
    """Makes the parts of a network run in another form, each from its first call on.

    The network keeps its modules, names and weights; only what calling a part does is replaced.

    Args:
        model: in evaluation mode, on the CPU; changed in place.
        precision: fp32 or bf16.

    Attributes:
        replaced: names of the parts that run in the other form.
        rejected: names of those whose results differed; their own parts were tried instead.
        called: whether the network has run.
    """

    engine: ClassVar[str]
    """Name of the form, for `--engine`."""

    def __init__(self, model: nn.Module, precision: str) -> None:
        self.precision, self.tolerance = precision, TOLERANCES[precision]
        self.names = {module: name for name, module in model.named_modules()}
        self.replaced: list[str] = []
        self.rejected: list[str] = []
        self.called = False
        self._watch_inside(model)

    @abstractmethod
    def is_worth(self, part: nn.Module) -> bool:
        """Return whether a part may have another form, or contains one that may."""

    @abstractmethod
    def form(self, part: nn.Module, inputs: tuple[Any, ...]) -> Form | None:
        """Return the other form of a part; None where there is none.

        It raises a RuntimeError for inputs that it cannot take.
        """

    @property
    def used(self) -> str:
        """Return what the network ran on, for reports: eager if no part had another form."""
        return self.engine if self.replaced else "eager"

    def _watch_inside(self, module: nn.Module) -> None:
        for part in module.modules():
            if part is not module and self.is_worth(part):
                part.forward = functools.partial(self._first_call, part)

    def _first_call(self, part: nn.Module, *inputs: Any, **named: Any) -> Any:
        """Replace a part by its other form if there is one; return its output."""
        for each in part.modules():  # back to what their classes do
            each.__dict__.pop("forward", None)
        self.called = True
        form = None if named else self.form(part, inputs)
        if form is None:
            self._watch_inside(part)
            return part.forward(*inputs, **named)
        if self.agrees(part.forward, form, inputs):
            self.replaced.append(self.names[part])
            part.forward = form
            return form(*inputs)
        self.rejected.append(self.names[part])
        self._watch_inside(part)
        return part.forward(*inputs)

    def agrees(self, own: Form, form: Form, inputs: tuple[Any, ...]) -> bool:
        """Return whether a form gives what the part does; both may change their input."""
        expected = own(*pytree.tree_map(_copied, inputs))
        try:
            found = form(*pytree.tree_map(_copied, inputs))
        except RuntimeError:  # such as a sum of unequal shapes, which the operators do not know
            return False
        return agree(found, expected, self.tolerance)


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


def agree(found: Any, expected: Any, tolerance: float) -> bool:
    """Return whether nested tensors are equal up to a share of their largest value."""
    (one, kind), (two, other) = pytree.tree_flatten(found), pytree.tree_flatten(expected)
    if kind != other:
        return False
    for a, b in zip(one, two, strict=True):
        if not isinstance(a, Tensor) or not isinstance(b, Tensor):
            if a is not b:
                return False
        elif a.shape != b.shape:
            return False
        elif a.numel():
            limit = tolerance * b.float().abs().max()
            if not (a.float() - b.float()).abs().max() <= limit:  # a NaN is no agreement
                return False
    return True


class _Tracer(fx.Tracer):
    """Traces through modules that are made on the way of others' layers."""

    def trace(self, root: Any, concrete_args: dict[str, Any] | None = None) -> fx.Graph:
        self.known = set(root.modules())
        return super().trace(root, concrete_args)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        convolution = isinstance(m, nn.Conv2d | nn.Conv3d)
        return convolution or super().is_leaf_module(m, module_qualified_name)

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        if m not in self.known:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)


def traced(part: nn.Module, inputs: tuple[Any, ...]) -> fx.GraphModule | None:
    """Return the graph of a module's layers; None where it depends on the inputs' values."""
    if not all(isinstance(each, Tensor) for each in pytree.tree_leaves(inputs)):
        return None
    parameters = list(inspect.signature(part.forward).parameters.values())
    given = {each.name: each.default for each in parameters[len(inputs) :]}
    for each, value in zip(parameters, inputs, strict=False):
        if not isinstance(value, Tensor):  # a list of maps, for example: each is an input
            given[each.name] = pytree.tree_map(lambda _: PH, value)
    try:
        graph = _Tracer().trace(part, given or None)
    except _UNTRACED:
        return None
    return fx.GraphModule(part, graph)
