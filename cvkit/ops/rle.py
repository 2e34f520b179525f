"""Masks of objects: run-length codes, layers, boxes, outlines. Does not import torch."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from pycocotools import mask as coco

from cvkit.structures import MaskLayers, Masks


def encode(masks: np.ndarray) -> Masks:
    """Return the run-length codes of [N, H, W] masks."""
    return encode_parts(((mask, (0, 0)) for mask in masks), masks.shape[1:])


def make_masks(
    codes: Sequence[bytes], size_hw: tuple[int, int], extents: np.ndarray | None = None
) -> Masks:
    """Return the masks of these codes."""
    array = np.empty(len(codes), object)
    array[:] = codes
    height, width = size_hw
    return Masks((height, width), array, extents)


def encode_part(part: np.ndarray, corner_yx: tuple[int, int], size_hw: tuple[int, int]) -> bytes:
    """Return the code of one mask; see `encode_parts`."""
    return encode_parts([(part, corner_yx)], size_hw).codes[0]


def encode_parts(
    parts: Iterable[tuple[np.ndarray, tuple[int, int]]], size_hw: tuple[int, int]
) -> Masks:
    """Return the codes of masks that are 0 outside a rectangle, at the cost of the rectangles.

    Args:
        parts: [h, w] bool, the rectangle of a mask, and its corner (y, x); it lies inside the
            image. Only one of them is in memory at a time.
        size_hw: of the image.
    """
    return encode_columns((_columns(*each) for each in parts), size_hw)


@dataclass(frozen=True)
class Columns:
    """Masks that are 0 outside a rectangle, column by column, with a 0 above each column.

    Attributes:
        pixels: flat uint8, the masks one after the other, and a 0 at the end.
        sizes_hw: [N, 2] of the rectangles, without the 0s.
        corners_yx: [N, 2] of the rectangles in the image.
    """

    pixels: np.ndarray
    sizes_hw: np.ndarray
    corners_yx: np.ndarray


def _columns(part: np.ndarray, corner_yx: tuple[int, int]) -> Columns:
    rows, width = part.shape if part.size else (0, 0)
    pixels = np.zeros(width * (rows + 1) + 1, np.uint8)
    if part.size:
        columns = cv2.transpose(np.ascontiguousarray(part).view(np.uint8))
        pixels[:-1].reshape(width, rows + 1)[:, 1:] = columns.reshape(width, rows)
    return Columns(pixels, np.array([(rows, width)]), np.array([corner_yx]))


def encode_columns(groups: Iterable[Columns], size_hw: tuple[int, int]) -> Masks:
    """Return the codes of all masks in groups, of which one is in memory at a time."""
    area = size_hw[0] * size_hw[1]
    found = [_edges(group, size_hw[0]) for group in groups]
    # The end of a mask counts as an edge.
    counts = np.concatenate([np.zeros(0, np.int64), *(each for _, each in found)]) + 1
    ends = np.cumsum(counts)
    first = np.repeat(np.arange(len(counts)) * (area + 1), counts)  # masks have their own places
    key = first + area
    inside = np.ones(len(key), bool)
    inside[ends - 1] = False
    key[inside] = np.concatenate([key[:0], *(edges for edges, _ in found)]) + first[inside]
    same = key[1:] == key[:-1]
    if same.any():
        # A run that goes on at the top of the next column ends where the next one starts.
        same, again = np.append(same, False), np.append(False, same)
        kept = ~again & (~same | (key - first == area))
        counts = np.add.reduceat(kept, ends - counts, dtype=np.int64)
        key, first, ends = key[kept], first[kept], np.cumsum(counts)
    runs = np.diff(key, prepend=0)
    starts = ends - counts
    runs[starts] = (key - first)[starts]
    return make_masks(_compressed(runs, counts), size_hw)


def _edges(columns: Columns, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Return where masks start or end, and the number of these places in each mask.

    Places ascend in each mask; they are counted down the columns of the image.
    """
    edges = (columns.pixels[1:] != columns.pixels[:-1]).nonzero()[0]
    rows, widths = columns.sizes_hw.T
    ends = np.cumsum(widths * (rows + 1))
    counts = np.diff(np.searchsorted(edges, ends), prepend=0)
    starts, steps = (np.repeat(each, counts) for each in (ends - widths * (rows + 1), rows + 1))
    y, x = columns.corners_yx.T
    offset = np.repeat(x * height + y, counts)
    within = edges - starts
    before = ((within + 0.5) / steps).astype(np.int64)  # a division of whole numbers is slow
    return within + before * (height - steps) + offset, counts


