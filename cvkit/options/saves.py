"""What `predict --save` writes besides the usual files, by task."""

from cvkit.catalog import nearest
from cvkit.errors import UsageError

SAVES: dict[str, tuple[str, ...]] = {
    "classify": ("sorted", "video"),
    "segment": ("video",),
    "detect": ("yolo", "voc", "csv", "video"),
    "instance": ("video",),
    "video": ("video",),
}
"""Values of `--save`; several are separated by commas."""
MARKED = "video"
"""Value of `--save` for videos with their results."""
NONE = "none"
"""Value of `--save` for nothing."""
ABOUT = {
    "yolo": "labels/",
    "voc": "voc/, result files",
    "csv": "a table",
    "sorted": "one folder per class, with links to its images",
    "video": "MP4 files of the videos with their results, for image tasks instead of the overlays "
    "of their frames",
}
"""What each value writes, for help texts."""


def save_help(task: str) -> str:
    """Return the help text of `--save`."""
    kinds = "; ".join(f"{kind}: {ABOUT[kind]}" for kind in SAVES[task])
    return f"Also write, separated by commas, {kinds}"


def parse_saves(text: str, task: str) -> tuple[str, ...]:
    """Return what `--save` names, each once.

    Raises:
        UsageError: unknown.
    """
    kinds = dict.fromkeys(part.strip() for part in text.split(",") if part.strip())
    if [*kinds] == [NONE]:
        return ()
    for kind in kinds:
        if kind not in SAVES[task]:
            hint = nearest(kind, SAVES[task])
            raise UsageError(f"--save {kind!r} is unknown", code="save.unknown", hint=hint)
    return tuple(kinds)
