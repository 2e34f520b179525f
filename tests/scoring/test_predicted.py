"""What predict writes scores what eval says, whatever the truth's ids, classes and pixels are."""

import json
import shutil
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from cvkit.catalog import TASKS
from cvkit.cli import run
from cvkit.data.synthetic.samples import CATEGORY_IDS, WRITERS
from cvkit.model_files import read_header
from cvkit.ops.rle import decode, encode, index_map, make_masks

ROOT = Path(__file__).parents[2]
MODELS = {name: ROOT / "weights" / f"{model}.safetensors" for name, model in (
    *(("classify", "shapes"), ("segment", "scenes"), ("detect", "boxes")),
    *(("instance", "masks"), ("video", "motions")),
)}  # fmt: skip
"""The small models that come with cvkit and know the built-in samples."""
BOXES = ("detect", "instance")
IDS = tuple(CATEGORY_IDS.values())
SWAPPED = dict(zip(IDS, IDS[::-1], strict=True))
"""The ids of the classes, counted the other way round."""
FOLDERS = ("classify", "video")
FULL = {task: ["--top-k", "7"] for task in FOLDERS}
"""Flags with which predict writes all scores."""


def truth_file(root):
    return root / "annotations" / "instances_val.json"


def turn(path):
    """Save an image as a camera held upright does: turned, with an EXIF note of it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(np.asarray(Image.open(path))).copy()).save(path, exif=exif)


def as_stored(row, upright_wh):
    """Turn an annotation to the pixels that `turn` stores."""
    width, height = upright_wh
    x, y, w, h = row["bbox"]
    row["bbox"] = [y, width - x - w, h, w]
    code = row["segmentation"]["counts"].encode()
    mask = np.rot90(decode(make_masks([code], (height, width)))[0])
    row["segmentation"] = {"size": [width, height], "counts": encode(mask[None]).codes[0].decode()}


def images_of(root, task):
    found = [*root.rglob("*.png"), *root.rglob("*.mp4")]
    return sorted(path for path in found if "masks" not in path.parts)


def write_data(task, root):
    """Write samples that are not square; the second is turned, the last one cannot be read."""
    count = {"video": 14, "classify": 12}.get(task, 4)
    WRITERS[task](root, {"val": count}, 11, (64, 64) if task == "video" else (96, 128))
    paths = images_of(root, task)
    paths[-1].write_bytes(b"nothing")
    if task == "video":
        return
    turn(paths[1])
    if task in BOXES:
        content = json.loads(truth_file(root).read_text())
        picture = next(row for row in content["images"] if row["file_name"] == paths[1].name)
        picture |= {"width": 96, "height": 128}
        for row in content["annotations"]:
            if row["image_id"] == picture["id"]:
                as_stored(row, (128, 96))
        truth_file(root).write_text(json.dumps(content))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return for a task, made once: a dataset, the output folder of predict, and eval's report."""

    @cache
    def make(task):
        root, out = tmp_path_factory.mktemp(task), tmp_path_factory.mktemp("out")
        write_data(task, root)
        flags = ["--weights", MODELS[task], "--workers", "0", "--quiet", "--out"]
        place = root if task in FOLDERS else root / "images"
        predict = [task, "predict", place, *flags, out / "here", *FULL.get(task, [])]
        assert run([str(flag) for flag in predict]) == 3
        code = run([str(flag) for flag in (task, "eval", "--data", root, *flags, out)])
        report = json.loads((out / f"{task}-eval-001" / "report.json").read_text())
        return root, out / "here", SimpleNamespace(code=code, json=report)

    return make


@pytest.fixture(params=TASKS)
def task(request):
    return request.param


@pytest.fixture
def data(task, made):
    return made(task)[0]


@pytest.fixture
def predictions(task, made):
    return made(task)[1]


@pytest.fixture
def live(task, made):
    """What eval says of the model."""
    return made(task)[2]


def measure(cvkit, task, data, *more):
    flags = ["--data", data, "--workers", "0", "--no-files", "--json", *more]
    return cvkit(task, "eval", "--weights", MODELS[task], *flags)


