"""Files of all results together: what they hold, and that they never hold it all in memory."""

import csv
import json
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

from cvkit.ops.rle import encode_part
from cvkit.options.saves import SAVES
from cvkit.output import boxes
from cvkit.output.boxes import write_results
from cvkit.output.files import write_csv, write_features
from cvkit.output.instances import COLUMNS, write_instances
from cvkit.output.names import output_names
from cvkit.structures import ClassList
from cvkit.tasks.classify.task import Classify
from cvkit.tasks.video.setup import join_timelines

CLASSES = ClassList(("cat", "dog"), (3, 7), ((0, 0, 0), (9, 9, 9)))
CODE = encode_part(np.ones((5, 41), bool), (3, 7), (50, 100)).decode()
"""A mask of 205 pixels."""


def line(path, count=1, masks=False):
    """Return a line of `predictions.jsonl` with detections of both classes in turn."""
    content = {
        "path": path,
        "width": 100,
        "height": 50,
        "labels": [CLASSES.names[n % 2] for n in range(count)],
        "category_ids": [CLASSES.ids[n % 2] for n in range(count)],
        "scores": [0.5 + n / 1000 for n in range(count)],
        "boxes": [[n + 0.25, 0.0, n + 10.5, 20.0] for n in range(count)],
    }
    if masks:
        content["masks"] = [{"size": [50, 100], "counts": CODE}] * count
        content["areas"] = [205] * count
        content["centroids"] = [[n + 5.0, 10.0] for n in range(count)]
    return content


@pytest.fixture
def predicted(tmp_path):
    """Write `predictions.jsonl` with these lines; return the folder."""

    def write(lines):
        lines = list(lines)
        names = output_names(content["path"] for content in lines)
        (tmp_path / "predict.json").write_text('{"model": "0123456789abcdef"}')
        with (tmp_path / "predictions.jsonl").open("w") as stream:
            stream.writelines(
                json.dumps(content | {"name": names[content["path"]]}) + "\n" for content in lines
            )
        return tmp_path

    return write


@pytest.mark.parametrize("masks", [False, True])
def test_memory_does_not_grow_with_the_number_of_images(predicted, masks):
    """A hundred boxes were 98 kB in memory, with masks 230 kB: 100,000 images took 10 to 23 GB."""
    peaks = []
    for count in (1, 8):
        folder = predicted(line(f"{n}.jpg", 100, masks) for n in range(count))
        ids = {f"{n}.jpg": n for n in range(count)}
        tracemalloc.start()
        write_results(folder, CLASSES, SAVES["detect"], ids)
        if masks:
            write_instances(folder)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 100_000, peaks  # 7 lines are 170 kB, their rows 700 kB
    assert len(json.loads((folder / "results.json").read_text())) == 100 * count
    for table in ("detections.csv", *(["instances.csv"] if masks else [])):
        assert len((folder / table).read_text().splitlines()) == 100 * count + 1
    voc = (folder / "voc" / "comp3_det_test_dog.txt").read_text().splitlines()
    assert len(voc) == 50 * count
    assert len(list((folder / "labels").iterdir())) == count


def test_results_say_what_the_lines_say(predicted):
    folder = predicted([line("a/x.jpg", 2, True), line("y.jpg", 0, True)])
    write_results(folder, CLASSES, ["csv"], {"a/x.jpg": 5, "y.jpg": 6})
    write_instances(folder)
    mask = {"size": [50, 100], "counts": CODE}
    own = {"image_id": 5, "file_name": "a/x.jpg"}
    first = own | {"category_id": 3, "bbox": [0.25, 0.0, 10.25, 20.0], "score": 0.5}
    second = own | {"category_id": 7, "bbox": [1.25, 0.0, 10.25, 20.0], "score": 0.501}
    text = (folder / "results.json").read_text()
    rows = json.loads(text)
    assert text == json.dumps(rows) + "\n" and len(rows) == 2
    for row, wanted in zip(rows, (first, second), strict=True):
        assert wanted | {"segmentation": mask} | row == row
    with (folder / "instances.csv").open() as stream:
        header, row, other = csv.reader(stream)
    assert header == list(COLUMNS) and other[:4] == ["a/x.jpg", "2", "dog", "7"]
    assert row[4:] == ["0.5", "205", "0.25", "0.0", "10.5", "20.0", "5.0", "10.0"]
    assert not list(folder.glob(".*.tmp"))


def test_no_images_make_an_empty_list(predicted):
    folder = predicted([])
    write_results(folder, CLASSES, SAVES["detect"], {})
    write_instances(folder)
    assert (folder / "results.json").read_text() == "[]\n"
    assert (folder / "instances.csv").read_text().splitlines() == [",".join(COLUMNS)]
    assert [path.read_text() for path in (folder / "voc").iterdir()] == ["", ""]


def voc_names(folder):
    rows = (folder / "voc" / "comp3_det_test_cat.txt").read_text().splitlines()
    return [row.rsplit(maxsplit=5)[0] for row in rows]


