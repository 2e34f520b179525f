"""Reading a whole dataset once before work starts, to find what is wrong with it."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cvkit.data.annotated import AnnotatedImage, upright
from cvkit.data.clips import part_of
from cvkit.data.datasets import read_pair
from cvkit.data.decode import read_image
from cvkit.data.folders import ClassifiedImage
from cvkit.data.layouts import LabelledImage
from cvkit.data.masks import MaskReader
from cvkit.data.video import VideoIndex, index_video
from cvkit.errors import CvkitError, DataError
from cvkit.storage import sha256
from cvkit.structures import IGNORE


@dataclass
class Scan:
    """What was found in a split.

    Attributes:
        pixels: [256] int64, pixels of each class index; entry `IGNORE` is those without label.
        defects: everything that was wrong, in file order.
        sizes_hw: the image sizes, in file order; None where the image could not be read.
    """

    pixels: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    defects: list[CvkitError] = field(default_factory=list)
    sizes_hw: list[tuple[int, int] | None] = field(default_factory=list)

    @property
    def largest_label(self) -> int:
        """Largest class index found, -1 where no pixel has a label."""
        labels = np.flatnonzero(self.pixels[:IGNORE])
        return int(labels[-1]) if labels.size else -1


def scan_pairs(
    pairs: Sequence[LabelledImage],
    reader: MaskReader,
    on_step: Callable[[int], None] | None = None,
) -> Scan:
    """Decode every image and mask of a split once, on all cores.

    Args:
        pairs: the split.
        reader: how its masks are read.
        on_step: called with the number of pairs done so far.
    """
    scan = Scan()

    def look(pair: LabelledImage) -> np.ndarray | CvkitError:
        try:
            _, mask = read_pair(pair, reader)
        except CvkitError as error:
            return error
        return mask.shape, np.bincount(mask.ravel(), minlength=256)

    for found in _on_all_cores(look, pairs, on_step):
        if isinstance(found, CvkitError):
            scan.defects.append(found)
            scan.sizes_hw.append(None)
        else:
            scan.sizes_hw.append(found[0])
            scan.pixels += found[1]
    return scan


@dataclass
class ImageScan:
    """What was found in a split of whole images.

    Attributes:
        defects: everything that was wrong, in file order.
        sizes_hw: the sizes of the readable images, in file order.
        hashes: SHA-256 of each file that could be read at all, in file order.
    """

    defects: list[CvkitError] = field(default_factory=list)
    sizes_hw: list[tuple[int, int]] = field(default_factory=list)
    hashes: list[str] = field(default_factory=list)


def scan_images(
    images: Sequence[ClassifiedImage], on_step: Callable[[int], None] | None = None
) -> ImageScan:
    """Decode every image of a split once, on all cores.

    Args:
        images: the split.
        on_step: called with the number of images done so far.
    """
    scan = ImageScan()

    def look(image: ClassifiedImage) -> tuple[tuple[int, int], str] | CvkitError:
        try:
            return read_image(image.path).shape[:2], sha256(image.path)
        except CvkitError as error:
            return error

    for found in _on_all_cores(look, images, on_step):
        if isinstance(found, CvkitError):
            scan.defects.append(found)
        else:
            scan.sizes_hw.append(found[0])
            scan.hashes.append(found[1])
    return scan


@dataclass
class BoxScan:
    """What was found in a split of images with boxes.

    Attributes:
        images: the split, boxes in the pixels that `read_image` gives.
        defects: everything that was wrong, in file order.
        sizes_hw: the sizes of the readable images, in file order.
        clipped: boxes that reach beyond their image.
    """

    images: list[AnnotatedImage] = field(default_factory=list)
    defects: list[CvkitError] = field(default_factory=list)
    sizes_hw: list[tuple[int, int]] = field(default_factory=list)
    clipped: int = 0


def scan_boxes(
    images: Sequence[AnnotatedImage], on_step: Callable[[int, str], None] | None = None
) -> BoxScan:
    """Decode every image of a split once, on all cores, and turn boxes upright.

    Args:
        images: the split.
        on_step: called with the number of images done so far.
    """
    scan = BoxScan()

    def look(image: AnnotatedImage) -> AnnotatedImage | CvkitError:
        try:
            return upright(image, read_image(image.path).shape[:2])
        except CvkitError as error:
            return error

    for image, found in zip(images, _on_all_cores(look, images, on_step), strict=True):
        if isinstance(found, CvkitError):
            scan.defects.append(found)
            scan.images.append(image)
            continue
        scan.images.append(found)
        scan.sizes_hw.append(found.size_wh[::-1])
        limit = np.array(found.size_wh * 2)
        boxes = found.truth.boxes
        scan.clipped += int(((boxes < -0.5) | (boxes > limit + 0.5)).any(1).sum())
    return scan


def turn_upright(images: Sequence[AnnotatedImage]) -> tuple[BoxScan, int]:
    """Turn the boxes and masks of a split upright by the headers of its images.

    For scoring files, which needs no image: one that is missing or unreadable stays as it is.

    Returns:
        The split with its defects, and how many of its images were turned.
    """
    scan, turned = BoxScan(), 0

    def look(image: AnnotatedImage) -> AnnotatedImage | CvkitError:
        try:
            return upright(image)
        except CvkitError as error:
            return error

    for image, found in zip(images, _on_all_cores(look, images, None), strict=True):
        known = isinstance(found, AnnotatedImage)
        scan.images.append(found if known else image)
        turned += known and image.size_wh not in (None, found.size_wh)
        if not known and found.code == "image.size_mismatch":
            scan.defects.append(found)
    return scan, turned


@dataclass
class VideoScan:
    """What was found in a split of videos.

    Attributes:
        defects: everything that was wrong, in file order.
        sizes_hw: of the frames of readable videos, in file order.
        lengths: frames that count and frames a second of each.
        differing: videos whose header claims another number of frames.
    """

    defects: list[CvkitError] = field(default_factory=list)
    sizes_hw: list[tuple[int, int]] = field(default_factory=list)
    lengths: list[tuple[int, float]] = field(default_factory=list)
    differing: int = 0


def scan_videos(
    videos: Sequence[ClassifiedImage], on_step: Callable[[int], None] | None = None
) -> VideoScan:
    """Decode every video of a split once, on all cores; what is known already is not decoded.

    Args:
        videos: the split.
        on_step: called with the number of videos done so far.
    """
    scan = VideoScan()

    def look(video: ClassifiedImage) -> tuple[VideoIndex, slice] | CvkitError:
        try:
            index = index_video(video.path)
            return index, part_of(index, video.seconds, video.path)
        except CvkitError as error:
            return error

    for found in _on_all_cores(look, videos, on_step):
        if isinstance(found, CvkitError):
            scan.defects.append(found)
            continue
        index, part = found
        scan.sizes_hw.append(index.size_hw)
        scan.lengths.append((part.stop - part.start, index.fps))
        scan.differing += index.header_frames not in (0, len(index))
    return scan


def _on_all_cores(
    look: Callable[[Any], Any], items: Sequence[Any], on_step: Callable[[int], None] | None
) -> Iterator[Any]:
    """Yield what `look` finds in each item, in order."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            for done, found in enumerate(pool.map(look, items), 1):
                yield found
                if on_step:
                    on_step(done)
        finally:
            pool.shutdown(cancel_futures=True)


def raise_defects(defects: Sequence[CvkitError], what: str) -> None:
    """Do nothing without defects.

    Raises:
        DataError: lists the defects, one if it is the only one.
    """
    if not defects:
        return
    if len(defects) == 1:
        raise defects[0]
    shown = [f"  {defect}" for defect in defects[:100]]
    more = [f"  and {len(defects) - 100} more"] if len(defects) > 100 else []
    codes = {defect.code for defect in defects}
    raise DataError(
        "\n".join([f"{what} has {len(defects)} defects:", *shown, *more]),
        code=codes.pop() if len(codes) == 1 else "data.defects",
    )


def fingerprint(items: Sequence[tuple[str, Sequence[Path]]]) -> str:
    """Return a SHA-256 over the names and file sizes of a split's samples."""
    digest = hashlib.sha256()
    for key, paths in items:
        files = [
            file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])
        ]
        sizes = [file.stat().st_size for file in files]
        digest.update(f"{key}\0{sizes}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()
