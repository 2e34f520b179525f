"""Reads a whole dataset once before work starts, to find all defects.

Findings are cached, so that the next start decodes only files that have changed.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cvkit.data.annotated import AnnotatedImage, upright
from cvkit.data.classified import ClassifiedImage
from cvkit.data.clips import part_of
from cvkit.data.datasets import read_pair
from cvkit.data.decode import needed_bits, read_header, read_image
from cvkit.data.frames import frame_bits, frame_files
from cvkit.data.known import Known, content_hash, known_hash
from cvkit.data.labelled import LabelledImage, mask_file, rules
from cvkit.data.masks import Drawing, MaskReader
from cvkit.data.video import COUNTED, VideoIndex, index_video
from cvkit.errors import CvkitError, of_sample
from cvkit.structures import IGNORE


@dataclass
class Found:
    """The common findings of all scans.

    Attributes:
        defects: all of them, in file order, each with the key of its sample.
        hashes: `content_hash` of each image or video that could be read, in file order.
        bits: that all 16-bit files together need, see `needed_bits`; None without any.
        note: why the findings cannot be cached; "" if they are.
    """

    defects: list[CvkitError] = field(default_factory=list)
    hashes: list[str] = field(default_factory=list)
    bits: int | None = None
    note: str = ""

    def widen(self, bits: int | None) -> None:
        """Include the bits that another image or video needs."""
        self.bits = max(filter(None, (self.bits, bits)), default=None)


@dataclass
class Scan(Found):
    """The findings about a split of images with masks.

    Attributes:
        pixels: [256] int64, pixels of each class index; entry `IGNORE`: pixels without a label.
        sizes_hw: the image sizes, in file order; None if the image could not be read.
        mask_hashes: `content_hash` of each mask whose pair could be read, in file order.
        recolored: palette masks that are read by their colours, not by their values.
    """

    pixels: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    sizes_hw: list[tuple[int, int] | None] = field(default_factory=list)
    mask_hashes: list[str] = field(default_factory=list)
    recolored: int = 0

    @property
    def largest_label(self) -> int:
        """Largest class index found; -1 if no pixel has a label."""
        labels = np.flatnonzero(self.pixels[:IGNORE])
        return int(labels[-1]) if labels.size else -1


def scan_pairs(
    pairs: Sequence[LabelledImage],
    reader: MaskReader,
    on_step: Callable[[int], None] | None = None,
) -> Scan:
    """Decode all images and masks of a split that are not in the cache, on all cores.

    Args:
        pairs: the split.
        reader: of its masks.
        on_step: called with the number of pairs done so far.
    """
    scan = Scan()
    kind = f"pair {reader}{rules(pair.mask for pair in pairs)}"
    with Known(kind, [pair.image for pair in pairs]) as known:

        def examine(pair: LabelledImage) -> list[Any] | CvkitError:
            try:
                files = [pair.image, mask_file(pair.mask)]
                return known.find(files, lambda: _pair_facts(pair, reader))
            except CvkitError as error:
                return of_sample(error, pair.key)

        for found in on_all_cores(examine, pairs, on_step):
            if isinstance(found, CvkitError):
                scan.defects.append(found)
                scan.sizes_hw.append(None)
                continue
            size_hw, counts, image_hash, mask_hash, recolored, bits = found
            scan.sizes_hw.append(tuple(size_hw))
            scan.hashes.append(image_hash)
            scan.mask_hashes.append(mask_hash)
            scan.recolored += recolored
            scan.widen(bits)
            for label, count in counts:
                scan.pixels[label] += count
    scan.note = known.note
    return scan


def _pair_facts(pair: LabelledImage, reader: MaskReader) -> list[Any]:
    """Return size, pixels of each label, hashes, recolouring and bits of an image with its mask."""
    _, mask = read_pair(pair, reader)
    labels, counts = np.unique(mask, return_counts=True)
    pairs = np.stack([labels, counts], 1).tolist()
    recolored = isinstance(pair.mask, Path) and bool(reader.recolors(pair.mask))
    hashes = content_hash(pair.image), _mask_hash(pair.mask)
    return [list(mask.shape), pairs, *hashes, recolored, needed_bits(pair.image)]


def _mask_hash(mask: Path | Drawing) -> str:
    """Return the hash of a mask's file, or of the values of a drawn one."""
    if isinstance(mask, Drawing):
        return hashlib.sha256(mask.values().tobytes()).hexdigest()
    return content_hash(mask)


def _image_facts(path: Path) -> list[Any]:
    """Return size, EXIF orientation, hash and bits of an image."""
    size_hw = read_image(path).shape[:2]
    return [list(size_hw), read_header(path)[1], content_hash(path), needed_bits(path)]


@dataclass
class ImageScan(Found):
    """The findings about a split of images with classes.

    Attributes:
        sizes_hw: the sizes of the readable images, in file order.
    """

    sizes_hw: list[tuple[int, int]] = field(default_factory=list)


