"""Fused layers: a trained network on a CPU with fewer passes over memory.

A batch norm becomes part of the convolution before it, an activation or a residual addition part
of the layer that it follows, and weights are laid out once, for the size of the first input. What
is fused are the parts of a network that `torch.fx` can trace, the largest first; the rest runs as
it is.

The operators are those that `torch.compile` emits for a CPU. They are private to torch, so they
are used only where a trial gives the right numbers, and every part is compared with its own layers
on the first input that it gets.
"""

import functools
import inspect
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.utils import _pytree as pytree

from cvkit.errors import UsageError
from cvkit.models.layers import Conv3d

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
"""Precisions of fused layers."""
TOLERANCES = {"fp32": 1e-4, "bf16": 5e-2}
"""Largest difference from the layers of the network, relative to the largest value."""
FEW = 32
"""Samples up to which building fused layers takes longer than they save."""

Convolution = nn.Conv2d | nn.Conv3d
_NORMS = nn.BatchNorm2d | nn.BatchNorm3d
_FORWARDS = {kind.forward for kind in (nn.Conv2d, nn.Conv3d, Conv3d)}
Unary = tuple[str, list[float], str]
"""An activation as the operators name it, its numbers, and its variant."""
_NONE: Unary = ("none", [], "")
_RELU: Unary = ("relu", [], "")
_UNARY: dict[Any, Unary] = {
    **dict.fromkeys((F.relu, torch.relu, torch.relu_, "relu", "relu_", nn.ReLU), _RELU),
    **dict.fromkeys((F.relu6, nn.ReLU6), ("hardtanh", [0.0, 6.0], "")),
    **dict.fromkeys((F.hardswish, nn.Hardswish), ("hardswish", [], "")),
    **dict.fromkeys((F.silu, nn.SiLU), ("swish", [], "")),
    **dict.fromkeys((torch.sigmoid, "sigmoid", nn.Sigmoid), ("sigmoid", [], "")),
}
"""Activations by function, method or layer."""
_SUMS = (operator.add, operator.iadd, torch.add)
_IN_PLACE = (operator.iadd, operator.imul, operator.isub, operator.itruediv)
_UNTRACED = (
    *(fx.proxy.TraceError, TypeError, ValueError, RuntimeError, AttributeError, NameError),
    *(IndexError, KeyError, NotImplementedError),
)
"""What tracing raises if a module reads the values of its input."""


