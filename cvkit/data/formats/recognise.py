"""Detection of a dataset's format."""

import importlib
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cvkit.data.division import is_split
from cvkit.data.files import (
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    matches,
    walk_images,
    walk_videos,
)
from cvkit.data.formats.contract import Reader
from cvkit.data.roots import roots_of
from cvkit.errors import DataError, UsageError
from cvkit.format_table import FORMATS, LAYOUTS_SEPARATOR, TASK_OF, Format, Truth
from cvkit.texts import counted

DRAWN = "cvkit.data.formats.drawn"
JOINED = "cvkit.data.formats.joined"
PARQUET = "parquet"
PARQUET_FILES = ("*.parquet", "data/*.parquet", "*/*.parquet")


def reader_of(truth: Truth, name: str) -> Reader:
    """Return the module of a format.

    Args:
        truth: the kind of labels that the dataset has.
        name: of the format.
    """
    if LAYOUTS_SEPARATOR in name:
        joined: Any = importlib.import_module(JOINED)
        readers = [reader_of(truth, each) for each in name.split(LAYOUTS_SEPARATOR)]
        several_read: Reader = joined.Joined(truth, readers)
        return several_read
    row = FORMATS[truth][name]
    module: Any = importlib.import_module(row.module)
    if row.drawn:
        drawn: Any = importlib.import_module(DRAWN)
        module = drawn.DrawnMasks(module)
    return module


def detect_format(
    truth: Truth,
    place: Path,
    wanted: str = "auto",
    splits: Sequence[str] = (),
    flag: str = "--data",
) -> str:
    """Return the name of a dataset's format: detected, or `wanted`.

    For several datasets these are names with `LAYOUTS_SEPARATOR` between them.

    Args:
        truth: the kind of labels that the dataset has.
        place: its folder, or a file given instead.
        wanted: a name, or `auto`.
        splits: that are requested.
        flag: for the dataset, for messages.

    Raises:
        DataError: it does not exist, or has none of the formats.
        UsageError: a file in another format than the wanted one.
    """
    rows = FORMATS[truth]
    if LAYOUTS_SEPARATOR in wanted:
        return wanted
    if len(roots := roots_of(place)) > 1:
        found = [detect_format(truth, root, wanted, splits, flag) for root in roots]
        return LAYOUTS_SEPARATOR.join(found)
    if place.is_file():
        suffix = place.suffix.lower()
        if name := next((name for name, row in rows.items() if suffix in row.files), None):
            return _agreed(name, wanted, place)
    if not place.is_dir():
        suffixes = " or ".join(suffix for row in rows.values() for suffix in row.files)
        raise DataError(
            f"{flag} {place} is not a folder" + (f" or a {suffixes} file" if suffixes else ""),
            code="data.missing",
            hint="check the path",
        )
    if wanted != "auto":
        return wanted
    for name in _tried(truth):
        if rows[name].last:
            refuse_parquet(truth, place, flag)
        if reader_of(truth, name).looks_like(place, splits):
            return name
    hints = _nearest(truth, place) or _suggested(truth, place)
    hints = hints or [f"known: {', '.join(rows)}; docs/formats.md describes them"]
    raise DataError(
        f"{flag} {place} has no known layout; it contains {_content(place)}",
        code="data.layout",
        hint="; ".join([*hints, *filter(None, (other_data(truth, place),))]),
    )


UNPACK: dict[Truth, str] = {
    "classes": """python -c "import datasets, os; [(os.makedirs(f, exist_ok=True), """
    """r['image'].save(f'{{f}}/{{n}}.png')) for s, d in datasets.load_dataset({place!r}).items() """
    """for n, r in enumerate(d) for f in ['NEW/' + s + '/' + """
    """d.features['label'].int2str(r['label'])]]\"""",
    "boxes": """python -c "import datasets, json, os; """
    """[(os.makedirs(f'NEW/{{s}}', exist_ok=True), r['image'].save(f'NEW/{{s}}/{{n}}.png'), """
    """print(json.dumps({{'file_name': f'{{n}}.png', 'objects': r['objects']}}), """
    """file=open(f'NEW/{{s}}/metadata.jsonl', 'a'))) """
    """for s, d in datasets.load_dataset({place!r}).items() for n, r in enumerate(d)]\"""",
}
"""Commands that turn parquet files into folders of images, by the kind of labels."""


def refuse_parquet(truth: Truth, place: Path, flag: str) -> None:
    """Refuse a dataset in parquet files from which this kind of labels cannot be read.

    Raises:
        DataError: they have other labels, or no format reads them.
    """
    found = parquet_files(place)
    if not found:
        return
    if PARQUET in FORMATS[truth]:
        raise DataError(
            f"{flag} {place} has parquet files that are not of {truth}, such as {found[0].name}",
            code="data.parquet",
            hint=other_data(truth, place, deeper=False) or FORMATS[truth][PARQUET].about,
        )
    raise DataError(
        f"{flag} {place} has parquet files, which contain the images",
        code="data.parquet",
        hint=unpack_hint(truth, place),
    )


