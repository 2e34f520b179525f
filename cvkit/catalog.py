"""Names and what they stand for: tasks, architectures and backbones, as tables to read.

Every target is a `"module:attribute"` string, so that reading the tables imports nothing.
"""

import difflib
import importlib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Arch:
    """A head that a task can put on a backbone.

    Attributes:
        target: the class; called as `Arch(backbone, num_classes, **own)`.
        about: one line for `cvkit models`.
        output_stride: the stride of the coarsest map it wants; backbones that cannot dilate
            that far give their nearest.
        aux_weight: weight of the auxiliary loss; 0 for an architecture without one.
        min_batch: smallest training batch (batch norm after global pooling needs two).
        own: constructor arguments that tell variants of one class apart.
    """

    target: str
    about: str
    output_stride: int = 32
    aux_weight: float = 0.0
    min_batch: int = 1
    own: tuple[tuple[str, object], ...] = ()


@dataclass(frozen=True, kw_only=True)
class BackboneEntry:
    """A network of torchvision, or a historic one that is one piece with its head.

    Attributes:
        target: the class that gives its maps, called as `Backbone(builder, output_stride=...)`;
            for a whole network, called as `Network(num_classes, **own)`; empty for a network
            without a hierarchy of maps, which classifies only.
        about: one line for `cvkit models`.
        builder: function in `torchvision.models`; also names its published weights.
        output_strides: what it can be dilated to.
        aux_level: index, from the coarsest map back, of the map that feeds an auxiliary head.
        small_stem: how its first layers are changed for small images; a key of
            `cvkit.models.stems.SMALL`, empty if they cannot be.
        whole: architectures that this network is the historic form of; empty for backbones,
            which serve all of them.
        own: constructor arguments of a whole network.
    """

    target: str = ""
    about: str = "torchvision"
    builder: str = ""
    output_strides: tuple[int, ...] = (32,)
    aux_level: int = -2
    small_stem: str = ""
    whole: tuple[str, ...] = ()
    own: tuple[tuple[str, object], ...] = ()


TASKS = {
    "classify": "cvkit.tasks.classify:Classify",
    "segment": "cvkit.tasks.segment:Segment",
    "detect": "cvkit.tasks.detect:Detect",
    "instance": "cvkit.tasks.instance:Instance",
}

SCORERS = {
    "classify": "cvkit.tasks.score_classes:score_classification",
    "segment": "cvkit.tasks.score:score_segmentation",
    "detect": "cvkit.tasks.score_boxes:score_detection",
    "instance": "cvkit.tasks.score_boxes:score_instances",
}
"""What `eval --predictions` calls; these modules import no torch."""

REPORTS = {
    "classify": "cvkit.tasks.score_classes:classification_report",
    "segment": "cvkit.tasks.score:segmentation_report",
    "detect": "cvkit.tasks.score_boxes:detection_report",
    "instance": "cvkit.tasks.score_boxes:detection_report",
}
"""What turns a filled metric into the content of `eval --json`."""

_SEG = "cvkit.models.segmentation"
ARCHS = {
    "segment": {
        "unet": Arch(
            target=f"{_SEG}.unet:UNet", about="U-Net (2015), encoder-decoder with skip connections"
        ),
        "fcn": Arch(
            target=f"{_SEG}.fcn:FCN",
            about="FCN on a dilated backbone, torchvision's head",
            output_stride=8,
            aux_weight=0.5,
        ),
        "fcn-32s": Arch(
            target=f"{_SEG}.fcn:SkipFCN",
            about="FCN-32s (2014), one prediction map",
            own=(("stride", 32),),
        ),
        "fcn-16s": Arch(
            target=f"{_SEG}.fcn:SkipFCN",
            about="FCN-16s (2014), two maps fused",
            own=(("stride", 16),),
        ),
        "fcn-8s": Arch(
            target=f"{_SEG}.fcn:SkipFCN",
            about="FCN-8s (2014), three maps fused",
            own=(("stride", 8),),
        ),
        "deeplab": Arch(
            target=f"{_SEG}.deeplab:DeepLabV3",
            about="DeepLabV3 (2017), atrous spatial pyramid pooling",
            output_stride=8,
            aux_weight=0.5,
            min_batch=2,
        ),
        "deeplab-plus": Arch(
            target=f"{_SEG}.deeplab:DeepLabV3Plus",
            about="DeepLabV3+ (2018), ASPP and a low-level decoder",
            output_stride=16,
            min_batch=2,
        ),
        "pspnet": Arch(
            target=f"{_SEG}.pspnet:PSPNet",
            about="PSPNet (2016), pyramid pooling in bins 1, 2, 3, 6",
            output_stride=8,
            aux_weight=0.4,
            min_batch=2,
        ),
    },
}

