"""Scoring class predictions of videos, whoever made them. Does not import torch."""

from pathlib import Path
from typing import Any

from cvkit.console import Reporter
from cvkit.data.files import walk_videos
from cvkit.errors import UsageError
from cvkit.metrics.classification import reported
from cvkit.metrics.video import METRICS, VIDEO_RULES, VideoMetric
from cvkit.options.video import VideoEval
from cvkit.scoring.classify import Outcomes, classification_report, score_tables
from cvkit.structures import ClassList, Failure


def metric_names(options: VideoEval) -> tuple[str, ...]:
    """Return the names of what may be computed; how many classes there are is seen later."""
    return METRICS


def score_videos(
    options: VideoEval, report: Reporter
) -> tuple[VideoMetric, ClassList, Outcomes, list[Failure]]:
    """Compare one or several tables of scores with the truth; see `score_tables`."""
    files = [(options.predictions, options.weight), *map(_weighted, options.fuse)]
    return score_tables(options, report, files, VideoMetric, walk_videos)


def _weighted(text: str) -> tuple[Path, float]:
    """Return the file and the weight that `--fuse` names.

    Raises:
        UsageError: the weight is not a number from 0.
    """
    if Path(text).exists() or "=" not in text:
        return Path(text), 1.0
    file, _, weight = text.rpartition("=")
    try:
        value = float(weight)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise UsageError(
            f"--fuse {text!r} is not FILE=WEIGHT", code="fuse.syntax", hint="such as b.csv=0.5"
        )
    return Path(file), value


def video_report(
    metric: VideoMetric,
    classes: ClassList,
    outcomes: Outcomes,
    failures: list[Failure],
    folder: Path | None,
) -> dict[str, Any]:
    """Return what `eval --json` prints about the numbers, and write the tables behind them.

    Args:
        metric: filled.
        classes: of the metric.
        outcomes: of the evaluated videos.
        failures: videos that could not be evaluated.
        folder: see `classification_report`.
    """
    report = classification_report(metric, classes, outcomes, failures, folder, "video")
    report["counts"]["clips"] = int(metric.clips[0])
    kept = {name: report["rules"][name] for name in ("classes_counted", "classes_absent")}
    words = {name: VIDEO_RULES[name] for name in reported(VIDEO_RULES, len(classes))}
    report["rules"] = words | kept
    report["baseline"] = {"video_top1": report["baseline"]["top1"]}
    return report