def parquet_files(root: Path) -> list[Path]:
    """Return the parquet files of a dataset: in the folder, in `data`, or in those of splits."""
    found = dict.fromkeys(file for pattern in PARQUET_FILES for file in matches(root, pattern))
    return [f for f in found if f.parent in (root, root / "data") or is_split(f.parent.name)]


def unpack_hint(truth: Truth, place: Path) -> str:
    """Return how the parquet files in a folder are unpacked."""
    command = UNPACK.get(truth, "'datasets' of Hugging Face reads them").format(place=str(place))
    return f"unpack them into NEW with the package datasets: {command}"


def _content(place: Path) -> str:
    """Return the folders of a folder, and how many files it has of each kind."""
    found = matches(place, "*")
    folders = [f"{path.name}/" for path in found if path.is_dir()]
    kinds = Counter(path.suffix.lower() or "other" for path in found if not path.is_dir())
    parts = folders[:MOST_NAMES] + [f"{len(folders) - MOST_NAMES} more folders"] * (
        len(folders) > MOST_NAMES
    )
    parts += [f"{counted(n, f'{kind} file')}" for kind, n in kinds.most_common(MOST_NAMES)]
    return ", ".join(parts) or "nothing"


def _nearest(truth: Truth, place: Path) -> list[str]:
    """Return what is missing for the layouts of which a folder has the largest part."""
    shares: dict[str, float] = {}
    for name, row in FORMATS[truth].items():
        had = [part for part in row.needs if matches(place, part)]
        if had and len(had) < len(row.needs):
            shares[name] = len(had) / len(row.needs)
    result = []
    for name, share in shares.items():
        if share == max(shares.values()):
            row = FORMATS[truth][name]
            lacking = [part for part in row.needs if not matches(place, part)]
            are = "is" if len(lacking) == 1 else "are"
            result.append(f"for {name} ({row.about}), {' and '.join(lacking)} {are} missing")
    return result


def _suggested(truth: Truth, place: Path) -> list[str]:
    """Return the layouts of datasets with files of the same kinds, at most `MOST_LAYOUTS`."""
    kinds = {path.suffix.lower() for path in matches(place, "*")} - {""}
    found = [(name, row) for name, row in FORMATS[truth].items() if kinds & {*row.kinds}]
    return [f"for {name}, it must have {row.about}" for name, row in found[:MOST_LAYOUTS]]


MOST_LAYOUTS = 3
"""Maximum number of layouts in a hint."""
MOST_NAMES = 8
"""Maximum number of folders, and of kinds of files, in a message."""
MOST_FOLDERS = 20
"""Maximum number of subfolders that are searched for datasets."""
NO_CLASSES = frozenset(
    ("images", "masks", "labels", "annotations", "ann", "img")
    + ("JPEGImages", "SegmentationClass", "Annotations", "ImageSets")
)
"""Folder names of other formats, which are unlikely names of classes."""


def other_data(truth: Truth, place: Path, deeper: bool = True) -> str:
    """Return a hint if a folder looks like data for another task, or a folder in it like data.

    Args:
        truth: the kind of labels that was expected.
        place: the folder.
        deeper: also check its subfolders.
    """
    if not place.is_dir():
        return ""
    if tasks := _meant_for(place, without=truth):
        return f"it looks like data for {tasks}"
    inner = matches(place, "*") if deeper else []
    inner = [path for path in inner if path.is_dir()][:MOST_FOLDERS]
    for path in inner:
        if name := _recognised(truth, path):
            return f"its folder {path.name} has the layout {name}"
    found = {path.name: tasks for path in inner if (tasks := _meant_for(path))}
    return next((f"its folder {n} looks like data for {tasks}" for n, tasks in found.items()), "")


def clear_task(place: Path, layout: str, say: Callable[[str], None]) -> str:
    """Return the only task whose data a dataset can be.

    Objects in a format for both detect and instance are those of instance if one has an outline.

    Args:
        place: its folder, or a file given instead.
        layout: the name of its format, or `auto`.
        say: prints which of these two was chosen, and why.

    Raises:
        DataError: it does not exist.
        UsageError: there are several such tasks, or none.
    """
    if len(roots := roots_of(place)) > 1:
        return _common_task(place, [clear_task(root, layout, say) for root in roots])
    if not place.exists():
        raise DataError(f"{place} does not exist", code="data.missing", hint="check the path")
    found = _possible_tasks(place, layout)
    if not found and place.is_dir() and layout in ("auto", "classes"):
        kind = _task_of_classes(place) if any(p.is_dir() for p in matches(place, "*")) else ""
        found = {kind: "classes"} if kind else {}
    tasks = sorted(found)
    if {*tasks} == {BOXES, OUTLINES} and len({*found.values()}) == 1:
        return _task_of_objects(place, found[BOXES], say)
    if len(tasks) == 1:
        return tasks[0]
    could = f"it may be data for {' or '.join(tasks)}" if tasks else "it has no known layout"
    raise UsageError(
        f"{place}: the task is not clear, {could}",
        code="task.unclear",
        hint=f"add --task {' or '.join(tasks) or 'TASK'}",
    )


