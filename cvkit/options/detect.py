"""Flags of object detection."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cvkit.catalog import ARCHS, OPTIMIZERS, backbones_of, listed_names
from cvkit.format_table import format_choices
from cvkit.options.base import Eval, Train
from cvkit.options.described import Choice, Several
from cvkit.options.frames import ImagePredict
from cvkit.options.job import Command
from cvkit.options.panels import DATA, MODEL, OUTPUT, RUN, TRAINING, flag
from cvkit.options.saves import save_help
from cvkit.options.sentences import SCHEDULES_HELP, weights_flag
from cvkit.options.tiling import Tiled

_FORMATS = Annotated[str, Choice(format_choices("boxes"))]
_PROPOSALS_HELP = (
    "Regions for fast-rcnn and rcnn: an .npz or .json file, or a folder of them "
    "(default: selective search)"
)
_PRECISIONS = Annotated[
    str,
    Choice(["auto", "fp32", "bf16", "fp16"]),
    flag(
        RUN,
        "Arithmetic precision; detectors are verified only in fp32; auto: bf16 on "
        "CUDA and on CPUs with AMX, else fp32",
    ),
]
INSTEAD = {"image_size": ("min_size", "max_size")}
"""Flags that replace other flags."""
_MODE_HELP = "Selective search with 8 groupings (fast) or 80 (quality)"


@dataclass(frozen=True, kw_only=True)
class TwoStageTrain(Train):
    """Flags of training a two-stage detector: regions first, then their classes and boxes."""

    if TYPE_CHECKING:  # each task has its own choices
        arch: str
        backbone: str
        format: str

    neck: Annotated[
        str,
        Choice(["fpn", "c4"]),
        flag(MODEL, "Feature pyramid (fpn), or a single map of stride 16 (c4)"),
    ] = "fpn"
    channels: Annotated[
        int, flag(MODEL, "Channels of the pyramid; the box head is four times as wide", min=8)
    ] = 256
    roi: Annotated[
        str,
        Choice(["auto", "align", "pool"]),
        flag(MODEL, "RoI Align or RoI Pool; auto: pool for fast-rcnn, else align"),
    ] = "auto"
    anchor_size: Annotated[
        int,
        flag(
            MODEL,
            "Side of the smallest anchors in pixels of the input; 0: 32, or 16 or 8 if a fifth "
            "of the objects are smaller",
            min=0,
            max=512,
        ),
    ] = 0
    trainable_layers: Annotated[
        int | None,
        flag(
            MODEL,
            "Number of stages of the backbone to train, counted from the last one (default: all)",
            min=0,
        ),
    ] = None
    freeze_bn: Annotated[
        bool, flag(MODEL, "Freeze the batch norms of the backbone; useful for small batches")
    ] = False
    train_json: Annotated[
        Path | None,
        flag(
            DATA,
            "COCO file of the training split; without --val-json it is divided by --val-fraction",
        ),
    ] = None
    val_json: Annotated[Path | None, flag(DATA, "COCO file of the validation split")] = None
    images: Annotated[Path | None, flag(DATA, "Folder with the images of the COCO files")] = None
    image_size: Annotated[
        str,
        flag(
            DATA,
            "Input size, SIDE (a square) or WIDTHxHEIGHT: images, in portrait or landscape, "
            "are scaled to fit into it without cropping; for rcnn the size of the crops; "
            "auto: set by --min-size and --max-size",
        ),
    ] = "auto"
    min_size: Annotated[
        str,
        flag(
            DATA,
            "Shorter side of the input in pixels, or several to draw from in training, such as "
            "640,704,800; x0.5: half the image's; native: the image's; auto: 128 to 320, "
            "depending on the data, or a factor if all objects are small relative to their "
            "images; for rcnn the side of the crops (auto: 112)",
        ),
    ] = "auto"
    max_size: Annotated[
        int,
        flag(
            DATA,
            "Maximum longer side of the input in pixels; 0: 5/3 of the shorter side, or 2048 if "
            "--min-size is a factor",
            min=0,
            max=8192,
        ),
    ] = 0
    augment: Annotated[
        str,
        flag(
            DATA,
            "Augmentation: none, light, strong, lsj, mosaic, or an albumentations YAML or "
            "JSON file",
        ),
    ] = "light"
    roi_samples: Annotated[
        int,
        flag(
            TRAINING,
            "Regions per image in the loss; 0: 64 for fast-rcnn; else 512 if the shorter side is "
            "at least 600, or 128",
            min=0,
        ),
    ] = 0
    precision: _PRECISIONS = "fp32"
    optimizer: Annotated[
        str,
        Choice(["auto", *OPTIMIZERS]),
        flag(
            TRAINING,
            "Optimizer; auto: sgd with --pretrained or --weights, adamw from scratch",
        ),
    ] = "auto"
    lr: Annotated[
        float | None,
        flag(
            TRAINING,
            "Peak learning rate (default, per image in a step: 0.00125 for sgd, or 0.0005 with "
            "fast-rcnn and rcnn; 0.0001 for adamw)",
            min=0,
        ),
    ] = None
    schedule: Annotated[
        str,
        flag(
            TRAINING,
            f"Learning rate schedule: {SCHEDULES_HELP}; auto: step for sgd, else poly",
        ),
    ] = "auto"


@dataclass(frozen=True, kw_only=True)
class DetectTrain(TwoStageTrain):
    """Train an object detector.

    Layouts: COCO (annotations/*SPLIT*.json and an image folder, or --train-json, --val-json and
    --images), VOC (Annotations, JPEGImages, ImageSets/Main) and YOLO (data.yaml, images,
    labels). Data without a validation split, and --train-json without --val-json, are divided by
    --val-fraction.
    """

    arch: Annotated[
        str, Choice(ARCHS["detect"]), flag(MODEL, "Architecture; see 'cvkit models'")
    ] = "faster-rcnn"
    backbone: Annotated[
        str,
        Choice(backbones_of("detect")),
        flag(MODEL, "Backbone; those without maps at several strides work with rcnn only"),
    ] = "resnet18"
    head: Annotated[
        str,
        Choice(["svm", "softmax"]),
        flag(
            MODEL,
            "Classifier of rcnn's crops: SVMs fitted after the last step, or the network's softmax",
        ),
    ] = "svm"
    format: Annotated[_FORMATS, flag(DATA, "Layout of the data; auto: detected")] = "auto"
    proposals: Annotated[Path | None, flag(DATA, _PROPOSALS_HELP)] = None
    proposal_mode: Annotated[str, Choice(["fast", "quality"]), flag(DATA, _MODE_HELP)] = "fast"


PROTOCOLS = ("coco", "voc07", "voc12")
"""Definitions of average precision; see `cvkit.metrics.protocols`."""


def protocols(text: str) -> tuple[str, ...]:
    """Return the names in `--protocol`.

    Raises:
        UsageError: one of them is unknown.
    """
    return listed_names(text, PROTOCOLS, "--protocol")


@dataclass(frozen=True, kw_only=True)
class Detecting(Tiled):
    """Flags of the commands that run a trained detector."""

    precision: _PRECISIONS = "fp32"
    threshold: Annotated[
        float | None,
        flag(MODEL, "Minimum score of a detection (default: the model's)", min=0, max=1),
    ] = None
    nms: Annotated[
        float | None,
        flag(MODEL, "IoU above which NMS removes a box (default: the model's)", min=0, max=1),
    ] = None
    image_size: Annotated[
        str,
        flag(
            DATA,
            "Input size that images are scaled to fit into, SIDE (a square) or WIDTHxHEIGHT "
            "(default: the model's)",
        ),
    ] = ""
    min_size: Annotated[
        str,
        flag(
            DATA,
            "Shorter side of the input in pixels, or a factor such as x0.5; native: images keep "
            "their size, up to 2048 (default: the model's)",
        ),
    ] = ""
    max_detections: Annotated[
        int | None,
        flag(MODEL, "Maximum number of detections per image (default: the model's)", min=1),
    ] = None


@dataclass(frozen=True, kw_only=True)
class DetectingEval(Detecting, Eval):
    """Flags of evaluating a detector."""

    if TYPE_CHECKING:  # each task has its own choices
        format: str

    json_file: Annotated[Path | None, flag(DATA, "COCO file of the split to evaluate")] = None
    images: Annotated[Path | None, flag(DATA, "Folder with the images of the COCO files")] = None
    protocol: Annotated[
        str,
        flag(
            OUTPUT,
            "Definition of average precision: coco, voc07 (VOC 2007), or voc12 (VOC since 2010); "
            "several, separated by commas, are shown side by side",
        ),
    ] = "coco"
    iou: Annotated[
        float, flag(OUTPUT, "IoU that a match must exceed with the VOC protocols", min=0, max=1)
    ] = 0.5


@dataclass(frozen=True, kw_only=True)
class DetectingPredict(Detecting, ImagePredict):
    """Flags of running a detector."""

    overlay: Annotated[
        str,
        Choice(["png", "jpg", "none"]),
        flag(OUTPUT, "File format of the overlays, images with the objects drawn over them"),
    ] = "png"
    draw_threshold: Annotated[
        float, flag(OUTPUT, "Minimum score of the objects to draw", min=0, max=1)
    ] = 0.5
    image_ids: Annotated[
        Path | None,
        flag(OUTPUT, "COCO file from which results.json takes the image ids, by file name"),
    ] = None
    save: Annotated[str, flag(OUTPUT, save_help("detect"))] = ""


@dataclass(frozen=True, kw_only=True)
class DetectEval(DetectingEval):
    """Evaluate an object detector, or score a file of detections.

    Predictions: COCO results or dataset (.json), the output folder of predict, VOC's result files
    or XML, YOLO's text files, or a CSV table of boxes.
    """

    weights: Annotated[str | None, weights_flag("detect")] = None
    format: Annotated[_FORMATS, flag(DATA, "Layout of the data; auto: detected")] = "auto"
    proposals: Annotated[Path | None, flag(DATA, _PROPOSALS_HELP)] = None


@dataclass(frozen=True, kw_only=True)
class DetectPredict(DetectingPredict):
    """Detect objects; write COCO results, and an overlay and a line of JSON per image."""

    weights: Annotated[str | None, weights_flag("detect")] = None
    proposals: Annotated[Path | None, flag(DATA, _PROPOSALS_HELP)] = None


@dataclass(frozen=True, kw_only=True)
class DetectProposals(Command):
    """Propose regions by selective search and report how well they cover the objects.

    Give the file to train, eval and predict with --proposals.
    """

    data: Annotated[
        str, Several(), typer.Argument(metavar="DATA", help="Dataset folder, or 'samples'")
    ] = "samples"
    out: Annotated[Path, flag(OUTPUT, "File to write (.npz)")] = Path("proposals.npz")
    overwrite: Annotated[bool, flag(OUTPUT, "Replace the file --out")] = False
    splits: Annotated[
        list[str],
        typer.Option(
            "--split",
            "--splits",
            help="Split to propose regions for; may be repeated (default: train and val)",
            rich_help_panel=DATA,
        ),
    ] = dataclasses.field(default_factory=lambda: ["train", "val"])
    format: Annotated[_FORMATS, flag(DATA, "Layout of the data; auto: detected")] = "auto"
    images: Annotated[Path | None, flag(DATA, "Folder with the images of the COCO files")] = None
    mode: Annotated[str, Choice(["fast", "quality"]), flag(MODEL, _MODE_HELP)] = "fast"
    max_boxes: Annotated[
        int, flag(MODEL, "Number of best-ranked regions to keep per image", min=1)
    ] = 2000
    seed: Annotated[int, flag(MODEL, "Seed of the ranking", min=0, max=2**31 - 1)] = 0
    workers: Annotated[int, flag(RUN, "Number of processes; -1: one per core", min=-1)] = -1
