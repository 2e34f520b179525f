"""Detectors of detectron2 and mmdetection, under torchvision's names.

Both cut regions out with a RoI Align shifted by half a pixel, do not round anchors, and score the
background last; cvkit and torchvision score it first.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cvkit.models.layouts.layout import Layout
from cvkit.models.layouts.names import Rule

DETECTRON2, MMDET = "detectron2", "mmdetection"

_D2 = r"backbone\.bottom_up\."
_DETECTRON2: tuple[Rule, ...] = (
    (rf"{_D2}stem\.conv1\.norm\.(.*)", r"backbone.body.bn1.\1"),
    (rf"{_D2}stem\.conv1\.(.*)", r"backbone.body.conv1.\1"),
    (
        rf"{_D2}res(\d)\.(\d{{1,4}})\.shortcut\.(norm\.)?(.*)",
        lambda m: f"backbone.body.layer{int(m[1]) - 1}.{m[2]}.downsample.{int(bool(m[3]))}.{m[4]}",
    ),
    (
        rf"{_D2}res(\d)\.(\d{{1,4}})\.conv(\d)\.norm\.(.*)",
        lambda m: f"backbone.body.layer{int(m[1]) - 1}.{m[2]}.bn{m[3]}.{m[4]}",
    ),
    (
        rf"{_D2}res(\d)\.(\d{{1,4}})\.conv(\d)\.(.*)",
        lambda m: f"backbone.body.layer{int(m[1]) - 1}.{m[2]}.conv{m[3]}.{m[4]}",
    ),
    (
        r"backbone\.fpn_lateral(\d)\.(.*)",
        lambda m: f"backbone.fpn.inner_blocks.{int(m[1]) - 2}.0.{m[2]}",
    ),
    (
        r"backbone\.fpn_output(\d)\.(.*)",
        lambda m: f"backbone.fpn.layer_blocks.{int(m[1]) - 2}.0.{m[2]}",
    ),
    (r"proposal_generator\.rpn_head\.conv\.(.*)", r"rpn.head.conv.0.0.\1"),
    (r"proposal_generator\.rpn_head\.objectness_logits\.(.*)", r"rpn.head.cls_logits.\1"),
    (r"proposal_generator\.rpn_head\.anchor_deltas\.(.*)", r"rpn.head.bbox_pred.\1"),
    (r"roi_heads\.box_head\.fc1\.(.*)", r"roi_heads.box_head.fc6.\1"),
    (r"roi_heads\.box_head\.fc2\.(.*)", r"roi_heads.box_head.fc7.\1"),
    (
        r"roi_heads\.mask_head\.mask_fcn(\d)\.(.*)",
        lambda m: f"roi_heads.mask_head.{int(m[1]) - 1}.0.{m[2]}",
    ),
    (r"roi_heads\.mask_head\.deconv\.(.*)", r"roi_heads.mask_predictor.conv5_mask.\1"),
    (r"roi_heads\.mask_head\.predictor\.(.*)", r"roi_heads.mask_predictor.mask_fcn_logits.\1"),
)
_MMDET: tuple[Rule, ...] = (
    (r"backbone\.(.*)", r"backbone.body.\1"),
    (r"neck\.lateral_convs\.(\d)\.conv\.(.*)", r"backbone.fpn.inner_blocks.\1.0.\2"),
    (r"neck\.fpn_convs\.(\d)\.conv\.(.*)", r"backbone.fpn.layer_blocks.\1.0.\2"),
    (r"rpn_head\.rpn_conv\.(.*)", r"rpn.head.conv.0.0.\1"),
    (r"rpn_head\.rpn_cls\.(.*)", r"rpn.head.cls_logits.\1"),
    (r"rpn_head\.rpn_reg\.(.*)", r"rpn.head.bbox_pred.\1"),
    (r"roi_head\.bbox_head\.shared_fcs\.0\.(.*)", r"roi_heads.box_head.fc6.\1"),
    (r"roi_head\.bbox_head\.shared_fcs\.1\.(.*)", r"roi_heads.box_head.fc7.\1"),
    (r"roi_head\.bbox_head\.fc_cls\.(.*)", r"roi_heads.box_predictor.cls_score.\1"),
    (r"roi_head\.bbox_head\.fc_reg\.(.*)", r"roi_heads.box_predictor.bbox_pred.\1"),
    (r"roi_head\.mask_head\.convs\.(\d)\.conv\.(.*)", r"roi_heads.mask_head.\1.0.\2"),
    (r"roi_head\.mask_head\.upsample\.(.*)", r"roi_heads.mask_predictor.conv5_mask.\1"),
    (r"roi_head\.mask_head\.conv_logits\.(.*)", r"roi_heads.mask_predictor.mask_fcn_logits.\1"),
)


def background_first(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a detector that scores the background first, and has boxes and a mask for it.

    The boxes and the mask of the background are never used.
    """
    found = dict(tensors)
    for kind in ("weight", "bias"):
        scores = f"roi_heads.box_predictor.cls_score.{kind}"
        if scores in found and found[scores].ndim:
            found[scores] = found[scores].roll(1, 0)
        for name, rows in (
            (f"roi_heads.box_predictor.bbox_pred.{kind}", 4),
            (f"roi_heads.mask_predictor.mask_fcn_logits.{kind}", 1),
        ):
            if name in found and found[name].ndim:
                tensor = found[name]
                found[name] = torch.cat((tensor.new_zeros((rows, *tensor.shape[1:])), tensor))
    return found


