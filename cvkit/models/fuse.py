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
import operator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

from cvkit.models.layers import Conv3d
from cvkit.models.parts import TOLERANCES, TYPES, Form, Parts, agree, traced

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
        return agree(found, trial(images), TOLERANCES[precision])


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


class Fusion(Parts):
    """Makes the parts of a network run with fused layers; see `Parts`."""

    engine = "fused"

    def is_worth(self, part: nn.Module) -> bool:
        """Return whether a part has a layer with a fused form."""
        return any(_fusible(layer) for layer in part.modules())

    def form(self, part: nn.Module, inputs: tuple[Any, ...]) -> Form | None:
        """Return the fused form of a module; None where it cannot be traced."""
        return _fused(part, inputs, TYPES[self.precision])


def _fusible(layer: nn.Module) -> bool:
    """Return whether a layer has a fused form."""
    if isinstance(layer, Convolution):
        plain = type(layer).forward in _FORWARDS and layer.padding_mode == "zeros"
        return plain and not isinstance(layer.padding, str)
    return type(layer) is nn.Linear


def _fused(part: nn.Module, inputs: tuple[Any, ...], dtype: torch.dtype) -> Form | None:
    """Return the fused form of a module; None where it cannot be traced."""
    if _fusible(part):
        assert isinstance(part.weight, Tensor)
        return FusedLayer(part, part.weight, _bias(part), dtype).forward
    network = traced(part, inputs)
    if network is None:
        return None
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
