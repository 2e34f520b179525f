"""Networks that run in other programs: OpenVINO, ONNX Runtime and torch's compiler.

Only parts of several layers are handed over. What they compute for a size of input is compared with
their own layers before it is used, because a converted graph may contain a size as a number.
"""

import functools
import importlib
import io
import os
import shutil
import sys
import warnings
from abc import abstractmethod
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import _pytree as pytree

from cvkit.models.parts import TYPES, Form, Parts, traced

Run = Callable[[Sequence[Tensor]], Sequence[Tensor]]
"""Computes the outputs of a converted graph."""

_UNCONVERTED = (
    *(RuntimeError, TypeError, ValueError, AttributeError, IndexError, KeyError),
    NotImplementedError,
)
"""What converters raise for a layer that they do not know."""
_LAYERS = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.Linear


class Runtime(Parts):
    """Makes the parts of a network run in another program."""

    def __init__(self, model: nn.Module, precision: str) -> None:
        super().__init__(model, precision)
        self.names[model] = "the whole network"
        model.forward = functools.partial(self._first_call, model)

    @abstractmethod
    def converted(self, network: "Flat", inputs: tuple[Tensor, ...]) -> Run:
        """Return what computes a graph; it raises an error of `_UNCONVERTED` if it cannot."""

    def is_worth(self, part: nn.Module) -> bool:
        """Return whether a part has several layers; handing over single ones gains nothing."""
        return sum(isinstance(layer, _LAYERS) for layer in part.modules()) > 1

    def form(self, part: nn.Module, inputs: tuple[Any, ...]) -> Form | None:
        """Return the converted part; None where it cannot be traced or converted."""
        if not all(each.numel() for each in pytree.tree_leaves(inputs)):
            return None
        graph = traced(part, inputs) or (part if follows_sizes(part, inputs) else None)
        if graph is None:
            return None
        flat = Flat(graph, pytree.tree_structure(inputs)).eval()
        tensors = tuple(each.clone() for each in pytree.tree_leaves(inputs))
        try:
            with warnings.catch_warnings(), torch.autocast(tensors[0].device.type, enabled=False):
                warnings.simplefilter("ignore")  # of the tracer, on numbers taken from sizes
                run = self.converted(flat, tuple(each.float() for each in tensors))
        except _UNCONVERTED:
            return None
        return Converted(self, self.names[part], part.forward, run)

    def agrees(self, own: Form, form: Form, inputs: tuple[Any, ...]) -> bool:
        """Return whether a form gives what the part does for a size of input."""
        if isinstance(form, Converted):
            return form.verify(inputs)
        return super().agrees(own, form, inputs)


def follows_sizes(part: nn.Module, inputs: tuple[Any, ...]) -> bool:
    """Return whether what a part does follows from the sizes of its inputs, not from their values.

    Then it does the same for all inputs of these sizes, and can be recorded by running it once.
    """
    try:
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:  # has sizes and no values
            part(*pytree.tree_map_only(Tensor, mode.from_tensor, inputs))
    except _UNCONVERTED:  # what a layer raises that has no values to work on
        return False
    return True


class Flat(nn.Module):
    """A graph that takes a flat list of tensors, and returns those among its outputs.

    Args:
        graph: of a part, or the part itself.
        inputs: the structure of its arguments.
    """

    def __init__(self, graph: nn.Module, inputs: pytree.TreeSpec) -> None:
        super().__init__()
        self.traced, self.inputs = graph, inputs

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return the tensors among the outputs."""
        return _tensors(self.traced(*self.arguments(tensors)))

    def arguments(self, tensors: Sequence[Tensor]) -> Any:
        """Return the arguments of the graph from the tensors among them."""
        return pytree.tree_unflatten(list(tensors), self.inputs)


def _tensors(nested: Any) -> tuple[Tensor, ...]:
    return tuple(leaf for leaf in pytree.tree_leaves(nested) if isinstance(leaf, Tensor))


class Converted:
    """A part that another program computes, for the sizes of input for which it does so rightly.

    Args:
        parts: of the network.
        name: of the part.
        own: what its layers compute.
        run: what computes its graph.
    """

    def __init__(self, parts: Runtime, name: str, own: Form, run: Run) -> None:
        self.parts, self.name, self.own, self.run = parts, name, own, run
        self.right: dict[tuple[Any, ...], bool] = {}
        self.like: Any = ()

    def __call__(self, *inputs: Any) -> Any:
        """Return the outputs of the part."""
        tensors = pytree.tree_leaves(inputs)
        if not all(each.numel() for each in tensors):
            return self.own(*inputs)
        if _size(inputs) not in self.right and not self.verify(inputs):
            shapes = ", ".join("x".join(map(str, each.shape)) for each in tensors)
            self.parts.rejected.append(f"{self.name} for inputs of {shapes}")
        return self._computed(*inputs) if self.right[_size(inputs)] else self.own(*inputs)

    def verify(self, inputs: tuple[Any, ...]) -> bool:
        """Return whether the program computes what the layers do, and remember it."""
        right = Parts.agrees(self.parts, self._own, self._computed, inputs)
        self.right[_size(inputs)] = right
        return right

    def _own(self, *inputs: Any) -> Any:
        """Return what the layers compute, and remember its structure and types."""
        found = self.own(*inputs)
        self.like = pytree.tree_map_only(Tensor, lambda each: each.new_empty(0), found)
        return found

    def _computed(self, *inputs: Any) -> Any:
        found = iter(self.run([each.float() for each in pytree.tree_leaves(inputs)]))
        return pytree.tree_map_only(Tensor, lambda like: next(found).to(like.dtype), self.like)


def _size(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the size of samples, and whether there is one, whose axis a graph may omit."""
    shapes = [each.shape for each in pytree.tree_leaves(inputs)]
    return tuple((*shape[1:], shape[:1] == (1,)) for shape in shapes)


