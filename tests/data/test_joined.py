"""Several datasets as one: splits and classes are joined by name, whatever their formats."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from corpus import CASES, HEIGHT, WIDTH, coco, half, photo
from small_datasets import pairs as mask_pairs_of_two

from cvkit.catalog import TASKS, resolve
from cvkit.console import Reporter, Tabular
from cvkit.data.boxes import read_boxes
from cvkit.data.checked import Request
from cvkit.data.classified import read_collection
from cvkit.data.dataset_check import check
from cvkit.data.datasets import read_pair
from cvkit.data.division import ALL
from cvkit.data.formats.recognise import detect_format
from cvkit.data.labelled import mask_classes, read_pairs
from cvkit.data.masks import MaskReader
from cvkit.data.roots import place_name, root_names, roots_of
from cvkit.errors import CvkitError, raise_defects
from cvkit.model_files import read_model
from cvkit.options.tree import task_options
from cvkit.structures import IGNORE

PARTNERS = {
    "classes": "class_folders_with_splits",
    "masks": "voc_masks",
    "boxes": "voc_boxes",
    "instances": "index_maps",
}
"""The dataset that each one of the corpus is joined with."""


def place(*roots):
    return Path(os.pathsep.join(map(str, roots)))


def objects(image, names):
    boxes = np.round(image.truth.boxes, 3).tolist()
    return sorted(
        (names[n - 1], *b) for n, b in zip(image.truth.labels.tolist(), boxes, strict=True)
    )


def by_name(truth, root, splits):
    """Return the notes about splits, and what they contain, with the names of classes."""
    if truth == "classes":
        data = read_collection(root, "auto", splits, None)
        found = {s: {i.key: i.label for i in each} for s, each in data.splits.items()}
        return data.notes, found
    if truth == "masks":
        parts = read_pairs(root, detect_format("masks", root), splits)
        every = [pair for pairs in parts.splits.values() for pair in pairs]
        classes, colors = mask_classes(root, [pair.mask for pair in every])
        reader, names = (
            MaskReader(len(classes), colors),
            {IGNORE: "-"} | dict(enumerate(classes.names)),
        )
        found = {
            s: {p.key: [names[v] for v in read_pair(p, reader)[1].flat] for p in each}
            for s, each in parts.splits.items()
        }
        return parts.notes, found
    data = read_boxes(root, "auto", splits, masks=truth == "instances")
    raise_defects(data.defects, str(root))
    names = data.classes.names
    found = {s: {i.key: objects(i, names) for i in each} for s, each in data.splits.items()}
    ids = [image.image_id for each in data.splits.values() for image in each]
    assert len({*ids}) == len(ids) or len(data.splits) > 1
    return data.notes, found


@pytest.mark.parametrize("name", CASES)
def test_a_dataset_of_every_format_is_joined_with_another(name, tmp_path):
    """The content is that of both; a dataset without splits is training data."""
    case = CASES[name]
    partner = CASES[PARTNERS[case.truth]]
    case.write(tmp_path / "A")
    partner.write(tmp_path / "B")
    own = {"train": ALL} if [*case.splits] == [ALL] else {s: s for s in case.splits}
    asked = [split for split in ("train", "val") if split in {*own, *partner.splits}]
    notes, found = by_name(case.truth, place(tmp_path / "A", tmp_path / "B"), asked)
    first = by_name(case.truth, tmp_path / "A", [*own.values()])[1]
    second = by_name(case.truth, tmp_path / "B", [*partner.splits])[1]
    for split in asked:
        expected = {f"A/{key}": value for key, value in first.get(own.get(split), {}).items()}
        expected |= {f"B/{key}": value for key, value in second.get(split, {}).items()}
        assert found[split] == expected
    tables = [note for note in notes if isinstance(note, Tabular)]
    assert tables[0].columns == ["class", "A", "B", "joined"]


@pytest.mark.parametrize("name", ["class_folders", "coco_of_cvat", "voc_boxes_without_lists"])
def test_datasets_without_splits_are_divided_together(name, tmp_path):
    case = CASES[name]
    for root in ("A", "B"):
        case.write(tmp_path / root)
    _, found = by_name(case.truth, place(tmp_path / "A", tmp_path / "B"), [ALL])
    keys = [f"{root}/{key}" for root in ("A", "B") for key in case.splits[ALL]]
    assert [*found[ALL]] == keys


def test_classes_that_differ_in_spelling_only_are_named(tmp_path):
    for root, names in (("A", ("cat", "traffic light")), ("B", ("Cat", "traffic_light", "dog"))):
        for name in names:
            (tmp_path / root / name).mkdir(parents=True)
            (tmp_path / root / name / "a.png").write_bytes(photo(len(root + name)))
    joined = place(tmp_path / "A", tmp_path / "B")
    data = read_collection(joined, "auto", [ALL], None)
    assert data.names == ("cat", "traffic light", "Cat", "dog", "traffic_light")
    notes = [str(note) for note in data.notes if "differ in case or spacing" in note]
    assert len(notes) == 2
    assert "'cat' of A and 'Cat' of B" in notes[0]
    assert "'traffic light' of A and 'traffic_light' of B" in notes[1]
    found = check(Request(place=joined, task="classify"), Reporter(quiet=True)).findings
    assert [each.rule for each in found].count("class.spelling") == 2


def test_masks_of_other_indices_and_values_are_joined_by_name(tmp_path):
    """One dataset has 0 and 255 for its two classes, the other ignores 255."""
    for root, classes, mask in (("A", "sky\ncat\n", half(255)), ("B", "cat\nsky\ncar\n", half(2))):
        folder = tmp_path / root
        for name, content in (("images/a.png", photo(9)), ("masks/a.png", mask)):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        (folder / "classes.txt").write_text(classes)
    (tmp_path / "B/images/b.png").write_bytes(photo(8))
    (tmp_path / "B/masks/b.png").write_bytes(half(255, 1))
    _, found = by_name("masks", place(tmp_path / "A", tmp_path / "B"), [ALL])
    rows = {key: values[:1] + values[WIDTH - 1 : WIDTH] for key, values in found[ALL].items()}
    assert rows == {
        "A/images/a.png": ["sky", "cat"],
        "B/images/a.png": ["cat", "car"],
        "B/images/b.png": ["sky", "-"],
    }
    assert len(found[ALL]["A/images/a.png"]) == WIDTH * HEIGHT


def test_objects_of_other_indices_and_ids_are_joined_by_name(tmp_path):
    """Ids of categories and images that are taken already give way."""
    ids = {"A": '"id": 1, "name": "cat"', "B": '"id": 1, "name": "car"'}
    for root, name in ids.items():
        (tmp_path / root / "images").mkdir(parents=True)
        (tmp_path / root / "images/a.png").write_bytes(photo(9))
        text = coco(["a.png"]).replace(ids["A"], name)
        (tmp_path / root / "instances_all.json").write_text(text)
    for masks in (False, True):
        data = read_boxes(place(tmp_path / "A", tmp_path / "B"), "auto", [ALL], masks=masks)
        assert (data.classes.names, data.classes.ids) == (("cat", "dog", "car"), (1, 2, 3))
        rows = [(i.key, i.image_id, i.truth.labels.tolist()) for i in data.splits[ALL]]
        assert rows == [("A/images/a.png", 1, [1]), ("B/images/a.png", 2, [3])]


def test_unnamed_classes_of_masks_cannot_be_joined_with_named_ones(tmp_path):
    for root in ("A", "B"):
        mask_pairs_of_two(tmp_path / root)
    (tmp_path / "B/classes.txt").unlink()
    with pytest.raises(CvkitError, match=r"B does not name the classes") as caught:
        by_name("masks", place(tmp_path / "A", tmp_path / "B"), ["train"])
    assert caught.value.code == "classes.unnamed"
    (tmp_path / "A/classes.txt").unlink()
    parts = read_pairs(place(tmp_path / "A", tmp_path / "B"), "pairs+pairs", ["train"])
    assert all(isinstance(pair.mask, Path) for pair in parts.splits["train"])


def test_the_names_of_datasets_tell_them_apart(tmp_path):
    roots = [tmp_path / "x" / "data", tmp_path / "y" / "data"]
    assert root_names(roots) == ["x/data", "y/data"]
    assert place_name(place(*roots)) == "data+data"
    assert roots_of(place(*roots)) == roots
    with pytest.raises(CvkitError, match="named twice"):
        roots_of(place(roots[0], roots[0]))
    with pytest.raises(CvkitError, match="samples cannot be joined"):
        roots_of(place(roots[0], "samples"))
    odd = tmp_path / f"a{os.pathsep}b"
    odd.mkdir()
    assert roots_of(odd) == [odd]


@pytest.mark.parametrize("task", TASKS)
def test_every_task_trains_on_several_datasets(task, data_of, smallest, tmp_path):
    """The fingerprint covers all of them, and --exclude takes their keys."""
    shutil.copytree(data_of(task), tmp_path / "B")
    roots = [data_of(task), tmp_path / "B"]
    kind, options_class = resolve(TASKS[task]), task_options(task, "train")
    values = smallest[task] | {"quiet": True}
    alone = kind.for_training(options_class(data=str(roots[0]), **values), Reporter(quiet=True))
    joined = options_class(data=str(place(*roots)), **values)
    made = kind.for_training(joined, Reporter(quiet=True))
    data, one = made.dataset("train", training=True), alone.dataset("train", training=True)
    assert len(data) == 2 * len(one)
    keys = [data.key(index) for index in range(len(data))]
    assert {key.split("/")[0] for key in keys} == {roots[0].name, "B"}
    assert made.classes.names == alone.classes.names
    about = made.header(joined)["data"]
    assert about["name"] == f"{roots[0].name}+B"
    assert about["fingerprints"] != alone.header(joined)["data"]["fingerprints"]
    (tmp_path / "x.txt").write_text(f"{keys[-1]}\n")
    less = options_class(data=str(place(*roots)), exclude=tmp_path / "x.txt", **values)
    left = kind.for_training(less, Reporter(quiet=True)).dataset("train", training=True)
    assert len(left) == len(data) - 1


def test_train_eval_resume_and_splits_take_several_datasets(cvkit, data_of, flags_of, tmp_path):
    shutil.copytree(data_of("classify"), tmp_path / "B")
    both = ("--data", data_of("classify"), "--data", tmp_path / "B")
    lists = tmp_path / "s.json"
    assert cvkit("data", "split", *both[1::2], "--folds", 2, "--out", lists).code == 0
    more = ("--splits", lists, "--fold", "1/2")
    flags = (*flags_of("classify", epochs=1, out=tmp_path / "runs"), *both, *more)
    done = cvkit("classify", "train", *flags)
    assert done.code == 0, done.err
    assert done.err.count("classes of 2 datasets") == 1
    run = tmp_path / "runs" / "classify-lenet-001"
    assert read_model(run / "best.safetensors")[1]["data"]["name"].endswith("+B")
    again = cvkit("classify", "train", "--resume", run, "--epochs", 2)
    assert again.code == 0, again.err
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 2
    measured = cvkit(
        *("classify", "eval", "--weights", run, *both, *more, "--json", "--out", tmp_path / "evals")
    )
    held = json.loads(lists.read_text())["splits"]["fold-1"]
    assert measured.json["counts"]["evaluated"] == len(held)
    assert {key.split("/")[0] for key in held} == {data_of("classify").name, "B"}


def test_config_files_and_variables_name_several_datasets(cvkit, data_of, tmp_path, monkeypatch):
    shutil.copytree(data_of("detect"), tmp_path / "B b")
    file = tmp_path / "c.yaml"
    file.write_text(f"data: ['{data_of('detect')}', '{tmp_path / 'B b'}']\nbogus: 1\n")
    assert "unknown key 'bogus'" in cvkit("detect", "train", "--config", file).err
    file.write_text(file.read_text().replace("bogus: 1\n", "train_json: x.json\n"))
    done = cvkit("detect", "train", "--config", file)
    assert (done.code, "no effect on several datasets" in done.err) == (2, True)
    monkeypatch.setenv("CVKIT_TRAIN_DATA", str(place(data_of("detect"), tmp_path / "B b")))
    done = cvkit("detect", "train", "--train-json", "x.json")
    assert (done.code, "no effect on several datasets" in done.err) == (2, True)


def test_files_of_coco_belong_to_one_dataset(cvkit, tmp_path):
    roots = []
    for name in ("A", "B"):
        CASES["coco_boxes"].write(tmp_path / name)
        roots += ["--data", tmp_path / name]
    file = tmp_path / "A" / next(n for n in CASES["coco_boxes"].files if n.endswith(".json"))
    files = ("--train-json", file, "--val-json", file)
    done = cvkit("detect", "train", *roots, *files, "--out", tmp_path / "runs", "--json")
    assert done.code == 2 and done.json["error"]["code"] == "json.several"


def test_a_dataset_whose_path_has_the_separator_is_refused_beside_others(cvkit, tmp_path):
    odd = tmp_path / f"a{os.pathsep}b"
    odd.mkdir()
    done = cvkit("classify", "train", "--data", odd, "--data", tmp_path)
    assert (done.code, "which separates datasets" in done.err) == (2, True)
    lost = cvkit("classify", "train", "--data", tmp_path, "--data", tmp_path / "none")
    assert re.search(r"none is not a folder", lost.err), lost.err


@pytest.mark.parametrize("verb", ["check", "stats", "show", "convert"])
def test_every_command_on_data_takes_several_datasets(cvkit, tmp_path, verb):
    for root, name in (("A", "coco_boxes"), ("B", "voc_boxes")):
        CASES[name].write(tmp_path / root)
    words = {
        "show": ("--out", tmp_path / "x.png"),
        "convert": ("--to", "coco", "--out", tmp_path / "new"),
    }
    done = cvkit(
        *("data", verb, tmp_path / "A", tmp_path / "B", "--task", "detect"), *words.get(verb, ())
    )
    assert done.code == 0, done.err
    assert done.err.count("classes of 2 datasets") == 1
    if verb == "convert":
        _, found = by_name("boxes", tmp_path / "new", ["train", "val"])
        assert [len(each) for each in found.values()] == [2, 2]
