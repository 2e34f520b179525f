"""How well proposals cover objects."""

import numpy as np


def coverage(
    proposals: list[np.ndarray], boxes: list[np.ndarray], labels: list[np.ndarray]
) -> dict[str, float | None]:
    """Return how well proposals cover objects.

    Args:
        proposals: [R, 4] of each image.
        boxes: [M, 4] objects of each image.
        labels: [M] their classes.

    Returns:
        `recall` (fraction of the objects with a proposal of IoU over 0.5), `mabo` (mean over
        classes of the mean best overlap) and `boxes` (proposals per image).
    """
    best, kinds = [np.zeros(0)], [np.zeros(0, int)]
    for regions, objects, label in zip(proposals, boxes, labels, strict=True):
        if not len(objects):
            continue
        low = np.maximum(objects[:, None, :2], regions[None, :, :2])
        inter = np.clip(np.minimum(objects[:, None, 2:], regions[None, :, 2:]) - low, 0, None)
        inter = inter.prod(2)
        areas = [(b[:, 2:] - b[:, :2]).prod(1) for b in (objects, regions)]
        union = areas[0][:, None] + areas[1][None] - inter
        iou = np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)
        best.append(iou.max(1, initial=0.0))
        kinds.append(label)
    overlap, kind = np.concatenate(best), np.concatenate(kinds)
    means = [overlap[kind == label].mean() for label in np.unique(kind)]
    return {
        "recall": float((overlap > 0.5).mean()) if len(overlap) else None,
        "mabo": float(np.mean(means)) if means else None,
        "boxes": float(np.mean([len(regions) for regions in proposals])) if proposals else None,
    }
