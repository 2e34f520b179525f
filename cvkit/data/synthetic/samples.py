"""The built-in datasets: synthetic scenes, written in the layout of each task."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from cvkit.data.synthetic.scenes import CLASSES, Frame, Scene, make_motion, make_scene, make_single
from cvkit.data.synthetic.shapes import SHAPES
from cvkit.errors import MachineError, UsageError
from cvkit.ops.rle import encode_part
from cvkit.storage import machine_errors, opencv_name, write_file, write_json
from cvkit.structures import VOC_PALETTE, voc_color

VERSION = 4
"""Part of the cache folder's name; increase it when pixels or labels change."""

CATEGORY_IDS = dict(zip(SHAPES, (3, 7, 20, 44, 90), strict=True))
"""Ids of the classes in COCO files, with gaps as in COCO, so that ids differ from class indices."""


def _numbered(counts: dict[str, int]) -> Iterator[tuple[str, range]]:
    """Yield each split with the numbers of its samples; no two splits share one."""
    first = 0
    for split, count in counts.items():
        yield split, range(first, first + count)
        first += count


def _describe(folder: Path, counts: dict[str, int], seed: int, size_hw: tuple[int, int]) -> None:
    """Write `samples.json`, which describes how a dataset was generated."""
    about = {"version": VERSION, "seed": seed, "counts": counts, "size_hw": size_hw}
    write_file(folder / "samples.json", json.dumps(about) + "\n")


def write_segmentation(
    folder: Path, counts: dict[str, int], seed: int, size_hw: tuple[int, int] = (128, 128)
) -> None:
    """Write scenes as a dataset in the `pairs` layout, with `classes.txt` and `samples.json`.

    Args:
        folder: created if needed; must not contain another dataset.
        counts: scenes of each split; the splits never share a scene.
        seed: of the scenes.
        size_hw: of each image.
    """
    for split, indices in _numbered(counts):
        for kind in ("images", "masks"):
            with machine_errors(folder):
                (folder / kind / split).mkdir(parents=True, exist_ok=True)
        for index in indices:
            scene = make_scene(seed, index, size_hw)
            frame = scene.render()
            name = f"scene{index:05d}.png"
            with machine_errors(folder):
                Image.fromarray(frame.image).save(folder / "images" / split / name)
                mask = Image.fromarray(scene.class_mask(frame))
                mask.putpalette(VOC_PALETTE)
                mask.save(folder / "masks" / split / name)
    lines = (f"{name} {' '.join(map(str, voc_color(i)))}" for i, name in enumerate(CLASSES))
    write_file(folder / "classes.txt", "\n".join(lines) + "\n")
    _describe(folder, counts, seed, size_hw)


def write_classification(
    folder: Path, counts: dict[str, int], seed: int, size_hw: tuple[int, int] = (64, 64)
) -> None:
    """Write images of one shape each as SPLIT/KIND/NAME.png, with `samples.json`.

    Args:
        folder: created if needed; must not contain another dataset.
        counts: images of each split; the splits never share one.
        seed: of the images.
        size_hw: of each image.
    """
    for split, indices in _numbered(counts):
        for index in indices:
            scene, kind = make_single(seed, index, size_hw)
            path = folder / split / kind / f"shape{index:05d}.png"
            with machine_errors(folder):
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(scene.render().image).save(path)
    _describe(folder, counts, seed, size_hw)


SMALLEST = 16
"""Minimum number of visible pixels for a shape to count as an object."""


