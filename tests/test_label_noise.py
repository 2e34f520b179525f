"""`cvkit data check --weights`: planted wrong labels are what the built-in models contradict."""

import json
import shutil
from functools import partial

import numpy as np
import pytest
from PIL import Image

from cvkit.data.synthetic.cache import CACHED
from cvkit.data.synthetic.samples import WRITERS
from cvkit.format_table import TRUTH_OF
from cvkit.metrics.classification import ClassificationMetric
from cvkit.metrics.label_noise import Doubting, of_class, of_objects, of_pixels
from cvkit.structures import IGNORE, Classes, ClassList, Instances, SegMap

MODELS = {
    **{"classify": "shapes", "segment": "scenes", "detect": "boxes"},
    **{"instance": "masks", "video": "motions"},
}
NAMES = ("a", "b", "c")


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    made = {}

    def get(task):
        if task not in made:
            made[task] = tmp_path_factory.mktemp("noise") / task
            count = 7 if TRUTH_OF[task][0] == "classes" else 1
            counts = {"train": count, "val": 2 * count if count > 1 else 9}
            WRITERS[task](made[task], counts, 77, CACHED[task][1])
        return made[task]

    return get


def moved(root, label):
    """Move a file of a class into the folder of another; return its key and its true class."""
    files = sorted(path for path in (root / "val").rglob("*") if path.is_file())
    victim = next(path for path in files if path.parent.name == label)
    other = next(path.parent for path in files if path.parent != victim.parent)
    target = other / f"moved{victim.suffix}"
    victim.rename(target)
    return target.relative_to(root).as_posix(), victim.parent.name, "label-noise.class"


def recoloured(root):
    """Give the largest object of a mask another class; return its key and its true class."""
    best = None
    for path in sorted((root / "masks" / "val").iterdir()):
        image = Image.open(path)
        counts = np.bincount(np.asarray(image).ravel(), minlength=256)[1:6]
        if best is None or counts.max() > best[0]:
            best = (counts.max(), path, int(counts.argmax()) + 1)
    _, path, label = best
    image = Image.open(path)
    values = np.asarray(image).copy()
    values[values == label] = label % 5 + 1
    changed = Image.fromarray(values)
    changed.putpalette(image.getpalette())
    changed.save(path)
    name = ["circle", "square", "triangle", "star", "ring"][label - 1]
    return f"images/val/{path.name}", name, "label-noise.pixels"


def removed(root):
    """Remove the annotation of the largest object; return its image's key and its class."""
    path = root / "annotations" / "instances_val.json"
    content = json.loads(path.read_text())
    row = max(content["annotations"], key=lambda each: each["area"])
    content["annotations"].remove(row)
    path.write_text(json.dumps(content))
    name = next(c["name"] for c in content["categories"] if c["id"] == row["category_id"])
    image = next(i["file_name"] for i in content["images"] if i["id"] == row["image_id"])
    return f"images/val/{image.split('/')[-1]}", name, "label-noise.missing"


PLANTED = {
    "classify": partial(moved, label="star"),
    "segment": recoloured,
    "detect": removed,
    "instance": removed,
    "video": partial(moved, label="left"),
}


@pytest.mark.parametrize("task", TRUTH_OF)
def test_a_planted_label_is_the_first_candidate(cvkit, samples, tmp_path, task):
    root = tmp_path / "d"
    shutil.copytree(samples(task), root)
    key, name, rule = PLANTED[task](root)
    flags = ("--task", task, "--split", "val", "--weights", MODELS[task], "--confidence", 0.6)
    done = cvkit("data", "check", root, *flags, "--json", "--quiet")
    assert done.code == 0, done.err
    said = done.json
    found = [each for each in said["findings"] if each["rule"] == rule]
    assert (found[0]["sample"], found[0]["level"]) == (key, "warning")
    assert found[0]["numbers"]["predicted"] == name
    assert name in found[0]["message"]
    ranked = [each["numbers"].get("confidence") or each["numbers"]["share"] for each in found]
    assert ranked == sorted(ranked, reverse=True)
    assert said["metrics"]["val"]
    assert said["warnings"] == len(said["findings"])


