"""Files with weights in 16 bits, and in 8, are smaller and judged by their limits."""

import numpy as np
import pytest
import torch

from cvkit.export import proof, smaller
from cvkit.export.detectors import pasted, resized_input
from cvkit.export.formats import FORMATS, read_header
from cvkit.models.detection.inputs import DetectionInputs
from cvkit.ops.mask_pasting import paste_masks
from cvkit.ops.resize import height_width
from cvkit.ops.rle import decode
from cvkit.options.tree import task_options
from cvkit.tasks.trained import load_trained

pytestmark = pytest.mark.apart
ABLE = [name for name, kind in FORMATS.items() if kind.from_onnx]


@pytest.fixture
def exported(cvkit, data_of, tmp_path):
    def call(model, task, name, *more):
        out = tmp_path / f"{len(list(tmp_path.iterdir()))}{FORMATS[name].suffix}"
        words = ("export", "--weights", model, "--data", data_of(task), "--format", name)
        return cvkit(*words, "--out", out, "--images", 3, "--json", *more), out

    return call


@pytest.mark.parametrize(
    ("task", "model", "name"),
    [*(("segment", "scenes", name) for name in ABLE), ("detect", "boxes", "onnx")],
)
def test_half_halves_the_size_and_rounds_the_weights(exported, task, model, name):
    whole, _ = exported(model, task, name)
    half, out = exported(model, task, name, "--half")
    assert whole.code == half.code == 0, half.err
    whole, half = whole.json, half.json
    assert half["precision"] == "fp16" and read_header(out)[1].precision == "fp16"
    assert half["bytes"] < 0.65 * whole["bytes"]
    assert half["proof"]["tolerance"] == proof.TOLERANCES["fp16"]
    first = half["outputs"][0]
    errors = [each["proof"]["outputs"][first]["relative"] for each in (whole, half)]
    assert errors[0] < errors[1] / 5, "the weights were not rounded"
    assert half["metric"]["max_drop"] == 0.01
    options = task_options(task, "eval")(precision="fp16")
    assert load_trained(str(out), options, task).precision == "fp16"  # is no contradiction


@pytest.mark.parametrize("name", ABLE)
def test_int8_is_calibrated_and_judged_by_its_metric(cvkit, exported, data_of, name):
    done, out = exported("scenes", "segment", name, "--int8", "--calibrate", 4, "--max-drop", 0.2)
    assert done.code == 0, done.err
    found = done.json
    assert found["precision"] == "int8" and found["proof"]["tolerance"] is None
    assert found["proof"]["outputs"]["logits"]["relative"] > 1e-3
    assert found["bytes"] < 0.5 * 3_741_966, "an eighth of the bits of most numbers"
    assert found["metric"]["file"] == pytest.approx(found["metric"]["network"], abs=0.2)
    words = ("segment", "eval", "--data", data_of("segment"), "--no-files", "--json")
    scored = cvkit(*words, "--weights", out, "--workers", 0).json
    assert scored["precision"] == "int8"
    assert scored["metrics"]["miou"] == pytest.approx(found["metric"]["file"], abs=1e-6)


def test_weights_beyond_16_bits_stay_as_they_are():
    import onnx

    big = np.full((8, 16), 7e4, np.float32)
    fine = np.full((8, 16), 0.1, np.float32)
    tensors = [onnx.numpy_helper.from_array(v, n) for v, n in ((big, "big"), (fine, "fine"))]
    nodes = [onnx.helper.make_node("Add", ["big", "fine"], ["sum"])]
    kind = onnx.TensorProto.FLOAT
    result = onnx.helper.make_tensor_value_info("sum", kind, [8, 16])
    model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [], [result], tensors))
    smaller.with_half_weights(model)
    types = {each.name: each.data_type for each in model.graph.initializer}
    assert types == {"big": kind, "fine_half": onnx.TensorProto.FLOAT16}
    assert [node.op_type for node in model.graph.node] == ["Cast", "Add"]


@pytest.mark.parametrize("sizes", [(160,), (800,), (333,)])
def test_a_detectors_input_has_the_size_of_the_network(sizes):
    """Scales are quotients of whole numbers, whose last bit decides about a pixel."""
    rule = DetectionInputs(sizes, sizes[0] * 2, (0.5,) * 3, (0.2,) * 3).eval()
    for side in range(20, 200, 7):
        image = torch.zeros(1, 3, side, 112)
        assert height_width(resized_input(image, rule)) == rule([image[0]]).sizes_hw[0]


def test_masks_are_pasted_as_predict_does():
    torch.manual_seed(3)
    grids = torch.nn.functional.interpolate(torch.rand(6, 1, 7, 7), (28, 28), mode="bicubic")[:, 0]
    corner = torch.tensor([[-5.0, 3], [10.2, 8.7], [30, 30], [0, 0], [44.9, 2], [12, 40.5]])
    extent = torch.tensor([[20.0, 20], [0.3, 40], [7, 5], [60, 50], [30, 9], [1, 1]])
    boxes = torch.cat((corner, corner + extent), 1)
    found = pasted(grids, boxes, (50, 60))
    expected = decode(paste_masks(grids, boxes, (50, 60)))
    differ = (found.bool() != torch.from_numpy(expected).bool()).sum((1, 2))
    assert (differ <= 1).all() and found.sum() > 500
