"""Layers that several heads are made of."""

from torch import nn


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
    """Draw the weights of all convolutions and linear layers anew; their biases become 0.

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
        if isinstance(layer, nn.Conv2d | nn.Linear):
            ways[how](layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def init_kaiming(module: nn.Module) -> None:
    """Initialise the convolutions of new layers for ReLU networks.

    Source: Delving Deep into Rectifiers, 2015, arXiv:1502.01852.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
