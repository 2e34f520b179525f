"""Metrics of video classifiers: of clips, and of videos."""

from collections.abc import Sequence

import numpy as np

from cvkit.metrics.classification import RULES, ClassificationMetric, ranked, reported
from cvkit.structures import Classes

METRICS = (
    *("video_top1", "video_top5", "clip_top1"),
    *("balanced_accuracy", "macro_f1", "weighted_f1", "ece"),
)
VIDEO_RULES = {
    "clip_top1": "share of clips (views) whose largest score is their video's class; null where "
    "only scores of videos are known",
    "video_top1": "share of videos whose largest score is the true class; a video's scores are "
    "the mean of the class probabilities (after softmax) of its clips",
    "video_top5": "share of videos whose true class is among the 5 largest scores; only for more "
    "than 5 classes, null where fewer scores are known",
} | {name: RULES[name] for name in METRICS[3:]}


class VideoMetric(ClassificationMetric):
    """Counts over a whole dataset, every video once."""

    rules = VIDEO_RULES
    counted = "videos"

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.clips = np.zeros(2, np.int64)  # all, and correct ones

    def update(self, result: Classes, truth: Classes) -> tuple[int, int, float]:
        """Add one video and return its true class, the predicted one, and that one's score."""
        if result.clips is not None:
            right = sum(int(ranked(row)[0]) == truth.label for row in result.clips)
            self.clips += (len(result.clips), right)
        return super().update(result, truth)

    def state(self) -> tuple:
        """Return the counts that another process needs to `merge` this metric."""
        return super().state(), self.clips

    def merge(self, states: Sequence[tuple], places: Sequence[Sequence[int]]) -> None:
        """Replace the counts by the totals over all processes."""
        of_videos, clips = zip(*states, strict=True)
        super().merge(of_videos, places)
        self.clips = np.sum(clips, axis=0)

    def compute(self) -> dict[str, float | None]:
        """Return all metrics, fractions in [0, 1]; None if nothing was counted."""
        found = super().compute()
        total, right = self.clips.tolist()
        found |= {"video_top1": found["top1"], "video_top5": found.get("top5")}
        found["clip_top1"] = right / total if total else None
        return {name: found[name] for name in reported(METRICS, len(self.matrix))}
