"""Image networks whose features attend to each other from frame to frame."""

import math

import torch
from torch import Tensor, nn

from cvkit.errors import UsageError
from cvkit.models.video.frames import ClipNetwork, each_frame, image_parts


def sine_positions(count: int, width: int) -> Tensor:
    """Return [count, width] positions: sines and cosines whose wavelengths grow to 20,000 pi.

    Source: Attention Is All You Need, 2017, arXiv:1706.03762.
    """
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
    angles = torch.arange(count)[:, None] * rates  # [count, ceil(width / 2)]
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)[:, :width]


class FrameBlock(nn.Module):
    """Self-attention over the frames and two layers on each of them, both after a norm.

    Args:
        width: D.
        heads: parts of D that attend separately.
        dropout: rate after both.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return [N, L, D] tokens of the same size."""
        normed = self.norm1(tokens)
        attended, _ = self.attention(normed, normed, normed, need_weights=False)
        tokens = tokens + self.dropout(attended)
        return tokens + self.dropout(self.mlp(self.norm2(tokens)))


class FrameTransformer(ClipNetwork):
    """A class token attends to the features of all frames, as a ViT's does to patches.

    Source: Video Transformer Network, 2021, arXiv:2102.00719, with attention over all frames.

    Args:
        backbone: key of `catalog.BACKBONES`.
        num_classes: K.
        frames: per clip.
        image_size: side of the frames.
        hidden: width of the tokens; even, and a multiple of `heads`.
        heads: of the attention.
        depth: number of blocks.
        positions: `sine` or `learned`.
        dropout: rate in the blocks.

    Raises:
        UsageError: `hidden` is no multiple of `heads`.
    """

    def __init__(
        self,
        backbone: str,
        num_classes: int,
        frames: int,
        image_size: int,
        *,
        hidden: int = 256,
        heads: int = 4,
        depth: int = 2,
        positions: str = "sine",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if hidden % heads:
            raise UsageError(
                f"--hidden {hidden} is no multiple of --heads {heads}",
                code="heads.multiple",
                hint=f"--hidden {math.ceil(hidden / heads) * heads}",
            )
        self.backbone, head = image_parts(backbone, num_classes, image_size)
        self.project = nn.Linear(head.in_features, hidden)
        self.class_token = nn.Parameter(torch.zeros(1, 1, hidden))
        self.positions: Tensor
        if positions == "learned":
            self.positions = nn.Parameter(torch.empty(frames, hidden))
            nn.init.trunc_normal_(self.positions, std=0.02)
        else:
            self.register_buffer("positions", sine_positions(frames, hidden), persistent=False)
        self.blocks = nn.Sequential(*(FrameBlock(hidden, heads, dropout) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(hidden), nn.Linear(hidden, num_classes)

    def forward(self, clips: Tensor) -> dict[str, Tensor]:
        """Return the [N, K] logits of NCTHW clips."""
        features = self.project(each_frame(self.backbone, clips)) + self.positions  # [N, T, D]
        first = self.class_token.expand(len(features), -1, -1)
        tokens = self.blocks(torch.cat((first, features), 1))
        return {"out": self.head(self.norm(tokens[:, 0]))}
