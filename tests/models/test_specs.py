"""What model files say of a detector's network, written by this version or by an earlier one."""

import json
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from golden.make import inputs as golden_inputs
from networks import MEAN, STD

from cvkit import catalog, load
from cvkit.errors import ModelFileError, UsageError
from cvkit.model_files import read_header, read_model, write_sealed
from cvkit.models.build import build
from cvkit.models.detection.inputs import DetectionInputs
from cvkit.models.specs import PROPOSAL_LIMITS, REGION_LIMITS, DetectorSpec
from cvkit.tasks.detect.network import Network
from cvkit.tasks.detect.task import Detect

ROOT = Path(__file__).parents[2]
CHANGED = {
    "neck": "c4",
    "roi": "pool",
    "width": 32,
    "smallest": 8,
    "positions": (13, 16),
    "all_sizes": True,
    "eps": 1e-5,
    "aligned": True,
    "stride_first": True,
    "roi_samples": 64,
    "min_score": 0.3,
    "nms": 0.4,
    "max_detections": 7,
    "min_proposal_score": 0.05,
    "before_nms": (2000, 150),
    "after_nms": (1000, 100),
}
"""A value of each number that is not its default."""


def as_earlier(spec):
    """Return a spec as earlier versions wrote it into a model file."""
    values = asdict(spec)
    named = {"arch", "backbone", *REGION_LIMITS.values(), *PROPOSAL_LIMITS.values()}
    own = {name: value for name, value in values.items() if name not in named}
    own |= {"regions": spec.region_limits(), "proposals": spec.proposal_limits()}
    return {"arch": spec.arch, "backbone": spec.backbone, "own": own}


def test_every_number_of_a_detector_is_tried_here():
    usual = DetectorSpec("faster-rcnn", "resnet18")
    assert set(CHANGED) == {field.name for field in fields(DetectorSpec)} - {"arch", "backbone"}
    assert all(getattr(usual, name) != value for name, value in CHANGED.items())


@pytest.mark.parametrize("name", CHANGED)
@pytest.mark.parametrize("written", [asdict, as_earlier], ids=["now", "earlier"])
def test_a_model_file_says_every_number_of_a_detector(name, written):
    spec = Network("faster-rcnn", "mobilenet_v3_large", **{name: CHANGED[name]})
    assert Network.from_file(**json.loads(json.dumps(written(spec)))) == spec


@pytest.mark.parametrize(
    "content",
    [
        {"backbone": "resnet18"},
        {"arch": "faster-rcnn", "backbone": "resnet18", "depth": 3},
        {"arch": "faster-rcnn", "backbone": "resnet18", "own": {"depth": 3}},
        {"arch": "faster-rcnn", "backbone": "resnet18", "own": {"regions": {"depth": 3}}},
        {"arch": "faster-rcnn", "backbone": "resnet18", "own": 3},
    ],
    ids=str,
)
def test_a_network_that_is_not_described_is_refused(content):
    header = read_header(ROOT / "weights" / "boxes.safetensors") | {"network": content}
    with pytest.raises(ModelFileError, match="the model's header is incomplete"):
        Detect.known_parts(header)


@pytest.mark.parametrize("name", ["boxes", "masks"])
def test_a_file_of_an_earlier_version_predicts_what_one_of_this_version_does(name, tmp_path):
    earlier = ROOT / "weights" / f"{name}.safetensors"
    tensors, header = read_model(earlier)
    assert "own" in header["network"], "no longer a file of an earlier version"
    network = Network.from_file(**header["network"])
    assert network.width == header["network"]["own"]["width"] and network.roi_samples == 128
    write_sealed(tmp_path / "now.safetensors", tensors, header | {"network": asdict(network)})
    image = golden_inputs(name)[:1]
    paths = (earlier, tmp_path / "now.safetensors")
    (one,), (other,) = (load(path, precision="fp32", device="cpu").predict(image) for path in paths)
    assert len(one.boxes)
    for field in ("boxes", "labels", "scores"):
        assert np.array_equal(getattr(one, field), getattr(other, field))


def test_numbers_that_no_flag_says_are_taken_over_and_others_are_not():
    made = Network("faster-rcnn", "mobilenet_v3_large", **CHANGED)
    asked = Network("faster-rcnn", "mobilenet_v3_large", width=16)
    found = asked.adopted(made)
    kept = {"positions", "all_sizes", "eps", "aligned", "stride_first", "roi_samples"}
    kept |= set(PROPOSAL_LIMITS.values())
    for name in CHANGED:
        assert getattr(found, name) == getattr(made if name in kept else asked, name), name
    assert replace(asked, roi_samples=16).adopted(made).roi_samples == 16


def test_reports_name_the_numbers_that_were_chosen():
    assert Network("rcnn", "resnet18", roi_samples=16).reported() == {"regions": {"samples": 16}}
    spec = Network("faster-rcnn", "resnet18", smallest=8, after_nms=(1000, 100), nms=0.4)
    wanted = {"neck": "fpn", "roi": "align", "width": 256, "smallest": 8}
    wanted |= {"regions": {"nms": 0.4}, "proposals": {"after_nms": (1000, 100)}}
    assert spec.reported() == wanted


@pytest.mark.parametrize("task", ["detect", "instance"])
def test_an_unknown_detector_is_refused(task):
    inputs = DetectionInputs((96,), 160, MEAN, STD)
    with pytest.raises(UsageError, match="unknown arch 'faster-rcn'"):
        build(task, DetectorSpec("faster-rcn", "resnet18"), 3, inputs)


def test_limits_reach_the_rules_of_every_detector():
    """Those that the architecture has: not every one proposes its regions itself."""
    inputs = DetectionInputs((96,), 160, MEAN, STD)
    numbers = {name: CHANGED[name] for name in (*REGION_LIMITS.values(), *PROPOSAL_LIMITS.values())}
    for arch, facts in catalog.DETECTORS.items():
        with torch.device("meta"):
            model = build("detect", DetectorSpec(arch, "vgg11", **numbers), 3, inputs)
        rule = model.rule if facts.takes_crops else model.roi_heads.rule
        assert {n: getattr(rule, n) for n in REGION_LIMITS} == {
            n: CHANGED[f] for n, f in REGION_LIMITS.items()
        }, arch
        if not facts.needs_proposals:
            assert {n: getattr(model.rpn.rule, n) for n in PROPOSAL_LIMITS} == {
                n: CHANGED[f] for n, f in PROPOSAL_LIMITS.items()
            }, arch
