"""Flags of object detection."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from cvkit.catalog import ARCHS, backbones_of
from cvkit.options.base import (
    DATA,
    MODEL,
    OUTPUT,
    RUN,
    TRAINING,
    Choice,
    Command,
    Eval,
    Predict,
    Train,
    flag,
    weights_flag,
)

_FORMATS = Annotated[str, Choice(["auto", "coco", "voc", "yolo"])]
_PROPOSALS_HELP = (
    "Regions for fast-rcnn and rcnn: .npz or .json file, or a folder of them; selective search "
    "by default"
)
_PRECISIONS = Annotated[
    str,
    Choice(["auto", "fp32", "bf16", "fp16"]),
    flag(RUN, "Of detectors only fp32 is proven; auto: bf16 on CUDA and on CPUs with AMX"),
]
INSTEAD = {"image_size": ("min_size", "max_size")}
"""Flags that say another way what other flags say."""
_MODE_HELP = "Selective search: 8 groupings, or 80"


@dataclass(frozen=True, kw_only=True)
class TwoStageTrain(Train):
    """Flags of training a network of two stages: regions, then what is in them."""

    neck: Annotated[
        str, Choice(["fpn", "c4"]), flag(MODEL, "Feature pyramid, or the one map of stride 16")
    ] = "fpn"
    channels: Annotated[
        int, flag(MODEL, "Channels of the pyramid; its box head is four times as wide", min=8)
    ] = 256
    roi: Annotated[
        str,
        Choice(["auto", "align", "pool"]),
        flag(MODEL, "RoI Align or RoI Pool; auto: align, pool for fast-rcnn"),
    ] = "auto"
    anchor_size: Annotated[
        int,
        flag(
            MODEL,
            "Side of the smallest anchors in pixels of the network's input; 0: 32, or 16 or 8 "
            "where a fifth of the objects is smaller",
            min=0,
            max=512,
        ),
    ] = 0
    trainable_layers: Annotated[
        int | None,
        flag(MODEL, "Stages of the backbone that train, from the last one; all by default", min=0),
    ] = None
    freeze_bn: Annotated[
        bool, flag(MODEL, "Keep the backbone's batch norms as they are; for small batches")
    ] = False
    train_json: Annotated[
        Path | None,
        flag(DATA, "COCO file of the training split; alone it is divided by --val-fraction"),
    ] = None
    val_json: Annotated[Path | None, flag(DATA, "COCO file of the validation split")] = None
    images: Annotated[Path | None, flag(DATA, "Folder of the images of COCO files")] = None
    image_size: Annotated[
        str,
        flag(
            DATA,
            "Frame of the network's input, SIDE (a square) or WIDTHxHEIGHT: images, upright or "
            "turned, are scaled to fit into it, none is cut; for rcnn the size of the crops; "
            "auto: as --min-size and --max-size say",
        ),
    ] = "auto"
    min_size: Annotated[
        str,
        flag(
            DATA,
            "Shorter side of the network's input, or several to draw from in training: "
            "640,704,800; x0.5: half the image's; native: x1; auto: 128 to 320 as the data's, or a "
            "factor where all objects are small parts of their images; for rcnn the side of the "
            "crops, 112",
        ),
    ] = "auto"
    max_size: Annotated[
        int,
        flag(DATA, "Longest side; 0: 5/3 of the shorter one, 2048 with a factor", min=0, max=8192),
    ] = 0
    augment: Annotated[
        str,
        flag(DATA, "none, light, strong, lsj, mosaic, or an albumentations YAML or JSON file"),
    ] = "light"
    roi_samples: Annotated[
        int,
        flag(
            TRAINING,
            "Regions of an image in the loss; 0: 512 from a shorter side of 600 on, else 128; "
            "64 for fast-rcnn",
            min=0,
        ),
    ] = 0
    precision: _PRECISIONS = "fp32"
    optimizer: Annotated[
        str,
        Choice(["auto", "adamw", "adam", "sgd", "rmsprop", "adagrad"]),
        flag(TRAINING, "Update rule; auto: sgd with --pretrained or --weights, adamw from scratch"),
    ] = "auto"
    lr: Annotated[
        float | None,
        flag(
            TRAINING,
            "Peak learning rate; by default, for each image of a step, sgd: the recipe's 0.00125 "
            "(0.0005 for fast-rcnn and rcnn), adamw: 0.0001",
            min=0,
        ),
    ] = None
    schedule: Annotated[
        str,
        Choice(["auto", "poly", "cosine", "linear", "step", "inverse-sqrt", "constant"]),
        flag(TRAINING, "How the learning rate falls; auto: step for sgd, else poly"),
    ] = "auto"


@dataclass(frozen=True, kw_only=True)
class DetectTrain(TwoStageTrain):
    """Train an object detector.

    Layouts: COCO (annotations/*SPLIT*.json and an image folder, or --train-json, --val-json and
    --images), VOC (Annotations, JPEGImages, ImageSets/Main) and YOLO (data.yaml, images,
    labels), found by looking at the folder. Data without a split for validation, also
    --train-json alone, are divided by --val-fraction.
    """

    arch: Annotated[str, Choice(ARCHS["detect"]), flag(MODEL, "Detector; see 'cvkit models'")] = (
        "faster-rcnn"
    )
    backbone: Annotated[
        str,
        Choice(backbones_of("classify")),
        flag(MODEL, "Feature extractor; those without maps at several strides serve rcnn only"),
    ] = "resnet18"
    head: Annotated[
        str,
        Choice(["svm", "softmax"]),
        flag(MODEL, "What classifies the crops of rcnn after their network was trained"),
    ] = "svm"
    format: Annotated[_FORMATS, flag(DATA, "Layout of --data")] = "auto"
    proposals: Annotated[Path | None, flag(DATA, _PROPOSALS_HELP)] = None
    proposal_mode: Annotated[str, Choice(["fast", "quality"]), flag(DATA, _MODE_HELP)] = "fast"


@dataclass(frozen=True, kw_only=True)
class Detecting:
    """Flags of the commands that run a trained detector."""

    precision: _PRECISIONS = "fp32"
    threshold: Annotated[
        float | None, flag(MODEL, "Smallest score of a detection; the model's own", min=0, max=1)
    ] = None
    nms: Annotated[
        float | None, flag(MODEL, "IoU above which NMS drops a box; the model's own", min=0, max=1)
    ] = None
    image_size: Annotated[
        str,
        flag(
            DATA,
            "Frame that images are scaled to fit into, SIDE (a square) or WIDTHxHEIGHT; empty: the "
            "model's own",
        ),
    ] = ""
    min_size: Annotated[
        str,
        flag(
            DATA,
            "Shorter side of the network's input, or a factor, as x0.5; native: images keep their "
            "size, up to 2048; empty: the model's own",
        ),
    ] = ""
    max_detections: Annotated[
        int | None, flag(MODEL, "Detections of an image, at most; the model's own", min=1)
    ] = None


@dataclass(frozen=True, kw_only=True)
class DetectingEval(Detecting, Eval):
    """Flags of measuring a detector."""

    json_file: Annotated[Path | None, flag(DATA, "COCO file of the split")] = None
    images: Annotated[Path | None, flag(DATA, "Folder of the images of a COCO file")] = None


@dataclass(frozen=True, kw_only=True)
class DetectingPredict(Detecting, Predict):
    """Flags of running a detector."""

    overlay: Annotated[
        str, Choice(["png", "jpg", "none"]), flag(OUTPUT, "Image with the objects drawn over it")
    ] = "png"
    draw_threshold: Annotated[
        float, flag(OUTPUT, "Smallest score of an object that pictures show", min=0, max=1)
    ] = 0.5
    image_ids: Annotated[
        Path | None, flag(OUTPUT, "COCO file whose image ids results.json carries, by file name")
    ] = None


@dataclass(frozen=True, kw_only=True)
class DetectEval(DetectingEval):
    """Measure an object detector, or score a file of detections.

    Files: COCO results (.json), or the output folder of predict, against a COCO file; or these
    and VOC's result files against a VOC folder.
    """

    weights: Annotated[str | None, weights_flag("detect")] = None
    format: Annotated[_FORMATS, flag(DATA, "Layout of the data")] = "auto"
    proposals: Annotated[Path | None, flag(DATA, _PROPOSALS_HELP)] = None
    protocol: Annotated[
        str,
        Choice(["coco", "voc07", "voc12"]),
        flag(OUTPUT, "Rule of the average precision: COCO's, or VOC's of 2007 or since 2010"),
    ] = "coco"
    iou: Annotated[
        float, flag(OUTPUT, "IoU that VOC's rules ask for (exclusive)", min=0, max=1)
    ] = 0.5


@dataclass(frozen=True, kw_only=True)
class DetectPredict(DetectingPredict):
    """Detect objects: COCO results, an overlay and a line of JSON for each image."""

    weights: Annotated[str | None, weights_flag("detect")] = None
    proposals: Annotated[Path | None, flag(DATA, _PROPOSALS_HELP)] = None
    save: Annotated[str, flag(OUTPUT, "Also write yolo, voc or csv files; several with commas")] = (
        ""
    )


@dataclass(frozen=True, kw_only=True)
class DetectProposals(Command):
    """Propose regions by selective search and say how well they cover the objects.

    The file serves --proposals of train, eval and predict.
    """

    data: Annotated[str, typer.Argument(metavar="DATA", help="Dataset folder, or 'samples'")] = (
        "samples"
    )
    out: Annotated[Path, flag(OUTPUT, "File to write (.npz)")] = Path("proposals.npz")
    overwrite: Annotated[bool, flag(OUTPUT, "Replace --out")] = False
    splits: Annotated[
        list[str],
        typer.Option("--split", "--splits", help="Split; may repeat", rich_help_panel=DATA),
    ] = dataclasses.field(default_factory=lambda: ["train", "val"])
    format: Annotated[_FORMATS, flag(DATA, "Layout of the data")] = "auto"
    images: Annotated[Path | None, flag(DATA, "Folder of the images of COCO files")] = None
    mode: Annotated[str, Choice(["fast", "quality"]), flag(MODEL, _MODE_HELP)] = "fast"
    max_boxes: Annotated[
        int, flag(MODEL, "Best-ranked regions of an image that are kept", min=1)
    ] = 2000
    seed: Annotated[int, flag(MODEL, "Decides the ranking", min=0, max=2**31 - 1)] = 0
    workers: Annotated[int, flag(RUN, "Processes; -1: one a core", min=-1)] = -1
