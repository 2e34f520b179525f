"""Every flag of attack does what it says."""

import json

import cv2
import pytest
from effect_parts import Row, require_effect
from model_parts import model
from test_explain_effects import photo
from test_tool_effects import classifier, fresh, lenet, printed

from cvkit.commands import attack
from cvkit.errors import UsageError
from cvkit.options.job import with_given
from cvkit.options.tree import OPTIONS


def attacked(at, **more):
    """What is written about the inputs, and the images; or the message."""
    base = {"inputs": photo(0)(at), "weights": model()(classifier(at)), "attack": ["fgsm:eps=9"]}
    chosen = base | {"out": fresh(at, "attacked"), "json": True, "quiet": True} | more
    options = with_given(OPTIONS["attack"](**chosen), chosen)
    said = printed(lambda: attack.attack(options))
    if isinstance(said, str):
        return said
    lines = [json.loads(text) for text in (options.out / "attacks.jsonl").open()]
    images = sorted(options.out.glob("adversarial/**/*.png"))
    return [lines, [cv2.imread(str(path)) for path in images], said["counts"]]


def attacked_at(at, out, **more):
    """Whether the folder that --out names is there."""
    attacked(at, out=out, **more)
    return (out / "attacks.html").exists(), str(out)


def attacked_over(at, **more):
    """Whether results in a folder that is not empty are replaced."""
    out = fresh(at, "old")
    out.mkdir()
    (out / "attacks.jsonl").write_text("")
    found = attacked(at, out=out, **more)
    return found if isinstance(found, str) else (out / "attacks.html").exists()


def asked_for(at, **more):
    """With which flags a model is loaded."""

    def stop(weights, options, task):
        raise UsageError(f"{options.device} {options.offline} {task}", code="test")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cvkit.tasks.trained.load_trained", stop)
        return attacked(at, **more)


ROWS = {
    ("attack",): [
        Row("inputs", (photo(0), photo(1)), attacked),
        Row("weights", (lenet("32"), lenet("28")), attacked),
        Row("task", ("detect", "instance"), asked_for, base={"weights": "coco"}),
        Row("attack", (["fgsm:eps=1"], ["pgd:eps=1"], []), attacked),
        Row("seed", (0, 1), attacked, base={"attack": ["pgd:eps=9,steps=1"]}),
        Row("device", ("auto", "cpu"), asked_for),
        Row("offline", (False, True), asked_for),
        Row("out", (lambda at: fresh(at, "a"), lambda at: fresh(at, "b")), attacked_at),
        Row("overwrite", (False, True), attacked_over),
    ],
}
PAIRS = [(path, row) for path, rows in ROWS.items() for row in rows]


@pytest.mark.parametrize(("path", "row"), PAIRS, ids=[row.flag for _, row in PAIRS])
def test_attack_does_what_its_flag_says(places, path, row):
    at = places("detect")

    def made(value):
        return value(at) if callable(value) else value

    base = {name: made(value) for name, value in row.base.items()}
    found = [row.measure(at, **base | {row.flag: made(value)}) for value in row.values]
    require_effect(row, found)
