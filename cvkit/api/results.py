"""Results as Python programs get them: plain arrays, class numbers from 0, and ways out."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from cvkit.errors import UsageError
from cvkit.metrics.classification import ranked
from cvkit.ops.rle import decode, encode, mask_areas
from cvkit.output.boxes import describe_boxes
from cvkit.output.files import write_label_png, write_rgb
from cvkit.output.instances import describe_masks
from cvkit.output.records import describe_labels
from cvkit.storage import write_json
from cvkit.structures import Classes, ClassList, Failure, Instances, Masks, SegMap

if TYPE_CHECKING:
    import supervision

PICTURES = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True, eq=False)
class Result:
    """The result of one image or video.

    Attributes:
        source: its path as given, or `input 3` for the fourth one that was not a path.
        size_hw: height and width of the upright image, or of the video's frames, in pixels.
        classes: names of the classes of the model, in index order.
        frame: number of the frame in its video, from 1; None for what is no frame.
        time_seconds: when that frame is shown.
    """

    source: str
    size_hw: tuple[int, int]
    classes: tuple[str, ...]
    _list: ClassList = field(repr=False)
    _raw: Any = field(repr=False)
    _draw: Callable[[Any], np.ndarray] = field(repr=False)
    frame: int | None = None
    time_seconds: float | None = None

    ok: ClassVar[bool] = True
    """Whether there is a result; see `Failed`."""

    def plot(self) -> np.ndarray:
        """Return a picture of the result, HWC RGB uint8, as predict draws it.

        Small images are enlarged. Images that were given as paths are read again.

        Raises:
            cvkit.errors.DataError: the image cannot be read any more.
        """
        return self._draw(self._raw)

    def as_dict(self) -> dict[str, Any]:
        """Return what predict writes into `predictions.jsonl`, but for names of files, for JSON."""
        height, width = self.size_hw
        size = {"width": width, "height": height}
        if self.frame is None:
            return {"path": self.source, **size}
        moment = {"frame": self.frame, "time_seconds": self.time_seconds}
        return {"path": self.source, **moment, **size}

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the picture of `plot`, or `as_dict` if the file ends in `.json`; return the path.

        Raises:
            cvkit.errors.UsageError: the file ends in something else.
            cvkit.errors.CvkitError: it cannot be written.
        """
        place = Path(path)
        if place.suffix.lower() == ".json":
            write_json(place, self.as_dict())
        elif place.suffix.lower() in PICTURES:
            write_rgb(place, self.plot())
        else:
            raise UsageError(
                f"save({str(path)!r}): the ending {place.suffix!r} is unknown",
                code="save.suffix",
                hint=f"one of {', '.join((*PICTURES, '.json'))}",
            )
        return place


@dataclass(frozen=True, eq=False)
class Classification(Result):
    """The class of an image or a video."""

    _raw: Classes = field(repr=False)

    @property
    def label(self) -> int:
        """Index of the best class."""
        return self._raw.label

    @property
    def name(self) -> str:
        """Name of the best class."""
        return self.classes[self.label]

    @property
    def score(self) -> float:
        """Score of the best class, in [0, 1]."""
        return float(self.scores[self.label])

    @property
    def scores(self) -> np.ndarray:
        """[K] float32 scores in [0, 1], which sum to 1."""
        return self._raw.prediction_scores()

    @property
    def clips(self) -> np.ndarray | None:
        """[V, K] float32 scores of the views of a video; None for images."""
        return self._raw.clips

    @property
    def features(self) -> np.ndarray | None:
        """[D] float32 input of the last layer, after `cvkit.load(..., embeddings=True)`."""
        return self._raw.features

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """Return names and scores of the best classes.

        Raises:
            UsageError: `count` is not positive.
        """
        if count < 1:
            raise UsageError(
                f"top({count}): the number of classes must be positive",
                code="top.count",
                hint="top() returns the best 5",
            )
        return [(self.classes[i], float(self.scores[i])) for i in ranked(self.scores)[:count]]

    def as_dict(self) -> dict[str, Any]:
        """Return the classes with their scores, best first; see `Result`."""
        order = ranked(self.scores).tolist()
        return super().as_dict() | {
            "labels": [self.classes[i] for i in order],
            "category_ids": [self._list.ids[i] for i in order],
            "scores": [float(self.scores[i]) for i in order],
        }

    def to_supervision(self) -> "supervision.Classifications":
        """Return a `supervision.Classifications`."""
        module = _supervision()
        return module.Classifications(np.arange(len(self.classes)), self.scores)


