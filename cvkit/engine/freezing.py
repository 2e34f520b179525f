"""Layers that are not trained, or not yet."""

from torch import nn

from cvkit.catalog import nearest
from cvkit.errors import UsageError


class Freezing:
    """The frozen parameters, and until when they are frozen.

    Args:
        model: whose parameters are frozen.
        layers: names of layers or parameters, separated by commas; a name covers everything
            inside it.
        until: number (from 1) of the epoch from which they are trained; 0: never.

    Raises:
        UsageError: a name is not in the model.
    """

    def __init__(self, model: nn.Module, layers: str, until: int = 0) -> None:
        parameters = dict(model.named_parameters())
        self.until, self.resting = until, []
        for layer in filter(None, (part.strip() for part in layers.split(","))):
            found = [p for name, p in parameters.items() if f"{name}.".startswith(f"{layer}.")]
            if not found:
                known = [name for name, _ in model.named_modules() if name]
                raise UsageError(
                    f"--freeze {layer}: the model has no layer of that name with weights",
                    code="freeze.unknown",
                    hint=nearest(layer, known),
                )
            self.resting += [parameter for parameter in found if parameter.requires_grad]
        if until and not self.resting:
            raise UsageError(
                f"--unfreeze-at {until} has no effect without frozen layers",
                code="freeze.nothing",
                hint="freeze some with --freeze",
            )
        resting = {id(parameter) for parameter in self.resting}
        training = {id(parameter) for parameter in parameters.values() if parameter.requires_grad}
        if resting and resting >= training:
            when = f" before epoch {until}" if until else ""
            raise UsageError(
                f"--freeze {layers}: nothing is left to train{when}",
                code="freeze.everything",
                hint="do not freeze the last layers",
            )
        if not until:
            self.apply(0)

    def apply(self, epoch: int) -> None:
        """Freeze or unfreeze the parameters for an epoch, counted from 0."""
        for parameter in self.resting:
            parameter.requires_grad_(not self._rests(epoch))

    def _rests(self, epoch: int) -> bool:
        return not self.until or epoch + 1 < self.until

    def untouched(self, step: int, steps_per_epoch: int) -> set[int]:
        """Return the ids of the parameters that have not changed after `step` steps."""
        if step and not self._rests((step - 1) // steps_per_epoch):
            return set()
        return {id(parameter) for parameter in self.resting}


def rest_statistics(model: nn.Module) -> None:
    """Keep the running statistics of batch norms without trainable weights."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d) and layer.weight is not None:
            layer.train(layer.training and layer.weight.requires_grad)
