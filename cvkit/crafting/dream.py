"""What a dream raises: the score of a class, a channel or a layer; and the files of a dream."""

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from cvkit.catalog import nearest
from cvkit.errors import UsageError
from cvkit.explain.layers import as_maps, hooked, modules_of
from cvkit.ops.ascent import Objective
from cvkit.ops.images import standardize
from cvkit.output.files import write_rgb
from cvkit.output.heat import draw_filmstrip
from cvkit.storage import whole_file
from cvkit.tasks.attackable import Scores
from cvkit.tasks.explainable import Explainable

GIF_FRAMES, GIF_MS = 40, 80
"""Maximum number of pictures of an ascent, and how long one is shown."""


@dataclass(frozen=True)
class Wish:
    """What is raised.

    Attributes:
        name: in words, also of the files.
        objective: of an image [1, 3, ..., H, W] in [0, 1].
    """

    name: str
    objective: Objective


def class_wish(scores: Scores, name: str, index: int) -> Wish:
    """Return the wish for the logit of a class; of label maps its mean."""
    return Wish(name, lambda image: scores.logits(image * 255)[:, index].float().mean())


def clip_scores(scores: Scores) -> Scores:
    """Return the scores of single clips [1, 3, T, H, W], where videos have several views."""

    class Clips:
        def logits(self, pixels: Tensor) -> Tensor:
            return scores.logits(pixels[:, :, None])

        def truth(self, batch: Any) -> Tensor:
            return scores.truth(batch)

    return Clips()


@dataclass(frozen=True)
class Maps:
    """The layers of a network whose outputs are maps of its input.

    Attributes:
        model: the network.
        explained: says which part is looked at.
        mean: of the normalisation, of 1.
        std: of the normalisation, of 1.
    """

    model: nn.Module
    explained: Explainable
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def channels(self, image: Tensor) -> dict[str, int]:
        """Return the number of channels of each layer with maps, in the order of their ends.

        Layers behind one that cannot take images of this size are not among them.

        Raises:
            RuntimeError: the first layer cannot.
        """
        found: dict[str, int] = {}
        modules = modules_of(self.model, self.explained.mapped)

        def see(name: str, output: Tensor) -> Tensor:
            maps = as_maps(output, _size(image))
            if maps is not None:
                found.pop(name, None)
                found[name] = maps.shape[1]
            return output

        with torch.no_grad(), hooked(self.model, modules, see):
            try:
                self._run(image)
            except (RuntimeError, AssertionError):
                if not found:
                    raise
        return found

    def wish(self, layer: str, channel: int | None) -> Wish:
        """Return the wish for the mean of a channel, or the mean square of a whole layer.

        Source: Inceptionism, 2015, Google Research.
        """
        module = {layer: self.model.get_submodule(layer)}

        def number(image: Tensor) -> Tensor:
            kept: list[Tensor] = []

            def see(_: str, output: Tensor) -> Tensor:
                maps = as_maps(output, _size(image))
                if maps is not None:
                    kept.append(maps if channel is None else maps[:, channel])
                    if image.ndim == 4:  # networks for clips may call a layer for each frame
                        raise _Reached
                return output.clone()  # what follows may change it in place

            with hooked(self.model, module, see), contextlib.suppress(_Reached):
                self._run(image)
            every = [each.square().mean() if channel is None else each.mean() for each in kept]
            return torch.stack(every).sum()

        return Wish(layer if channel is None else f"{layer}-{channel}", number)

    def _run(self, image: Tensor) -> None:
        self.explained.mapped(standardize(image, self.mean, self.std))


class _Reached(Exception):
    """The layer has been reached; what follows would be in vain."""


def _size(image: Tensor) -> tuple[int, int, int]:
    *frames, height, width = image.shape[2:]
    return frames[0] if frames else 1, height, width


def chosen_layer(channels: Mapping[str, int], body: Iterable[str], name: str | None) -> str:
    """Return a layer, checked; the last one of the body if none is named.

    Args:
        channels: of `Maps.channels`.
        body: names of the modules of the network's body.
        name: `--layer`.

    Raises:
        UsageError: there is no such layer; the hint lists them, or names the nearest.
    """
    if name is None:
        inside = [each for each in channels if each in {*body}]
        name = [*(inside or channels)][-1] if channels else ""
    if name not in channels:
        raise UsageError(
            f"--layer {name!r} is no layer with a map of the input",
            code="layer.unknown",
            hint=nearest(name, channels, ", ".join(channels)),
        )
    return name


def chosen_channels(text: str, layer: str, count: int) -> list[int | None]:
    """Return the channels that `--channel` names; None stands for the whole layer.

    Raises:
        UsageError: no number of a channel of this layer.
    """
    for part in filter(None, text.split(",")):
        if not (part.isascii() and part.isdigit() and int(part) < count):
            raise UsageError(
                f"--channel {part!r}: {layer} has the channels 0 to {count - 1}",
                code="channel.unknown",
                hint="such as --channel 0 or --channel 0,1",
            )
    return [int(part) for part in text.split(",") if part] or [None]


class Film:
    """Pictures of an ascent, evenly spaced.

    Args:
        steps: number of steps to come.
    """

    def __init__(self, steps: int) -> None:
        self.every, self.count = max(1, -(-steps // GIF_FRAMES)), 0
        self.frames: list[np.ndarray] = []

    def see(self, image: Tensor) -> None:
        """Add the image of a step, if its turn has come."""
        if self.count % self.every == 0:
            self.frames.append(pictures(image)[0])
        self.count += 1


def pictures(image: Tensor) -> list[np.ndarray]:
    """Return an image, or the frames of a clip, as HWC RGB uint8."""
    pixels = (image[0].detach() * 255).round().clamp(0, 255).byte().cpu().numpy()
    frames = pixels[:, None] if pixels.ndim == 3 else pixels
    return [np.ascontiguousarray(each) for each in frames.transpose(1, 2, 3, 0)]


def write_dream(folder: Path, stem: str, image: Tensor, film: Film | None) -> dict[str, str]:
    """Write the files of a dream; return their names, relative to the folder.

    Args:
        folder: of the results.
        stem: name of the files.
        image: [1, 3, H, W], or [1, 3, T, H, W], in [0, 1].
        film: of the ascent, if it was asked for.
    """
    frames, entry = pictures(image), {"picture": f"dreams/{stem}.png"}
    write_rgb(folder / entry["picture"], draw_filmstrip(frames) if len(frames) > 1 else frames[0])
    if len(frames) > 1:
        entry["clip"] = f"dreams/{stem}.gif"
        write_gif(folder / entry["clip"], frames)
    if film is not None:
        entry["ascent"] = f"ascents/{stem}.gif"
        write_gif(folder / entry["ascent"], film.frames)
    return entry


def write_gif(path: Path, frames: list[np.ndarray]) -> None:
    """Write HWC RGB uint8 pictures as a GIF without end; smaller ones are enlarged.

    Raises:
        MachineError: the disk is full; nothing is left of the file.
    """
    high, wide = (max(sides) for sides in zip(*(f.shape[:2] for f in frames), strict=True))
    made = [Image.fromarray(frame).resize((wide, high)) for frame in frames]
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as stream:
        made[0].save(stream, "GIF", save_all=True, append_images=made[1:], duration=GIF_MS, loop=0)
