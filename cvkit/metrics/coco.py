"""COCO's average precision and recall, equal to pycocotools' to the last digit.

Source: Microsoft COCO: Common Objects in Context, 2014, arXiv:1405.0312. The evaluation runs in
ultrafast-pycocotools; tests compare it with pycocotools itself.
"""

import contextlib
import importlib
import io
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cvkit.metrics.boxes import (
    Overlap,
    Scene,
    assign,
    box_iou,
    flatten,
    overlapping,
    scene,
    uncounted,
)
from cvkit.metrics.merging import in_order_of
from cvkit.ops.rle import empty_code, mask_areas
from cvkit.structures import ClassList, Instances, MetricReport

METRICS = (
    *("AP", "AP50", "AP75", "APs", "APm", "APl"),
    *("AR1", "AR10", "AR100", "ARs", "ARm", "ARl"),
)
CLASS_COLUMNS = ("AP", "AP50", "AP75", "AR100", "recall", "objects")
"""Columns of the table of classes for all protocols; None if a protocol has no such number."""
FITS = 0.5
"""IoU at which a detection matches an object, for the counts besides the protocols."""
RULES = {
    "AP": "COCO: mean over IoU 0.50:0.05:0.95 and classes of the precision at 101 recalls, "
    "at most 100 detections per image and class",
    "AP50": "as AP, at IoU 0.50",
    "AP75": "as AP, at IoU 0.75",
    "APs": "as AP, objects up to 32^2 square pixels (annotated area)",
    "APm": "as AP, objects of 32^2 to 96^2",
    "APl": "as AP, objects from 96^2",
    "AR1": "mean over IoU and classes of the recall with 1 detection per image and class",
    "AR10": "as AR1, with 10",
    "AR100": "as AR1, with 100",
    "ARs": "as AR100, objects up to 32^2",
    "ARm": "as AR100, objects of 32^2 to 96^2",
    "ARl": "as AR100, objects from 96^2",
}


@dataclass(frozen=True)
class Accumulated:
    """The results of COCO's evaluation.

    Attributes:
        stats: [12] the numbers of `METRICS`, -1 if there are no objects.
        precision: [T, R, K, A, M] over 10 IoUs, 101 recalls, classes, 4 areas, 3 limits.
        recall: [T, K, A, M].
        scores: [T, R, K, A, M] score at which each recall is reached.
    """

    stats: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    scores: np.ndarray


def evaluate_coco(
    results: Sequence[Instances],
    truths: Sequence[Instances],
    num_classes: int,
    kind: str = "bbox",
    engine: Any = None,
) -> Accumulated:
    """Return COCO's evaluation of the results of some images.

    Args:
        results: detections of each image.
        truths: objects of each image.
        num_classes: labels are 1 to this.
        kind: of overlap: `bbox`, `segm` (masks), or `boundary`: the smaller of the masks' IoU and
            that of their borders (Boundary IoU, 2021, arXiv:2103.16562).
        engine: module with COCO and COCOeval; ultrafast-pycocotools by default.
    """
    return _accumulated(_run(results, truths, num_classes, kind, engine))


def _accumulated(run: Any) -> Accumulated:
    names = ("precision", "recall", "scores")
    return Accumulated(np.asarray(run.stats, float), *(np.asarray(run.eval[n]) for n in names))


def _run(
    results: Sequence[Instances],
    truths: Sequence[Instances],
    num_classes: int,
    kind: str,
    engine: Any = None,
    near: np.ndarray | None = None,
) -> Any:
    """Return the finished `COCOeval`; see `evaluate_coco`.

    `near` [D] bool marks the detections whose masks may match an object; others need none.
    """
    if engine is None:
        engine = importlib.import_module("ultrafast_pycocotools")
    with contextlib.redirect_stdout(io.StringIO()):
        truth = engine.COCO()
        shared = {
            "images": [_image(*each, kind) for each in enumerate(truths, 1)],
            "categories": [{"id": number} for number in range(1, num_classes + 1)],
        }
        truth.dataset = shared | {"annotations": _truth_rows(truths, kind) if truths else []}
        truth.createIndex()
        found = engine.COCO()
        if kind == "bbox" and any(map(len, results)):
            found = truth.loadRes(_result_array(results))
        else:
            found.dataset = shared | {
                "annotations": _result_rows(results, kind, near) if results else []
            }
            found.createIndex()
        run = engine.COCOeval(truth, found, kind)
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run


