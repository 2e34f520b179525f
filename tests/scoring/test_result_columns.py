"""The fast reader of results reads what the strict one reads, or leaves the file to it."""

import json
import random

import numpy as np
import pytest

from cvkit.data.formats import coco
from cvkit.errors import DataError
from cvkit.ops.rle import encode
from cvkit.scoring import result_columns
from cvkit.scoring.result_columns import read_columns
from cvkit.scoring.result_files import read_table
from cvkit.scoring.results import _unique_rows

ROW = {"image_id": 7, "category_id": 3, "bbox": [1, 2.5, 10, 20], "score": 0.5}
CODE = encode(np.pad(np.ones((1, 9, 9), bool), [(0, 0), (0, 51), (0, 81)])).codes[0].decode()
MASK = {"segmentation": {"size": [60, 90], "counts": CODE}}


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    """Return the images and classes of a truth with masks."""
    folder = tmp_path_factory.mktemp("truth")
    names = {7: "a/x.jpg", 0: "b/x.jpg", 2**40: "y.jpg"}
    polygon = [[1, 1, 30, 1, 30, 30]]
    content = {
        "images": [
            {"id": id_, "file_name": name, "width": 90, "height": 60} for id_, name in names.items()
        ],
        "categories": [{"id": 3, "name": "dog"}, {"id": 0, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 1, 29, 29]}
            | {"segmentation": polygon, "area": 1.0}
        ],
    }
    (folder / "truth.json").write_text(json.dumps(content))
    return coco.read_coco(folder / "truth.json", folder, folder, masks=True)


def both(truth, path, masks):
    """Return the results of the fast and of the strict reader; a DataError as its code."""
    results = []
    for read in (
        lambda: read_columns(path, truth.images, truth.classes, masks),
        lambda: read_table(path, _unique_rows(path), truth.images, truth.classes, masks),
    ):
        try:
            results.append(read())
        except DataError as error:
            results.append(error.code)
    return results


def same(fast, strict, masks):
    if isinstance(strict, str):
        return fast == strict
    columns = ("images", "labels", "scores", "xywh", *(("codes", "boxless") if masks else ()))
    pairs = [(getattr(fast[0], name), getattr(strict[0], name)) for name in columns]
    return fast[1] == strict[1] and all(np.array_equal(a, b) for a, b in pairs)


USUAL = {
    "plain": [ROW, ROW | {"score": 1, "image_id": 0}, ROW | {"image_id": 2**40}],
    "nothing": [],
    "named": [
        ROW | {"file_name": "a/x.jpg", "category_name": "cat"},
        ROW | {"file_name": "y.jpg", "category_name": "zebra"},
    ],
    "by name only": [{"file_name": "y.jpg", "category_name": "dog"} | {k: ROW[k] for k in ROW
                     if not k.endswith("id")}],
    "ids of text": [ROW | {"image_id": "7"}, ROW],
    "more": [ROW | {"id": 3, "area": 4.5, "iscrowd": 0}],
}  # fmt: skip


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("name", USUAL)
def test_usual_files_are_read_fast_and_as_strictly(truth, tmp_path, name, masks):
    path = tmp_path / "results.json"
    rows = [row | MASK for row in USUAL[name]] if masks else USUAL[name]
    if masks and len(rows) > 1:
        rows[1] = {key: value for key, value in rows[1].items() if key != "bbox"}
    path.write_text(json.dumps(rows))
    fast, strict = both(truth, path, masks)
    assert fast is not None
    assert same(fast, strict, masks)


