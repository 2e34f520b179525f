"""Every flag of the commands on datasets does what it says."""

import contextlib
import io
import json
import shutil

import numpy as np
import pytest
from effect_parts import Row, require_effect
from PIL import Image
from test_tool_effects import fresh
from test_train_effects import without

from cvkit.commands import data_check, data_convert
from cvkit.data.synthetic.samples import write_detection
from cvkit.errors import CvkitError
from cvkit.options.data import DataCheck
from cvkit.options.data_convert import DataConvert
from cvkit.tasks.detect.task import Detect


def checked(at, **more):
    """What a check of a dataset for detection finds, or the message with which it is refused."""
    base = {"data": at.data(), "task": "detect", "quiet": True, "json": True}
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            data_check.check_data(DataCheck(**base | more))
        said = json.loads(out.getvalue())
    except CvkitError as error:
        if not error.content:
            return str(error)
        said = error.content
    return [said["data"], said["truth"], said["layout"], said["splits"], said["findings"]]


def found(at, **more):
    said = checked(at, **more)
    return said if isinstance(said, str) else said[-1]


def forward_sizes(at, **more):
    """The numbers of images that the model gets at a time."""
    seen, judge = [], Detect.predict

    def predict(task, network, batch):
        seen.append(len(batch))
        return judge(task, network, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Detect, "predict", predict)
        checked(at, **more)
    return seen


def scenes(at):
    """Three scenes for each split, as the built-in model knows them."""

    def make(path):
        write_detection(path, {"train": 3, "val": 3}, 5, (128, 128))
        return path

    return at.once("scenes", make)


def pictures(at, change):
    """A dataset of masks in which something is changed."""
    root = fresh(at, "masks")
    for split, shade in (("train", 0), ("val", 90)):
        for number in range(2):
            for folder, mode in (("images", "RGB"), ("masks", "L")):
                place = root / folder / split
                place.mkdir(parents=True, exist_ok=True)
                values = np.random.default_rng(shade + number).integers(256, size=(8, 9))
                image = Image.fromarray(values.astype(np.uint8)).resize((72, 64)).convert(mode)
                if mode == "L":
                    image = image.point(lambda value: value % 2)
                image.save(place / f"{number}.png")
    change(root)
    return root


def spoilt(root):
    """Give a mask other values."""
    path = root / "masks" / "train" / "0.png"
    with Image.open(path) as mask:
        mask.point(lambda value: 7 * value).save(path)
    (root / "classes.txt").write_text("a\nb\n")


def alike(root):
    """Make an image of the validation split nearly equal to one for training."""
    with Image.open(root / "images" / "train" / "0.png") as image:
        image.point(lambda value: max(0, value - 1)).save(root / "images" / "val" / "0.png")


def apart(at):
    """A COCO file beside which its images do not lie, and their folder."""

    def make(path):
        shutil.copytree(at.data(), path)
        path.rename(path.with_name("elsewhere"))
        path.mkdir()
        file = next(path.with_name("elsewhere").glob("annotations/*val*.json"))
        shutil.move(file, path / "annotations.json")
        return path / "annotations.json"

    return at.once("apart", make)


def twice(at):
    """A dataset with the same image in both splits, one class of which has no object."""

    def make(path):
        shutil.copytree(at.data(), path)
        file = path / "annotations" / "instances_val.json"
        content = json.loads(file.read_text())
        source = next((path / "images" / "train").iterdir())
        for row in content["images"]:
            shutil.copy(source, next(path.rglob(row["file_name"])))
        for annotation in content["annotations"]:
            annotation["bbox"][2] = -1
        file.write_text(json.dumps(content))
        return path

    return at.once("twice", make)


def listed(at, **more):
    """The file of keys, and whether the check went through."""
    said = checked(at, data=twice(at), **more)
    path = more.get("fix_list")
    return [str(path), path and path.read_text(), "exists" in said]


def there(at):
    path = fresh(at, "there.txt")
    path.write_text("old\n")
    return path


def printed_lines(at, **more):
    """The number of lines of the output for people."""
    out = io.StringIO()
    options = DataCheck(data=many(at), task="classify", quiet=True, **more)
    with contextlib.redirect_stdout(out), contextlib.suppress(CvkitError):
        data_check.check_data(options)
    return len(out.getvalue().splitlines())


def many(at):
    """A dataset with more than five files that are no images."""

    def make(path):
        for name in "ab":
            (path / name).mkdir(parents=True)
            for number in range(4):
                (path / name / f"{number}.png").write_text("no image")
        return path

    return at.once("many", make)


