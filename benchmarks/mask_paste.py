"""Pasting masks into an image and coding them: torchvision's way and cvkit's, alternating.

100 masks of 28x28 on 1920x1080, boxes of 25 to 300 pixels. Torchvision's leg pastes into whole
images, cuts at 0.5 and codes with pycocotools; cvkit works in each box and codes at once.

    python benchmarks/mask_paste.py [--rounds N] [--json]
"""

from collections.abc import Iterator

import numpy as np
import torch
from pairs import Line, alternate, compared, main
from pycocotools import mask as coco
from torch.nn import functional as F
from torchvision.models.detection.roi_heads import paste_masks_in_image

from cvkit.engine.runtime import keep_memory
from cvkit.ops.mask_pasting import paste_masks

SIZE_HW = (1080, 1920)
PEER = "torchvision to codes"
CALLS = 5
"""Rounds per round that is asked for: they are short."""


def measure(rounds: int) -> Iterator[Line]:
    """Yield the lines of both legs."""
    keep_memory()
    torch.manual_seed(0)
    centre = torch.rand(100, 2) * torch.tensor([1920.0, 1080.0])
    half = torch.exp(torch.rand(100, 2) * 2.5) * 25 / 2
    boxes = torch.cat((centre - half, centre + half), 1)
    boxes = boxes.clamp(min=0).minimum(torch.tensor([1920.0, 1080.0, 1920.0, 1080.0]))
    coarse = 4 * torch.randn(100, 1, 7, 7)
    grids = F.interpolate(coarse, size=(28, 28), mode="bicubic").sigmoid()

    def pixels() -> torch.Tensor:
        return paste_masks_in_image(grids, boxes, SIZE_HW)[:, 0]

    def codes() -> list[bytes]:
        shown = (pixels() > 0.5).numpy().astype(np.uint8)
        return [coco.encode(np.asfortranarray(mask))["counts"] for mask in shown]

    def ours() -> list[bytes]:
        return list(paste_masks(grids[:, 0], boxes, SIZE_HW).codes)

    assert codes() == ours(), "the masks differ"
    legs = {"torchvision, pasting alone": pixels, PEER: codes, "cvkit": ours}
    seconds = alternate(legs, CALLS * rounds)
    yield from compared("100 masks on 1920x1080", seconds, PEER, goals={"cvkit": 60.0})


if __name__ == "__main__":
    main(measure)
