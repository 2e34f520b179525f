"""Names and what they stand for: tasks, architectures and backbones, as tables to read.

Every target is a `"module:attribute"` string, so that reading the tables imports nothing.
"""

import difflib
import importlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cvkit.backbone_table import BACKBONES as BACKBONES


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
        least_side: of an input, in pixels; no anchor lies inside a smaller one. 0: any will do.
    """

    target: str
    about: str
    output_stride: int = 32
    aux_weight: float = 0.0
    min_batch: int = 1
    own: tuple[tuple[str, object], ...] = ()
    least_side: int = 0


TASKS = {
    "classify": "cvkit.tasks.classify.task:Classify",
    "segment": "cvkit.tasks.segment.task:Segment",
    "detect": "cvkit.tasks.detect.task:Detect",
    "instance": "cvkit.tasks.instance.task:Instance",
    "video": "cvkit.tasks.video.task:Video",
}

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
        "lraspp": Arch(
            target=f"{_SEG}.lraspp:LRASPP",
            about="LR-ASPP (2019), the light head of MobileNetV3",
            output_stride=16,
        ),
    },
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
        least_side=144,
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

_VID = "cvkit.models.video"
ARCHS["video"] = {
    "single-frame": Arch(target=f"{_VID}.frames:SingleFrame", about="each frame by itself (2014)"),
    "late-fusion": Arch(
        target=f"{_VID}.frames:LateFusion",
        about="features of the frames, --fusion pool (mean) or concat (2014)",
    ),
    "early-fusion": Arch(
        target=f"{_VID}.frames:EarlyFusion", about="the frames are channels of one image (2014)"
    ),
    "slow-fusion": Arch(
        target=f"{_VID}.frames:SlowFusion", about="frames joined from stage to stage (2014)"
    ),
    "cnn-lstm": Arch(
        target=f"{_VID}.recurrent:RecurrentFusion",
        about="an LSTM (or --cell gru) over the features of the frames (2014)",
    ),
    "conv-lstm": Arch(
        target=f"{_VID}.recurrent:ConvLSTM", about="a convolutional LSTM over the last maps (2015)"
    ),
    "c3d": Arch(target=f"{_VID}.inflated:C3D", about="C3D (2014), 3x3x3 convolutions"),
    "r3d": Arch(
        target=f"{_VID}.resnet3d:VideoResNet",
        about="ResNet-18 of 3x3x3 convolutions (2017)",
        own=(("kind", "r3d"),),
    ),
    "r3d-small": Arch(
        target=f"{_VID}.resnet3d:VideoResNet",
        about="the same with one block a stage and a quarter of the channels, for small data",
        own=(("kind", "r3d"), ("width", 16), ("blocks", (1, 1, 1, 1))),
    ),
    "mc3": Arch(
        target=f"{_VID}.resnet3d:VideoResNet",
        about="3-D convolutions in the first stage only (2017)",
        own=(("kind", "mc3"),),
    ),
    "r2plus1d": Arch(
        target=f"{_VID}.resnet3d:VideoResNet",
        about="R(2+1)D, convolutions split into space and time (2017)",
        own=(("kind", "r2plus1d"),),
    ),
    "i3d": Arch(target=f"{_VID}.inflated:I3D", about="ResNet-50 inflated in time (2017)"),
    "s3d": Arch(target=f"{_VID}.inflated:S3D", about="S3D (2017), separated Inception"),
}
AUGMENTATIONS = {
    "classify": ("none", "light", "strong", "randaugment", "trivialaugment"),
    "segment": ("none", "light", "strong"),
    "detect": ("none", "light", "strong", "lsj", "mosaic"),
    "instance": ("none", "light", "strong", "lsj", "mosaic"),
    "video": ("none", "light", "strong"),
}
"""What `--augment` takes by name; anything else is a file."""

FRAME_ARCHS = (
    "single-frame",
    "late-fusion",
    "early-fusion",
    "slow-fusion",
    "cnn-lstm",
    "conv-lstm",
)
"""Networks of clips that are made of a network of images."""


OPTIMIZERS = {
    "adamw": (1e-3, 1e-2),
    "adam": (1e-3, 0.0),
    "sgd": (2e-2, 1e-4),
    "rmsprop": (3e-4, 0.0),
    "adagrad": (1e-2, 0.0),
}
"""(learning rate, weight decay) of each optimizer."""


def backbones_of(task: str) -> list[str]:
    """Return the backbones that a task can use: those with maps, but all of them to classify.

    A whole network serves the tasks that its architectures belong to.
    """
    if task == "classify":
        return [name for name, entry in BACKBONES.items() if entry.builder]
    return [
        name
        for name, entry in BACKBONES.items()
        if (entry.target and not entry.whole) or set(entry.whole) & set(ARCHS[task])
    ]


def resolve(target: str) -> Any:
    """Import and return what a `"module:attribute"` string names."""
    module, attribute = target.split(":")
    return getattr(importlib.import_module(module), attribute)


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the known spelling that is closest to a name; None if none is near.

    Case, hyphens, underscores, colons and spaces do not count.
    """
    spellings = {_bare(each): each for each in sorted(known, reverse=True)}
    close = difflib.get_close_matches(_bare(name), spellings, n=1)
    return spellings[close[0]] if close else None


def _bare(name: str) -> str:
    return re.sub(r"[-_:\s]", "", name.casefold())


def nearest(name: str, known: Iterable[str], listed: str = "") -> str:
    """Return a hint that names the closest known spelling, or all of them (as `listed`, if set)."""
    known = sorted(known)
    close = closest(name, known)
    return f"did you mean {close}?" if close else f"known: {listed or ', '.join(known)}"