class FusedLayer(nn.Module):
    """A convolution or linear layer with what follows it.

    Its weights, which no optimizer sees, are laid out for the first input.

    Args:
        layer: with the stride, padding and so on.
        weight: its weight, with a batch norm folded in where one follows.
        bias: likewise; None for none.
        dtype: of the product; inputs are cast.
    """

    def __init__(
        self, layer: nn.Module, weight: Tensor, bias: Tensor | None, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.geometry: tuple[Any, ...] = ()
        if isinstance(layer, Convolution):
            self.geometry = (layer.padding, layer.stride, layer.dilation, layer.groups)
        self.dtype = dtype
        # Not as parameters: packed weights have no storage that torch could move or save.
        self.tensors = [weight.detach().to(dtype).contiguous()]
        self.bias = [None if bias is None else bias.detach().to(dtype)]
        self.packed = False
        self.unary = _NONE

    def forward(self, inputs: Tensor, added: Tensor | None = None) -> Tensor:
        """Return the activated output; `added` is summed before the activation."""
        inputs = inputs.to(self.dtype)
        if not self.packed:
            self._pack(inputs)
        weight, bias = self.tensors[0], self.bias[0]
        operators = torch.ops.mkldnn
        if not self.geometry:
            return operators._linear_pointwise(inputs, weight, bias, *self.unary)
        rest = (weight, bias, *self.geometry)
        if added is None:
            return operators._convolution_pointwise(inputs, *rest, *self.unary)
        unary = (None, [], "") if self.unary is _NONE else self.unary
        both = (inputs, added.to(self.dtype))
        return operators._convolution_pointwise.binary(*both, *rest, "add", 1.0, *unary)

    def _pack(self, inputs: Tensor) -> None:
        weight, operators = self.tensors[0], torch.ops.mkldnn
        if self.geometry:
            shape = list(inputs.shape)
            weight = operators._reorder_convolution_weight(weight, *self.geometry, shape)
        else:
            weight = operators._reorder_linear_weight(weight)
        self.tensors, self.packed = [weight], True


@functools.cache
def supported(precision: str) -> bool:
    """Return whether this torch has the operators, and this CPU gives the right numbers."""
    if precision not in TYPES or not torch.backends.mkldnn.is_available():
        return False
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(0)
        trial = _Trial().eval()
        images = torch.randn(2, 8, 9, 9).contiguous(memory_format=torch.channels_last)
        try:
            fused = _fused(trial, (images,), TYPES[precision])
            found = fused(images) if fused else None
        except (AttributeError, RuntimeError, TypeError):  # another torch, or another CPU
            return False
        return _agree(found, trial(images), TOLERANCES[precision])


class _Trial(nn.Module):
    """Every operator once."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.activation, self.linear = nn.ReLU(), nn.Linear(8, 4)

    def forward(self, images: Tensor) -> Tensor:
        """Return [N, 4] of [N, 8, H, W]."""
        maps = self.activation(self.norm(self.convolution(images)) + images)
        return self.activation(self.linear(maps.mean((2, 3))))


def choose_engine(wanted: str, precision: str, device: torch.device, samples: int) -> str:
    """Return eager or fused; auto is fused on a CPU that can, where there are enough samples.

    The choice does not depend on timings, so the same command gives the same bits.

    Raises:
        UsageError: fused layers are asked for where there are none.
    """
    if wanted == "eager" or (wanted == "auto" and samples <= FEW):
        return "eager"
    possible = device.type == "cpu" and supported(precision)
    if wanted == "fused" and not possible:
        where = f"on {device.type} in {precision}" if device.type != "cpu" else f"in {precision}"
        raise UsageError(
            f"--engine fused is not available {where} with torch {torch.__version__}",
            code="engine.missing",
            hint="--engine auto, or --device cpu",
        )
    return "fused" if possible else "eager"


class Fusion:
    """Makes the parts of a network run fused, each from its first call on.

    The network keeps its modules, names and weights; only what calling a part does is replaced.

    Args:
        model: in evaluation mode, on the CPU; changed in place.
        precision: fp32 or bf16.

    Attributes:
        fused: names of the parts that run fused.
        rejected: names of those whose results differed; their own parts were tried instead.
    """

    def __init__(self, model: nn.Module, precision: str) -> None:
        self.dtype, self.tolerance = TYPES[precision], TOLERANCES[precision]
        self.names = {module: name for name, module in model.named_modules()}
        self.fused: list[str] = []
        self.rejected: list[str] = []
        self._watch_inside(model)

    @property
    def engine(self) -> str:
        """Return what the network ran on, for reports: fused, or eager if no part could."""
        return "fused" if self.fused else "eager"

    def _watch_inside(self, module: nn.Module) -> None:
        for part in module.modules():
            if part is not module and any(_fusible(layer) for layer in part.modules()):
                part.forward = functools.partial(self._first_call, part)

    def _first_call(self, part: nn.Module, *inputs: Any, **named: Any) -> Any:
        """Replace a part by its fused form if there is one; return its output."""
        for each in part.modules():  # back to what their classes do
            each.__dict__.pop("forward", None)
        fused = None if named else _fused(part, inputs, self.dtype)
        if fused is None:
            self._watch_inside(part)
            return part.forward(*inputs, **named)
        if self._agrees(part, fused, inputs):
            self.fused.append(self.names[part])
            part.forward = fused
            return fused(*inputs)
        self.rejected.append(self.names[part])
        self._watch_inside(part)
        return part.forward(*inputs)

    def _agrees(self, part: nn.Module, fused: Callable[..., Any], inputs: tuple[Any, ...]) -> bool:
        """Return whether the fused form gives what the part does; both may change their input."""
        expected = part.forward(*pytree.tree_map(_copied, inputs))
        try:
            found = fused(*pytree.tree_map(_copied, inputs))
        except RuntimeError:  # such as a sum of unequal shapes, which the operators do not know
            return False
        return _agree(found, expected, self.tolerance)


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


def _agree(found: Any, expected: Any, tolerance: float) -> bool:
    """Return whether nested tensors are equal up to a share of their largest value."""
    (one, kind), (two, other) = pytree.tree_flatten(found), pytree.tree_flatten(expected)
    if kind != other:
        return False
    for a, b in zip(one, two, strict=True):
        if not isinstance(a, Tensor) or not isinstance(b, Tensor) or a.shape != b.shape:
            return False
        if a.numel():
            limit = tolerance * b.float().abs().max()
            if not (a.float() - b.float()).abs().max() <= limit:  # a NaN is no agreement
                return False
    return True


def _fusible(layer: nn.Module) -> bool:
    """Return whether a layer has a fused form."""
    if isinstance(layer, Convolution):
        plain = type(layer).forward in _FORWARDS and layer.padding_mode == "zeros"
        return plain and not isinstance(layer.padding, str)
    return type(layer) is nn.Linear


class _Tracer(fx.Tracer):
    """Traces through modules that are made on the way of others' layers."""

    def trace(self, root: Any, concrete_args: dict[str, Any] | None = None) -> fx.Graph:
        self.known = set(root.modules())
        return super().trace(root, concrete_args)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, Convolution) or super().is_leaf_module(m, module_qualified_name)

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


