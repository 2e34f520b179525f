"""The built-in datasets, generated once in the user's cache."""

import contextlib
import os
import shutil
from pathlib import Path

from cvkit.data.synthetic.samples import VERSION, writer_of
from cvkit.errors import UsageError
from cvkit.storage import cache_folder, cache_trouble, fsync_folder, passing_folder

CACHED = {
    "classify": ((900, 180), (64, 64)),
    "segment": ((160, 40), (128, 128)),
    "detect": ((160, 40), (128, 128)),
    "instance": ((160, 40), (128, 128)),
    "video": ((280, 70), (64, 64)),
}
"""Numbers of training and validation images or clips of `--data samples`, and their size."""


def cached_samples(task: str, seed: int = 0) -> Path:
    """Return the folder of a task's built-in dataset, generated once in the user's cache.

    Without a cache it is generated in a temporary folder, which is removed when the process ends.

    Raises:
        UsageError: the task has none.
    """
    write = writer_of(task)
    (train, val), size_hw = CACHED[task]
    name = f"{task}-v{VERSION}-{train}-{val}-{seed}"
    base = _base(name)
    folder = base / name
    if folder.is_dir():
        return folder
    temporary = base / f".{folder.name}.{os.getpid()}"
    try:
        write(temporary, {"train": train, "val": val}, seed, size_hw)
        os.rename(temporary, folder)
        fsync_folder(base)
    except FileExistsError:
        pass  # another process wrote the same images first
    except OSError:
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _base(name: str) -> Path:
    """Return the folder for a built-in dataset, which may not exist yet."""
    with contextlib.suppress(UsageError):
        if (cache_folder("samples") / name).is_dir() or not cache_trouble("samples"):
            return cache_folder("samples")
    return passing_folder("samples")
