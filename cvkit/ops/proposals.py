"""Selective search: regions that may contain an object, from colours and textures alone.

Source: Selective Search for Object Recognition, 2013, doi:10.1007/s11263-013-0620-5.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

WORK_WIDTH = 500
"""Width in pixels at which images are searched, as in R-CNN."""
MAX_HEIGHT = 1000
MIN_SIDE = 20
"""Smallest side of a proposal, in pixels at the working width."""
SIGMA = 0.8
COLOR_BINS, TEXTURE_BINS, ORIENTATIONS = 25, 10, 8

CTSF, TSF, FILL, SIZE = "ctsf", "tsf", "f", "s"
"""Combinations of similarities: colour, texture, size, fill."""
MODES = {
    "fast": (("hsv", "lab"), (CTSF, TSF), (50, 100)),
    "quality": (("hsv", "lab", "rgi", "h", "i"), (CTSF, TSF, FILL, SIZE), (50, 100, 150, 300)),
}
"""Colour spaces, similarities and sizes of the first regions; all are combined."""


def selective_search(
    image: np.ndarray, mode: str = "fast", *, seed: int = 0, max_boxes: int = 2000
) -> np.ndarray:
    """Return boxes that may contain an object, the most promising ones first.

    Args:
        image: HWC RGB uint8.
        mode: key of `MODES`.
        seed: of the ranking: a box's position in its hierarchy times a random number.
        max_boxes: maximum number of boxes.

    Returns:
        [R, 4] float32 x1, y1, x2, y2 in pixels of the image, all different.
    """
    height, width = image.shape[:2]
    scale = min(WORK_WIDTH / width, MAX_HEIGHT / height)
    wide, high = max(1, round(width * scale)), max(1, round(height * scale))
    shrinks = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(image, (wide, high), interpolation=shrinks)
    rng = np.random.default_rng(seed)
    boxes, ranks = [], []
    for found in hierarchies(small, mode):
        position = np.arange(len(found), 0, -1)  # the whole image is last and has rank 1
        boxes.append(found)
        ranks.append(position * rng.random(len(found)))
    joined = np.concatenate(boxes)[np.argsort(np.concatenate(ranks), kind="stable")]
    joined = joined[((joined[:, 2:] - joined[:, :2]) >= min(MIN_SIDE, wide, high)).all(1)]
    _, first = np.unique(joined, axis=0, return_index=True)
    chosen = joined[np.sort(first)][:max_boxes].astype(np.float32)
    return chosen * np.array([width / wide, height / high] * 2, np.float32)


def hierarchies(image: np.ndarray, mode: str) -> Iterator[np.ndarray]:
    """Yield for each strategy the [2n - 1, 4] boxes of its regions, in the order of merging."""
    from skimage.segmentation import felzenszwalb  # slow to import; few detectors need it

    spaces, similarities, sizes = MODES[mode]
    for space in spaces:
        pixels = to_space(image, space)
        textures = _orientation_responses(pixels)
        for size in sizes:
            labels = felzenszwalb(
                pixels.astype(np.float64) / 255, scale=size, sigma=SIGMA, min_size=size
            )
            regions = describe(labels, pixels, textures)
            for similarity in similarities:
                yield group(regions, similarity)


def to_space(image: np.ndarray, space: str) -> np.ndarray:
    """Return an HWC RGB uint8 image in another colour space, HWC float32 in [0, 255]."""
    if space == "lab":
        return cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float32)
    if space in ("hsv", "h"):
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL).astype(np.float32)
        return hsv if space == "hsv" else hsv[..., :1]
    if space == "i":
        return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)[..., None]
    rgb = image.astype(np.float32)
    total = rgb.sum(2)
    shares = 255 * rgb[..., :2] / np.maximum(total, 1)[..., None]
    return np.concatenate([shares, total[..., None] / 3], 2)


def _orientation_responses(pixels: np.ndarray) -> np.ndarray:
    """Return [O, H, W, C] uint8 bins of the Gaussian derivatives in each direction."""
    smooth = cv2.GaussianBlur(pixels, (0, 0), 1.0).reshape(pixels.shape)
    dx = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, ksize=1).reshape(pixels.shape)
    dy = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, ksize=1).reshape(pixels.shape)
    result = np.empty((ORIENTATIONS, *pixels.shape), np.uint8)
    for number in range(ORIENTATIONS):
        angle = 2 * np.pi * number / ORIENTATIONS
        response = np.maximum(np.cos(angle) * dx + np.sin(angle) * dy, 0)
        # Derivatives of smoothed images rarely exceed 64; larger ones fall into the last bin.
        result[number] = np.minimum(response * (TEXTURE_BINS / 64), TEXTURE_BINS - 1)
    return result


@dataclass(frozen=True)
class Regions:
    """The initial regions of an image.

    Attributes:
        boxes: [n, 4] int x1, y1, x2, y2.
        sizes: [n] pixels.
        colors: [n, 25 C] histograms of sum 1.
        textures: [n, 80 C] histograms of sum 1.
        pairs: [p, 2] indices of neighbours, each pair once.
        area: of the image in pixels.
    """

    boxes: np.ndarray
    sizes: np.ndarray
    colors: np.ndarray
    textures: np.ndarray
    pairs: np.ndarray
    area: int


def describe(labels: np.ndarray, pixels: np.ndarray, textures: np.ndarray) -> Regions:
    """Return the regions of a label map.

    Args:
        labels: HW from 0 to n - 1, all of which occur.
        pixels: HWC float32 in [0, 255].
        textures: [O, H, W, C] bins below `TEXTURE_BINS`.
    """
    count = int(labels.max()) + 1
    flat = labels.ravel().astype(np.int64)
    sizes = np.bincount(flat, minlength=count)
    bins = np.minimum(pixels * (COLOR_BINS / 256), COLOR_BINS - 1).astype(np.int64)
    colors = _histograms(flat, [bins[..., c] for c in range(pixels.shape[2])], COLOR_BINS, count)
    parts = [row[..., c] for row in textures for c in range(pixels.shape[2])]
    return Regions(
        boxes=_boxes(labels, count),
        sizes=sizes.astype(np.float64),
        colors=colors,
        textures=_histograms(flat, parts, TEXTURE_BINS, count),
        pairs=neighbours(labels),
        area=labels.size,
    )


def _histograms(flat: np.ndarray, parts: list[np.ndarray], bins: int, count: int) -> np.ndarray:
    """Return [n, len(parts) * bins] histograms of each region, of sum 1."""
    offset = flat * bins
    columns = [
        np.bincount(offset + part.ravel(), minlength=count * bins).reshape(count, bins)
        for part in parts
    ]
    joined = np.concatenate(columns, 1).astype(np.float32)
    return joined / joined.sum(1, keepdims=True)


def _boxes(labels: np.ndarray, count: int) -> np.ndarray:
    height, width = labels.shape
    boxes = np.zeros((count, 4), np.int64)
    for axis, (low, high) in ((0, (1, 3)), (1, (0, 2))):
        other = labels if axis == 0 else labels.T
        side = height if axis == 0 else width
        place = np.repeat(np.arange(side), other.shape[1])
        first, last = np.full(count, side), np.full(count, -1)
        # Positions increase, so the last assignment of each label is its largest one.
        values = np.ascontiguousarray(other).ravel()
        last[values] = place
        first[values[::-1]] = place[::-1]
        boxes[:, low], boxes[:, high] = first, last + 1
    return boxes


def neighbours(labels: np.ndarray) -> np.ndarray:
    """Return [p, 2] indices of regions that touch, also at corners; the smaller one first."""
    count = int(labels.max()) + 1
    codes = []
    for a, b in (
        (labels[:, :-1], labels[:, 1:]),
        (labels[:-1], labels[1:]),
        (labels[:-1, :-1], labels[1:, 1:]),
        (labels[:-1, 1:], labels[1:, :-1]),
    ):
        differ = a != b
        one, two = a[differ].astype(np.int64), b[differ].astype(np.int64)
        codes.append(np.unique(np.minimum(one, two) * count + np.maximum(one, two)))
    code = np.unique(np.concatenate(codes))
    return np.stack([code // count, code % count], 1)


class _Grouping:
    """The state of a hierarchical grouping: n regions, and the n - 1 merged from them."""

    def __init__(self, regions: Regions, similarity: str) -> None:
        count = len(regions.sizes)
        self.similarity, self.area, self.count = similarity, regions.area, count
        total = 2 * count - 1
        self.boxes, self.sizes = np.zeros((total, 4), np.int64), np.zeros(total)
        self.boxes[:count], self.sizes[:count] = regions.boxes, regions.sizes
        kinds = {"c": regions.colors, "t": regions.textures}
        self.histograms = []
        for kind in sorted(kinds.keys() & set(similarity)):
            table = np.zeros((total, kinds[kind].shape[1]), np.float32)
            table[:count] = kinds[kind]
            self.histograms.append(table)
        self.near: list[set[int]] = [set() for _ in range(total)]
        for one, two in regions.pairs.tolist():
            self.near[one].add(two)
            self.near[two].add(one)

    def similarities(self, one: np.ndarray | int, others: np.ndarray) -> np.ndarray:
        """Return the similarity of a region to others, each term of the sum in [0, 1]."""
        result = np.zeros(len(others))
        for table in self.histograms:
            result += np.minimum(table[one], table[others]).sum(1)
        sizes = self.sizes[one] + self.sizes[others]
        if "s" in self.similarity:
            result += 1 - sizes / self.area
        if "f" in self.similarity:
            first, second = np.atleast_2d(self.boxes[one]), self.boxes[others]
            low = np.minimum(first[:, :2], second[:, :2])
            around = (np.maximum(first[:, 2:], second[:, 2:]) - low).prod(1)
            result += 1 - (around - sizes) / self.area
        return result

    def merge(self, one: int, two: int, new: int) -> np.ndarray:
        """Merge two regions and return the neighbours of the new one."""
        a, b = self.boxes[one], self.boxes[two]
        self.boxes[new, :2] = np.minimum(a[:2], b[:2])
        self.boxes[new, 2:] = np.maximum(a[2:], b[2:])
        size_one, size_two = self.sizes[one], self.sizes[two]
        self.sizes[new] = size_one + size_two
        for table in self.histograms:
            table[new] = (size_one * table[one] + size_two * table[two]) / self.sizes[new]
        near = (self.near[one] | self.near[two]) - {one, two}
        for other in near:
            self.near[other] -= {one, two}
            self.near[other].add(new)
        self.near[new] = near
        self.near[one] = self.near[two] = set()
        return np.array(sorted(near), np.int64)


def group(regions: Regions, similarity: str) -> np.ndarray:
    """Merge the two most similar neighbours until one region is left.

    Args:
        regions: the initial ones.
        similarity: letters of the terms: c, t, s, f.

    Returns:
        [2n - 1, 4] boxes: those of the initial regions, then each new one.
    """
    state = _Grouping(regions, similarity)
    one, two = regions.pairs.T if len(regions.pairs) else np.zeros((2, 0), np.int64)
    values = state.similarities(one, two).tolist()
    heap = [(-v, a, b) for v, a, b in zip(values, one.tolist(), two.tolist(), strict=True)]
    heapq.heapify(heap)
    alive = [True] * state.count + [False] * (state.count - 1)
    new = state.count
    while heap:
        _, one, two = heapq.heappop(heap)
        if not (alive[one] and alive[two]):
            continue
        near = state.merge(one, two, new)
        alive[one] = alive[two] = False
        alive[new] = True
        values = state.similarities(new, near).tolist()
        for value, other in zip(values, near.tolist(), strict=True):
            heapq.heappush(heap, (-value, other, new))
        new += 1
    return state.boxes[:new]
