"""Box heads: from a region's grid of features to the input of the classifier."""

from torch import Tensor, nn

from cvkit.models.backbones import torchvision_network
from cvkit.models.layers import conv_bn_relu


class BoxHead(nn.Module):
    """Contract: `forward` returns [R, width] for [R, C, side, side] grids."""

    width: int
    from_backbone = False
    """Whether its layers are the last ones of the backbone, under their names."""
    mask_channels: int | None = None
    """Channels of the output of `before_masks`; None if it returns the grids themselves."""

    def before_masks(self, grids: Tensor) -> Tensor:
        """Return the input of the mask branch for the [R, C, side, side] grids of regions."""
        return grids


class TwoMLPHead(BoxHead):
    """Two fully connected layers, as in Feature Pyramid Networks, 2016, arXiv:1612.03144."""

    def __init__(self, channels: int, side: int, width: int) -> None:
        super().__init__()
        self.fc6, self.fc7 = nn.Linear(channels * side * side, width), nn.Linear(width, width)
        self.width = width

    def forward(self, grids: Tensor) -> Tensor:
        """Return [R, width] for [R, C, side, side]."""
        return self.fc7(self.fc6(grids.flatten(1)).relu_()).relu_()


class ConvFCHead(BoxHead, nn.Sequential):
    """Four 3x3 convolutions with batch norm, then one fully connected layer.

    Source: Benchmarking Detection Transfer Learning with Vision Transformers, 2021,
    arXiv:2111.11429, also the head of the second version of torchvision's detectors.
    """

    def __init__(self, channels: int, side: int, width: int) -> None:
        convs = [conv_bn_relu(channels, channels) for _ in range(4)]
        last = nn.Linear(channels * side * side, width)
        super().__init__(*convs, nn.Flatten(), last, nn.ReLU(inplace=True))
        self.width = width
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")


class VGGHead(BoxHead):
    """fc6 and fc7 of a VGG with dropout, as in Fast R-CNN, 2015, arXiv:1504.08083."""

    from_backbone = True

    def __init__(self, builder: str) -> None:
        super().__init__()
        self.classifier = nn.Sequential(*list(torchvision_network(builder).classifier)[:-1])
        self.width = 4096

    def forward(self, grids: Tensor) -> Tensor:
        """Return [R, 4096] for [R, 512, 7, 7]."""
        return self.classifier(grids.flatten(1))


class LastStageHead(BoxHead):
    """A backbone's last stage over each region, then the mean over its cells.

    Source: Deep Residual Learning for Image Recognition, 2015, arXiv:1512.03385 (detection).
    """

    from_backbone = True

    def __init__(self, stage: nn.Module, width: int) -> None:
        super().__init__()
        self.layer4, self.width = stage, width
        self.mask_channels = width

    def before_masks(self, grids: Tensor) -> Tensor:
        """Return [R, width, 7, 7] for [R, C, 14, 14]."""
        return self.layer4(grids)

    def forward(self, grids: Tensor) -> Tensor:
        """Return [R, width] for [R, C, 14, 14]."""
        return self.layer4(grids).mean((2, 3))


class BoxPredictor(nn.Module):
    """Logits and four deltas for each class and the background.

    Args:
        width: of the head.
        num_classes: without background.
        gaussian: initialise the weights as Fast R-CNN does instead of by torch's default.
    """

    def __init__(self, width: int, num_classes: int, gaussian: bool = False) -> None:
        super().__init__()
        self.cls_score = nn.Linear(width, num_classes + 1)
        self.bbox_pred = nn.Linear(width, 4 * (num_classes + 1))
        if gaussian:
            for layer, deviation in ((self.cls_score, 0.01), (self.bbox_pred, 0.001)):
                nn.init.normal_(layer.weight, std=deviation)
                nn.init.zeros_(layer.bias)

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return [R, K + 1] logits and [R, 4 * (K + 1)] deltas."""
        return self.cls_score(hidden), self.bbox_pred(hidden)
