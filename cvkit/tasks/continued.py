"""Training that starts from a trained model: its network, its inputs and its weights."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from cvkit import catalog
from cvkit.console import Reporter
from cvkit.data.classes import class_key
from cvkit.errors import ModelFileError, UsageError
from cvkit.model_files import fits
from cvkit.models.trials import on_meta
from cvkit.options.base import Train
from cvkit.options.detect import INSTEAD
from cvkit.options.job import with_given
from cvkit.structures import ClassList
from cvkit.tasks.contract import Task
from cvkit.tasks.trained import read_trained
from cvkit.texts import counted


@dataclass(frozen=True)
class Start:
    """The model from which training starts (`--weights`)."""

    path: Path
    tensors: dict[str, Tensor]
    header: dict[str, Any]


def read_start(options: Train, task_name: str) -> tuple[Train, Start | None]:
    """Return the options with the network of the model that `--weights` names, and the model.

    Flags that were given are kept; whether the weights fit then is checked later. A resumed run has
    its own weights already.

    Raises:
        UsageError: `--pretrained` is given too.
        ModelFileError: the file is missing, damaged, or for another task.
    """
    if options.weights is None or options.resume:
        return options, None
    if options.pretrained:
        raise UsageError(
            f"--weights {options.weights} and --pretrained {options.pretrained} cannot be combined",
            code="weights.pretrained",
            hint="--weights loads the backbone too",
        )
    path, tensors, header = read_trained(options.weights, options, task_name)
    kind = header.get("task")
    if kind != task_name:
        raise ModelFileError(
            f"{path} is a model for task {kind!r}, not {task_name!r}",
            code="model.task",
            hint="load its backbone with --pretrained",
        )
    flags = catalog.resolve(catalog.TASKS[task_name]).flags_of(header)
    settled = options.given.union(*(INSTEAD.get(name, ()) for name in options.given))
    changed = {name: value for name, value in flags.items() if name not in settled}
    return with_given(replace(options, **changed), options.given), Start(path, tensors, header)


def take_over(start: Start, task: Task, model: nn.Module, report: Reporter) -> None:
    """Load all weights of a model; those that depend on the classes only if the classes are equal.

    Args:
        start: the model.
        task: of the training.
        model: its network, freshly initialised; changed in place.
        report: for what was loaded and what was not.

    Raises:
        UsageError: the model has no trainable weights.
        ModelFileError: the network is another one.
    """
    if task.gradient_free:
        raise UsageError(
            f"--weights: --arch {task.network.arch} has no trainable weights",
            code="weights.unsupported",
            hint="load the backbone whose features it compares with --pretrained",
        )
    then = [row["name"] for row in start.header["classes"]]
    same = [*map(class_key, then)] == [*map(class_key, task.classes.names)]
    state = model.state_dict()
    anew = set(getattr(model, "fitted_names", ()))  # computed from the weights after training
    if not same:
        anew |= _class_tensors(task, state)
    wanted = [name for name in state if name not in anew]
    wrong = [n for n in wanted if n not in start.tensors or not fits(start.tensors[n], state[n])]
    if wrong:
        network = start.header["network"]
        parts = dict.fromkeys(filter(None, (network.get("arch"), network.get("backbone"))))
        raise ModelFileError(
            f"--weights {start.path} is another network ({', '.join(parts)}): "
            f"{counted(len(wrong), 'tensor')} missing or of another shape or type, such as "
            f"{wrong[0]}",
            code="weights.mismatch",
            hint="omit the flags of the network; they are read from the file",
        )
    model.load_state_dict({name: start.tensors[name] for name in wanted}, strict=False)
    report.say(f"initial weights: {start.path}, {counted(len(wanted), 'tensor')}")
    if not same:
        report.say(
            f"the classes differ from the model's ({_some(then)}): tensors that depend on them "
            f"and are re-initialised: {len(anew)}"
        )


def _class_tensors(task: Task, tensors: dict[str, Tensor]) -> set[str]:
    """Return the names of the tensors whose shape depends on the number of classes."""
    known = task.classes
    more = ((*known.names, "another"), (*known.ids, -1), (*known.colors, (0, 0, 0)))
    twin = task.with_classes(ClassList(*more))
    with on_meta():
        shapes = {name: value.shape for name, value in twin.build().state_dict().items()}
    return {name for name, value in tensors.items() if shapes[name] != value.shape}


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (" ..." if len(names) > 8 else "")
