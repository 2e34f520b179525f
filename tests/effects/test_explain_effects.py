"""Every flag of explain does what it says."""

import json
from pathlib import Path

import numpy as np
import pytest
from effect_parts import Row, require_effect
from model_parts import inputs, model
from test_tool_effects import classifier, fresh, lenet, printed

from cvkit.commands import explain
from cvkit.errors import UsageError
from cvkit.explain import methods
from cvkit.options.job import with_given
from cvkit.options.tree import OPTIONS


def photo(number):
    """Return what names one of the images of validation."""

    def get(at):
        (folder,) = inputs(classifier(at))
        return [str(sorted(Path(folder).rglob("*.png"))[number])]

    return get


def asked(at, **more):
    here = classifier(at)
    base = {"inputs": photo(0)(at), "weights": model()(here), "method": "gradient"}
    chosen = base | {"out": fresh(at, "explained"), "json": True, "quiet": True} | more
    chosen = {name: value(at) if callable(value) else value for name, value in chosen.items()}
    return with_given(OPTIONS["explain"](**chosen), chosen)


def explained(at, **more):
    """What is written about the inputs, and the maps; or the message."""
    options = asked(at, **more)
    said = printed(lambda: explain.explain(options))
    if isinstance(said, str):
        return said
    lines = [json.loads(text) for text in (options.out / "explanations.jsonl").open()]
    for line in lines:
        for entry in line["methods"].values():
            del entry["seconds"]
    maps = [np.load(path) for path in sorted(options.out.glob("maps/**/*.npy"))]
    return [lines, maps, [tally["randomised"] for tally in said["methods"].values()]]


def patched(at, **more):
    """The lines about the channels of a layer."""
    options = asked(at, **more)
    printed(lambda: explain.explain(options))
    return (options.out / "patches.jsonl").read_text()


def explained_at(at, out, **more):
    """Whether the folder that --out names is there."""
    explained(at, out=out, **more)
    return (out / "explanations.html").exists(), str(out)


def explained_over(at, **more):
    """Whether results in a folder that is not empty are replaced."""
    out = fresh(at, "old")
    out.mkdir()
    (out / "explanations.jsonl").write_text("")
    found = explained(at, out=out, **more)
    return found if isinstance(found, str) else (out / "explanations.html").exists()


def model_asked_for(at, **more):
    """With which flags a model is loaded."""

    def stop(weights, options, task):
        raise UsageError(f"{options.device} {options.offline} {task}", code="test")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cvkit.tasks.trained.load_trained", stop)
        return explained(at, **more)


def at_once(at, **more):
    """How many inputs are in the largest batch."""
    counts, gradient = [], methods.input_gradient
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            methods,
            "input_gradient",
            lambda question, batch: counts.append(len(batch)) or gradient(question, batch),
        )
        explained(at, **more)
    return max(counts)


def boxed(at):
    """An image of a dataset with boxes."""
    return [str(sorted((at.data() / "images" / "val").iterdir())[0])]


SMOOTH = {"method": "smooth-grad", "samples": 3}
HIDE = {"method": "occlusion", "patch": 16, "stride": 16}
CAM = {"method": "grad-cam"}
PARTS = {"method": "patches", "inputs": lambda at: photo(0)(at) + photo(1)(at)}
ROWS = {
    ("explain",): [
        Row("inputs", (photo(0), photo(1)), explained),
        Row("weights", (lenet("32"), lenet("28")), explained),
        Row("task", ("detect", "instance"), model_asked_for, base={"weights": "coco"}),
        Row("method", ("gradient", "occlusion", "gradient,grad-cam", "auto"), explained),
        Row("target", ("circle", "cross"), explained),
        Row("layer", (None, "backbone.0"), explained, base=CAM),
        Row("channels", ("0", "1", "0-2"), patched, base=PARTS),
        Row("top", (1, 2), patched, base=PARTS),
        Row("samples", (2, 3), explained, base=SMOOTH),
        Row("noise", (0.1, 0.3), explained, base=SMOOTH),
        Row("steps", (1, 2), explained, base={"method": "integrated-gradients"}),
        Row("patch", (8, 16), explained, base=HIDE | {"stride": 8}),
        Row("stride", (8, 16), explained, base=HIDE),
        Row("value", (0.0, 255.0), explained, base=HIDE),
        Row(
            "truth",
            (None, lambda at: at.data()),
            explained,
            base={"inputs": boxed, "target": "circle"},
        ),
        Row("measure", (False, True), explained),
        Row("seed", (0, 1), explained, base=SMOOTH),
        Row("batch_size", (1, 2), at_once, base=SMOOTH),
        Row("device", ("auto", "cpu"), model_asked_for),
        Row("offline", (False, True), model_asked_for),
        Row("out", (lambda at: fresh(at, "a"), lambda at: fresh(at, "b")), explained_at),
        Row("overwrite", (False, True), explained_over),
    ],
}
PAIRS = [(path, row) for path, rows in ROWS.items() for row in rows]


@pytest.mark.parametrize(("path", "row"), PAIRS, ids=[row.flag for _, row in PAIRS])
def test_explain_does_what_its_flag_says(places, path, row):
    at = places("detect")

    def made(value):
        return value(at) if callable(value) else value

    base = {name: made(value) for name, value in row.base.items()}
    found = [row.measure(at, **base | {row.flag: made(value)}) for value in row.values]
    require_effect(row, found)