def _outcomes(run: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    columns = []
    for iou in run.params.iouThrs:
        found, _ = run.per_instance(iou_thr=iou)
        columns.append(np.where(found["ignore"], -1, found["gt_id"] >= 0).astype(np.int8))
    images, labels = found["image_id"] - 1, found["category_id"] - 1
    order = np.lexsort((images, -found["score"], labels))
    return images[order], labels[order], np.stack(columns, 1)[order]


def _image(number: int, truth: Instances, kind: str) -> dict[str, int]:
    if kind == "bbox":
        return {"id": number}
    height, width = truth.coded_masks().size_hw
    return {"id": number, "height": height, "width": width}


def _truth_rows(truths: Sequence[Instances], kind: str) -> list[dict[str, Any]]:
    crowd = np.concatenate([uncounted(truth) for truth in truths]).astype(int).tolist()
    areas = np.concatenate([truth.areas for truth in truths]).tolist()
    pairs = zip(_rows(truths, kind), areas, crowd, strict=True)
    return [row | {"area": area, "iscrowd": mark} for row, area, mark in pairs]


def _result_array(results: Sequence[Instances]) -> np.ndarray:
    """Return [N, 7] image, x, y, width, height, score and category of each box."""
    flat = flatten(results)
    columns = (flat.images[:, None] + 1, flat.xywh, flat.scores[:, None], flat.labels[:, None])
    return np.concatenate(columns, 1).astype(np.float64)


def _result_rows(
    results: Sequence[Instances], kind: str, near: np.ndarray | None
) -> list[dict[str, Any]]:
    if not any(map(len, results)):
        return []
    scores = np.concatenate([each.prediction_scores() for each in results]).astype(float).tolist()
    areas = np.concatenate([mask_areas(result.coded_masks()) for result in results]).tolist()
    rows = _rows(results, kind, near)
    for row, score, area in zip(rows, scores, areas, strict=True):
        row["score"], row["area"], row["iscrowd"] = score, area, 0
    return rows


def _rows(
    images: Sequence[Instances], kind: str, near: np.ndarray | None = None
) -> list[dict[str, Any]]:
    """Return id, image, category, and box or mask of each object.

    Ids start at 1: COCO's evaluation does not count an object whose id is 0.
    """
    numbers = np.repeat(np.arange(1, len(images) + 1), [len(each) for each in images]).tolist()
    labels = np.concatenate([each.labels for each in images]).tolist()
    if kind == "bbox":
        name = "bbox"
        shapes = np.concatenate([each.corner_and_size() for each in images]).tolist()
    else:
        name = "segmentation"
        shapes = _masks(images, near)
    return [
        {"id": id_, "image_id": image, "category_id": label, name: shape}
        for id_, (image, label, shape) in enumerate(zip(numbers, labels, shapes, strict=True), 1)
    ]


def _masks(images: Sequence[Instances], near: np.ndarray | None) -> list[dict[str, Any]]:
    """Return the codes of all masks; of those that are not near an object, that of no pixels."""
    if near is None:
        return [rle for each in images for rle in each.coded_masks().as_rle()]
    shapes, ends = [], np.cumsum([len(each) for each in images])
    for each, which in zip(images, np.split(near, ends[:-1]), strict=True):
        masks = each.coded_masks()
        nothing = {"size": list(masks.size_hw), "counts": empty_code(masks.size_hw)}
        rles = iter(masks[which].as_rle())
        shapes += [next(rles) if mark else nothing for mark in which.tolist()]
    return shapes


Curves = dict[str, tuple[np.ndarray, np.ndarray]]
"""Recall and precision of each class that has objects, by its name."""


@dataclass(frozen=True)
class BoxReport(MetricReport):
    """The report of a detection metric on a whole dataset, with its curves."""

    curves: Curves


@dataclass(frozen=True)
class ImageOutcome:
    """The outcome of one image at IoU 0.5: its numbers of objects, detections and matches."""

    objects: int
    detections: int
    found: int


class BoxMetric(ABC):
    """Detections and objects of all images, from which every protocol is computed.

    Args:
        classes: of the labels.
    """

    def __init__(self, classes: ClassList) -> None:
        self.classes = classes
        self.results: list[Instances] = []
        self.truths: list[Instances] = []
        self.matched: list[np.ndarray] = []
        """The object of its image that each detection finds at IoU 0.5, -1, or -2 if ignored."""
        self.left_out = 0
        """Number of detections of classes that are not in the truth; they do not count."""

    def update(self, result: Instances, truth: Instances) -> ImageOutcome:
        """Add one image; return its outcome."""
        return self.extend([result], [truth])[0]

    def extend(
        self, results: Sequence[Instances], truths: Sequence[Instances]
    ) -> list[ImageOutcome]:
        """Add images; return their outcomes. Faster than one after the other."""
        self.results += results
        self.truths += truths
        images = scene(results, truths)
        found, truth = images.found, images.truth
        rows = np.arange(len(found))
        pairs = overlapping(found, truth, rows, self.overlap_of(images), FITS, same_class=True)
        matched = assign(found, truth, pairs)
        counted, hits = matched != -2, matched >= 0
        counts = [
            np.bincount(numbers, minlength=len(results)).tolist()
            for numbers in (truth.images[~truth.spare], found.images[counted], found.images[hits])
        ]
        matched[hits] -= truth.starts[found.images[hits]]
        self.matched += np.split(matched, found.starts[1:-1])
        return [ImageOutcome(*each) for each in zip(*counts, strict=True)]

    def overlap_of(self, images: Scene) -> Overlap:
        """Return the function of the IoU by which detections match objects of these images."""
        found, truth = images.found, images.truth

        def overlap(detections: np.ndarray, objects: np.ndarray, _: float) -> np.ndarray:
            return box_iou(found.xywh[detections], truth.xywh[objects], truth.crowd[objects])

        return overlap

    def iou_words(self) -> str:
        """Return the IoU of the curves as text."""
        return f"{FITS:g}"

    def state(self) -> Any:
        """Return the counts that another process needs to `merge` this metric."""
        return self.results, self.truths, self.matched

    def merge(self, states: Sequence[Any], places: Sequence[Sequence[int]]) -> None:
        """Replace the images by those of all processes together, in the dataset's order."""
        self.results, self.truths, self.matched = (
            in_order_of(places, parts) for parts in zip(*states, strict=True)
        )

    def objects(self) -> list[int]:
        """Return the number of counted objects of each class."""
        labels = [truth.labels[~uncounted(truth)] for truth in self.truths]
        flat = np.concatenate([*labels, np.zeros(0, np.int64)])
        return np.bincount(flat, minlength=len(self.classes) + 1)[1:].tolist()

    @abstractmethod
    def compute(self) -> dict[str, float | None]:
        """Return the metrics by name."""

    @abstractmethod
    def report(self, classes: ClassList) -> BoxReport:
        """Return the metrics, their rules, the numbers of each class, and the curves."""


class CocoMetric(BoxMetric):
    """The metric with COCO's twelve numbers."""

    def __init__(self, classes: ClassList) -> None:
        super().__init__(classes)
        self._finished: dict[tuple[str, int], Any] = {}

    def _run(self, kind: str) -> Any:
        """Return the finished `COCOeval` of a kind of overlap, which is made once."""
        key = kind, len(self.results)
        if key not in self._finished:
            near = None if kind == "bbox" else self.near_objects()
            classes = len(self.classes)
            self._finished[key] = _run(self.results, self.truths, classes, kind, near=near)
        return self._finished[key]

    def near_objects(self) -> np.ndarray | None:
        """Return [D] bool: detections whose masks may match an object; None if not known."""
        return None

    def accumulate(self, kind: str = "bbox") -> Accumulated:
        """Return the whole evaluation of a kind of overlap of `evaluate_coco`."""
        return _accumulated(self._run(kind))

    def outcomes(self, kind: str = "bbox") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the outcome of each detection, by class and by decreasing score.

        Returns:
            [D] number of the image, [D] index of the class, both from 0, and [D, 10] int8
            outcomes at the ten IoUs: 1 correct, 0 wrong, -1 not counted.
        """
        return _outcomes(self._run(kind))

    def compute(self) -> dict[str, float | None]:
        """Return the twelve numbers by name; None if no object counts."""
        return summary(self.accumulate())

    def report(self, classes: ClassList) -> BoxReport:
        """Return the metrics, their rules, the numbers of each class, and the curves."""
        found = self.accumulate()
        rows = per_class(found, self)
        return BoxReport(summary(found), dict(RULES), rows, curves(found, classes))


def summary(found: Accumulated) -> dict[str, float | None]:
    """Return the twelve numbers by name; None if no object counts."""
    return {
        name: None if value == -1 else float(value)
        for name, value in zip(METRICS, found.stats, strict=True)
    }


def per_class(found: Accumulated, metric: BoxMetric) -> dict[str, dict[str, Any]]:
    """Return `CLASS_COLUMNS` of each class; the recall is that at IoU 0.5."""
    rows, counts = {}, metric.objects()
    for index, name in enumerate(metric.classes.names):
        precision = found.precision[:, :, index, 0, 2]
        values = {
            "AP": precision,
            "AP50": precision[0],
            "AP75": precision[5],
            "AR100": found.recall[:, index, 0, 2],
            "recall": found.recall[:1, index, 0, 2],
        }
        rows[name] = {
            key: float(v[v > -1].mean()) if (v > -1).any() else None for key, v in values.items()
        } | {"objects": counts[index]}
    return rows


def curves(found: Accumulated, classes: ClassList) -> Curves:
    """Return recall and precision at IoU 0.5 of each class that has objects."""
    recall = np.linspace(0, 1, found.precision.shape[1])
    rows = zip(classes.names, np.moveaxis(found.precision[0, :, :, 0, 2], 1, 0), strict=True)
    return {name: (recall, precision) for name, precision in rows if (precision > -1).any()}
