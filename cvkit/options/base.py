"""Flags that several commands share, and how a flag is described.

Each field of a dataclass is one flag: its name, default, range and help, once, and what a run
stores. A field that is a `typer.Argument` is positional.
"""

import dataclasses
import typing
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import typer

from cvkit.published import published_text

PANELS = DATA, MODEL, TRAINING, OUTPUT, RUN = "Data", "Model", "Training", "Output", "Run"


def flag(
    panel: str, text: str, *, min: float | None = None, max: float | None = None
) -> typer.models.OptionInfo:
    """Return the description of a flag that is shown in one of the help panels."""
    option: typer.models.OptionInfo = typer.Option(
        help=text, rich_help_panel=panel, min=min, max=max
    )
    return option


@dataclass(frozen=True)
class Choice:
    """Part of the annotation of a flag that takes one of these names and no other text."""

    names: Collection[str]


RUNS = Path("runs")
"""Folder for numbered folders of runs, reports and results."""

WEIGHTS_HELP = "Run folder, .safetensors file, name in weights/"


def weights_flag(task: str) -> typer.models.OptionInfo:
    """Return the description of a task's `--weights`, which lists its published models."""
    return flag(MODEL, f"{WEIGHTS_HELP}, or published: {published_text(task)}")


@dataclass(frozen=True, kw_only=True)
class Command:
    """Flags that every command has.

    `given` are the names of the flags that the command line or a configuration file sets.
    """

    given: ClassVar[frozenset[str]] = frozenset()
    json: Annotated[bool, flag(RUN, "Print one JSON object on stdout, also on failure")] = False
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Only errors on stderr", rich_help_panel=RUN)
    ] = False
    debug: Annotated[bool, flag(RUN, "Show the traceback of an error")] = False


AnyCommand = TypeVar("AnyCommand", bound=Command)


@dataclass(frozen=True, kw_only=True)
class Job(Command):
    """Flags of the commands that run a network."""

    config: Annotated[
        Path | None, flag(RUN, "YAML file with flag values; flags and environment win over it")
    ] = None
    device: Annotated[
        str, flag(RUN, "auto, cpu, cuda, cuda:N or mps; auto takes an accelerator if there is one")
    ] = "auto"
    precision: Annotated[
        str,
        Choice(["auto", "fp32", "bf16", "fp16"]),
        flag(RUN, "auto: bf16 on CUDA and on CPUs with AMX, else fp32"),
    ] = "auto"
    workers: Annotated[
        int, flag(RUN, "Processes that decode images; -1 chooses, 0 uses none", min=-1)
    ] = -1
    offline: Annotated[bool, flag(RUN, "Never use the network; say what is missing")] = False


