"""Images without labels, of which training sees random views."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cvkit.data.classified import ClassifiedImage
from cvkit.data.datasets import ImageTransform
from cvkit.data.decode import read_image
from cvkit.ops.seeds import key_seed
from cvkit.structures import Sample

VIEW_SEED = 7
"""First part of the random key of a view."""


@dataclass(frozen=True)
class UnlabelledImages:
    """Images of which each sample is one random view, or several.

    Attributes:
        images: its content, in order; their labels are not used.
        transform: makes a view.
        views: number of views of each image; more than one are stacked, VHWC.
        fixed: a sample is the same in every epoch, for evaluation.
        bits: see `read_image`.
    """

    images: Sequence[ClassifiedImage]
    transform: ImageTransform
    views: int = 1
    fixed: bool = False
    bits: int | None = 16

    def __len__(self) -> int:
        return len(self.images)

    def key(self, index: int) -> str:
        """Return the path of an image, relative to the data."""
        return self.images[index].key

    def read(self, index: int, seed: int = 0) -> Sample:
        """Return one sample; `seed` determines its views.

        Raises:
            DataError: the image cannot be read.
        """
        item = self.images[index]
        image = read_image(item.path, self.bits)
        base = index if self.fixed else seed
        made = [self.transform(image, key_seed(VIEW_SEED, base, n)) for n in range(self.views)]
        return Sample(path=item.key, image=made[0] if self.views == 1 else np.stack(made))
