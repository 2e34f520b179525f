"""Rows of the commands that count and show labelled data."""

import contextlib
import io
import json

from effect_parts import Row

from cvkit.commands import data_show, data_split, data_stats
from cvkit.data.synthetic.samples import WRITERS
from cvkit.errors import CvkitError
from cvkit.options.tree import OPTIONS

NUMBERS = {"n": 0}


def new(at, name):
    """Return a path that nothing lies at yet."""
    NUMBERS["n"] += 1
    return at.root / f"view-{NUMBERS['n']}-{name}"


def done(call):
    """Return the JSON that a command prints, or the message with which it is refused."""
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            call()
    except CvkitError as error:
        return str(error)
    return json.loads(out.getvalue())


def counted(at, **more):
    """The numbers, without the place of the page."""
    base = {"data": str(at.data()), "task": "detect", "quiet": True, "json": True}
    found = done(lambda: data_stats.stats(OPTIONS["data"]["stats"](**base | more)))
    return [found | {"out": ""}] if isinstance(found, dict) else found


def page(at, out):
    """Whether a page is written, and where."""
    counted(at, out=out)
    return out and (str(out), out.read_text()[:15])


def shown(at, **more):
    """The samples, and the pixels of the sheet or the page's pictures."""
    base = {"data": str(at.data()), "task": "detect", "out": new(at, "sheet.png"), "count": 2}
    base |= {"quiet": True, "json": True} | more
    found = done(lambda: data_show.show(OPTIONS["data"]["show"](**base)))
    return [found["samples"], base["out"].read_bytes()] if isinstance(found, dict) else found


def shown_at(at, out):
    shown(at, out=out)
    return [str(out), out.read_bytes()[:4]]


def again(measure, suffix):
    """Return what happens where the file is already there."""

    def call(at, **more):
        path = new(at, f"old{suffix}")
        path.write_bytes(b"old")
        return isinstance(measure(at, out=path, **more), str), path.read_bytes() == b"old"

    return call


def nothing_but_masks(at):
    """A dataset whose layout fits several tasks."""

    def make(path):
        WRITERS["segment"](path, {"train": 3, "val": 2}, 1, (32, 32))

    return str(at.once("masks", make))


def lists_of(data, **flags):
    """Return what makes a file of splits of a dataset."""

    def make(at):
        path = new(at, "lists.json")
        base = {"data": data(at), "task": at.task, "out": path, "quiet": True, "json": True}
        said = done(lambda: data_split.split(OPTIONS["data"]["split"](**base | flags)))
        assert isinstance(said, dict), said
        return path

    return make


def divided(at, **more):
    """The samples of each split and what is said of them, or the message."""
    base = {"data": str(at.data()), "task": "detect", "out": new(at, "splits.json")}
    base |= {"quiet": True, "json": True, "val_fraction": 0.4} | more
    if base.get("folds"):
        del base["val_fraction"]
    found = done(lambda: data_split.split(OPTIONS["data"]["split"](**base)))
    if isinstance(found, str):
        return found
    return [json.loads(base["out"].read_text()), {**found, "out": ""}]


def placed(at, **more):
    """The files of the new dataset, with the number of their links; none if there is none."""
    said = divided(at, **more)
    folders = [path for path in more.values() if path is not None]
    files = [path for folder in folders for path in sorted(folder.rglob("*"))]
    names = [(str(path), path.stat().st_nlink) for path in files if path.is_file()]
    return said if isinstance(said, str) else (names, [str(folder) for folder in folders])


def divided_at(at, out):
    return str(out), divided(at, out=out) and out.is_file()


DATA = [
    Row("data", (lambda at: str(at.data()), lambda at: str(at.data(6))), counted),
    Row("task", ("segment", "instance"), counted, base={"data": nothing_but_masks}),
    Row("format", ("coco", "voc"), counted),
    Row("split", ([], ["train"], ["val"]), counted),
    Row("set", ([], ["min_size=64"], ["min_size=128"]), counted),
]
ROWS = {
    ("data", "stats"): [
        *DATA,
        Row("colour_sample", (0, 2, 500), counted),
        Row("seed", (0, 1), counted, base={"colour_sample": 2}),
        Row("out", (None, lambda at: new(at, "a.html")), page),
        Row("overwrite", (False, True), again(counted, ".html")),
    ],
    ("data", "show"): [
        Row("data", (lambda at: str(at.data()), lambda at: str(at.data(6))), shown),
        Row("task", ("segment", "instance"), shown, base={"data": nothing_but_masks}),
        Row("format", ("coco", "voc"), shown),
        Row("split", (["train"], ["val"]), shown),
        Row(
            "set",
            ([], ["mask_map=1=0"]),
            shown,
            base={"data": nothing_but_masks, "task": "segment"},
        ),
        Row("count", (1, 2), shown),
        Row("seed", (0, 1), shown),
        Row("with_class", (None, "disc", "no such"), shown),
        Row("augment", (None, "none", "strong"), shown),
        Row("out", (lambda at: new(at, "a.png"), lambda at: new(at, "b.html")), shown_at),
        Row("overwrite", (False, True), again(shown, ".png")),
    ],
    ("data", "split"): [
        Row("data", (lambda at: str(at.data()), lambda at: str(at.data(6))), divided),
        Row("task", ("segment", "instance"), divided, base={"data": nothing_but_masks}),
        Row("format", ("coco", "voc"), divided),
        Row("split", ([], ["train"], ["val"]), divided),
        Row(
            *("set", ([], ["mask_map=1=0"]), divided),
            base={"data": nothing_but_masks, "task": "segment"},
        ),
        Row("out", (lambda at: new(at, "a.json"), lambda at: new(at, "b.json")), divided_at),
        Row("val_fraction", (0.2, 0.5), divided),
        Row("test_fraction", (0.0, 0.3), divided),
        Row("folds", (0, 2, 3), divided),
        Row("group_by", (None, "regex:.", "folder"), divided),
        Row("seed", (0, 1), divided),
        *(
            Row(name, (None, lambda at: new(at, "copied"), lambda at: new(at, "other")), placed)
            for name in ("copy", "link")
        ),
        Row("overwrite", (False, True), again(divided, ".json")),
    ],
}
