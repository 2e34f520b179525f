"""Flags that several commands share, and how a flag is described.

Each field of a dataclass is one flag: its name, default, range, help and the stored value. A field
    with a `typer.Argument` is positional.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from cvkit.catalog import OPTIMIZERS
from cvkit.options import sentences
from cvkit.options.described import Choice, Several
from cvkit.options.gated import Gated
from cvkit.options.job import Job
from cvkit.options.panels import DATA, MODEL, OUTPUT, RUN, TRAINING, flag
from cvkit.options.robust import Corruptible
from cvkit.options.training_data import TrainingData

RUNS = Path("runs")
"""Folder for numbered folders of runs, reports and results."""


@dataclass(frozen=True, kw_only=True)
class Train(TrainingData):
    """Training flags of every task."""

    augment: Annotated[
        str,
        flag(
            DATA,
            "Augmentation: none, light, strong, lecture, or an albumentations YAML or JSON file",
        ),
    ] = "light"
    normalize: Annotated[
        str, Choice(["auto", "imagenet", "data"]), flag(DATA, sentences.NORMALIZE_HELP)
    ] = "auto"
    weights: Annotated[
        str | None,
        flag(
            MODEL,
            "Model to start from, including its architecture: run folder, .safetensors file, "
            "name in weights/, or published name; if the classes differ, its last layer is "
            "re-initialised",
        ),
    ] = None
    pretrained: Annotated[
        str | None,
        flag(
            MODEL,
            "Backbone weights: torchvision's 'imagenet' or 'imagenet:v2' (see 'cvkit weights "
            "list'), a run folder, or a file (default: none)",
        ),
    ] = None
    freeze_backbone: Annotated[
        bool,
        flag(MODEL, "Train only the head; the batch norms of the backbone keep their statistics"),
    ] = False
    freeze: Annotated[
        str, flag(MODEL, "Layers to freeze, such as backbone.conv1,backbone.layer1")
    ] = ""
    unfreeze_at: Annotated[
        int, flag(MODEL, "Epoch from which the frozen layers are trained too; 0: never", min=0)
    ] = 0
    init: Annotated[
        str,
        Choice(["auto", "xavier", "kaiming", "normal"]),
        flag(
            MODEL, "Initialisation of the weights that are not loaded; auto: the network's default"
        ),
    ] = "auto"
    epochs: Annotated[int, flag(TRAINING, "Passes over the training split", min=1)] = 30
    batch_size: Annotated[int, flag(TRAINING, "Images per batch and process", min=1)] = 4
    accumulate: Annotated[
        int, flag(TRAINING, "Number of batches whose gradients are accumulated per step", min=1)
    ] = 1
    optimizer: Annotated[
        str,
        Choice(OPTIMIZERS),
        flag(TRAINING, "Optimizer"),
    ] = "adamw"
    lr: Annotated[
        float | None, flag(TRAINING, "Peak learning rate (default: the optimizer's)", min=0)
    ] = None
    momentum: Annotated[
        float, flag(TRAINING, "Momentum of sgd, lars and rmsprop", min=0, max=1)
    ] = 0.9
    weight_decay: Annotated[
        float | None,
        flag(
            TRAINING,
            "Weight decay, not applied to norms and biases (default: the optimizer's)",
            min=0,
        ),
    ] = None
    l1: Annotated[
        float,
        flag(TRAINING, "Weight of the L1 penalty (the sum of absolute weights) in the loss", min=0),
    ] = 0.0
    l2: Annotated[
        float,
        flag(
            TRAINING,
            "Weight of the L2 penalty (half the sum of squared weights) in the loss; with --l1, "
            "an elastic net",
            min=0,
        ),
    ] = 0.0
    schedule: Annotated[
        str, flag(TRAINING, f"Learning rate schedule: {sentences.SCHEDULES_HELP}")
    ] = "poly"
    warmup_epochs: Annotated[
        float, flag(TRAINING, "Epochs of linear learning rate warm-up", min=0)
    ] = 1.0
    clip_grad: Annotated[float, flag(TRAINING, "Maximum gradient norm; 0: no clipping", min=0)] = (
        1.0
    )
    ema: Annotated[
        float,
        flag(
            TRAINING,
            "Decay of an exponential moving average of the weights, such as 0.999; 0: no average",
            min=0,
            max=1,
        ),
    ] = 0.0
    label_smoothing: Annotated[
        float,
        flag(
            TRAINING,
            "Fraction of the target probability that is spread over all classes, up to 0.99",
            min=0,
            max=0.99,
        ),
    ] = 0.0
    patience: Annotated[
        int,
        flag(TRAINING, "Epochs without improvement after which training stops; 0: never", min=0),
    ] = 0
    seed: Annotated[
        int, flag(TRAINING, "Seed of all random choices of the run", min=0, max=2**31 - 1)
    ] = 0
    check: Annotated[
        bool, flag(RUN, "Run sanity checks of data, loss and network before training")
    ] = False
    find_lr: Annotated[
        bool,
        flag(RUN, "Only run a learning rate range test, which plots lr.png and suggests a rate"),
    ] = False
    out: Annotated[Path, flag(OUTPUT, "Folder in which the numbered run folder is created")] = RUNS
    keep: Annotated[
        str,
        Choice(["best", "last"]),
        flag(
            OUTPUT,
            "Which model to keep in the run folder; best: that of the best epoch, and "
            "last.safetensors; last: only that of the last epoch",
        ),
    ] = "best"
    save_minutes: Annotated[
        float,
        flag(OUTPUT, "Minutes between saves within an epoch; 0: save after every step", min=0),
    ] = 5.0
    keep_states: Annotated[
        bool,
        flag(
            OUTPUT,
            "Keep the resume states of a finished run, so that it can be extended bit-exactly",
        ),
    ] = False
    report: Annotated[
        bool,
        flag(
            OUTPUT,
            "When training ends, evaluate the kept model on --val-split and write report.html into "
            "the run folder",
        ),
    ] = False
    log: Annotated[str, flag(OUTPUT, sentences.LOG_HELP)] = ""
    resume: Annotated[
        Path | None,
        flag(
            RUN,
            "Run folder to continue bit-exactly from its last save; a larger --epochs extends a "
            "finished run; if the dataset has moved, give its new folder with --data",
        ),
    ] = None
    devices: Annotated[
        int,
        flag(RUN, "Number of training processes on each machine; on CUDA, one per GPU", min=1),
    ] = 1
    nodes: Annotated[int, flag(RUN, sentences.NODES_HELP, min=1)] = 1
    checkpoint_gradients: Annotated[
        bool,
        flag(
            RUN,
            "Store only the inputs of the network's blocks and compute the rest again for the "
            "gradients: less memory, about a third more time, the same weights",
        ),
    ] = False
    compile: Annotated[
        bool, flag(RUN, "Compile the network for training, which takes minutes at the first step")
    ] = False
    channels_last: Annotated[
        str,
        Choice(["auto", "on", "off"]),
        flag(RUN, "Keep images and weights in NHWC memory order; auto: on"),
    ] = "auto"


ENGINES = ("auto", "eager", "fused", "compile", "openvino", "onnxruntime")
"""What a trained network can run on."""


@dataclass(frozen=True, kw_only=True)
class Inference(Job):
    """Flags of the commands that run a trained network."""

    engine: Annotated[
        str,
        Choice(ENGINES),
        flag(
            RUN,
            "How the network runs: eager, layer by layer; fused, with layers joined for a CPU; "
            "compile, by torch's compiler; openvino and onnxruntime, in these packages on a CPU; "
            "auto: eager on a GPU and up to 32 samples, else fused; in long jobs, the fastest on "
            "this machine",
        ),
    ] = "auto"
    devices: Annotated[
        int,
        flag(
            RUN,
            "Number of processes on each machine that share the samples; on CUDA, one per GPU",
            min=1,
        ),
    ] = 1
    nodes: Annotated[int, flag(RUN, sentences.NODES_HELP, min=1)] = 1


@dataclass(frozen=True, kw_only=True)
class Eval(Gated, Corruptible, Inference):
    """Evaluation flags of every task."""

    weights: Annotated[str | None, flag(MODEL, sentences.RUN_HELP)] = None
    data: Annotated[
        str | None,
        Several(),
        flag(DATA, f"Dataset folder, or 'samples', to evaluate --weights on; {sentences.JOINED}"),
    ] = None
    predictions: Annotated[
        Path | None, flag(DATA, "Folder or file of predictions to score instead of a model")
    ] = None
    truth: Annotated[
        Path | None,
        flag(DATA, "Ground truth for --predictions: a dataset, or a folder or file of labels"),
    ] = None
    missing: Annotated[
        str,
        Choice(["auto", "error", "fail", "empty"]),
        flag(
            DATA,
            "Samples of --truth without a prediction: error, fail (counted as failed), or empty "
            "(images without detections); auto: empty for result files of detections, else fail",
        ),
    ] = "auto"
    extra: Annotated[
        str,
        Choice(["auto", "error", "ignore"]),
        flag(
            DATA,
            "Predictions of samples that are not in --truth: error, or ignore; auto: error for "
            "result files of detections, else ignore with a warning",
        ),
    ] = "auto"
    split: Annotated[
        str, flag(DATA, "Split to evaluate; all: the whole dataset, if it has no splits")
    ] = "val"
    val_fraction: Annotated[
        float | None,
        flag(
            DATA,
            "Fraction of each class that is the validation split of a dataset without splits "
            "(default: the model's)",
            min=0,
            max=1,
        ),
    ] = None
    seed: Annotated[
        int | None,
        flag(
            DATA,
            "Seed of the division of a dataset without splits (default: the model's)",
            min=0,
            max=2**31 - 1,
        ),
    ] = None
    splits: Annotated[Path | None, flag(DATA, sentences.SPLITS_HELP)] = None
    fold: Annotated[str | None, flag(DATA, sentences.FOLD_HELP)] = None
    exclude: Annotated[
        Path | None,
        flag(
            DATA,
            "File with the keys of samples to leave out, one per line, as 'cvkit data check "
            "--fix-list' writes it",
        ),
    ] = None
    batch_size: Annotated[int, flag(RUN, "Images per forward pass", min=1)] = 4
    bootstrap: Annotated[
        int,
        flag(
            OUTPUT,
            "Number of bootstrap replicates for 95 % intervals, such as 1000, drawn by image (or "
            "video) with --seed, or with seed 0; 0: no intervals",
            min=0,
            max=100_000,
        ),
    ] = 0
    out: Annotated[Path, flag(OUTPUT, "Folder in which the numbered report folder is created")] = (
        RUNS
    )
    files: Annotated[bool, flag(OUTPUT, "Also write a report folder")] = True
    report: Annotated[bool, flag(OUTPUT, "Also write report.html into the report folder")] = False


@dataclass(frozen=True, kw_only=True)
class Predict(Inference):
    """Prediction flags of every task."""

    inputs: Annotated[
        list[str],
        typer.Argument(
            help=sentences.INPUTS_HELP,
            show_default=False,
        ),
    ] = dataclasses.field(default_factory=list)
    weights: Annotated[str | None, flag(MODEL, sentences.RUN_HELP)] = None
    out: Annotated[
        Path | None,
        flag(
            OUTPUT,
            "Folder for the results, arranged like the inputs (default: a new folder, "
            "runs/TASK-predict-NNN)",
        ),
    ] = None
    overwrite: Annotated[bool, flag(OUTPUT, "Replace the results in --out")] = False
    contact_sheet: Annotated[
        int,
        flag(
            OUTPUT,
            "Number of results on contact_sheet.png, spaced evenly over all of them, up to 400; "
            "0: no sheet",
            min=0,
            max=400,
        ),
    ] = 12
    resume: Annotated[
        bool,
        flag(RUN, "Skip inputs whose results are already in --out; failed ones are tried again"),
    ] = False
    json_results: Annotated[
        bool,
        flag(RUN, "With --json, also print the lines of predictions.jsonl and failures.jsonl"),
    ] = False
    batch_size: Annotated[int, flag(RUN, "Images per forward pass", min=1)] = 4
    max_failures: Annotated[
        int, flag(RUN, "Stop after this many inputs have failed; 0: never", min=0)
    ] = 0
