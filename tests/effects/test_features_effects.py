"""Every flag of features does what it says."""

from pathlib import Path

import numpy as np
import pytest
from effect_parts import Row, require_effect
from model_parts import inputs, model
from test_tool_effects import classifier, fresh, lenet, printed

from cvkit.commands import features
from cvkit.errors import UsageError
from cvkit.explain.encoding import Encoder
from cvkit.options.job import with_given
from cvkit.options.tree import OPTIONS


def photos(*numbers):
    """Return what names some of the images of validation."""

    def get(at):
        (folder,) = inputs(classifier(at))
        files = sorted(Path(folder).rglob("*.png"))
        return [str(files[number]) for number in numbers]

    return get


def found(at, **more):
    """What is written, but for the flags themselves; or the message."""
    here = classifier(at)
    base = {"inputs": photos(0, 1, 2, 3, 4)(at), "weights": model()(here), "maps": "none"}
    base |= {"out": fresh(at, "features"), "json": True, "quiet": True, "workers": 0}
    chosen = {n: value(at) if callable(value) else value for n, value in (base | more).items()}
    options = with_given(OPTIONS["features"](**chosen), chosen)
    said = printed(lambda: features.features(options))
    if isinstance(said, str):
        return said
    lines = [path.read_text() for path in sorted(options.out.glob("*.jsonl"))]
    pictures = [path.read_bytes() for path in sorted(options.out.glob("**/*.png"))]
    names = ("metrics", "counts", "duplicates", "clusters", "layer")
    rows = np.load(options.out / "features.npz")["features"]
    return [lines, pictures, rows, {name: said[name] for name in names}]


def found_at(at, out, **more):
    """Whether the folder that --out names is there."""
    found(at, out=out, **more)
    return (out / "features.html").exists(), str(out)


def found_over(at, **more):
    """Whether results in a folder that is not empty are replaced."""
    out = fresh(at, "old")
    out.mkdir()
    (out / "features.jsonl").write_text("")
    made = found(at, out=out, **more)
    return made if isinstance(made, str) else (out / "features.html").exists()


def model_asked_for(at, **more):
    """With which flags a model is loaded."""

    def stop(weights, options, task):
        flags = (options.device, options.offline, options.precision, options.workers)
        raise UsageError(f"{flags} {task}", code="test")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cvkit.tasks.trained.load_trained", stop)
        return found(at, **more)


def at_once(at, **more):
    """How many inputs are in the largest batch."""
    counts, rows = [], Encoder.rows
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Encoder, "rows", lambda self, batch: counts.append(len(batch)) or rows(self, batch)
        )
        found(at, **more)
    return max(counts)


QUERY = {"queries": lambda at: photos(0)(at)[0]}
TSNE = {"maps": "tsne"}
EVERY = {"inputs": lambda at: [str(classifier(at).data())]}
ROWS = {
    ("features",): [
        Row("inputs", (photos(0, 1), photos(1, 2)), found),
        Row("weights", (lenet("32"), lenet("28")), found),
        Row("task", ("detect", "instance"), model_asked_for, base={"weights": "coco"}),
        Row("layer", (None, "backbone.0"), found),
        Row("maps", ("none", "pca", "tsne", "pca,tsne"), found),
        Row("perplexity", (2.0, 30.0), found, base=TSNE | EVERY),
        Row("points", (4, 5), found, base={"maps": "pca"}),
        Row("queries", (None, *(lambda at, n=n: photos(n)(at)[0] for n in (0, 1))), found),
        Row("neighbors", (1, 2), found, base=QUERY),
        Row("truth", (None, lambda at: classifier(at).data()), found),
        Row("clusters", (None, 1, 2), found),
        Row("duplicates", (None, 0.5), found),
        Row("seed", (0, 1), found, base={"clusters": 3}),
        Row("batch_size", (1, 2), at_once),
        Row("device", ("auto", "cpu"), model_asked_for),
        Row("precision", ("fp32", "bf16"), model_asked_for),
        Row("workers", (0, 1), model_asked_for),
        Row("offline", (False, True), model_asked_for),
        Row("out", (lambda at: fresh(at, "a"), lambda at: fresh(at, "b")), found_at),
        Row("overwrite", (False, True), found_over),
    ],
}
PAIRS = [(path, row) for path, rows in ROWS.items() for row in rows]


@pytest.mark.parametrize(("path", "row"), PAIRS, ids=[row.flag for _, row in PAIRS])
def test_features_does_what_its_flag_says(places, path, row):
    at = places("detect")

    def made(value):
        return value(at) if callable(value) else value

    base = {name: made(value) for name, value in row.base.items()}
    results = [row.measure(at, **base | {row.flag: made(value)}) for value in row.values]
    require_effect(row, results)