def test_without_errors_only_and_with_flags_that_mean_something(cvkit, samples, tmp_path):
    root = samples("classify")
    for flag, value in (("--device", "cpu"), ("--batch-size", 2), ("--confidence", 0.5)):
        refused = cvkit("data", "check", root, flag, value)
        assert refused.code == 2 and f"{flag} has no effect without --weights" in refused.err
    wrong = cvkit("data", "check", root, "--weights", "scenes", "--json")
    assert (wrong.code, wrong.json["error"]["code"]) == (2, "model.task")
    broken = tmp_path / "d"
    shutil.copytree(root, broken)
    next((broken / "val").rglob("*.png")).write_text("no image")
    done = cvkit("data", "check", broken, "--weights", "shapes", "--json")
    assert done.code == 2
    assert "until the errors are corrected" in done.err
    assert not done.json["metrics"]


def test_a_class_is_contradicted_from_a_probability_on():
    sure, unsure = Classes(1, np.array([0.1, 0.9])), Classes(1, np.array([0.11, 0.89]))
    (found,) = of_class(sure, Classes(0), NAMES, 0.9)
    assert (found.score, found.numbers["labelled"], found.numbers["predicted"]) == (0.9, "a", "b")
    assert found.numbers["confidence_of_label"] == 0.1
    assert not of_class(unsure, Classes(0), NAMES, 0.9)
    assert not of_class(sure, Classes(1), NAMES, 0.9)


def test_pixels_count_where_they_have_a_label_and_a_confident_prediction():
    truth = np.zeros((10, 10), np.uint8)
    truth[0] = IGNORE
    guess, confidence = np.zeros((10, 10), np.uint8), np.ones((10, 10), np.float16)
    guess[:3, :5] = 2
    confidence[2] = 0.5
    (found,) = of_pixels(SegMap(guess, confidence), SegMap(truth), NAMES, 0.9)
    assert found.score == 5 / 90
    assert found.numbers["box"] == [0, 1, 5, 2]
    assert (found.numbers["labelled"], found.numbers["predicted"]) == ("a", "c")
    guess[1] = 0
    assert not of_pixels(SegMap(guess, confidence), SegMap(truth), NAMES, 0.9)


def objects(rows, **marks):
    boxes = np.array([row[:4] for row in rows], np.float32).reshape(-1, 4)
    labels = np.array([row[4] for row in rows], np.int64)
    scores = np.array([row[5] for row in rows], np.float32) if len(rows[0]) > 5 else None
    return Instances(boxes, labels, scores=scores, **marks)


def test_objects_are_contradicted_where_no_label_of_their_class_is_near():
    result = objects(
        [
            (0, 0, 10, 10, 1, 0.99),  # labelled
            (20, 0, 30, 10, 1, 0.98),  # labelled otherwise
            (40, 0, 50, 10, 2, 0.97),  # not labelled
            (60, 0, 70, 10, 3, 0.96),  # in a crowd
            (80, 0, 90, 10, 3, 0.95),  # difficult
            (100, 0, 110, 10, 3, 0.5),  # not confident
        ]
    )
    truth = objects(
        [(0, 0, 10, 8, 1), (20, 0, 30, 9, 2), (44, 0, 60, 10, 2), (55, 0, 99, 30, 1)]
        + [(80, 0, 90, 10, 1)],
        crowd=np.array([False, False, False, True, False]),
        difficult=np.array([False, False, False, False, True]),
    )
    found = of_objects(result, truth, NAMES, 0.9)
    assert [each.rule for each in found] == ["label-noise.object", "label-noise.missing"]
    assert found[0].numbers["labelled"] == "b"
    assert found[0].numbers["iou"] == pytest.approx(0.9)
    assert found[1].numbers["box"] == [40, 0, 50, 10]
    empty = of_objects(result, truth.pick(np.zeros(5, bool)), NAMES, 0.9)
    assert [each.rule for each in empty] == ["label-noise.missing"] * 5


def test_the_metric_counts_as_without_it():
    classes = ClassList(NAMES, (0, 1, 2), ((0, 0, 0),) * 3)
    metric, wanted = Doubting(ClassificationMetric(3), classes, 0.9), ClassificationMetric(3)
    for label in (0, 1, 1):
        result = Classes(1, np.array([0.02, 0.95, 0.03], np.float32))
        assert len(metric.update(result, Classes(label))) == (label != 1)
        wanted.update(result, Classes(label))
    assert metric.compute() == wanted.compute()
