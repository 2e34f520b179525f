"""Transforms of images with boxes, and with masks if the objects have them."""

from dataclasses import replace
from pathlib import Path

import albumentations as A
import cv2
import numpy as np

from cvkit.catalog import AUGMENTATIONS
from cvkit.data.transforms.pipelines import FILL_RGB, Seeded, load_pipeline
from cvkit.ops.rle import layer_boxes
from cvkit.structures import Instances, MaskLayers

POLICIES = AUGMENTATIONS["detect"]
VISIBLE = 0.25
"""Fraction of a box's area that must stay inside the image for the object to be kept."""


def _zoom(low: float, high: float, shift: float) -> A.BasicTransform:
    """Return a random change of scale at constant image size, and a random shift."""
    return A.Affine(
        scale=(low, high),
        keep_ratio=True,
        balanced_scale=True,
        translate_percent={"x": (-shift, shift), "y": (-shift, shift)},
        interpolation=cv2.INTER_LINEAR,
        fill=FILL_RGB,
        p=1.0,
    )


def _colors(strength: float) -> A.BasicTransform:
    return A.ColorJitter(
        brightness=strength, contrast=strength, saturation=strength, hue=strength / 8, p=0.8
    )


def _steps(policy: str) -> list[A.BasicTransform | A.BaseCompose]:
    flip = A.HorizontalFlip(p=0.5)
    noise = A.OneOf(
        [A.GaussianBlur(), A.GaussNoise(), A.ImageCompression(quality_range=(40, 95))], p=0.3
    )
    return {
        "none": [A.NoOp()],
        "light": [flip, _zoom(0.75, 1.5, 0.15), _colors(0.3)],
        "strong": [flip, _zoom(0.5, 2.0, 0.25), _colors(0.5), noise],
        "lsj": [flip, _zoom(0.1, 2.0, 0.4)],
        "mosaic": [flip, _zoom(0.75, 1.5, 0.15), _colors(0.3)],
    }[policy]


class BoxTransform(Seeded):
    """Turns an image and its objects into a training sample, determined by a seed.

    Args:
        augment: one of `POLICIES`, or the path of an albumentations pipeline. `light` mirrors and
            changes scale (0.75 to 1.5) and colours; `strong` does so more strongly; `lsj` is large
            scale jitter, 0.1 to 2 (Simple Copy-Paste, 2020, arXiv:2012.07177); `mosaic` puts four
            images into one with probability 0.5 (YOLOv4, 2020, arXiv:2004.10934).

    Raises:
        UsageError: the pipeline file cannot be read.
    """

    def __init__(self, augment: str) -> None:
        known = augment in POLICIES
        steps = _steps(augment) if known else [load_pipeline(Path(augment), POLICIES)]
        self.mosaic = augment == "mosaic"
        rule = A.BboxParams("pascal_voc", ["places"], min_visibility=VISIBLE, clip=True)
        super().__init__(steps, rule)

    def __call__(
        self, image: np.ndarray, objects: Instances, proposals: np.ndarray | None, seed: int
    ) -> tuple[np.ndarray, Instances, np.ndarray | None]:
        """Return the transformed image, its objects and its proposals.

        Objects and proposals of which less than a quarter stays inside are dropped. Masks are
        transformed as layers; the box of an object is then the bounding box of its mask.

        Args:
            image: HWC RGB uint8.
            objects: boxes inside it, of positive size.
            proposals: [R, 4] boxes inside it.
            seed: equal seeds give equal results.
        """
        boxes = objects.boxes if proposals is None else np.concatenate([objects.boxes, proposals])
        given = {"bboxes": boxes.reshape(-1, 4), "places": np.arange(len(boxes))}
        if isinstance(objects.masks, MaskLayers):
            given["masks"] = objects.masks.maps
        found = self.apply(seed, image=image, **given)
        moved = np.asarray(found["bboxes"], np.float32).reshape(-1, 4)
        places = np.asarray(found["places"], np.int64).reshape(-1)
        moved, places = _with_area(moved, places)
        is_object = places < len(objects)
        result = replace(objects.pick(places[is_object]), boxes=moved[is_object])
        if isinstance(result.masks, MaskLayers):
            result = _around_masks(result, replace(result.masks, maps=found["masks"]))
        image = np.ascontiguousarray(found["image"])
        return image, result, None if proposals is None else moved[~is_object]