@pytest.mark.parametrize(
    "paths, voc, yolo",
    [
        (["a/x.jpg", "b/y.jpg"], ["x", "y"], ["a/x", "b/y"]),
        (["a/x.jpg", "b/x.jpg", "c/y.jpg"], ["a/x", "b/x", "y"], ["a/x", "b/x", "c/y"]),
        (["x.jpg", "a/x.jpg"], ["x.jpg", "a/x"], ["x", "a/x"]),
        (["x.jpg", "x.png"], ["x.jpg", "x.png"], ["x.jpg", "x.png"]),
        (["x.jpg", "x.png", "x.jpg.png"], ["x.jpg", "x.png", "x.jpg.png"], None),
        (["my cat 1.jpg", "2.jpg"], ["my cat 1", "2"], ["my cat 1", "2"]),
    ],
)
def test_no_two_images_have_one_name(predicted, paths, voc, yolo):
    folder = predicted(line(path) for path in paths)
    write_results(folder, CLASSES, SAVES["detect"], dict.fromkeys(paths, 1))
    assert voc_names(folder) == voc
    labels = folder / "labels"
    assert {path.relative_to(labels).as_posix() for path in labels.rglob("*.txt")} == {
        f"{name}.txt" for name in (voc if yolo is None else yolo)
    }


def test_names_that_are_no_utf8_get_into_voc_files(predicted):
    folder = predicted([line("caf\udce9.jpg")])
    write_results(folder, CLASSES, SAVES["detect"], {"caf\udce9.jpg": 1})
    content = (folder / "voc" / "comp3_det_test_cat.txt").read_bytes()
    assert content.startswith(b"caf\xe9 0.5")


def test_many_classes_do_not_open_as_many_files(predicted, monkeypatch):
    monkeypatch.setattr(boxes, "VOC_FILES_AT_ONCE", 2)
    names = ("a", "b", "c", "d", "e")
    classes = ClassList(names, (1, 2, 3, 4, 5), ((0, 0, 0),) * 5)
    folder = predicted([line("x.jpg", 5) | {"labels": list(names)}])
    write_results(folder, classes, ["voc"], {"x.jpg": 1})
    for place, name in enumerate(names):
        (row,) = (folder / "voc" / f"comp3_det_test_{name}.txt").read_text().splitlines()
        assert row.split()[2] == f"{place + 1.25:.6f}"


@pytest.mark.parametrize("count", [0, 1, 3])
def test_features_are_what_numpy_would_write(tmp_path, count):
    rows = np.random.default_rng(0).random((count, 5)).astype(np.float32)
    names = [f"é{n}.jpg" for n in range(count)]
    write_features(tmp_path / "f.npz", names, iter(rows))
    with np.load(tmp_path / "f.npz") as file:
        assert sorted(file) == ["features", "paths"]
        assert file["paths"].tolist() == names
        assert np.array_equal(file["features"], rows if count else np.empty((0, 0)))
        assert count == 0 or file["features"].dtype == np.float32


def peak_of(work):
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_tables_and_features_of_many_images_take_the_memory_of_few(tmp_path):
    rule = SimpleNamespace(top_k=2, embeddings=tmp_path / "all.npz", save=())
    task = SimpleNamespace(inference=rule, classes=CLASSES)
    peaks = []
    for count in (2, 202):
        with (tmp_path / "predictions.jsonl").open("w") as stream:
            for n in range(count):
                np.save(tmp_path / f"{n}.npy", np.full(1000, n, np.float32))
                content = {"path": f"{n}.jpg", "labels": ["cat", "dog"], "scores": [0.75, 0.25]}
                stream.write(json.dumps(content | {"features": f"{n}.npy"}) + "\n")
        peaks.append(peak_of(lambda: Classify.finish(task, tmp_path)))
    assert peaks[1] < peaks[0] + 100_000, peaks  # the features alone are 800 kB
    rows = (tmp_path / "predictions.csv").read_text().splitlines()
    assert rows[0] == "path,label,score,label_2,score_2"
    assert rows[1:] == [f"{n}.jpg,cat,0.75,dog,0.25" for n in range(count)]
    with np.load(tmp_path / "all.npz") as file:
        assert file["features"][:, 7].tolist() == list(range(count))


def test_timelines_of_many_videos_take_the_memory_of_few(tmp_path):
    peaks = []
    for count in (0, 2, 52):
        lines = [{"path": f"{n}.mp4", "timeline": f"{n}.csv"} for n in range(count)]
        for n in range(count):
            rows = [[second, "cat", 0.5 + n] for second in range(50)]
            write_csv(tmp_path / f"{n}.csv", ["seconds", "label", "cat"], rows)
        peaks.append(peak_of(lambda lines=lines: join_timelines(tmp_path, lines)))
        table = (tmp_path / "timeline.csv").read_text().splitlines()
        assert table[0] == ("path,seconds,label,cat" if count else "path")
        assert len(table) == 1 + 50 * count
    assert table[-1] == "51.mp4,49,cat,51.5"
    assert peaks[2] < peaks[1] + 100_000, peaks  # all rows are a megabyte
