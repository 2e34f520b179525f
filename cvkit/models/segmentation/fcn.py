"""Fully convolutional networks.

Source: Fully Convolutional Networks for Semantic Segmentation, 2014, arXiv:1411.4038.
"""

import torch
from torch import Tensor, nn

from cvkit.models.backbones import Backbone, vgg_features
from cvkit.models.layers import fcn_head
from cvkit.models.segmentation.base import SegmentationModel
from cvkit.ops.resize import height_width, resize_bilinear


class FCN(SegmentationModel):
    """Torchvision's FCN: a two-layer head on a dilated backbone."""

    def __init__(self, backbone: Backbone, num_classes: int, aux_level: int | None = None) -> None:
        super().__init__(backbone, num_classes, aux_level)
        self.classifier = fcn_head(backbone.channels[-1], num_classes)

    def decode(self, maps: list[Tensor], size_hw: tuple[int, int]) -> Tensor:
        """Return logits at the stride of the coarsest map."""
        return self.classifier(maps[-1])


def bilinear_kernel(size: int) -> Tensor:
    """Return the 2-D kernel with which a transposed convolution interpolates bilinearly."""
    factor = (size + 1) // 2
    centre = factor - 1 if size % 2 else factor - 0.5
    weights = 1 - (torch.arange(size) - centre).abs() / factor  # [size]
    return weights[:, None] * weights  # [size, size]


def bilinear_deconv(num_classes: int, stride: int, learnable: bool = True) -> nn.ConvTranspose2d:
    """Return the paper's upsampling: a dense transposed convolution, initialised to bilinear."""
    deconv = nn.ConvTranspose2d(num_classes, num_classes, 2 * stride, stride, bias=False)
    with torch.no_grad():
        deconv.weight.zero_()
        deconv.weight[range(num_classes), range(num_classes)] = bilinear_kernel(2 * stride)
    deconv.weight.requires_grad_(learnable)
    return deconv


def _score(in_channels: int, num_classes: int) -> nn.Conv2d:
    """Return a 1x1 scoring layer initialised to zero, so that a skip has no effect at first."""
    score = nn.Conv2d(in_channels, num_classes, 1)
    for parameter in score.parameters():
        nn.init.zeros_(parameter)
    return score


def _crop(maps: Tensor, offset: int, size_hw: tuple[int, int]) -> Tensor:
    return maps[..., offset : offset + size_hw[0], offset : offset + size_hw[1]]


class SkipFCN(SegmentationModel):
    """FCN-32s, -16s or -8s over any backbone: score maps of C5, C4 and C3 are added.

    Args:
        backbone: its last three maps are scored.
        num_classes: channels of the logits.
        stride: of the finest map that is used: 32, 16 or 8.
        deconv: upsample by learned transposed convolutions, initialised to bilinear as in the
            paper, instead of by interpolation.
        aux_level: not used by this architecture.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        aux_level: int | None = None,
        *,
        stride: int = 8,
        deconv: bool = False,
    ) -> None:
        super().__init__(backbone, num_classes, aux_level)
        self.score = nn.Conv2d(backbone.channels[-1], num_classes, 1)
        skips = {32: [], 16: [-2], 8: [-2, -3]}[stride]
        self.skips = skips
        self.skip_scores = nn.ModuleList(_score(backbone.channels[i], num_classes) for i in skips)
        self.deconvs = nn.ModuleList()
        if deconv:
            strides = backbone.strides
            steps = [strides[i + 1] // strides[i] for i in skips] + [strides[-1 - len(skips)]]
            self.deconvs.extend(bilinear_deconv(num_classes, step) for step in steps)

    def decode(self, maps: list[Tensor], size_hw: tuple[int, int]) -> Tensor:
        """Return logits at the image's size."""
        scores = self.score(maps[-1])
        for step, (level, score) in enumerate(zip(self.skips, self.skip_scores, strict=True)):
            scores = self._upsample(scores, step, height_width(maps[level])) + score(maps[level])
        return self._upsample(scores, len(self.skips), size_hw)

    def _upsample(self, scores: Tensor, step: int, size_hw: tuple[int, int]) -> Tensor:
        if not self.deconvs:
            return resize_bilinear(scores, size_hw)
        deconv = self.deconvs[step]
        assert isinstance(deconv, nn.ConvTranspose2d)
        return _crop(deconv(scores), deconv.stride[0] // 2, size_hw)


class FCN2014(nn.Module):
    """The complete network of the paper: VGG-16 with fc6 and fc7 as convolutions.

    The first convolution pads by 100 pixels and pooling rounds up; crops undo both, so that the
    logits have the size of the image, for any size. The transposed convolutions are not trained, as
    in the released models.

    Args:
        num_classes: channels of the logits.
        stride: 32, 16 or 8.
    """

    def __init__(self, num_classes: int, *, stride: int = 8) -> None:
        super().__init__()
        self.features = vgg_features("vgg16")
        first = self.features[0]
        assert isinstance(first, nn.Conv2d)
        first.padding = (100, 100)
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                layer.ceil_mode = True
        self.fc6, self.fc7 = nn.Conv2d(512, 4096, 7), nn.Conv2d(4096, 4096, 1)
        self.relu, self.dropout = nn.ReLU(), nn.Dropout(0.5)
        self.score_fr = nn.Conv2d(4096, num_classes, 1)
        self.stride = stride
        if stride <= 16:
            self.up2 = bilinear_deconv(num_classes, 2, learnable=False)
            self.score_pool4 = _score(512, num_classes)
        if stride == 8:
            self.up4 = bilinear_deconv(num_classes, 2, learnable=False)
            self.score_pool3 = _score(256, num_classes)
        self.up = bilinear_deconv(num_classes, stride, learnable=False)

    def logits(self, images: Tensor) -> Tensor:
        """Return the class logits of NCHW normalised images, at their size."""
        pools, maps = [], images
        for layer in self.features:
            maps = layer(maps)
            if isinstance(layer, nn.MaxPool2d):
                pools.append(maps)
        maps = self.dropout(self.relu(self.fc6(maps)))
        scores = self.score_fr(self.dropout(self.relu(self.fc7(maps))))
        if self.stride <= 16:
            scores = self.up2(scores)
            scores = scores + _crop(self.score_pool4(pools[3]), 5, scores.shape[-2:])
        if self.stride == 8:
            scores = self.up4(scores)
            scores = scores + _crop(self.score_pool3(pools[2]), 9, scores.shape[-2:])
        return _crop(self.up(scores), {32: 19, 16: 27, 8: 31}[self.stride], height_width(images))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the logits under the name `out`."""
        return {"out": self.logits(images)}