def _around_masks(objects: Instances, masks: MaskLayers) -> Instances:
    """Return the objects whose masks still have pixels, with their bounding boxes."""
    boxes = layer_boxes(masks)
    left = boxes[:, 2] > boxes[:, 0]
    return replace(objects, boxes=boxes.astype(np.float32), masks=masks).pick(left)


def _with_area(boxes: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    keep = ((boxes[:, 2:] - boxes[:, :2]) >= 1).all(1)
    return boxes[keep], places[keep]


def mosaic(
    parts: list[tuple[np.ndarray, Instances, np.ndarray | None]], seed: int
) -> tuple[np.ndarray, Instances, np.ndarray | None]:
    """Return four images with their objects and proposals in one image of the first one's size.

    Each image is scaled to fit into its quarter around a random centre and placed at that centre.
    """
    rng = np.random.default_rng(seed)
    height, width = parts[0][0].shape[:2]
    cx, cy = (int(side * rng.uniform(0.35, 0.65)) for side in (width, height))
    canvas = np.empty((height, width, 3), np.uint8)
    canvas[:] = FILL_RGB
    objects, regions, layers = [], [], []
    for number, (image, placed, proposals) in enumerate(parts):
        right, low = number % 2, number // 2
        room_w, room_h = (width - cx if right else cx), (height - cy if low else cy)
        scale = min(room_w / image.shape[1], room_h / image.shape[0])
        wide, high = (max(1, int(side * scale)) for side in (image.shape[1], image.shape[0]))
        small = cv2.resize(image, (wide, high), interpolation=cv2.INTER_AREA)
        left, top = (cx if right else cx - wide), (cy if low else cy - high)
        canvas[top : top + high, left : left + wide] = small
        factor = np.array([wide / image.shape[1], high / image.shape[0]] * 2, np.float32)
        shift = np.array([left, top] * 2, np.float32)
        objects.append(replace(placed, boxes=placed.boxes * factor + shift))
        if isinstance(placed.masks, MaskLayers):
            layers.append(_placed(placed.masks, (left, top, wide, high), (height, width)))
        if proposals is not None:
            regions.append(proposals * factor + shift)
    names = ("boxes", "labels", "areas", "crowd", "difficult")
    joined = {name: np.concatenate([getattr(each, name) for each in objects]) for name in names}
    result = Instances(**joined, masks=_joined(layers) if layers else None)
    return canvas, result, np.concatenate(regions) if regions else None


def _placed(
    layers: MaskLayers, place: tuple[int, int, int, int], size_hw: tuple[int, int]
) -> MaskLayers:
    """Return layers resized into a rectangle (x, y, width, height) of empty maps."""
    left, top, wide, high = place
    maps = np.zeros((len(layers.maps), *size_hw), np.uint16)
    for target, source in zip(maps, layers.maps, strict=True):
        small = cv2.resize(source, (wide, high), interpolation=cv2.INTER_NEAREST)
        target[top : top + high, left : left + wide] = small
    return replace(layers, maps=maps)


def _joined(parts: list[MaskLayers]) -> MaskLayers:
    """Return the layers of non-overlapping parts with consecutive numbers."""
    depth = max(len(part.maps) for part in parts)
    maps = np.zeros((depth, *parts[0].maps.shape[1:]), np.uint16)
    values, last = [], 0
    for part in parts:
        shown = part.maps > 0
        maps[: len(part.maps)][shown] = part.maps[shown] + np.uint16(last)
        values.append(part.values + last)
        last += int(part.maps.max())
    return MaskLayers(maps, np.concatenate([p.layers for p in parts]), np.concatenate(values))
