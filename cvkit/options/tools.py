"""Flags of the commands that belong to no task."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from cvkit.catalog import TASKS
from cvkit.options.base import DATA, MODEL, OUTPUT, RUN, TRAINING, Choice, Command, flag


@dataclass(frozen=True, kw_only=True)
class Models(Command):
    """List architectures and backbones with their parameters and GMACs."""

    task: Annotated[
        str | None, Choice(TASKS), typer.Argument(help="Only this task", show_default=False)
    ] = None


@dataclass(frozen=True, kw_only=True)
class Samples(Command):
    """Write built-in synthetic scenes as a dataset: the same seed, the same files."""

    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New or empty folder")]
    task: Annotated[str, Choice(TASKS), flag(DATA, "Task whose labels to write")] = "segment"
    count: Annotated[int, flag(DATA, "Scenes; a fifth of them become the val split", min=2)] = 50
    seed: Annotated[int, flag(DATA, "Decides every scene", min=0, max=2**31 - 1)] = 0
    size: Annotated[int, flag(DATA, "Width and height in pixels", min=32, max=2048)] = 128


@dataclass(frozen=True, kw_only=True)
class WeightsList(Command):
    """List trained models that came with cvkit, downloaded weights, and published ones."""


@dataclass(frozen=True, kw_only=True)
class WeightsVerify(Command):
    """Check weights against their hashes: those of `weights list`, or what is named."""

    files: Annotated[
        list[Path],
        typer.Argument(
            help="Model files, published .pth files, or run folders", show_default=False
        ),
    ] = dataclasses.field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class WeightsImport(Command):
    """Turn a state dict of a torchvision network into a cvkit model.

    The file is read without running code. After it, predict gives torchvision's own scores. A
    model of an earlier version of cvkit becomes one whose hash covers all of it.
    """

    file: Annotated[Path, typer.Argument(help="State dict (.pth or .safetensors)")]
    out: Annotated[Path, flag(OUTPUT, "Model file to write (.safetensors)")]
    task: Annotated[str, Choice(TASKS), flag(MODEL, "What the network does")] = "classify"
    arch: Annotated[
        str,
        flag(
            MODEL,
            "Network: resnet50, fcn, faster-rcnn, or torchvision's name such as fcn_resnet50",
        ),
    ] = "resnet50"
    backbone: Annotated[str | None, flag(MODEL, "Backbone of fcn, deeplab and detectors")] = None
    classes: Annotated[
        str,
        flag(
            MODEL,
            "imagenet, voc, coco, kinetics, or a file with one class a line; auto: by their number",
        ),
    ] = "auto"
    preset: Annotated[
        str,
        Choice(["v1", "v2"]),
        flag(
            MODEL,
            "Published weights whose image size, resizing and normalisation to use; files with "
            "published names are recognised",
        ),
    ] = "v1"
    eps: Annotated[
        float | None,
        flag(
            MODEL,
            "Epsilon of a detector's batch norms: 0 for torchvision's first COCO file of "
            "resnet50, which is recognised, else 1e-5",
            min=0,
        ),
    ] = None
    overwrite: Annotated[bool, flag(OUTPUT, "Replace --out")] = False


@dataclass(frozen=True, kw_only=True)
class Tune(Command):
    """Search learning rate, weight decay, batch size and augmentation by short trainings.

    Ranges are LOW,HIGH on a logarithmic scale; lists are tried as they are. Each trial is an
    ordinary run, which the variables CVKIT_TRAIN_... also speak to; the study folder holds a
    ranked table.
    """

    task: Annotated[str, Choice(TASKS), typer.Argument(help="Task to train", show_default=False)]
    data: Annotated[str, flag(DATA, "Dataset, or 'samples'")] = "samples"
    trials: Annotated[int, flag(TRAINING, "Trainings of a random search", min=1)] = 10
    strategy: Annotated[
        str, Choice(["random", "grid"]), flag(TRAINING, "Draw at random, or try all combinations")
    ] = "random"
    epochs: Annotated[int, flag(TRAINING, "Epochs of each trial", min=1)] = 3
    lr: Annotated[str, flag(TRAINING, "Range LOW,HIGH of the learning rate, or one value")] = (
        "1e-4,1e-2"
    )
    weight_decay: Annotated[
        str, flag(TRAINING, "Range LOW,HIGH of the weight decay, or one value")
    ] = "1e-5,1e-1"
    batch_size: Annotated[
        str | None, flag(TRAINING, "List such as 16,32,64; the task's own by default")
    ] = None
    augment: Annotated[
        str | None, flag(DATA, "List such as none,light,strong; the task's own by default")
    ] = None
    points: Annotated[int, flag(TRAINING, "Values of each range in a grid", min=2)] = 3
    set: Annotated[list[str], flag(MODEL, "Any other training flag, as NAME=VALUE; may repeat")] = (
        dataclasses.field(default_factory=list)
    )
    seed: Annotated[int, flag(TRAINING, "Decides what is drawn", min=0, max=2**31 - 1)] = 0
    out: Annotated[Path, flag(OUTPUT, "Folder for numbered study folders")] = Path("runs")
    resume: Annotated[Path | None, flag(RUN, "Go on with this study folder")] = None
