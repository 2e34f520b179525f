"""Tables of the architectures that tasks build on backbones.

Every target is a `"module:attribute"` string, so that reading the tables imports nothing.
"""

from collections.abc import Mapping

from cvkit.arch_facts import Arch, Classifier, ClipNetwork, Detector, Form, Recipe, Segmenter
from cvkit.backbone_table import BACKBONES

_SEG = "cvkit.models.segmentation"
_SKIPS = f"{_SEG}.fcn:SkipFCN"
SEGMENTERS: dict[str, Segmenter] = {
    "unet": Segmenter(
        target=f"{_SEG}.unet:UNet", about="U-Net (2015), encoder-decoder with skip connections"
    ),
    "fcn": Segmenter(
        target=f"{_SEG}.fcn:FCN",
        about="FCN on a dilated backbone, torchvision's head",
        output_stride=8,
        aux_weight=0.5,
        torchvision=(("fcn", ""),),
        forms=(("mmseg", Form(f"{_SEG}.forms:FCNOfTwo", 8)),),
    ),
    "fcn-32s": Segmenter(
        target=_SKIPS,
        about="FCN-32s (2014), one prediction map",
        arguments=(("stride", 32),),
        flags=frozenset({"deconv"}),
    ),
    "fcn-16s": Segmenter(
        target=_SKIPS,
        about="FCN-16s (2014), two maps fused",
        arguments=(("stride", 16),),
        flags=frozenset({"deconv"}),
    ),
    "fcn-8s": Segmenter(
        target=_SKIPS,
        about="FCN-8s (2014), three maps fused",
        arguments=(("stride", 8),),
        flags=frozenset({"deconv"}),
    ),
    "deeplab": Segmenter(
        target=f"{_SEG}.deeplab:DeepLabV3",
        about="DeepLabV3 (2017), atrous spatial pyramid pooling",
        output_stride=8,
        aux_weight=0.5,
        min_batch=2,
        torchvision=(("deeplabv3", ""),),
        atrous=(12, 24, 36),
        forms=(
            ("smp", Form(f"{_SEG}.forms:CornerDeepLabV3", 8, full_dilation=True)),
            ("mmseg", Form(f"{_SEG}.forms:WideDeepLabV3", 8)),
        ),
    ),
    "deeplab-plus": Segmenter(
        target=f"{_SEG}.deeplab:DeepLabV3Plus",
        about="DeepLabV3+ (2018), ASPP and a low-level decoder",
        output_stride=16,
        min_batch=2,
        forms=(
            ("smp", Form(f"{_SEG}.forms:CornerDeepLabV3Plus", 16, full_dilation=True)),
            ("mmseg", Form(f"{_SEG}.forms:WideDeepLabV3Plus", 8)),
        ),
    ),
    "pspnet": Segmenter(
        target=f"{_SEG}.pspnet:PSPNet",
        about="PSPNet (2016), pyramid pooling in bins 1, 2, 3, 6",
        output_stride=8,
        aux_weight=0.4,
        min_batch=2,
        forms=(("smp", Form(f"{_SEG}.forms:CornerPSPNet", 32)),),
    ),
    "lraspp": Segmenter(
        target=f"{_SEG}.lraspp:LRASPP",
        about="LR-ASPP (2019), the light head of MobileNetV3",
        output_stride=16,
        torchvision=(("lraspp", ""),),
        positions=(("mobilenet_v3_large", (4, 16)),),
        scores="classifier.low_classifier",
    ),
}

_CLS = "cvkit.models.classify"
_STEPS = frozenset({"devices"})
CLASSIFIERS: dict[str, Classifier] = {
    name: Classifier(
        target=f"{_CLS}:Classifier",
        about=f"torchvision's {entry.builder}" if entry.builder else entry.about,
        aux_weight=entry.aux_weight,
        flags=_STEPS,
        takes_backbone=False,
        listed_on="",
    )
    for name, entry in BACKBONES.items()
    if not entry.whole
} | {
    "lenet": Classifier(
        target=f"{_CLS}:Classifier",
        about="LeNet-5 (1998), tanh, average pooling",
        parts="lenet",
        flags=_STEPS,
        takes_backbone=False,
        listed_on="",
    ),
    "mlp": Classifier(
        target=f"{_CLS}:Classifier",
        about="hidden layers of the --hidden widths on the pixels",
        parts="mlp",
        flags=_STEPS | {"hidden"},
        takes_backbone=False,
        listed_on="",
    ),
    "linear": Classifier(
        target=f"{_CLS}:LinearProbe",
        about="a linear layer on pixels or a frozen --backbone; --loss ce or hinge",
        parts="pixels",
        flags=_STEPS,
        listed_on="",
    ),
    "knn": Classifier(
        target=f"{_CLS}:NearestNeighbours",
        about="the --neighbors nearest training images, on pixels or a frozen --backbone",
        parts="pixels",
        flags=frozenset({"neighbors", "distance", "votes"}),
        gradient_free=True,
        listed_on="",
    ),
}

