"""An architecture that segments: one file and one row."""

from torch import nn

from cvkit.arch_facts import Segmenter
from cvkit.arch_table import SEGMENTERS
from cvkit.models.segmentation.base import SegmentationModel


class Coarse(SegmentationModel):
    """Scores of the coarsest map."""

    def __init__(self, backbone, num_classes, aux_level=None):
        super().__init__(backbone, num_classes, aux_level)
        self.classifier = nn.Conv2d(backbone.channels[-1], num_classes, 1)

    def decode(self, maps, size_hw):
        return self.classifier(maps[-1])


SEGMENTERS["coarse"] = Segmenter(target="toys.decoder:Coarse", about="scores of the coarsest map")