def _compressed(runs: np.ndarray, counts: np.ndarray) -> list[bytes]:
    """Return the compressed codes of masks; see `run_lengths`.

    Args:
        runs: [R] the run lengths of all masks, one after the other.
        counts: [N] the number of runs of each.
    """
    numbers, stops = runs.copy(), np.cumsum(counts)
    numbers[2:] -= runs[:-2]
    for place in range(3):
        heads = (stops - counts + place)[counts > place]
        numbers[heads] = runs[heads]
    size, limit = np.abs(numbers + (numbers < 0)), 16  # five bits hold -16 to 15, ten -512 to 511
    lengths = np.ones(len(runs), np.int64)
    while (longer := size >= limit).any():
        lengths += longer
        limit *= 32
    ends = np.cumsum(lengths)
    code, places = np.zeros(lengths.sum(), np.uint8), ends - lengths
    while len(places):
        code[places] = (numbers & 31) + np.where(lengths > 1, 80, 48)
        rest = (lengths > 1).nonzero()[0]
        numbers, lengths, places = numbers[rest] >> 5, lengths[rest] - 1, places[rest] + 1
    joined, cuts = code.tobytes(), ends[stops - 1].tolist()
    return [joined[start:stop] for start, stop in zip([0, *cuts], cuts, strict=False)]


def compress(counts: list[int], size_hw: tuple[int, int]) -> bytes:
    """Return the compressed code of run lengths, starting with 0s.

    Raises:
        ValueError: they are not whole numbers of at least 0.
    """
    runs = {"size": list(size_hw), "counts": counts}
    return coco.frPyObjects(runs, *size_hw)["counts"]


@lru_cache(64)
def empty_code(size_hw: tuple[int, int]) -> bytes:
    """Return the code of a mask without pixels."""
    return compress([size_hw[0] * size_hw[1]], size_hw)


def run_lengths(code: bytes) -> list[int]:
    """Return the run lengths of a compressed code, starting with 0s.

    A number is stored in groups of five bits, lowest first; from the fourth number on it is the
    difference from the number two places before.

    Raises:
        ValueError: it is not a valid code.
    """
    runs: list[int] = []
    number = shift = 0
    for byte in code:
        group = byte - 48
        if not 0 <= group < 64 or shift > 35:
            raise ValueError(
                "it has a character that is not part of the code, or a number of over 40 bits"
            )
        number |= (group & 31) << shift
        shift += 5
        if not group & 32:
            if group & 16:
                number -= 1 << shift
            runs.append(number + runs[-2] if len(runs) > 2 else number)
            number = shift = 0
    if shift or not runs:
        raise ValueError("it is empty, or its last number is incomplete")
    return runs


def decode(masks: Masks) -> np.ndarray:
    """Return [N, H, W] bool; for few masks only, since each takes a byte per pixel."""
    if not len(masks):
        return np.zeros((0, *masks.size_hw), bool)
    return np.stack([_decode(code, masks.size_hw) for code in masks.codes])


def _decode(code: bytes, size_hw: tuple[int, int]) -> np.ndarray:
    runs = run_lengths(code)
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(size_hw[::-1]).T


def decode_parts(masks: Masks) -> Iterator[tuple[np.ndarray, tuple[int, int]]]:
    """Yield the smallest rectangle of each mask, [h, w] bool, and its corner (y, x)."""
    boxes = mask_boxes(masks).astype(int).tolist()
    for code, (x, y, width, height) in zip(masks.codes, boxes, strict=True):
        columns = _decode_columns(code, masks.size_hw[0], x, x + width)
        yield columns[y : y + height].copy(), (y, x)  # a view would keep whole columns


def _decode_columns(code: bytes, height: int, first: int, last: int) -> np.ndarray:
    """Return [height, last - first] bool: columns of a mask, at their cost alone."""
    runs = run_lengths(code)
    ends = np.clip(np.cumsum(runs), first * height, last * height)
    within = np.diff(ends, prepend=first * height)
    return np.repeat(np.arange(len(runs)) % 2 == 1, within).reshape(last - first, height).T


def mask_areas(masks: Masks) -> np.ndarray:
    """Return the [N] float64 numbers of pixels of masks."""
    if masks.extents is not None:
        return masks.extents[:, 4].astype(np.float64)
    rles = masks.as_rle()
    # With numpy 2 pycocotools cannot count more than 255 masks at once.
    parts = [coco.area(rles[start : start + 255]) for start in range(0, len(rles), 255)]
    return np.concatenate([np.zeros(0), *parts])


def mask_boxes(masks: Masks) -> np.ndarray:
    """Return [N, 4] float64 x, y, width, height of the bounding boxes; 0s if empty."""
    if masks.extents is not None:
        return masks.extents[:, :4].astype(np.float64)
    return coco.toBbox(masks.as_rle()) if len(masks) else np.zeros((0, 4))


def extents(masks: Masks) -> np.ndarray:
    """Return [N, 5] the boxes of `mask_boxes` and the areas of `mask_areas`."""
    return np.concatenate([mask_boxes(masks), mask_areas(masks)[:, None]], 1)


