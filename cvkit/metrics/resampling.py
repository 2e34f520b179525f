"""Bootstrap intervals of metrics, from the counts of each sample.

Source: An Introduction to the Bootstrap, Efron and Tibshirani, 1993, chapter 13 (percentiles).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

LEVEL = 0.95
"""Probability that an interval is meant to contain the true value with."""
AT_ONCE = 50
"""Number of replicates that are computed together."""
RECALLS = np.linspace(0, 1, 101)
IOUS = np.linspace(0.5, 0.95, 10)

Values = dict[str, np.ndarray]
"""[B] value of each metric, or [B, K] under `classes`; NaN where undefined."""


class Samples(ABC):
    """The counts of each sample, from which the metrics of any selection of samples follow.

    Attributes:
        keys: names of the samples.
        classes: names of the classes.
        names: of the metrics.
        per_class: name of the metric of each class.
    """

    keys: tuple[str, ...]
    classes: tuple[str, ...]
    names: tuple[str, ...]
    per_class: str

    @abstractmethod
    def values(self, weights: np.ndarray) -> Values:
        """Return the metrics for [B, I] weights: how often each sample is drawn."""

    @abstractmethod
    def single(self) -> np.ndarray:
        """Return [I] the first metric of each sample alone; NaN where undefined."""

    @abstractmethod
    def renamed(self, keys: tuple[str, ...]) -> "Samples":
        """Return the same counts under other names of the samples."""

    @abstractmethod
    def pick(self, places: np.ndarray) -> "Samples":
        """Return the samples at these positions."""

    @abstractmethod
    def truth(self) -> np.ndarray:
        """Return [I, K] the number of pixels, samples or objects of each class in the truth."""


@dataclass(frozen=True)
class ClassCounts(Samples):
    """Counts of pixels, or of whole samples, by class.

    Attributes:
        keys: names of the samples.
        classes: names of the classes.
        counts: [I, 3, K] correct ones, those in the truth, and predicted ones; a sparse
            matrix of [I, 3 K].
        absent_class: how mIoU counts a class that does not occur; None: samples have one class.
        names: of the metrics, in the order that `values` returns them.
    """

    keys: tuple[str, ...]
    classes: tuple[str, ...]
    counts: "csr_matrix"
    absent_class: str | None
    names: tuple[str, ...]
    per_class: str = "iou"

    def values(self, weights: np.ndarray) -> Values:
        """Return the metrics for [B, I] weights: how often each sample is drawn."""
        return self._metrics((self.counts.T @ weights.T).T)

    def single(self) -> np.ndarray:
        """Return [I] the first metric of each sample alone; NaN where undefined."""
        parts = np.array_split(np.arange(len(self.keys)), -(-len(self.keys) // 1000) or 1)
        found = [self._metrics(self.counts[part].toarray())[self.names[0]] for part in parts]
        return np.concatenate(found)

    def renamed(self, keys: tuple[str, ...]) -> "ClassCounts":
        """Return the same counts under other names of the samples."""
        return replace(self, keys=keys)

    def pick(self, places: np.ndarray) -> "ClassCounts":
        """Return the samples at these positions."""
        keys = tuple(self.keys[place] for place in places)
        return replace(self, keys=keys, counts=self.counts[places])

    def truth(self) -> np.ndarray:
        """Return [I, K] the number of pixels or samples of each class in the truth."""
        kinds = len(self.classes)
        return self.counts[:, kinds : 2 * kinds].toarray()

    def _metrics(self, sums: np.ndarray) -> Values:
        """Return the metrics of [B, 3 K] sums of counts."""
        sums = sums.reshape(len(sums), 3, -1)
        hits, truth, predicted = sums[:, 0], sums[:, 1], sums[:, 2]
        with np.errstate(invalid="ignore", divide="ignore"):
            total = truth.sum(1)
            dice = 2 * hits / (truth + predicted)
            recall, iou = hits / truth, hits / (truth + predicted - hits)
            accuracy = hits.sum(1) / total
            share = truth / total[:, None]
            if self.absent_class is None:
                weighted = (np.nan_to_num(dice) * share).sum(1)
                values = [accuracy, _mean(recall), _mean(dice), weighted]
            else:
                miou, mean_dice = (self._mean(each) for each in (iou, dice))
                fwiou = np.nansum(share * iou, 1)
                values = [miou, accuracy, _mean(recall), fwiou, mean_dice]
        per_class = recall if self.absent_class is None else iou
        return dict(zip(self.names, values, strict=True)) | {"classes": per_class}

    def _mean(self, values: np.ndarray) -> np.ndarray:
        if self.absent_class == "exclude":
            return _mean(values)
        return np.nan_to_num(values).mean(1) if self.absent_class == "zero" else values.mean(1)


def _mean(values: np.ndarray) -> np.ndarray:
    """Return [B] the mean of the defined ones of [B, K] values."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0).sum(1) / known.sum(1)


