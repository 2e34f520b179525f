"""Fused layers give the numbers of every network, whatever the size of its input."""

import pytest
import torch
from networks import clip_network, detector, segmenter
from torch import nn

from cvkit import catalog
from cvkit.models.build import build
from cvkit.models.fuse import Fusion
from cvkit.models.specs import ClassifierSpec

pytestmark = pytest.mark.usefixtures("quick_weights")


def calm(model):
    """Give batch norms statistics, so that maps stay small and folding has something to fold."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d):
            layer.running_mean.uniform_(-0.1, 0.1)
            layer.running_var.uniform_(0.5, 2)
    return model.eval()


def require_same(model, run, inputs):
    """Check the outputs of all inputs, and that something was fused and nothing rejected."""
    with torch.inference_mode():
        expected = [run(given) for given in inputs]
        fusion = Fusion(model, "fp32")
        for given, wanted in zip(inputs, expected, strict=True):
            found = run(given)
            assert found.shape == wanted.shape
            assert (found - wanted).abs().max() <= 1e-4 * wanted.abs().max()
    assert not fusion.rejected
    assert fusion.used == "fused"
    return fusion


def images(*sizes):
    return [
        torch.randn(2, 3, *size).contiguous(memory_format=torch.channels_last) for size in sizes
    ]


LARGER = {
    *("vgg16", "vgg16_bn", "vgg19", "vgg19_bn", "resnet34", "resnet101", "resnet152"),
    *("wide_resnet50", "efficientnet_b1", "efficientnet_b2", "efficientnet_b3", "convnext_small"),
    *("convnext_base", "vit_b_16", "swin_s", "swin_b", "regnet_y_1_6gf", "regnet_y_3_2gf"),
}
"""Networks of the same blocks as a smaller one."""
CLASSIFIERS = [
    arch
    for arch, entry in catalog.CLASSIFIERS.items()
    if arch not in LARGER and not entry.gradient_free  # which has no layers
]


@pytest.mark.parametrize("arch", CLASSIFIERS)
def test_classifiers(arch):
    torch.manual_seed(0)
    entry = catalog.CLASSIFIERS[arch]
    backbone = None if entry.parts else (arch if arch in catalog.BACKBONES else "resnet18")
    small = backbone is not None and bool(catalog.BACKBONES[backbone].small_stem)
    side = 32 if small or backbone is None else 97
    spec = ClassifierSpec(arch=arch, backbone=backbone, small=small, image_size=side)
    model = calm(build("classify", spec, 5))
    require_same(model, lambda given: model(given)["out"], images((side, side), (side, side)))


SEGMENTERS = [
    *((arch, "resnet18") for arch in catalog.ARCHS["segment"]),
    *(("unet", backbone) for backbone in ("vgg11_bn", "mobilenet_v3_small", "densenet121")),
    *(("fcn", backbone) for backbone in ("efficientnet_b0", "convnext_tiny", "swin_t")),
    ("fcn", "regnet_y_400mf"),
]


@pytest.mark.parametrize(("arch", "backbone"), SEGMENTERS)
def test_segmenters(arch, backbone):
    torch.manual_seed(0)
    model = calm(segmenter(arch, backbone, 4))
    fusion = require_same(model, model.logits, images((64, 96), (96, 64), (33, 70)))
    assert "backbone" in fusion.replaced


LARGEST = {"c3d": (16, 112), "s3d": (16, 224)}
"""Frames and side of clips that a network needs."""


@pytest.mark.parametrize("arch", catalog.ARCHS["video"])
def test_networks_of_clips(arch):
    torch.manual_seed(0)
    backbone = "resnet18" if catalog.ARCHS["video"][arch].takes_backbone else None
    frames, side = LARGEST.get(arch, (8, 64))
    model = calm(clip_network(arch, backbone, 4, frames=frames, image_size=side))
    clips = [torch.randn(count, 3, frames, side, side) for count in (2, 1)]
    require_same(model, lambda given: model(given)["out"], clips)


@pytest.mark.parametrize("task", ["detect", "instance"])
def test_detectors(task):
    for arch in catalog.ARCHS[task]:
        torch.manual_seed(0)
        few = {} if arch in ("fast-rcnn", "rcnn") else {"before_nms": (50, 50), "after_nms": (9, 9)}
        numbers = {"min_score": 0.0, "max_detections": 5} | few
        model = calm(detector(arch, "resnet18", 3, 64, 96, **numbers))
        pictures = [torch.rand(3, 80, 110), torch.rand(3, 100, 70)]
        regions = torch.tensor([[5.0, 5, 60, 60], [20, 10, 65, 70], [0, 0, 30, 40]])

        def run(given, model=model, regions=regions):
            (found,) = model.detect([given], [regions])
            assert len(found.scores) > 2
            return torch.cat((found.scores, found.boxes.flatten() / 100))

        require_same(model, run, pictures)
