"""Small evaluations of every task, of which pages are made."""

import json

import numpy as np

from cvkit.data.annotated import make_truth
from cvkit.data.classes import make_classes
from cvkit.metrics.classification import ClassificationMetric
from cvkit.metrics.coco import CocoMetric
from cvkit.metrics.confusion import ConfusionMatrix
from cvkit.metrics.masks import MaskMetric
from cvkit.metrics.video import VideoMetric
from cvkit.ops.rle import encode
from cvkit.reporting.page import Evaluation, write_page
from cvkit.scoring.contract import Scene, Scored, scoring_of
from cvkit.structures import Classes, Failure, Instances, SegMap

NAMES = ("cat", "dog", "eel")
SIDE = 48
LOST = [Failure("lost.jpg", "image.unreadable", "lost.jpg is no image")]


def picture(path):
    """Return an image that depends on its path only."""
    return np.random.default_rng(len(path)).integers(0, 255, (SIDE, SIDE, 3), np.uint8)


def classes_scored(names, count, metric, frames=()):
    made, outcomes = metric(len(names)), []
    for number in range(count):
        scores = np.full(len(names), 0.3 / max(len(names) - 1, 1))
        scores[(number * 7) % len(names)] = 0.7
        result = Classes(-1, scores, clips=np.array([scores] * 2))
        truth = Classes(number % len(names))
        outcomes.append((f"val/{number}.jpg", made.update(result, truth)))

    def scene(path):
        image = picture(path)
        return Scene(np.broadcast_to(image, (*frames, *image.shape)))

    return Scored(made, make_classes(list(names)), outcomes, LOST, scene)


def segment_scored(names, count):
    metric, outcomes, maps = ConfusionMatrix(len(names)), [], {}
    for number in range(count):
        truth = np.zeros((SIDE, SIDE), np.uint8)
        truth[8:30, 8:40] = number % len(names)
        result = np.roll(truth, number, 1)
        maps[f"{number}.png"] = SegMap(truth), SegMap(result)
        outcomes.append((f"{number}.png", metric.update(SegMap(result), SegMap(truth))))

    def scene(path):
        truth, result = maps[path]
        return Scene(picture(path), truth, lambda: result)

    return Scored(metric, make_classes(list(names)), outcomes, LOST, scene)


def objects_scored(names, count, metric, masks):
    classes = make_classes(list(names))
    made, outcomes = metric(classes), []
    for number in range(count):
        boxes = np.array([[4, 4, 20, 24], [22, 10, 44, 40]], np.float32)
        labels = np.array([1, 1 + number % len(names)])
        moved, scores = boxes + number, np.array([0.9, 0.6], np.float32)
        codes = [None, None]
        for place, each in enumerate((boxes, moved)) if masks else ():
            drawn = np.zeros((2, SIDE, SIDE), bool)
            for mask, (x1, y1, x2, y2) in zip(drawn, each.astype(int), strict=True):
                mask[y1:y2, x1:x2] = True
            codes[place] = encode(drawn)
        truth = make_truth(boxes.tolist(), labels.tolist())
        truth = Instances(**vars(truth) | {"masks": codes[0]})
        result = Instances(moved, labels, scores, masks=codes[1])
        outcomes.append((f"{number}.jpg", made.update(result, truth)))
    return Scored(made, classes, outcomes, LOST, lambda path: Scene(picture(path)))


def scored_of(task, names=NAMES, count=4):
    """Return an evaluation of a task."""
    makers = {
        "classify": lambda: classes_scored(names, count, ClassificationMetric),
        "video": lambda: classes_scored(names, count, VideoMetric, (2, 4)),
        "segment": lambda: segment_scored(names, count),
        "detect": lambda: objects_scored(names, count, CocoMetric, masks=False),
        "instance": lambda: objects_scored(names, count, MaskMetric, masks=True),
    }
    return makers[task]()


HISTORY = [
    {"epoch": 1, "lr": 0.01, "loss": 2.0, "val_loss": 1.9, "train_m": 0.3, "m": 0.25},
    {"epoch": 2, "lr": 0.001, "loss": 1.0, "val_loss": None, "train_m": 0.6, "m": None},
]


def evaluation(task, scored=None, **more):
    """Return everything about an evaluation of a task."""
    scored = scored or scored_of(task)
    content = {
        "split": "val",
        "weights": "runs/a/best.safetensors",
        **scoring_of(task).write_report(scored, None),
        "precision": "fp32",
        "engine": "eager",
        **more.pop("content", {}),
    }
    values = {
        "task": task,
        "content": content,
        "scored": scored,
        "command": f"cvkit {task} eval --weights runs/a --report",
        "environment": {"cvkit": "1", "packages": {"numpy": "2"}},
        "warnings": ["2 images are rotated by EXIF"],
        "history": HISTORY,
    }
    return Evaluation(**values | more)


def page(tmp_path, made, **more):
    """Write the page of an evaluation, or of the `evaluation` of a task; return its path."""
    path = tmp_path / "report.html"
    write_page(path, evaluation(made, **more) if isinstance(made, str) else made)
    return path


def predictions_of(task, data, folder):
    """Return predictions of the validation split of a dataset that are its truths."""
    if task == "segment":
        return data / "masks" / "val"
    if task in ("detect", "instance"):
        truth = json.loads((data / "annotations" / "instances_val.json").read_text())
        keys = ("image_id", "category_id", "bbox", "segmentation")
        rows = [{key: row[key] for key in keys if key in row} for row in truth["annotations"]]
        (folder / "results.json").write_text(json.dumps([row | {"score": 0.5} for row in rows]))
        return folder / "results.json"
    paths = sorted(path for path in (data / "val").rglob("*.*") if path.is_file())
    names = sorted({path.parent.name for path in paths})
    lines = [f"path,{','.join(names)}"]
    for path in paths:
        scores = ",".join("1" if path.parent.name == name else "0" for name in names)
        lines.append(f"{path.relative_to(data)},{scores}")
    (folder / "scores.csv").write_text("\n".join(lines))
    return folder / "scores.csv"
