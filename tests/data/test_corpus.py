"""Every reader over tiny datasets: what they contain, and what is said of spoilt ones."""

from pathlib import Path

import numpy as np
import pytest
from corpus import CASES
from parquet_writing import INSTALLED

from cvkit.data.boxes import read_boxes
from cvkit.data.classified import read_collection
from cvkit.data.datasets import read_pair
from cvkit.data.formats.recognise import detect_format
from cvkit.data.labelled import mask_classes, read_pairs
from cvkit.data.masks import MaskReader
from cvkit.data.pages import file_of
from cvkit.errors import CvkitError, raise_defects
from cvkit.format_table import FORMATS
from cvkit.ops.rle import mask_areas
from cvkit.structures import IGNORE

LONGEST = 400
"""Number of characters of a message, without its paths."""


def rows_of(mask):
    digits = {IGNORE: "."}
    return ["".join(digits.get(v, str(v)) for v in row) for row in mask.tolist()]


def objects(image, names):
    truth = image.truth
    rows = [
        (names[label - 1], *np.round(box, 3).tolist())
        for label, box in zip(truth.labels.tolist(), truth.boxes, strict=True)
    ]
    if truth.masks is None:
        return rows
    return [(*r, a) for r, a in zip(rows, mask_areas(truth.masks).tolist(), strict=True)]


def read_masks(root, splits):
    parts = read_pairs(root, detect_format("masks", root), splits)
    masks = [pair.mask for pairs in parts.splits.values() for pair in pairs]
    classes, colors = mask_classes(root, masks)
    reader = MaskReader(len(classes), colors)
    found = {
        split: {pair.key: rows_of(read_pair(pair, reader)[1]) for pair in pairs}
        for split, pairs in parts.splits.items()
    }
    return classes.names, found, parts.notes


def read(truth, root, splits):
    """Return the classes and the content of splits, and the notes about them."""
    if truth == "masks":
        return read_masks(root, splits)
    if truth == "classes":
        data = read_collection(root, "auto", splits, None)
        found = {s: {i.key: i.label for i in images} for s, images in data.splits.items()}
        return data.names, found, data.notes
    data = read_boxes(root, "auto", splits, masks=truth == "instances")
    raise_defects(data.defects, str(root))
    names = data.classes.names
    found = {s: {i.key: objects(i, names) for i in images} for s, images in data.splits.items()}
    return names, found, data.notes


def test_every_format_is_in_the_corpus():
    listed = {(truth, name) for truth, rows in FORMATS.items() for name in rows}
    if not INSTALLED:
        listed = {(truth, name) for truth, name in listed if name != "parquet"}
    assert {(case.truth, case.format) for case in CASES.values()} == listed


@pytest.mark.parametrize("name", CASES)
def test_a_dataset_is_recognised_and_read(name, tmp_path):
    case = CASES[name]
    case.write(tmp_path)
    assert detect_format(case.truth, tmp_path) == case.format
    classes, found, _ = read(case.truth, tmp_path, list(case.splits))
    assert (classes, found) == (case.classes, case.splits)


KINDS = {
    "json": ("[1]", "3", '"x"'),
    "xml": ("<a/>",),
}
"""What else may stand in place of a file, by its suffix."""


def texts_of(case):
    """Return the text files of a dataset."""
    return [name for name in case.files if not name.endswith((".png", ".tif", ".mat"))]


def spoil_all():
    """Yield the names of a case, of a file, and of what is done to it."""
    for name, case in CASES.items():
        for file in texts_of(case):
            if file in case.harmless:
                continue
            for kind in ("cut", "empty", "bytes", *KINDS.get(file.rsplit(".", 1)[1], ())):
                yield name, file, kind
        for kind, (file, _, _) in case.spoil.items():
            yield name, file, kind


def spoil(case, root, file, kind):
    place, content = root / file, case.files[file]
    if kind == "empty":
        place.write_bytes(b"")
    elif kind == "bytes":
        place.write_bytes(b"\xff\xfe\x00" * 9)
    elif kind in KINDS.get(file.rsplit(".", 1)[1], ()):
        place.write_text(kind)
    elif isinstance(content, bytes):
        _, old, new = case.spoil.get(kind, ("", content, content[: 2 * len(content) // 3]))
        assert old == content != new
        place.write_bytes(new)
    elif kind == "cut":
        place.write_text(content[: 2 * len(content) // 3].rstrip("\n") + "\0")
    else:
        _, old, new = case.spoil[kind]
        assert old in content
        place.write_text(content.replace(old, new))


def refused(case, root):
    """Return the error about a dataset, all of whose splits are read."""
    with pytest.raises(CvkitError) as caught:
        read(case.truth, root, list(case.splits))
    return caught.value


def assert_said(error, root, file):
    """Check that an error is in one line per defect, and names the file."""
    lines = [*map(str, error.args), error.hint, *error.details]
    for line in lines:
        assert "\n" not in line and line.isprintable(), line
        assert len(line.replace(str(root), "")) < LONGEST, line
    name = Path(file).name
    assert (name if len(name) < 6 else Path(file).stem) in " ".join(lines)


@pytest.mark.parametrize(("name", "file", "kind"), list(spoil_all()))
def test_a_spoilt_file_is_named(name, file, kind, tmp_path):
    case = CASES[name]
    case.write(tmp_path)
    spoil(case, tmp_path, file, kind)
    error = refused(case, tmp_path)
    if file == case.sign and kind in ("empty", "bytes"):
        assert error.code == "data.layout"
    else:
        assert_said(error, tmp_path, file)


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if c.truth != "classes"])
def test_a_missing_image_is_named(name, tmp_path):
    case = CASES[name]
    case.write(tmp_path)
    for images in case.splits.values():
        for key in images:
            file_of(tmp_path / key).unlink(missing_ok=True)
    try:
        read(case.truth, tmp_path, list(case.splits))
    except CvkitError as error:
        assert_said(error, tmp_path, "")
