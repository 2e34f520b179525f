"""Predictions that other programs write, or people by hand: what is wrong is said, for every task.

A row of the tables below is a file of predictions, and what must be said about it. What is said
of a file that is scored is a warning; otherwise it is an error.
"""

import json

import numpy as np
import pytest
from PIL import Image

from cvkit.catalog import TASKS
from cvkit.console import Reporter
from cvkit.errors import DataError
from cvkit.ops.rle import encode
from cvkit.options.tree import OPTIONS
from cvkit.scoring.contract import scoring_of

BOXES = [(1, 1, [8, 6, 24, 18]), (1, 2, [40, 30, 16, 24]), (2, 2, [16, 12, 32, 30])]
"""Image, category, and x, y, width, height; an image has 80 x 60 pixels."""
DONE = {"detect": {"image_id": 1, "category_id": 1, "bbox": BOXES[0][2], "score": 0.9}}


def code(box):
    mask = np.zeros((1, 60, 80), bool)
    x, y, w, h = box
    mask[:, y : y + h, x : x + w] = True
    return {"size": [60, 80], "counts": encode(mask).codes[0].decode()}


DONE["instance"] = DONE["detect"] | {"segmentation": code(BOXES[0][2])}


def rows(task, **changes):
    return json.dumps([DONE[task], DONE[task] | changes])


def tables(good):
    """Return the cases of every task whose predictions can be a table; one row of it is good."""
    columns, *lines = good.splitlines()
    semicolons, tabs = good.replace(",", ";"), good.replace(",", "\t")
    return {
        "empty": ("r.csv", "", "r.csv is empty"),
        "only columns": ("r.csv", columns + "\n", "r.csv has no rows"),
        "UTF-16": ("r.csv", good.encode("utf-16"), "r.csv:1 is not UTF-8"),
        "semicolons": ("r.csv", semicolons, "r.csv has semicolons between its columns"),
        "tabs": ("r.csv", tabs, "r.csv has tabs between its columns"),
        "no columns": ("r.csv", "\n".join(lines * 2), "its first line has"),
        "too few cells": ("r.csv", f"{columns}\n\n{lines[0]},\n", "r.csv:3: the row has"),
        "mark and CRLF": ("r.csv", "\ufeff" + good.replace("\n", "\r\n"), None),
        "CR": ("r.csv", good.replace("\n", "\r"), None),
        "upper case": ("r.CSV", good, None),
        "missing": ("no.csv", None, "no.csv"),
    }


def of_classes(end):
    good = f"path,cat,dog\na.{end},.9,.1\nb.{end},.2,.8\nc.{end},.3,.7\n"
    ranked = f"path,label,score\na.{end},cat,1\nb.{end},dog,1\nc.{end},dog,1\n"
    return tables(good) | {
        "usual": ("r.csv", good, None),
        "the best class": ("r.csv", ranked, None),
        "numbers of classes": (
            "r.csv",
            ranked.replace("cat", "0").replace("dog", "1"),
            "none of its labels ('0, 1') is a class of the truth (it has cat, dog)",
        ),
        "index of pandas": ("r.csv", "".join(f",{x}\n" for x in good.splitlines()), None),
        "index of pandas again": (
            "r.csv",
            "".join(f"{n or 'Unnamed: 0'},{x}\n" for n, x in enumerate(good.splitlines())),
            None,
        ),
        "image_id": ("r.csv", good.replace("path", "image_id"), None),
        "labels only": ("r.csv", ranked.replace(",score", "").replace(",1", ""), "or label and"),
        "other letters": ("r.csv", good.replace("cat", "Cat"), "'cat' is not a class of the pred"),
        "another class": (
            "r.csv",
            good.replace("\n", ",0\n").replace("dog,0", "dog,bird"),
            "r.csv has scores of 1 class that the truth does not have: bird",
        ),
        "NaN": ("r.csv", good.replace(".9", "nan"), "r.csv:2: cat: 'nan' is not a finite number"),
        "twice": ("r.csv", good.replace(f"b.{end}", f"a.{end}"), f"lists 'a.{end}' twice"),
        "JSON": ("r.json", '{"a": [1, 0]}', "r.json is JSON, not a CSV table"),
    }


SEGMENT = "ImageId,ClassId,EncodedPixels\na,1,1 5\nb,2,9 1\nc,,\n"
BOXED = "path,label,score,x1,y1,x2,y2\na.jpg,cat,.9,8,6,32,24\n"
CODED = "ImageId,ClassId,Confidence,EncodedPixels\na.jpg,cat,.9,487 18\n"
MANY = [(40, 10, 70, 50), (30, 20, 75, 55), (50, 30, 78, 59)]
LIST = "COCO's results are one list, with finite numbers"


def of_objects(task):
    good = rows(task)
    return {
        "usual": ("r.json", good, None),
        "no width": ("r.json", rows(task, bbox=[1, 1, 0, 5]), "1 detection has no width or no hei"),
        "negative": ("r.json", rows(task, bbox=[9, 9, -4, 5]), "[1]: box 9, 9, -4, 5 (x, y, width"),
        "NaN": ("r.json", good.replace("0.9", "NaN"), f"NaN is not JSON ({LIST})"),
        "infinite": ("r.json", good.replace("0.9", "1e999"), "[0]: score inf is not a number"),
        "text": ("r.json", good.replace("0.9", '"0.9"'), "[0]: score '0.9' is not a number"),
        "none": ("r.json", "[]", "contains no detections: every class with objects scores 0"),
        "empty": ("r.json", " \n", "r.json is empty (COCO results are JSON; a table needs the"),
        "lines": ("r.json", f"{good[1:-1]}\n{good[1:-1]}", "r.json is not valid JSON"),
        "UTF-16": ("r.json", good.encode("utf-16"), "is not UTF-8 (byte 0xff) (save the file as"),
        "mark": ("r.json", "\ufeff" + good, None),
        "not a list": ("r.json", '{"1": []}', "r.json is not a list of detections (COCO's"),
        "another image": ("r.json", rows(task, image_id=7), "(the truth has for example 1 (a.jpg)"),
        "category from 0": (
            "r.json",
            rows(task, category_id=0),
            "[1]: category 0 is not in the truth (the truth has 1 (cat), 2 (dog))",
        ),
    }


