"""Files that nobody should have written end a command with exit code 2 and words that help.

The commands score files, so nothing starts behind a refusal that is missing.

What the readers make of any content is in data/test_hostile.py; here are the files that once
ended in a crash, a traceback or gigabytes, through the command line.
"""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

HUGE = 10**9
LONG = "9" * 400
BOX = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 3, 3]}


def coco(image=None, annotation=None, category=None, **more):
    size = {"width": 8, "height": 6}
    content = {
        "images": [{"id": 1, "file_name": "a.png"} | size | (image or {})],
        "annotations": [BOX | (annotation or {})],
        "categories": [{"id": 1, "name": "cat"} | (category or {})],
    }
    return json.dumps(content | more)


def xml(body, encoding="utf-8"):
    return f'<?xml version="1.0" encoding="{encoding}"?><annotation>{body}</annotation>'


def voc_object(**sides):
    sides = {"xmin": 1, "ymin": 1, "xmax": 3, "ymax": 3} | sides
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in sides.items())
    return f"<object><name>cat</name><bndbox>{inner}</bndbox></object>"


SIZED = f"<size><width>{HUGE}</width><height>{HUGE}</height></size>"
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
RLE = {"size": [HUGE, HUGE], "counts": "0" * 9}
SCORE = ("--json", "--no-files", "--split", "train", "--predictions")
DETECT = ("detect", "eval", *SCORE, "{root}/r.json", "--truth", "{root}")
INSTANCE = ("instance", *DETECT[1:])
TABLE = ("classify", "eval", *SCORE, "{root}/r.csv", "--truth", "{root}")
CONFIG = ("segment", "train", "--json", "--data", "/nowhere", "--config", "{root}/c.yaml")

