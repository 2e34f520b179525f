"""Layers that several networks share."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TRANSPOSED = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d


class Conv3d(nn.Conv3d):
    """A convolution over space and time whose gradient can be trusted on a CPU.

    oneDNN's gradient of the weights accesses memory out of bounds if clips are hardly larger than
    the kernel: in bfloat16 with two frames and a kernel of three, in float32 with six frames and
    S3D's kernel of seven. Training is therefore in 32 bits, and if there are fewer frames than the
    kernel has, they are padded before the convolution, not in it.
    """

    def forward(self, clips: Tensor) -> Tensor:
        """Return the maps of NCTHW clips."""
        assert not isinstance(self.padding, str)  # "same" and "valid" are not used
        return self.convolve(clips, self.padding)

    def convolve(self, clips: Tensor, padding: tuple[int, ...]) -> Tensor:
        """Return the maps of NCTHW clips, padded with these numbers of zeros."""
        if clips.device.type == "cpu" and torch.is_grad_enabled():
            time, *space = padding
            if time and clips.shape[2] < self.kernel_size[0]:
                clips, padding = F.pad(clips, (0, 0, 0, 0, time, time)), (0, *space)
            with torch.autocast("cpu", enabled=False):
                return self._convolved(clips.to(self.weight.dtype), padding)
        return self._convolved(clips, padding)

    def _convolved(self, clips: Tensor, padding: tuple[int, ...]) -> Tensor:
        return F.conv3d(
            clips, self.weight, self.bias, self.stride, padding, self.dilation, self.groups
        )


def pair(numbers: tuple[int, ...]) -> tuple[int, int]:
    """Return a parameter of an image layer, such as its stride, for height and width."""
    height, width = numbers
    return height, width


def conv_bn_relu(
    in_channels: int, out_channels: int, kernel: int = 3, dilation: int = 1
) -> nn.Sequential:
    """Return convolution without bias, batch norm, ReLU; the spatial size is kept."""
    return nn.Sequential(
        nn.Conv2d(
            in_channels,
            out_channels,
            kernel,
            padding=dilation * (kernel // 2),
            dilation=dilation,
            bias=False,
        ),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def fcn_head(in_channels: int, num_classes: int) -> nn.Sequential:
    """Return torchvision's FCN head: 3x3 to a quarter of the channels, dropout, 1x1."""
    middle = in_channels // 4
    return nn.Sequential(
        *conv_bn_relu(in_channels, middle), nn.Dropout(0.1), nn.Conv2d(middle, num_classes, 1)
    )


def initialise(module: nn.Module, how: str) -> None:
    """Re-initialise the weights of all layers that multiply, and set their biases to 0.

    These are convolutions of any dimension, transposed ones too, linear layers, recurrent cells
    and attentions: every weight of two or more dimensions. Norms, position embeddings, per-channel
        factors and interpolations that are never trained are not changed.

    Args:
        module: changed in place.
        how: `xavier` (Understanding the Difficulty of Training Deep Feedforward Neural
            Networks, 2010, AISTATS; uniform), `kaiming` (arXiv:1502.01852; normal, fan-in) or
            `normal` (standard deviation 0.01); `auto` changes nothing.
    """
    ways = {
        "xavier": nn.init.xavier_uniform_,
        "kaiming": lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"),
        "normal": lambda w: nn.init.normal_(w, std=0.01),
    }
    if how == "auto":
        return
    for layer in module.modules():
        parameters = dict(layer.named_parameters(recurse=False))
        weights = [p for name, p in parameters.items() if "weight" in name and p.ndim > 1]
        if isinstance(layer, TRANSPOSED):
            weights = [weight for weight in weights if weight.requires_grad]
        for weight in weights:
            for matrix in _matrices(layer, weight):
                ways[how](matrix)
        for name, parameter in parameters.items():
            if weights and "bias" in name:
                nn.init.zeros_(parameter)


def _matrices(layer: nn.Module, weight: Tensor) -> Sequence[Tensor]:
    """Return the parts of a weight that are separate layers: gates, or queries and keys."""
    if isinstance(layer, nn.RNNBase):
        return weight.split(layer.hidden_size)
    if isinstance(layer, nn.MultiheadAttention):
        return weight.split(layer.embed_dim)
    return (weight,)


def init_kaiming(module: nn.Module) -> None:
    """Initialise the convolutions of new layers for ReLU networks.

    Source: Delving Deep into Rectifiers, 2015, arXiv:1502.01852.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