_DET = "cvkit.models.detection"
_CHOSEN = frozenset({"neck", "roi", "channels", "roi_samples", "max_size"})
_PROPOSED = frozenset({"proposals", "proposal_mode"})
BOX_DETECTORS: dict[str, Detector] = {
    "faster-rcnn": Detector(
        target=f"{_DET}.build:two_stage",
        about="Faster R-CNN (2015) with a feature pyramid (2016), or --neck c4",
        flags=_CHOSEN | {"anchor_size"},
        torchvision=(
            ("fasterrcnn_resnet50_fpn", "resnet50"),
            ("fasterrcnn_mobilenet_v3_large_fpn", "mobilenet_v3_large"),
            ("fasterrcnn_mobilenet_v3_large_320_fpn", "mobilenet_v3_large"),
        ),
    ),
    "faster-rcnn-v2": Detector(
        target=f"{_DET}.build:two_stage",
        about="Faster R-CNN (2021): batch norm in the pyramid, deeper proposal network and box "
        "head",
        version=2,
        flags=_CHOSEN | {"anchor_size"},
        torchvision=(("fasterrcnn_resnet50_fpn_v2", "resnet50"),),
    ),
    "faster-rcnn-2015": Detector(
        target=f"{_DET}.build:faster_rcnn_2015",
        about="the 2015 configuration: one map, RoI Pool, 9 anchors; made for vgg16",
        fixed_parts=True,
        fixed_anchors=True,
        flags=frozenset({"roi_samples", "max_size"}),
        listed_on="vgg16",
        least_side=144,
    ),
    "fast-rcnn": Detector(
        target=f"{_DET}.build:two_stage",
        about="Fast R-CNN (2015), regions from selective search",
        needs_proposals=True,
        fixed_anchors=True,
        pools=True,
        roi_samples=64,
        recipe=Recipe(0.001, 2),
        flags=_CHOSEN | _PROPOSED,
    ),
    "rcnn": Detector(
        target=f"{_DET}.rcnn:rcnn",
        about="R-CNN (2013): crops from selective search, SVMs, ridge regressors",
        needs_proposals=True,
        takes_crops=True,
        fixed_parts=True,
        fixed_anchors=True,
        roi_samples=64,
        recipe=Recipe(0.001, 2),
        flags=_PROPOSED | {"head"},
    ),
}
INSTANCE_DETECTORS: dict[str, Detector] = {
    "mask-rcnn": Detector(
        target=f"{_DET}.build:two_stage",
        about="Mask R-CNN (2017) with a feature pyramid, or --neck c4",
        masks=True,
        torchvision=(("maskrcnn_resnet50_fpn", "resnet50"),),
    ),
    "mask-rcnn-v2": Detector(
        target=f"{_DET}.build:two_stage",
        about="Mask R-CNN (2021): batch norm in pyramid and heads, deeper proposal network and "
        "box head",
        masks=True,
        version=2,
        torchvision=(("maskrcnn_resnet50_fpn_v2", "resnet50"),),
    ),
}
DETECTORS: dict[str, Detector] = BOX_DETECTORS | INSTANCE_DETECTORS
"""All architectures that predict boxes."""