CASES = {
    "image of an exapixel": (
        *(DETECT, "train.json", coco(image={"width": HUGE, "height": HUGE})),
        ["images[0]", f"{HUGE}x{HUGE}", "1000 megapixels"],
    ),
    "masked image of an exapixel": (
        *(INSTANCE, "train.json"),
        coco({"width": HUGE, "height": HUGE}, {"segmentation": [[0, 0, HUGE, 0, HUGE, HUGE]]}),
        ["images[0]", f"{HUGE}x{HUGE}", "1000 megapixels"],
    ),
    "mask of an exapixel": (
        *(DETECT, "train.json"),
        coco(annotations=[{"id": 1, "image_id": 1, "category_id": 1, "segmentation": RLE}]),
        ["annotations[0] (id 1)", "size of its mask", "1000 megapixels"],
    ),
    "corner at the end of the world": (
        *(INSTANCE, "train.json"),
        coco(annotation={"segmentation": [[0, 0, 1e300, 0, 1e300, 4]]}),
        ["annotations[0]", "polygon 0", "outside"],
    ),
    "runs of 400 digits": (
        *(INSTANCE, "train.json"),
        coco(annotation={"segmentation": {"size": [6, 8], "counts": [10**400]}}),
        ["annotations[0]", "over 1000000000 pixels, not 48"],
    ),
    "negative runs": (
        *(INSTANCE, "train.json"),
        coco(annotation={"segmentation": {"size": [6, 8], "counts": [-2, 50]}}),
        ["annotations[0]", "whole numbers of at least 0"],
    ),
    "an id that is a list": (
        *(DETECT, "train.json", coco(annotation={"image_id": [1]})),
        ["annotations[0] (id 1)", "no image [1]"],
    ),
    "an id that is true": (
        *(DETECT, "train.json", coco(annotation={"category_id": True})),
        ["annotations[0] (id 1)", "no category True"],
    ),
    "a category id without end": (
        *(DETECT, "train.json", coco().replace('{"id": 1, "name"', '{"id": 1e999, "name"')),
        ["categories[0]", "id inf"],
    ),
    "an id of 400 digits": (
        *(DETECT, "train.json", coco(image={"id": 10**400})),
        ["images[0]", "is not a whole number"],
    ),
    "an area in words": (
        *(DETECT, "train.json", coco(annotation={"area": "large"})),
        ["annotations[0] (id 1)", "area 'large'"],
    ),
    "an area without end": (
        *(DETECT, "train.json", coco(annotation={"area": 7}).replace('"area": 7', '"area": 1e999')),
        ["annotations[0] (id 1)", "area inf"],
    ),
    "NaN in JSON": (
        *(DETECT, "train.json", coco().replace("[1, 1, 3, 3]", "[NaN, 1, 3, 3]")),
        ["train.json", "NaN is not JSON"],
    ),
    "an integer of 9000 digits": (
        *(DETECT, "train.json", coco().replace("[1, 1, 3, 3]", f"[{'9' * 9000}, 1, 3, 3]")),
        ["train.json", "digits"],
    ),
    "deep JSON": (DETECT, "train.json", "[" * 100_000, ["train.json", "nested too deeply"]),
    "JSON in Latin-1": (DETECT, "train.json", b'{"a": "\xe9"}', ["train.json:1", "UTF-8", "0xe9"]),
    "a name that leaves": (
        *(DETECT, "train.json", coco(image={"file_name": "/etc/passwd"})),
        ["'/etc/passwd' leaves the dataset folder"],
    ),
    "a name of Windows that leaves": (
        *(DETECT, "train.json", coco(image={"file_name": "C:\\x.png"})),
        ["leaves the dataset folder"],
    ),
    "a name of 3000 letters": (
        *(DETECT, "train.json", coco(image={"file_name": "x" * 3000})),
        ["too long for a file name"],
    ),
    "VOC of an exapixel": (DETECT, "Annotations/a.xml", xml(SIZED), ["a.xml", "1000 megapixels"]),
    "VOC without end": (
        *(DETECT, "Annotations/a.xml", xml(voc_object(xmax="inf"))),
        ["a.xml: cat", "not finite"],
    ),
    "VOC that is no number": (
        *(DETECT, "Annotations/a.xml", xml(voc_object(ymin="nan"))),
        ["a.xml: cat", "not finite"],
    ),
    "VOC of 400 digits": (
        *(DETECT, "Annotations/a.xml", xml(voc_object(xmax=LONG))),
        ["a.xml: cat", "not finite"],
    ),
    "VOC in an unknown encoding": (
        *(DETECT, "Annotations/a.xml", xml("", "klingon")),
        ["a.xml", "klingon"],
    ),
    "a VOC list in Latin-1": (
        *(DETECT, "ImageSets/Main/train.txt", b"caf\xe9\n"),
        ["train.txt:1", "UTF-8"],
    ),
    "YAML that swells": (
        DETECT,
        "data.yaml",
        f"names: [cat]\n{LAUGHS}",
        ["data.yaml:3", "aliases"],
    ),
    "YAML in Latin-1": (DETECT, "data.yaml", b"names: [caf\xe9]\n", ["data.yaml:1", "UTF-8"]),
    "classes numbered and named": (
        *(DETECT, "data.yaml", "train: images\nnames: {0: cat, dog: 1}\n"),
        ["data.yaml", "names must be a list"],
    ),
    "a class named no": (
        *(DETECT, "data.yaml", "train: images\nval: images\nnames: [yes, no]\n"),
        ["data.yaml", "class 0, True", "quotes"],
    ),
    "a class of 400 digits": (
        DETECT,
        "labels/a.txt",
        f"{LONG} 0.5 0.5 0.1 0.1",
        ["a.txt:1", "class"],
    ),
    "labels in Latin-1": (DETECT, "labels/a.txt", b"0 0.5\n\xe9", ["a.txt:2", "UTF-8"]),
    "a polygon with a corner nowhere": (
        *(DETECT, "labels/a.txt", "0 0.1 0.1 nan 0.5 0.5 0.5"),
        ["a.txt:1", "leaves the image"],
    ),
    "a table with a NUL": (
        TABLE,
        "labels.csv",
        "path,label\na.png,c\0t\n",
        ["labels.csv:2", "NUL"],
    ),
    "a table in Latin-1": (
        TABLE,
        "labels.csv",
        b"path,label\na.png,\xe9\n",
        ["labels.csv:2", "UTF-8"],
    ),
    "a cell of 200000 letters": (
        *(TABLE, "labels.csv", f"path,label\na.png,{'x' * 200_000}\n"),
        ["labels.csv:2", "field larger than"],
    ),
    "an open quote": (TABLE, "labels.csv", 'path,label\na.png,"cat\n', ["labels.csv:2", "CSV"]),
    "a column twice": (
        TABLE,
        "labels.csv",
        "path,label,label\na.png,a,b\n",
        ["two columns 'label'"],
    ),
    "configuration that swells": (CONFIG, "c.yaml", LAUGHS, ["c.yaml:2", "aliases"]),
    "configuration with a date": (
        CONFIG,
        "c.yaml",
        "epochs: 2024-01-01",
        ["epochs", "'2024-01-01'"],
    ),
    "configuration with a tag": (
        *(CONFIG, "c.yaml", "data: !!python/object/apply:os.system [x]"),
        ["c.yaml:1", "tag"],
    ),
    "configuration of 400 digits": (
        CONFIG,
        "c.yaml",
        f"a: 1\nseed: {LONG}",
        ["c.yaml:2", "64 bits"],
    ),
    "configuration with a key twice": (
        CONFIG,
        "c.yaml",
        "seed: 1\nseed: 2",
        ["c.yaml:2", "'seed'"],
    ),
    "configuration with a key that is no text": (CONFIG, "c.yaml", "1.5: 2", ["c.yaml:1", "'1.5'"]),
    "configuration in depth": (CONFIG, "c.yaml", "a: " + "[" * 99, ["c.yaml:1", "levels"]),
    "configuration in Latin-1": (CONFIG, "c.yaml", b"seed: 1\ndata: \xe9", ["c.yaml:2", "UTF-8"]),
    "configuration that is no number": (CONFIG, "c.yaml", "lr: .nan", ["lr", "nan"]),
}
"""Command, file, its content, and words of the message."""


