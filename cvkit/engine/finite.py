"""Stopping a run at the step where a number stops being finite."""

from collections.abc import Sequence

import torch
from lightning_fabric import Fabric
from torch import Tensor

from cvkit.errors import TrainingDiverged
from cvkit.structures import Batch


def require_finite(tensors: dict[str, Tensor], where: str) -> None:
    """Do nothing if all numbers are finite.

    Raises:
        TrainingDiverged: names the first tensor with NaN or infinity.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise TrainingDiverged(
                f"{name} has a non-finite number at {where}; it was not saved",
                code="diverged.weights",
                hint="use a smaller --lr, or resume from the last save",
            )


def require_finite_loss(fabric: Fabric, terms: dict[str, Tensor], batch: Batch, step: int) -> None:
    """Do nothing if the loss terms are finite in all processes.

    Raises:
        TrainingDiverged: names the terms and the images of this process's batch.
    """
    finite = torch.isfinite(torch.stack([t.detach().float() for t in terms.values()]))
    processes = fabric.all_reduce(finite.all().float(), reduce_op="sum")
    if processes == fabric.world_size:
        return
    names = [name for name, fine in zip(terms, finite.tolist(), strict=True) if not fine]
    what = f"loss term {', '.join(names)} is not finite" if names else "another process failed"
    raise TrainingDiverged(
        f"{what} at step {step}; images: {_images([batch])}",
        code="diverged.loss",
        hint="this step was not saved; use a smaller --lr, or check the images",
    )


def require_finite_gradient(norm: Tensor, batches: Sequence[Batch], step: int) -> None:
    """Do nothing if the norm of the gradient is finite.

    Raises:
        TrainingDiverged: names the images of the step.
    """
    if not torch.isfinite(norm):
        raise TrainingDiverged(
            f"the gradient is not finite at step {step}; images: {_images(batches)}",
            code="diverged.gradient",
            hint="this step was not saved; use a smaller --lr, or --precision fp32",
        )


def _images(batches: Sequence[Batch]) -> str:
    return ", ".join(sample.path for batch in batches for sample in batch.samples)
