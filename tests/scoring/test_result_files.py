"""Result files of others and our own: every detection reaches the image and class it names."""

import json

import pytest
from PIL import Image

from cvkit.data.classes import make_classes
from cvkit.data.formats.coco import read_coco
from cvkit.errors import DataError
from cvkit.options.detect import PROTOCOLS
from cvkit.output.boxes import write_results
from cvkit.scoring.voc_results import read_voc_results

COLLIDING = ("a/x.jpg", "b/x.jpg", "x.jpg", "b/my photo 1.jpg", "y.jpg")
NAMES = ("dog", "hot_dog", "a/b", "a_b", "[c]")


@pytest.fixture
def truth(tmp_path):
    """Write a COCO file of images under images/val, one object each; return it."""

    def write(names=COLLIDING, classes=NAMES):
        content = {
            "images": [
                {"id": 100 + n, "file_name": f"val/{name}", "width": 90, "height": 60}
                for n, name in enumerate(names)
            ],
            "categories": [{"id": 10 + n, "name": name} for n, name in enumerate(classes)],
            "annotations": [
                {"id": n, "image_id": 100 + n, "category_id": 10 + n % len(classes)}
                | {
                    "bbox": [n, 2 * n, 20 + n, 30],
                    "segmentation": [[n, 2 * n, 20 + n, 2 * n, 9, 30]],
                }
                for n in range(len(names))
            ],
        }
        folder = tmp_path / "truth"
        folder.mkdir(exist_ok=True)
        path = folder / "instances_val.json"
        path.write_text(json.dumps(content))
        for name in names:
            image = folder / "val" / name
            image.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (90, 60)).save(image)
        return path

    return write


def perfect(truth, out):
    """Write what predict of the folder of the images would write if it found everything."""
    found = read_coco(truth, truth.parent, truth.parent)
    out.mkdir()
    paths = [image.key.removeprefix("val/") for image in found.images]
    with (out / "predictions.jsonl").open("w") as stream:
        for path, image in zip(paths, found.images, strict=True):
            labels = image.truth.labels
            line = {"path": path, "width": 90, "height": 60}
            line["labels"] = [found.classes.names[label - 1] for label in labels]
            line["category_ids"] = [found.classes.ids[label - 1] for label in labels]
            line |= {"scores": [0.9] * len(labels), "boxes": image.truth.boxes.tolist()}
            stream.write(json.dumps(line) + "\n")
    ids = {path: number for number, path in enumerate(paths, 1)}  # not those of the truth
    write_results(out, found.classes, ["voc"], ids)
    return out


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("place", ["results.json", "voc"])
def test_perfect_detections_score_1_whatever_images_and_classes_are_called(
    cvkit, truth, tmp_path, protocol, place
):
    """Of two images of one name in different folders one got the detections of both."""
    file = truth()
    out = perfect(file, tmp_path / "out")
    flags = ["--truth", file, "--protocol", protocol, "--no-files", "--json"]
    done = cvkit("detect", "eval", "--predictions", out / place, *flags)
    assert done.code == 0, done.err
    assert next(iter(done.json["metrics"].values())) == pytest.approx(1)
    assert done.json["counts"] | {"detections": 5, "objects": 5} == done.json["counts"]


def score(cvkit, file, folder, *more):
    return cvkit(
        *("detect", "eval", "--predictions", folder, "--truth", file),
        *("--protocol", "voc12", "--no-files", "--json", *more),
    )


@pytest.mark.parametrize(
    "line, words",
    [
        ("x 0.9 1 1 20 30", None),  # relative to the folder of all images
        ("val/a/x 0.9 1 1 20 30", None),
        ("val/a/x.jpg 0.9 1 1 20 30", None),
        ("my photo 1 0.9 1 1 20 30\r", None),
        ("  \n\ny 0.9 1 1 20 30", None),
        ("y 0.9 5 5 4 4", None),  # no width: the box is inclusive
        ("z 0.9 1 1 20 30", "image 'z' is not in the truth"),
        ("c/y 0.9 1 1 20 30", "image 'c/y' is not in the truth"),
        ("photo 0.9 1 1 20 30", "image 'photo' is not in the truth"),
        ("y 0.9 1 1 20", "is not IMAGE SCORE"),
        ("y high 1 1 20 30", "is not IMAGE SCORE"),
        ("y nan 1 1 20 30", "is not usable"),
        ("y 0.9 1 1 inf 30", "is not usable"),
        ("y 0.9 9 1 4 30", "is not usable"),
    ],
)
def test_lines_of_voc_files(cvkit, truth, tmp_path, line, words):
    folder = tmp_path / "voc"
    folder.mkdir()
    (folder / "comp3_det_test_dog.txt").write_text(line)
    done = score(cvkit, truth(), folder)
    if words is None:
        assert done.code == 0 and done.json["counts"]["detections"] == 1
    else:
        error = done.json["error"]
        assert done.code == 2 and words in error["message"]
        assert "comp3_det_test_dog.txt:" in error["message"]


def test_a_name_that_may_be_several_images_is_refused(cvkit, truth, tmp_path):
    folder = tmp_path / "voc"
    folder.mkdir()
    (folder / "dog.txt").write_text("x 0.9 1 1 20 30")
    done = score(cvkit, truth(("a/x.jpg", "b/x.jpg")), folder)
    assert done.code == 2 and "may be val/a/x.jpg or val/b/x.jpg" in done.json["error"]["message"]
    assert "val/a/x" in done.json["error"]["hint"]


