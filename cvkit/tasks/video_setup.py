"""From flags and folders to what a video run needs, everything checked first."""

from pathlib import Path
from typing import Any

from cvkit.data.files import walk_videos
from cvkit.data.folders import Collection, read_collection
from cvkit.data.scan import fingerprint, raise_defects, scan_videos
from cvkit.data.tables import read_rows
from cvkit.engine.report import Reporter
from cvkit.errors import UsageError
from cvkit.options.video import VideoTrain
from cvkit.output.files import write_csv
from cvkit.tasks.classify_setup import parse_side, require_examples
from cvkit.tasks.image_task import data_place
from cvkit.tasks.shares import warn_of_idle_share
from cvkit.tasks.video_network import parse_views


def check_flags(options: VideoTrain) -> None:
    """Check what can be checked without data.

    Raises:
        UsageError: flags that do not go together.
    """
    parse_views(options.views)
    if options.image_size != "auto":
        parse_side(options.image_size)
    if options.augment in ("randaugment", "trivialaugment"):
        raise UsageError(
            f"--augment {options.augment} is not the same for all frames of a clip",
            code="augment.unsupported",
            hint="none, light, strong, or an albumentations file",
        )
    if options.fps and options.stride > 1:
        raise UsageError("--fps and --stride exclude each other", code="fps.stride")
    if not 0 < options.val_fraction < 1:
        raise UsageError(f"--val-fraction {options.val_fraction} is not inside 0..1", code="split")


def training_data(
    options: VideoTrain, report: Reporter
) -> tuple[Collection, list[tuple[int, int]]]:
    """Return the videos of both splits, each looked at once, and the sizes of their frames.

    Raises:
        DataError: lists every defect.
    """
    place = data_place(options.data, "video")
    names = (options.train_split, options.val_split)
    data = read_collection(place, options.format, names, options.val_fraction, walk_videos)
    warn_of_idle_share(options, data, report)
    counts = ", ".join(f"{name}: {len(videos)} videos" for name, videos in data.splits.items())
    if options.data == "samples":
        report.say(f"training on the built-in samples (a synthetic shape that moves), {counts}")
    else:
        report.say(f"data: {place} ({data.layout} layout), {counts}")
    require_examples(data, options.train_split, place)
    if options.train_split == options.val_split:
        report.warn(f"training and validation use the same split {options.val_split!r}")
    scans = {}
    for name, videos in data.splits.items():
        with report.progress(f"looking at {name}", len(videos)) as advance:
            scans[name] = scan_videos(videos, advance)
    raise_defects([d for scan in scans.values() for d in scan.defects], str(place))
    for name, scan in scans.items():
        lengths = [frames for frames, _ in scan.lengths]
        report.say(
            f"{name}: {min(lengths)} to {max(lengths)} frames a video, "
            f"{scan.differing} headers claim another number"
        )
        span = 1 if options.sampling == "uniform" else (options.frames - 1) * options.stride + 1
        if short := sum(frames < max(span, options.frames) for frames in lengths):
            report.warn(f"{name}: {short} videos are shorter than a clip; they are repeated")
    report.say(f"classes: {len(data.names)} ({', '.join(data.names[:30])})")
    return data, scans[options.train_split].sizes_hw


def about_data(options: VideoTrain, data: Collection) -> dict[str, Any]:
    """Return what a model file says about its training data."""
    return {
        "name": options.data if options.data == "samples" else Path(options.data).name,
        "fingerprints": {
            name: fingerprint([(video.key, [video.path]) for video in videos])
            for name, videos in data.splits.items()
        },
        "videos": {name: len(videos) for name, videos in data.splits.items()},
    }


def join_timelines(folder: Path, lines: list[dict]) -> None:
    """Write `timeline.csv`: the rows of every video's timeline, with its path."""
    rows: list[list[str]] = []
    columns: list[str] = []
    for line in lines:
        own = read_rows(folder / line["timeline"], ())
        columns = list(own[0])
        rows += [[line["path"], *row.values()] for row in own]
    write_csv(folder / "timeline.csv", ["path", *columns], rows)
