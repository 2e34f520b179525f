"""Every flag of every command, once: name, default, range, help, and what a run stores.

`OPTIONS` is the command tree. Each field of a dataclass is one flag; a field that is a
`typer.Argument` is positional.
"""

import dataclasses
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from cvkit.catalog import ARCHS, BACKBONES, TASKS

PANELS = DATA, MODEL, TRAINING, OUTPUT, RUN = "Data", "Model", "Training", "Output", "Run"


def flag(panel: str, text: str, **limits: object) -> typer.models.OptionInfo:
    """Return the description of a flag that is shown in one of the help panels."""
    return typer.Option(help=text, rich_help_panel=panel, **limits)


def choice(names: typing.Iterable[str]) -> object:
    """Return the type of a flag that takes one of these names."""
    return Literal[tuple(names)]


@dataclass(frozen=True, kw_only=True)
class Command:
    """Flags that every command has."""

    json: Annotated[bool, flag(RUN, "Print one JSON object on stdout, also on failure")] = False
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Only errors on stderr", rich_help_panel=RUN)
    ] = False
    debug: Annotated[bool, flag(RUN, "Show the traceback of an error")] = False


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
        choice(["auto", "fp32", "bf16", "fp16"]),
        flag(RUN, "auto: bf16 on CUDA and on CPUs with AMX, else fp32"),
    ] = "auto"
    workers: Annotated[
        int, flag(RUN, "Processes that decode images; -1 chooses, 0 uses none", min=-1)
    ] = -1


