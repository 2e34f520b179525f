"""COCO annotations in columns are those that are read one by one."""

import json

import numpy as np
import pytest

from cvkit.data.formats import coco
from cvkit.data.formats.coco_columns import Columns

ROW = {"id": 5, "image_id": 7, "category_id": 3, "bbox": [1, 2.5, 10, 20], "area": 12.5}
ROWS = [
    ROW,
    ROW | {"id": 0, "image_id": 2**40, "iscrowd": 1, "bbox": [3, 0, 0, 5]},
    ROW | {"id": -3, "category_id": 0},
]
CHANGES = [
    {"id": 0}, {"id": 1.5}, {"id": "9"}, {"id": None}, {"id": 2**60}, {"image_id": 8},
    {"image_id": True}, {"image_id": [7]}, {"category_id": 9}, {"iscrowd": 2}, {"iscrowd": 1.0},
    {"iscrowd": True}, {"area": -1}, {"area": None}, {"area": "1"}, {"area": 10**400},
    {"area": True}, {"bbox": [1, 2, 3]}, {"bbox": [1, 2, 3, -4]}, {"bbox": [90, 2, 3, 4]},
    {"bbox": [1, -9, 3, 9]}, {"bbox": [1, 2, 3, True]}, {"bbox": [1, 2, 3, 10**400]},
    {"bbox": None}, {"bbox": "1234"}, {"segmentation": []}, {"segmentation": [[200, 2] * 3]},
    {"segmentation": None}, {"image_id": 7.0}, {"bbox": [-5, 2, 3000000000, 4]}, {"more": 1},
]  # fmt: skip


def read(folder, rows, masks):
    content = {
        "images": [
            {"id": id_, "file_name": f"{id_}.jpg", "width": 90, "height": 60} for id_ in (7, 2**40)
        ],
        "categories": [{"id": 3, "name": "dog"}, {"id": 0, "name": "cat"}],
        "annotations": rows,
    }
    (folder / "truth.json").write_text(json.dumps(content))
    return coco.read_coco(folder / "truth.json", folder, folder, masks=masks)


def told(found):
    """Return everything that is in annotations."""
    truths = [image.truth for image in found.images]
    columns = ("boxes", "labels", "areas", "crowd", "difficult", "xywh")
    arrays = [(getattr(t, c).tolist(), str(getattr(t, c).dtype)) for t in truths for c in columns]
    masks = [each.masks for each in truths]
    codes = [None if m is None else [m.size_hw, *m.codes.tolist()] for m in masks]
    return arrays, codes, [str(each) for each in found.defects], found.notes


@pytest.mark.parametrize("masks", [False, True])
def test_annotations_in_columns_are_those_that_are_read_one_by_one(tmp_path, monkeypatch, masks):
    polygon = {"segmentation": [[1, 2.5, 11, 2.5, 11, 22.5]]}
    rows = [row | polygon for row in ROWS]
    cases = [[], rows, rows[::-1]]
    cases += [[*rows[:1], rows[1] | change, rows[2]] for change in CHANGES]
    cases += [[{k: v for k, v in rows[0].items() if k != name}, *rows[1:]] for name in rows[0]]
    singly, used = coco.collect_singly, []
    fast = []
    for case in cases:
        with monkeypatch.context() as patched:
            patched.setattr(coco, "collect_singly", lambda *a: used.append(1) or singly(*a))
            found = told(read(tmp_path, case, masks))
        fast.append(not used)
        used.clear()
        with monkeypatch.context() as patched:
            patched.setattr(Columns, "objects", lambda *a: None)
            assert found == told(read(tmp_path, case, masks)), case
    assert fast[:3] == [True] * 3
    assert np.mean(fast) < 0.5
