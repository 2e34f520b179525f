"""Flags of semantic segmentation."""

from dataclasses import dataclass
from typing import Annotated

from cvkit.catalog import ARCHS, backbones_of, listed_names
from cvkit.format_table import format_choices
from cvkit.options.base import Eval, Train
from cvkit.options.described import Choice
from cvkit.options.frames import ImagePredict
from cvkit.options.panels import DATA, MODEL, OUTPUT, TRAINING, flag
from cvkit.options.robust import Attackable
from cvkit.options.saves import save_help
from cvkit.options.sentences import weights_flag
from cvkit.options.tiling import Tiled

_SCALES_HELP = (
    "Test-time augmentation, over which scores are averaged: flip, scales, or flip,scales"
)
_WINDOW_HELP = (
    "Slide a window of the model's image size over the image at the training scale and average "
    "the scores: at native resolution for a model trained with --resize native; with --resize "
    "fit, one window usually covers the whole image"
)

DIALECTS = ("cvkit", "torchvision", "mmseg", "detectron2", "paddle", "smp")
"""Definitions of mean IoU; see `cvkit.metrics.dialects`."""


def dialects(text: str) -> tuple[str, ...]:
    """Return the names in `--dialect`.

    Raises:
        UsageError: one of them is unknown.
    """
    return listed_names(text, DIALECTS, "--dialect")


_FORMATS = Annotated[str, Choice(format_choices("masks"))]


@dataclass(frozen=True, kw_only=True)
class SegmentTrain(Train):
    """Train a semantic segmentation model.

    Layouts: VOC (JPEGImages, SegmentationClass, ImageSets/Segmentation) and pairs
    (images/SPLIT, masks/SPLIT). Data without a validation split are divided by --val-fraction.
    """

    arch: Annotated[
        str, Choice(ARCHS["segment"]), flag(MODEL, "Architecture; see 'cvkit models'")
    ] = "unet"
    backbone: Annotated[
        str, Choice(backbones_of("segment")), flag(MODEL, "Backbone; see 'cvkit models'")
    ] = "resnet18"
    output_stride: Annotated[
        int | None,
        flag(MODEL, "Output stride: 8, 16 or 32, by dilation (default: the architecture's)"),
    ] = None
    aux_weight: Annotated[
        float | None,
        flag(
            MODEL,
            "Weight of the auxiliary loss; 0: no auxiliary head (default: the paper's)",
            min=0,
        ),
    ] = None
    deconv: Annotated[
        bool,
        flag(
            MODEL,
            "Upsample by transposed convolutions, initialised to bilinear interpolation or by "
            "--init (fcn-32s, fcn-16s and fcn-8s)",
        ),
    ] = False
    format: Annotated[_FORMATS, flag(DATA, "Layout of the data; auto: detected")] = "auto"
    image_size: Annotated[
        str,
        flag(
            DATA,
            "Input size, SIDE (a square) or WIDTHxHEIGHT: training takes crops of this size; "
            "eval and predict scale images, in portrait or landscape, to fit into it without "
            "cropping; auto: that of the data, at most 512",
        ),
    ] = "auto"
    resize: Annotated[
        str,
        Choice(["fit", "native"]),
        flag(
            DATA,
            "fit: scale images to the image size; native: take crops at their native resolution",
        ),
    ] = "fit"
    scale: Annotated[
        str,
        flag(DATA, "Range of random scaling in light and strong augmentation: SMALLEST,LARGEST"),
    ] = "0.5,2"
    ignore_index: Annotated[
        int, flag(DATA, "Mask value of pixels without a label", min=0, max=255)
    ] = 255
    mask_map: Annotated[
        str | None, flag(DATA, "Mask values or colours to replace, such as 255=1,#e0e0c0=255")
    ] = None
    loss: Annotated[
        str, flag(TRAINING, "Weighted sum of ce, dice, focal and ohem, such as ce+0.5*dice")
    ] = "ce+dice"
    class_weights: Annotated[
        str,
        flag(
            TRAINING,
            "Weights of the classes in the loss: none, balanced (median frequency), sqrt "
            "(its square root), or numbers such as 1,2,0.5",
        ),
    ] = "sqrt"


@dataclass(frozen=True, kw_only=True)
class SegmentEval(Attackable, Tiled, Eval):
    """Evaluate a semantic segmentation model, or score masks."""

    weights: Annotated[str | None, weights_flag("segment")] = None
    format: Annotated[_FORMATS, flag(DATA, "Layout of the data; auto: detected")] = "auto"
    ignore_index: Annotated[
        int | None,
        flag(
            DATA,
            "Mask value of pixels without a label (default: the model's, else 255)",
            min=0,
            max=255,
        ),
    ] = None
    mask_map: Annotated[
        str | None,
        flag(DATA, "Mask values or colours of the truth to replace (default: the model's)"),
    ] = None
    absent_class: Annotated[
        str,
        Choice(["exclude", "zero", "nan"]),
        flag(OUTPUT, "How mIoU counts a class that is in neither the truth nor the predictions"),
    ] = "exclude"
    dialect: Annotated[
        str,
        flag(
            OUTPUT,
            f"Whose definition of mean IoU and related metrics: {', '.join(DIALECTS)}; several, "
            "separated by commas, are shown side by side",
        ),
    ] = "cvkit"
    sliding_window: Annotated[bool, flag(MODEL, _WINDOW_HELP)] = False
    tta: Annotated[str | None, flag(MODEL, _SCALES_HELP)] = None


@dataclass(frozen=True, kw_only=True)
class SegmentPredict(Tiled, ImagePredict):
    """Segment images; write a palette PNG, an overlay and a line of JSON per image."""

    weights: Annotated[str | None, weights_flag("segment")] = None
    overlay: Annotated[
        str,
        Choice(["png", "jpg", "none"]),
        flag(OUTPUT, "File format of the overlays, images with the classes drawn over them"),
    ] = "png"
    save: Annotated[str, flag(OUTPUT, save_help("segment"))] = ""
    sliding_window: Annotated[bool, flag(MODEL, _WINDOW_HELP)] = False
    tta: Annotated[str | None, flag(MODEL, _SCALES_HELP)] = None