@pytest.mark.parametrize("masks", [False, True])
def test_a_file_is_read_in_parts(truth, tmp_path, monkeypatch, masks):
    rows = [ROW | {"score": score / 64} for score in range(60)]
    rows[9] |= {"file_name": "a/x.jpg", "id": 9}
    rows = [row | MASK for row in rows] if masks else rows
    path = tmp_path / "results.json"
    for text in (json.dumps(rows), json.dumps(rows, indent=1), json.dumps(rows, indent=9)):
        for bytes_at_once in (997, 1500, len(text) - 1, len(text), len(text) + 1):
            path.write_text(text)
            monkeypatch.setattr(result_columns, "AT_ONCE", bytes_at_once)
            fast, strict = both(truth, path, masks)
            assert fast is not None and len(fast[0].scores) == 60
            assert same(fast, strict, masks)
            path.write_text(text.replace("x.jpg", "}, {x.jpg").replace("0.25", "0.25 0.25"))
            assert read_columns(path, truth.images, truth.classes, masks) is None
            path.write_text(text.replace("},", "}, 1,", 8))
            assert read_columns(path, truth.images, truth.classes, masks) is None


ODD = [
    '"score": NaN', '"score": 1e999', '"score": "1"', '"score": true', '"score": null',
    '"score": -Infinity', '"bbox": [1, 2, 3]', '"bbox": [1, 2, 3, 4, 5]', '"bbox": null',
    '"bbox": [1, 2, -3, 4]', '"bbox": [1, 2, 3, 1e300]', '"bbox": [1, 2, true, 4]',
    '"bbox": [1, 2, NaN, 4]', '"image_id": 8', '"image_id": 7.0', '"image_id": true',
    '"image_id": null', '"image_id": 1' + 400 * "0", '"category_id": 4', '"category_id": [3]',
    '"file_name": "\\"x\\".jpg"', '"file_name": "no.jpg"', '"file_name": null',
    '"file_name": "\\ud800"', '"category_name": "ape"', '"more": {"a": 1, "a": 2}',
    '"segmentation": []', '"more": ' + 2000 * "[" + 2000 * "]", '"sc\\u006fre": 0.25',
    '"score": 01', '"score": .5', '"x": "\x01"', '"area": -1', '"iscrowd": 2', '"id": "a"',
    '"segmentation": {"size": [60, 91], "counts": "X1h4"}',
    '"segmentation": {"size": [60, 90], "counts": "zz"}',
    '"segmentation": {"size": [60, 90], "size": [60, 90], "counts": "X1h4"}',
]  # fmt: skip


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("replaced", [False, True], ids=["twice", "replaced"])
@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_odd_files_are_left_to_the_strict_reader(truth, tmp_path, odd, replaced, masks):
    """Every field is given twice, or a value of it that is not usual."""
    row = ROW | MASK if masks else ROW
    name = odd.split('"')[1]
    kept = {key: value for key, value in row.items() if not replaced or key != name}
    usual = json.dumps(ROW | MASK if masks else ROW)
    path = tmp_path / "results.json"
    path.write_text(f"[{usual}, {json.dumps(kept)[:-1]}, {odd}}}]", errors="surrogatepass")
    fast, strict = both(truth, path, masks)
    assert fast is None or same(fast, strict, masks)


def test_damaged_files_are_left_to_the_strict_reader(truth, tmp_path):
    path, rng = tmp_path / "results.json", random.Random(0)
    rows = [row | MASK for name in ("plain", "more") for row in USUAL[name]]
    whole, read = json.dumps(rows).encode(), 0
    for _ in range(500):
        content = bytearray(whole)
        for _ in range(rng.randint(0, 2)):
            place = rng.randrange(len(content))
            content[place : place + rng.randint(0, 2)] = rng.choices(b'0-.,:"[]{}e\xff \\', k=1)
        path.write_bytes(content)
        fast, strict = both(truth, path, masks=False)
        read += fast is not None
        assert fast is None or same(fast, strict, masks=False)
    assert read > 100


def test_numbers_are_read_to_the_last_bit(truth, tmp_path):
    rng = np.random.default_rng(0)
    values = (rng.random((2000, 5)) * 10.0 ** rng.integers(-12, 3, (2000, 5))).tolist()
    rows = [ROW | {"bbox": v[:4], "score": v[4]} for v in values]
    (tmp_path / "results.json").write_text(json.dumps(rows))
    fast, strict = both(truth, tmp_path / "results.json", masks=False)
    assert fast is not None
    assert same(fast, strict, masks=False)