_VID = "cvkit.models.video"
_RESNET = f"{_VID}.resnet3d:VideoResNet"
_SMOOTH = frozenset({"label_smoothing"})
_FRAMES = frozenset({"backbone"})
CLIP_NETWORKS: dict[str, ClipNetwork] = {
    "single-frame": ClipNetwork(
        target=f"{_VID}.frames:SingleFrame",
        about="each frame classified by itself (2014)",
        takes_backbone=True,
        listed_on="resnet18",
        spreads_frames=True,
        flags=_FRAMES,
    ),
    "late-fusion": ClipNetwork(
        target=f"{_VID}.frames:LateFusion",
        about="features of the frames, --fusion pool (mean) or concat (2014)",
        takes_backbone=True,
        listed_on="resnet18",
        spreads_frames=True,
        flags=_FRAMES | _SMOOTH | {"fusion"},
    ),
    "early-fusion": ClipNetwork(
        target=f"{_VID}.frames:EarlyFusion",
        about="frames stacked as channels of one image (2014)",
        takes_backbone=True,
        listed_on="resnet18",
        flags=_FRAMES | _SMOOTH,
    ),
    "slow-fusion": ClipNetwork(
        target=f"{_VID}.frames:SlowFusion",
        about="frames joined from stage to stage (2014)",
        takes_backbone=True,
        listed_on="resnet18",
        needs_maps=True,
        flags=_FRAMES | _SMOOTH,
    ),
    "cnn-lstm": ClipNetwork(
        target=f"{_VID}.recurrent:RecurrentFusion",
        about="an LSTM (or --cell gru or rnn) over the features of the frames (2014)",
        takes_backbone=True,
        listed_on="resnet18",
        spreads_frames=True,
        flags=_FRAMES | _SMOOTH | {"cell", "bidirectional", "hidden", "dropout"},
    ),
    "cnn-transformer": ClipNetwork(
        target=f"{_VID}.attention:FrameTransformer",
        about="self-attention over the features of the frames (2021)",
        takes_backbone=True,
        listed_on="resnet18",
        spreads_frames=True,
        flags=_FRAMES | _SMOOTH | {"hidden", "heads", "depth", "positions", "dropout"},
    ),
    "conv-lstm": ClipNetwork(
        target=f"{_VID}.recurrent:ConvLSTM",
        about="a convolutional LSTM over the last maps (2015)",
        takes_backbone=True,
        listed_on="resnet18",
        spreads_frames=True,
        needs_maps=True,
        flags=_FRAMES | _SMOOTH | {"hidden"},
    ),
    "c3d": ClipNetwork(
        target=f"{_VID}.inflated:C3D",
        about="C3D (2014), 3x3x3 convolutions",
        flags=_SMOOTH | {"dropout"},
    ),
    "r3d": ClipNetwork(
        target=_RESNET,
        about="ResNet-18 of 3x3x3 convolutions (2017)",
        arguments=(("kind", "r3d"),),
        flags=_SMOOTH,
        torchvision=(("r3d_18", ""),),
    ),
    "r3d-small": ClipNetwork(
        target=_RESNET,
        about="the same with one block per stage and a quarter of the channels, for small datasets",
        arguments=(("kind", "r3d"), ("width", 16), ("blocks", (1, 1, 1, 1))),
        flags=_SMOOTH,
    ),
    "mc3": ClipNetwork(
        target=_RESNET,
        about="3-D convolutions in the first stage only (2017)",
        arguments=(("kind", "mc3"),),
        flags=_SMOOTH,
        torchvision=(("mc3_18", ""),),
    ),
    "r2plus1d": ClipNetwork(
        target=_RESNET,
        about="R(2+1)D, convolutions split into space and time (2017)",
        arguments=(("kind", "r2plus1d"),),
        flags=_SMOOTH,
        torchvision=(("r2plus1d_18", ""),),
    ),
    "i3d": ClipNetwork(
        target=f"{_VID}.inflated:I3D",
        about="ResNet-50 inflated in time (2017)",
        flags=_SMOOTH,
        inflates="resnet50",
    ),
    "s3d": ClipNetwork(
        target=f"{_VID}.inflated:S3D",
        about="S3D (2017), separated Inception",
        flags=_SMOOTH | {"dropout"},
        torchvision=(("s3d", ""),),
        scores="classifier.1",
        side=224,
        published_frames=128,
        published_clips=1,
    ),
}

ARCHS: Mapping[str, Mapping[str, Arch]] = {
    "segment": SEGMENTERS,
    "classify": CLASSIFIERS,
    "detect": BOX_DETECTORS,
    "instance": INSTANCE_DETECTORS,
    "video": CLIP_NETWORKS,
}
"""Architectures by task and name."""
