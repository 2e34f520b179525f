"""Flags of the commands that belong to no task."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from cvkit.catalog import TASKS
from cvkit.options.described import Choice, Several
from cvkit.options.job import Command, Device, Offline
from cvkit.options.panels import DATA, MODEL, OUTPUT, RUN, TRAINING, flag
from cvkit.options.sentences import WEIGHTS_HELP


@dataclass(frozen=True, kw_only=True)
class Models(Command):
    """List architectures and backbones with their parameters and GMACs."""

    task: Annotated[
        str | None,
        Choice(TASKS),
        typer.Argument(help="Task to list (default: all)", show_default=False),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Samples(Command):
    """Write built-in synthetic scenes as a dataset; the same seed writes the same files."""

    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New or empty folder to write to")]
    task: Annotated[str, Choice(TASKS), flag(DATA, "Task whose labels are written")] = "segment"
    count: Annotated[
        int, flag(DATA, "Number of scenes; a fifth of them form the val split", min=2)
    ] = 50
    seed: Annotated[int, flag(DATA, "Seed of the scenes", min=0, max=2**31 - 1)] = 0
    size: Annotated[
        int, flag(DATA, "Width and height of the scenes in pixels, 32 to 2048", min=32, max=2048)
    ] = 128


@dataclass(frozen=True, kw_only=True)
class WeightsList(Command):
    """List the trained models that come with cvkit, downloaded weights and published models."""


@dataclass(frozen=True, kw_only=True)
class WeightsVerify(Command):
    """Check weights against their hashes."""

    files: Annotated[
        list[Path],
        typer.Argument(
            help="Model files, published .pth files or run folders (default: all shipped and "
            "downloaded ones)",
            show_default=False,
        ),
    ] = dataclasses.field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class WeightsImport(Command):
    """Turn a state dict of torchvision or of another project into a cvkit model.

    Files of timm, segmentation_models.pytorch, mmsegmentation, detectron2, mmdetection, MoCo, SwAV,
    DINO and VISSL are recognised by their names. The file is read without running code; predict
    then gives the scores of the project. A model of an earlier version of cvkit is rewritten with a
    hash that covers the whole file.
    """

    file: Annotated[Path, typer.Argument(help="State dict to import (.pth, .safetensors or .pkl)")]
    out: Annotated[Path, flag(OUTPUT, "Model file to write (.safetensors)")]
    task: Annotated[str, Choice(TASKS), flag(MODEL, "Task of the network")] = "classify"
    arch: Annotated[
        str,
        flag(
            MODEL,
            "Architecture such as resnet50, fcn or faster-rcnn, or torchvision's name such "
            "as fcn_resnet50",
        ),
    ] = "resnet50"
    backbone: Annotated[
        str | None, flag(MODEL, "Backbone of the segmentation networks and detectors")
    ] = None
    classes: Annotated[
        str,
        flag(
            MODEL,
            "imagenet, voc, coco, kinetics, or a file with one class per line; auto: chosen by "
            "the number of classes",
        ),
    ] = "auto"
    preset: Annotated[
        str,
        Choice(["v1", "v2"]),
        flag(
            MODEL,
            "Version of the published weights whose image size, resizing and normalisation "
            "are used; files with published names are recognised",
        ),
    ] = "v1"
    eps: Annotated[
        float | None,
        flag(
            MODEL,
            "Epsilon of a detector's batch norms (default: 1e-5, or 0 for torchvision's first "
            "COCO weights of resnet50, which are recognised)",
            min=0,
        ),
    ] = None
    overwrite: Annotated[bool, flag(OUTPUT, "Replace the file --out")] = False


@dataclass(frozen=True, kw_only=True)
class WeightsProve(Command):
    """Prove on data that a model may run in bf16, and note that in its file.

    The model is evaluated in fp32 and in bf16. If its main metric falls by 0.001 at most,
    --precision auto takes bf16 from then on, on CPUs that multiply in bf16; else the exit code is 4
    and the file has no such note.
    """

    file: Annotated[Path, typer.Argument(help="Model file (.safetensors) or run folder")]
    data: Annotated[str, Several(), flag(DATA, "Dataset folder, or 'samples'")]
    split: Annotated[str, flag(DATA, "Split to evaluate; all: the whole dataset")] = "val"
    batch_size: Annotated[
        int | None, flag(RUN, "Images per batch (default: the task's)", min=1)
    ] = None
    workers: Annotated[int, flag(RUN, "Threads that decode images; see eval", min=-1)] = -1


@dataclass(frozen=True, kw_only=True)
class WeightsAverage(Command):
    """Average the weights of models of one network, such as runs with other seeds or rates.

    A model soup (arXiv:2203.05482): one model whose weights are the mean of theirs. It works for
    models that were trained further from the same weights; greedy tells on data which of them help.
    """

    files: Annotated[
        list[Path],
        typer.Argument(help="Model files (.safetensors) or run folders, two or more"),
    ]
    out: Annotated[Path, flag(OUTPUT, "Model file to write (.safetensors)")]
    method: Annotated[
        str,
        Choice(["uniform", "greedy"]),
        flag(
            MODEL,
            "uniform: all models; greedy: from the best one on, each that does not lower the main "
            "metric of the average on --data",
        ),
    ] = "uniform"
    data: Annotated[
        str | None, Several(), flag(DATA, "Dataset folder, or 'samples', for greedy")
    ] = None
    split: Annotated[str, flag(DATA, "Split to evaluate; all: the whole dataset")] = "val"
    batch_size: Annotated[
        int | None, flag(RUN, "Images per batch (default: the task's)", min=1)
    ] = None
    workers: Annotated[int, flag(RUN, "Threads that decode images; see eval", min=-1)] = -1
    overwrite: Annotated[bool, flag(OUTPUT, "Replace the file --out")] = False


@dataclass(frozen=True, kw_only=True)
class Tune(Command):
    """Search for learning rate, weight decay, batch size and augmentation with short runs.

    A range LOW,HIGH is on a logarithmic scale; a list gives the values to try. Each trial is an
    ordinary run, to which the variables CVKIT_TRAIN_... apply; the study folder contains a ranked
    table.
    """

    task: Annotated[str, Choice(TASKS), typer.Argument(help="Task to train", show_default=False)]
    data: Annotated[str, Several(), flag(DATA, "Dataset folder, or 'samples'")] = "samples"
    trials: Annotated[
        int,
        flag(
            TRAINING, "Number of trials of a random search, or of the first rung of halving", min=1
        ),
    ] = 10
    strategy: Annotated[
        str,
        Choice(["random", "grid", "halving"]),
        flag(
            TRAINING,
            "random: draw every trial; grid: try all combinations; halving: draw all trials, train "
            "the best third three times as long, and so on, then search around the best",
        ),
    ] = "random"
    epochs: Annotated[int, flag(TRAINING, "Epochs per trial", min=1)] = 3
    lr: Annotated[str, flag(TRAINING, "Learning rates to try: a range LOW,HIGH, or one value")] = (
        "1e-4,1e-2"
    )
    weight_decay: Annotated[
        str, flag(TRAINING, "Weight decays to try: a range LOW,HIGH, or one value")
    ] = "1e-5,1e-1"
    batch_size: Annotated[
        str | None, flag(TRAINING, "Batch sizes to try, such as 16,32,64 (default: the task's)")
    ] = None
    augment: Annotated[
        str | None,
        flag(DATA, "Augmentations to try, such as none,light,strong (default: the task's)"),
    ] = None
    points: Annotated[int, flag(TRAINING, "Number of values per range in a grid", min=2)] = 3
    set: Annotated[
        list[str], flag(MODEL, "Any other training flag, as NAME=VALUE; may be repeated")
    ] = dataclasses.field(default_factory=list)
    seed: Annotated[int, flag(TRAINING, "Seed of the random search", min=0, max=2**31 - 1)] = 0
    out: Annotated[Path, flag(OUTPUT, "Folder in which the numbered study folder is created")] = (
        Path("runs")
    )
    resume: Annotated[Path | None, flag(RUN, "Study folder to continue")] = None


@dataclass(frozen=True, kw_only=True)
class Compare(Command):
    """Compare evaluations of the same data: differences with intervals, per class and per image.

    Each is the report folder of an eval, the folder of an evaluated run, or with --truth
    predictions in any form that eval scores. The others are compared with the first; all are
    resampled alike.
    """

    evaluations: Annotated[
        list[Path],
        typer.Argument(
            help="Report folders of eval, run folders, or with --truth files or folders of "
            "predictions",
            show_default=False,
        ),
    ]
    task: Annotated[
        str | None, Choice(TASKS), flag(DATA, "Task of the predictions; for --truth")
    ] = None
    truth: Annotated[
        Path | None, flag(DATA, "Ground truth on which predictions are scored first")
    ] = None
    split: Annotated[str, flag(DATA, "Split of --truth")] = "val"
    bootstrap: Annotated[
        int, flag(RUN, "Number of bootstrap replicates for the intervals", min=10, max=100_000)
    ] = 1000
    seed: Annotated[int, flag(RUN, "Seed of the replicates", min=0, max=2**31 - 1)] = 0
    max_drop: Annotated[
        float | None,
        flag(
            OUTPUT,
            "Exit with code 4 if the first metric is lower than that of the first evaluation by "
            "more than this",
            min=0,
            max=1,
        ),
    ] = None
    changed: Annotated[
        int, flag(OUTPUT, "Number of images or videos listed that changed most", min=0, max=1000)
    ] = 10
    accept_differences: Annotated[
        bool,
        flag(
            RUN,
            "Compare although rules differ, and the common images although data differ",
        ),
    ] = False
    out: Annotated[
        Path, flag(OUTPUT, "Folder in which the numbered folder of the comparison is created")
    ] = Path("runs")
    files: Annotated[bool, flag(OUTPUT, "Also write tables and pictures")] = True


@dataclass(frozen=True, kw_only=True)
class Bench(Command):
    """Measure a model on this machine: speed, latency, memory and metric of each engine.

    Every engine and precision alternates with the others, so that other work on the machine
    favours none. The last line has the flags of the fastest whose results stay the same.
    """

    task: Annotated[str, Choice(TASKS), typer.Argument(help="Task to measure", show_default=False)]
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders, globs, @list.txt, or - for paths from stdin (default: those of "
            "--data, or built-in samples)",
            show_default=False,
        ),
    ] = dataclasses.field(default_factory=list)
    data: Annotated[
        str | None,
        Several(),
        flag(DATA, "Dataset folder, or 'samples', on which the metric of each engine is measured"),
    ] = None
    split: Annotated[str, flag(DATA, "Split of --data")] = "val"
    weights: Annotated[
        str | None, flag(MODEL, f"{WEIGHTS_HELP} (default: the task's in weights/)")
    ] = None
    arch: Annotated[
        str | None,
        flag(MODEL, "Architecture of an untrained network, measured for speed instead of a model"),
    ] = None
    set: Annotated[
        list[str],
        flag(
            MODEL,
            "Another flag of eval or predict, or with --arch of train, as NAME=VALUE; may be "
            "repeated",
        ),
    ] = dataclasses.field(default_factory=list)
    engines: Annotated[
        str | None, flag(RUN, "Engines, such as eager,fused (default: all of --engine but compile)")
    ] = None
    precisions: Annotated[str, flag(RUN, "Precisions, such as fp32,bf16,fp16")] = "fp32,bf16"
    batch_sizes: Annotated[str, flag(RUN, "Images per forward pass, such as 1,8")] = "1,8"
    seconds: Annotated[
        float,
        flag(RUN, "Seconds of measurement per engine, precision and batch size", min=0.1, max=3600),
    ] = 5.0
    memory: Annotated[
        bool, flag(RUN, "Also measure the peak memory, of a separate process for each row")
    ] = True
    device: Device = "auto"
    offline: Offline = False
    out: Annotated[Path | None, flag(OUTPUT, "File for the results (.json)")] = None
    overwrite: Annotated[bool, flag(OUTPUT, "Replace the file --out")] = False
