"""The report of detection, and of the objects of instance segmentation."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from cvkit.metrics.box_errors import KINDS, BoxErrors, analyse
from cvkit.metrics.boxes import scene, uncounted
from cvkit.metrics.coco import BoxMetric
from cvkit.output.draw import draw_boxes, draw_instances
from cvkit.reporting.charts import SERIES, Axis, Line, bars, histogram, line_chart
from cvkit.reporting.contract import Chart, Section, Shown
from cvkit.reporting.matrix import confusion_section
from cvkit.scoring.contract import Scene, Scored
from cvkit.structures import Instances, Masks
from cvkit.texts import counted

SIDES = (0, 8, 16, 32, 64, 96, 128, 256, 512)
"""Limits of the sizes of objects: square roots of their areas in pixels."""
DRAWN = 60
"""Maximum number of objects drawn on a picture, the best ones."""


def _errors(errors: BoxErrors) -> Chart:
    colours = {"correct": "s1"}
    rows = [(kind, errors.counts[kind], colours.get(kind, "s2")) for kind in KINDS]
    alt = "errors by kind: " + ", ".join(f"{kind} {errors.counts[kind]}" for kind in KINDS)
    rule = str(errors.as_json()["rule"])
    return Chart("Errors by kind", bars(alt, rows), rule[0].upper() + rule[1:] + ".")


def _curves(metric: BoxMetric, best: float) -> list[Chart]:
    curves = metric.report(metric.classes).curves
    objects = dict(zip(metric.classes.names, metric.objects(), strict=True))
    shown = sorted(curves, key=lambda name: -objects[name])[:SERIES]
    lines = [Line(name, *curves[name]) for name in shown]
    alt = f"precision over recall of {len(shown)} of {counted(len(curves), 'class', 'classes')}"
    more = f" The {SERIES} of {counted(len(curves), 'class', 'classes')} with most objects."
    more = more if len(curves) > SERIES else ""
    legend = tuple((f"s{place + 1}", name) for place, name in enumerate(shown))
    found = line_chart(alt, lines, Axis("recall"), Axis("precision"))
    about = f"At IoU {metric.iou_words()}.{more}"
    charts = [Chart("Precision and recall", found, about, legend)]
    scores, *values = by_threshold(metric)
    names = ("precision", "recall", "F1")
    lines = [Line(name, scores, value) for name, value in zip(names, values, strict=True)]
    found = line_chart(
        f"precision, recall and F1 over the smallest score; F1 is largest at {best:.3f}",
        lines,
        Axis("smallest score"),
        Axis("fraction"),
    )
    about = f"All classes together, at IoU 0.5. F1 is largest at {best:.3f}."
    legend = tuple((f"s{place + 1}", name) for place, name in enumerate(names))
    return [*charts, Chart("Score threshold", found, about, legend)]


def by_threshold(metric: BoxMetric) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return [101] smallest scores and the precision, recall and F1 that they give.

    All classes count together; NaN where there is no detection or no object.
    """
    scores, hits = [np.zeros(0)], [np.zeros(0, bool)]
    for result, _, matched in _images(metric):
        counts = matched != -2
        scores.append(result.prediction_scores()[counts])
        hits.append(matched[counts] >= 0)
    score, hit = np.concatenate(scores), np.concatenate(hits)
    order = np.argsort(score, kind="stable")
    limits = np.linspace(0, 1, 101)
    first = np.searchsorted(score[order], limits)
    detections = len(score) - first
    correct = np.append(np.cumsum(hit[order][::-1])[::-1], 0)[first]
    objects = sum(metric.objects())
    with np.errstate(invalid="ignore", divide="ignore"):
        total = np.where(detections + objects > 0, detections + objects, np.nan)
        return limits, correct / detections, correct / np.float64(objects), 2 * correct / total


def _overlaps(metric: BoxMetric, found: Instances, truth: Instances) -> np.ndarray:
    """Return the [D, O] overlaps of the detections of an image with its objects."""
    detections, objects = np.indices((len(found), len(truth))).reshape(2, -1)
    overlap = metric.overlap_of(scene([found], [truth]))
    return overlap(detections, objects, 0.0).reshape(len(found), len(truth))