def score(cvkit, task, predictions, truth, *more):
    flags = ["--predictions", predictions, "--truth", truth, "--no-files", "--json", *more]
    return cvkit(task, "eval", *flags)


BEST = {"classify": "top1", "segment": "miou", "detect": "AP", "video": "video_top1"}


def best(task, content):
    """Return the number that says how good a model is."""
    metrics = content["metrics"]
    return metrics["mask"]["AP"] if task == "instance" else metrics[BEST[task]]


def numbers(task, content):
    """Return the metrics of a report, without what files cannot tell."""
    kept = dict(content["metrics"])
    if task == "video":
        del kept["clip_top1"]
    # Scores are written with the digits of float32 and read as float64.
    return kept if task in BOXES else pytest.approx(kept, rel=1e-6)


def rounded(values):
    """Return metrics, nested or not, to 12 digits."""
    if isinstance(values, dict):
        return {name: rounded(value) for name, value in values.items()}
    return None if values is None else round(values, 12)


def assert_same(task, found, live):
    assert found.code == live.code == 3, found.err
    for name in ("evaluated", "failed"):
        assert found.json["counts"][name] == live.json["counts"][name]
    own = {name: found.json["metrics"][name] for name in live.json["metrics"]}
    own.pop("clip_top1", None)
    assert own == numbers(task, live.json)
    assert best(task, live.json) > 0.4


def test_files_score_what_the_model_scores(cvkit, task, data, live, predictions):
    found = score(cvkit, task, predictions, data)
    assert_same(task, found, live)
    assert found.json["per_class"] == live.json["per_class"]
    assert found.json["counts"]["failed"] == 1
    failures = [content.json["failures"][0] for content in (live, found)]
    assert failures[0]["code"] == failures[1]["code"]
    assert Path(failures[0]["path"]).stem == Path(failures[1]["path"]).stem
    assert "no prediction" not in failures[1]["reason"]
    about, header = (
        json.loads((predictions / "predict.json").read_text()),
        read_header(MODELS[task]),
    )
    assert about["classes"] == header["classes"]
    assert about["labels"] == header.get("labels", {})


def test_every_number_says_by_what_rule_from_what_and_how_it_was_made(
    cvkit, task, data, live, predictions
):
    about = json.loads((predictions / "predict.json").read_text())
    files = score(cvkit, task, predictions, data).json
    assert (files["precision"], files["engine"]) == (None, "files")
    assert files["made_by"] == {name: about[name] for name in ("model", "precision", "engine")}
    for content, made in ((live.json, live.json), (files, about)):
        assert made["precision"] and made["engine"]
        names = [
            f"{name}.{each}" if isinstance(value, dict) else name
            for name, value in content["metrics"].items()
            for each in (value if isinstance(value, dict) else [name])
        ]
        assert list(content["numbers"]) == names
        counts = content["counts"]
        total = counts["evaluated"] + 1
        for name, number in content["numbers"].items():
            group, _, rest = name.rpartition(".")
            values, rules = content["metrics"], content["rules"]
            if group:
                values, rules = values[group], rules[group]
            assert number == {
                "value": values[rest],
                "rule": rules[rest],
                "evaluated": counts["evaluated"],
                "of": total,
                "precision": made["precision"],
                "engine": made["engine"],
            }
            assert isinstance(number["rule"], str)
        noun = "videos" if task == "video" else "images"
        text = f"evaluated {counts['evaluated']} of {total} {noun}, 1 unreadable"
        assert content["evaluated"] == text
    printed = cvkit(task, "eval", "--predictions", predictions, "--truth", data, "--no-files").out
    for line in (
        text,
        f"precision        {about['precision']}",
        f"engine           {about['engine']}",
    ):
        assert line in printed


def edited_classes(root, edit):
    """Change the categories of a COCO file, or the class list of any other dataset."""
    if truth_file(root).is_file():
        content = json.loads(truth_file(root).read_text())
        content["categories"] = edit(content["categories"])
        truth_file(root).write_text(json.dumps(content))
        return
    listed = root / "classes.txt"
    if listed.is_file():
        lines = listed.read_text().splitlines()
    else:
        lines = sorted(path.name for path in (root / "val").iterdir())
    listed.write_text("\n".join(edit(lines)) + "\n")


