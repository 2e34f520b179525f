"""Stopping a run at the step where a number stops being finite."""

from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class _Checked:
    """Numbers of a step that have not been read yet.

    Attributes:
        names: of the loss terms; empty for the norm of the gradient.
        fine: [terms] bool on the device, whether they are finite.
        paths: of the images they come from.
        step: from 1.
    """

    names: tuple[str, ...]
    fine: Tensor
    paths: Sequence[str]
    step: int


class FiniteChecks:
    """Finds the first step with a number that is not finite, without waiting for the device.

    Args:
        fabric: device and processes.

    Attributes:
        skip: 1.0 on the device from that step on, else 0.0: what fused optimizers read as
            `found_inf` to leave the weights as they are.
    """

    def __init__(self, fabric: Fabric) -> None:
        self.fabric, self._unread = fabric, list[_Checked]()
        self.skip = torch.zeros((), device=fabric.device)

    def loss(self, terms: dict[str, Tensor], batch: Batch, step: int) -> None:
        """Note the loss terms of a batch, to be checked by the next `require`."""
        numbers = torch.stack([term.detach().float() for term in terms.values()])
        self._note(tuple(terms), numbers, [batch], step)

    def gradient(self, norm: Tensor, batches: Sequence[Batch], step: int) -> None:
        """Note the norm of a step's gradient, to be checked by the next `require`."""
        self._note((), norm.detach().reshape(1), batches, step)

    def _note(
        self, names: tuple[str, ...], numbers: Tensor, batches: Sequence[Batch], step: int
    ) -> None:
        fine = torch.isfinite(numbers)
        self.skip = torch.maximum(self.skip, 1.0 - fine.all().float())
        paths = [sample.path for batch in batches for sample in batch.samples]
        self._unread.append(_Checked(names, fine, paths, step))

    def require(self, *, together: bool = True) -> None:
        """Do nothing if everything noted since the last call is finite in all processes.

        Args:
            together: all processes call this, after as many notes.

        Raises:
            TrainingDiverged: names the first step that is not, and the terms and images of this
                process.
        """
        noted, self._unread = self._unread, []
        if not noted:
            return
        flags = torch.cat([each.fine for each in noted]).tolist()  # waits for the device
        fine = [[flags.pop(0) for _ in each.fine] for each in noted]
        first = next((place for place, each in enumerate(fine) if not all(each)), len(noted))
        if together and self.fabric.world_size > 1:
            place = torch.tensor(first, device=self.fabric.device)
            torch.distributed.all_reduce(place, torch.distributed.ReduceOp.MIN)
            first = int(place)
        if first < len(noted):
            raise _diverged(noted[first], fine[first])


def _diverged(found: _Checked, fine: list[bool]) -> TrainingDiverged:
    """Return the error about numbers that are not finite here or in another process."""
    if all(fine):
        what = "another process failed"
    elif found.names:
        names = [name for name, good in zip(found.names, fine, strict=True) if not good]
        what = f"loss term {', '.join(names)} is not finite"
    else:
        what = "the gradient is not finite"
    hint = "use a smaller --lr, or " + ("check the images" if found.names else "--precision fp32")
    return TrainingDiverged(
        f"{what} at step {found.step}; images: {', '.join(found.paths)}",
        code="diverged.loss" if found.names else "diverged.gradient",
        hint=f"this step was not saved; {hint}",
    )