def converted(at, **more):
    """The files of a conversion, their links, and what is said about it, or the refusal."""
    out = fresh(at, "converted")
    base = {"data": at.data(), "task": "detect", "to": "coco", "quiet": True, "json": True}
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            data_convert.convert_data(DataConvert(**{"out": out} | base | more))
    except CvkitError as error:
        return str(error)
    out = more.get("out", out)
    files = {path: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
    links = {path.stat().st_nlink for path in files}
    content = json.loads(said.getvalue())
    shown = [content["task"], content["from"], content["splits"], content["lost"]]
    names = [str(path.relative_to(out)) for path in files]
    return [out.name, names, [*files.values()], links, shown]


def with_crowd(at):
    """A dataset with a region of many objects, which YOLO cannot hold."""

    def make(path):
        shutil.copytree(at.data(), path)
        file = path / "annotations" / "instances_val.json"
        content = json.loads(file.read_text())
        content["annotations"][0]["iscrowd"] = 1
        file.write_text(json.dumps(content))
        return path

    return at.once("crowd", make)


def first_of_val(at):
    """A file with the key of one image."""
    path = fresh(at, "excluded.txt")
    first = min((at.data() / "images" / "val").iterdir())
    path.write_text(f"{first.relative_to(at.data())}\n")
    return path


MASKS = {"data": lambda at: pictures(at, spoilt), "task": "segment"}
NOISE = {"data": scenes, "weights": "boxes", "confidence": 0.1}
ROWS = {
    ("data", "check"): [
        Row("data", (lambda at: at.data(), twice), checked),
        Row("task", ("detect", "instance"), checked),  # None: tests/data/test_task_of_data.py
        Row("format", ("auto", "voc"), checked),
        Row("split", ([], ["val"], ["train"]), checked),
        Row(
            "images",
            (None, lambda at: apart(at).parent.with_name("elsewhere")),
            found,
            base={"data": apart},
        ),
        Row("exclude", (None, without(0), without(1)), checked, base={"data": twice}),
        Row("mask_map", (None, "7=1"), found, base=MASKS),
        Row("ignore_index", (255, 7), found, base=MASKS),
        Row(
            "near",
            (-1, 3),
            found,
            base={"data": lambda at: pictures(at, alike), "task": "segment"},
        ),
        Row("weights", (None, "boxes"), found, base={"data": scenes, "confidence": 0.9}),
        Row("confidence", (0.1, 0.8), found, base=NOISE),
        Row("device", ("cpu", "cuda:99"), found, base=NOISE),
        Row("batch_size", (None, 1, 2), forward_sizes, base=NOISE),
        Row("select", (None, "bbox", "leak"), found, base={"data": twice}),
        Row("ignore", (None, "bbox", "leak.same_file"), found, base={"data": twice}),
        Row("all", (False, True), printed_lines),
        Row(
            "fix_list",
            (None, lambda at: fresh(at, "a.txt"), lambda at: fresh(at, "b.txt")),
            listed,
        ),
        Row("overwrite", (False, True), listed, base={"fix_list": there}),
    ],
}
ROWS[("data", "convert")] = [
    Row("data", (lambda at: at.data(), with_crowd), converted),
    Row("to", ("coco", "voc", "yolo", "labelme"), converted),
    Row("out", (lambda at: fresh(at, "one"), lambda at: fresh(at, "two")), converted),
    Row("task", ("detect", "instance", None), converted),
    Row("format", ("auto", "voc"), converted),
    Row("split", ([], ["val"], ["train"]), converted),
    Row(
        "images",
        (None, lambda at: apart(at).parent.with_name("elsewhere")),
        converted,
        base={"data": apart},
    ),
    Row("mask_map", (None, "7=1"), converted, base=MASKS | {"to": "pairs"}),
    Row("ignore_index", (255, 7), converted, base=MASKS | {"to": "pairs"}),
    Row("exclude", (None, first_of_val), converted),
    Row("lossless", (False, True), converted, base={"data": with_crowd, "to": "yolo"}),
    Row("link", (False, True), converted),
]
PAIRS = [(path, row) for path, rows in ROWS.items() for row in rows]


@pytest.mark.parametrize(
    ("path", "row"), PAIRS, ids=[f"{'-'.join(path)}-{row.flag}" for path, row in PAIRS]
)
def test_a_command_on_data_does_what_its_flag_says(places, path, row):
    at = places("detect")

    def made(value):
        return value(at) if callable(value) else value

    base = {name: made(value) for name, value in row.base.items()}
    results = [row.measure(at, **base | {row.flag: made(value)}) for value in row.values]
    require_effect(row, results)