def reorder(task, root):
    """Give classes other ids: the same things, counted the other way round."""
    if task in BOXES:
        content = json.loads(truth_file(root).read_text())
        for row in content["categories"]:
            row["id"] = SWAPPED[row["id"]]
        for row in content["annotations"]:
            row["category_id"] = SWAPPED[row["category_id"]]
        truth_file(root).write_text(json.dumps(content))
        return
    edited_classes(root, lambda lines: lines[::-1])
    if task == "segment":
        for path in (root / "masks").rglob("*.png"):
            Image.fromarray(5 - np.asarray(Image.open(path))).save(path)


def add_class(task, root):
    """Let the truth list a class that the model does not know."""
    new = {"id": 77, "name": "hexagon"} if task in BOXES else "hexagon"
    edited_classes(root, lambda rows: [*rows, new])


def drop_class(task, root):
    """Take a class out of the truth, with everything that is of it."""
    if task in FOLDERS:
        shutil.rmtree(root / "val" / DROPPED[task])
        return
    edited_classes(root, lambda rows: rows[:-1])
    if task in BOXES:
        content = json.loads(truth_file(root).read_text())
        last = CATEGORY_IDS["ring"]
        content["annotations"] = [a for a in content["annotations"] if a["category_id"] != last]
        truth_file(root).write_text(json.dumps(content))
        return
    for path in (root / "masks").rglob("*.png"):
        mask = np.array(Image.open(path))
        mask[mask == 5] = 0
        Image.fromarray(mask).save(path)


DROPPED = {"classify": "star", "video": "up"}


def copy_of(data, tmp_path):
    return Path(shutil.copytree(data, tmp_path / "copy"))


def test_classes_are_joined_by_name(cvkit, task, data, live, predictions, tmp_path):
    """Other ids of the same classes are the same numbers, wherever eval takes the ids at all."""
    other = copy_of(data, tmp_path)
    reorder(task, other)
    found = score(cvkit, task, predictions, other)
    assert_same(task, found, live)
    for name, row in live.json["per_class"].items():
        assert found.json["per_class"][name] == row
    again = measure(cvkit, task, other)
    assert again.code == (3 if task in BOXES else 2)
    if task in BOXES:
        assert again.json["metrics"] == found.json["metrics"]
    else:
        assert again.json["error"]["code"] == "classes.differ"


def test_a_class_that_the_model_does_not_know_is_told(
    cvkit, task, data, live, predictions, tmp_path
):
    other = copy_of(data, tmp_path)
    add_class(task, other)
    found = score(cvkit, task, predictions, other)
    assert_same(task, found, live)
    assert "the model does not know 1 class" in found.err and "hexagon" in found.err
    assert measure(cvkit, task, other).json["error"]["code"] == "classes.differ"


def test_predictions_of_a_class_that_the_truth_lacks(
    cvkit, task, data, live, predictions, tmp_path
):
    """Detections are left out and counted, as eval does; a pixel or an image has one class."""
    other = copy_of(data, tmp_path)
    drop_class(task, other)
    found, again = score(cvkit, task, predictions, other), measure(cvkit, task, other)
    if task in BOXES:
        assert_same(task, found, again)
        assert set(again.json["per_class"]) - set(found.json["per_class"]) == {"ring"}
        for name, row in found.json["per_class"].items():
            assert row == again.json["per_class"][name]
        left = found.json["counts"]["left_out"]
        assert left > 0 and f"{left} detections left out, of classes that are not in" in found.err
        assert f"ring ({left})" in found.err
        return
    assert again.code == 2 and again.json["error"]["code"] == "classes.differ"
    if task == "segment":
        assert found.code == 2 and found.json["error"]["code"] == "classes.differ"
        assert "'ring'" in found.json["error"]["message"]
        return
    for name, row in live.json["per_class"].items():
        wanted = None if name == DROPPED[task] else row["recall"]
        assert found.json["per_class"][name]["recall"] == wanted


