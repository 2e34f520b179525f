"""Training flags that contradict each other, and flags that have no effect with others."""

from collections.abc import Iterator
from pathlib import Path

from cvkit import catalog
from cvkit.engine.optim import Milestones, milestones
from cvkit.errors import UsageError
from cvkit.models.weights import require_source
from cvkit.options.base import Train
from cvkit.options.classify import ClassifyTrain
from cvkit.options.described import differs
from cvkit.options.detect import DetectTrain, TwoStageTrain
from cvkit.options.segment import SegmentTrain
from cvkit.options.video import VideoTrain
from cvkit.tasks.class_weights import CLASS_WEIGHTS
from cvkit.tasks.common import warned_flags
from cvkit.tasks.segment.setup import loss_terms

STEPS = (
    *("epochs", "accumulate", "optimizer", "lr", "momentum", "weight_decay", "l1", "l2"),
    *("schedule", "warmup_epochs", "clip_grad", "ema", "label_smoothing", "patience"),
    *("mixup", "cutmix", "loss", "class_weights", "augment", "erasing", "save_minutes"),
    *("freeze_backbone", "freeze", "dropout", "stochastic_depth", "checkpoint_gradients"),
    *("compile", "log"),
)
"""Flags about training in steps, which do not apply to a model that only keeps its examples."""

LARGEST = 1e37
"""Largest rate or factor; the limit of float32 is slightly above it."""

Rule = tuple[bool, tuple[str, ...], str]
"""(whether it applies, flags that then have no effect, the flag that causes this)."""


def require_sense(options: Train) -> None:
    """Check flags of every task against each other; reads no data.

    Raises:
        UsageError: names the first one that makes no sense.
    """
    epochs, until = options.epochs, options.unfreeze_at
    wrong = {
        f"--momentum {options.momentum:g} never forgets a gradient": (
            options.momentum >= 1,
            "a number below 1, such as 0.9",
        ),
        f"--ema {options.ema:g} never takes a step into the average": (
            options.ema >= 1,
            "a number below 1, such as 0.999",
        ),
        f"--warmup-epochs {options.warmup_epochs:g} is more than --epochs {epochs}: the learning "
        "rate never reaches --lr": (
            options.warmup_epochs > epochs,
            "fewer warm-up epochs, or more --epochs",
        ),
        f"--unfreeze-at {until} is after the last epoch of --epochs {epochs}": (
            until > epochs,
            "an earlier epoch, or omit it to freeze for the whole run",
        ),
        "--unfreeze-at 1 is the first epoch: nothing would ever be frozen": (
            until == 1,
            "a later epoch, or do not freeze layers",
        ),
        "--checkpoint-gradients chooses what is computed again, and so does --compile": (
            options.checkpoint_gradients and options.compile,
            "omit one of them",
        ),
    }
    for name in ("weights", "pretrained"):
        wrong[f"--{name} is empty"] = getattr(options, name) == "", "give a model, or omit it"
    for name in ("lr", "weight_decay", "l1", "l2", "clip_grad"):
        value, flag = getattr(options, name) or 0.0, name.replace("_", "-")
        wrong[f"--{flag} {value:g} is too large"] = value > LARGEST, "it would overflow"
    marks = _milestones(options)
    if marks and marks.epochs[-1] >= epochs:
        raise UsageError(
            f"--schedule {options.schedule}: no epoch follows epoch {marks.epochs[-1]} of "
            f"--epochs {epochs}",
            code="schedule.senseless",
            hint="give earlier epochs, or more --epochs",
        )
    for text, (holds, hint) in wrong.items():
        if holds:
            raise UsageError(text, code=f"{text.split()[0][2:]}.senseless", hint=hint)


def require_names(options: Train, task: str) -> None:
    """Check flags that take a name or a path; reads no data.

    Args:
        options: of the run.
        task: its key in `catalog.TASKS`.

    Raises:
        UsageError: an unknown name; the hint gives the nearest one, if any.
        ModelFileError: `--pretrained` names nothing that exists.
    """
    known, name = catalog.AUGMENTATIONS.get(task, catalog.VIEWS), options.augment
    if name not in known and not Path(name).is_file():
        listed = f"{', '.join(known)}, or an albumentations YAML or JSON file"
        raise UsageError(
            f"--augment {name} is neither an augmentation of {task} nor a file",
            code="augment.missing",
            hint=catalog.nearest(name, known, listed),
        )
    _milestones(options)
    weights = getattr(options, "class_weights", "none")
    if weights not in CLASS_WEIGHTS and not _are_numbers(weights):
        raise UsageError(
            f"--class-weights {weights!r} is neither a rule nor numbers",
            code="class_weights.syntax",
            hint=catalog.nearest(weights, CLASS_WEIGHTS, "none, balanced, sqrt, or 1,2,0.5"),
        )
    if options.pretrained is not None and not options.resume:
        backbone = getattr(options, "backbone", None) or getattr(options, "arch", None)
        families: tuple[str, ...] = ("imagenet",)
        if isinstance(options, VideoTrain):
            families = ("imagenet", "kinetics")
            images = catalog.CLIP_NETWORKS[options.arch].made_of_images
            backbone = backbone if images else None
        require_source(options.pretrained, backbone, families)


