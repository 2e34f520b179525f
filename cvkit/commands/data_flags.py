"""Flags that describe a dataset, for the commands on datasets and the tasks that read it."""

import dataclasses
import os
from typing import Any

from cvkit.errors import UsageError
from cvkit.format_table import TRUTH_OF, format_choices
from cvkit.options.data import DataPlace
from cvkit.options.tree import options_of


def require_data_flags(options: DataPlace, task: str) -> None:
    """Check the flags that describe a dataset.

    Raises:
        UsageError: one has no effect on data of the task.
    """
    truth, _ = TRUTH_OF[task]
    if options.format not in format_choices(truth):
        raise UsageError(
            f"--format {options.format} is not a format for 'cvkit {task}'",
            code="format.unknown",
            hint=", ".join(format_choices(truth)),
        )
    changed = {"--mask-map": options.mask_map, "--ignore-index": options.ignore_index != 255}
    for name in [name for name, value in changed.items() if value and truth != "masks"]:
        raise UsageError(
            f"{name} has no effect on data for 'cvkit {task}'", code="mask_map.idle", hint="omit it"
        )


def task_flags(options: DataPlace, task: str, verb: str, **values: Any) -> Any:
    """Return the options of a task's command that reads the dataset as the flags say.

    Args:
        options: of the command on a dataset.
        task: key of `catalog.TASKS`.
        verb: `train` or `eval`.
        values: further flags.

    Raises:
        UsageError: `--images` for a task that has no such flag.
    """
    kind: Any = options_of((task, verb))
    known = {field.name for field in dataclasses.fields(kind)}
    if options.images is not None and "images" not in known:
        raise UsageError(
            f"--images has no effect on data for 'cvkit {task}'",
            code="images.idle",
            hint="--images is for COCO files only",
        )
    place = options.data
    if "json_file" in known and place.suffix.lower() == ".json" and place.is_file():
        values |= {"json_file": place}
        place = place.parent
    taken = {
        name: getattr(options, name)
        for name in ("format", "images", "mask_map", "ignore_index", "exclude")
        if name in known
    }
    # Without a folder, the name of the built-in samples would be taken for them.
    data = str(place) if place.is_absolute() else os.path.join(os.curdir, place)
    return kind(data=data, quiet=options.quiet, **taken, **values)