def write_voc(root, to):
    """Write a COCO dataset in VOC's layout; sizes and boxes stay in the pixels of the file."""
    content = json.loads(truth_file(root).read_text())
    names = {row["id"]: row["name"] for row in content["categories"]}
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (to / name).mkdir(parents=True)
    for image in content["images"]:
        file = root / "images" / "val" / image["file_name"]
        shutil.copy(file, to / "JPEGImages")
        objects = ""
        for row in content["annotations"]:
            if row["image_id"] == image["id"]:
                x, y, w, h = row["bbox"]
                sides = zip(
                    ("xmin", "ymin", "xmax", "ymax"), (x + 1, y + 1, x + w, y + h), strict=True
                )
                box = "".join(f"<{side}>{value}</{side}>" for side, value in sides)
                name = names[row["category_id"]]
                objects += f"<object><name>{name}</name><bndbox>{box}</bndbox></object>"
        size = f"<width>{image['width']}</width><height>{image['height']}</height>"
        text = f"<annotation><size>{size}</size>{objects}</annotation>"
        (to / "Annotations" / f"{file.stem}.xml").write_text(text)
    stems = "".join(f"{Path(image['file_name']).stem}\n" for image in content["images"])
    (to / "ImageSets" / "Main" / "val.txt").write_text(stems)


def write_yolo(root, to):
    """Write a COCO dataset in YOLO's layout, whose shares are of the upright image."""
    content = json.loads(truth_file(root).read_text())
    shutil.copytree(root / "images", to / "images")
    (to / "labels" / "val").mkdir(parents=True)
    # In another order than the model's, and from 0.
    ids = [row["id"] for row in content["categories"]][::-1]
    names = [row["name"] for row in content["categories"]][::-1]
    (to / "data.yaml").write_text(json.dumps({"names": names, "val": "images/val"}))
    for image in content["images"]:
        lines = []
        width, height = image["width"], image["height"]
        for row in content["annotations"]:
            if row["image_id"] == image["id"]:
                x, y, w, h = row["bbox"]
                shares = [(x + w / 2) / width, (y + h / 2) / height, w / width, h / height]
                if (width, height) == (96, 128):  # stored on its side
                    shares = [1 - shares[1], shares[0], shares[3], shares[2]]
                lines.append(f"{ids.index(row['category_id'])} {' '.join(map(str, shares))}")
        label = to / "labels" / "val" / Path(image["file_name"]).with_suffix(".txt").name
        label.write_text("\n".join(lines))


def write_index(root, to):
    """Write a COCO dataset as PNGs of objects, which are as upright as the pixels that are read."""
    content = json.loads(truth_file(root).read_text())
    names = {row["id"]: row["name"] for row in content["categories"]}
    shutil.copytree(root / "images", to / "images")
    (to / "masks" / "val").mkdir(parents=True)
    rows = ["path,instance,class"]
    for image in content["images"]:
        own = [row for row in content["annotations"] if row["image_id"] == image["id"]]
        codes = [row["segmentation"]["counts"].encode() for row in own]
        values = index_map(make_masks(codes, (image["height"], image["width"])))
        upright = np.rot90(values, -1) if values.shape == (128, 96) else values
        Image.fromarray(upright.copy()).save(to / "masks" / "val" / image["file_name"])
        rows += [
            f"images/val/{image['file_name']},{number},{names[row['category_id']]}"
            for number, row in enumerate(own, 1)
        ]
    (to / "instances.csv").write_text("\n".join(rows) + "\n")


def write_coco(root, to):
    shutil.copytree(root, to, dirs_exist_ok=True)


WRITE = {"coco": write_coco, "voc": write_voc, "yolo": write_yolo, "index": write_index}


WRITTEN = {"detect": ("coco", "voc", "yolo"), "instance": ("coco", "index")}
"""Formats that `WRITE` has; the readers of all others are in `tests/data/test_corpus.py`."""
CASES = [(task, layout) for task in BOXES for layout in WRITTEN[task]]


