"""Flags of self-supervised pretraining, and of the evaluation of what it learned."""

# mypy: disable-error-code="misc"

from dataclasses import dataclass
from typing import Annotated, ClassVar

from cvkit.catalog import backbones_of
from cvkit.format_table import format_choices
from cvkit.options.base import Train
from cvkit.options.data import FORMAT_NAMES
from cvkit.options.described import Choice, Several
from cvkit.options.job import Job
from cvkit.options.panels import DATA, MODEL, OUTPUT, RUN, TRAINING, flag
from cvkit.pretext_table import PRETEXTS

STEMS = ["auto", "imagenet", "small"]


@dataclass(frozen=True, kw_only=True)
class Pretrain(Train):
    """Pretrain a backbone on images without labels.

    --data is any folder of images, or a dataset in any format, of which only the images of
    --train-split are used. Every train takes the run as --pretrained.
    """

    # These flags of train mean nothing without labels.
    weights: ClassVar[None] = None
    val_split: ClassVar[str] = "held out"
    test_fraction: ClassVar[float] = 0.0
    group_by: ClassVar[None] = None
    splits: ClassVar[None] = None
    fold: ClassVar[None] = None
    normalize: ClassVar[str] = "auto"
    freeze_backbone: ClassVar[bool] = False
    label_smoothing: ClassVar[float] = 0.0
    check: ClassVar[bool] = False
    report: ClassVar[bool] = False

    data: Annotated[
        str,
        Several(),
        flag(DATA, "Folder of images, dataset, or 'samples'; may be repeated"),
    ] = "samples"
    format: Annotated[
        str,
        Choice(["auto", "images", *(name for name in FORMAT_NAMES if name != "auto")]),
        flag(DATA, "Layout of the data; images: a folder of images; auto: detected"),
    ] = "auto"
    train_split: Annotated[
        str, flag(DATA, "Split whose images are used; a dataset without splits is used whole")
    ] = "train"
    val_fraction: Annotated[
        float,
        flag(
            DATA,
            "Fraction of these images that is held out to measure the method; drawn with --seed",
            min=0,
            max=1,
        ),
    ] = 0.1
    augment: Annotated[
        str,
        flag(
            DATA,
            "Augmentation: views (crops, flips, colours, grey, blur), light (crops, flips), none, "
            "or an albumentations YAML or JSON file; auto: views for simclr and moco-v2, else "
            "light",
        ),
    ] = "auto"
    image_size: Annotated[
        str,
        flag(
            DATA,
            "Side of the square views in pixels; auto: that of small images, else at most 224",
        ),
    ] = "auto"
    method: Annotated[
        str, Choice(list(PRETEXTS)), flag(MODEL, "What the network learns from the images")
    ] = "simclr"
    arch: Annotated[
        str, Choice(backbones_of("classify")), flag(MODEL, "Backbone; see 'cvkit models classify'")
    ] = "resnet18"
    stem: Annotated[
        str,
        Choice(STEMS),
        flag(
            MODEL,
            "First layers; auto: those of --pretrained, else small for images up to 64 pixels",
        ),
    ] = "auto"
    projection: Annotated[
        int, flag(MODEL, "Number of features that simclr and moco-v2 compare", min=2)
    ] = 128
    temperature: Annotated[
        float | None,
        flag(
            TRAINING,
            "Temperature of the similarities (default: 0.5 for simclr, 0.2 for moco-v2)",
            min=0.001,
            max=100,
        ),
    ] = None
    queue: Annotated[
        int, flag(TRAINING, "Number of earlier views that moco-v2 compares with", min=2)
    ] = 4096
    key_momentum: Annotated[
        float,
        flag(TRAINING, "Momentum of the encoder of moco-v2's keys, per batch", min=0, max=1),
    ] = 0.99
    permutations: Annotated[
        int, flag(TRAINING, "Number of orders of the tiles of jigsaw", min=2, max=1000)
    ] = 64
    hole: Annotated[
        float,
        flag(
            TRAINING,
            "Side of the square that inpainting hides, as a fraction of the image's",
            min=0.05,
            max=0.9,
        ),
    ] = 0.5
    epochs: Annotated[int, flag(TRAINING, "Passes over the images", min=1)] = 100
    batch_size: Annotated[int, flag(TRAINING, "Images per batch and process", min=2)] = 128
    schedule: Annotated[
        str,
        Choice(["poly", "cosine", "linear", "step", "inverse-sqrt", "constant"]),
        flag(TRAINING, "Learning rate schedule"),
    ] = "cosine"
    keep: Annotated[
        str,
        Choice(["best", "last"]),
        flag(
            OUTPUT,
            "Which model to keep in the run folder; best: that of the best epoch, and "
            "last.safetensors; last: only that of the last epoch",
        ),
    ] = "last"


@dataclass(frozen=True, kw_only=True)
class Probe(Job):
    """Measure a backbone by a linear classifier and by nearest neighbours on its frozen features.

    Both are fitted on --train-split of a labelled dataset and measured on --val-split; nothing of
    the backbone is trained.
    """

    data: Annotated[str, Several(), flag(DATA, "Labelled dataset for classify, or 'samples'")] = (
        "samples"
    )
    format: Annotated[
        str, Choice(format_choices("classes")), flag(DATA, "Layout of the data; auto: detected")
    ] = "auto"
    train_split: Annotated[str, flag(DATA, "Split to fit on")] = "train"
    val_split: Annotated[str, flag(DATA, "Split to measure on")] = "val"
    val_fraction: Annotated[
        float,
        flag(
            DATA,
            "Fraction of each class that becomes the validation split if the data have none; "
            "drawn with --seed",
            min=0,
            max=1,
        ),
    ] = 0.2
    image_size: Annotated[
        str,
        flag(DATA, "Side of the square images in pixels; auto: of --pretrained, else as train"),
    ] = "auto"
    pretrained: Annotated[
        str | None,
        flag(
            MODEL,
            "Backbone weights: run folder, file, 'imagenet' or 'imagenet:v2' (default: random "
            "weights, for comparison)",
        ),
    ] = None
    backbone: Annotated[
        str | None,
        Choice(backbones_of("classify")),
        flag(MODEL, "Backbone (default: the one of --pretrained, else resnet18)"),
    ] = None
    stem: Annotated[
        str,
        Choice(STEMS),
        flag(
            MODEL,
            "First layers; auto: those of --pretrained, else small for images up to 64 pixels",
        ),
    ] = "auto"
    neighbors: Annotated[
        int, flag(TRAINING, "Number of nearest neighbours, by cosine, that vote", min=1)
    ] = 20
    regularization: Annotated[
        float,
        flag(TRAINING, "Weight of half the squared weights in the loss of the classifier", min=0),
    ] = 1e-3
    seed: Annotated[
        int,
        flag(TRAINING, "Seed of random weights and of the division", min=0, max=2**31 - 1),
    ] = 0
    batch_size: Annotated[int, flag(RUN, "Images per forward pass", min=1)] = 64
