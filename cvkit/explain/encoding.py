"""The features that a layer makes of many samples: rows of numbers, or maps, batch by batch."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from cvkit.catalog import nearest
from cvkit.engine.inference import by_size, read_ahead
from cvkit.engine.loader import in_order, read_sample, stack
from cvkit.errors import UsageError
from cvkit.explain.layers import as_maps, hooked, modules_of
from cvkit.structures import Batch, Failure
from cvkit.tasks.contract import Dataset
from cvkit.tasks.explainable import Explainable, Seen


@dataclass(frozen=True)
class Output:
    """What a layer gives for each sample.

    Attributes:
        name: of the layer in the network.
        width: numbers of a sample, or channels of its maps.
        places: of a map; 0 for a layer that gives no maps.
    """

    name: str
    width: int
    places: int


def maps_of(output: Tensor, count: int, seen: Seen) -> list[Tensor] | None:
    """Return the [T, C, h, w] maps that a layer gives for each sample; None if it gives none.

    Args:
        output: of the layer for a batch.
        count: of samples in it.
        seen: what the network saw of them; padding is cut off.
    """
    if len(output) % count or output.ndim < 3:
        return None
    found = []
    for part in output.unflatten(0, (count, -1)):
        maps = as_maps(part, seen.size)
        if maps is None:
            return None
        sides = zip(maps.shape[-2:], seen.share_hw, strict=True)
        high, wide = (max(1, round(side * share)) for side, share in sides)
        found.append(maps[..., :high, :wide])
    return found


def rows_of(output: Tensor, count: int, seen: Seen) -> Tensor | None:
    """Return [N, D], the mean over places and frames of what a layer gives; None if it cannot be.

    Args:
        output: of the layer for a batch.
        count: N, the samples in it.
        seen: what the network saw of them.
    """
    if output.ndim < 2 or len(output) % count or not output.is_floating_point():
        return None
    if all(side == 1 for side in output.shape[2:]):  # a row each, or maps of one place
        return output.flatten(1).float().unflatten(0, (count, -1)).mean(1)
    maps = maps_of(output, count, seen)
    if maps is None:
        return None
    return torch.stack([each.float().mean((0, 2, 3)) for each in maps])


@torch.inference_mode()
def outputs_of(model: nn.Module, explained: Explainable, batch: Batch) -> list[Output]:
    """Return the layers that give rows or maps, in the order in which they end.

    Args:
        model: the network.
        explained: says which part is watched.
        batch: of one sample.
    """
    shapes: dict[str, torch.Size] = {}

    def see(name: str, output: Tensor) -> Tensor:
        shapes.pop(name, None)
        if output.is_floating_point():
            shapes[name] = output.shape
        return output

    with hooked(model, modules_of(model, explained.mapped), see):
        seen = explained.encode(batch)
    found = []
    for name, shape in shapes.items():
        shown = torch.empty(shape, device="meta")
        rows, maps = rows_of(shown, 1, seen), maps_of(shown, 1, seen)
        if rows is not None:
            places = maps[0].shape[-2] * maps[0].shape[-1] if maps else 0
            found.append(Output(name, rows.shape[1], places))
    return found


def choose_output(
    model: nn.Module, explained: Explainable, outputs: list[Output], name: str | None
) -> Output:
    """Return the layer that is asked for, or the one that describes a sample as a whole.

    That is the backbone, where it gives a row; else its last layer with the coarsest maps.

    Raises:
        UsageError: there is no such layer; the hint lists them, or names the nearest.
    """
    known = {each.name: each for each in outputs}
    if name is not None:
        return _named(name, known)
    inside = modules_of(model, explained.body)
    whole = next((n for n, module in inside.items() if module is explained.body), "")
    if whole in known and not known[whole].places:
        return known[whole]
    shown = [each for each in outputs if each.places and each.name in inside]
    if not shown:
        raise _no_layer()
    fewest = min(each.places for each in shown)
    return [each for each in shown if each.places == fewest][-1]


def _no_layer() -> UsageError:
    return UsageError("this network has no layer whose output can be used", code="layer.missing")


def _named(name: str, known: dict[str, Output]) -> Output:
    if not known:
        raise _no_layer()
    if name not in known:
        raise UsageError(
            f"--layer {name!r} is no layer whose output can be used",
            code="layer.unknown",
            hint=nearest(name, known, ", ".join(known)),
        )
    return known[name]


def choose_maps(outputs: list[Output], name: str) -> Output:
    """Return a layer that gives maps.

    Raises:
        UsageError: there is no such layer; the hint lists them, or names the nearest.
    """
    return _named(name, {each.name: each for each in outputs if each.places})


def first_batch(data: Dataset, device: torch.device) -> Batch | None:
    """Return the first sample that can be read, as a batch of one; None if there is none."""
    for index in range(len(data)):
        item = stack([read_sample(data, (index, 0))])[0]
        if isinstance(item, Batch):
            return item.to(device)
    return None


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """A network whose layer is watched.

    Attributes:
        model: the network, in evaluation mode on the device.
        explained: the same, as explanations see it.
        fabric: device and precision.
        layer: that is watched.
        batch_size: samples per forward pass.
        workers: see `cvkit.engine.inference.read_ahead`.
        pause: called after each batch; it may raise `Interrupted`.
    """

    model: nn.Module
    explained: Explainable
    fabric: Fabric
    layer: Output
    batch_size: int
    workers: int
    pause: Callable[[], None]

    def batches(self, data: Dataset) -> Iterator[tuple[list[int], Batch | Failure]]:
        """Yield samples of one size together, with their places in the dataset."""
        keys = in_order(len(data), self.batch_size)
        with read_ahead(data, keys, self.workers, self.fabric.device) as loaded:
            for placed in by_size(loaded, self.batch_size, data):
                yield placed
                self.pause()

    @torch.inference_mode()
    def output(self, batch: Batch) -> tuple[Tensor, Seen]:
        """Return what the layer gives for a batch, and what the network saw."""
        kept: list[Tensor] = []

        def see(name: str, output: Tensor) -> Tensor:
            kept[:] = [output.clone()]  # a later layer may change it in place
            return output

        module: dict[str, Any] = {self.layer.name: self.model.get_submodule(self.layer.name)}
        with hooked(self.model, module, see), self.fabric.autocast():
            seen = self.explained.encode(batch.to(self.fabric.device))
        return kept[0], seen

    def rows(self, batch: Batch) -> Tensor:
        """Return the [N, D] float32 rows of a batch, on the CPU."""
        output, seen = self.output(batch)
        rows = rows_of(output, len(batch), seen)
        assert rows is not None, "the layer was chosen by its shape"
        return rows.cpu()

    def maps(self, batch: Batch) -> list[Tensor]:
        """Return the [T, C, h, w] maps of each sample of a batch."""
        output, seen = self.output(batch)
        maps = maps_of(output, len(batch), seen)
        assert maps is not None, "the layer was chosen by its shape"
        return maps
