"""Flags of semantic segmentation."""

from dataclasses import dataclass
from typing import Annotated

from cvkit.catalog import ARCHS, backbones_of
from cvkit.options.base import (
    DATA,
    MODEL,
    OUTPUT,
    TRAINING,
    Choice,
    Eval,
    Predict,
    Train,
    flag,
    weights_flag,
)

_SCALES_HELP = "Average over flip, over scales, or 'flip,scales'"
_WINDOW_HELP = (
    "Run windows of the model's image size over the image at the scale of training and average: "
    "at its own resolution after --resize native; after fit mostly one window, the image itself"
)


@dataclass(frozen=True, kw_only=True)
class SegmentTrain(Train):
    """Train a semantic segmentation model.

    Layouts: VOC (JPEGImages, SegmentationClass, ImageSets/Segmentation) and pairs
    (images/SPLIT, masks/SPLIT), found by looking at the folder. Data without a split for
    validation are divided by --val-fraction.
    """

    arch: Annotated[str, Choice(ARCHS["segment"]), flag(MODEL, "Decoder; see 'cvkit models'")] = (
        "unet"
    )
    backbone: Annotated[
        str, Choice(backbones_of("segment")), flag(MODEL, "Feature extractor; see 'cvkit models'")
    ] = "resnet18"
    output_stride: Annotated[
        int | None, flag(MODEL, "8, 16 or 32 by dilation; the architecture's own by default")
    ] = None
    aux_weight: Annotated[
        float | None,
        flag(
            MODEL, "Weight of the auxiliary loss, 0 removes the head; the paper's by default", min=0
        ),
    ] = None
    deconv: Annotated[
        bool,
        flag(
            MODEL,
            "Transposed convolutions that start bilinear, or as --init says (fcn-32s, -16s, -8s)",
        ),
    ] = False
    format: Annotated[str, Choice(["auto", "voc", "pairs"]), flag(DATA, "Layout of --data")] = (
        "auto"
    )
    image_size: Annotated[
        str,
        flag(
            DATA,
            "Frame of the network's input, SIDE (a square) or WIDTHxHEIGHT: training cuts crops of "
            "this size; eval and predict scale images, upright or turned, to fit into it and cut "
            "none; auto: the data's, at most 512",
        ),
    ] = "auto"
    resize: Annotated[
        str,
        Choice(["fit", "native"]),
        flag(DATA, "fit images into the image size, or crop from their native resolution"),
    ] = "fit"
    scale: Annotated[
        str, flag(DATA, "Smallest,largest random scale of light and strong augmentation")
    ] = "0.5,2"
    ignore_index: Annotated[
        int, flag(DATA, "Mask value of pixels without a label", min=0, max=255)
    ] = 255
    mask_map: Annotated[
        str | None, flag(DATA, "Replace mask values or colours: 255=1,#e0e0c0=255")
    ] = None
    loss: Annotated[
        str, flag(TRAINING, "Sum of ce, dice, focal, ohem with weights: ce+0.5*dice")
    ] = "ce+dice"
    class_weights: Annotated[
        str,
        flag(TRAINING, "none, balanced (median frequency), sqrt (its root), or numbers: 1,2,0.5"),
    ] = "sqrt"


@dataclass(frozen=True, kw_only=True)
class SegmentEval(Eval):
    """Measure a semantic segmentation model, or score a folder of masks."""

    weights: Annotated[str | None, weights_flag("segment")] = None
    format: Annotated[str, Choice(["auto", "voc", "pairs"]), flag(DATA, "Layout of the data")] = (
        "auto"
    )
    ignore_index: Annotated[
        int | None,
        flag(DATA, "Mask value of pixels without a label; the model's, else 255", min=0, max=255),
    ] = None
    mask_map: Annotated[
        str | None,
        flag(DATA, "Replace mask values or colours of the truth; the model's by default"),
    ] = None
    absent_class: Annotated[
        str,
        Choice(["exclude", "zero", "nan"]),
        flag(OUTPUT, "How a class in neither truth nor prediction enters mIoU"),
    ] = "exclude"
    sliding_window: Annotated[bool, flag(MODEL, _WINDOW_HELP)] = False
    tta: Annotated[str | None, flag(MODEL, _SCALES_HELP)] = None


@dataclass(frozen=True, kw_only=True)
class SegmentPredict(Predict):
    """Segment images: a palette PNG, an overlay and a line of JSON for each."""

    weights: Annotated[str | None, weights_flag("segment")] = None
    overlay: Annotated[
        str, Choice(["png", "jpg", "none"]), flag(OUTPUT, "Image with the classes drawn over it")
    ] = "png"
    sliding_window: Annotated[bool, flag(MODEL, _WINDOW_HELP)] = False
    tta: Annotated[str | None, flag(MODEL, _SCALES_HELP)] = None