def _detectron2(network: str, arch: str, *marks: str) -> Layout:
    return Layout(
        DETECTRON2,
        network,
        arch,
        (r"proposal_generator\.rpn_head\.conv\.weight", *marks),
        _DETECTRON2,
        left=(
            (r"pixel_(?:mean|std)", "numbers of the normalisation"),
            (r"proposal_generator\.anchor_generator\..*", "anchors"),
        ),
    )


def _mmdet(network: str, arch: str, *marks: str) -> Layout:
    return Layout(
        MMDET,
        network,
        arch,
        (r"rpn_head\.rpn_conv\.weight", *marks),
        _MMDET,
        left=(
            (r"data_preprocessor\..*", "numbers of the normalisation"),
            (r"backbone\.fc\..*", "classifier of the backbone"),
        ),
    )


_D2_BOXES = (r"backbone\.fpn_lateral2\.weight", r"roi_heads\.box_head\.fc2\.weight")
_MM_BOXES = (r"neck\.lateral_convs\.0\.conv\.weight", r"roi_head\.bbox_head\.fc_cls\.weight")
LAYOUTS = (
    _detectron2("keypoint R-CNN", "", r"roi_heads\.keypoint_head\..*"),
    _detectron2("panoptic FPN", "", r"sem_seg_head\..*"),
    _detectron2("Cascade R-CNN", "", r"roi_heads\.box_head\.0\..*"),
    _detectron2("R-CNN without a feature pyramid", "", r"roi_heads\.res5\..*"),
    _detectron2("R-CNN without a feature pyramid", "", r"backbone\.res2\..*"),
    _detectron2("Mask R-CNN", "mask-rcnn", *_D2_BOXES, r"roi_heads\.mask_head\.predictor\.weight"),
    _detectron2("Faster R-CNN", "faster-rcnn", *_D2_BOXES),
    _mmdet("Cascade R-CNN", "", r"roi_head\.bbox_head\.0\..*"),
    _mmdet("Mask R-CNN", "mask-rcnn", *_MM_BOXES, r"roi_head\.mask_head\.conv_logits\.weight"),
    _mmdet("Faster R-CNN", "faster-rcnn", *_MM_BOXES),
    Layout(DETECTRON2, "detector", "", (r"backbone\.bottom_up\..*",)),
    Layout(MMDET, "detector of version 1", "", (r"bbox_head\.fc_cls\.weight",)),
    Layout(MMDET, "one-stage detector", "", (r"neck\..*", r"bbox_head\..*")),
)
"""The layouts, each before those whose marks it has too."""


