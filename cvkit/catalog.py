"""Tables of names: tasks, architectures and backbones.

Every target is a `"module:attribute"` string, so that reading the tables imports nothing.
"""

import difflib
import importlib
import re
from collections import ChainMap
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from cvkit.arch_table import ARCHS as ARCHS
from cvkit.arch_table import CLASSIFIERS as CLASSIFIERS
from cvkit.arch_table import CLIP_NETWORKS as CLIP_NETWORKS
from cvkit.arch_table import DETECTORS as DETECTORS
from cvkit.arch_table import SEGMENTERS as SEGMENTERS
from cvkit.backbone_table import BACKBONES as BACKBONES
from cvkit.backbone_table import BUILDERS as BUILDERS
from cvkit.errors import UsageError

Entry = TypeVar("Entry")

TASKS = {
    "classify": "cvkit.tasks.classify.task:Classify",
    "segment": "cvkit.tasks.segment.task:Segment",
    "detect": "cvkit.tasks.detect.task:Detect",
    "instance": "cvkit.tasks.instance.task:Instance",
    "video": "cvkit.tasks.video.task:Video",
}

TRAININGS = ChainMap(TASKS, {"pretrain": "cvkit.tasks.pretrain.task:Pretraining"})
"""What can be trained: the tasks, and backbones for them."""

AUGMENTATIONS = {
    "classify": ("none", "light", "strong", "randaugment", "trivialaugment", "lecture"),
    "segment": ("none", "light", "strong", "lecture"),
    "detect": ("none", "light", "strong", "lsj", "mosaic"),
    "instance": ("none", "light", "strong", "lsj", "mosaic"),
    "video": ("none", "light", "strong", "lecture"),
}
"""Names for `--augment`; any other value is a file."""

VIEWS = ("auto", "views", "light", "none")
"""The same for pretraining."""

OPTIMIZERS = {
    "adamw": (1e-3, 1e-2),
    "adam": (1e-3, 0.0),
    "amsgrad": (1e-3, 0.0),
    "sgd": (2e-2, 1e-4),
    "lars": (1.0, 1e-6),
    "rmsprop": (3e-4, 0.0),
    "adagrad": (1e-2, 0.0),
}
"""Default (learning rate, weight decay) of each optimizer."""

SCHEDULES = ("poly", "cosine", "linear", "step", "inverse-sqrt", "constant")
"""Names for `--schedule`; `step` may be followed by milestones."""


ANY_NETWORK = ("classify", "detect", "video")
"""Tasks with architectures for backbones with maps and for backbones without."""


def backbones_of(task: str) -> list[str]:
    """Return the backbones of a task: those with maps, or all of them.

    A complete network belongs to the tasks of its architectures.
    """
    if task in ANY_NETWORK:
        return [name for name, entry in BACKBONES.items() if not entry.whole]
    whole = [name for name, entry in BACKBONES.items() if set(entry.whole) & set(ARCHS[task])]
    return [*backbones_with_maps(), *whole]


def backbones_with_maps() -> list[str]:
    """Return the backbones with maps at several strides."""
    return [name for name, entry in BACKBONES.items() if entry.target and not entry.whole]


def idle_flags(task: str, arch: str) -> frozenset[str]:
    """Return the flags of train that have an effect only on other architectures of a task."""
    known = ARCHS[task]
    return frozenset().union(*(entry.flags for entry in known.values())) - known[arch].flags


def owners_of(task: str, flag: str) -> str:
    """Return a hint that names the architectures that a flag of train means something to."""
    *names, last = [name for name, entry in ARCHS[task].items() if flag in entry.flags]
    return f"it belongs to {', '.join(names)} and {last}" if names else f"it belongs to {last}"


def known_entry(table: Mapping[str, Entry], name: str, what: str) -> Entry:
    """Return `table[name]`.

    Raises:
        UsageError: the name is not in the table; the hint names the closest one.
    """
    if name not in table:
        raise UsageError(
            f"unknown {what} {name!r}", code=f"{what}.unknown", hint=nearest(name, table)
        )
    return table[name]


def listed_names(text: str, known: Iterable[str], flag: str) -> tuple[str, ...]:
    """Return the names in a comma-separated value of a flag, each once.

    Raises:
        UsageError: it has none, or one that is not known.
    """
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in names:
        if name not in known:
            raise UsageError(
                f"{flag} {text!r}: {name!r} is unknown",
                code=f"{flag.strip('-')}.unknown",
                hint=nearest(name, known),
            )
    return names


def resolve(target: str) -> Any:
    """Import and return the object that a `"module:attribute"` string names."""
    module, attribute = target.split(":")
    return getattr(importlib.import_module(module), attribute)


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the known spelling that is closest to a name; None if none is near.

    Case, hyphens, underscores, colons and spaces are ignored.
    """
    spellings = {_bare(each): each for each in sorted(known, reverse=True)}
    close = difflib.get_close_matches(_bare(name), spellings, n=1)
    return spellings[close[0]] if close else None


def _bare(name: str) -> str:
    return re.sub(r"[-_:\s]", "", name.casefold())


def nearest(name: str, known: Iterable[str], listed: str = "") -> str:
    """Return a hint with the closest known spelling, or with all of them (`listed`, if given)."""
    known = sorted(known)
    close = closest(name, known)
    return f"did you mean {close}?" if close else f"known: {listed or ', '.join(known)}"