def image_tasks(place: Path, layout: str) -> set[str]:
    """Return a task that reads all images of each dataset at a place; "" for unknown layouts.

    VOC lists more images for boxes than for masks, and folders may look like classes.
    """
    order = (BOXES, TASK_OF["masks"], OUTLINES)
    found = [sorted(_possible_tasks(root, layout)) for root in roots_of(place)]
    return {next((t for t in (*order, *tasks) if t in tasks), "") for tasks in found}


def _common_task(place: Path, tasks: Sequence[str]) -> str:
    """Return the task for several datasets; boxes, if only some of them have outlines.

    Raises:
        UsageError: they are for different tasks.
    """
    kinds = {*tasks}
    if kinds == {BOXES, OUTLINES}:
        return BOXES
    if len(kinds) > 1:
        raise UsageError(
            f"{place}: the datasets are for different tasks, {', '.join(tasks)}",
            code="task.unclear",
            hint=f"add --task {tasks[0]}",
        )
    return tasks[0]


def _possible_tasks(place: Path, layout: str) -> dict[str, str]:
    """Return the format that a dataset would have for each task."""
    found: dict[str, str] = {}
    for truth, rows in FORMATS.items():
        names = [n for n, row in rows.items() if place.suffix.lower() in _suffixes(row)]
        if place.is_dir():
            names = [name for name in (_recognised(truth, place),) if name]
        names = [name for name in names if not rows[name].drawn]  # then it is data for instance
        names = [name for name in names if layout in ("auto", name)]
        if truth == "classes" and names and rows[names[0]].last and not _has_classes(place):
            continue
        folder = place if place.is_dir() else place.parent
        if names and (task := _task_of(truth, names[0], folder)):
            found[task] = names[0]
    return found


def _has_classes(place: Path) -> bool:
    """Return whether the folders of splits have folders that may be classes."""
    names = {path.name for path in matches(place, "*/*") if path.is_dir()}
    return bool(names) and not names & NO_CLASSES


BOXES, OUTLINES = TASK_OF["boxes"], TASK_OF["instances"]
"""The tasks for objects."""


def _task_of_objects(place: Path, name: str, say: Callable[[str], None]) -> str:
    """Return the task for the objects of a dataset, and print why."""
    module: Any = importlib.import_module(FORMATS["boxes"][name].module)
    if module.has_outlines(place):
        why, task, other = "objects have outlines", OUTLINES, f"{BOXES} reads boxes only"
    else:
        why, task, other = "no object has an outline", BOXES, f"{OUTLINES} requires outlines"
    say(f"{place} is read for 'cvkit {task}' because {why} ({name} layout); --task {other}")
    return task


def _suffixes(row: Format) -> tuple[str, ...]:
    """Return the suffixes of files that may be given instead of the folder of a dataset."""
    return (*row.files, ".json") if row.json_files else row.files


def _meant_for(place: Path, without: Truth | None = None) -> str:
    """Return the tasks that may use a dataset, with its format for each.

    Args:
        place: its folder.
        without: a kind of labels that it does not have.
    """
    found: list[str] = []
    for truth in FORMATS.keys() - {without}:
        if name := _recognised(truth, place):
            task = _task_of(truth, name, place)
            found += [f"'cvkit {task}' ({name})"] if task else []
    return " or ".join(sorted(found))


def _recognised(truth: Truth, place: Path) -> str | None:
    """Return the format of a folder; None if it would be a mere guess."""
    names = [name for name in _tried(truth) if not FORMATS[truth][name].vague]
    try:
        return next((n for n in names if reader_of(truth, n).looks_like(place, ())), None)
    except DataError:  # it is not meant to have this format, so its defects do not matter
        return None


def _tried(truth: Truth) -> list[str]:
    """Return the names of formats in the order in which they are tried."""
    rows = FORMATS[truth]
    return sorted(rows, key=lambda name: rows[name].last)


def _task_of(truth: Truth, name: str, place: Path) -> str:
    """Return the task for a dataset in a format; "" if there is none."""
    if truth != "classes":
        return TASK_OF[truth]
    return FORMATS[truth][name].task or _task_of_classes(place)


def _task_of_classes(place: Path) -> str:
    """Return the task for a dataset of class labels; "" if there is none.

    A GIF may be an image or a video; the other files decide, and GIFs alone are images.
    """
    if any((place / name).exists() for name in NO_CLASSES):
        return ""
    images = partial(walk_images, place, lambda error: None)
    if any(path.suffix.lower() not in VIDEO_SUFFIXES for path in images()):
        return "classify"
    videos = walk_videos(place, lambda error: None)
    if any(path.suffix.lower() not in IMAGE_SUFFIXES for path in videos):
        return "video"
    return "classify" if next(images(), None) else ""


def _agreed(name: str, wanted: str, file: Path) -> str:
    """Return the format of a file.

    Raises:
        UsageError: another one is wanted.
    """
    if wanted in ("auto", name):
        return name
    raise UsageError(
        f"--format {wanted}: {file} is a file in the format {name}",
        code="format.file",
        hint=f"use --format {name}, or omit it",
    )
