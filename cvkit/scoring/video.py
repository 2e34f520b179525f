"""Scoring class predictions of videos, of any origin. Does not import torch."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from cvkit.console import Reporter
from cvkit.data.classified import ClassifiedImage
from cvkit.data.clips import part_of
from cvkit.data.files import walk_videos
from cvkit.data.video import index_video, read_frames
from cvkit.errors import UsageError
from cvkit.metrics.video import METRICS, VideoMetric
from cvkit.options.video import VideoEval
from cvkit.scoring.classify import Outcome, add_curves, score_tables, true_classes, write_tables
from cvkit.scoring.contract import Scored, commonest, content, given_places, regular

SAMPLE = "video"


def metric_names(options: VideoEval) -> tuple[str, ...]:
    """Return the names of the possible metrics; the number of classes is known later."""
    return METRICS


def score(options: VideoEval, report: Reporter) -> Scored[VideoMetric, Outcome]:
    """Compare one or several tables of scores with the truth; see `score_tables`."""
    places = given_places(options, "labels.csv")
    if not math.isfinite(options.weight):
        raise UsageError(f"--weight {options.weight} is not a finite number", code="fuse.weights")
    files = [(places.predictions, options.weight), *map(_weighted, options.fuse)]
    return score_tables(
        options,
        places.truth,
        files,
        report,
        make_metric=VideoMetric,
        walk=walk_videos,
        sample=SAMPLE,
        picture=_frames,
    )


def _frames(item: ClassifiedImage) -> np.ndarray:
    """Return four frames of a video, THWC RGB uint8."""
    index = index_video(item.path)
    part = part_of(index, item.seconds, item.path)
    wanted = np.linspace(part.start, part.stop - 1, 4).round().astype(int).tolist()
    return np.stack(read_frames(item.path, index, wanted))


def _weighted(text: str) -> tuple[Path, float]:
    """Return the file and the weight of a `--fuse`.

    Raises:
        DataError: it is neither a file nor a folder.
        UsageError: the weight is not a number of at least 0.
    """
    if Path(text).exists() or "=" not in text:
        return regular("--fuse", Path(text)), 1.0
    file, _, weight = text.rpartition("=")
    try:
        value = float(weight)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise UsageError(
            f"--fuse {text!r} is not FILE=WEIGHT", code="fuse.syntax", hint="such as b.csv=0.5"
        )
    return regular("--fuse", Path(file)), value


def write_report(scored: Scored[VideoMetric, Outcome], folder: Path | None) -> dict[str, Any]:
    """Return the numbers of `eval --json`, and write the tables and pictures of the report.

    Args:
        scored: the evaluation.
        folder: gets `per_video.csv`, `precision_recall.csv`, `confusion_matrix.csv` and
            `confusion_matrix.png`; None writes nothing.
    """
    metric = scored.metric
    report = content(
        scored,
        metric.report(scored.classes),
        truths=true_classes(scored),
        sample=SAMPLE,
        counts={"clips": int(metric.clips[0])},
        baseline={"video_top1": commonest(metric.matrix)},
    )
    curves = add_curves(report, scored)
    if folder is not None:
        report["files"] = write_tables(scored, folder, "per_video", curves)
    return report