def _milestones(options: Train) -> Milestones | None:
    """Return the milestones of `--schedule`, if it has any; `auto` is the task's choice.

    Raises:
        UsageError: malformed.
    """
    is_open = options.schedule == "auto" and isinstance(options, TwoStageTrain)
    return None if is_open else milestones(options.schedule)


def _are_numbers(text: str) -> bool:
    try:
        return bool([float(part) for part in text.split(",")])
    except ValueError:
        return False


def idle_flags(options: Train, optimizer: str) -> dict[str, list[str]]:
    """Return the flags that differ from their defaults and have no effect, by the reason.

    Args:
        options: of the run.
        optimizer: that it uses.
    """
    rules: list[Rule] = [
        (optimizer not in ("sgd", "lars", "rmsprop"), ("momentum",), f"--optimizer {optimizer}"),
        (options.patience >= options.epochs, ("patience",), f"--epochs {options.epochs}"),
    ]
    if isinstance(options, ClassifyTrain) and _keeps_examples(options):
        rules = []  # they all concern training in steps
    rules += _of_task(options)
    found: dict[str, list[str]] = {}
    for holds, names, reason in rules:
        if given := [name for name in names if holds and differs(options, name)]:
            found[reason] = found.get(reason, []) + [f"--{n.replace('_', '-')}" for n in given]
    return found


def idle_words(options: Train, optimizer: str) -> list[str]:
    """Return a line for each reason that leaves flags without effect."""
    return [
        f"{', '.join(flags)} {'has' if len(flags) == 1 else 'have'} no effect with {reason}"
        for reason, flags in idle_flags(options, optimizer).items()
    ]


def _of_task(options: Train) -> Iterator[Rule]:
    """Yield the rules for the task of the options."""
    match options:
        case ClassifyTrain():
            yield from _classify(options)
        case SegmentTrain():
            yield from _segment(options)
        case DetectTrain():
            yield from _detect(options)
        case VideoTrain():
            yield from _video(options)


def _classify(options: ClassifyTrain) -> Iterator[Rule]:
    name = options.arch or options.backbone or "resnet18"
    reason = f"--arch {name}"
    keeps = _keeps_examples(options)
    yield keeps, STEPS, reason
    yield keeps and (options.backbone is None or bool(options.pretrained)), ("init",), reason
    yield True, warned_flags("classify", name), reason
    bare = options.backbone is None and name not in catalog.BACKBONES
    yield bare, ("stem",), reason


def _keeps_examples(options: ClassifyTrain) -> bool:
    return options.arch is not None and catalog.CLASSIFIERS[options.arch].gradient_free


def _segment(options: SegmentTrain) -> Iterator[Rule]:
    scaled = options.augment in ("light", "strong")
    yield not scaled, ("scale",), f"--augment {options.augment}"
    smooth = "ce" in loss_terms(options.loss)
    yield not smooth, ("label_smoothing",), f"--loss {options.loss}"
    whole = bool(catalog.BACKBONES[options.backbone].whole)
    yield whole, ("output_stride",), f"--backbone {options.backbone}"


def _detect(options: DetectTrain) -> Iterator[Rule]:
    yield True, warned_flags("detect", options.arch), f"--arch {options.arch}"
    yield options.proposals is not None, ("proposal_mode",), "--proposals"


def _video(options: VideoTrain) -> Iterator[Rule]:
    flips = options.augment in ("light", "strong", "lecture")
    yield not flips, ("flip",), f"--augment {options.augment}"
    spread = options.sampling == "uniform"
    yield spread, ("stride", "fps"), "--sampling uniform"
    spreads = catalog.CLIP_NETWORKS[options.arch].spreads_frames
    chosen = options.sampling == "auto" and spreads
    yield chosen, ("stride", "fps"), f"--arch {options.arch}, whose frames are spread over a video"
