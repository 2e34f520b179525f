"""Networks for tests: `cvkit.models.build.build` with the numbers that most tests leave alone."""

import itertools
from dataclasses import replace

from torch import nn

from cvkit.backbone_table import BackboneEntry
from cvkit.models.backbones import STRIDES, VGG
from cvkit.models.build import build
from cvkit.models.detection.inputs import DetectionInputs
from cvkit.models.specs import ClipSpec, DetectorSpec, SegmenterSpec

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def segmenter(arch, backbone, classes=21, **numbers):
    usual = {"output_stride": None, "aux": True, "deconv": False}
    return build("segment", SegmenterSpec(arch, backbone, **(usual | numbers)), classes)


def clip_network(arch, backbone, classes, frames=16, image_size=112, **numbers):
    spec = ClipSpec(arch=arch, backbone=backbone, frames=frames, image_size=image_size, **numbers)
    return build("video", spec, classes)


def detector(arch, backbone, classes, min_size=96, max_size=160, **numbers):
    inputs = DetectionInputs((min_size,), max_size, MEAN, STD)
    return build("detect", DetectorSpec(arch, backbone, **numbers), classes, inputs)


class Toy(VGG):
    """A backbone that is built in a millisecond."""

    def __init__(self, builder, output_stride=32):
        super(VGG, self).__init__()
        widths = [3, 8, 8, 16, 16, 16]
        self.features = nn.Sequential()
        for stride, (before, width) in zip(STRIDES, itertools.pairwise(widths), strict=True):
            layers = nn.Conv2d(before, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()
            pool = nn.MaxPool2d(2 if stride <= output_stride else 1)
            self.features.extend([*layers, pool])
        self._set_contract(widths[1:], output_stride)


TOY = BackboneEntry(target="networks:Toy", builder="resnet18")
DILATED_TOY = replace(TOY, output_strides=(8, 16, 32))
