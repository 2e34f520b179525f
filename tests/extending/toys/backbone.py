"""A backbone: one file, and one row in the package."""

import itertools

from torch import nn

from cvkit.models.backbones import Backbone


class Toy(Backbone):
    """Five stages of a convolution and a pooling layer."""

    def __init__(self, builder, output_stride=32):
        super().__init__()
        widths = [3, 8, 8, 16, 16, 16]
        self.parts = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before, width, 3, padding=1),
                nn.BatchNorm2d(width),
                nn.ReLU(),
                nn.MaxPool2d(2),
            )
            for before, width in itertools.pairwise(widths)
        )
        self._set_contract(widths[1:], output_stride)

    def forward(self, images):
        maps = []
        for part in self.parts:
            images = part(images)
            maps.append(images)
        return maps

    def stages(self):
        return list(self.parts)

    @classmethod
    def divided(cls, net, builder):
        raise NotImplementedError("torchvision has no such network")