def scan_images(
    images: Sequence[ClassifiedImage], on_step: Callable[[int], None] | None = None
) -> ImageScan:
    """Decode all images of a split that are not in the cache, on all cores.

    Args:
        images: the split.
        on_step: called with the number of images done so far.
    """
    scan = ImageScan()
    with Known("image", [image.path for image in images]) as known:

        def examine(image: ClassifiedImage) -> list[Any] | CvkitError:
            try:
                return known.find([image.path], lambda: _image_facts(image.path))
            except CvkitError as error:
                return of_sample(error, image.key)

        for found in on_all_cores(examine, images, on_step):
            if isinstance(found, CvkitError):
                scan.defects.append(found)
            else:
                scan.sizes_hw.append(tuple(found[0]))
                scan.hashes.append(found[2])
                scan.widen(found[3])
    scan.note = known.note
    return scan


@dataclass
class BoxScan(Found):
    """The findings about a split of images with boxes.

    Attributes:
        images: the split, boxes in the pixels that `read_image` gives.
        sizes_hw: the sizes of the readable images, in file order.
        clipped: number of boxes that extend beyond their image.
    """

    images: list[AnnotatedImage] = field(default_factory=list)
    sizes_hw: list[tuple[int, int]] = field(default_factory=list)
    clipped: int = 0


def scan_boxes(
    images: Sequence[AnnotatedImage], on_step: Callable[[int], None] | None = None
) -> BoxScan:
    """Decode all images of a split that are not in the cache, on all cores; make boxes upright.

    Args:
        images: the split.
        on_step: called with the number of images done so far.
    """
    scan = BoxScan()
    with Known("image", [image.path for image in images]) as known:

        def examine(image: AnnotatedImage) -> tuple[AnnotatedImage, str, int | None] | CvkitError:
            try:
                facts = known.find([image.path], lambda: _image_facts(image.path))
                (height, width), orientation, digest, bits = facts
                return upright(image, ((height, width), orientation)), digest, bits
            except CvkitError as error:
                return of_sample(error, image.key)

        for image, found in zip(images, on_all_cores(examine, images, on_step), strict=True):
            if isinstance(found, CvkitError):
                scan.defects.append(found)
                scan.images.append(image)
                continue
            made, digest, bits = found
            scan.widen(bits)
            scan.images.append(made)
            scan.hashes.append(digest)
            scan.sizes_hw.append(made.size_wh[::-1])
            limit = np.array(made.size_wh * 2)
            boxes = made.truth.boxes
            scan.clipped += int(((boxes < -0.5) | (boxes > limit + 0.5)).any(1).sum())
    scan.note = known.note
    return scan


@dataclass
class VideoScan(Found):
    """The findings about a split of videos.

    Attributes:
        sizes_hw: of the frames of readable videos, in file order.
        lengths: number of usable frames and frames per second of each.
        claimed: for each, the number of frames that its header claims if it is another and the
            container stores it; else 0.
        differing: number of videos whose header claims another number of frames.
    """

    sizes_hw: list[tuple[int, int]] = field(default_factory=list)
    lengths: list[tuple[int, float]] = field(default_factory=list)
    claimed: list[int] = field(default_factory=list)
    differing: int = 0


def scan_videos(
    videos: Sequence[ClassifiedImage], on_step: Callable[[int], None] | None = None
) -> VideoScan:
    """Decode all videos of a split that are not in the cache, on all cores.

    Args:
        videos: the split.
        on_step: called with the number of videos done so far.
    """
    scan = VideoScan()
    with Known("content", [video.path for video in videos]) as known:

        def examine(
            video: ClassifiedImage,
        ) -> tuple[VideoIndex, slice, str, int | None] | CvkitError:
            try:
                index = index_video(video.path)
                part = part_of(index, video.seconds, video.path)
                bits = frame_bits(frame_files(video.path)) if video.path.is_dir() else None
                return index, part, known_hash(video.path, known), bits
            except CvkitError as error:
                return of_sample(error, video.key)

        for video, found in zip(videos, on_all_cores(examine, videos, on_step), strict=True):
            if isinstance(found, CvkitError):
                scan.defects.append(found)
                continue
            index, part, digest, bits = found
            scan.widen(bits)
            scan.hashes.append(digest)
            scan.sizes_hw.append(index.size_hw)
            scan.lengths.append((part.stop - part.start, index.fps))
            claims = index.header_frames not in (0, len(index))
            stored = video.path.suffix.lower() in COUNTED
            scan.claimed.append(index.header_frames if claims and stored else 0)
            scan.differing += claims
    scan.note = known.note
    return scan


def on_all_cores(
    examine: Callable[[Any], Any], items: Sequence[Any], on_step: Callable[[int], None] | None
) -> Iterator[Any]:
    """Yield the result of `examine` for each item, in order."""
    cores = os.cpu_count() or 1
    # Passing an item to a process costs as much as a cache hit, so many are passed together.
    size = max(1, min(64, len(items) // (16 * cores)))
    parts = [items[first : first + size] for first in range(0, len(items), size)]
    done = 0
    with ThreadPoolExecutor(cores) as pool:
        try:
            for part in pool.map(lambda part: [examine(item) for item in part], parts):
                for found in part:
                    yield found
                    done += 1
                    if on_step:
                        on_step(done)
        finally:
            pool.shutdown(cancel_futures=True)