@pytest.mark.parametrize("task, layout", CASES, indirect=["task"])
def test_any_layout_is_a_truth_of_what_was_predicted(
    cvkit, task, layout, data, predictions, tmp_path
):
    other = tmp_path / "other"
    other.mkdir()
    WRITE[layout](data, other)
    if layout in ("yolo", "index"):  # a label file whose image cannot be read is a defect there
        for path in other.rglob(f"{images_of(data, task)[-1].stem}.*"):
            path.unlink()
    found, live = score(cvkit, task, predictions, other), measure(cvkit, task, other)
    assert found.code == live.code == (0 if layout in ("yolo", "index") else 3), found.err
    # Classes stand in another order than the model's, so sums of them may differ in the last bit.
    assert rounded(found.json["metrics"]) == rounded(live.json["metrics"])
    for name, row in found.json["per_class"].items():
        assert row == live.json["per_class"][name]
    assert best(task, live.json) > 0.4


def readable(root, to):
    """Return a COCO file without the image that cannot be read, with its classes reordered."""
    other = Path(shutil.copytree(root, to))
    content = json.loads(truth_file(other).read_text())
    last = content["images"].pop()
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] != last["id"]]
    truth_file(other).write_text(json.dumps(content))
    reorder("detect", other)
    return other


@pytest.mark.parametrize("task", BOXES, indirect=True)
@pytest.mark.parametrize("named", [True, False])
def test_a_lone_file_is_joined_by_the_names_in_it(cvkit, task, data, predictions, tmp_path, named):
    other = readable(data, tmp_path / "copy")
    rows = json.loads((predictions / "results.json").read_text())
    if not named:  # what a program without names writes: ids are all there is
        ids = {f"val/{row['file_name']}": row["id"] for row in json.loads(
            truth_file(other).read_text())["images"]}  # fmt: skip
        for row in rows:
            row["image_id"] = ids[row.pop("file_name")]
            row["category_id"] = SWAPPED[row["category_id"]]
            del row["category_name"]
    (tmp_path / "moved.json").write_text(json.dumps(rows))
    found = score(cvkit, task, tmp_path / "moved.json", truth_file(other))
    live = measure(cvkit, task, other)
    assert found.code == live.code == 0, found.err
    assert found.json["metrics"] == live.json["metrics"]
    assert found.json["per_class"] == live.json["per_class"]
    assert best(task, live.json) > 0.4


@pytest.mark.parametrize("task", BOXES, indirect=True)
@pytest.mark.parametrize(
    "change, code, words",
    [
        ({"category_name": "hexagon"}, "results.category", "hexagon"),
        ({"file_name": "train/elsewhere.png"}, "results.image", "elsewhere.png"),
    ],
)
def test_a_lone_file_of_other_things_is_refused(
    cvkit, task, data, predictions, tmp_path, change, code, words
):
    """Ids that happen to be in the truth too do not decide against the names."""
    rows = json.loads((predictions / "results.json").read_text())
    for count in (len(rows), 1):  # all of them, or one among others
        first = [row | change for row in rows[:count]]
        (tmp_path / "moved.json").write_text(json.dumps(first + rows[count:]))
        found = score(cvkit, task, tmp_path / "moved.json", truth_file(data))
        if count == 1 and "category_name" in change:
            assert (
                found.code == 0
                and "1 detection left out, of classes that are not in the truth: hexagon (1)"
                in found.err
            )
            continue
        assert found.code == 2 and found.json["error"]["code"] == code
        assert words in found.json["error"]["message"]


def test_what_was_predicted_beside_the_truth_is_told(
    cvkit, task, data, live, predictions, tmp_path
):
    """Images of another split under the same names do not take the place of the truth's."""
    out = Path(shutil.copytree(predictions, tmp_path / "out"))
    lines = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    wrong = [line | {"path": line["path"].replace("val/", "train/")} for line in lines[::-1]]
    for row, other in zip(wrong, lines, strict=True):
        for name in row.keys() - {"path"}:
            row[name] = other[name]
    (out / "predictions.jsonl").write_text("".join(f"{json.dumps(x)}\n" for x in wrong + lines))
    if task in FOLDERS:
        table = (out / "predictions.csv").read_text().splitlines(keepends=True)
        more = [row.replace("val/", "train/") for row in table[:0:-1]]
        (out / "predictions.csv").write_text("".join([*table, *more]))
    found = score(cvkit, task, out, data)
    assert_same(task, found, live)
    assert f"{len(lines)} predictions have no ground truth" in found.err


