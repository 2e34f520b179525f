"""Completion of the values of flags and arguments."""

import dataclasses
import itertools
import json
import os
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cvkit.backbone_table import BACKBONES
from cvkit.catalog import ARCHS, AUGMENTATIONS, SCHEDULES, TASKS, VIEWS, backbones_of
from cvkit.data.rules import RULES
from cvkit.options.base import ENGINES
from cvkit.options.described import choices_of, hints, type_of
from cvkit.options.detect import PROTOCOLS
from cvkit.options.explain import METHODS, PATCHES, SETS
from cvkit.options.export import DYNAMIC
from cvkit.options.features import MAPS
from cvkit.options.job import PRECISIONS, Command
from cvkit.options.logs import PROGRAMS
from cvkit.options.robust import ATTACKS, CORRUPTIONS
from cvkit.options.saves import SAVES
from cvkit.options.segment import DIALECTS
from cvkit.options.tree import task_options
from cvkit.published import published_models, weight_shelves

ENTRIES = 1000
"""Maximum number of folder entries to read, so that large folders do not delay the shell."""
HEADER_BYTES = 2**20
"""Longest header of a model file that is read."""


@dataclass(frozen=True)
class Line:
    """A command line up to the word that is being typed.

    Attributes:
        command: the words of the command, such as `("segment", "train")`.
        values: of the flags and arguments so far, by the name of their field.
        partial: the typed part of the word, or of the value after `--flag=`.
    """

    command: tuple[str, ...]
    values: dict[str, list[str]] = field(default_factory=dict)
    partial: str = ""

    @property
    def task(self) -> str | None:
        """The task that the command is about, if any."""
        named = self.command[0] if self.command[0] in TASKS else self.value("task")
        return named if named in TASKS else None

    def value(self, *names: str) -> str | None:
        """Return the last value of the first of these flags that has one."""
        return next((self.values[name][-1] for name in names if self.values.get(name)), None)


@dataclass(frozen=True)
class Choices:
    """Words to choose from, each with its meaning, and whether paths are possible too.

    Attributes:
        words: meaning of each word, which may be "".
        paths: `files` (and folders), `folders`, or "" for none; the shell itself completes them.
        prefix: what precedes the value in its word, such as `--arch=`.
    """

    words: dict[str, str] = field(default_factory=dict)
    paths: str = ""
    prefix: str = ""

    def starting(self, partial: str) -> "Choices":
        """Return the choices whose words start with the typed part."""
        words = {text: about for text, about in self.words.items() if text.startswith(partial)}
        return dataclasses.replace(self, words=words)


def choices_for(line: Line, options_class: type[Command], name: str) -> Choices:
    """Return the possible values of a flag or an argument.

    Args:
        line: typed so far.
        options_class: of the command.
        name: field of the options.
    """
    annotation = hints(options_class)[name]
    if words := choices_of(annotation):
        about = ARCHS.get(line.task or "", {}) if name == "arch" else {}
        return Choices({word: about[word].about if word in about else "" for word in words})
    if name in SOURCES:
        return SOURCES[name](line)
    return Choices(paths="files" if value_type(annotation) is Path else "")


def value_type(annotation: object) -> object:
    """Return the type of one value of a flag: without None, and for a list its element type."""
    kind = type_of(annotation)
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        kind = typing.get_args(kind)[0]
    return typing.get_args(kind)[0] if typing.get_origin(kind) is list else kind


def _named(*words: str, paths: str = "") -> Callable[[Line], Choices]:
    return lambda line: Choices(dict.fromkeys(words, ""), paths)


def _joined(separators: str, words: Iterable[str], line: Line) -> Choices:
    """Return words that may be joined; the part typed before the last separator is kept."""
    ends = [line.partial.rfind(separator) + 1 for separator in separators]
    begun = line.partial[: max(ends)]
    taken = re.split(rf"[{re.escape(separators)}]", begun)
    return Choices({begun + word: "" for word in words if word not in taken})