@dataclass(frozen=True, eq=False)
class Segmentation(Result):
    """The class of each pixel."""

    _raw: SegMap = field(repr=False)

    @property
    def labels(self) -> np.ndarray:
        """HW uint8 class indices in pixels of the original image."""
        return self._raw.labels

    @property
    def confidence(self) -> np.ndarray:
        """HW float16 probabilities of these classes, in [0, 1]."""
        return self._raw.prediction_confidence()

    def areas(self) -> dict[str, int]:
        """Return the number of pixels of each class that occurs, largest first."""
        found = describe_labels(self._raw, self._list)
        return dict(zip(found["labels"], found["pixels"], strict=True))

    def as_dict(self) -> dict[str, Any]:
        """Return classes, mean scores and numbers of pixels; see `Result`."""
        return super().as_dict() | describe_labels(self._raw, self._list)

    def save_mask(self, path: str | PathLike[str]) -> Path:
        """Write the class indices as a PNG with the colours of the classes; return the path."""
        place = Path(path)
        if place.suffix.lower() != ".png":
            raise UsageError(
                f"save_mask({str(path)!r}): a mask is a PNG", code="save.suffix", hint="use .png"
            )
        write_label_png(place, self.labels, self._list.colors)
        return place

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """Return one COCO annotation per class that occurs, with a run-length code."""
        present = np.unique(self.labels).tolist()
        masks = encode(np.stack([self.labels == index for index in present]))
        return [
            {"image_id": image_id, "category_id": self._list.ids[index]} | mask
            for index, mask in zip(present, _coded(masks), strict=True)
        ]

    def to_supervision(self) -> "supervision.Detections":
        """Return a `supervision.Detections` with a mask for each class that occurs."""
        module, present = _supervision(), np.unique(self.labels)
        masks = self.labels == present[:, None, None]
        return module.Detections(
            xyxy=module.mask_to_xyxy(masks).astype(np.float32),
            mask=masks,
            class_id=present.astype(int),
            confidence=np.array([self.confidence[mask].mean(dtype=float) for mask in masks]),
            data={"class_name": np.array([self.classes[index] for index in present])},
        )


@dataclass(frozen=True, eq=False)
class Detections(Result):
    """The objects in an image, best first."""

    _raw: Instances = field(repr=False)

    def __len__(self) -> int:
        return len(self._raw)

    @property
    def boxes(self) -> np.ndarray:
        """[N, 4] float32 x1, y1, x2, y2 in pixels of the original image."""
        return self._raw.boxes

    @property
    def labels(self) -> np.ndarray:
        """[N] int64 class indices, from 0 as in `classes`."""
        return self._raw.labels - 1

    @property
    def names(self) -> list[str]:
        """Names of the objects' classes."""
        return [self.classes[label] for label in self.labels]

    @property
    def scores(self) -> np.ndarray:
        """[N] float32 scores in [0, 1], decreasing."""
        return self._raw.prediction_scores()

    @property
    def codes(self) -> list[dict[str, Any]] | None:
        """Masks as pycocotools' run-length codes; None for detectors without masks."""
        return self._raw.masks.as_rle() if isinstance(self._raw.masks, Masks) else None

    @property
    def masks(self) -> np.ndarray | None:
        """[N, H, W] bool, decoded at each call; None for detectors without masks."""
        masks = self._raw.masks
        if not isinstance(masks, Masks):
            return None
        return decode(masks).astype(bool) if len(masks) else np.zeros((0, *self.size_hw), bool)

    def above(self, score: float) -> "Detections":
        """Return the objects with at least this score."""
        return replace(self, _raw=self._raw.pick(self.scores >= score))

    def as_dict(self) -> dict[str, Any]:
        """Return classes, scores, boxes and run-length codes; see `Result`."""
        found = super().as_dict() | describe_boxes(self._raw, self._list, self.size_hw)
        masks = self._raw.masks
        return found | describe_masks(masks) if isinstance(masks, Masks) else found

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """Return the objects in COCO's result format; `bbox` is x, y, width, height."""
        found = describe_boxes(self._raw, self._list, self.size_hw)
        rows = [
            {
                "image_id": image_id,
                "category_id": category,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": score,
            }
            for category, score, (x1, y1, x2, y2) in zip(
                found["category_ids"], found["scores"], found["boxes"], strict=True
            )
        ]
        masks = self._raw.masks
        if not isinstance(masks, Masks):
            return rows
        return [row | mask for row, mask in zip(rows, _coded(masks), strict=True)]

    def to_supervision(self) -> "supervision.Detections":
        """Return a `supervision.Detections`."""
        return _supervision().Detections(
            xyxy=self.boxes,
            mask=self.masks,
            confidence=self.scores,
            class_id=self.labels.astype(int),
            data={"class_name": np.array(self.names, dtype=str)},
        )


@dataclass(frozen=True)
class Failed:
    """In place of the result of an input that could not be read.

    Attributes:
        source: its path as given, or `input 3` for the fourth one that was not a path.
        code: stable name of what is wrong, such as `image.truncated`.
        reason: in a sentence.
    """

    source: str
    code: str
    reason: str

    ok: ClassVar[bool] = False


KINDS: dict[type, type[Result]] = {
    Classes: Classification,
    SegMap: Segmentation,
    Instances: Detections,
}
"""What a program gets for the results of `Task.predict`; others are passed on as they are."""


def failed(failure: Failure) -> Failed:
    """Return what stands for an input that failed."""
    return Failed(failure.path, failure.code, failure.reason)


def _coded(masks: Masks) -> list[dict[str, Any]]:
    """Return run-length codes with text for JSON, and areas."""
    areas = mask_areas(masks).astype(int).tolist()
    return [
        {"segmentation": rle | {"counts": rle["counts"].decode("ascii")}, "area": area}
        for rle, area in zip(masks.as_rle(), areas, strict=True)
    ]


def _supervision() -> Any:
    try:
        import supervision
    except ImportError as error:
        raise UsageError(
            "to_supervision needs the package supervision",
            code="package.missing",
            hint="pip install supervision",
        ) from error
    return supervision