@dataclass(frozen=True)
class Pixels:
    """How a detector's first layer and its bottlenecks were trained.

    Attributes:
        mean: of the values 0..255, in the order of the channels.
        std: of the values 0..255, in the order of the channels.
        bgr: the channels are blue, green, red.
        stride_first: see `cvkit.models.backbones.ResNet`.
        about: where this is known from.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    bgr: bool
    stride_first: bool
    about: str

    def flipped(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return tensors of a network that takes red, green, blue."""
        first = "backbone.body.conv1.weight"
        if not self.bgr or first not in tensors or tensors[first].ndim < 2:
            return dict(tensors)
        return dict(tensors) | {first: tensors[first].flip(1)}

    @property
    def rgb_statistics(self) -> dict[str, tuple[float, ...]]:
        """Mean and standard deviation of pixels in [0, 1], in the order red, green, blue."""
        order = -1 if self.bgr else 1
        return {
            "mean": tuple(value / 255 for value in self.mean[::order]),
            "std": tuple(value / 255 for value in self.std[::order]),
        }


CAFFE = Pixels((103.53, 116.28, 123.675), (1.0, 1.0, 1.0), True, True, "Caffe's: BGR, 0..255")
PYTORCH = Pixels(
    (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), False, False, "torchvision's: RGB"
)


def pixels_of(layout: Layout, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> Pixels:
    """Return how a detector takes its images: as the file says, else the project's default.

    Args:
        layout: of the file.
        tensors: of the file.
        about: its other entries.
    """
    if layout.project == DETECTRON2:
        if config := about.get("detectron2"):
            return _configured(config)
        if "pixel_mean" not in tensors:
            return CAFFE
        mean, std = (tuple(tensors[f"pixel_{n}"].flatten().tolist()) for n in ("mean", "std"))
        # The mean of blue is the smallest. Only weights from Caffe are not divided.
        return Pixels(mean, std, mean[0] < mean[2], set(std) == {1.0}, "in the file")
    text = config_text(about)
    if not text:
        return PYTORCH
    stride_first = re.search(r"style\s*=\s*['\"]caffe", text) is not None
    numbers = {
        name: tuple(map(float, match[1].split(",")))
        for name in ("mean", "std")
        if (match := re.search(rf"\b{name}\s*=\s*[\[(]([\d.,\s]+?),?\s*[\])]", text))
    }
    default = CAFFE if stride_first else PYTORCH
    bgr = re.search(r"\b(?:bgr_)?to_rgb\s*=\s*False", text) is not None
    mean, std = numbers.get("mean", default.mean), numbers.get("std", default.std)
    return Pixels(mean, std, bgr, stride_first, "in the configuration in the file")


def _configured(config: Mapping[str, Any]) -> Pixels:
    """Return what detectron2's configuration says.

    Raises:
        ValueError: it is not usable, or asks for another RoI operation than cvkit has.
    """
    try:
        model, resnets = config["MODEL"], config["MODEL"]["RESNETS"]
        for head in ("ROI_BOX_HEAD", "ROI_MASK_HEAD"):
            pooler = model[head]
            found = pooler["POOLER_TYPE"], pooler["POOLER_SAMPLING_RATIO"]
            if found != ("ROIAlignV2", 0):
                raise ValueError(f"MODEL.{head}: {found[0]} with {found[1]} samples")
        return Pixels(
            tuple(map(float, model["PIXEL_MEAN"])),
            tuple(map(float, model["PIXEL_STD"])),
            config["INPUT"]["FORMAT"] == "BGR",
            bool(resnets["STRIDE_IN_1X1"]),
            "in config.yaml",
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"it is not detectron2's: {error}") from error


def config_text(about: Mapping[str, Any]) -> str:
    """Return the configuration that OpenMMLab's checkpoints contain as text, or ""."""
    meta = about.get("meta")
    for name in ("config", "cfg"):
        if isinstance(meta, dict) and isinstance(text := meta.get(name), str):
            return text
    return ""


def takes_bgr(about: Mapping[str, Any]) -> bool:
    """Return whether the configuration of an OpenMMLab checkpoint says so."""
    text = config_text(about)
    return re.search(r"\b(?:bgr_)?to_rgb\s*=\s*False|style\s*=\s*['\"]caffe", text) is not None


def class_names(about: Mapping[str, Any]) -> list[str]:
    """Return the names of the classes in OpenMMLab's checkpoints; empty if there are none."""
    meta = about.get("meta")
    if not isinstance(meta, dict):
        return []
    places = (meta, meta.get("dataset_meta"))
    for place in places:
        for key in ("CLASSES", "classes"):
            names = place.get(key) if isinstance(place, dict) else None
            if isinstance(names, tuple | list) and all(isinstance(n, str) for n in names):
                return list(names)
    return []
