"""The objects of overlapping tiles as the objects of the image: none is cut, and none is doubled.

An object is *cut* if its box ends within `MARGIN` of a border of its tile inside the image, else
*whole*. Objects of one class that were found in different tiles are compared:

1. Whole and whole: if the IoU of their boxes exceeds the limit of the network's NMS, they are one
   object, and the one with the higher score stays.
2. Cut and whole: if the whole one covers more than `COVERED` of the cut one, the cut one is
   dropped: it is the part of the object that its tile shows.
3. Cut and cut: the object is whole in no tile. Two of them are joined if their parts in the area
   that both tiles show have an IoU of more than `ALIKE`, the most alike first, and never two of
   the same tile. The box and the mask become the union, the score that of the best part.

Where objects have masks, rules 2 and 3 compare masks; rule 1 compares boxes, as NMS does.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cvkit.ops.rle import decode_parts, encode_parts, make_masks
from cvkit.ops.tiling import Tile
from cvkit.structures import Instances, Masks

MARGIN = 0.02
"""Share of a tile's side: nearer to a border inside the image, an object counts as cut."""
COVERED = 0.5
"""Share of a cut object that a whole one covers if it is the same object."""
ALIKE = 0.5
"""IoU of the parts of two cut objects in the area of both tiles if they are one object."""
GROUP = 4096
"""Masks that are coded together."""

Part = tuple[np.ndarray, tuple[int, int]]
"""The [h, w] bool pixels of a mask in a rectangle, and its corner (y, x) in the image."""
Pair = tuple[int, int, float]
"""The places of two objects, and how alike they are."""


def join_objects(
    found: Sequence[tuple[Tile, Instances]], size_hw: tuple[int, int], nms: float
) -> Instances:
    """Return the objects of an image from those of its tiles, best first; see the module.

    Args:
        found: at least one tile, in the order of `Grid.tiles`, each with its objects in pixels of
            the tile.
        size_hw: of the image.
        nms: IoU above which the lower of two boxes of a class is dropped.
    """
    objects = _Objects.of(found, size_hw)
    pairs = list(_pairs_of_tiles(objects.tiles))
    doubled = _doubled(objects, pairs, nms)
    covered = _covered(objects, pairs)
    groups = _joined(objects, pairs, ~(doubled | covered))
    return objects.merged([group for group in groups if group])


@dataclass(frozen=True)
class _Objects:
    """All objects of all tiles.

    Attributes:
        tiles: of the image, sorted by their first rows.
        tile: [N] ascending number of the tile of each object.
        boxes: [N, 4] float64 in pixels of the image.
        labels: [N].
        scores: [N].
        cut: [N] bool.
        masks: of the objects of each tile, in its pixels; None if they have none.
        size_hw: of the image.
    """

    tiles: Sequence[Tile]
    tile: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    cut: np.ndarray
    masks: Sequence[Masks] | None
    size_hw: tuple[int, int]

    @classmethod
    def of(cls, found: Sequence[tuple[Tile, Instances]], size_hw: tuple[int, int]) -> "_Objects":
        tiles = [tile for tile, _ in found]
        tile = np.repeat(np.arange(len(found)), [len(each) for _, each in found])
        boxes = np.concatenate(
            [each.boxes.astype(np.float64) + (at.x, at.y, at.x, at.y) for at, each in found]
        )
        places = np.array([at.xyxy for at in tiles], np.float64)[tile]
        far = MARGIN * (places[:, 2:] - places[:, :2])
        low = (boxes[:, :2] <= places[:, :2] + far) & (places[:, :2] > 0)
        high = (boxes[:, 2:] >= places[:, 2:] - far) & (places[:, 2:] < size_hw[::-1])
        coded = [each.masks for _, each in found if isinstance(each.masks, Masks)]
        return cls(
            tiles=tiles,
            tile=tile,
            boxes=boxes,
            labels=np.concatenate([each.labels for _, each in found]),
            scores=np.concatenate([each.prediction_scores() for _, each in found]),
            cut=np.asarray((low | high).any(1)),
            masks=coded if len(coded) == len(found) else None,
            size_hw=size_hw,
        )

    def of_tile(self, number: int) -> np.ndarray:
        """Return the places of the objects of a tile."""
        return np.arange(*np.searchsorted(self.tile, (number, number + 1)))

    def mask(self, place: int) -> Part:
        """Return the mask of an object in pixels of the image."""
        assert self.masks is not None, "only objects with masks are compared by them"
        number = int(self.tile[place])
        tile, first = self.tiles[number], int(np.searchsorted(self.tile, number))
        ((part, (y, x)),) = decode_parts(self.masks[number][place - first : place - first + 1])
        return part, (y + tile.y, x + tile.x)

    def merged(self, groups: Sequence[Sequence[int]]) -> Instances:
        """Return one object for each group of places, best first."""
        best = np.array([max(self.scores[place] for place in group) for group in groups])
        groups = [groups[n] for n in np.argsort(-best, kind="stable")]
        firsts = np.array([group[0] for group in groups], np.int64)
        boxes = self.boxes[firsts]
        for number, group in enumerate(groups):
            if len(group) > 1:
                every = self.boxes[list(group)]
                boxes[number] = (*every[:, :2].min(0), *every[:, 2:].max(0))
        result = Instances(
            boxes=boxes.astype(np.float32),
            labels=self.labels[firsts],
            scores=-np.sort(-best).astype(np.float32),
        )
        return result if self.masks is None else replace(result, masks=self._masks(groups))

    def _masks(self, groups: Sequence[Sequence[int]]) -> Masks:
        codes: list[bytes] = []
        for first in range(0, len(groups), GROUP):
            parts = (_united([self.mask(n) for n in g]) for g in groups[first : first + GROUP])
            codes += encode_parts(parts, self.size_hw).codes.tolist()
        return make_masks(codes, self.size_hw)