def _histograms(metric: BoxMetric, least: float) -> list[Chart]:
    """Return overlaps of detections, and sizes of found and missed objects."""
    overlaps, found, missed = [np.zeros(0)], [np.zeros(0)], [np.zeros(0)]
    for result, truth, matched in _images(metric):
        keep = result.prediction_scores() >= least
        shown, hits = result.pick(keep), matched[keep]
        if len(shown):
            same = truth.labels[None] == shown.labels[:, None]
            iou = np.where(same, _overlaps(metric, shown, truth), 0)
            overlaps.append(iou.max(1, initial=0))
        counting = ~uncounted(truth)
        hit = np.zeros(len(truth), bool)
        hit[hits[hits >= 0]] = True
        sides = np.sqrt(np.maximum(_areas(truth), 0))
        found.append(sides[hit & counting])
        missed.append(sides[~hit & counting])
    iou, edges = np.concatenate(overlaps), [f"{tenth / 10:g}" for tenth in range(10)]
    counts = np.histogram(iou, 10, (0, 1))[0].tolist()
    over = histogram(
        f"IoU of {counted(len(iou), 'detection')}",
        edges,
        [("detections", counts)],
        "IoU from",
        "detections",
    )
    stacks = [
        (name, np.histogram(np.concatenate(sides), [*SIDES, np.inf])[0].tolist())
        for name, sides in (("found", found), ("missed", missed))
    ]
    sizes = histogram(
        f"sizes of {sum(stacks[0][1])} found and {counted(sum(stacks[1][1]), 'missed object')}",
        [str(side) for side in SIDES],
        stacks,
        "square root of the area from (pixels)",
        "objects",
    )
    shown_from = f"Detections with a score of at least {least:.3f}"
    return [
        Chart("Overlaps", over, f"{shown_from}; IoU with the nearest object of their class."),
        Chart("Sizes", sizes, f"{shown_from}.", (("s1", "found"), ("s2", "missed"))),
    ]


def _images(metric: BoxMetric) -> Iterator[tuple[Instances, Instances, np.ndarray]]:
    """Return the detections and objects of each image, and the results of `assign`."""
    return zip(metric.results, metric.truths, metric.matched, strict=True)


def _areas(truth: Instances) -> np.ndarray:
    return truth.corner_and_size()[:, 2:].prod(1) if truth.areas is None else truth.areas


class Pages:
    """The report of an evaluation."""

    HEADLINES: tuple[str, ...] = ("AP", "AP50", "AP75", "AR100", "voc07_map", "voc12_map")
    GALLERY = (
        "In the order of F1 of each image: correct detections against missed objects and false "
        "detections, at the score with the largest F1."
    )

    def __init__(self, scored: Scored[Any, Any]) -> None:
        self.classes = scored.classes
        self.metric: BoxMetric = scored.metric
        self.errors = analyse(self.metric)
        self.least = self.errors.score if scored.least is None else scored.least

    def sections(self) -> Sequence[Section]:
        """Return errors, curves, histograms and confusions."""
        metric, least = self.metric, self.least
        names = ["background", *self.classes.names]
        return (
            Section("errors", "Errors", (_errors(self.errors), *_histograms(metric, least))),
            Section("curves", "Curves", tuple(_curves(metric, least))),
            confusion_section(self.errors.matrix, names, "objects"),
        )

    def qualities(self) -> list[float | None]:
        """Return F1 of each image at the best score; 1 if nothing is there and nothing is found."""
        values: list[float | None] = []
        for result, truth, matched in _images(self.metric):
            kept = matched[result.prediction_scores() >= self.least]
            total = int((kept != -2).sum() + (~uncounted(truth)).sum())
            values.append(2 * int((kept >= 0).sum()) / total if total else 1.0)
        return values

    def show(self, place: int, scene: Scene | None) -> Shown:
        """Return the objects of truth and prediction on the image."""
        metric = self.metric
        result, truth, matched = metric.results[place], metric.truths[place], metric.matched[place]
        keep = result.prediction_scores() >= self.least
        found, hits = result.pick(keep), int((matched[keep] >= 0).sum())
        words = counted(int((~uncounted(truth)).sum()), "object")
        result_words = f"{counted(len(found), 'detection')}, {hits} correct"
        if scene is None:
            return Shown((), words, result_words)
        pictures = tuple(
            (title, self._drawn(scene.image, objects.pick(slice(DRAWN))))
            for title, objects in (("truth", truth), ("prediction", found))
        )
        return Shown(pictures, words, result_words)

    def _drawn(self, image: np.ndarray, objects: Instances) -> np.ndarray:
        if isinstance(objects.masks, Masks) and objects.masks.size_hw == image.shape[:2]:
            return draw_instances(image, objects, self.classes)
        return draw_boxes(image, objects, self.classes)