@dataclass(frozen=True, kw_only=True)
class Train(Job):
    """Flags that training has for every task."""

    data: Annotated[
        str, flag(DATA, "Dataset folder, or 'samples' for the built-in synthetic images")
    ] = "samples"
    train_split: Annotated[str, flag(DATA, "Split to train on")] = "train"
    val_split: Annotated[str, flag(DATA, "Split to measure after every epoch")] = "val"
    val_fraction: Annotated[
        float,
        flag(
            DATA,
            "Share that becomes val where the data have no such split, the same of every class; "
            "drawn by --seed",
            min=0,
            max=1,
        ),
    ] = 0.2
    augment: Annotated[
        str, flag(DATA, "none, light, strong, or an albumentations YAML or JSON file")
    ] = "light"
    weights: Annotated[
        str | None,
        flag(
            MODEL,
            "Model to begin with, network and all: run folder, .safetensors file, name in "
            "weights/, or published; its last layer is made anew for other classes",
        ),
    ] = None
    pretrained: Annotated[
        str | None,
        flag(
            MODEL,
            "Backbone weights: torchvision's 'imagenet' or 'imagenet:v2' (see 'cvkit weights "
            "list'), a run folder, or a file; none by default",
        ),
    ] = None
    freeze_backbone: Annotated[
        bool, flag(MODEL, "Train the head only; batch norm of the backbone stays as it is")
    ] = False
    freeze: Annotated[
        str, flag(MODEL, "Layers that do not train: backbone.conv1,backbone.layer1,...")
    ] = ""
    unfreeze_at: Annotated[
        int, flag(MODEL, "Epoch from which frozen layers train too; 0: never", min=0)
    ] = 0
    init: Annotated[
        str,
        Choice(["auto", "xavier", "kaiming", "normal"]),
        flag(MODEL, "How weights that are not loaded begin; auto: each network's own way"),
    ] = "auto"
    epochs: Annotated[int, flag(TRAINING, "Passes over the training split", min=1)] = 30
    batch_size: Annotated[int, flag(TRAINING, "Images a step and process", min=1)] = 4
    accumulate: Annotated[int, flag(TRAINING, "Batches whose gradients make one step", min=1)] = 1
    optimizer: Annotated[
        str, Choice(["adamw", "adam", "sgd", "rmsprop", "adagrad"]), flag(TRAINING, "Update rule")
    ] = "adamw"
    lr: Annotated[
        float | None, flag(TRAINING, "Peak learning rate; the optimizer's own by default", min=0)
    ] = None
    momentum: Annotated[float, flag(TRAINING, "Momentum of sgd and rmsprop", min=0, max=1)] = 0.9
    weight_decay: Annotated[
        float | None,
        flag(
            TRAINING, "On weights, not on norms and biases; the optimizer's own by default", min=0
        ),
    ] = None
    l1: Annotated[
        float, flag(TRAINING, "Factor of the sum of absolute weights in the loss", min=0)
    ] = 0.0
    l2: Annotated[
        float,
        flag(TRAINING, "Factor of half the sum of squares in the loss; with --l1 elastic", min=0),
    ] = 0.0
    schedule: Annotated[
        str,
        Choice(["poly", "cosine", "linear", "step", "inverse-sqrt", "constant"]),
        flag(TRAINING, "How the learning rate falls"),
    ] = "poly"
    warmup_epochs: Annotated[
        float, flag(TRAINING, "Epochs in which the learning rate rises", min=0)
    ] = 1.0
    clip_grad: Annotated[
        float, flag(TRAINING, "Largest norm of the gradient; 0 switches clipping off", min=0)
    ] = 1.0
    ema: Annotated[
        float,
        flag(TRAINING, "Decay of an average of the weights, such as 0.999; 0: none", min=0, max=1),
    ] = 0.0
    label_smoothing: Annotated[
        float, flag(TRAINING, "Probability spread over all classes", min=0, max=0.99)
    ] = 0.0
    patience: Annotated[
        int, flag(TRAINING, "Stop after this many epochs without a better result; 0: never", min=0)
    ] = 0
    seed: Annotated[
        int, flag(TRAINING, "Decides every random choice of the run", min=0, max=2**31 - 1)
    ] = 0
    check: Annotated[
        bool, flag(RUN, "Run sanity checks of data, loss and network before training")
    ] = False
    find_lr: Annotated[
        bool, flag(RUN, "Only try learning rates: draws lr.png and names a good one")
    ] = False
    out: Annotated[Path, flag(OUTPUT, "Folder for numbered run folders")] = RUNS
    keep: Annotated[
        str,
        Choice(["best", "last"]),
        flag(
            OUTPUT,
            "Model that the run folder stands for: of the best epoch, with last.safetensors "
            "beside it, or of the last one only",
        ),
    ] = "best"
    save_minutes: Annotated[
        float,
        flag(OUTPUT, "Minutes between saves inside an epoch; 0 saves after every step", min=0),
    ] = 5.0
    keep_states: Annotated[
        bool,
        flag(OUTPUT, "Keep the resume states of a finished run, to prolong it bit-exactly"),
    ] = False
    resume: Annotated[
        Path | None,
        flag(
            RUN,
            "Continue this run folder, bit-exactly, from its last save; with more --epochs also a "
            "finished one; --data names its dataset where that has moved",
        ),
    ] = None
    devices: Annotated[int, flag(RUN, "Processes that train together", min=1)] = 1
    channels_last: Annotated[
        str, Choice(["auto", "on", "off"]), flag(RUN, "Memory order NHWC; auto is on")
    ] = "auto"


@dataclass(frozen=True, kw_only=True)
class Eval(Job):
    """Flags that evaluation has for every task."""

    weights: Annotated[str | None, flag(MODEL, WEIGHTS_HELP)] = None
    data: Annotated[str | None, flag(DATA, "Dataset folder, or 'samples'; for --weights")] = None
    predictions: Annotated[
        Path | None, flag(DATA, "Folder of predictions to score instead of a model")
    ] = None
    truth: Annotated[Path | None, flag(DATA, "Dataset or mask folder to score them with")] = None
    split: Annotated[str, flag(DATA, "Split to evaluate; 'all' of data that are not split")] = "val"
    val_fraction: Annotated[
        float | None, flag(DATA, "As in train; the model's by default", min=0, max=1)
    ] = None
    seed: Annotated[
        int | None,
        flag(
            DATA,
            "Seed of the division of data that are not split; the model's by default",
            min=0,
            max=2**31 - 1,
        ),
    ] = None
    batch_size: Annotated[int, flag(RUN, "Images a forward pass", min=1)] = 4
    fail_under: Annotated[
        list[str], flag(OUTPUT, "Exit 4 if METRIC=NUMBER is not reached; may repeat")
    ] = dataclasses.field(default_factory=list)
    out: Annotated[Path, flag(OUTPUT, "Folder for numbered report folders")] = RUNS
    files: Annotated[bool, flag(OUTPUT, "Write report files, not only what is printed")] = True