@dataclass(frozen=True, kw_only=True)
class Train(Job):
    """Flags that training has for every task."""

    data: Annotated[
        str, flag(DATA, "Dataset folder, or 'samples' for the built-in synthetic images")
    ] = "samples"
    train_split: Annotated[str, flag(DATA, "Split to train on")] = "train"
    val_split: Annotated[str, flag(DATA, "Split to measure after every epoch")] = "val"
    augment: Annotated[
        str, flag(DATA, "none, light, strong, or an albumentations YAML or JSON file")
    ] = "light"
    pretrained: Annotated[
        str | None,
        flag(MODEL, "Backbone weights: 'imagenet' (torchvision's), or a file; none by default"),
    ] = None
    freeze_backbone: Annotated[
        bool, flag(MODEL, "Train the head only; batch norm of the backbone stays as it is")
    ] = False
    epochs: Annotated[int, flag(TRAINING, "Passes over the training split", min=1)] = 30
    batch_size: Annotated[int, flag(TRAINING, "Images a step and process", min=1)] = 4
    accumulate: Annotated[int, flag(TRAINING, "Batches whose gradients make one step", min=1)] = 1
    optimizer: Annotated[
        choice(["adamw", "adam", "sgd", "rmsprop", "adagrad"]), flag(TRAINING, "Update rule")
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
    schedule: Annotated[
        choice(["poly", "cosine", "linear", "step", "inverse-sqrt", "constant"]),
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
    out: Annotated[Path, flag(OUTPUT, "Folder for numbered run folders")] = Path("runs")
    save_minutes: Annotated[
        float,
        flag(OUTPUT, "Minutes between saves inside an epoch; 0 saves after every step", min=0),
    ] = 5.0
    resume: Annotated[
        Path | None, flag(RUN, "Continue this run folder, bit-exactly, from its last save")
    ] = None
    devices: Annotated[int, flag(RUN, "Processes that train together", min=1)] = 1
    channels_last: Annotated[
        choice(["auto", "on", "off"]), flag(RUN, "Memory order NHWC; auto is on")
    ] = "auto"
    offline: Annotated[bool, flag(RUN, "Never use the network; say what is missing")] = False


_BACKBONE_HELP = "Feature extractor; see 'cvkit models'"
_SCALES_HELP = "Average over flip, over scales, or 'flip,scales'"
_WINDOW_HELP = (
    "Run windows of the model's image size over the image at its own resolution and average"
)


@dataclass(frozen=True, kw_only=True)
class SegmentTrain(Train):
    """Train a semantic segmentation model.

    Layouts: VOC (JPEGImages, SegmentationClass, ImageSets/Segmentation) and pairs
    (images/SPLIT, masks/SPLIT), found by looking at the folder.
    """

    arch: Annotated[choice(ARCHS["segment"]), flag(MODEL, "Decoder; see 'cvkit models'")] = "unet"
    backbone: Annotated[choice(BACKBONES), flag(MODEL, _BACKBONE_HELP)] = "resnet18"
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
        bool, flag(MODEL, "Transposed convolutions that start bilinear (fcn-32s, -16s, -8s)")
    ] = False
    format: Annotated[choice(["auto", "voc", "pairs"]), flag(DATA, "Layout of --data")] = "auto"
    image_size: Annotated[
        str, flag(DATA, "WIDTHxHEIGHT of training crops; auto: the data's, at most 512")
    ] = "auto"
    resize: Annotated[
        choice(["fit", "native"]),
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
class Eval(Job):
    """Flags that evaluation has for every task."""

    weights: Annotated[
        str | None, flag(MODEL, "Run folder, .safetensors file, or a name in weights/")
    ] = None
    data: Annotated[str | None, flag(DATA, "Dataset folder, or 'samples'; for --weights")] = None
    predictions: Annotated[
        Path | None, flag(DATA, "Folder of predictions to score instead of a model")
    ] = None
    truth: Annotated[Path | None, flag(DATA, "Dataset or mask folder to score them with")] = None
    split: Annotated[str, flag(DATA, "Split to evaluate")] = "val"
    batch_size: Annotated[int, flag(RUN, "Images a forward pass", min=1)] = 4
    fail_under: Annotated[
        list[str], flag(OUTPUT, "Exit 4 if METRIC=NUMBER is not reached; may repeat")
    ] = dataclasses.field(default_factory=list)
    out: Annotated[Path, flag(OUTPUT, "Folder for numbered report folders")] = Path("runs")
    files: Annotated[bool, flag(OUTPUT, "Write report files, not only what is printed")] = True


@dataclass(frozen=True, kw_only=True)
class SegmentEval(Eval):
    """Measure a semantic segmentation model, or score a folder of masks."""

    format: Annotated[choice(["auto", "voc", "pairs"]), flag(DATA, "Layout of the data")] = "auto"
    ignore_index: Annotated[
        int | None,
        flag(DATA, "Mask value of pixels without a label; the model's, else 255", min=0, max=255),
    ] = None
    mask_map: Annotated[
        str | None,
        flag(DATA, "Replace mask values or colours of the truth; the model's by default"),
    ] = None
    absent_class: Annotated[
        choice(["exclude", "zero", "nan"]),
        flag(OUTPUT, "How a class in neither truth nor prediction enters mIoU"),
    ] = "exclude"
    sliding_window: Annotated[bool, flag(MODEL, _WINDOW_HELP)] = False
    tta: Annotated[str | None, flag(MODEL, _SCALES_HELP)] = None


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
    weights: Annotated[
        str | None, flag(MODEL, "Run folder, .safetensors file, or a name in weights/")
    ] = None
    out: Annotated[Path, flag(OUTPUT, "Folder for the results; mirrors the inputs")] = Path("out")
    overwrite: Annotated[bool, flag(OUTPUT, "Replace results in --out")] = False
    resume: Annotated[bool, flag(RUN, "Skip what --out already holds; retries failures")] = False
    batch_size: Annotated[int, flag(RUN, "Images a forward pass", min=1)] = 4
    max_failures: Annotated[
        int, flag(RUN, "Stop when this many inputs failed; 0: never", min=0)
    ] = 0


@dataclass(frozen=True, kw_only=True)
class SegmentPredict(Predict):
    """Segment images: a palette PNG, an overlay and a line of JSON for each."""

    overlay: Annotated[
        choice(["png", "jpg", "none"]), flag(OUTPUT, "Image with the classes drawn over it")
    ] = "png"
    sliding_window: Annotated[bool, flag(MODEL, _WINDOW_HELP)] = False
    tta: Annotated[str | None, flag(MODEL, _SCALES_HELP)] = None


@dataclass(frozen=True, kw_only=True)
class Models(Command):
    """List architectures and backbones with their parameters and GMACs."""

    task: Annotated[
        choice(TASKS) | None, typer.Argument(help="Only this task", show_default=False)
    ] = None


@dataclass(frozen=True, kw_only=True)
class Samples(Command):
    """Write built-in synthetic scenes as a dataset: the same seed, the same files."""

    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New or empty folder")]
    task: Annotated[choice(TASKS), flag(DATA, "Task whose labels to write")] = "segment"
    count: Annotated[int, flag(DATA, "Scenes; a fifth of them become the val split", min=2)] = 50
    seed: Annotated[int, flag(DATA, "Decides every scene", min=0, max=2**31 - 1)] = 0
    size: Annotated[int, flag(DATA, "Width and height in pixels", min=32, max=2048)] = 128


OPTIONS: dict[str, type[Command] | dict[str, type[Command]]] = {
    "segment": {"train": SegmentTrain, "eval": SegmentEval, "predict": SegmentPredict},
    "models": Models,
    "samples": Samples,
}
"""The command tree: task -> verb -> options, and the commands without a task."""


def hints(options_class: type[Command]) -> dict[str, object]:
    """Return the annotated type of each flag."""
    return typing.get_type_hints(options_class, include_extras=True)
