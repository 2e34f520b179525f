"""The tables and numbers of a report, of every task, against values worked out by hand."""

import csv
from collections import Counter

import numpy as np
import pytest

from cvkit.data.annotated import make_truth
from cvkit.data.classes import make_classes
from cvkit.metrics.box_errors import KINDS, BoxErrors
from cvkit.metrics.classification import ClassificationMetric
from cvkit.metrics.coco import CocoMetric, ImageOutcome
from cvkit.metrics.confusion import ConfusionMatrix
from cvkit.metrics.masks import MaskMetric
from cvkit.metrics.video import VideoMetric
from cvkit.metrics.voc import VocMetric
from cvkit.ops.rle import encode
from cvkit.output.box_reports import write_box_reports
from cvkit.scoring.contract import Scored, scoring_of
from cvkit.structures import Classes, Failure, Instances, SegMap

NAMES = ["cat", "dog", "eel"]
CLASSES = make_classes(NAMES)
LOST = [Failure("lost.jpg", "image.unreadable", "it is no image")]


def rows_of(path):
    with open(path, newline="") as stream:
        return list(csv.reader(stream))


# True class, and the scores: three cats, of which one is seen, no dog, and an eel.
SEEN = {
    "a.jpg": (0, [0.25, 0.5, 0.25]),
    "b.jpg": (0, [0.125, 0.625, 0.25]),
    "c.jpg": (0, [0.75, 0.125, 0.125]),
    "d.jpg": (2, [0.125, 0.0, 0.875]),
}


@pytest.mark.parametrize(
    ("task", "make", "what", "top1"),
    [
        ("classify", ClassificationMetric, "image", "top1"),
        ("video", VideoMetric, "video", "video_top1"),
    ],
)
def test_a_report_of_classes_says_which_was_true_and_which_was_seen(
    tmp_path, task, make, what, top1
):
    metric = make(len(NAMES))
    outcomes = []
    for path, (label, scores) in SEEN.items():
        found = Classes(-1, np.array(scores), clips=np.array([scores] * 2))
        outcomes.append((path, metric.update(found, Classes(label))))
    scored, write_report = Scored(metric, CLASSES, outcomes, LOST), scoring_of(task).write_report
    report = write_report(scored, tmp_path)
    assert rows_of(tmp_path / f"per_{what}.csv") == [
        ["path", "truth", "predicted", "score", "correct"],
        ["a.jpg", "cat", "dog", "0.5", "0"],
        ["b.jpg", "cat", "dog", "0.625", "0"],
        ["c.jpg", "cat", "cat", "0.75", "1"],
        ["d.jpg", "eel", "eel", "0.875", "1"],
    ]
    assert rows_of(tmp_path / "confusion_matrix.csv") == [
        ["truth\\prediction", *NAMES],
        ["cat", "1", "2", "0"],
        ["dog", "0", "0", "0"],
        ["eel", "0", "0", "1"],
    ]
    # Who always said "cat" would be right three times; "dog" was said most often but once.
    assert report["baseline"] == {top1: 3 / 4}
    assert report["metrics"][top1] == 2 / 4
    assert report["per_class"]["cat"] == pytest.approx(
        {"precision": 1, "recall": 1 / 3, "f1": 1 / 2, "ap": (1 + 1 + 3 / 4) / 3, f"{what}s": 3}
    )
    # 0.125 is the score of a cat and of the eel; no dog is there. The mean is over cat and eel.
    assert report["per_class"]["dog"]["ap"] is None
    curves = {name: each["value"] for name, each in report["curves"].items()}
    micro = (1 + 1 + 3 / 7 + 4 / 11) / 4  # at 0.875, 0.75, 0.25 and 0.125 of the right classes
    assert curves == pytest.approx({"macro_ap": (11 / 12 + 1) / 2, "micro_ap": micro})
    assert all(each["rule"] for each in report["curves"].values()) and report["rules"]["ap"]
    assert rows_of(tmp_path / "precision_recall.csv") == [
        ["class", "score", "recall", "precision"],
        ["cat", "0.75", str(1 / 3), "1.0"],
        ["cat", "0.25", str(2 / 3), "1.0"],
        ["cat", "0.125", "1.0", "0.75"],
        ["eel", "0.875", "1.0", "1.0"],
    ]
    # Classes that occur in the truth, whatever was predicted.
    assert report["rules"]["classes_counted"] == ["cat", "eel"]
    assert report["rules"]["classes_absent"] == ["dog"]
    clips = {"clips": 8} if what == "video" else {}
    assert report["counts"] == {f"{what}s": 5, "evaluated": 4, "failed": 1} | clips
    assert [row["path"] for row in report["failures"]] == ["lost.jpg"]
    assert write_report(scored, None) == {
        name: value for name, value in report.items() if name != "files"
    }


