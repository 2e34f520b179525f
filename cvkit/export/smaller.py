"""Smaller ONNX files: weights in 16 bits, or layers in 8."""

import importlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

LEAST = 64
"""Numbers in a tensor from which on storing it in 16 bits saves anything."""
LAYERS = ("Conv", "Gemm", "MatMul")
"""Operators that are computed in 8 bits."""


def with_half_weights(model: Any) -> None:
    """Store the weights of an ONNX model as float16, in place.

    A cast to float32 follows each of them, so that the file has half the size, and every runtime
    computes as it likes. Tensors with values beyond the range of float16 stay as they are.
    """
    onnx: Any = importlib.import_module("onnx")
    graph, casts = model.graph, []
    for place, tensor in enumerate(graph.initializer):
        if tensor.data_type != onnx.TensorProto.FLOAT or np.prod(tensor.dims) < LEAST:
            continue
        values = onnx.numpy_helper.to_array(tensor)
        if not (np.abs(values) <= np.finfo(np.float16).max).all():
            continue
        name = f"{tensor.name}_half"
        half = onnx.numpy_helper.from_array(values.astype(np.float16), name)
        cast = onnx.helper.make_node("Cast", [name], [tensor.name], to=onnx.TensorProto.FLOAT)
        graph.initializer[place].CopyFrom(half)
        casts.append(cast)
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


class _Reader:
    """Gives the calibration its inputs, one after the other."""

    def __init__(self, names: Sequence[str], samples: Sequence[tuple[Tensor, ...]]) -> None:
        self.rows: Iterator[Mapping[str, np.ndarray]] = iter(
            [
                {name: value.numpy() for name, value in zip(names, each, strict=True)}
                for each in samples
            ]
        )

    def get_next(self) -> Mapping[str, np.ndarray] | None:
        """Return the next inputs by name; None after the last."""
        return next(self.rows, None)


def quantise(
    source: Path, target: Path, names: Sequence[str], samples: Sequence[tuple[Tensor, ...]]
) -> None:
    """Write an ONNX file whose layers compute in 8 bits.

    ONNX Runtime's static quantisation: weights by channel, activations by their range on samples.

    Args:
        source: the file in fp32.
        target: to write.
        names: of the inputs.
        samples: inputs by which the ranges of activations are measured.
    """
    library: Any = importlib.import_module("onnxruntime.quantization")
    logging.getLogger().addFilter(_quiet)  # it advises to optimise the graph first
    try:
        library.quantize_static(
            *(str(source), str(target), _Reader(names, samples)),
            quant_format=library.QuantFormat.QDQ,
            activation_type=library.QuantType.QUInt8,
            weight_type=library.QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=list(LAYERS),
        )
    finally:
        logging.getLogger().removeFilter(_quiet)


def _quiet(record: logging.LogRecord) -> bool:
    return "pre-processing" not in record.getMessage()
