"""The counts of each sample of an evaluation, and the intervals that follow. Imports no torch."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cvkit.metrics import dialects, masks
from cvkit.metrics.boxes import flatten
from cvkit.metrics.classification import ClassificationMetric
from cvkit.metrics.coco import CocoMetric
from cvkit.metrics.confusion import OURS, ConfusionMatrix
from cvkit.metrics.image_counts import ImageCounts
from cvkit.metrics.masks import MaskMetric
from cvkit.metrics.protocols import SeveralProtocols
from cvkit.metrics.resampling import LEVEL, ClassCounts, Matches, Samples, interval, replicated
from cvkit.metrics.video import VideoMetric
from cvkit.metrics.voc import VocMetric
from cvkit.scoring.contract import Scored

ACCURACIES = ("top1", "balanced_accuracy", "macro_f1", "weighted_f1")


def samples_of(scored: Scored[Any, Any]) -> list[Samples]:
    """Return the counts of each sample, in the evaluation's order; one per kind of overlap."""
    metric, keys = scored.metric, tuple(path for path, _ in scored.outcomes)
    names = scored.classes.names
    outcomes = [outcome for _, outcome in scored.outcomes]
    if isinstance(metric, ConfusionMatrix):
        if OURS not in metric.dialects:  # others have no intervals
            return []
        prefix = "" if metric.dialects[0] == OURS else f"{OURS}."
        metrics = tuple(f"{prefix}{name}" for name in dialects.METRICS)
        counts = _sparse(outcomes, len(names))
        return [ClassCounts(keys, names, counts, metric.absent_class, metrics)]
    if isinstance(metric, ClassificationMetric):
        first = "video_top1" if isinstance(metric, VideoMetric) else "top1"
        counts = _one_each(outcomes, len(names))
        return [ClassCounts(keys, names, counts, None, (first, *ACCURACIES[1:]), "recall")]
    if isinstance(metric, SeveralProtocols):
        found: list[Samples] = []
        for protocol, part in metric.filled().items():
            prefix = f"{protocol} " if found else ""
            found += [
                replace(each, per_class=f"{prefix}{each.per_class}")
                for each in _matches(part, keys, names)
            ]
        return found
    return list(_matches(metric, keys, names))


def _sparse(images: Sequence[ImageCounts], classes: int) -> Any:
    """Return [I, 3 K] correct, true and predicted pixels of each image and class."""
    from scipy.sparse import csr_matrix  # takes as long to import as everything else

    places, values, ends = [np.zeros(0, np.int32)], [np.zeros(0)], [0]
    for image in images:
        row = np.concatenate(image.of_classes())
        place = np.flatnonzero(row)
        places.append(place.astype(np.int32))
        values.append(row[place].astype(np.float64))
        ends.append(ends[-1] + len(place))
    parts = np.concatenate(values), np.concatenate(places), np.array(ends, np.int32)
    return csr_matrix(parts, shape=(len(images), 3 * classes))


def _one_each(outcomes: Sequence[tuple[int, int, float]], classes: int) -> Any:
    """Return the counts of samples with one class, from its index and the predicted one."""
    from scipy.sparse import csr_matrix

    true, guess, _ = np.array(outcomes, np.float64).reshape(-1, 3).astype(np.int64).T
    rows = np.arange(len(true))
    hit = rows[true == guess]
    places = np.concatenate([true[hit], classes + true, 2 * classes + guess])
    shape = (len(rows), 3 * classes)
    values = np.ones(len(places))
    return csr_matrix((values, (np.concatenate([hit, rows, rows]), places)), shape=shape)


def _matches(metric: object, keys: tuple[str, ...], names: tuple[str, ...]) -> list[Matches]:
    """Return the outcomes of detections; none for a metric that is not known here."""
    if not isinstance(metric, CocoMetric | VocMetric):
        return []
    truth = flatten(metric.truths)
    objects = np.zeros((len(keys), len(names)))
    np.add.at(objects, (truth.images[~truth.spare], truth.labels[~truth.spare] - 1), 1)
    if isinstance(metric, VocMetric):
        rule = "voc07" if metric.eleven else "voc12"
        return [
            Matches(keys, names, *_voc_outcomes(metric, kind), objects, rule, (name,))
            for kind, name in metric.named().items()
        ]
    kinds = metric.kinds if isinstance(metric, MaskMetric) else ("",)
    result: list[Matches] = []
    for kind in kinds:
        found = metric.outcomes(masks.KINDS[kind] if kind else "bbox")
        prefix = f"{kind}." if kind else ""
        metrics = tuple(f"{prefix}{name}" for name in ("AP", "AP50", "AP75"))
        result.append(Matches(keys, names, *found, objects, "coco", metrics, (0, 5)))
    return result


def _voc_outcomes(metric: VocMetric, kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    near = metric.nearest(kind)
    images, labels, went = near.images, near.labels, near.verdicts(metric.iou)
    return images[near.order], labels[near.order] - 1, went[near.order][:, None]


def intervals(several: Sequence[Samples], replicates: int, seed: int) -> dict[str, Any]:
    """Return the part of `eval --json` about bootstrap intervals.

    Args:
        several: counts of the evaluation.
        replicates: number of times that samples are drawn.
        seed: of the draws.
    """
    found: dict[str, Any] = {}
    per_class: dict[str, dict[str, Any]] = {name: {} for name in several[0].classes}
    for samples in several:
        (values,) = replicated([samples], replicates, seed)
        classes = values.pop("classes")
        found |= {name: _bounds(each) for name, each in values.items()}
        prefix = next(iter(values)).rpartition(".")[0]
        column = f"{prefix} {samples.per_class}".strip()
        for place, name in enumerate(samples.classes):
            per_class[name][column] = _bounds(classes[:, place])
    return {
        "metrics": found,
        "per_class": per_class,
        "level": LEVEL,
        "replicates": replicates,
        "seed": seed,
        "rule": f"percentiles of {replicates} bootstrap replicates, each of as many samples drawn "
        f"with replacement (seed {seed})",
    }


def _bounds(values: np.ndarray) -> list[float] | None:
    found = interval(values)
    return None if found is None else list(found)
