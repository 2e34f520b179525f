"""What is written of objects, by hand: words, ids, sizes, formats."""

import csv
import json

import numpy as np
import pytest

from cvkit.output.boxes import describe_boxes, write_results
from cvkit.output.instances import write_instances
from cvkit.output.videos import write_timeline
from cvkit.structures import ClassList, Instances

CLASSES = ClassList(("cat", "dog", "cow"), (3, 7, 90), ((200, 0, 0), (0, 150, 0), (0, 0, 250)))
"""Ids with gaps, colours that differ in every channel."""


def objects(**more):
    return Instances(
        boxes=np.array([[20.0, 30.0, 60.0, 70.0], [40.0, 50.0, 90.0, 80.0]], np.float32),
        labels=np.array([2, 1]),
        scores=np.array([0.75, 0.5], np.float32),
        **more,
    )


@pytest.fixture
def folder(tmp_path):
    line = {"path": "a/x.png", "name": "a/x", **describe_boxes(objects(), CLASSES, (100, 160))}
    line |= {"areas": [11, 12], "centroids": [[1.5, 2.5], None]}
    line["scores"] = [0.123456789012, 0.5]
    (tmp_path / "predictions.jsonl").write_text(json.dumps(line) + "\n")
    return tmp_path


def test_a_line_has_the_ids_of_the_data_and_the_size_of_the_image():
    line = describe_boxes(objects(), CLASSES, (100, 160))
    assert line["labels"] == ["dog", "cat"]
    assert line["category_ids"] == [7, 3]
    assert (line["width"], line["height"]) == (160, 100)
    assert line["boxes"] == [[20, 30, 60, 70], [40, 50, 90, 80]]
    assert line["scores"] == [0.75, 0.5]


def test_files_of_all_formats_say_the_same_box(folder):
    write_results(folder, CLASSES, ("yolo", "voc", "csv"), {"a/x.png": 17})
    first, _ = json.loads((folder / "results.json").read_text())
    assert first == {
        "image_id": 17,
        "file_name": "a/x.png",
        "category_id": 7,
        "category_name": "dog",
        "bbox": [20, 30, 40, 40],
        "score": 0.123456789012,
    }
    lines = (folder / "labels" / "a" / "x.txt").read_text().splitlines()
    assert lines[0] == "1 0.250000 0.500000 0.250000 0.400000 0.123457"
    assert lines[1].split()[0] == "0"
    voc = (folder / "voc" / "comp3_det_test_dog.txt").read_text()
    assert voc == "x 0.12345679 21.000000 31.000000 60.000000 70.000000\n"
    assert not (folder / "voc" / "comp3_det_test_cow.txt").read_text()
    rows = list(csv.reader((folder / "detections.csv").open()))
    assert rows[1] == ["a/x.png", "dog", "7", "0.123456789012", "20.0", "30.0", "60.0", "70.0"]


def test_the_table_of_instances_counts_as_the_picture_does(folder):
    write_instances(folder)
    header, first, second = csv.reader((folder / "instances.csv").open())
    assert dict(zip(header, first, strict=True)) == {
        **{"path": "a/x.png", "instance": "1", "class": "dog", "category_id": "7"},
        **{"score": "0.123456789012", "area": "11", "centroid_x": "1.5", "centroid_y": "2.5"},
        **{"x1": "20.0", "y1": "30.0", "x2": "60.0", "y2": "70.0"},
    }
    assert second[1] == "2"
    assert second[-2:] == ["", ""]


def test_a_timeline_names_the_best_class_of_each_clip(tmp_path):
    scores = np.array([[0.2, 0.5, 0.3], [0.1, 0.0, 0.9]])
    write_timeline(tmp_path / "t.csv", [0.0, 1.5], scores, CLASSES)
    rows = list(csv.reader((tmp_path / "t.csv").open()))
    assert rows[0] == ["seconds", "label", "cat", "dog", "cow"]
    assert [row[:2] for row in rows[1:]] == [["0.0", "dog"], ["1.5", "cow"]]
    assert [float(cell) for cell in rows[1][2:]] == scores[0].tolist()