_BB = "cvkit.models.backbones"


def _resnet(builder: str) -> BackboneEntry:
    return BackboneEntry(
        target=f"{_BB}:ResNet",
        builder=builder,
        output_strides=(8, 16, 32),
        small_stem="resnet",
    )


def _vgg(builder: str) -> BackboneEntry:
    return BackboneEntry(target=f"{_BB}:VGG", builder=builder)


def _stages(builder: str, small_stem: str) -> BackboneEntry:
    return BackboneEntry(target=f"{_BB}:Stages", builder=builder, small_stem=small_stem)


def _mobilenet_v3(builder: str) -> BackboneEntry:
    return BackboneEntry(
        target=f"{_BB}:MobileNetV3",
        builder=builder,
        output_strides=(16, 32),
        aux_level=-3,
        small_stem="strides",
    )


BACKBONES = {
    "alexnet": BackboneEntry(builder="alexnet"),
    "vgg11": _vgg("vgg11"),
    "vgg11_bn": _vgg("vgg11_bn"),
    "vgg16": _vgg("vgg16"),
    "vgg16_bn": _vgg("vgg16_bn"),
    "vgg19": _vgg("vgg19"),
    "vgg19_bn": _vgg("vgg19_bn"),
    "googlenet": BackboneEntry(builder="googlenet"),
    "inception_v3": BackboneEntry(builder="inception_v3"),
    "resnet18": _resnet("resnet18"),
    "resnet34": _resnet("resnet34"),
    "resnet50": _resnet("resnet50"),
    "resnet101": _resnet("resnet101"),
    "resnet152": _resnet("resnet152"),
    "resnext50": _resnet("resnext50_32x4d"),
    "wide_resnet50": _resnet("wide_resnet50_2"),
    "densenet121": _stages("densenet121", "densenet"),
    "mobilenet_v2": _stages("mobilenet_v2", "strides"),
    "mobilenet_v3_small": _mobilenet_v3("mobilenet_v3_small"),
    "mobilenet_v3_large": _mobilenet_v3("mobilenet_v3_large"),
    "shufflenet_v2_x0_5": BackboneEntry(builder="shufflenet_v2_x0_5", small_stem="strides"),
    "efficientnet_b0": _stages("efficientnet_b0", "strides"),
    "efficientnet_b1": _stages("efficientnet_b1", "strides"),
    "efficientnet_b2": _stages("efficientnet_b2", "strides"),
    "efficientnet_b3": _stages("efficientnet_b3", "strides"),
    "convnext_tiny": _stages("convnext_tiny", "patch"),
    "convnext_small": _stages("convnext_small", "patch"),
    "convnext_base": _stages("convnext_base", "patch"),
    "vit_b_16": BackboneEntry(builder="vit_b_16", small_stem="vit"),
    "vit_b_32": BackboneEntry(builder="vit_b_32", small_stem="vit"),
    "swin_t": _stages("swin_t", "patch"),
    "swin_s": _stages("swin_s", "patch"),
    "swin_b": _stages("swin_b", "patch"),
    "swin_v2_t": _stages("swin_v2_t", "patch"),
    "regnet_y_400mf": _stages("regnet_y_400mf", "strides"),
    "regnet_y_1_6gf": _stages("regnet_y_1_6gf", "strides"),
    "regnet_y_3_2gf": _stages("regnet_y_3_2gf", "strides"),
    "unet2015": BackboneEntry(
        target=f"{_SEG}.unet:ClassicUNet",
        about="the whole network of 2015, valid padding",
        whole=("unet",),
        own=(("valid_padding", True),),
    ),
    "unet-bn": BackboneEntry(
        target=f"{_SEG}.unet:ClassicUNet",
        about="the network of 2015 with same padding and batch norm",
        whole=("unet",),
        own=(("valid_padding", False),),
    ),
    "fcn2014": BackboneEntry(
        target=f"{_SEG}.fcn:FCN2014",
        about="the whole network of 2014, VGG16 with fc6 and fc7",
        whole=("fcn-32s", "fcn-16s", "fcn-8s"),
    ),
}

