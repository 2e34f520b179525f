"""The parts of images at which channels of a layer are largest.

Source: Visualizing and Understanding Convolutional Networks, 2013, arXiv:1311.2901.
"""

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from cvkit.console import Advance
from cvkit.explain.encoding import Encoder, Output, maps_of
from cvkit.explain.layers import hooked
from cvkit.structures import Batch, Failure
from cvkit.tasks.contract import Dataset
from cvkit.tasks.explainable import Explainable, Seen


@dataclass
class Strongest:
    """The inputs in which channels are largest, and where; each input counts once per channel.

    Attributes:
        values: [C, K] largest values of channels, decreasing; -inf where there are fewer inputs.
        inputs: [C, K] places of the inputs in the dataset.
        places: [C, K, 3] frame, row and column in the maps.
    """

    values: Tensor
    inputs: Tensor
    places: Tensor

    @classmethod
    def empty(cls, channels: int, count: int) -> "Strongest":
        """Return the state before the first input."""
        return cls(
            torch.full((channels, count), -torch.inf),
            torch.full((channels, count), -1),
            torch.zeros(channels, count, 3, dtype=torch.long),
        )

    def add(self, number: int, maps: Tensor) -> None:
        """Add the [T, C, h, w] maps of an input; of equal values the earlier input stays first."""
        _, _, height, width = maps.shape
        flat = maps.movedim(1, 0).flatten(1).float().cpu()  # [C, T * h * w]
        value, at = flat.max(1)
        frame, row, column = at // (height * width), at // width % height, at % width
        values = torch.cat([self.values, value[:, None]], 1)
        inputs = torch.cat([self.inputs, torch.full((len(value), 1), number)], 1)
        places = torch.cat([self.places, torch.stack((frame, row, column), 1)[:, None]], 1)
        order = values.sort(dim=1, descending=True, stable=True).indices[:, :-1]
        self.values, self.inputs = values.gather(1, order), inputs.gather(1, order)
        self.places = places.gather(1, order[..., None].expand(-1, -1, 3))


def strongest(
    encoder: Encoder, data: Dataset, channels: Sequence[int], count: int, advance: Advance
) -> tuple[Strongest, list[Failure]]:
    """Return where channels of a layer are largest in a dataset, and what could not be read.

    In memory are the maps of one batch, and `count` places per channel.

    Args:
        encoder: the network and its layer, which gives maps.
        data: the inputs.
        channels: of the layer.
        count: inputs of each channel.
        advance: shows the progress.

    Raises:
        Interrupted: a signal came.
    """
    found, failed = Strongest.empty(len(channels), count), {}
    waiting: dict[int, Tensor] = {}
    turn = done = 0
    for places, item in encoder.batches(data):
        if isinstance(item, Failure):
            failed[places[0]] = item
        else:
            for place, maps in zip(places, encoder.maps(item), strict=True):
                waiting[place] = maps[:, list(channels)].cpu()
        done += len(places)
        while turn in waiting or turn in failed:  # in order, so that ties do not depend on sizes
            if turn in waiting:
                found.add(turn, waiting.pop(turn))
            turn += 1
        advance(done)
    return found, [failed[place] for place in sorted(failed)]


@dataclass(frozen=True)
class Field:
    """The pixels of an input that a place of a map depends on, as a box.

    Attributes:
        top: first row.
        left: first column.
        bottom: behind the last row.
        right: behind the last column.
    """

    top: int
    left: int
    bottom: int
    right: int


class _Reached(Exception):
    """The layer has run; what follows it does not matter."""


@contextlib.contextmanager
def _plain() -> Iterator[None]:
    """Let convolutions be computed place by place inside the block."""
    before = torch.backends.mkldnn.enabled
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment]  # it is a property
    try:
        with torch.backends.nnpack.flags(False):
            yield
    finally:
        torch.backends.mkldnn.enabled = before


class Fields:
    """Finds receptive fields exactly: by what is not a number where pixels are not numbers.

    That spreads to all that is computed from these pixels, through any layer, whatever the weights
    are. Fast convolutions also spread it to places that they compute together, so plain ones are
    used, on the CPU.

    Args:
        explain: returns a network as explanations see it.
        model: the network.
        layer: whose places are asked for.
        batch: a sample of the size that is asked about.
    """

    def __init__(
        self,
        explain: Callable[[nn.Module], Explainable],
        model: nn.Module,
        layer: Output,
        batch: Batch,
    ) -> None:
        on_cpu = all(each.device.type == "cpu" for each in model.parameters())
        self.model = model if on_cpu else copy.deepcopy(model).cpu()
        self.explained = explain(self.model)
        self.layer = layer
        assert not isinstance(batch.images, list), "samples to predict are stacked"
        self.batch = replace(batch, images=torch.zeros(batch.images.shape))
        self._known: dict[tuple[bool, bool, int], Tensor] = {}

    def of(self, row: int, column: int) -> Field:
        """Return the field of a place of the layer's maps."""
        height, width = self.batch.images.shape[-2:]  # type: ignore[union-attr]
        return Field(
            top=self._first(row, height, rows=True, back=False),
            left=self._first(column, width, rows=False, back=False),
            bottom=height - self._first(row, height, rows=True, back=True),
            right=width - self._first(column, width, rows=False, back=True),
        )

    def _first(self, place: int, length: int, *, rows: bool, back: bool) -> int:
        """Return how many rows or columns at an end a place does not depend on."""
        low, high = 0, length - 1  # it depends on some
        while low < high:
            middle = (low + high + 1) // 2
            if self._touched(middle, rows=rows, back=back)[place]:
                high = middle - 1
            else:
                low = middle
        return low

    @torch.inference_mode()
    def _touched(self, count: int, *, rows: bool, back: bool) -> Tensor:
        """Return which rows or columns of the maps depend on the first, or last, of the input."""
        key = rows, back, count
        if key not in self._known:
            images = self.batch.images.clone()  # type: ignore[union-attr]
            ends = slice(-count, None) if back else slice(count)
            images[(..., ends, slice(None)) if rows else (..., ends)] = torch.nan
            maps = self._maps(replace(self.batch, images=images))
            self._known[key] = maps.isnan().any(3 if rows else 2).any(0).any(0)
        return self._known[key]

    def _maps(self, batch: Batch) -> Tensor:
        """Return the [T, C, h, w] maps of the layer, with padding."""
        kept: list[Tensor] = []
        seen, runs = self._seen

        def see(name: str, output: Tensor) -> Tensor:
            kept.append(output)
            if len(kept) == runs:
                raise _Reached
            return output

        watched = {self.layer.name: self.model.get_submodule(self.layer.name)}
        with _plain(), contextlib.suppress(_Reached), hooked(self.model, watched, see):
            self.explained.encode(batch)
        (maps,) = maps_of(kept[-1], 1, seen) or (None,)
        assert maps is not None, "the layer was chosen by its maps"
        return maps

    @cached_property
    def maps_thw(self) -> tuple[int, int, int]:
        """Frames, height and width of the maps."""
        with torch.inference_mode():
            frames, _, height, width = self._maps(self.batch).shape
        return frames, height, width

    @cached_property
    def _seen(self) -> tuple[Seen, int]:
        """What the network sees of the sample, with its padding; how often the layer runs."""
        runs = 0

        def see(name: str, output: Tensor) -> Tensor:
            nonlocal runs
            runs += 1
            return output

        watched = {self.layer.name: self.model.get_submodule(self.layer.name)}
        with torch.inference_mode(), hooked(self.model, watched, see):
            seen = self.explained.encode(self.batch)
        return replace(seen, share_hw=(1.0, 1.0)), runs
