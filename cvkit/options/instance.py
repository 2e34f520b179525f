"""Flags of instance segmentation."""

from dataclasses import dataclass
from typing import Annotated

from cvkit.catalog import ARCHS, backbones_of
from cvkit.format_table import format_choices
from cvkit.options.described import Choice
from cvkit.options.detect import DetectingEval, DetectingPredict, TwoStageTrain
from cvkit.options.panels import DATA, MODEL, OUTPUT, flag
from cvkit.options.saves import save_help
from cvkit.options.sentences import weights_flag

_FORMATS = Annotated[str, Choice(format_choices("instances"))]


@dataclass(frozen=True, kw_only=True)
class InstanceTrain(TwoStageTrain):
    """Train an instance segmentation model.

    Layouts: COCO (annotations/*SPLIT*.json with polygons or run-length codes, and an image folder;
    or --train-json, --val-json and --images), and one PNG per image (images/SPLIT and masks/SPLIT
    with equal names; 0 is background, every other value an object; instances.csv with path,
    instance and class if there are several classes). Data without a validation split, and
    --train-json without --val-json, are divided by --val-fraction.
    """

    arch: Annotated[
        str, Choice(ARCHS["instance"]), flag(MODEL, "Architecture; see 'cvkit models'")
    ] = "mask-rcnn"
    backbone: Annotated[
        str, Choice(backbones_of("instance")), flag(MODEL, "Backbone; see 'cvkit models'")
    ] = "resnet18"
    format: Annotated[_FORMATS, flag(DATA, "Layout of the data; auto: detected")] = "auto"


@dataclass(frozen=True, kw_only=True)
class _Masking:
    """Flags of the commands that run a trained network."""

    mask_threshold: Annotated[
        float, flag(MODEL, "Probability above which a pixel belongs to a mask", min=0, max=1)
    ] = 0.5


@dataclass(frozen=True, kw_only=True)
class InstanceEval(_Masking, DetectingEval):
    """Evaluate an instance segmentation model, or score a file of results.

    Predictions: COCO results or dataset with masks (.json), the output folder of predict, YOLO's
    text files with polygons, or a CSV table of Kaggle's run-length codes.
    """

    weights: Annotated[str | None, weights_flag("instance")] = None
    format: Annotated[_FORMATS, flag(DATA, "Layout of the data; auto: detected")] = "auto"
    boundary: Annotated[
        bool, flag(OUTPUT, "Also compute average precision by Boundary IoU (2021)")
    ] = False


@dataclass(frozen=True, kw_only=True)
class InstancePredict(_Masking, DetectingPredict):
    """Detect objects and their masks.

    Writes COCO results with run-length codes (results.json), a table with area, box and centroid
    (instances.csv), and per image a PNG of object numbers, an overlay and a line of JSON.
    """

    weights: Annotated[str | None, weights_flag("instance")] = None
    save: Annotated[str, flag(OUTPUT, save_help("instance"))] = ""