def write_detection(
    folder: Path, counts: dict[str, int], seed: int, size_hw: tuple[int, int] = (128, 128)
) -> None:
    """Write scenes as images/SPLIT and annotations/instances_SPLIT.json, with `samples.json`.

    A box is the bounding box of the visible part of a shape; `segmentation` is the code of these
    pixels, `area` their number.

    Args:
        folder: created if needed; must not contain another dataset.
        counts: scenes of each split; the splits never share a scene.
        seed: of the scenes.
        size_hw: of each image.
    """
    for split, indices in _numbered(counts):
        with machine_errors(folder):
            (folder / "images" / split).mkdir(parents=True, exist_ok=True)
            (folder / "annotations").mkdir(exist_ok=True)
        images: list[dict[str, Any]] = []
        objects: list[dict[str, Any]] = []
        for number, index in enumerate(indices, 1):
            scene = make_scene(seed, index, size_hw)
            frame = scene.render()
            name = f"scene{index:05d}.png"
            with machine_errors(folder):
                Image.fromarray(frame.image).save(folder / "images" / split / name)
            size = {"height": size_hw[0], "width": size_hw[1]}
            images.append({"id": number, "file_name": name} | size)
            for row in _objects(scene, frame):
                objects.append({"id": len(objects) + 1, "image_id": number} | row)
        categories = [{"id": number, "name": name} for name, number in CATEGORY_IDS.items()]
        content = {"images": images, "annotations": objects, "categories": categories}
        write_json(folder / "annotations" / f"instances_{split}.json", content, indent=None)
    _describe(folder, counts, seed, size_hw)


def _objects(scene: Scene, frame: Frame) -> list[dict]:
    rows = []
    for index, shape in enumerate(scene.shapes):
        y, x = np.nonzero(frame.visible == index)
        if len(y) < SMALLEST:
            continue
        left, top = int(x.min()), int(y.min())
        box = [left, top, int(x.max()) + 1 - left, int(y.max()) + 1 - top]
        code = encode_part(frame.visible == index, (0, 0), frame.visible.shape)
        rows.append(
            {
                "category_id": CATEGORY_IDS[shape.kind],
                "bbox": box,
                "segmentation": {"size": list(frame.visible.shape), "counts": code.decode()},
                "area": len(y),
                "iscrowd": 0,
            }
        )
    return rows


FRAMES, FPS = 16, 12


def write_videos(
    folder: Path, counts: dict[str, int], seed: int, size_hw: tuple[int, int] = (64, 64)
) -> None:
    """Write clips of one moving shape each as SPLIT/MOTION/NAME.mp4, with `samples.json`.

    Args:
        folder: created if needed; must not contain another dataset.
        counts: clips of each split; the splits never share one.
        seed: of the clips.
        size_hw: of each frame, even.
    """
    for split, indices in _numbered(counts):
        for index in indices:
            scene, motion = make_motion(seed, index, size_hw, FRAMES)
            path = folder / split / motion / f"shape{index:05d}.mp4"
            with machine_errors(folder):
                path.parent.mkdir(parents=True, exist_ok=True)
            code = cv2.VideoWriter.fourcc(*"mp4v")
            writer = cv2.VideoWriter(opencv_name(path), code, FPS, size_hw[::-1])
            if not writer.isOpened():
                raise MachineError(f"cannot write {path}: no video encoder", code="video.encoder")
            for frame in range(FRAMES):
                writer.write(scene.render(frame).image[..., ::-1])
            writer.release()
    _describe(folder, counts, seed, size_hw)


Writer = Callable[[Path, dict[str, int], int, tuple[int, int]], None]
"""Writes a dataset, from its folder, the number of samples per split, a seed and their size."""

WRITERS: dict[str, Writer] = {
    "classify": write_classification,
    "segment": write_segmentation,
    "detect": write_detection,
    "instance": write_detection,
    "video": write_videos,
}
"""The writers of the built-in datasets, by task."""


def writer_of(task: str) -> Writer:
    """Return what writes the built-in dataset of a task.

    Raises:
        UsageError: it has none.
    """
    if task not in WRITERS:
        raise UsageError(
            f"there are no built-in samples for {task}",
            code="samples.none",
            hint=f"name a dataset; there are samples for {', '.join(WRITERS)}",
        )
    return WRITERS[task]