@pytest.mark.parametrize(
    "files, found",
    [
        (["comp3_det_test_dog.txt", "._comp3_det_test_dog.txt"], ["dog"]),
        (["dog.txt", "hot_dog.txt"], ["dog", "hot_dog"]),
        (["comp4_det_my_val_hot_dog.txt"], ["hot_dog"]),
        (["comp3_det_test_hot_dog.txt"], ["hot_dog"]),
        (["mine_[c].txt", "c.txt"], ["[c]"]),
        (["comp3_det_test_a_b.txt", "comp3_det_test_a%2Fb.txt"], ["a/b", "a_b"]),
        (["comp3_det_test_dog.txt", "comp3_det_val_dog.txt"], "has 2 files of class 'dog'"),
        (["cat.txt"], "contains neither results.json nor VOC result files"),
    ],
)
def test_files_belong_to_the_class_that_they_name(tmp_path, files, found):
    for name in files:
        (tmp_path / name).write_text("y 0.9 1 1 20 30")
    classes = make_classes(list(NAMES))
    if isinstance(found, str):
        with pytest.raises(DataError) as caught:
            read_voc_results(tmp_path, ["y.jpg"], classes)
        assert found in str(caught.value)
    else:
        rows = read_voc_results(tmp_path, ["y.jpg"], classes)
        assert sorted(classes.names[label - 1] for _, label, _, _ in rows) == sorted(found)
        assert all(row[0] == 0 and row[2:] == (0.9, (0, 0, 20, 30)) for row in rows)


@pytest.mark.parametrize(
    "images, rows, wanted",
    [
        (("a/x.jpg", "b/x.jpg"), [(7, "b/x.jpg")], 1),  # the name, not the id
        (("a/x.jpg", "b/x.jpg"), [(7, "x.jpg")], "x.jpg"),
        (("a/x.jpg", "b/x.jpg"), [(100, "c/x.jpg"), (101, "b/x.jpg")], "c/x.jpg"),
        (("a/x.jpg", "b/x.jpg"), [(100, "y.jpg"), (101, "b/x.jpg")], "y.jpg"),
        (("a/x.jpg", "b/x.jpg"), [(101, None)], 1),
        (("a/x.jpg", "b/x.jpg"), [(101, 5), (101, "b/x.jpg")], "5"),
        (("x.jpg", "y.jpg"), [(7, "photos/val/y.jpg")], 1),
    ],
)
def test_results_name_their_image_by_file_before_id(cvkit, truth, tmp_path, images, rows, wanted):
    """A file name that the truth did not know was passed over, and the id taken."""
    file = truth(images, ("dog",))
    path = tmp_path / "results.json"
    box = {"bbox": [1, 2, 21, 30], "score": 0.9, "category_id": 10}  # the object of the second
    content = [{"image_id": id_, "file_name": name} | box for id_, name in rows]
    path.write_text(json.dumps(content))
    done = score(cvkit, file, path)
    if isinstance(wanted, str):
        assert done.code == 2 and done.json["error"]["code"].startswith("results.")
        assert str(path) in done.err + done.json["error"]["message"]
        assert wanted in done.json["error"]["message"]
    else:
        assert done.code == 0, done.out
        assert done.json["per_class"]["dog"]["recall"] == 0.5
        assert done.json["metrics"]["voc12_map"] == pytest.approx(0.5)


def test_an_id_tells_which_of_several_images_of_one_name(cvkit, truth, tmp_path):
    file = truth(("a/x.jpg", "b/x.jpg"), ("dog",))
    row = {"bbox": [1, 2, 21, 30], "score": 0.9, "category_id": 10}  # the object of the second
    path = tmp_path / "results.json"
    path.write_text(json.dumps([row | {"image_id": 101, "file_name": "x.jpg"}]))
    assert score(cvkit, file, path).json["per_class"]["dog"]["recall"] == 0.5


@pytest.mark.parametrize("task", ["detect", "instance"])
@pytest.mark.parametrize("place", ["row", "mask"])
def test_a_key_that_stands_twice_in_a_row_is_refused(cvkit, truth, tmp_path, task, place):
    mask = '{"size": [60, 90], "counts": "PX1", "counts": "PX1"}'
    row = '{"image_id": 100, "category_id": 10, "bbox": [0, 0, 9, 9], "score": 0.5'
    more = ', "score" : 0.9}' if place == "row" else f', "segmentation": {mask}}}'
    (tmp_path / "results.json").write_text(f"[{row}{more}]")
    given = ["--predictions", tmp_path / "results.json", "--truth", truth(), "--no-files", "--json"]
    done = cvkit(task, "eval", *given)
    assert (done.code, done.json["error"]["code"]) == (2, "json.duplicate_key")
    name = "score" if place == "row" else "counts"
    assert f"key '{name}' occurs twice" in done.json["error"]["message"]


def test_a_name_that_looks_like_a_key_is_no_second_one(cvkit, truth, tmp_path):
    name = 'a":b'
    file = truth(classes=(name, *NAMES))
    row = {"image_id": 100, "category_name": name, "bbox": [0, 0, 9, 9], "score": 0.5}
    (tmp_path / "results.json").write_text(json.dumps([row]))
    given = ["--predictions", tmp_path / "results.json", "--truth", file, "--no-files", "--json"]
    assert cvkit("detect", "eval", *given).code == 0
