"""From flags and folders to everything that a video run needs, checked first."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cvkit.console import Reporter
from cvkit.data.classified import Collection, read_collection
from cvkit.data.clips import ClipTransform
from cvkit.data.exclusion import read_exclusion
from cvkit.data.files import walk_videos
from cvkit.data.scan import VideoScan, scan_videos
from cvkit.data.tables import read_rows
from cvkit.dividing import tell_division, training_division
from cvkit.errors import UsageError, raise_defects
from cvkit.options.video import VideoEval, VideoPredict, VideoTrain
from cvkit.output.files import write_csv
from cvkit.structures import ClassList
from cvkit.tasks.checking import checked, warn_of_leaks
from cvkit.tasks.classed import ClassTraining, parse_side, require_examples, warn_of_gaps
from cvkit.tasks.common import data_place
from cvkit.tasks.saving import chosen_saves
from cvkit.tasks.video.network import parse_views
from cvkit.texts import counted


@dataclass(frozen=True, kw_only=True)
class Training(ClassTraining):
    """Settings of training; the further fields are the flags of the same names."""

    reverse: float
    clips: int


@dataclass(frozen=True, kw_only=True)
class Inference:
    """Settings of evaluation and prediction; the fields are the flags of the same names."""

    top_k: int = 5
    per_clip: bool = False
    save: tuple[str, ...] = ()


def inference_for(options: VideoEval | VideoPredict, classes: ClassList) -> Inference:
    """Return the settings that the flags of evaluation or prediction give.

    Raises:
        UsageError: `--save` is malformed, or names a format that cannot hold the classes.
    """
    if not isinstance(options, VideoPredict):
        return Inference()
    return Inference(
        top_k=min(options.top_k, len(classes)),
        per_clip=options.per_clip,
        save=chosen_saves(options.save, "video", classes),
    )


def check_flags(options: VideoTrain) -> None:
    """Check what can be checked without data.

    Raises:
        UsageError: flags that cannot be combined.
    """
    parse_views(options.views)
    if options.image_size != "auto":
        parse_side(options.image_size)
    if options.fps and options.stride > 1:
        raise UsageError("--fps and --stride cannot be combined", code="fps.stride")
    training_division(options)


def transform_for(options: VideoTrain, side: int) -> ClipTransform:
    """Return the random transform of training clips for frames of `side` pixels.

    Raises:
        UsageError: the file of `--augment` cannot be read.
    """
    from cvkit.data.transforms import classes  # slow to import; training only

    return classes.ClipTransform(options.augment, side, flip=options.flip)


def training_data(options: VideoTrain, report: Reporter) -> tuple[Collection, dict[str, VideoScan]]:
    """Return the videos of both splits, and the results of their checks.

    Raises:
        DataError: lists every defect.
    """
    place = data_place(options.data, "video")
    names = (options.train_split, options.val_split)
    division = training_division(options)
    data = read_collection(
        *(place, options.format, names, division, walk_videos),
        exclude=read_exclusion(options.exclude),
    )
    tell_division(options, place, data.heap, division, data.splits, report)
    splits = data.splits.items()
    counts = ", ".join(f"{name}: {counted(len(videos), 'video')}" for name, videos in splits)
    if options.data == "samples":
        report.say(f"training on the built-in samples (a synthetic shape that moves), {counts}")
    else:
        report.say(f"data: {place} ({data.layout} layout), {counts}")
    require_examples(data, options.train_split, place)
    scans = {
        name: checked(scan_videos, videos, name, report, "reading")
        for name, videos in data.splits.items()
    }
    raise_defects([d for scan in scans.values() for d in scan.defects], str(place))
    relation = ("is also in", "are also in")
    if any(video.seconds for videos in data.splits.values() for video in videos):
        relation = ("comes from a file that is also in", "come from files that are also in")
    warn_of_leaks(names, data.splits, scans, report, "video", relation)
    warn_of_gaps(data, options.val_split, report)
    for name, scan in scans.items():
        lengths = [frames for frames, _ in scan.lengths]
        report.say(
            f"{name}: {_frames(lengths)} per video, headers with a different count: "
            f"{scan.differing}"
        )
        span = 1 if options.sampling == "uniform" else (options.frames - 1) * options.stride + 1
        if short := sum(frames < max(span, options.frames) for frames in lengths):
            count = f"{counted(short, 'video')} {'is' if short == 1 else 'are'}"
            report.warn(f"{name}: {count} shorter than a clip and therefore repeated")
    report.say(f"classes: {len(data.names)} ({', '.join(data.names[:30])})")
    return data, scans


def _frames(lengths: list[int]) -> str:
    """Return the number of frames of videos as text."""
    if min(lengths) == max(lengths):
        return counted(lengths[0], "frame")
    return f"{min(lengths)} to {max(lengths)} frames"


def join_timelines(folder: Path, lines: Iterable[dict]) -> None:
    """Write `timeline.csv`: the rows of all timelines, each with the path of its video."""
    tables = ((line["path"], read_rows(folder / line["timeline"], ())) for line in lines)
    first = next(tables, None)
    columns = [] if first is None else list(first[1][0])
    known = tables if first is None else itertools.chain([first], tables)
    rows = ([path, *row.values()] for path, table in known for row in table)
    write_csv(folder / "timeline.csv", ["path", *columns], rows)


def parts_of(line: dict[str, Any], folder: Path) -> list[tuple[str, int, int]]:
    """Return the parts of a video from its timeline: class, first and last frame, from 1.

    A clip's class holds until the next clip begins; equal neighbours are one part.

    Args:
        line: of the video, with its timeline.
        folder: of the results.
    """
    rows = read_rows(folder / line["timeline"], ())
    starts = [round(float(row["seconds"]) * line["fps"]) + 1 for row in rows]
    ends = [*(start - 1 for start in starts[1:]), line["frames"]]
    clips = zip((row["label"] for row in rows), starts, ends, strict=True)
    found: list[tuple[str, int, int]] = []
    for name, same in itertools.groupby(clips, lambda clip: clip[0]):
        spans = [span for _, *span in same]
        found.append((name, spans[0][0], spans[-1][1]))
    return found