@pytest.fixture
def dataset(tmp_path):
    """What all layouts need besides the file of a case."""

    def make(name):
        for place in ("images", "JPEGImages", str(Path(name).parent)):
            (tmp_path / place).mkdir(parents=True, exist_ok=True)
            for stem in ("a", "caf"):
                Image.new("RGB", (8, 6)).save(tmp_path / place / f"{stem}.png")
        if name.startswith(("Annotations", "ImageSets")):
            (tmp_path / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
            (tmp_path / "classes.txt").write_text("cat\n")
            for split in ("train", "val"):
                (tmp_path / "ImageSets" / "Main" / f"{split}.txt").write_text("a\n")
        if name.startswith("labels/"):
            text = "train: images\nval: images\nnames: [cat]\n"
            (tmp_path / "data.yaml").write_text(text)
        if name == "train.json":
            (tmp_path / "val.json").write_text(coco())
        return tmp_path

    return make


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.replace(" ", "-"))
def test_a_hostile_file_is_refused_in_words(cvkit, dataset, case):
    command, name, content, words = CASES[case]
    root = dataset(name)
    (root / name).write_bytes(content.encode() if isinstance(content, str) else content)
    (root / "r.json").write_text("[]")
    (root / "r.csv").write_text("path,cat,dog\na.png,1,0\n")
    done = cvkit(*(word.format(root=root) for word in command))
    assert done.code == 2, done.err
    message = done.err  # with what to do about it
    for word in words:
        assert word in message, message
    assert len(done.err) < 5000


def test_a_bad_category_does_not_hide_what_else_is_wrong(cvkit, dataset):
    root = dataset("train.json")
    content = json.loads(coco(image={"width": "8"}, annotation={"bbox": [1, 1, "3", 3]}))
    content["categories"].append({"id": "x", "name": "dog"})
    content["annotations"].append(BOX | {"id": 2, "category_id": 5})  # may be the broken one
    content["images"].append({"id": 2, "file_name": "../b.png"})
    (root / "train.json").write_text(json.dumps(content))
    (root / "r.json").write_text("[]")
    done = cvkit(*(word.format(root=root) for word in DETECT))
    assert done.code == 2
    message = done.json["error"]["message"]
    assert "has 4 defects" in message
    for words in ("categories[1]: id 'x'", "images[0]: width", "'../b.png'", "bbox [1, 1, '3', 3]"):
        assert message.count(words) == 1, message


def test_all_rows_of_results_that_cannot_be_used_are_listed(cvkit, dataset):
    root = dataset("train.json")
    row = {"image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2], "score": 0.5}
    rows = [row, row | {"image_id": True}, row | {"score": "high"}, row | {"bbox": [1, 2]}, 5]
    (root / "r.json").write_text(json.dumps(rows))
    flags = ("--truth", root / "val.json", "--json", "--no-files")
    done = cvkit("detect", "eval", "--predictions", root / "r.json", *flags)
    assert done.code == 2
    message = done.json["error"]["message"]
    assert "has 4 defects" in message
    for words in ("[1]: image_id True", "[2]: score 'high'", "[3]: bbox [1, 2]", "[4] is not"):
        assert words in message
    rows = [row, row | {"image_id": 8}, row | {"category_id": 9}, row | {"bbox": [0, 0, -1, 1]}]
    (root / "r.json").write_text(json.dumps(rows))
    done = cvkit("detect", "eval", "--predictions", root / "r.json", *flags)
    message = done.json["error"]["message"]
    assert done.code == 2 and "has 3 defects" in message
    for words in ("[1]: image 8", "[2]: category 9", "[3]: box 0, 0, -1, 1 (x, y,"):
        assert words in message


def test_proposals_that_claim_more_than_they_hold_are_refused(tmp_path):
    from cvkit.data.proposals import read_proposals
    from cvkit.errors import DataError

    path = tmp_path / "p.npz"
    np.savez(path, keys=np.array(["a"]), boxes=np.ones((1, 4)), offsets=np.array([0, 1]))
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    parts["boxes.npy"] = parts["boxes.npy"].replace(b"(1, 4)", b"(1000000000000, 4)", 1)
    with zipfile.ZipFile(path, "w") as file:
        for name, content in parts.items():
            file.writestr(name, content)
    with pytest.raises(DataError, match="malformed"):
        read_proposals(path)