def _pairs_of_tiles(tiles: Sequence[Tile]) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield the numbers of two tiles that overlap, and x1, y1, x2, y2 of the area of both."""
    places = np.array([tile.xyxy for tile in tiles])
    for one, (_, _, right, bottom) in enumerate(places):
        end = int(np.searchsorted(places[:, 1], bottom))
        others = np.arange(one + 1, end)
        low = np.maximum(places[one, :2], places[others, :2])
        high = np.minimum((right, bottom), places[others, 2:])
        for n in np.flatnonzero((low < high).all(1)):
            yield one, int(others[n]), np.concatenate((low[n], high[n]))


def _candidates(
    objects: _Objects, pairs: Sequence[tuple[int, int, np.ndarray]]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield what is compared of two tiles: the places of the objects of each in the area of both.

    Then that area, and [A, B] bool, which of them are of one class.
    """
    for one, other, common in pairs:
        parts = []
        for number in (one, other):
            places = objects.of_tile(number)
            boxes = objects.boxes[places]
            inside = (boxes[:, :2] < common[2:]).all(1) & (boxes[:, 2:] > common[:2]).all(1)
            parts.append(places[inside])
        a, b = parts
        if len(a) and len(b):
            yield a, b, common, objects.labels[a][:, None] == objects.labels[b]


def _doubled(
    objects: _Objects, pairs: Sequence[tuple[int, int, np.ndarray]], nms: float
) -> np.ndarray:
    """Return [N] bool: the whole objects that rule 1 drops."""
    alike: dict[int, list[int]] = {}
    for a, b, _, same in _candidates(objects, pairs):
        whole = ~objects.cut[a][:, None] & ~objects.cut[b]
        one, other = np.nonzero(same & whole & (_iou(objects.boxes[a], objects.boxes[b]) > nms))
        for first, second in zip(a[one].tolist(), b[other].tolist(), strict=True):
            alike.setdefault(first, []).append(second)
            alike.setdefault(second, []).append(first)
    dropped = np.zeros(len(objects.tile), bool)
    for place in sorted(alike, key=lambda n: (-objects.scores[n], n)):
        if not dropped[place]:
            dropped[[n for n in alike[place] if not _precedes(objects, n, place)]] = True
    return dropped


def _precedes(objects: _Objects, one: int, other: int) -> bool:
    return (-objects.scores[one], one) < (-objects.scores[other], other)