@dataclass(frozen=True)
class Matches(Samples):
    """The outcomes of all detections, by class and then by decreasing score.

    Attributes:
        keys: names of the images.
        classes: names of the classes.
        images: [D] number of the image.
        labels: [D] index of the class, from 0.
        outcomes: [D, T] int8 at each IoU: 1 correct, 0 wrong, -1 not counted.
        objects: [I, K] number of counted objects.
        rule: `coco`, `voc07` or `voc12`: how precisions are averaged.
        names: of the metrics: the mean over all IoUs first, then the single IoUs of `places`.
        places: of single IoUs among all.
    """

    keys: tuple[str, ...]
    classes: tuple[str, ...]
    images: np.ndarray
    labels: np.ndarray
    outcomes: np.ndarray
    objects: np.ndarray
    rule: str
    names: tuple[str, ...]
    places: tuple[int, ...] = ()
    per_class: str = "AP"

    def values(self, weights: np.ndarray) -> Values:
        """Return the metrics for [B, I] weights: how often each image is drawn."""
        columns = [self._column(place) for place in range(self.outcomes.shape[1])]
        begins = np.searchsorted(self.labels, np.arange(len(self.classes)))
        rows = []
        for each in weights:
            drawn = each[self.images]
            seen = np.concatenate([[0.0], np.cumsum(drawn)])
            objects = np.maximum(each @ self.objects, 1e-9)
            rows.append([self._average(c, drawn, seen, objects, begins) for c in columns])
        found = np.array(rows)  # [B, T, K]
        defined = weights @ self.objects > 0
        found[~np.broadcast_to(defined[:, None], found.shape)] = np.nan
        by_class = found.mean(1)
        per_iou = {
            name: _mean(found[:, place])
            for name, place in zip(self.names[1:], self.places, strict=True)
        }
        return {self.names[0]: _mean(by_class)} | per_iou | {"classes": by_class}

    def single(self) -> np.ndarray:
        """Return [I] the first metric of each image alone; NaN where undefined."""
        kinds, images = len(self.classes), len(self.keys)
        # Each class of each image is a class of its own, of a single image.
        labels = self.images * kinds + self.labels
        order = np.argsort(labels, kind="stable")
        alone = replace(
            self,
            keys=("all",),
            classes=("",) * (kinds * images),
            images=np.zeros(len(labels), np.int64),
            labels=labels[order],
            outcomes=self.outcomes[order],
            objects=self.objects.reshape(1, -1),
        )
        return _mean(alone.values(np.ones((1, 1)))["classes"].reshape(images, kinds))

    def renamed(self, keys: tuple[str, ...]) -> "Matches":
        """Return the same counts under other names of the samples."""
        return replace(self, keys=keys)

    def pick(self, places: np.ndarray) -> "Matches":
        """Return the samples at these positions."""
        new = np.full(len(self.keys), -1)
        new[places] = np.arange(len(places))
        kept = np.flatnonzero(new[self.images] >= 0)
        # Equal scores keep the order of the images: positions are expected to increase.
        return replace(
            self,
            keys=tuple(self.keys[place] for place in places),
            images=new[self.images[kept]],
            labels=self.labels[kept],
            outcomes=self.outcomes[kept],
            objects=self.objects[places],
        )

    def truth(self) -> np.ndarray:
        """Return [I, K] the number of counted objects of each class."""
        return self.objects

    def _column(self, place: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the correct detections at an IoU, and those that are not counted."""
        outcome = self.outcomes[:, place]
        return np.flatnonzero(outcome == 1), np.flatnonzero(outcome < 0)

    def _average(
        self,
        column: tuple[np.ndarray, np.ndarray],
        drawn: np.ndarray,
        seen: np.ndarray,
        objects: np.ndarray,
        begins: np.ndarray,
    ) -> np.ndarray:
        """Return [K] average precisions at one IoU.

        Args:
            column: of the IoU.
            drawn: [D] how often each detection is drawn.
            seen: [D + 1] the sums of these.
            objects: [K] number of drawn objects.
            begins: [K] first detection of each class.
        """
        right, ignored = column
        kinds = len(self.classes)
        label = self.labels[right]
        # Only correct detections can be the best precision from a recall on.
        left_out = np.concatenate([[0.0], np.cumsum(drawn[ignored])])
        ends = seen[right + 1] - left_out[np.searchsorted(ignored, right)]
        before = seen[begins] - left_out[np.searchsorted(ignored, begins)]
        hits = np.cumsum(drawn[right])
        begin = np.searchsorted(label, np.arange(kinds))
        hits = hits - np.concatenate([[0.0], hits])[begin][label]
        with np.errstate(invalid="ignore", divide="ignore"):
            precision = np.nan_to_num(hits / (ends - before[label]))
        recall = hits / objects[label]
        # One pass over all classes: earlier classes are lifted above later ones.
        lift = 2.0 * (kinds - label)
        envelope = np.maximum.accumulate((precision + lift)[::-1])[::-1] - lift
        if self.rule == "voc12":
            steps = drawn[right] / objects[label]
            return np.bincount(label, steps * envelope, minlength=kinds)
        recalls = RECALLS if self.rule == "coco" else np.arange(0.0, 1.1, 0.1)
        last = np.searchsorted(label, np.arange(kinds), "right")
        found = np.zeros((kinds, len(recalls)))
        for kind in np.flatnonzero(last > begin).tolist():
            part = slice(begin[kind], last[kind])
            place = np.searchsorted(recall[part], recalls)
            found[kind] = np.append(envelope[part], 0)[place]
        return found.mean(1)


def draws(samples: int, replicates: int, seed: int) -> Iterator[np.ndarray]:
    """Yield [B, I] weights: how often each sample is in each of some replicates."""
    rng = np.random.default_rng(seed)
    for start in range(0, replicates, AT_ONCE):
        rows = [
            np.bincount(rng.integers(samples, size=samples), minlength=samples)
            for _ in range(min(AT_ONCE, replicates - start))
        ]
        yield np.stack(rows).astype(np.float64)


def replicated(several: Sequence[Samples], replicates: int, seed: int) -> list[Values]:
    """Return the values of each of several evaluations of the same samples, drawn alike."""
    parts = [
        [each.values(weights) for each in several]
        for weights in draws(len(several[0].keys), replicates, seed)
    ]
    return [
        {name: np.concatenate([part[place][name] for part in parts]) for name in parts[0][place]}
        for place in range(len(several))
    ]


def interval(values: np.ndarray) -> tuple[float, float] | None:
    """Return the `LEVEL` percentile interval of [B] values; None if none is defined."""
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    low, high = np.percentile(known, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return float(low), float(high)