def _fused(
    part: nn.Module, inputs: tuple[Any, ...], dtype: torch.dtype
) -> Callable[..., Any] | None:
    """Return the fused form of a module; None where it cannot be traced."""
    if _fusible(part):
        assert isinstance(part.weight, Tensor)
        return FusedLayer(part, part.weight, _bias(part), dtype).forward
    if not all(isinstance(each, Tensor) for each in pytree.tree_leaves(inputs)):
        return None
    parameters = list(inspect.signature(part.forward).parameters.values())
    given = {each.name: each.default for each in parameters[len(inputs) :]}
    try:
        graph = _Tracer().trace(part, given or None)
    except _UNTRACED:
        return None
    network = fx.GraphModule(part, graph)
    _Rewriting(network, dtype).run()
    return network.forward


def _bias(layer: nn.Module) -> Tensor | None:
    assert isinstance(layer.bias, Tensor | None)
    return layer.bias


class _Rewriting:
    """Replaces the layers of a traced network by fused ones."""

    def __init__(self, network: fx.GraphModule, dtype: torch.dtype) -> None:
        self.network, self.graph, self.dtype = network, network.graph, dtype
        self.layers = dict(network.named_modules())

    def run(self) -> None:
        for node in list(self.graph.nodes):
            if isinstance(self._layer(node), nn.Dropout):
                self._drop(node, node.args[0])
        made = [made for node in list(self.graph.nodes) if (made := self._fused_layer(node))]
        for node, layer in made:
            if layer.geometry:
                node = self._with_sum(node)
            self._with_activation(node, layer)
        self.graph.eliminate_dead_code()
        self.graph.lint()
        self.network.recompile()

    def _layer(self, node: fx.Node) -> nn.Module | None:
        return self.layers.get(str(node.target)) if node.op == "call_module" else None

    def _drop(self, node: fx.Node, instead: Any) -> None:
        node.replace_all_uses_with(instead)
        self.graph.erase_node(node)

    def _fused_layer(self, node: fx.Node) -> tuple[fx.Node, FusedLayer] | None:
        """Put a fused layer in the place of a layer and of the batch norm that follows it."""
        layer = self._layer(node)
        if layer is None or not _fusible(layer) or len(node.args) != 1 or node.kwargs:
            return None
        weight, bias = layer.weight, _bias(layer)
        assert isinstance(weight, Tensor)
        follower = _only_user(node)
        norm = self._layer(follower) if follower and isinstance(layer, Convolution) else None
        if follower and isinstance(norm, _NORMS) and norm.running_mean is not None:
            assert norm.running_var is not None
            weight, bias = fuse_conv_bn_weights(
                *(weight, bias, norm.running_mean, norm.running_var),
                *(norm.eps, norm.weight, norm.bias),
            )
            self._drop(follower, node)
        fused = FusedLayer(layer, weight, bias, self.dtype)
        name = f"fused_{len(self.layers)}"
        self.network.add_submodule(name, fused)
        self.layers[name] = fused
        node.target = name
        return node, fused

    def _with_sum(self, node: fx.Node) -> fx.Node:
        """Let a convolution add what is added to its output; return its node, which may be new."""
        total = _only_user(node)
        if total is None or total.target not in _SUMS or total.kwargs or len(total.args) != 2:
            return node
        one, two = total.args
        other = two if one is node else one
        if not isinstance(other, fx.Node) or other is node or self._changes_between(node, total):
            return node
        with self.graph.inserting_before(total):
            moved = self.graph.call_module(str(node.target), (node.args[0], other))
        self._drop(total, moved)
        self.graph.erase_node(node)
        return moved

    def _changes_between(self, node: fx.Node, end: fx.Node) -> bool:
        """Return whether the input of a node may be changed in place before another node."""
        source, between = node.args[0], node.next
        assert isinstance(source, fx.Node)
        while between is not end:
            layer = self._layer(between)
            target = between.target
            name = target if isinstance(target, str) else target.__name__
            changes = between.op != "call_module" and name.endswith("_") and name[-2] != "_"
            changes = changes or target in _IN_PLACE or bool(between.kwargs.get("inplace"))
            if source in between.all_input_nodes and (changes or getattr(layer, "inplace", False)):
                return True
            between = between.next
        return False

    def _with_activation(self, node: fx.Node, layer: FusedLayer) -> None:
        """Let a layer apply the activation that follows it."""
        follower = _only_user(node)
        if follower is None or follower.args != (node,) or set(follower.kwargs) - {"inplace"}:
            return
        module = self._layer(follower)
        known = _UNARY.get(type(module) if module else follower.target)
        if isinstance(module, nn.GELU):
            known = ("gelu", [], module.approximate)
        if known is None or (len(node.args) == 2 and known is not _RELU):
            return
        layer.unary = known
        self._drop(follower, node)


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None
