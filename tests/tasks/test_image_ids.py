"""Ids of images: those of a COCO file, the numbers in file names, or 1, 2, ..."""

import json

import pytest

from cvkit.errors import DataError
from cvkit.tasks.detect.image_ids import ImageIds


@pytest.fixture
def coco(tmp_path):
    """Write a COCO file of (id, file name); return its path."""

    def write(*rows):
        path = tmp_path / "coco.json"
        path.write_text(json.dumps({"images": [{"id": i, "file_name": n} for i, n in rows]}))
        return path

    return write


def test_without_a_file_names_that_are_numbers_count():
    ids = ImageIds(None)
    assert ids.of(["a/007.jpg", "a/12.jpg"]) == {"a/007.jpg": 7, "a/12.jpg": 12}
    assert ids.of(["a/7.jpg", "b/7.jpg"]) == {"a/7.jpg": 1, "b/7.jpg": 2}
    assert ids.of(["7.jpg", "x.jpg"]) == {"7.jpg": 1, "x.jpg": 2}
    assert ids.of([]) == {}


def test_ids_follow_the_order_of_the_images_and_not_of_their_names(coco):
    ids = ImageIds(None)
    assert ids.of(["z.jpg", "b/a.jpg", "c.jpg"]) == {"z.jpg": 1, "b/a.jpg": 2, "c.jpg": 3}
    assert ids.of(["b/7.jpg", "a/7.jpg"]) == {"b/7.jpg": 1, "a/7.jpg": 2}
    assert ids.of(["30.jpg", "4.jpg", "005.jpg"]) == {"30.jpg": 30, "4.jpg": 4, "005.jpg": 5}
    listed = ImageIds(coco((2, "z.jpg"), (9, "a.jpg"), (1, "c.jpg")))
    assert listed.of(["z.jpg", "c.jpg", "a.jpg"]) == {"z.jpg": 2, "c.jpg": 1, "a.jpg": 9}


@pytest.mark.parametrize(
    "rows, paths, wanted",
    [
        ([(9, "a/x.jpg"), (8, "b/x.jpg")], ["a/x.jpg", "b/x.jpg"], [9, 8]),
        ([(9, "val/a/x.jpg"), (8, "val/b/x.jpg")], ["b/x.jpg", "a/x.jpg"], [8, 9]),
        ([(9, "x.jpg")], ["val/x.jpg"], [9]),
        ([(9, "train/x.jpg")], ["photos/x.jpg"], [9]),  # the only one of that name
        ([("9", "x.jpg")], ["x.jpg"], [9]),
        ([(9, "x.jpg"), (8, "a/x.jpg")], ["x.jpg"], [9]),
    ],
)
def test_ids_are_found_by_name(coco, rows, paths, wanted):
    assert list(ImageIds(coco(*rows)).of(paths).values()) == wanted


@pytest.mark.parametrize(
    "rows, paths, code, words",
    [
        ([(9, "x.jpg")], ["x.jpg", "y.jpg"], "image_ids.missing", "lacks 1 image, such as y.jpg"),
        ([(9, "x.jpg")], ["a/x.jpg", "b/x.jpg"], "image_ids.twice", "a/x.jpg and b/x.jpg both"),
        (
            [(9, "a/x.jpg"), (8, "b/x.jpg")],
            ["x.jpg"],
            "image_ids.ambiguous",
            "a/x.jpg or b/x.jpg",
        ),
    ],
)
def test_images_without_one_id_are_refused(coco, rows, paths, code, words):
    ids = ImageIds(coco(*rows))
    with pytest.raises(DataError, match=words) as caught:
        ids.of(paths)
    assert caught.value.code == code and "--image-ids" in str(caught.value)


@pytest.mark.parametrize(
    "text, words",
    [
        ("{", "is not valid JSON"),
        ("[]", "list indices"),
        ("{}", "no 'images'"),
        ('{"images": []}', "no images"),
        ('{"images": null}', "not iterable"),
        ('{"images": [{"id": 1}]}', "no 'file_name'"),
        ('{"images": [{"file_name": "x.jpg"}]}', "no 'id'"),
        ('{"images": [{"file_name": 5, "id": 1}]}', "file name"),
        ('{"images": [{"file_name": "x.jpg", "id": "one"}]}', "'one'"),
        ('{"images": [{"file_name": "x.jpg", "id": null}]}', "id None is not"),
        ('{"images": [{"file_name": "x.jpg", "id": 1e999}]}', "id inf is not"),
        ('{"images": [{"file_name": "x", "id": 1}, {"file_name": "x", "id": 2}]}', "twice"),
        ('{"images": [{"file_name": "x", "id": 1}, {"file_name": "y", "id": 1}]}', "twice"),
        (None, "does not exist"),
    ],
)
def test_files_that_are_not_cocos_are_refused(tmp_path, text, words):
    path = tmp_path / "ids.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=words) as caught:
        ImageIds(path)
    assert caught.value.code == "image_ids.syntax"
    assert f"--image-ids {path}" in str(caught.value)