def _entries(folder: Path) -> list[os.DirEntry]:
    """Return the first entries of a folder in alphabetical order; none if it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(itertools.islice(entries, ENTRIES), key=lambda entry: entry.name)
    except OSError:
        return []


def _folders(folder: Path) -> list[str]:
    return [e.name for e in _entries(folder) if e.is_dir() and not e.name.startswith(".")]


def _files(folder: Path, *suffixes: str) -> list[str]:
    return [e.name for e in _entries(folder) if e.name.endswith(suffixes) and not e.is_dir()]


def _typed_files(line: Line, *suffixes: str) -> dict[str, str]:
    """Return the files with these suffixes in the typed folder."""
    start = line.partial[: line.partial.rfind("/") + 1]
    return {start + name: "" for name in _files(Path(start).expanduser(), *suffixes)}


def _runs(line: Line, *marks: str) -> Iterator[str]:
    """Yield the run folders of a task that contain one of the marks, in `--out` and in `runs`."""
    others = tuple(f"{task}-" for task in TASKS if task != line.task)
    for parent in dict.fromkeys((*line.values.get("out", ()), "runs")):
        for name in _folders(Path(parent)):
            folder = Path(parent, name)
            if not name.startswith(others) and any((folder / mark).exists() for mark in marks):
                yield str(folder)


def _models(line: Line) -> Choices:
    """Return the values of `--weights`: runs, files, names in weights/, published names."""
    words = dict.fromkeys(_runs(line, "best.safetensors", "last.safetensors"), "run folder")
    for shelf in weight_shelves():
        for name in _files(shelf, ".safetensors"):
            if _task_of(shelf / name) in (None, line.task):
                words.setdefault(name.removesuffix(".safetensors"), "in weights/")
    words |= dict.fromkeys(published_models(line.task or ""), "published")
    exported = (".onnx", ".xml") if line.command[-1] in ("eval", "predict") else ()
    return Choices(words | _typed_files(line, ".safetensors", *exported), "folders")


def _task_of(path: Path) -> str | None:
    """Return the task that the header of a model file names; None if it cannot be read."""
    try:
        with open(path, "rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            content = json.loads(stream.read(length)) if length <= HEADER_BYTES else {}
        return json.loads(content["__metadata__"]["cvkit"])["task"]
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _backbone_weights(line: Line) -> Choices:
    """Return the values of `--pretrained`; the versions are those of `--backbone`."""
    name = line.value("backbone", "arch")
    known = BACKBONES[name].versions if name in BACKBONES else ("v1", "v2")
    words = ["imagenet", *(f"imagenet:{version}" for version in known)]
    words += ["kinetics"] if line.task == "video" else []
    runs = _runs(line, "best.safetensors", "last.safetensors")
    files = _typed_files(line, ".safetensors", ".pth")
    return Choices(dict.fromkeys((*words, *runs), "") | files, "folders")


def _resumable(line: Line) -> Choices:
    if line.command == ("tune",):
        studies = Path(line.value("out") or "runs")
        words = [str(studies / name) for name in _folders(studies) if name.startswith("tune-")]
        return Choices(dict.fromkeys(words, ""), "folders")
    return Choices(dict.fromkeys(_runs(line, "ckpt", "last.safetensors"), ""), "folders")


def _datasets(line: Line) -> Choices:
    tables = _typed_files(line, ".csv") if line.task in ("classify", "video") else {}
    return Choices({"samples": "built-in synthetic data"} | tables, "folders")


SPLITS = ("train", "val", "test")


def _splits(line: Line) -> Choices:
    """Return the splits of the dataset on the line, judged by its folders."""
    place = line.value("data", "truth")
    root = Path(place or "").expanduser()
    found = set(_splits_in(root)) if place not in (None, "samples") and root.is_dir() else ()
    listed = sorted(found, key=lambda name: (SPLITS.index(name) if name in SPLITS else 3, name))
    return Choices(dict.fromkeys(listed or SPLITS, ""))


def _splits_in(root: Path) -> Iterator[str]:
    """Yield possible splits of a dataset in any layout."""
    for kind in ("Segmentation", "Main"):
        names = [name.removesuffix(".txt") for name in _files(root / "ImageSets" / kind, ".txt")]
        # VOC also has lists for each class, such as cat_train.txt.
        yield from (n for n in names if "_" not in n or n.rpartition("_")[2] not in names)
    yield from _folders(root / "images")
    for name in _files(root / "annotations", ".json"):
        yield from set(re.split(r"[^A-Za-z]+", name)) & {*SPLITS, "valid"}
    if not (root / "images").is_dir():
        yield from (name for name in _folders(root) if name in (*SPLITS, "valid"))


def _devices(line: Line) -> Choices:
    cards = [name for name in os.listdir("/dev") if re.fullmatch(r"nvidia\d+", name)]
    numbered = sorted(f"cuda:{name.removeprefix('nvidia')}" for name in cards)
    return Choices(dict.fromkeys(("auto", "cpu", "cuda", "mps", *numbered), ""))


LOSSES = ("ce", "dice", "focal", "ohem")
"""Terms of `--loss` of segment."""
TTA = {"classify": ("flip", "ten-crop"), "segment": ("flip", "scales")}
"""The values of `--tta`."""


def _augments(line: Line) -> Choices:
    names = VIEWS if line.command == ("pretrain",) else AUGMENTATIONS.get(line.task or "", ())
    if line.command == ("tune",):
        return _joined(",", names, line)
    files = _typed_files(line, ".yaml", ".yml", ".json")
    return Choices(dict.fromkeys(names, "") | files, "folders")


def _schedules(line: Line) -> Choices:
    found = ("auto", *SCHEDULES) if line.task in ("detect", "instance") else SCHEDULES
    return Choices(dict.fromkeys(found, ""))


def _sides(line: Line) -> Choices:
    finders = line.task in ("detect", "instance")
    return Choices(dict.fromkeys(("auto", "native") if finders else ("auto",), ""))


def _archs(line: Line) -> Choices:
    task = line.task or "classify"
    return Choices({name: entry.about for name, entry in ARCHS[task].items()})


def _backbones(line: Line) -> Choices:
    return Choices(dict.fromkeys(backbones_of(line.task or "classify"), ""))


def _settings(line: Line) -> Choices:
    """Return NAME=VALUE of the flags that `--set` gives; first the names, then the values.

    They are those of train for tune, and those of predict and eval for bench, of train too if
    there is an `--arch`.
    """
    if line.task is None:
        return Choices()
    measured = ("predict", "eval", *(("train",) if line.value("arch") else ()))
    verbs = measured if line.command == ("bench",) else ("train",)
    name, equals, partial = line.partial.partition("=")
    if not equals:
        kinds = (task_options(line.task, verb) for verb in verbs)
        names = (f.name.replace("_", "-") for kind in kinds for f in dataclasses.fields(kind))
        return Choices({f"{name}=": "" for name in names})
    key = name.lstrip("-").replace("-", "_")
    verb = next((verb for verb in verbs if key in hints(task_options(line.task, verb))), None)
    if verb is None:
        return Choices()
    inner = Line((line.task, verb), partial=partial)
    found = choices_for(inner, task_options(line.task, verb), key)
    return Choices({f"{name}={word}": about for word, about in found.words.items()})


WRITES_FILE = ("import", "average", "proposals", "bench", "export")
"""Commands whose --out is a file."""
SOURCES: dict[str, Callable[[Line], Choices]] = {
    "arch": _archs,
    "attack": _named(*ATTACKS),
    "augment": _augments,
    "backbone": _backbones,
    "class_weights": _named("none", "balanced", "sqrt"),
    "classes": _named("auto", "imagenet", "voc", "coco", "kinetics", paths="files"),
    "corruptions": lambda line: _joined(",", ("all", *CORRUPTIONS), line),
    "data": _datasets,
    "device": _devices,
    "dynamic": lambda line: _joined(",", DYNAMIC, line),
    "engines": lambda line: _joined(",", ENGINES[1:], line),
    "folder": _named(paths="folders"),
    "ignore": lambda line: _joined(",", RULES, line),
    "select": lambda line: _joined(",", RULES, line),
    "fuse": _named(paths="files"),
    "image_size": _sides,
    "dialect": lambda line: _joined(",", DIALECTS, line),
    "images": _named(paths="folders"),
    "inputs": _named(paths="files"),
    "log": lambda line: _joined(",", PROGRAMS, line),
    "loss": lambda line: _joined("+*", LOSSES, line),
    "maps": lambda line: _joined(",", ("none", *MAPS), line),
    "method": lambda line: _joined(",", (*SETS, *METHODS, PATCHES), line),
    "min_size": _sides,
    "tiles": _named("auto"),
    "out": lambda line: Choices(paths="files" if line.command[-1] in WRITES_FILE else "folders"),
    "precisions": lambda line: _joined(",", PRECISIONS[1:], line),
    "pretrained": _backbone_weights,
    "protocol": lambda line: _joined(",", PROTOCOLS, line),
    "queries": _named(paths="files"),
    "resume": _resumable,
    "schedule": _schedules,
    "save": lambda line: _joined(",", SAVES.get(line.task or "", ()), line),
    "set": _settings,
    "split": _splits,
    "splits": _splits,
    "train_split": _splits,
    "tta": lambda line: _joined(",", TTA.get(line.task or "", ()), line),
    "val_split": _splits,
    "views": _named("1x1", "5x1", "10x3"),
    "weights": _models,
}
"""Values of flags and arguments whose type does not define them, by field name."""
