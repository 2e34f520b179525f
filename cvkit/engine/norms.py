"""Batch norms that get one value to normalise, from which nothing can be learned."""

import copy

import torch
from torch import Tensor, nn

from cvkit.engine.freezing import rest_statistics
from cvkit.engine.progress import Settings
from cvkit.engine.sampler import batch_plan
from cvkit.errors import UsageError
from cvkit.tasks.contract import Dataset, Task
from cvkit.texts import counted

NORMS = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d


def rest_where_alone(model: nn.Module) -> None:
    """Make batch norms use their running statistics for a batch with one value per channel.

    This happens with a small last batch and a map of one pixel: the variance is 0, and torch
        refuses it.
    """
    for layer in _norms(model).values():
        rest = _Rest()
        layer.register_forward_pre_hook(rest.begin)
        layer.register_forward_hook(rest.end, always_call=True)


def require_company(
    task: Task, model: nn.Module, data: Dataset, settings: Settings, devices: int
) -> None:
    """Check that the training batches have more than one value for each batch norm.

    The check runs a copy on the meta device with the first batch's size; data of different sizes
    are left to `rest_where_alone`.

    Args:
        task: the problem.
        model: as training gets it; not changed.
        data: training samples.
        settings: of the run.
        devices: processes that train together.

    Raises:
        UsageError: all batches have one sample, of which a norm gets one value.
    """
    plan = batch_plan(len(data), 0, settings, 0, devices)
    if task.input_shape is None or not plan or len(plan[0]) > 1:
        return
    twin = copy.deepcopy(model).to("meta").train()
    rest_statistics(twin)
    alone: list[str] = []
    for name, layer in _norms(twin).items():
        layer.register_forward_pre_hook(
            lambda norm, given, name=name: alone.append(name) if _is_alone(norm, given[0]) else None
        )
    rest_where_alone(twin)
    with torch.no_grad():
        twin(torch.empty(1, *task.input_shape, device="meta"))
    if not alone:
        return
    size = "x".join(map(str, task.input_shape[:0:-1]))
    why, hint = f"--batch-size {settings.batch_size}", "--batch-size 2"
    if settings.batch_size > 1:
        why = f"{counted(len(data), 'training image')}, --accumulate {settings.accumulate}"
        why += f" and --devices {devices}" if devices > 1 else ""
        hint = "more images, or a smaller --accumulate"
    raise UsageError(
        f"{why}: batches have one sample, of which the batch norm {alone[0]} gets one value per "
        f"channel at input size {size}",
        code="batch_size.min",
        hint=hint,
    )


def _norms(model: nn.Module) -> dict[str, nn.Module]:
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, NORMS)}


def _is_alone(norm: nn.Module, maps: Tensor) -> bool:
    return norm.training and maps.numel() == maps.shape[1]


class _Rest:
    """Takes a batch norm out of training for one forward pass."""

    def __init__(self) -> None:
        self.rests = False

    def begin(self, norm: nn.Module, given: tuple[Tensor, ...]) -> None:
        """Before the pass: use the running statistics if there is one value per channel."""
        self.rests = _is_alone(norm, given[0])
        norm.training = norm.training and not self.rests

    def end(self, norm: nn.Module, given: tuple[Tensor, ...], found: Tensor | None) -> None:
        """After the pass, or after its failure: train again."""
        norm.training = norm.training or self.rests
