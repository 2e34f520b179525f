"""Image networks turned into video networks, and C3D."""

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from cvkit.models.backbones import torchvision_network
from cvkit.models.layers import Conv3d, pair
from cvkit.models.trials import on_meta


class InflatedConv(Conv3d):
    """A convolution over space and time; in time, the first and last frames are the padding.

    A clip of equal frames therefore gives the result of the image convolution in every frame.
    """

    def forward(self, clips: Tensor) -> Tensor:
        """Return the maps of NCTHW clips."""
        frames = self.kernel_size[0] // 2
        if frames:
            clips = F.pad(clips, (0, 0, 0, 0, frames, frames), mode="replicate")
        return self.convolve(clips, (0, *self.padding[1:]))


class I3D(nn.Module):
    """A ResNet-50 inflated in time.

    Source: Quo Vadis, Action Recognition?, 2017, arXiv:1705.07750; the placement of temporal
        kernels in the residual network: Non-local Neural Networks, 2017, arXiv:1711.07971.

    Args:
        num_classes: K.
        builder: name of torchvision's ResNet.
    """

    layer1: nn.Module
    layer2: nn.Module
    layer3: nn.Module
    layer4: nn.Module

    def __init__(self, num_classes: int, builder: str = "resnet50") -> None:
        super().__init__()
        net = torchvision_network(builder, num_classes=num_classes)
        self.conv1, self.bn1 = inflated_conv(net.conv1, 5), inflated_norm(net.bn1)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))
        self.timepool = nn.MaxPool3d((2, 1, 1), (2, 1, 1), ceil_mode=True)
        for number in range(1, 5):
            stage = getattr(net, f"layer{number}")
            for place, block in enumerate(stage):
                # 3x1x1 in every second block, from the first stage's first one on.
                _inflate_block(block, 3 if (place % 2 == 0 or number == 1) else 1)
            setattr(self, f"layer{number}", stage)
        self.fc = net.fc

    def forward(self, clips: Tensor) -> dict[str, Tensor]:
        """Return the [N, K] logits of NCTHW clips."""
        maps = self.maxpool(self.relu(self.bn1(self.conv1(clips))))
        maps = self.timepool(self.layer1(maps))
        maps = self.layer4(self.layer3(self.layer2(maps)))
        return {"out": self.fc(maps.mean((2, 3, 4)))}

    def load_images(self, tensors: dict[str, Tensor]) -> None:
        """Load a state dict of the image network, with its kernels spread over time.

        The last layer is not changed.
        """
        state = self.state_dict()
        for name, tensor in tensors.items():
            if name.startswith("fc."):
                continue
            if state[name].ndim == 5:
                length = state[name].shape[2]
                tensor = tensor[:, :, None].repeat(1, 1, length, 1, 1) / length
            state[name] = tensor
        self.load_state_dict(state)


def inflated_conv(conv: nn.Conv2d, frames: int) -> InflatedConv:
    """Return a 3-D convolution for a 2-D one, with random weights.

    Weights that are equal for all frames could not distinguish the order of the frames.
    """
    assert not isinstance(conv.padding, str)
    made = InflatedConv(
        conv.in_channels,
        conv.out_channels,
        (frames, *pair(conv.kernel_size)),
        (1, *pair(conv.stride)),
        (frames // 2, *pair(conv.padding)),
        bias=conv.bias is not None,
    )
    nn.init.kaiming_normal_(made.weight, mode="fan_out", nonlinearity="relu")
    return made


def inflated_norm(norm: nn.BatchNorm2d) -> nn.BatchNorm3d:
    """Return a 3-D batch norm with the state of a 2-D one."""
    made = nn.BatchNorm3d(norm.num_features, norm.eps, norm.momentum)
    made.load_state_dict(norm.state_dict())
    return made


def _inflate_block(block: nn.Module, frames: int) -> None:
    for name, layer in list(block.named_modules()):
        parent = block.get_submodule(name.rpartition(".")[0])
        last = name.rpartition(".")[2]
        if isinstance(layer, nn.Conv2d):
            setattr(parent, last, inflated_conv(layer, frames if name == "conv1" else 1))
        elif isinstance(layer, nn.BatchNorm2d):
            setattr(parent, last, inflated_norm(layer))


class S3D(nn.Module):
    """Torchvision's S3D.

    Source: Rethinking Spatiotemporal Feature Learning, 2017, arXiv:1712.04851.
    """

    def __init__(self, num_classes: int, dropout: float = 0.2) -> None:
        super().__init__()
        net = torchvision.models.video.s3d(num_classes=num_classes, dropout=dropout)
        for layer in net.modules():
            if type(layer) is nn.Conv3d:
                layer.__class__ = Conv3d
        self.features, self.avgpool, self.classifier = net.features, net.avgpool, net.classifier

    def forward(self, clips: Tensor) -> dict[str, Tensor]:
        """Return the [N, K] logits of NCTHW clips."""
        maps = self.classifier(self.avgpool(self.features(clips)))
        return {"out": maps.mean((2, 3, 4))}


class C3D(nn.Module):
    """Eight 3x3x3 convolutions and three linear layers.

    Source: Learning Spatiotemporal Features with 3D Convolutional Networks, 2014,
    arXiv:1412.0767.

    Args:
        num_classes: K.
        frames: of a clip.
        image_size: side of the frames.
        dropout: rate.
    """

    STAGES = ((64,), (128,), (256, 256), (512, 512), (512, 512))

    def __init__(
        self, num_classes: int, frames: int = 16, image_size: int = 112, dropout: float = 0.5
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for number, widths in enumerate(self.STAGES):
            for width in widths:
                layers += [Conv3d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
            size = (1, 2, 2) if number == 0 else 2
            layers.append(nn.MaxPool3d(size, size, padding=(0, 1, 1) if number == 4 else 0))
        self.features = nn.Sequential(*layers)
        with on_meta():
            shape = nn.Sequential(*_like(layers))(
                torch.empty(1, 3, frames, image_size, image_size)
            ).shape
        self.fc6, self.fc7 = nn.Linear(shape[1:].numel(), 4096), nn.Linear(4096, 4096)
        self.fc = nn.Linear(4096, num_classes)
        self.dropout = nn.Dropout(dropout)
        for layer in self.modules():
            if isinstance(layer, nn.Conv3d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, clips: Tensor) -> dict[str, Tensor]:
        """Return the [N, K] logits of NCTHW clips."""
        hidden = self.dropout(self.fc6(self.features(clips).flatten(1)).relu())
        return {"out": self.fc(self.dropout(self.fc7(hidden).relu()))}


def _like(layers: list[nn.Module]) -> list[nn.Module]:
    """Return layers of the same shapes on torch's default device."""
    made: list[nn.Module] = []
    for layer in layers:
        if isinstance(layer, nn.Conv3d):
            made.append(Conv3d(layer.in_channels, layer.out_channels, 3, padding=1))
        else:
            made.append(layer)
    return made
