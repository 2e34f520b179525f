"""What `predict --save` writes besides the usual files, by task."""

from cvkit.catalog import nearest
from cvkit.errors import UsageError

_OBJECTS = ("coco", "yolo", "voc", "csv", "labelstudio", "cvat", "labelme", "geojson", "video")
SAVES: dict[str, tuple[str, ...]] = {
    "classify": ("sorted", "labelstudio", "cvat", "labelme", "video"),
    "segment": tuple(kind for kind in _OBJECTS if kind != "voc"),
    "detect": _OBJECTS,
    "instance": tuple(kind for kind in _OBJECTS if kind != "csv"),
    "video": ("video", "labelstudio"),
}
"""Values of `--save`; several are separated by commas."""
MARKED = "video"
"""Value of `--save` for videos with their results."""
NONE = "none"
"""Value of `--save` for nothing."""
ALWAYS = {
    ("classify", "csv"): "predictions.csv",
    ("segment", "voc"): "masks/, as VOC's palette PNGs,",
    ("instance", "csv"): "instances.csv",
    ("video", "csv"): "predictions.csv",
}
"""What is written without the flag, in words, by task and the value that would mean it."""
ABOUT = {
    "coco": "coco.json, a dataset",
    "yolo": "labels/",
    "voc": "voc/, result files and XML",
    "csv": "a table",
    "labelstudio": "Label Studio's tasks with predictions",
    "cvat": "cvat.xml",
    "labelme": "labelme/",
    "geojson": "geojson/ in pixels, as QuPath reads it",
    "sorted": "one folder per class, with links to its images",
    "video": "MP4 files of the videos with the results drawn in, in place of overlays of frames",
}
"""What each value writes, for help texts."""


def save_help(task: str) -> str:
    """Return the help text of `--save`."""
    kinds = "; ".join(f"{kind}: {ABOUT[kind]}" for kind in SAVES[task])
    return f"Also write, separated by commas, {kinds}"


def parse_saves(text: str, task: str) -> tuple[str, ...]:
    """Return what `--save` names, each once.

    Raises:
        UsageError: unknown, or always written.
    """
    kinds = dict.fromkeys(part.strip() for part in text.split(",") if part.strip())
    if [*kinds] == [NONE]:
        return ()
    for kind in kinds:
        if (task, kind) in ALWAYS:
            raise UsageError(
                f"--save {kind} has no effect: {ALWAYS[task, kind]} is written in any case",
                code="save.idle",
                hint="omit it",
            )
        if kind not in SAVES[task]:
            hint = nearest(kind, SAVES[task])
            raise UsageError(f"--save {kind!r} is unknown", code="save.unknown", hint=hint)
    return tuple(kinds)