@dataclass(frozen=True, kw_only=True)
class Predict(Job):
    """Flags that prediction has for every task."""

    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders (recursive), globs, @list.txt, or - for paths on stdin",
            show_default=False,
        ),
    ] = dataclasses.field(default_factory=list)
    weights: Annotated[str | None, flag(MODEL, WEIGHTS_HELP)] = None
    out: Annotated[
        Path | None,
        flag(
            OUTPUT,
            "Folder for the results, mirrors the inputs; by default a new one, "
            "runs/TASK-predict-NNN",
        ),
    ] = None
    overwrite: Annotated[bool, flag(OUTPUT, "Replace results in --out")] = False
    contact_sheet: Annotated[
        int,
        flag(
            OUTPUT,
            "Pictures on contact_sheet.png, taken evenly from all results; 0: no sheet",
            min=0,
            max=400,
        ),
    ] = 12
    resume: Annotated[bool, flag(RUN, "Skip what --out already holds; retries failures")] = False
    json_results: Annotated[
        bool,
        flag(RUN, "With --json, also print the lines of predictions.jsonl and failures.jsonl"),
    ] = False
    batch_size: Annotated[int, flag(RUN, "Images a forward pass", min=1)] = 4
    max_failures: Annotated[
        int, flag(RUN, "Stop when this many inputs failed; 0: never", min=0)
    ] = 0


Description = typer.models.OptionInfo | typer.models.ArgumentInfo
"""How Typer shows and checks a flag or an argument."""


def description(annotation: object) -> Description:
    """Return the description of a flag from its annotated type, as `hints` returns it."""
    option: Description = typing.get_args(annotation)[1]
    return option


def type_of(annotation: object) -> Any:
    """Return the type of a flag, which may be a union with None, from its annotated type."""
    return typing.get_args(annotation)[0]


def never_empty(field: dataclasses.Field[Any], annotation: object) -> bool:
    """Return whether an empty value of a flag is a mistake.

    As a path it would be the current folder, in a list an element that means nothing. Other text
    may be empty where that is the default or no default is: it switches something off.
    """
    kind = type_of(annotation)
    kinds = typing.get_args(kind) or (kind,)
    if Path in kinds or typing.get_origin(kind) is list:
        return True
    return str in kinds and isinstance(field.default, str) and bool(field.default)


def choices_of(annotation: object) -> tuple[str, ...]:
    """Return the names that a flag takes; none for a flag that takes any text or number."""
    kind = type_of(annotation)
    kinds = (kind, *typing.get_args(kind))
    literal = next((each for each in kinds if typing.get_origin(each) is Literal), None)
    return typing.get_args(literal) if literal else ()


_HINTS: dict[type[Command], dict[str, object]] = {}


def hints(options_class: type[Command]) -> dict[str, object]:
    """Return the type of each flag, annotated with its description, as Typer takes it.

    The type of a flag with a `Choice` is the `Literal` of its names.
    """
    if options_class not in _HINTS:
        found = typing.get_type_hints(options_class, include_extras=True)
        fields = dataclasses.fields(options_class)
        _HINTS[options_class] = {field.name: _for_typer(found[field.name]) for field in fields}
    return _HINTS[options_class]


def _for_typer(annotation: object) -> object:
    kind, *described = typing.get_args(annotation)
    option = next(each for each in described if isinstance(each, Description))
    for each in described:
        if isinstance(each, Choice):
            names: Any = Literal.__getitem__(tuple(each.names))
            kind = names | None if type(None) in typing.get_args(kind) else names
    return Annotated[kind, option]


def with_given(options: AnyCommand, names: Iterable[str]) -> AnyCommand:
    """Return the options, which from now on know the names of the flags that somebody has set."""
    object.__setattr__(options, "given", frozenset(names))
    return options
