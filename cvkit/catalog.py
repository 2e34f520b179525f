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
    """A feature extractor, or a historic network that is one piece with its head.

    Attributes:
        target: the class; called as `Backbone(builder, output_stride=...)`, or for a whole
            network as `Network(num_classes, **own)`.
        about: one line for `cvkit models`.
        builder: function in `torchvision.models`; also names its published weights.
        output_strides: what it can be dilated to.
        aux_level: index of the map that feeds an auxiliary head.
        whole: architectures that this network is the historic form of; empty for backbones,
            which serve all of them.
        own: constructor arguments of a whole network.
    """

    target: str
    about: str = "torchvision"
    builder: str = ""
    output_strides: tuple[int, ...] = (32,)
    aux_level: int = 3
    whole: tuple[str, ...] = ()
    own: tuple[tuple[str, object], ...] = ()


TASKS = {
    "segment": "cvkit.tasks.segment:Segment",
}

SCORERS = {
    "segment": "cvkit.tasks.score:score_segmentation",
}
"""What `eval --predictions` calls; these modules import no torch."""

REPORTS = {
    "segment": "cvkit.tasks.score:segmentation_report",
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
BACKBONES = {
    "resnet18": BackboneEntry(
        target=f"{_BB}:ResNet", builder="resnet18", output_strides=(8, 16, 32)
    ),
    "resnet34": BackboneEntry(
        target=f"{_BB}:ResNet", builder="resnet34", output_strides=(8, 16, 32)
    ),
    "resnet50": BackboneEntry(
        target=f"{_BB}:ResNet", builder="resnet50", output_strides=(8, 16, 32)
    ),
    "resnet101": BackboneEntry(
        target=f"{_BB}:ResNet", builder="resnet101", output_strides=(8, 16, 32)
    ),
    "vgg16": BackboneEntry(target=f"{_BB}:VGG", builder="vgg16"),
    "vgg16_bn": BackboneEntry(target=f"{_BB}:VGG", builder="vgg16_bn"),
    "mobilenet_v3_small": BackboneEntry(
        target=f"{_BB}:MobileNetV3",
        builder="mobilenet_v3_small",
        output_strides=(16, 32),
        aux_level=2,
    ),
    "mobilenet_v3_large": BackboneEntry(
        target=f"{_BB}:MobileNetV3",
        builder="mobilenet_v3_large",
        output_strides=(16, 32),
        aux_level=2,
    ),
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


def resolve(target: str) -> object:
    """Import and return what a `"module:attribute"` string names."""
    module, attribute = target.split(":")
    return getattr(importlib.import_module(module), attribute)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint that names the closest known spelling, or all of them."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
