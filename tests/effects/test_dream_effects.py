"""Every flag of dream does what it says."""

import cv2
import pytest
from effect_parts import Row, require_effect
from model_parts import model
from test_explain_effects import photo
from test_tool_effects import classifier, fresh, lenet, printed

from cvkit.commands import dream
from cvkit.errors import UsageError
from cvkit.options.job import with_given
from cvkit.options.tree import OPTIONS


def dreamt(at, **more):
    """The numbers and the images; or the message."""
    base = {"weights": model()(classifier(at)), "steps": 2}
    base |= {} if {"layer", "inputs"} & {*more} else {"target": "circle"}
    chosen = base | {"out": fresh(at, "dreams"), "json": True, "quiet": True} | more
    options = with_given(OPTIONS["dream"](**chosen), chosen)
    said = printed(lambda: dream.dream(options))
    if isinstance(said, str):
        return said
    images = sorted(options.out.glob("dreams/**/*.png"))
    return [said["dreams"], [cv2.imread(str(path)) for path in images]]


def dreamt_at(at, out, **more):
    """Whether the folder that --out names is there."""
    dreamt(at, out=out, **more)
    return (out / "dream.json").exists(), str(out)


def dreamt_over(at, **more):
    """Whether results in a folder that is not empty are replaced."""
    out = fresh(at, "old")
    out.mkdir()
    (out / "dream.json").write_text("")
    found = dreamt(at, out=out, **more)
    return found if isinstance(found, str) else (out / "dreams").exists()


def asked_for(at, **more):
    """With which flags a model is loaded."""

    def stop(weights, options, task):
        raise UsageError(f"{options.device} {options.offline} {task}", code="test")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cvkit.tasks.trained.load_trained", stop)
        return dreamt(at, **more)


LAYER = {"layer": "backbone.0"}
ANY_SIZE = {"weights": "shapes"}
ROWS = {
    ("dream",): [
        Row("inputs", (photo(0), photo(1)), dreamt, base=ANY_SIZE),
        Row("weights", (lenet("32"), lenet("28")), dreamt),
        Row("task", ("detect", "instance"), asked_for, base={"weights": "coco"}),
        Row("target", ("circle", "cross", "circle,cross", "all"), dreamt),
        Row("layer", ("backbone.0", "backbone.1"), dreamt),
        Row("channel", ("", "0", "1", "0,1"), dreamt, base=LAYER),
        Row("space", ("pixels", "fourier"), dreamt),
        Row("steps", (1, 2), dreamt),
        Row("rate", (0.0, 0.2), dreamt),
        Row("jitter", (0, 9), dreamt),
        Row("blur", (0.0, 3.0), dreamt),
        Row("tv", (0.0, 1e6), dreamt),
        Row("decay", (0.0, 0.5), dreamt),
        Row("octaves", (1, 2), dreamt, base=ANY_SIZE),
        Row("octave_scale", (1.2, 1.9), dreamt, base=ANY_SIZE | {"octaves": 2}),
        Row("size", (32, 48), dreamt, base=LAYER),
        Row("gif", (False, True), dreamt),
        Row("seed", (0, 1), dreamt),
        Row("device", ("auto", "cpu"), asked_for),
        Row("offline", (False, True), asked_for),
        Row("out", (lambda at: fresh(at, "a"), lambda at: fresh(at, "b")), dreamt_at),
        Row("overwrite", (False, True), dreamt_over),
    ],
}
PAIRS = [(path, row) for path, rows in ROWS.items() for row in rows]


@pytest.mark.parametrize(("path", "row"), PAIRS, ids=[row.flag for _, row in PAIRS])
def test_dream_does_what_its_flag_says(places, path, row):
    at = places("detect")

    def made(value):
        return value(at) if callable(value) else value

    base = {name: made(value) for name, value in row.base.items()}
    found = [row.measure(at, **base | {row.flag: made(value)}) for value in row.values]
    require_effect(row, found)
