"""Contrastive pretraining: views of the same image get similar features."""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvkit.models.pretraining.base import (
    Body,
    Outcome,
    PretextNetwork,
    PretextSpec,
    scored,
    standardized,
)
from cvkit.ops.contrast import enqueue, follow, info_nce, nt_xent

PARTS = 8
"""Maximum number of parts in which MoCo encodes the keys of a batch."""


def projector(channels: int, width: int) -> nn.Sequential:
    """Return the two layers whose output is compared; the backbone's features are kept instead."""
    hidden = nn.Linear(channels, channels, bias=False)
    return nn.Sequential(
        *(hidden, nn.BatchNorm1d(channels), nn.ReLU(inplace=True)), nn.Linear(channels, width)
    )


class SimCLR(PretextNetwork):
    """SimCLR: all other views of the batch are negatives.

    Source: A Simple Framework for Contrastive Learning of Visual Representations, 2020,
    arXiv:2002.05709.
    """

    def __init__(self, body: Body, spec: PretextSpec) -> None:
        super().__init__()
        self.backbone = body.net
        self.projector = projector(body.channels, spec.projection)
        self.temperature = spec.temperature

    def forward(self, pixels: Tensor) -> Outcome:
        """Return loss and score of N32HW pixels."""
        views = torch.cat(pixels.unbind(2))  # [2N, 3, H, W]
        features = self.projector(self.backbone(standardized(views)))
        first, second = features.chunk(2)
        loss, found = nt_xent(first, second, self.temperature)
        return Outcome(loss, scored(found))


class MoCo(PretextNetwork):
    """MoCo v2: negatives are a queue of keys from an average of the encoder.

    The keys of a batch are encoded in shuffled parts, so that the statistics of a batch norm do
    not tell which key belongs to a query; on several GPUs, MoCo shuffles between them.

    Source: Momentum Contrast for Unsupervised Visual Representation Learning, 2019,
    arXiv:1911.05722; Improved Baselines with Momentum Contrastive Learning, 2020, arXiv:2003.04297.
    """

    def __init__(self, body: Body, spec: PretextSpec) -> None:
        super().__init__()
        self.backbone = body.net
        self.projector = projector(body.channels, spec.projection)
        parts = {"backbone": self.backbone, "projector": self.projector}
        copies = {name: copy.deepcopy(part) for name, part in parts.items()}
        self.momentum_encoder = nn.ModuleDict(copies).requires_grad_(False)
        self.temperature, self.momentum = spec.temperature, spec.key_momentum
        self.queue: Tensor
        self.queue_ptr: Tensor
        self.register_buffer("queue", F.normalize(torch.randn(spec.queue, spec.projection)))
        self.register_buffer("queue_ptr", torch.zeros(1, dtype=torch.long))

    def _pairs(self) -> tuple[list[Tensor], list[Tensor]]:
        """Return the parameters of the momentum encoder, and those that they follow."""
        followed: list[Tensor] = [*self.backbone.parameters(), *self.projector.parameters()]
        return list(self.momentum_encoder.parameters()), followed

    def begin(self) -> None:
        """Start the momentum encoder from the first weights."""
        follow(*self._pairs(), momentum=0.0)

    def forward(self, pixels: Tensor) -> Outcome:
        """Return loss and score of N32HW pixels; in training, average and queue move on."""
        first, second = standardized(pixels).unbind(2)
        if self.training:
            follow(*self._pairs(), momentum=self.momentum)
        queries = self.projector(self.backbone(first))
        keys = self._keys(second)
        loss, found = info_nce(queries, keys, self.queue.clone(), self.temperature)
        if self.training:
            enqueue(self.queue, self.queue_ptr, keys)
        return Outcome(loss, scored(found[:, None]))

    @torch.no_grad()
    def _keys(self, images: Tensor) -> Tensor:
        """Return the [N, D] normalised keys of NCHW images."""
        encoder = self.momentum_encoder.train(self.training)
        order = torch.randperm(len(images), device=images.device)
        parts = images[order].chunk(max(1, min(PARTS, len(images) // 2)))
        features = [encoder["projector"](encoder["backbone"](part)) for part in parts]
        keys = torch.empty_like(found := torch.cat(features))
        keys[order] = found
        return F.normalize(keys.float())