def mask_iou(first: Masks, second: Masks, crowd: np.ndarray) -> np.ndarray:
    """Return [D, G] float64 intersection over union; over the first mask's area for crowds.

    Args:
        first: D masks.
        second: G masks of the same image.
        crowd: [G] bool.
    """
    if not len(first) or not len(second):
        return np.zeros((len(first), len(second)))
    return coco.iou(first.as_rle(), second.as_rle(), crowd.astype(np.uint8).tolist())


def to_layers(masks: Masks) -> MaskLayers:
    """Return masks as maps; only one mask is decoded at a time."""
    maps = [np.zeros(masks.size_hw, np.uint16)]
    layers = np.zeros(len(masks), np.int64)
    for number, (part, (y, x)) in enumerate(decode_parts(masks), 1):
        rows, columns = slice(y, y + part.shape[0]), slice(x, x + part.shape[1])
        free = (n for n, each in enumerate(maps) if not each[rows, columns][part].any())
        layer = next(free, len(maps))
        if layer == len(maps):
            maps.append(np.zeros(masks.size_hw, np.uint16))
        maps[layer][rows, columns][part] = number
        layers[number - 1] = layer
    return MaskLayers(np.stack(maps), layers, np.arange(1, len(masks) + 1))


def from_layers(layers: MaskLayers) -> Masks:
    """Return the run-length codes of masks in layers."""
    boxes = layer_boxes(layers).tolist()

    def parts() -> Iterator[tuple[np.ndarray, tuple[int, int]]]:
        places = zip(boxes, layers.layers, layers.values, strict=True)
        for (x1, y1, x2, y2), layer, value in places:
            yield layers.maps[layer, y1:y2, x1:x2] == value, (y1, x1)

    return encode_parts(parts(), layers.maps.shape[1:])


def layer_boxes(layers: MaskLayers) -> np.ndarray:
    """Return [N, 4] int64 x1, y1, x2, y2 of the bounding boxes; 0s if no pixels are left."""
    result = np.zeros((len(layers), 4), np.int64)
    for number, each in enumerate(layers.maps):
        found = _find_objects(each)
        for place in np.flatnonzero(layers.layers == number):
            value = layers.values[place] - 1
            if value < len(found) and found[value]:
                y, x = found[value]
                result[place] = x.start, y.start, x.stop, y.stop
    return result


def _find_objects(index: np.ndarray) -> list[tuple[slice, slice] | None]:
    """Return the bounding box of each number from 1 on in an HW map; None if missing."""
    from scipy.ndimage import find_objects  # its import takes as long as everything else

    return find_objects(index)


def from_index_map(index: np.ndarray) -> tuple[np.ndarray, Masks]:
    """Return the numbers that occur in an HW map of objects, without 0, and their masks."""
    numbers, compact = np.unique(index, return_inverse=True)
    compact = compact.reshape(index.shape) + (numbers[0] != 0)  # 0 stays the background
    numbers = numbers[numbers != 0]

    def parts() -> Iterator[tuple[np.ndarray, tuple[int, int]]]:
        for number, found in enumerate(_find_objects(compact), 1):
            assert found is not None  # every number occurs
            rows, columns = found
            yield compact[rows, columns] == number, (rows.start, columns.start)

    return numbers, encode_parts(parts(), index.shape)


def index_map(masks: Masks) -> np.ndarray:
    """Return the HW map in which object n (from 1) has the number n; earlier objects are on top.

    It is uint8 for up to 255 objects, else uint16.
    """
    result = np.zeros(masks.size_hw, np.uint8 if len(masks) <= 255 else np.uint16)
    parts = list(decode_parts(masks))
    for number in range(len(parts), 0, -1):
        part, (y, x) = parts[number - 1]
        result[y : y + part.shape[0], x : x + part.shape[1]][part] = number
    return result


def outlines(part: np.ndarray) -> list[np.ndarray]:
    """Return the outlines of an [h, w] mask, holes too, as [P, 1, 2] x, y of border pixels."""
    found, _ = cv2.findContours(part.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return list(found)


def centroids(masks: Masks) -> np.ndarray:
    """Return [N, 2] x, y of the centres of mass, pixel centres at .5; NaN for empty masks."""
    result = np.full((len(masks), 2), np.nan)
    for number, (part, (y, x)) in enumerate(decode_parts(masks)):
        rows, columns = np.nonzero(part)
        if len(rows):
            result[number] = x + columns.mean() + 0.5, y + rows.mean() + 0.5
    return result


def turned(masks: Masks, orientation: int) -> Masks:
    """Return the masks of an image that EXIF rotates, in its upright pixels.

    Args:
        masks: in the pixels as stored.
        orientation: of EXIF, 5 to 8.
    """
    make = {
        5: lambda m: m.T,
        6: lambda m: np.rot90(m, -1),
        7: lambda m: np.rot90(m, 2).T,
        8: lambda m: np.rot90(m, 1),
    }[orientation]
    size_hw = masks.size_hw[::-1]
    uprights = (make(_decode(code, masks.size_hw)) for code in masks.codes)
    return encode_parts(((mask, (0, 0)) for mask in uprights), size_hw)
