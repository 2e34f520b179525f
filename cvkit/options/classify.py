"""Flags of image classification."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cvkit.catalog import ARCHS, backbones_of
from cvkit.options.base import (
    DATA,
    MODEL,
    OUTPUT,
    RUN,
    TRAINING,
    Choice,
    Eval,
    Predict,
    Train,
    flag,
    weights_flag,
)

_LAYOUTS = Annotated[str, Choice(["auto", "folders", "classes", "csv"])]
_TTA_HELP = "Average over 'flip' (the mirror image too) or 'ten-crop'"


@dataclass(frozen=True, kw_only=True)
class ClassifyTrain(Train):
    """Train an image classifier.

    Layouts: SPLIT/CLASS/images, CLASS/images (divided by --val-fraction), or a table with the
    columns path,label[,split] (a .csv file, or labels.csv in the folder).
    """

    arch: Annotated[
        str | None,
        Choice(ARCHS["classify"]),
        flag(MODEL, "Network; see 'cvkit models'. The --backbone, else resnet18 by default"),
    ] = None
    backbone: Annotated[
        str | None,
        Choice(backbones_of("classify")),
        flag(MODEL, "Frozen features of knn and linear (the pixels by default); or the network"),
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
        float | None, flag(MODEL, "Rate; the network's own by default", min=0, max=0.99)
    ] = None
    stochastic_depth: Annotated[
        float | None,
        flag(
            MODEL, "Largest rate of skipped blocks; the network's own by default", min=0, max=0.99
        ),
    ] = None
    aux_weight: Annotated[
        float | None,
        flag(MODEL, "Weight of the auxiliary losses of googlenet and inception_v3", min=0),
    ] = None
    neighbors: Annotated[int, flag(MODEL, "Votes that knn counts", min=1)] = 5
    distance: Annotated[str, Choice(["l1", "l2", "cosine"]), flag(MODEL, "Of knn")] = "l2"
    votes: Annotated[
        str, Choice(["uniform", "distance"]), flag(MODEL, "Of knn: equal, or by 1 / distance")
    ] = "uniform"
    format: Annotated[_LAYOUTS, flag(DATA, "Layout of --data")] = "auto"
    image_size: Annotated[
        str,
        flag(
            DATA,
            "Frame of the network's input, a square of SIDE: training cuts it out at random; eval "
            "and predict scale the shorter side to it (above 64 to 8/7 of it) and cut out the "
            "middle; auto: small images as they are, others at most 224",
        ),
    ] = "auto"
    augment: Annotated[
        str,
        flag(
            DATA,
            "none, light, strong, randaugment, trivialaugment, or an albumentations YAML or JSON "
            "file",
        ),
    ] = "light"
    erasing: Annotated[
        float, flag(DATA, "Probability that a random rectangle is painted over", min=0, max=1)
    ] = 0.0
    mixup: Annotated[
        float, flag(TRAINING, "Beta parameter of mixup, such as 0.2; 0: none", min=0)
    ] = 0.0
    cutmix: Annotated[
        float, flag(TRAINING, "Beta parameter of CutMix, such as 1; 0: none", min=0)
    ] = 0.0
    loss: Annotated[
        str, Choice(["ce", "hinge"]), flag(TRAINING, "Cross-entropy, or multiclass hinge (SVM)")
    ] = "ce"
    class_weights: Annotated[
        str,
        flag(TRAINING, "none, balanced (median frequency), sqrt (its root), or numbers: 1,2,0.5"),
    ] = "none"
    batch_size: Annotated[int, flag(TRAINING, "Images a step and process", min=1)] = 32


@dataclass(frozen=True, kw_only=True)
class ClassifyEval(Eval):
    """Measure an image classifier, or score a table of predictions."""

    weights: Annotated[str | None, weights_flag("classify")] = None
    format: Annotated[_LAYOUTS, flag(DATA, "Layout of the data")] = "auto"
    predictions: Annotated[
        Path | None,
        flag(
            DATA,
            "CSV with a column of scores for each class, or predict's output, instead of a model",
        ),
    ] = None
    truth: Annotated[
        Path | None, flag(DATA, "CSV with a column label, or a dataset, to score them with")
    ] = None
    tta: Annotated[str | None, flag(MODEL, _TTA_HELP)] = None
    batch_size: Annotated[int, flag(RUN, "Images a forward pass", min=1)] = 32


@dataclass(frozen=True, kw_only=True)
class ClassifyPredict(Predict):
    """Classify images: a table, and a line of JSON for each."""

    weights: Annotated[str | None, weights_flag("classify")] = None
    top_k: Annotated[int, flag(OUTPUT, "Classes and scores to write for each image", min=1)] = 5
    save: Annotated[
        str,
        Choice(["none", "sorted"]),
        flag(OUTPUT, "sorted: links to the images, a folder a class"),
    ] = "none"
    embeddings: Annotated[
        Path | None, flag(OUTPUT, "Also write the features of all images to this .npz file")
    ] = None
    tta: Annotated[str | None, flag(MODEL, _TTA_HELP)] = None
    batch_size: Annotated[int, flag(RUN, "Images a forward pass", min=1)] = 32