def _covered(objects: _Objects, pairs: Sequence[tuple[int, int, np.ndarray]]) -> np.ndarray:
    """Return [N] bool: the cut objects that rule 2 drops."""
    dropped = np.zeros(len(objects.tile), bool)
    for a, b, _, same in _candidates(objects, pairs):
        for parts, wholes, alike in ((a, b, same), (b, a, same.T)):
            inter = _intersections(objects.boxes[parts], objects.boxes[wholes])
            share = inter / np.maximum(_areas(objects.boxes[parts]), 1e-9)[:, None]
            near = alike & objects.cut[parts][:, None] & ~objects.cut[wholes]
            if objects.masks is None:
                dropped[parts[(near & (share > COVERED)).any(1)]] = True
                continue
            for n, m in zip(*np.nonzero(near & (share > 0)), strict=True):
                if not dropped[parts[n]]:
                    by_mask = _covered_share(objects, int(parts[n]), int(wholes[m]))
                    dropped[parts[n]] = (share[n, m] if by_mask is None else by_mask) > COVERED
    return dropped


def _covered_share(objects: _Objects, part: int, whole: int) -> float | None:
    """Return the share of an object's mask that lies in another one's; None for an empty mask."""
    (pixels, (y, x)), other = objects.mask(part), objects.mask(whole)
    if not pixels.any():
        return None
    height, width = pixels.shape
    seen = _window(other, np.array((x, y, x + width, y + height)))
    return float((pixels & seen).sum() / pixels.sum())


def _joined(
    objects: _Objects, pairs: Sequence[tuple[int, int, np.ndarray]], kept: np.ndarray
) -> list[list[int]]:
    """Return the groups of places that rule 3 makes of the objects that are kept."""
    found = sorted(_alike(objects, pairs, kept & objects.cut), key=lambda pair: -pair[2])
    groups = [[int(place)] if stays else [] for place, stays in enumerate(kept)]
    at = list(range(len(groups)))
    for one, other, _ in found:
        first, second = sorted((at[one], at[other]))
        tiles = [objects.tile[place] for place in (*groups[first], *groups[second])]
        if first == second or len(set(tiles)) < len(tiles):
            continue
        for place in groups[second]:
            at[place] = first
        groups[first] += groups[second]
        groups[second] = []
    return groups


def _alike(
    objects: _Objects, pairs: Sequence[tuple[int, int, np.ndarray]], chosen: np.ndarray
) -> Iterator[Pair]:
    """Yield the pairs of chosen objects that may be joined."""
    for a, b, common, same in _candidates(objects, pairs):
        low, high = np.tile(common[:2], 2), np.tile(common[2:], 2)
        iou = _iou(*(np.clip(objects.boxes[each], low, high) for each in (a, b)))
        near = same & chosen[a][:, None] & chosen[b] & (iou > (ALIKE if not objects.masks else 0))
        for n, m in zip(*np.nonzero(near), strict=True):
            one, other, alike = int(a[n]), int(b[m]), float(iou[n, m])
            if objects.masks is not None:
                first, second = (_window(objects.mask(place), common) for place in (one, other))
                alike = float((first & second).sum() / max(1, (first | second).sum()))
            if alike > ALIKE:
                yield one, other, alike


def _window(part: Part, xyxy: np.ndarray) -> np.ndarray:
    """Return the bool pixels of a mask in a rectangle of the image."""
    (pixels, (y, x)), (x1, y1, x2, y2) = part, (int(v) for v in xyxy)
    found = np.zeros((y2 - y1, x2 - x1), bool)
    top, left = max(y, y1), max(x, x1)
    bottom, right = min(y + pixels.shape[0], y2), min(x + pixels.shape[1], x2)
    if top < bottom and left < right:
        seen = pixels[top - y : bottom - y, left - x : right - x]
        found[top - y1 : bottom - y1, left - x1 : right - x1] = seen
    return found


def _united(parts: Sequence[Part]) -> Part:
    """Return the union of masks."""
    if len(parts) == 1:
        return parts[0]
    corners = np.array([corner for _, corner in parts])
    ends = corners + [pixels.shape for pixels, _ in parts]
    (y1, x1), (y2, x2) = corners.min(0).tolist(), ends.max(0).tolist()
    place = np.array((x1, y1, x2, y2))
    return np.any([_window(part, place) for part in parts], axis=0), (y1, x1)


def _areas(boxes: np.ndarray) -> np.ndarray:
    area: np.ndarray = (boxes[:, 2:] - boxes[:, :2]).clip(min=0).prod(1)
    return area


def _intersections(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the [A, B] areas that boxes have in common."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    area: np.ndarray = (high - low).clip(min=0).prod(2)
    return area


def _iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return [A, B] intersection over union."""
    inter = _intersections(first, second)
    union = _areas(first)[:, None] + _areas(second) - inter
    return inter / np.maximum(union, 1e-9)
