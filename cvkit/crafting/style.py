"""Style transfer: an image whose maps are those of a photo, and whose correlations of a picture."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from cvkit.catalog import nearest
from cvkit.errors import UsageError
from cvkit.explain.layers import hooked
from cvkit.ops.ascent import total_variation
from cvkit.ops.grams import mixed_grams, relative_loss, style_loss
from cvkit.ops.images import standardize

VGG_STYLE = ("features.1", "features.6", "features.11", "features.20", "features.29")
"""Rectified outputs of the first convolution of each size of VGG 19."""
VGG_CONTENT = "features.22"
"""That of the second one of the fourth size."""
MOST = 5
"""Maximum number of layers of a style, where none is named."""


@dataclass(frozen=True)
class Features:
    """A network whose maps are compared.

    Attributes:
        model: in evaluation mode.
        part: of it, which takes normalised images.
        mean: of the normalisation, of 1.
        std: of the normalisation, of 1.
    """

    model: nn.Module
    part: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def maps(self, image: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Return the [1, C, h, w] maps of layers for an image [1, 3, H, W] in [0, 1]."""
        found: dict[str, Tensor] = {}

        def see(name: str, output: Tensor) -> Tensor:
            if output.ndim == 4 and output.shape[-1] > 1:
                found.pop(name, None)
                found[name] = output
            return output.clone()  # a layer may change it in place

        modules = {name: self.model.get_submodule(name) for name in names}
        with hooked(self.model, modules, see):
            self.part(standardize(image, self.mean, self.std))
        return found


def chosen_layers(shapes: dict[str, torch.Size], named: str, content: str) -> tuple[list[str], str]:
    """Return the layers of the style, and the one of the content.

    Where none is named: the last layer of each size, and the last one but one of them.

    Args:
        shapes: of the maps of all layers, in their order.
        named: `--layers`.
        content: `--content-layer`.

    Raises:
        UsageError: there is no such layer; the hint lists them, or names the nearest.
    """
    last = {shape[-2:]: name for name, shape in shapes.items()}
    usual = sorted(last.values(), key=[*shapes].index)[-MOST:]
    style = named.split(",") if named else usual
    for flag, name in (*(("layers", each) for each in style), ("content-layer", content)):
        if name and name not in shapes:
            raise UsageError(
                f"--{flag} {name!r} is no layer with a map of the image",
                code=f"{flag.replace('-', '_')}.unknown",
                hint=nearest(name, shapes, ", ".join(shapes)),
            )
    return style, content or usual[-2 if len(usual) > 1 else -1]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The numbers of a transfer; they are flags."""

    content_weight: float
    style_weight: float
    tv: float
    steps: int
    rate: float


def transfer(
    features: Features,
    content: Tensor,
    styles: Sequence[tuple[Tensor, float]],
    layers: tuple[Sequence[str], str],
    recipe: Recipe,
    start: Tensor,
    on_step: Callable[[float, float], None],
) -> Tensor:
    """Return the photo in the style of the pictures.

    Args:
        features: the network.
        content: the photo, [1, 3, H, W] in [0, 1].
        styles: the pictures, of any size, and their weights.
        layers: of the style, and of the content.
        recipe: weights and steps.
        start: the first image, of the size of the photo.
        on_step: gets the losses of content and style of each step.
    """
    textures, place = layers
    with torch.no_grad():
        goal = features.maps(content, [place])[place]
        pictures = [features.maps(picture, textures) for picture, _ in styles]
        wanted = mixed_grams(pictures, [weight for _, weight in styles])
    image = start.clone().requires_grad_()
    adam = torch.optim.Adam([image], recipe.rate)
    for _ in range(recipe.steps):
        with torch.enable_grad():
            maps = features.maps(image, [*dict.fromkeys((*textures, place))])
            shape, texture = relative_loss(maps[place], goal), style_loss(maps, wanted)
            loss = recipe.content_weight * shape + recipe.style_weight * texture
            loss = loss + recipe.tv * total_variation(image)
            (image.grad,) = torch.autograd.grad(loss, image)
        adam.step()
        with torch.no_grad():
            image.clamp_(0, 1)
        on_step(float(shape), float(texture))
    return image.detach()


def with_colors_of(photo: np.ndarray, painted: np.ndarray) -> np.ndarray:
    """Return the brightness of one HWC RGB uint8 image with the colours of another.

    Source: Preserving Color in Neural Artistic Style Transfer, 2016, arXiv:1606.05897.
    """
    both = [cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb) for image in (photo, painted)]
    return cv2.cvtColor(np.dstack((both[1][..., :1], both[0][..., 1:])), cv2.COLOR_YCrCb2RGB)