def test_a_report_of_pixels_says_which_class_was_true_and_which_was_seen(tmp_path):
    metric = ConfusionMatrix(len(NAMES))
    truths = {"a.png": [[0, 0, 0, 0]], "b.png": [[0, 0, 2, 255]]}
    results = {"a.png": [[1, 1, 1, 0]], "b.png": [[1, 0, 2, 2]]}
    images = [
        (path, metric.update(*(SegMap(np.array(s[path], np.uint8)) for s in (results, truths))))
        for path in truths
    ]
    scored = Scored(metric, CLASSES, images, LOST)
    report = scoring_of("segment").write_report(scored, tmp_path)
    heads, *rows = rows_of(tmp_path / "per_image.csv")
    kinds = ["missed", "spurious", "boundary", "confused"]
    assert heads == ["path", "miou", "pixel_accuracy", *kinds, "iou:cat", "iou:dog", "iou:eel"]
    assert [row[0] for row in rows] == ["a.png", "b.png"] and rows[0][-1] == ""
    # Of a: 1 of 4 cats, and 3 dogs that are none. Of b: 1 of 2 cats, a dog that is none, the eel.
    assert [float(cell) for cell in rows[0][1:-1]] == [1 / 8, 1 / 4, 0, 3, 0, 0, 1 / 4, 0]
    assert [float(cell) for cell in rows[1][1:]] == [1 / 2, 2 / 3, 0, 1, 0, 0, 1 / 2, 0, 1]
    rule = report["errors"].pop("rule")
    assert report["errors"] == {"correct": 3, **dict(zip(kinds, (0, 4, 0, 0), strict=True))}
    assert "at most 1% of the shorter side (at least 1 pixel)" in rule
    assert rows_of(tmp_path / "confusion_matrix.csv") == [
        ["truth\\prediction", *NAMES],
        ["cat", "2", "4", "0"],
        ["dog", "0", "0", "0"],
        ["eel", "0", "0", "1"],
    ]
    assert report["baseline"] == {"pixel_accuracy": 6 / 7}
    assert report["metrics"]["pixel_accuracy"] == 3 / 7
    assert report["per_class"]["cat"] == pytest.approx(
        {"iou": 1 / 3, "accuracy": 1 / 3, "dice": 1 / 2, "pixels": 6}
    )
    assert report["counts"] == {"images": 3, "evaluated": 2, "failed": 1, "pixels": 7}


@pytest.mark.parametrize("protocol", ["coco", "voc07", "voc12", "mask"])
def test_a_report_of_objects_counts_objects_and_detections(tmp_path, protocol):
    """Boxes fit in one image and not in the other, masks in neither."""
    metric = {
        "coco": lambda: CocoMetric(CLASSES),
        "voc07": lambda: VocMetric(CLASSES, True),
        "voc12": lambda: VocMetric(CLASSES, False),
        "mask": lambda: MaskMetric(CLASSES),
    }[protocol]()
    square, strip = np.zeros((2, 100, 100), bool)
    square[:40, :40] = True
    strip[:40, :10] = True
    outcomes = []
    for name, shift in (("a.jpg", 0), ("b.jpg", 50)):
        rows = np.array([[0, 0, 40, 40], [60, 60, 90, 90], [0, 60, 20, 90]], float)
        masks = encode(np.stack([square, np.roll(square, 60, (0, 1)), square[::-1]]))
        truth = make_truth(rows, [1, 1, 3], masks=masks)
        found = Instances(
            boxes=np.array([[0, shift, 40, shift + 40]], np.float32),
            labels=np.array([1]),
            scores=np.array([0.9], np.float32),
            masks=encode(np.roll(strip, shift, 0)[None]),
        )
        outcomes.append((name, metric.update(found, truth)))
    task = "instance" if protocol == "mask" else "detect"
    report = scoring_of(task).write_report(Scored(metric, CLASSES, outcomes, LOST), tmp_path)
    counts = {"images": 3, "evaluated": 2, "failed": 1, "objects": 6, "detections": 2}
    assert report["counts"] == counts
    right = 0 if protocol == "mask" else 1
    assert [row[1:] for row in rows_of(report["files"]["per_image_csv"])[1:]] == [
        ["3", "1", str(right)],
        ["3", "1", "0"],
    ]
    assert report["errors"]["correct"] == right
    assert report["errors"]["missed"] == 6 - right
    curve = [row for row in rows_of(report["files"]["precision_recall_csv"]) if row[0] == "cat"]
    assert (max(float(row[2]) for row in curve) > 0.9) == bool(right)


def test_a_report_of_boxes_says_which_number_is_which(tmp_path):
    matrix = np.arange(16).reshape(4, 4)
    errors = BoxErrors(0.5, {kind: number for number, kind in enumerate(KINDS)}, matrix)
    curves = {"cat": (np.array([0.25, 0.5]), np.array([1.0, 0.75])), "eel": (np.ones(1),) * 2}
    images = [("a.jpg", ImageOutcome(objects=5, detections=3, found=2))]
    files = write_box_reports(tmp_path, CLASSES, images, curves, errors, iou="0.5")
    assert rows_of(files["per_image_csv"]) == [
        ["path", "objects", "detections", "found"],
        ["a.jpg", "5", "3", "2"],
    ]
    assert rows_of(files["precision_recall_csv"]) == [
        ["class", "recall", "precision"],
        ["cat", "0.25", "1.0"],
        ["cat", "0.5", "0.75"],
        ["eel", "1.0", "1.0"],
    ]
    assert rows_of(files["errors_csv"]) == [
        ["kind", "count"],
        *([kind, str(number)] for number, kind in enumerate(KINDS)),
    ]
    assert rows_of(files["confusion_matrix_csv"]) == [
        ["truth\\prediction", "background", *NAMES],
        *([name, *map(str, row)] for name, row in zip(["background", *NAMES], matrix, strict=True)),
    ]
    assert Counter(path.suffix for path in tmp_path.iterdir()) == {".csv": 4, ".png": 2}
