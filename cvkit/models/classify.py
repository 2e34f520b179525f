"""Classifiers: an embedding of the image, and a layer that scores the classes."""

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import StochasticDepth

from cvkit import catalog
from cvkit.catalog import BACKBONES
from cvkit.errors import UsageError
from cvkit.models.backbones import pooled, torchvision_network
from cvkit.models.specs import HIDDEN, ClassifierSpec
from cvkit.models.stems import SMALL, SMALL_PATCH


class Classifier(nn.Module):
    """A network that embeds images, and a linear layer on the embedding.

    Args:
        backbone: NCHW images to [N, D]; with auxiliary heads in training to a tuple of
            [N, D] and the [N, K] logits of each head.
        head: [N, D] to the [N, K] logits.
        dropout: before the head, for backbones that have no dropout themselves.
    """

    def __init__(self, backbone: nn.Module, head: nn.Linear, dropout: float = 0.0) -> None:
        super().__init__()
        self.backbone, self.dropout, self.head = backbone, nn.Dropout(dropout), head

    def embed(self, images: Tensor) -> Tensor:
        """Return the [N, D] features of NCHW normalised images."""
        found = self.backbone(images)
        return found[0] if isinstance(found, tuple) else found

    def probabilities(self, features: Tensor) -> Tensor:
        """Return the [N, K] class probabilities of features."""
        return self.head(features).float().softmax(1)

    def scored(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the [N, K] class probabilities and [N, D] features of NCHW normalised images."""
        features = self.embed(images)
        return self.probabilities(features), features

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the [N, K] logits `out` and, in training, those of auxiliary heads."""
        found = self.backbone(images)
        features, *extra = found if isinstance(found, tuple) else (found,)
        outputs = {"out": self.head(self.dropout(features))}
        names = ["aux"] if len(extra) == 1 else [f"aux{n}" for n in range(len(extra), 0, -1)]
        return outputs | dict(zip(names, extra, strict=True))


class LinearProbe(Classifier):
    """A linear layer on fixed features: pixels, or those of a frozen network."""

    def __init__(self, backbone: nn.Module, head: nn.Linear, dropout: float = 0.0) -> None:
        super().__init__(backbone.requires_grad_(False), head, dropout)

    def train(self, mode: bool = True) -> "LinearProbe":
        """Set the mode of the head; the features are always those of evaluation."""
        super().train(mode)
        self.backbone.eval()
        return self


class NearestNeighbours(nn.Module):
    """Votes of the nearest training images.

    Args:
        backbone: NCHW images to [N, D]; frozen.
        width: D.
        num_classes: K.
        examples: M, the number of stored images.
        neighbors: how many of them vote.
        distance: `l1`, `l2` or `cosine`.
        weighted: a vote counts 1 / distance instead of 1; if distances are 0, only those count.
    """

    def __init__(
        self,
        backbone: nn.Module,
        width: int,
        num_classes: int,
        *,
        examples: int,
        neighbors: int,
        distance: str,
        weighted: bool,
    ) -> None:
        super().__init__()
        self.backbone = backbone.requires_grad_(False)
        self.num_classes, self.neighbors = num_classes, min(neighbors, max(examples, 1))
        self.distance, self.weighted = distance, weighted
        self.bank: Tensor
        self.bank_labels: Tensor
        self.register_buffer("bank", torch.zeros(examples, width))
        self.register_buffer("bank_labels", torch.zeros(examples, dtype=torch.long))
        self.stored = 0

    def embed(self, images: Tensor) -> Tensor:
        """Return the [N, D] features of NCHW normalised images."""
        return self.backbone(images)

    def store(self, features: Tensor, labels: Tensor) -> None:
        """Add [N, D] features and [N] labels of training images to the bank."""
        place = slice(self.stored, self.stored + len(features))
        self.bank[place], self.bank_labels[place] = features, labels
        self.stored += len(features)

    def probabilities(self, features: Tensor) -> Tensor:
        """Return the [N, K] share of the votes for each class."""
        distances = DISTANCES[self.distance](features.float(), self.bank)  # [N, M]
        near, index = distances.topk(self.neighbors, largest=False)  # [N, k]
        votes = torch.ones_like(near)
        if self.weighted:
            exact = near == 0
            votes = torch.where(exact.any(1, keepdim=True), exact.float(), 1 / near)
        labels = F.one_hot(self.bank_labels[index], self.num_classes)  # [N, k, K]
        totals = (votes[..., None] * labels).sum(1)  # [N, K]
        return totals / totals.sum(1, keepdim=True)

    def scored(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the [N, K] class probabilities and [N, D] features of NCHW normalised images."""
        features = self.embed(images)
        return self.probabilities(features), features

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the log of the vote shares under the name `out`."""
        return {"out": self.probabilities(self.embed(images)).clamp(min=1e-12).log()}


def _l2(features: Tensor, bank: Tensor) -> Tensor:
    return torch.cdist(features, bank, compute_mode="donot_use_mm_for_euclid_dist")


def _cosine(features: Tensor, bank: Tensor) -> Tensor:
    return (1 - F.normalize(features) @ F.normalize(bank).T).clamp(min=0)


DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": lambda features, bank: torch.cdist(features, bank, p=1),
    "l2": _l2,
    "cosine": _cosine,
}
"""[N, D] features and an [M, D] bank to [N, M] distances."""


class LeNet(nn.Sequential):
    """LeNet-5 up to its last hidden layer of 84 units, with average pooling as subsampling.

    Source: Gradient-Based Learning Applied to Document Recognition, 1998, Proc. IEEE 86(11).
    """

    width = 84

    def __init__(self, image_size: int = 32, in_channels: int = 3) -> None:
        side = ((image_size - 4) // 2 - 4) // 2
        if side < 1:
            raise ValueError("LeNet needs at least 16 pixels")
        super().__init__(
            *(nn.Conv2d(in_channels, 6, 5), nn.Tanh(), nn.AvgPool2d(2)),
            *(nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten()),
            *(nn.Linear(16 * side * side, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh()),
        )


def _mlp(image_size: int, hidden: Sequence[int]) -> nn.Sequential:
    widths = (3 * image_size**2, *hidden)
    pairs = itertools.pairwise(widths)
    layers = (layer for n, m in pairs for layer in (nn.Linear(n, m), nn.ReLU()))
    return nn.Sequential(nn.Flatten(), *layers)


def head_name(net: nn.Module) -> str:
    """Return the name of the layer that scores the classes: the last linear one."""
    return [name for name, layer in net.named_modules() if isinstance(layer, nn.Linear)][-1]


def network_parts(
    name: str, num_classes: int, *, small: bool, image_size: int, aux: bool
) -> tuple[nn.Module, nn.Linear]:
    """Return a network without its last layer, and that layer.

    A torchvision network keeps its initialisation and, except for the last layer, its parameter
    names. Of a backbone that torchvision does not have the last map is averaged.

    Args:
        name: key of `catalog.BACKBONES`.
        num_classes: K.
        small: change the first layers for small images.
        image_size: side of the images; only vision transformers depend on it.
        aux: auxiliary heads, for the two networks that have some.
    """
    entry = BACKBONES[name]
    if not entry.builder:
        body = pooled(catalog.resolve(entry.target)(entry.builder))
        return body, nn.Linear(body.channels[-1], num_classes)
    arguments: dict[str, object] = {"num_classes": num_classes}
    if entry.aux_weight:
        arguments |= {"aux_logits": aux, "init_weights": True}
    if entry.patch:
        arguments["image_size"] = image_size * entry.patch // SMALL_PATCH if small else image_size
    net = torchvision_network(entry.builder, **arguments)
    if small:
        SMALL[entry.small_stem](net)
    place, _, last = head_name(net).rpartition(".")
    parent = net.get_submodule(place)
    head = getattr(parent, last)
    setattr(parent, last, nn.Identity())
    return net, head


SMALL_NETWORKS: dict[str, Callable[[int, Sequence[int]], tuple[nn.Module, int]]] = {
    "lenet": lambda side, _: (LeNet(side), LeNet.width),
    "mlp": lambda side, hidden: (_mlp(side, hidden), hidden[-1]),
    "pixels": lambda side, _: (nn.Flatten(), 3 * side**2),
}
"""Networks that torchvision does not have, and the width of their output.

They get the side of the images and the widths of hidden layers.
"""


def small_parts(
    name: str, num_classes: int, image_size: int, hidden: Sequence[int] = HIDDEN
) -> tuple[nn.Module, nn.Linear]:
    """Return one of `SMALL_NETWORKS`, and its last layer."""
    backbone, width = SMALL_NETWORKS[name](image_size, hidden)
    return backbone, nn.Linear(width, num_classes)


def build_classifier(spec: ClassifierSpec, num_classes: int) -> nn.Module:
    """Return a freshly initialised classifier.

    Raises:
        UsageError: it has no blocks that `stochastic_depth` could skip.
    """
    entry = catalog.CLASSIFIERS[spec.arch]
    if spec.backbone is not None:
        body, head = network_parts(
            spec.backbone, num_classes, small=spec.small, image_size=spec.image_size, aux=spec.aux
        )
    else:
        body, head = small_parts(entry.parts, num_classes, spec.image_size, spec.hidden)
    if entry.gradient_free:
        return NearestNeighbours(
            body,
            head.in_features,
            num_classes,
            examples=spec.examples,
            neighbors=spec.neighbors,
            distance=spec.distance,
            weighted=spec.votes == "distance",
        )
    depth = spec.stochastic_depth
    if depth is not None and not set_stochastic_depth(body, depth):
        raise UsageError(
            f"--stochastic-depth: {spec.arch} has no blocks that can be skipped",
            code="stochastic_depth.unsupported",
            hint="efficientnet, convnext and swin have such blocks",
        )
    inside = spec.dropout is not None and set_dropout(body, spec.dropout)
    rate = 0.0 if inside or spec.dropout is None else spec.dropout
    network: type[Classifier] = catalog.resolve(entry.target)
    return network(body, head, rate)


def set_dropout(net: nn.Module, rate: float) -> bool:
    """Give every dropout layer of a network this rate; return whether there is one."""
    layers = [layer for layer in net.modules() if isinstance(layer, nn.Dropout)]
    for layer in layers:
        layer.p = rate
    return bool(layers)


def set_stochastic_depth(net: nn.Module, rate: float) -> bool:
    """Scale the rates at which blocks are skipped, so that the largest is `rate`.

    Returns:
        Whether the network has such blocks.
    """
    layers = [layer for layer in net.modules() if isinstance(layer, StochasticDepth)]
    largest = max((layer.p for layer in layers), default=0.0)
    for layer in layers:
        layer.p = rate * layer.p / largest if largest else rate
    return bool(layers)