def test_a_truth_that_was_not_predicted_counts_as_failed(cvkit, task, data, predictions, tmp_path):
    out = Path(shutil.copytree(predictions, tmp_path / "out"))
    lines = (out / "predictions.jsonl").read_text().splitlines(keepends=True)
    (out / "predictions.jsonl").write_text("".join(lines[1:]))
    if task in FOLDERS:
        table = (out / "predictions.csv").read_text().splitlines(keepends=True)
        (out / "predictions.csv").write_text("".join([table[0], *table[2:]]))
    found = score(cvkit, task, out, data)
    assert found.code == 3 and found.json["counts"]["failed"] == 2
    assert found.json["counts"]["evaluated"] == len(lines) - 1
    path = json.loads(lines[0])["path"]
    missing = next(row for row in found.json["failures"] if row["code"] == "prediction.missing")
    assert Path(missing["path"]).stem == Path(path).stem


def test_nothing_of_the_truth_is_refused(cvkit, task, data, predictions, tmp_path):
    out = Path(shutil.copytree(predictions, tmp_path / "out"))
    for name in ("predictions.jsonl", "failures.jsonl", "predictions.csv"):
        if (out / name).is_file():
            text = (out / name).read_text()
            (out / name).write_text(text.replace("scene", "photo").replace("shape0", "photo0"))
    found = score(cvkit, task, out, data)
    assert found.code == 2 and found.json["error"]["code"] == "predictions.names"
    assert "expected for example" in found.json["error"]["hint"]


