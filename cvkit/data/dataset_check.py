"""Checks a whole dataset in one pass: its files, its labels, and what splits have in common."""

from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cvkit.catalog import nearest
from cvkit.console import Reporter, Tabular
from cvkit.data.annotated import AnnotatedImage, Annotations
from cvkit.data.checked import Checked, Part, Request
from cvkit.data.class_checks import CLASS_CHECKS, listed_classes
from cvkit.data.classified import ClassifiedImage
from cvkit.data.division import ALL, SPELLINGS, find_split, splits_of
from cvkit.data.files import unread_in, walk_images, walk_videos
from cvkit.data.findings import Finding, found_defects, noted, warning
from cvkit.data.formats.contract import Contents, DataFlags, Query
from cvkit.data.formats.recognise import detect_format, reader_of
from cvkit.data.labelled import LabelledImage
from cvkit.data.leaks import Member, near_duplicates, same_content
from cvkit.data.masks import MaskReader
from cvkit.data.scan import (
    BoxScan,
    Found,
    VideoScan,
    scan_boxes,
    scan_images,
    scan_pairs,
    scan_videos,
)
from cvkit.errors import CvkitError, DataError, UsageError
from cvkit.format_table import FORMATS
from cvkit.texts import counted


def check(request: Request, report: Reporter) -> Checked:
    """Return all findings about a dataset.

    Args:
        request: what to check.
        report: for progress.

    Raises:
        CvkitError: the dataset does not exist, has another format, or lacks a requested split.
    """
    layout, contents, problem = _open(request)
    result = Checked(layout)
    if contents is None:
        result.findings += [] if problem is None else found_defects(problem, request.root)
        return result
    names = _names(request, contents)
    if not names:
        lost = DataError(f"{request.place} has no splits", code="split.missing", hint=contents.hint)
        result.findings += found_defects(lost, request.root)
    whole = (contents.heap or ALL) if contents.heap in names else ""
    result.train = find_split("train", names) or whole
    for name in names:
        _read_part(name, request, contents, result)
    reader = _mask_reader(request, result)
    for part in result.parts:
        part.scan = _scan(part, request, reader, report)
        for defect in part.scan.defects:
            result.findings += found_defects(defect, request.root, part.name)
        if part.scan.note:
            report.warn(f"the results of the data check cannot be cached: {part.scan.note}")
    result.findings += CLASS_CHECKS[request.truth](request, result)
    result.findings += _twins(request, names)
    result.findings += _unread(request)
    for part in result.parts:
        result.findings += _oddities(part, request)
    result.findings += _leaks(request, result, report)
    kept = [each for each in result.findings if each.sample not in request.exclude.keys]
    result.findings = list(dict.fromkeys(kept))
    return result


def _open(request: Request) -> tuple[str, Contents[Any] | None, CvkitError | None]:
    """Return the format of a dataset and its content, or why the content cannot be read.

    Raises:
        CvkitError: it does not exist or has no known format.
    """
    rows, given = FORMATS[request.truth], request.place
    coco = next((name for name, row in rows.items() if row.json_files), None)
    files: dict[str, Path] = {}
    if coco and given.suffix.lower() == ".json" and given.is_file():
        if request.layout not in ("auto", coco):
            raise UsageError(
                f"--format {request.layout}: {given} is a COCO file",
                code="format.json",
                hint=f"use --format {coco}, or omit it",
            )
        files, layout = {"": given}, coco
    else:
        layout = detect_format(request.truth, given, request.layout, request.splits, "DATA")
    if request.images is not None and layout != coco:
        raise UsageError(
            f"--images has no effect: {given} has the layout {layout}",
            code="images.idle",
            hint="--images is for COCO files only",
        )
    query = Query(
        root=request.root if files else given,
        splits=request.splits,
        walk=walk_videos if request.videos else walk_images,
        json_files=files,
        images=request.images,
        masks=request.truth == "instances",
        flags=DataFlags("DATA", "give the file itself instead of the folder"),
    )
    try:
        return layout, reader_of(request.truth, layout).read(query), None
    except CvkitError as error:
        return layout, None, error


def _names(request: Request, contents: Contents[Any]) -> list[str]:
    """Return the dataset's own names of the splits to check; "" for all of it.

    Raises:
        DataError: a requested split does not exist.
    """
    every = splits_of(contents.known, contents.heap, twins=True)
    if not request.splits:
        return every
    found = []
    for split in request.splits:
        name = find_split(split, contents.known)
        if name is None and contents.heap is not None and split == (contents.heap or ALL):
            name = contents.heap
        if name is None:
            raise DataError(
                f"{request.place} has no split {split!r}",
                code="split.missing",
                hint=nearest(split, named) if (named := [*filter(None, every)]) else contents.hint,
            )
        found.append(name)
    return list(dict.fromkeys(found))


def _twins(request: Request, names: Sequence[str]) -> list[Finding]:
    """Return findings about splits with the same meaning, such as `val` and `valid`."""
    rows = ([name for name in names if name.casefold() in row] for row in SPELLINGS)
    text = f"{request.place}: {{}} are splits with the same meaning"
    twins = [row for row in rows if len(row) > 1]
    return [warning("split.unused", text.format(" and ".join(map(repr, row)))) for row in twins]


def _unread(request: Request) -> list[Finding]:
    """Return the finding about files in formats that are not read."""
    note = unread_in(request.place) if request.place.is_dir() else ""
    return [warning("file.unread", note)] if note else []


