"""Networks for tests: `cvkit.models.build.build` with the numbers that most tests leave alone."""

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
