"""Which methods are used, and on which layers: checked on the first sample, before any work."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from cvkit.catalog import listed_names
from cvkit.engine.loader import read_sample, stack
from cvkit.errors import CvkitError, UsageError
from cvkit.explain.attention import attention_names, no_attention, require_attention
from cvkit.explain.layers import Layer, default_layer, find_layers, require_layer
from cvkit.options.explain import (
    ATTENTION_METHODS,
    GRADIENT_METHODS,
    LAYER_METHODS,
    METHODS,
    PATCHES,
    SETS,
    USED_BY,
)
from cvkit.structures import Batch, Failure
from cvkit.tasks.contract import Dataset, Task
from cvkit.tasks.explainable import Explainable, Question, Target


@dataclass(frozen=True)
class Plan:
    """The methods and their layers.

    Attributes:
        methods: in the order of the table.
        layers: of the methods that look at one.
    """

    methods: tuple[str, ...]
    layers: dict[str, str]


def chosen_methods(text: str) -> tuple[str, ...]:
    """Return the methods that `--method` names, in the order of the table.

    Raises:
        UsageError: an unknown one, or some that cannot be combined.
    """
    names = SETS.get(text) or listed_names(text, (*METHODS, PATCHES), "--method")
    if PATCHES in names:
        if len(names) > 1:
            raise UsageError(
                f"--method {text}: {PATCHES} cannot be combined with maps",
                code="method.combined",
                hint="run the command twice",
            )
        return names
    return tuple(name for name in METHODS if name in names)


def sample_at(data: Dataset, index: int, device: torch.device) -> Batch | Failure:
    """Return a sample as a batch of one on a device, or why there is none."""
    item = stack([read_sample(data, (index, 0))])[0]
    return item if isinstance(item, Failure) else item.to(device)


def first_question(
    data: Dataset, explained: Explainable, target: Target, device: torch.device
) -> Question | None:
    """Return the question about the first sample that has one; None if no sample has."""
    for index in range(len(data)):
        batch = sample_at(data, index, device)
        if isinstance(batch, Failure):
            continue
        try:
            return explained.ask(batch, target)
        except CvkitError:  # it is reported when the sample is explained
            continue
    return None


def plan_of(
    methods: str,
    layer: str | None,
    task: Task,
    model: nn.Module,
    explained: Explainable,
    question: Question,
) -> Plan:
    """Return the plan for a network.

    Args:
        methods: `--method`.
        layer: `--layer`.
        task: of the model.
        model: the network.
        explained: the same, as explanations see it.
        question: about any sample.

    Raises:
        UsageError: the network lacks what a method needs, or has no such layer.
    """
    names, wide = chosen_methods(methods), methods in SETS
    smooth = not task.gradient_free
    layers = (
        find_layers(model, explained, question) if smooth and {*names} & {*LAYER_METHODS} else []
    )
    able = dict.fromkeys(METHODS, True)
    able |= dict.fromkeys(GRADIENT_METHODS, smooth)
    able |= dict.fromkeys(LAYER_METHODS, smooth and any(each.matters for each in layers))
    able |= dict.fromkeys(ATTENTION_METHODS, bool(attention_names(model)))
    for name in names:
        if not able[name] and not wide:
            raise _unable(name, smooth)
    chosen = tuple(name for name in names if able[name])
    if not chosen:
        raise _unable("gradient", smooth)
    return Plan(chosen, _layers(chosen, layer, model, explained, layers, question))


def _layers(
    methods: Sequence[str],
    layer: str | None,
    model: nn.Module,
    explained: Explainable,
    layers: list[Layer],
    question: Question,
) -> dict[str, str]:
    """Return the layers of the methods that look at one."""
    if layer is not None and not {*methods} & {*USED_BY["layer"]}:
        raise UsageError(
            f"--layer has no effect on {', '.join(methods)}",
            code="layer.idle",
            hint=f"it belongs to {', '.join(USED_BY['layer'])}",
        )
    mapped = [name for name in methods if name in LAYER_METHODS]
    attends = layer is not None and layer in attention_names(model)
    found: dict[str, str] = {}
    if "attention" in methods:
        found["attention"] = require_attention(model, "" if mapped and not attends else layer or "")
    for name in mapped:
        if layer is None or (attends and "attention" in methods):
            found[name] = default_layer(model, explained, layers, question)
        else:
            found[name] = require_layer(layers, layer)
    return found


def _unable(method: str, smooth: bool) -> UsageError:
    if method in ATTENTION_METHODS:
        return no_attention(method)
    if smooth:
        return UsageError(
            f"--method {method} needs a layer whose output is a map of the input, and this network "
            "has none",
            code="method.unsupported",
            hint="--method gradient,integrated-gradients,occlusion",
        )
    return UsageError(
        f"--method {method} needs a gradient, and the scores of this model have none",
        code="method.unsupported",
        hint="--method occlusion",
    )