def _read_part(name: str, request: Request, contents: Contents[Any], result: Checked) -> None:
    """Read a split into the result, or note why it cannot be read."""
    shown = name or ALL
    try:
        content = contents.read(name)
    except CvkitError as error:
        result.findings += found_defects(error, request.root, shown)
        return
    for defect in request.exclude.tolerated(content.defects, str(request.place)):
        result.findings += found_defects(defect, request.root, shown)
    remarks = content.remarks if isinstance(content, Annotations) else []
    notes = [note for note in [*content.notes, *remarks] if not isinstance(note, Tabular)]
    result.tables |= dict.fromkeys(note for note in content.notes if isinstance(note, Tabular))
    result.findings += [noted(note, request.root, shown) for note in notes]
    result.keys |= {item.key for item in content.images}
    items = [item for item in content.images if item.key not in request.exclude.keys]
    if not content.images and not content.defects:
        where = f"split {shown!r} of {request.place} is empty"
        empty = DataError(where, code="split.empty", hint="")
        result.findings += found_defects(empty, request.root, shown)
    classes = content.classes if isinstance(content, Annotations) else None
    result.parts.append(Part(shown, items, classes))


def _mask_reader(request: Request, result: Checked) -> MaskReader:
    """Return the reader of the masks; of no use for other labels."""
    if request.truth != "masks":
        return MaskReader()
    classes, colors = listed_classes(request, result)
    return MaskReader(
        num_classes=len(classes) if classes else None,
        colors=colors,
        mask_map=request.mask_map,
        ignore_index=request.ignore_index,
    )


def _scan(part: Part, request: Request, reader: MaskReader, report: Reporter) -> Found:
    """Return what the files of a split contain, with a progress bar."""
    scans: dict[str, Callable[..., Found]] = {
        "classes": scan_videos if request.videos else scan_images,
        "masks": lambda items, advance: scan_pairs(items, reader, advance),
        "boxes": scan_boxes,
        "instances": scan_boxes,
    }
    with report.progress(f"checking {part.name}", len(part.items)) as advance:
        return scans[request.truth](part.items, advance)


def _oddities(part: Part, request: Request) -> list[Finding]:
    """Return warnings about single samples."""
    made: list[Finding] = []
    if isinstance(part.scan, BoxScan):
        for before, image in zip(part.items, part.scan.images, strict=True):
            made += _box_oddities(before, image, part.name)
    if isinstance(part.scan, VideoScan):
        lengths = [frames for frames, _ in part.scan.lengths]
        rows = zip(_readable(part), lengths, part.scan.claimed, strict=True)
        for video, frames, claimed in rows:
            made += _video_oddities(video, frames, claimed, request.clip_frames, part.name)
    return made


def _box_oddities(before: AnnotatedImage, image: AnnotatedImage, split: str) -> Iterable[Finding]:
    if before.size_wh is None:
        text = f"{before.key}: its annotation does not give the size of the image"
        yield warning("image.size_missing", text, before.key, split=split, sample=before.key)
    sides = before.truth.corner_and_size()[:, 2:].prod(1)
    too_large = before.truth.areas > 1.01 * sides + 1  # areas are often rounded
    if count := int(too_large.sum()):
        text = f"{before.key}: {counted(count, 'area')} larger than the box"
        yield warning("area.mismatch", text, before.key, split=split, sample=before.key)
    if image.size_wh is not None and len(image.truth):
        beyond = (image.truth.boxes < -0.5) | (
            image.truth.boxes > np.array(image.size_wh * 2) + 0.5
        )
        if count := int(beyond.any(1).sum()):
            width, height = image.size_wh
            boxes = counted(count, "box extends", "boxes extend")
            text = f"{image.key}: {boxes} beyond the image of {width}x{height}"
            yield warning("box.clipped", text, image.key, split=split, sample=image.key)


def _video_oddities(
    video: ClassifiedImage, frames: int, claimed: int, clip_frames: int, split: str
) -> Iterable[Finding]:
    where = {"file": video.key, "split": split, "sample": video.key}
    if claimed:
        text = f"{video.key}: its header claims {counted(claimed, 'frame')}, it has {frames}"
        yield warning("video.count_mismatch", text, **where)
    if frames < clip_frames:
        text = f"{video.key}: {counted(frames, 'frame')}, a clip has {clip_frames}"
        yield warning("video.shorter_than_clip", text, **where)


def _readable(part: Part) -> list[Any]:
    """Return the samples of a split whose files could be read, in order."""
    lost: Collection[str] = {defect.sample for defect in part.scan.defects}
    return [item for item in part.items if item.key not in lost]


def _path_of(item: ClassifiedImage | LabelledImage | AnnotatedImage) -> Path:
    return item.image if isinstance(item, LabelledImage) else item.path


def _leaks(request: Request, result: Checked, report: Reporter) -> list[Finding]:
    """Return what several splits contain."""
    members = [
        Member(part.name, item.key, _path_of(item), digest)
        for part in result.parts
        for item, digest in zip(_readable(part), part.scan.hashes, strict=True)
    ]
    same = same_content(members)
    made = [_leak("leak.same_file", "has the same content as", *pair) for pair in same]
    if request.most_bits < 0 or request.videos:
        return made
    with report.progress("comparing splits", len(members)) as advance:
        near = near_duplicates(members, request.most_bits, advance)
    return made + [_leak("leak.near_duplicate", "looks the same as", *pair) for pair in near]


def _leak(rule: str, relation: str, later: Member, earlier: Member) -> Finding:
    text = f"{later.key} of {later.split!r} {relation} {earlier.key} of {earlier.split!r}"
    return warning(rule, text, later.key, split=later.split, sample=later.key)
