"""Non-maximum suppression over the boxes of all images of a batch."""

import torch
from torch import Tensor
from torchvision.ops import batched_nms, nms


def suppress(
    boxes: Tensor,
    scores: Tensor,
    kind: Tensor,
    image: Tensor,
    *,
    images: int,
    limit: float,
    most: int,
) -> tuple[Tensor, list[int]]:
    """Return which boxes stay of those of a batch, and how many of each image.

    The number of times that the device is waited for does not depend on the number of images.

    Args:
        boxes: [R, 4], image by image.
        scores: [R].
        kind: [R] whole numbers from 0; boxes of different kinds leave each other alone.
        image: [R] ascending; boxes of different images leave each other alone.
        images: number of images.
        limit: IoU above which the lower of two boxes is dropped.
        most: number of boxes that stay of an image.

    Returns:
        The [S] indices, image by image and best first, and the count of each image.
    """
    # A CPU is never waited for, and torchvision's kernel is quadratic in the boxes of a call.
    find = _jointly if boxes.device.type == "cuda" else _image_by_image
    best = find(boxes, scores, kind, image, images, limit)
    place = torch.arange(len(best), device=best.device)
    best = best[place - torch.searchsorted(image[best], image[best]) < most]
    return best, counts_of(image[best], images).tolist()


def counts_of(image: Tensor, images: int) -> Tensor:
    """Return the [images] numbers of boxes of each image, without waiting for the device."""
    numbers = torch.arange(images, device=image.device)
    return (image[None] == numbers[:, None]).sum(1)


def _image_by_image(
    boxes: Tensor, scores: Tensor, kind: Tensor, image: Tensor, images: int, limit: float
) -> Tensor:
    counts = counts_of(image, images).tolist()
    parts = zip(*(each.split(counts) for each in (boxes, scores, kind)), strict=True)
    found, start = [image[:0]], 0
    for count, part in zip(counts, parts, strict=True):
        found.append(batched_nms(*part, limit) + start)
        start += count
    return torch.cat(found)


def _jointly(
    boxes: Tensor, scores: Tensor, kind: Tensor, image: Tensor, images: int, limit: float
) -> Tensor:
    """Move the boxes of each image and kind to a place of their own, and suppress them all at once.

    In float64, because float32 would round the moved boxes by up to a tenth of a pixel.
    """
    if not len(boxes):
        return image
    wide = boxes.double()
    group = kind * images + image
    moved = wide + (group * (wide.max() - wide.min() + 1))[:, None]
    best = nms(moved, scores.double(), limit)
    return best[image[best].argsort(stable=True)]
