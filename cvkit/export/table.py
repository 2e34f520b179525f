"""The form of each task's networks, and what can be left open in it."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from cvkit.errors import UsageError
from cvkit.export.detectors import DetectForm, InstanceForm
from cvkit.export.forms import (
    BATCH,
    SIZE,
    UNFIT,
    ClassifyForm,
    Form,
    Normalisation,
    SegmentForm,
    VideoForm,
)
from cvkit.tasks.contract import Task

FORMS: Mapping[str, type[Form]] = {
    "classify": ClassifyForm,
    "segment": SegmentForm,
    "detect": DetectForm,
    "instance": InstanceForm,
    "video": VideoForm,
}
"""The form of each task's networks."""


def form_of(task: Task[Any, Any, Any], network: nn.Module, name: str) -> Form:
    """Return the form of a model's network.

    Args:
        task: of the model.
        network: in evaluation mode, on the CPU.
        name: of the format.

    Raises:
        UsageError: this format cannot hold it; nothing has been converted yet.
    """
    kind = FORMS.get(task.name)
    reason = "cvkit has no form of its networks" if kind is None else kind.refusal(task, name)
    if kind is None or reason:
        raise UsageError(
            f"--format {name}: {task.name} models of --arch {task.network.arch} cannot be "
            f"exported: {reason}",
            code="export.unsupported",
            hint="docs/export.md lists what each format can hold",
        )
    return kind(network, scale_of(task))


@torch.inference_mode()
def open_axes(
    form: Form, wanted: str | None, shape: Sequence[int] | None, network: nn.Module
) -> tuple[str, ...]:
    """Return what is left open, of `BATCH` and `SIZE`.

    Args:
        form: that is exported.
        wanted: `--dynamic`.
        shape: of an input, channels first; None if sizes differ.
        network: of the form.

    Raises:
        UsageError: the form or the network has a fixed size or number of inputs.
    """
    if wanted is None:
        return tuple(axis for axis in form.dynamic if axis == BATCH or form.varies)
    chosen = () if wanted == "none" else tuple(wanted.split(","))
    for axis in chosen:
        if axis not in form.dynamic:
            raise UsageError(
                f"--dynamic {axis} is not available: {form.about}",
                code="dynamic.unsupported",
                hint=f"possible: {', '.join(form.dynamic) or 'none'}",
            )
    if SIZE in chosen and shape is not None:
        channels, height, width = shape[0], shape[-2], shape[-1]
        try:
            form.expected(network, form.scale, (torch.zeros(1, channels, height + 32, width),))
        except UNFIT as error:
            raise UsageError(
                "--dynamic size is not available: the network is made for inputs of "
                f"{width}x{height}",
                code="dynamic.unsupported",
                hint="--dynamic batch",
            ) from error
    return chosen


def scale_of(task: Task[Any, Any, Any]) -> Normalisation:
    """Return the normalisation of a model's inputs."""
    made: Any = getattr(task, "preprocessing", None)
    return Normalisation(tuple(made.mean), tuple(made.std))
