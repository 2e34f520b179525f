"""Names of predictions are checked before anything is scored, in every task."""

import json

import numpy as np
import pytest
from PIL import Image

from cvkit.catalog import TASKS
from cvkit.metrics.classification import ClassificationMetric
from cvkit.metrics.coco import BoxMetric
from cvkit.metrics.confusion import ConfusionMatrix
from cvkit.metrics.video import VideoMetric
from cvkit.ops.rle import encode
from cvkit.output.instances import describe_masks

TRUE, PREDICTED = ("a", "b"), ("b", "c")


def write_table(folder, task):
    rows = "".join(f"{name}.jpg,0.7,0.3\n" for name in PREDICTED)
    (folder / "scores.csv").write_text("path,cat,dog\n" + rows)
    labels = "".join(f"{name}.jpg,cat\n" for name in TRUE)
    (folder / "truth.csv").write_text("path,label\n" + labels)
    return folder / "scores.csv", folder / "truth.csv"


def write_masks(folder, task):
    for place, names in (("truth", TRUE), ("found", PREDICTED)):
        (folder / place).mkdir()
        for name in names:
            Image.fromarray(np.tri(6, 8, dtype=np.uint8)).save(folder / place / f"{name}.png")
    return folder / "found", folder / "truth"


def write_objects(folder, task):
    """The output of predict, in which images are named."""
    mask = np.zeros((1, 6, 8), bool)
    mask[0, 1:5, 2:6] = True
    code = {"size": [6, 8], "counts": encode(mask).codes[0].decode()}
    row = {"category_id": 1, "bbox": [2, 1, 4, 4], "area": 16, "segmentation": code}
    content = {
        "images": [
            {"id": number, "file_name": f"{name}.jpg", "width": 8, "height": 6}
            for number, name in enumerate(TRUE)
        ],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [row | {"id": number, "image_id": number} for number in range(2)],
    }
    (folder / "truth.json").write_text(json.dumps(content))
    (folder / "found").mkdir()
    about = {"classes": [{"name": "cat", "id": 1, "color": [0, 0, 0]}], "labels": {}}
    (folder / "found" / "predict.json").write_text(json.dumps(about))
    line = {"width": 8, "height": 6, "labels": ["cat"], "scores": [0.9], "boxes": [[2, 1, 6, 5]]}
    line |= describe_masks(encode(mask)) if task == "instance" else {}
    lines = [json.dumps({"path": f"{name}.jpg"} | line) + "\n" for name in PREDICTED]
    (folder / "found" / "predictions.jsonl").write_text("".join(lines))
    return folder / "found", folder / "truth.json"


WRITERS = {
    "classify": write_table,
    "video": write_table,
    "segment": write_masks,
    "detect": write_objects,
    "instance": write_objects,
}


@pytest.mark.parametrize("task", TASKS)
def test_wrong_names_are_refused_before_anything_is_scored(cvkit, tmp_path, monkeypatch, task):
    found, truth = WRITERS[task](tmp_path, task)

    def score(*flags):
        flags = ("--predictions", found, "--truth", truth, "--no-files", "--json", *flags)
        return cvkit(task, "eval", *flags)

    done = score("--missing", "fail", "--extra", "ignore")
    assert done.code == 3, done.err
    assert done.json["counts"]["evaluated"] == done.json["counts"]["failed"] == 1

    def never(*_):
        raise AssertionError("a sample is scored")

    for metric, name in (
        (ClassificationMetric, "update"),
        (VideoMetric, "update"),
        (ConfusionMatrix, "add"),
        (BoxMetric, "extend"),
    ):
        monkeypatch.setattr(metric, name, never)
    assert score("--missing", "fail", "--extra", "ignore").code == 1
    for flags, code in ((("--missing", "error"), "missing"), (("--extra", "error"), "extra")):
        refused = score(*flags)
        assert refused.code == 2, refused.err
        assert refused.json["error"]["code"] == f"prediction.{code}"
