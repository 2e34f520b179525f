"""How often a test split was evaluated: each look at it makes its numbers less independent."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cvkit.data.division import spellings
from cvkit.storage import cache_folder, cache_trouble, machine_errors
from cvkit.texts import counted

FOLDER = "test-uses"
"""Of the user's cache."""
TEST = frozenset(spellings("test"))


def is_test(split: str) -> bool:
    """Return whether a split is a test split, in any spelling."""
    return split.casefold() in TEST


@dataclass(frozen=True)
class Uses:
    """How often this user has evaluated a test split.

    Attributes:
        evaluations: all of them, this one included.
        models: different models, or files of predictions, among them.
    """

    evaluations: int
    models: int

    def __str__(self) -> str:
        if self.evaluations == 1:
            return "first evaluation on it"
        models = counted(self.models, "model")
        return (
            f"evaluation number {self.evaluations} on it, of {models}; what is chosen by these "
            "numbers is no longer measured by them"
        )


def note_use(place: str, split: str, keys: Iterable[str], model: str) -> Uses | str:
    """Note an evaluation on a test split; return how often there was one, or why it is unknown.

    The notes are in the user's cache. A split is known by the place of its dataset and the names
    of its samples.

    Args:
        place: of the dataset.
        split: its name.
        keys: of the samples.
        model: what identifies the model.

    Raises:
        MachineError: the disk refused.
    """
    if trouble := cache_trouble(FOLDER):
        return trouble
    parts = [str(Path(place).resolve()), split, *sorted(keys)]
    name = hashlib.sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest()
    path = cache_folder(FOLDER) / f"{name}.jsonl"
    line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "model": model}
    with machine_errors(path), open(path, "a+") as stream:
        stream.write(json.dumps(line) + "\n")  # one short line: processes do not mix theirs
        stream.flush()
        stream.seek(0)
        lines = stream.readlines()
    models = {line.rpartition('"model": ')[2] for line in lines}
    return Uses(len(lines), len(models))
