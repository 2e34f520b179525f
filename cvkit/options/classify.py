"""Flags of image classification."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cvkit.catalog import ARCHS, backbones_of
from cvkit.format_table import format_choices
from cvkit.options.base import Eval, Train
from cvkit.options.described import Choice
from cvkit.options.frames import ImagePredict
from cvkit.options.panels import DATA, MODEL, OUTPUT, RUN, TRAINING, flag
from cvkit.options.robust import Attackable
from cvkit.options.saves import save_help
from cvkit.options.sentences import weights_flag

_FORMATS = Annotated[str, Choice(format_choices("classes"))]
_TTA_HELP = (
    "Test-time augmentation, over which scores are averaged: flip (adds the mirrored image) or "
    "ten-crop"
)


@dataclass(frozen=True, kw_only=True)
class ClassifyTrain(Train):
    """Train an image classifier.

    Layouts: SPLIT/CLASS/images, CLASS/images (divided by --val-fraction), or a table with the
    columns path,label[,split] (a .csv file, or labels.csv or train.csv and val.csv in the folder).
    """

    arch: Annotated[
        str | None,
        Choice(ARCHS["classify"]),
        flag(MODEL, "Architecture; see 'cvkit models' (default: the --backbone, else resnet18)"),
    ] = None
    backbone: Annotated[
        str | None,
        Choice(backbones_of("classify")),
        flag(
            MODEL,
            "Network to train if --arch is not given; for knn and linear, the network whose "
            "frozen features they use (default: the pixels)",
        ),
    ] = None
    stem: Annotated[
        str,
        Choice(["auto", "imagenet", "small"]),
        flag(
            MODEL,
            "First layers; auto: those of --pretrained, else small for images up to 64 pixels",
        ),
    ] = "auto"
    dropout: Annotated[
        float | None, flag(MODEL, "Dropout rate (default: the network's)", min=0, max=0.99)
    ] = None
    stochastic_depth: Annotated[
        float | None,
        flag(MODEL, "Maximum rate of skipped blocks (default: the network's)", min=0, max=0.99),
    ] = None
    aux_weight: Annotated[
        float | None,
        flag(
            MODEL,
            "Weight of the auxiliary losses of googlenet and inception_v3 (default: the network's)",
            min=0,
        ),
    ] = None
    hidden: Annotated[
        str, flag(MODEL, "Widths of the hidden layers of mlp, from the pixels to the classes")
    ] = "512,512"
    neighbors: Annotated[
        int, flag(MODEL, "Number of nearest neighbours that vote in knn", min=1)
    ] = 5
    distance: Annotated[
        str,
        Choice(["l1", "l2", "cosine"]),
        flag(MODEL, "Distance by which knn finds the neighbours"),
    ] = "l2"
    votes: Annotated[
        str,
        Choice(["uniform", "distance"]),
        flag(MODEL, "Weight of each vote in knn: uniform, or 1 / distance"),
    ] = "uniform"
    format: Annotated[_FORMATS, flag(DATA, "Layout of the data; auto: detected")] = "auto"
    image_size: Annotated[
        str,
        flag(
            DATA,
            "Input size, a square of SIDE pixels: training takes a random crop; eval and "
            "predict scale the shorter side to it (above 64, to 8/7 of it) and take the "
            "centre crop; auto: that of small images, else at most 224",
        ),
    ] = "auto"
    augment: Annotated[
        str,
        flag(
            DATA,
            "Augmentation: none, light, strong, randaugment, trivialaugment, lecture, or an "
            "albumentations YAML or JSON file",
        ),
    ] = "light"
    erasing: Annotated[
        float, flag(DATA, "Probability that a random rectangle is erased", min=0, max=1)
    ] = 0.0
    mixup: Annotated[
        float,
        flag(TRAINING, "Parameter of mixup's beta distribution, such as 0.2; 0: no mixup", min=0),
    ] = 0.0
    cutmix: Annotated[
        float,
        flag(TRAINING, "Parameter of CutMix's beta distribution, such as 1; 0: no CutMix", min=0),
    ] = 0.0
    loss: Annotated[
        str,
        Choice(["ce", "hinge", "squared-hinge"]),
        flag(
            TRAINING,
            "ce: cross-entropy; hinge: multiclass hinge loss (SVM); squared-hinge: with squared "
            "margins (L2-SVM)",
        ),
    ] = "ce"
    class_weights: Annotated[
        str,
        flag(
            TRAINING,
            "Weights of the classes in the loss: none, balanced (median frequency), sqrt "
            "(its square root), or numbers such as 1,2,0.5",
        ),
    ] = "none"
    batch_size: Annotated[int, flag(TRAINING, "Images per batch and process", min=1)] = 32


@dataclass(frozen=True, kw_only=True)
class ClassifyEval(Attackable, Eval):
    """Evaluate an image classifier, or score a table of predictions."""

    weights: Annotated[str | None, weights_flag("classify")] = None
    format: Annotated[_FORMATS, flag(DATA, "Layout of the data; auto: detected")] = "auto"
    predictions: Annotated[
        Path | None,
        flag(
            DATA,
            "CSV file with one column of scores per class, or the output folder of predict, "
            "to score instead of a model",
        ),
    ] = None
    truth: Annotated[
        Path | None,
        flag(
            DATA, "Ground truth for --predictions: a CSV file with a 'label' column, or a dataset"
        ),
    ] = None
    tta: Annotated[str | None, flag(MODEL, _TTA_HELP)] = None
    batch_size: Annotated[int, flag(RUN, "Images per forward pass", min=1)] = 32


@dataclass(frozen=True, kw_only=True)
class ClassifyPredict(ImagePredict):
    """Classify images; write a table, and a line of JSON per image."""

    weights: Annotated[str | None, weights_flag("classify")] = None
    top_k: Annotated[
        int, flag(OUTPUT, "Number of classes to write per image, with their scores", min=1)
    ] = 5
    save: Annotated[str, flag(OUTPUT, save_help("classify"))] = ""
    embeddings: Annotated[
        Path | None, flag(OUTPUT, "Also write the features of all images to this .npz file")
    ] = None
    tta: Annotated[str | None, flag(MODEL, _TTA_HELP)] = None
    batch_size: Annotated[int, flag(RUN, "Images per forward pass", min=1)] = 32