_AUX_WEIGHTS = {"googlenet": 0.3, "inception_v3": 0.4}
_CLS = "cvkit.models.classify"
ARCHS["classify"] = {
    name: Arch(
        target=f"{_CLS}:Classifier",
        about=f"torchvision's {entry.builder}",
        aux_weight=_AUX_WEIGHTS.get(name, 0.0),
    )
    for name, entry in BACKBONES.items()
    if entry.builder
} | {
    "lenet": Arch(target=f"{_CLS}:Classifier", about="LeNet-5 (1998), tanh, average pooling"),
    "mlp": Arch(target=f"{_CLS}:Classifier", about="two hidden layers of 512 on the pixels"),
    "linear": Arch(
        target=f"{_CLS}:LinearProbe",
        about="a linear layer on pixels or on a frozen --backbone; --loss ce or hinge",
    ),
    "knn": Arch(
        target=f"{_CLS}:NearestNeighbours",
        about="the --neighbors nearest training images, on pixels or a frozen --backbone",
    ),
}

_DET = "cvkit.models.detection.build:build_detector"
ARCHS["detect"] = {
    "faster-rcnn": Arch(
        target=_DET, about="Faster R-CNN (2015) with a feature pyramid (2016), or --neck c4"
    ),
    "faster-rcnn-v2": Arch(
        target=_DET,
        about="batch norm in the pyramid, a deeper proposal network and box head (2021)",
        own=(("version", 2),),
    ),
    "faster-rcnn-2015": Arch(
        target=_DET,
        about="the configuration of 2015: one map, RoI Pool, 9 anchors; made for vgg16",
        own=(("historic", True), ("neck", "c4"), ("roi", "pool")),
    ),
    "fast-rcnn": Arch(
        target=_DET,
        about="Fast R-CNN (2015), regions from selective search",
        own=(("own_proposals", False),),
    ),
    "rcnn": Arch(
        target="cvkit.models.detection.rcnn:RCNN",
        about="R-CNN (2013): crops of selective search, SVMs, ridge regressors",
    ),
}
ARCHS["instance"] = {
    "mask-rcnn": Arch(
        target=_DET,
        about="Mask R-CNN (2017) with a feature pyramid, or --neck c4",
        own=(("masks", True),),
    ),
    "mask-rcnn-v2": Arch(
        target=_DET,
        about="batch norm in pyramid and heads, a deeper proposal network and box head (2021)",
        own=(("masks", True), ("version", 2)),
    ),
}

DETECTORS = ARCHS["detect"] | ARCHS["instance"]
"""Everything that finds boxes."""


def backbones_of(task: str) -> list[str]:
    """Return the backbones that a task can use: dense ones, but all of torchvision to classify."""
    if task == "classify":
        return [name for name, entry in BACKBONES.items() if entry.builder]
    return [name for name, entry in BACKBONES.items() if entry.target]


def resolve(target: str) -> object:
    """Import and return what a `"module:attribute"` string names."""
    module, attribute = target.split(":")
    return getattr(importlib.import_module(module), attribute)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint that names the closest known spelling, or all of them."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