CASES = {
    "classify": of_classes("jpg"),
    "video": of_classes("mp4"),
    "segment": tables(SEGMENT)
    | {
        "usual": ("r.csv", SEGMENT, None),
        "class of pandas": ("r.csv", SEGMENT.replace(",1,", ",1.0,"), None),
        "another table": ("r.csv", "path,label\na,1\n", "read from folders of PNGs, and from tab"),
        "a list": ("r.json", "[]", "is not a folder (masks are read from folders of PNGs, and"),
    },
    "detect": of_objects("detect")
    | {f"table: {name}": case for name, case in tables(BOXED).items()}
    | {
        "corners": (
            "r.json",
            json.dumps([DONE["detect"] | {"bbox": box} for box in MANY]),
            "its boxes look like x1, y1, x2, y2, and are read as x, y, width, height",
        ),
        "fractions": ("r.csv", BOXED.replace("8,6,32,24", ".1,.1,.4,.4"), "look like fractions"),
        "number of a class": (
            "r.csv",
            BOXED.replace("cat", "0"),
            "r.csv:2: label '0' is not an id of the truth (it has 1 (cat), 2 (dog))",
        ),
        "id of pandas": ("r.csv", BOXED.replace("cat", "1.0"), None),
        "reversed": ("r.csv", BOXED.replace("32,24", "3,24"), "r.csv:2: box 8, 6, -5, 18 (x, y,"),
        "pixels": ("a.txt", "0 20 15 24 18 .9\n", "a.txt:1 has coordinates over 10: lines are"),
        "YOLO without height": ("a.txt", "0 .3 .3 .3 0 .9\n", "1 detection has no width or no he"),
        "VOC without width": ("det_test_cat.txt", "a .9 9 7 8 24\n", "1 detection has no width or"),
        "VOC negative": ("det_test_cat.txt", "a .9 9 7 2 24\n", "its width or height is negative"),
    },
    "instance": of_objects("instance")
    | {f"table: {name}": case for name, case in tables(CODED).items()}
    | {
        "no pixels": (
            "r.json",
            rows("instance", segmentation={"size": [60, 80], "counts": [4800]}),
            "1 detection has no pixel in the mask, and matches no object",
        ),
        "boxes": ("r.csv", BOXED, "'cvkit detect eval' scores boxes alone"),
        "pixels": ("a.txt", "0 8 6 32 6 32 24 .9\n", "a.txt:1 has coordinates over 10: lines are"),
    },
}


@pytest.fixture(scope="module")
def truths(tmp_path_factory):
    """Return the truth of each task: a cat and a dog in a.jpg, a dog in b.jpg, and c.jpg."""
    folder = tmp_path_factory.mktemp("truths")
    images = [
        {"id": number, "file_name": f"{name}.jpg", "width": 80, "height": 60}
        for number, name in enumerate("abc", 1)
    ]
    objects = [
        {"id": number, "image_id": image, "category_id": kind, "bbox": box, "iscrowd": 0}
        | {"area": box[2] * box[3], "segmentation": code(box)}
        for number, (image, kind, box) in enumerate(BOXES, 1)
    ]
    kinds = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    content = {"images": images, "annotations": objects, "categories": kinds}
    (folder / "t.json").write_text(json.dumps(content))
    (folder / "masks").mkdir()
    for name in "abc":
        labels = np.arange(12, dtype=np.uint8).reshape(3, 4) % 3
        Image.fromarray(labels).save(folder / "masks" / f"{name}.png")
    for task, end in (("classify", "jpg"), ("video", "mp4")):
        (folder / task).mkdir()
        lines = [
            f"{name}.{end},{kind}" for name, kind in zip("abc", ("cat", "dog", "dog"), strict=True)
        ]
        (folder / task / "l.csv").write_text("\n".join(["path,label", *lines]) + "\n")
    named = {task: folder / task / "l.csv" for task in ("classify", "video")}
    return named | {"segment": folder / "masks"} | dict.fromkeys(DONE, folder / "t.json")


@pytest.mark.parametrize(
    ("task", "name"), [(task, name) for task in TASKS for name in CASES.get(task, ["?"])]
)
def test_what_is_wrong_with_predictions_is_said(truths, tmp_path, task, name):
    file, content, message = CASES[task][name]
    path = tmp_path / "found" / file
    path.parent.mkdir()
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    place = path.parent if path.suffix == ".txt" else path
    options = OPTIONS[task]["eval"](predictions=place, truth=truths[task])
    report = Reporter(quiet=True)
    try:
        scored = scoring_of(task).score(options, report)
    except DataError as error:
        assert message is not None, error
        assert message in str(error)
        assert file in str(error) or "truth" in str(error) or "l.csv" in str(error)
        return
    assert scored.outcomes
    if message is None:
        assert not report.warned
        metrics = scored.metric.compute()
        assert metrics.get("top1", metrics.get("video_top1", 1)) == 1
    else:
        assert any(message in warning for warning in report.warned), report.warned


def test_every_task_has_cases():
    assert {*CASES} == {*TASKS}
    assert sum(map(len, CASES.values())) > 100