def test_where_all_failed_there_is_no_number(cvkit, task, data, predictions, tmp_path):
    out = Path(shutil.copytree(predictions, tmp_path / "out"))
    lines = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    rows = [{"path": line["path"], "code": "image.lost", "reason": "gone"} for line in lines]
    (out / "failures.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (out / "predictions.jsonl").write_text("")
    if task in FOLDERS:
        (out / "predictions.csv").write_text("path,label,score\n")
    found = score(cvkit, task, out, data)
    assert found.code == 2
    assert found.json["error"]["code"] == ("list.empty" if task in FOLDERS else "image.lost")


@pytest.mark.parametrize(
    "text, words",
    [
        ("{", "is not a line of predictions"),
        ('{"labels": []}', "is not a line of predictions"),
        ('{"path": 5}', "is not a line of predictions"),
        ("TWICE", " repeats "),
    ],
)
def test_a_torn_line_is_named(cvkit, task, data, predictions, tmp_path, text, words):
    out = Path(shutil.copytree(predictions, tmp_path / "out"))
    lines = (out / "predictions.jsonl").read_text().splitlines()
    lines.append(lines[0] if text == "TWICE" else text)
    (out / "predictions.jsonl").write_text("\n".join(lines))
    found = score(cvkit, task, out, data)
    assert found.code == 2, found.err
    assert f"predictions.jsonl:{len(lines)}" in found.json["error"]["message"]
    assert words in found.json["error"]["message"]


def test_a_damaged_description_of_the_model_is_named(cvkit, task, data, predictions, tmp_path):
    out = Path(shutil.copytree(predictions, tmp_path / "out"))
    for text in ("{", "[]", '{"classes": [1]}', '{"classes": 5}', '{"labels": 5}'):
        (out / "predict.json").write_text(text)
        found = score(cvkit, task, out, data)
        assert found.code == 2 and found.json["error"]["code"] == "predictions.about", text
        assert "predict.json" in found.json["error"]["message"]


def test_folders_without_the_models_classes_are_scored_too(
    cvkit, task, data, live, predictions, tmp_path
):
    """As earlier versions wrote them."""
    out = Path(shutil.copytree(predictions, tmp_path / "out"))
    (out / "predict.json").write_text('{"model": "x"}')
    assert_same(task, score(cvkit, task, out, data), live)
    other = copy_of(data, tmp_path)
    reorder(task, other)
    assert_same(task, score(cvkit, task, out, other), live)


def test_the_folder_of_another_task_is_refused(cvkit, task, data, predictions, tmp_path):
    out = Path(shutil.copytree(predictions, tmp_path / "out"))
    lines = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    own = {"boxes", "mask", "masks", "labels"}
    bare = [{name: value for name, value in line.items() if name not in own} for line in lines]
    (out / "predictions.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in bare))
    if task in FOLDERS:
        (out / "predictions.csv").unlink()
    found = score(cvkit, task, out, data)
    assert found.code == 2, found.err
    assert found.json["error"]["code"] in ("predictions.task", "list.missing")


FIELDS = {"segment": ("mask", "labels"), "detect": ("boxes", "width"), "instance": ("scores",)}
"""Fields of a line of predictions that scoring needs."""


@pytest.mark.parametrize("task", FIELDS, indirect=True)
def test_a_line_without_a_field_is_refused_in_words_for_people(
    cvkit, task, data, predictions, tmp_path
):
    shutil.copytree(predictions, tmp_path / "out")
    file = tmp_path / "out" / "predictions.jsonl"
    first, *others = (predictions / "predictions.jsonl").read_text().splitlines()
    for field in FIELDS[task]:
        line = json.loads(first)
        del line[field]
        for broken, reason in (
            (line, f"it has no '{field}'"),
            (json.loads(first) | {field: None}, "a field has another type or length"),
        ):
            if reason.startswith("a") and field == "width":
                continue  # sizes have a message of their own
            file.write_text("\n".join([json.dumps(broken), *others]) + "\n")
            found = score(cvkit, task, tmp_path / "out", data)
            assert (found.code, found.json["error"]["code"]) == (2, "predictions.task")
            message = found.json["error"]["message"]
            assert reason in message, message
            assert "Error" not in message and "object" not in message


def write_masks(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.array([[0, 1], [1, 1]], np.uint8)).save(path)


@pytest.mark.parametrize("other", ["a.bmp", "val/a.png"])
def test_of_several_masks_of_one_truth_both_are_named(cvkit, tmp_path, other):
    write_masks(tmp_path / "truth", "a.png", "b.png")
    write_masks(tmp_path / "found", "a.png", "b.png", other)
    done = score(cvkit, "segment", tmp_path / "found", tmp_path / "truth")
    assert done.code == 0 and done.json["metrics"]["miou"] == 1
    warning = f"a has several predictions: {tmp_path}/found/a.png is scored, "
    assert f"{warning}{tmp_path}/found/{other} is not" in done.err
    assert "no ground truth" not in done.err


def test_masks_without_a_truth_are_counted(cvkit, tmp_path):
    write_masks(tmp_path / "truth", "a.png")
    write_masks(tmp_path / "found", "val/a.png", "b.png")
    done = score(cvkit, "segment", tmp_path / "found", tmp_path / "truth")
    assert done.code == 0
    assert "1 prediction has no ground truth, such as b.png" in done.err
    assert "several" not in done.err


@pytest.mark.parametrize(
    "size_hw, remedy", [((2, 3), "of the size of the truth"), ((2, 2), "only")]
)
def test_the_remedy_of_a_mask_that_does_not_fit_is_about_what_is_wrong(
    cvkit, tmp_path, size_hw, remedy
):
    write_masks(tmp_path / "truth", "a.png")
    (tmp_path / "truth" / "classes.txt").write_text("road\nsky\nsea\n")
    (tmp_path / "found").mkdir()
    Image.fromarray(np.full(size_hw, 255, np.uint8)).save(tmp_path / "found" / "a.png")
    done = score(cvkit, "segment", tmp_path / "found", tmp_path / "truth")
    assert (done.code, done.json["error"]["code"]) == (2, "prediction.mismatch")
    assert remedy in done.json["error"]["hint"]
