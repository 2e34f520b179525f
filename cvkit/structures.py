"""The objects that are passed between the layers; their layouts and units are defined here.

Images are HWC RGB uint8 arrays until they are batched, then NCHW uint8 tensors (clips THWC, then
NCTHW; several views of a video VTHWC, then NCVTHW); `normalize`
in `cvkit.ops.images` makes them float. Masks are HW uint8 arrays of class indices in which
`IGNORE` marks pixels without a label. Truth and prediction are the same type.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

IGNORE = 255
"""Class index of a pixel without a label, in every mask inside cvkit."""


def voc_color(index: int) -> tuple[int, int, int]:
    """Return the colour of PASCAL VOC for a class index in [0, 255].

    Bits 0, 3, 6, ... of the index become the high bits of red, bits 1, 4, 7, ... those of green and
    bits 2, 5, 8, ... those of blue.
    """
    red, green, blue = (
        sum(((index >> (3 * bit + channel)) & 1) << (7 - bit) for bit in range(8))
        for channel in range(3)
    )
    return red, green, blue


VOC_PALETTE = bytes(value for index in range(256) for value in voc_color(index))
"""RGB of all 256 indices, as a palette PNG stores it."""


@dataclass(frozen=True)
class ClassList:
    """The classes of a dataset or model, in index order.

    Attributes:
        names: one per class, unique.
        ids: the dataset's own category ids, written back by predict.
        colors: RGB in [0, 255], one per class.
    """

    names: tuple[str, ...]
    ids: tuple[int, ...]
    colors: tuple[tuple[int, int, int], ...]

    def __len__(self) -> int:
        return len(self.names)

    def as_json(self) -> list[dict]:
        """Return one JSON object per class."""
        rows = zip(self.names, self.ids, self.colors, strict=True)
        return [{"name": name, "id": id_, "color": list(color)} for name, id_, color in rows]

    @classmethod
    def from_json(cls, rows: Sequence[dict]) -> ClassList:
        """Return the class list from the result of `as_json`."""
        return cls(
            names=tuple(row["name"] for row in rows),
            ids=tuple(row["id"] for row in rows),
            colors=tuple(tuple(row["color"]) for row in rows),
        )


@dataclass(frozen=True)
class Geometry:
    """How a network input was made from an image, for the exact inverse.

    Attributes:
        original_hw: height and width of the decoded image (EXIF orientation applied).
        input_hw: height and width of the network input.
    """

    original_hw: tuple[int, int]
    input_hw: tuple[int, int]


@dataclass(frozen=True)
class SegMap:
    """A semantic segmentation of one image: truth, or a prediction.

    Attributes:
        labels: HW uint8 class indices in original pixels; `IGNORE` = no label (truth only).
        confidence: HW float16 probability of the chosen class in [0, 1]; None for truth.
        class_means: [K] means of it by class, of an image that is too large for all of it.
    """

    labels: np.ndarray
    confidence: np.ndarray | None = None
    class_means: np.ndarray | None = None

    def prediction_confidence(self) -> np.ndarray:
        """Return the HW probabilities.

        Raises:
            ValueError: it is a truth, which has no such scores.
        """
        if self.confidence is None:
            raise ValueError("the label map of a ground truth has no confidence")
        return self.confidence


@dataclass(frozen=True)
class Classes:
    """The class of one image: truth, or a prediction.

    Attributes:
        label: class index; in a prediction the one with the largest score.
        scores: [K] float32 scores in [0, 1] that sum to 1; None for truth.
        features: [D] float32 input of the network's last layer; None if not requested.
        clips: [V, K] float32 scores of the views of a video, whose mean `scores` is.
    """

    label: int
    scores: np.ndarray | None = None
    features: np.ndarray | None = None
    clips: np.ndarray | None = None

    def prediction_scores(self) -> np.ndarray:
        """Return [K] scores.

        Raises:
            ValueError: it is a truth, which has no such scores.
        """
        if self.scores is None:
            raise ValueError("the class of a ground truth has no scores")
        return self.scores


@dataclass(frozen=True)
class Masks:
    """The masks of the objects of one image as run-length codes, some hundred bytes each.

    Attributes:
        size_hw: of the image.
        codes: [N] bytes objects in COCO's compressed form: runs of 0s and 1s down the columns.
        extents: [N, 5] int64 x, y, width and height of the bounding boxes, and numbers of pixels;
            None if they are not known yet.
    """

    size_hw: tuple[int, int]
    codes: np.ndarray
    extents: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, which: np.ndarray | slice) -> Masks:
        extents = None if self.extents is None else self.extents[which]
        return Masks(self.size_hw, self.codes[which], extents)

    def as_rle(self) -> list[dict]:
        """Return the masks in the format of pycocotools."""
        size = list(self.size_hw)
        return [{"size": size, "counts": code} for code in self.codes]


@dataclass(frozen=True)
class MaskLayers:
    """The masks of the objects of one image as a few maps of numbers, for fast transforms.

    Objects that overlap are in different layers, so 300 objects need one or two maps, not 300.

    Attributes:
        maps: [L, H, W] uint16, at least one; 0 for pixels without an object.
        layers: [N] the layer of each object.
        values: [N] its number there.
    """

    maps: np.ndarray
    layers: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, which: np.ndarray | slice) -> MaskLayers:
        return MaskLayers(self.maps, self.layers[which], self.values[which])


@dataclass(frozen=True)
class Instances:
    """The objects of one image: truth, or a prediction.

    Attributes:
        boxes: [N, 4] float32 x1, y1, x2, y2 in original pixels, continuous (x2 = x1 + width).
        labels: [N] int64 class numbers from 1 (`classes.names[label - 1]`); 0 is background.
        scores: [N] float32 in [0, 1], decreasing; None for truth.
        areas: [N] float64 square pixels of the objects as annotated; truth only.
        crowd: [N] bool, regions of many objects (COCO's `iscrowd`); truth only.
        difficult: [N] bool, objects that do not count (VOC's `difficult`); truth only.
        xywh: [N, 4] float64 x, y, width, height as in a COCO file, for metrics that are exact to
            the last bit; None if they follow from `boxes`.
        masks: of the objects; layers only for training samples.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray | None = None
    areas: np.ndarray | None = None
    crowd: np.ndarray | None = None
    difficult: np.ndarray | None = None
    xywh: np.ndarray | None = None
    masks: Masks | MaskLayers | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    def pick(self, which: np.ndarray | slice) -> Instances:
        """Return the objects at these positions (indices, bools or a slice)."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        picked: dict[str, Any] = {k: None if v is None else v[which] for k, v in values.items()}
        return Instances(**picked)

    def coded_masks(self) -> Masks:
        """Return the masks as run-length codes.

        Raises:
            ValueError: the objects have none.
        """
        if not isinstance(self.masks, Masks):
            raise ValueError("the objects have no run-length masks")
        return self.masks

    def prediction_scores(self) -> np.ndarray:
        """Return [N] scores.

        Raises:
            ValueError: these are objects of a truth, which have no scores.
        """
        if self.scores is None:
            raise ValueError("the objects of a ground truth have no scores")
        return self.scores

    @property
    def counted(self) -> np.ndarray:
        """[N] bool: objects that count, neither crowds nor difficult; for truth only."""
        left_out = np.zeros(len(self), bool)
        for flags in (self.crowd, self.difficult):
            if flags is not None:
                left_out |= flags
        return ~left_out

    def corner_and_size(self) -> np.ndarray:
        """Return [N, 4] float64 x, y, width, height."""
        if self.xywh is not None:
            return self.xywh
        boxes = self.boxes.astype(np.float64)
        return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)


@dataclass(frozen=True)
class DetectionTargets:
    """The targets of a detector: the objects of a batch of images, in their pixels.

    Attributes:
        boxes: [M, 4] float32 x1, y1, x2, y2 of each image; M may be 0.
        labels: [M] int64 of each image, from 1.
        proposals: [R, 4] float32 of each image, for a network that does not propose its own.
        masks: of the objects of each image, for a network with masks.
    """

    boxes: list[torch.Tensor]
    labels: list[torch.Tensor]
    proposals: list[torch.Tensor] | None = None
    masks: list[MaskLayers] | None = None


@dataclass(frozen=True)
class VideoSource:
    """The source of the clips of a video.

    Attributes:
        frames: number of decodable frames, of the labelled part.
        fps: mean frames per second.
        looped: whether the video was repeated because a clip is longer.
        starts: start of each view in seconds.
        seconds: times of the first and the last frame of that part in the file.
        header_frames: number of frames that the file claims.
    """

    frames: int
    fps: float
    looped: bool
    starts: tuple[float, ...]
    seconds: tuple[float, float]
    header_frames: int


@dataclass(frozen=True)
class Sample:
    """An image (or video) prepared for a network.

    Attributes:
        path: key of the sample: path relative to the dataset or input root.
        image: HWC RGB uint8.
        geometry: how `image` was made from the file; None for a randomly cropped training sample.
        mask: HW uint8 in the pixels of `image`; the target of a training loss.
        truth: the label in original pixels, of the type that the task's `predict` returns; the
            target of a metric (and, for a class, of a loss); see `cvkit.tasks.common.truth_of`.
        original: the decoded image, kept only if it is needed for drawing.
        boxes: the target of a training loss, in the pixels of `image`.
        proposals: [R, 4] float32 regions in the pixels of `image`; only for networks that need
            them.
        video: the source of the clips of a video.
        seed: that determined everything random about the sample, including its mixing with others.
        file: location of an input of predict that is a file of its own.
        frame: number, from 1, of a frame of a video.
        time_seconds: when that frame is shown.
        windows: of an image that is read in tiles (`cvkit.data.windows.Windows`).
    """

    path: str
    image: np.ndarray
    geometry: Geometry | None = None
    mask: np.ndarray | None = None
    truth: object = None
    original: np.ndarray | None = None
    boxes: Instances | None = None
    proposals: np.ndarray | None = None
    video: VideoSource | None = None
    seed: int = 0
    file: Path | None = None
    frame: int | None = None
    time_seconds: float | None = None
    windows: object = None


@dataclass(frozen=True)
class MetricReport:
    """The report of a metric on a whole dataset.

    Attributes:
        metrics: by name, fractions in [0, 1]; None where nothing was counted.
        rules: how they were computed, as text.
        per_class: the numbers of each class by its name: fractions, and last the number of pixels,
            images, videos or objects of the class in the truth.
    """

    metrics: dict[str, float | None]
    rules: dict[str, Any]
    per_class: dict[str, dict[str, float | None]]


@dataclass(frozen=True)
class Failure:
    """An input that could not be processed; one line of `failures.jsonl`."""

    path: str
    code: str
    reason: str


@dataclass(frozen=True)
class Batch:
    """Samples of equal size, stacked, or of any size, listed.

    Attributes:
        images: NCHW, NCTHW or NCVTHW uint8 in channels-last memory order, or a list of CHW uint8.
        masks: NHW int64 class indices, or None for data without masks.
        samples: the samples themselves, in order.
        labels: [N] int64 class indices, or None for data without one class per image.
    """

    images: torch.Tensor | list[torch.Tensor]
    masks: torch.Tensor | None
    samples: tuple[Sample, ...]
    labels: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def blacked_out(self) -> Batch:
        """Return the batch with black images."""
        listed = isinstance(self.images, list)
        images = [0 * image for image in self.images] if listed else 0 * self.images
        return replace(self, images=images)

    def to(self, device: torch.device) -> Batch:
        """Return the batch with its tensors on a device; nothing waits for copies to a GPU."""

        def moved(tensor: torch.Tensor) -> torch.Tensor:
            if device.type == "cuda":  # only from pinned memory does a copy not wait
                return tensor.pin_memory().to(device, non_blocking=True)
            return tensor.to(device)

        masks, labels = (t if t is None else moved(t) for t in (self.masks, self.labels))
        if isinstance(self.images, list):
            return Batch([moved(i) for i in self.images], masks, self.samples, labels)
        return Batch(moved(self.images), masks, self.samples, labels)