class OpenVino(Runtime):
    """Makes the parts of a network run in OpenVINO, on the CPU."""

    engine = "openvino"

    def converted(self, network: Flat, inputs: tuple[Tensor, ...]) -> Run:
        """Return what computes a graph in OpenVINO, for any number of samples of any size."""
        openvino = imported_openvino()
        scripted = torch.jit.trace(network, inputs, strict=False, check_trace=False)
        model = openvino.convert_model(scripted, example_input=inputs)
        return compiled_openvino(model, self.precision)


def compiled_openvino(model: Any, precision: str) -> Run:
    """Return what computes an OpenVINO model, or the one in a file, on the CPU.

    Args:
        model: of OpenVINO, or the path of a file.
        precision: fp32 or bf16.
    """
    settings = {
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "ENABLE_CPU_PINNING": False,
    }
    compiled = imported_openvino().Core().compile_model(model, "CPU", settings)
    request, count = compiled.create_infer_request(), len(compiled.outputs)

    def run(tensors: Sequence[Tensor]) -> list[Tensor]:
        arrays = [each.contiguous().numpy() for each in tensors]
        found = request.infer(arrays, share_inputs=True)
        return [torch.from_numpy(found[n]) for n in range(count)]

    return run


def imported_openvino() -> Any:
    """Return the package, imported so that it reports nothing about its use to anybody.

    Its converter sends events through `openvino_telemetry` if that can be imported.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # "not importable"
    return importlib.import_module("openvino")


class OnnxRuntime(Runtime):
    """Makes the parts of a network run in ONNX Runtime, on the CPU."""

    engine = "onnxruntime"

    def converted(self, network: Flat, inputs: tuple[Tensor, ...]) -> Run:
        """Return what computes a graph in ONNX Runtime, for any number of samples of any size."""
        stream, names = io.BytesIO(), [f"input_{n}" for n in range(len(inputs))]
        axes = {
            name: {axis: f"{name}_{axis}" for axis in range(each.ndim) if axis != 1}
            for name, each in zip(names, inputs, strict=True)
        }
        export: Any = torch.onnx.export  # its annotation lacks streams
        export(
            network,
            inputs,
            stream,
            dynamo=False,
            input_names=names,
            dynamic_axes=axes,
            opset_version=17,
        )
        return onnx_session(stream.getvalue())


def onnx_session(model: bytes | str) -> Run:
    """Return what computes an ONNX graph, given as bytes or as the path of a file, on the CPU."""
    onnxruntime: Any = importlib.import_module("onnxruntime")
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    settings.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]

    def run(tensors: Sequence[Tensor]) -> list[Tensor]:
        arrays = [each.contiguous().numpy() for each in tensors]
        found = session.run(None, dict(zip(names, arrays, strict=True)))
        return [torch.from_numpy(each) for each in found]

    return run


class Compiled(Runtime):
    """Makes the parts of a network run as torch compiles them."""

    engine = "compile"

    def converted(self, network: Flat, inputs: tuple[Tensor, ...]) -> Run:
        """Return a compiled graph; it is compiled when it first computes."""
        config: Any = importlib.import_module("torch._inductor.config")
        compiled = torch.compile(network.traced)
        kind = inputs[0].device.type
        reduced = self.precision != "fp32"

        def run(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
            with (
                config.patch(freezing=True),
                torch.autocast(kind, TYPES[self.precision], enabled=reduced),
            ):
                return _tensors(compiled(*network.arguments(tensors)))

        return run


def missing_package(*packages: str) -> str | None:
    """Return the first package that is not installed; None if all are."""
    return next((name for name in packages if find_spec(name) is None), None)


def has_compiler() -> bool:
    """Return whether there is a C++ compiler, which torch's compiler calls for a CPU."""
    return any(shutil.which(name) for name in (os.environ.get("CXX"), "g++", "clang++") if name)
