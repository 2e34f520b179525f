"""Each program's mean IoU, against its formula written once more and numbers of its own code."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from cvkit.console import number
from cvkit.data.classes import numbered_classes
from cvkit.metrics import dialects
from cvkit.metrics.confusion import OURS, ConfusionMatrix, metric_names, summary
from cvkit.options.segment import DIALECTS

MATRIX = np.array([[900, 20, 50, 0], [30, 200, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
"""Class 2 is predicted but not in the truth; class 3 is in neither."""
GOLDEN = {
    "torchvision": None,
    "paddle": 0.425,
    "mmseg": 0.567,
    "cvkit": 0.567,
    "smp": 0.675,
    "detectron2": 0.850,
}


def filled(*names, matrix=MATRIX):
    metric = ConfusionMatrix(len(matrix), dialects=names)
    metric.matrix = matrix
    return metric


@pytest.mark.parametrize("name", DIALECTS)
def test_one_matrix_has_the_mean_iou_of_each_program(name):
    found = filled(name).compute()["miou"]
    assert (found if found is None else round(found, 3)) == GOLDEN[name]


def test_every_name_of_the_flag_is_defined():
    assert list(DIALECTS) == [OURS, *dialects.DIALECTS] and set(DIALECTS) == set(GOLDEN)


def areas(matrix):
    """Return intersections, true and predicted areas as lists of Python numbers."""
    size = range(len(matrix))
    cells = matrix.tolist()
    hits = [cells[k][k] for k in size]
    return hits, [sum(cells[k]) for k in size], [sum(row[k] for row in cells) for k in size]


def torchvision(matrix):
    hits, truth, guess = areas(matrix)
    unions = [t + g - h for h, t, g in zip(hits, truth, guess, strict=True)]
    if 0 in unions:
        return {"miou": None, "pixel_accuracy": sum(hits) / sum(truth)}
    ious = [h / u for h, u in zip(hits, unions, strict=True)]
    return {"miou": sum(ious) / len(ious), "pixel_accuracy": sum(hits) / sum(truth)}


def mean_of(pairs, empty, wanted):
    """Return the mean of quotients; `empty` counts instead of 0/0, None: it is left out."""
    values = [a / b if b else empty for (a, b), use in zip(pairs, wanted, strict=True) if use]
    values = [value for value in values if value is not None]
    return sum(values) / len(values) if values else None


def other(matrix, empty, true_only=False):
    hits, truth, guess = areas(matrix)
    rows = list(zip(hits, truth, guess, strict=True))
    wanted = [t > 0 or not true_only for t in truth]
    ious = [(h, t + g - h) for h, t, g in rows]
    weighted = sum(t * h / (t + g - h) for h, t, g in rows if t)
    return {
        "miou": mean_of(ious, empty, wanted),
        "pixel_accuracy": sum(hits) / sum(truth),
        "mean_accuracy": mean_of([(h, t) for h, t, _ in rows], empty, wanted),
        "fwiou": weighted / sum(truth),
        "mean_dice": mean_of([(2 * h, t + g) for h, t, g in rows], empty, wanted),
    }


REFERENCES = {
    "cvkit": lambda m: other(m, None),
    "torchvision": torchvision,
    "mmseg": lambda m: other(m, None),
    "detectron2": lambda m: other(m, None, true_only=True),
    "paddle": lambda m: other(m, 0),
    "smp": lambda m: other(m, 1),
}
counts = arrays.arrays(np.int64, (4, 4), elements=st.sampled_from([0, 0, 0, 1, 7, 1000]))


@settings(max_examples=60, deadline=None)
@given(matrix=counts.filter(np.any))
def test_each_dialect_is_its_formula_on_any_matrix(matrix):
    for name, reference in REFERENCES.items():
        wanted, found = reference(matrix), filled(name, matrix=matrix).compute()
        assert tuple(found) == metric_names([name])
        for metric, value in found.items():
            assert (value is None) == (wanted[metric] is None), (name, metric)
            assert value is None or math.isclose(value, wanted[metric], rel_tol=1e-12)


def test_every_number_has_its_rule_and_the_first_dialect_the_usual_names():
    found = filled("paddle", "cvkit", "smp").report(numbered_classes(4))
    assert tuple(found.metrics) == metric_names(["paddle", "cvkit", "smp"])
    assert (found.metrics["miou"], found.metrics["cvkit.miou"]) == (
        summary(MATRIX, dialect="paddle")["miou"],
        summary(MATRIX)["miou"],
    )
    assert all(isinstance(found.rules[name], str) for name in found.metrics)
    means = {found.rules[name] for name in ("miou", "cvkit.miou", "smp.miou")}
    assert len(means) == 3
    assert list(found.rules["dialects"]) == ["paddle", "cvkit", "smp"]
    assert len(set(found.rules["dialects"].values())) == 3
    assert found.per_class["3"]["iou"] == 0  # as PaddleSeg counts it
    assert found.rules["classes_counted"] == ["0", "1", "2", "3"]
    assert filled("detectron2").report(numbered_classes(4)).rules["classes_absent"] == ["2", "3"]


@pytest.fixture
def masks(tmp_path):
    """Folders of a truth and a prediction that have `MATRIX`, of classes a, b, c and d."""
    cells = [(true, guess) for true in range(4) for guess in range(4)]
    pixels = np.repeat(np.array(cells, np.uint8), MATRIX.ravel(), axis=0)
    for name, values in zip(("truth", "found"), pixels.T, strict=True):
        (tmp_path / name).mkdir()
        Image.fromarray(values.reshape(30, 40)).save(tmp_path / name / "one.png")
    (tmp_path / "truth" / "classes.txt").write_text("a\nb\nc\nd\n")
    return ("--predictions", tmp_path / "found", "--truth", tmp_path / "truth")


def test_dialects_are_shown_side_by_side_with_their_sentences(cvkit, masks):
    flags = (*masks, "--no-files", "--dialect", ",".join(DIALECTS))
    shown = cvkit("segment", "eval", *flags)
    assert shown.code == 0, shown.err
    heads, values = (next(line for line in shown.out.splitlines() if line.startswith(start))
                     for start in ("metric ", "miou "))  # fmt: skip
    columns = [[cell.strip() for cell in line.replace("┃", "│").split("│")]
               for line in (heads, values)]  # fmt: skip
    told = dict(zip(*columns, strict=True))
    for name in DIALECTS:
        assert told[name] == number(filled(name).compute()["miou"])
    done = cvkit("segment", "eval", *flags, "--json").json
    for sentence in done["rules"]["dialects"].values():
        assert sentence in shown.out
    assert round(done["metrics"]["smp"]["miou"], 3) == 0.675
    assert done["metrics"]["torchvision"]["miou"] is None


def test_gates_and_numbers_use_the_dialects_names(cvkit, masks):
    flags = ("segment", "eval", *masks, "--no-files", "--json", "--dialect", "detectron2,smp")
    done = cvkit(*flags, "--fail-under", "miou=0.84", "--fail-under", "smp.miou=0.67")
    assert done.code == 0, done.err
    known = done.json["numbers"]["smp.miou"]
    assert known["value"] == done.json["metrics"]["smp"]["miou"]
    assert "segmentation_models_pytorch" in known["rule"]
    assert cvkit(*flags, "--fail-under", "smp.miou=0.7").code == 4
    assert "did you mean smp.miou" in cvkit(*flags, "--fail-under", "sm.miou=0.7").err
    refused = cvkit(*flags[:-1], "smp", "--absent-class", "zero")
    assert (refused.code, refused.json["error"]["code"]) == (2, "absent_class.idle")
