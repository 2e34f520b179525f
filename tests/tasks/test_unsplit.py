"""Data that are not split, in every layout of every task, and splits with other usual names."""

import json
import shutil
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from cvkit.catalog import TASKS, resolve
from cvkit.console import Reporter
from cvkit.data.division import draw_shares, find_split
from cvkit.errors import DataError
from cvkit.options.tree import OPTIONS

CLASSES = ("cat", "dog")
SAMPLES = [(f"{number:02d}", CLASSES[number % 3 == 0]) for number in range(12)]
"""Name and class: 8 cats, 4 dogs."""
SIDE = 32


def picture(path, name, frame=0):
    """Write an image whose content follows from the last two digits of its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng((int(name[-2:]), frame)).integers(
        0, 255, (SIDE, SIDE, 3), np.uint8
    )
    Image.fromarray(pixels).save(path)


def mask(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((SIDE, SIDE), np.uint8)
    pixels[8:24, 8:24] = value
    Image.fromarray(pixels).save(path)


def folders(root, parts):
    for part, samples in parts.items():
        for name, label in samples:
            picture(root / part / label / f"{name}.png", name)


def clips(root, parts):
    for part, samples in parts.items():
        for name, label in samples:
            for frame in range(3):
                picture(root / part / label / name / f"{frame}.png", name, frame)


def table(root, parts, of=folders, suffix=".png"):
    of(root / "files", {"": [sample for samples in parts.values() for sample in samples]})
    rows = [
        (f"files/{label}/{name}{suffix}", label, part)
        for part, samples in parts.items()
        for name, label in samples
    ]
    width = 2 if "" in parts else 3
    lines = [",".join(row[:width]) for row in [("path", "label", "split"), *rows]]
    (root / "labels.csv").write_text("\n".join(lines) + "\n")


def clip_table(root, parts):
    table(root, parts, clips, "")


def pairs(root, parts):
    (root / "classes.txt").parent.mkdir(parents=True, exist_ok=True)
    (root / "classes.txt").write_text("background\ncat\ndog\n")
    for part, samples in parts.items():
        for name, label in samples:
            picture(root / "images" / part / f"{name}.png", name)
            mask(root / "masks" / part / f"{name}.png", 1 + CLASSES.index(label))


def index(root, parts):
    rows = ["path,instance,class"]
    for part, samples in parts.items():
        for name, label in samples:
            picture(root / "images" / part / f"{name}.png", name)
            mask(root / "masks" / part / f"{name}.png", 1)
            key = (root / "images" / part / f"{name}.png").relative_to(root).as_posix()
            rows.append(f"{key},1,{label}")
    (root / "instances.csv").write_text("\n".join(rows) + "\n")


def lists(root, kind, parts):
    for part, samples in parts.items():
        if part:
            (root / "ImageSets" / kind).mkdir(parents=True, exist_ok=True)
            names = "\n".join(name for name, _ in samples)
            (root / "ImageSets" / kind / f"{part}.txt").write_text(names + "\n")


def voc_masks(root, parts):
    for samples in parts.values():
        for name, label in samples:
            picture(root / "JPEGImages" / f"{name}.png", name)
            mask(root / "SegmentationClass" / f"{name}.png", 1 + CLASSES.index(label))
    lists(root, "Segmentation", parts)


def voc_boxes(root, parts):
    (root / "Annotations").mkdir(parents=True)
    for samples in parts.values():
        for name, label in samples:
            picture(root / "JPEGImages" / f"{name}.png", name)
            box = "<xmin>9</xmin><ymin>9</ymin><xmax>24</xmax><ymax>24</ymax>"
            inner = f"<object><name>{label}</name><bndbox>{box}</bndbox></object>"
            text = f"<annotation>{inner}</annotation>"
            (root / "Annotations" / f"{name}.xml").write_text(text)
    lists(root, "Main", parts)


def coco_content(samples):
    corners = [8, 8, 24, 8, 24, 24, 8, 24]
    return {
        "images": [
            {"id": int(name), "file_name": f"{name}.png", "width": SIDE, "height": SIDE}
            for name, _ in samples
        ],
        "annotations": [
            {"id": int(name), "image_id": int(name), "category_id": 1 + CLASSES.index(label)}
            | {"bbox": [8, 8, 16, 16], "area": 256, "iscrowd": 0, "segmentation": [corners]}
            for name, label in samples
        ],
        "categories": [{"id": n, "name": name} for n, name in enumerate(CLASSES, 1)],
    }


def coco(root, parts):
    for part, samples in parts.items():
        for name, _ in samples:
            picture(root / "photos" / f"{name}.png", name)
        place = root / "annotations" / f"instances_{part}.json" if part else root / "result.json"
        place.parent.mkdir(exist_ok=True)
        place.write_text(json.dumps(coco_content(samples)))


def roboflow(root, parts):
    for part, samples in parts.items():
        for name, _ in samples:
            picture(root / part / f"{name}.png", name)
        (root / part / "_annotations.coco.json").write_text(json.dumps(coco_content(samples)))


def yolo(root, parts):
    plain_yolo(root, parts)
    (root / "classes.txt").unlink()
    lines = [f"{part}: images/{part}" for part in parts if part]
    (root / "data.yaml").write_text("\n".join([*lines, "nc: 2", "names: [cat, dog]"]) + "\n")


def plain_yolo(root, parts):
    for part, samples in parts.items():
        (root / "labels" / part).mkdir(parents=True, exist_ok=True)
        for name, label in samples:
            picture(root / "images" / part / f"{name}.png", name)
            line = f"{CLASSES.index(label)} 0.5 0.5 0.5 0.5\n"
            (root / "labels" / part / f"{name}.txt").write_text(line)
    (root / "classes.txt").write_text("cat\ndog\n")


LAYOUTS = {
    "classify": (folders, table),
    "segment": (pairs, voc_masks),
    "detect": (coco, roboflow, voc_boxes, yolo, plain_yolo),
    "instance": (coco, roboflow, index),
    "video": (clips, clip_table),
}
WITH_TRAINVAL = (voc_masks, voc_boxes, coco)
CASES = [(task, lay) for task, layouts in LAYOUTS.items() for lay in layouts]
HEAPS = [
    (task, lay, heap)
    for task, lay in CASES
    for heap in ("", "train", "training", "trainval", "default")
    if (heap != "trainval" or lay in WITH_TRAINVAL)
    and (heap != "default" or lay in (voc_masks, voc_boxes))
    and (heap or lay is not roboflow)
]
"""Tasks, layouts, and the one part that all samples are in; empty where nothing is split."""

SMALL = {
    "classify": {"arch": "lenet"},
    "segment": {"backbone": "mobilenet_v3_small", "image_size": "32"},
    "detect": {"backbone": "mobilenet_v3_small", "channels": 16},
    "instance": {"backbone": "mobilenet_v3_small", "channels": 16},
    "video": {"arch": "r3d-small", "frames": 2, "image_size": "32"},
}


def short(value):
    return getattr(value, "__name__", str(value) or "heap")


def prepare(task, root, **own):
    """Do all that training does before the network is built."""
    options = OPTIONS[task]["train"](data=str(root), **SMALL[task], **own)
    return resolve(TASKS[task]).for_training(options, Reporter())


def measured(task, header, root, **own):
    """Return the samples that a model with this header is measured on."""
    options = OPTIONS[task]["eval"](data=str(root), **own)
    header = json.loads(json.dumps(header))
    made = resolve(TASKS[task]).for_model(options, header)
    made = made.with_data(options, header, Reporter())
    return names(made, options.split)


def names(made, split):
    """Return the names of the samples of a split, whatever their folders and suffixes."""
    return [item.key.split("/")[-1].removesuffix(".png") for item in made.splits[split]]


def classes_of(found):
    return Counter(dict(SAMPLES)[name] for name in found)


@pytest.mark.parametrize(("task", "lay", "heap"), HEAPS, ids=short)
def test_data_without_a_split_for_validation_are_divided(tmp_path, capsys, task, lay, heap):
    root = tmp_path / "data"
    lay(root, {heap: SAMPLES})
    made = prepare(task, root, val_fraction=0.25)
    train, val = names(made, "train"), names(made, "val")
    assert sorted(train + val) == [name for name, _ in SAMPLES]
    assert (classes_of(train), classes_of(val)) == ({"cat": 6, "dog": 3}, {"cat": 2, "dog": 1})
    text = " ".join(capsys.readouterr().err.split())
    assert "warning" not in text
    rest = heap == "" or (lay is coco and heap == "trainval")  # a file of no split's name
    what = str(root) if rest else f"{heap!r} of {root}"
    told = f"--val-fraction 0.25 and --seed 0 divide {what} into train: 9, val: 3"
    assert f"data: there is no validation split; {told}" in text

    header = made.header(OPTIONS[task]["train"]())
    assert sorted(measured(task, header, root)) == sorted(val)
    assert sorted(measured(task, header, root, split="train")) == sorted(train)
    assert f"divide {what} into val: 3" in " ".join(capsys.readouterr().err.split())
    if heap == "":
        assert len(measured(task, header, root, split="all")) == 12
        other = sorted(names(prepare(task, root, seed=5, val_fraction=0.5), "val"))
        assert other != sorted(val)
        assert sorted(measured(task, header, root, seed=5, val_fraction=0.5)) == other


@pytest.mark.parametrize(
    ("task", "lay", "heap"),
    [(task, lay, "train") for task, lay in CASES]
    + [(task, lay, "trainval") for task, lay in CASES if lay in WITH_TRAINVAL],
    ids=short,
)
def test_a_split_for_testing_takes_no_part_in_a_division(tmp_path, task, lay, heap):
    lay(tmp_path, {heap: SAMPLES[:9], "test": SAMPLES[9:]})
    made = prepare(task, tmp_path)
    train, val = names(made, "train"), names(made, "val")
    assert sorted(train + val) == [name for name, _ in SAMPLES[:9]] and train and val
    header = made.header(OPTIONS[task]["train"]())
    assert sorted(measured(task, header, tmp_path, split="test")) == ["09", "10", "11"]
    assert sorted(measured(task, header, tmp_path)) == sorted(val)


@pytest.mark.parametrize(("task", "lay"), CASES, ids=short)
def test_a_division_follows_the_content_not_the_names(tmp_path, task, lay):
    part = "train" if lay is roboflow else ""
    lay(tmp_path / "a", {part: SAMPLES})
    lay(tmp_path / "b", {part: [(f"{99 - int(name)}{name}", label) for name, label in SAMPLES]})
    first, second = (prepare(task, tmp_path / place, val_fraction=0.4) for place in "ab")
    assert sorted(names(first, "val")) == sorted(name[-2:] for name in names(second, "val"))


@pytest.mark.parametrize(("task", "lay"), CASES, ids=short)
def test_changed_data_and_divisions_are_told(tmp_path, capsys, task, lay):
    root = tmp_path / "data"
    lay(root, {"train": SAMPLES})
    header = prepare(task, root).header(OPTIONS[task]["train"]())
    capsys.readouterr()
    measured(task, header, root)
    assert "warning" not in capsys.readouterr().err
    measured(task, header, root, seed=1)
    words = f"'val' of {root} has changed since the model was trained"
    assert words in " ".join(capsys.readouterr().err.split())


SPLIT = {"train": SAMPLES[:6], "val": SAMPLES[6:9], "test": SAMPLES[9:]}


@pytest.mark.parametrize(("task", "lay"), CASES, ids=short)
def test_splits_are_found_by_other_usual_names(tmp_path, capsys, task, lay):
    wanted = {split: [name for name, _ in samples] for split, samples in SPLIT.items()}
    spellings = (
        ("train", "valid", "test"),
        ("training", "validation", "testing"),
        ("Train", "dev", "Test"),
    )
    for number, words in enumerate(spellings):
        spelt = dict(zip(("train", "val", "test"), words, strict=True))
        root = tmp_path / str(number)
        lay(root, {spelt[split]: samples for split, samples in SPLIT.items()})
        made = prepare(task, root)
        assert {split: sorted(names(made, split)) for split in ("train", "val")} == {
            split: wanted[split] for split in ("train", "val")
        }
        header = made.header(OPTIONS[task]["train"]())
        assert header["labels"]["val_fraction"] is None
        for split in wanted:
            assert sorted(measured(task, header, root, split=split)) == wanted[split]
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize(("task", "lay"), CASES, ids=short)
def test_of_two_names_of_a_split_the_first_is_taken_and_told(tmp_path, capsys, task, lay):
    root = tmp_path / "data"
    lay(root, SPLIT if lay in (table, clip_table) else SPLIT | {"valid": SAMPLES[9:]})
    if lay in (table, clip_table):
        text = (root / "labels.csv").read_text()
        (root / "labels.csv").write_text(text.replace(",test\n", ",valid\n"))
    made = prepare(task, root)
    assert sorted(names(made, "val")) == ["06", "07", "08"]
    told = f"{root}: 'val' is used as split 'val', not 'valid'"
    assert told in " ".join(capsys.readouterr().err.split())
    chosen = prepare(task, root, val_split="valid")
    assert sorted(names(chosen, "valid")) == ["09", "10", "11"]


@pytest.mark.parametrize(("task", "lay"), CASES, ids=short)
def test_a_misspelt_split_is_told_with_the_nearest(tmp_path, task, lay):
    root = tmp_path / "data"
    lay(root, SPLIT)
    with pytest.raises(DataError, match=r"has no split 'tset' \(did you mean test\?\)"):
        prepare(task, root, val_split="tset")


@pytest.mark.parametrize("task", ["detect", "instance"])
def test_one_file_is_divided_and_measured_alike(tmp_path, capsys, task):
    coco(tmp_path, {"": SAMPLES})
    file = shutil.move(tmp_path / "result.json", tmp_path / "mine.json")
    options = {"train_json": file, "images": tmp_path / "photos"}
    made = prepare(task, "samples", val_fraction=0.25, **options)
    train, val = sorted(names(made, "train")), sorted(names(made, "val"))
    assert (len(train), len(val)) == (9, 3) and not set(train) & set(val)
    assert "into train: 9, val: 3" in " ".join(capsys.readouterr().err.split())
    header = json.loads(json.dumps(made.header(OPTIONS[task]["train"]())))
    other = shutil.copy(file, tmp_path / "other.json")
    for place, wanted in ((file, val), (other, sorted(train + val))):
        given = OPTIONS[task]["eval"](json_file=place, images=tmp_path / "photos")
        model = resolve(TASKS[task]).for_model(given, header)
        model = model.with_data(given, header, Reporter())
        assert sorted(names(model, "val")) == wanted


@pytest.mark.parametrize("task", TASKS)
def test_files_of_predictions_are_scored_on_the_part_that_is_asked_for(cvkit, tmp_path, task):
    lay = LAYOUTS[task][0]
    root = tmp_path / "data"
    lay(root, {"": SAMPLES})
    if task in ("classify", "video"):
        suffix = ".png" if task == "classify" else ""
        rows = [f"{label}/{name}{suffix},{label},1" for name, label in SAMPLES]
        place = tmp_path / "scores.csv"
        place.write_text("\n".join(["path,label,score", *rows]) + "\n")
    elif task == "segment":
        place = root / "masks"
    else:
        place = tmp_path / "r.json"
        place.write_text("[]")
    flags = ("--predictions", place, "--truth", root, "--no-files", "--json")
    if task in ("detect", "instance"):
        flags = (*flags, "--images", root / "photos")
    whole = cvkit(task, "eval", *flags)
    assert whole.code == 0, whole.err
    assert whole.json["counts"]["evaluated"] == 12
    for split, count in (("val", 3), ("train", 9), ("all", 12)):
        part = cvkit(task, "eval", *flags, "--val-fraction", "0.25", "--split", split)
        assert part.code == 0, part.err
        assert part.json["counts"]["evaluated"] == count
    if task in ("detect", "instance"):
        file = cvkit(
            *(task, "eval", "--predictions", place, "--truth", root / "result.json"),
            *("--images", root / "photos", "--val-fraction", "0.25", "--no-files", "--json"),
        )
        assert file.json["counts"]["evaluated"] == 3


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("value", ["0", "1"])
def test_a_share_that_empties_a_split_is_refused_before_data_are_read(cvkit, task, value):
    done = cvkit(task, "train", "--data", "/nowhere", "--val-fraction", value)
    assert done.code == 2 and f"--val-fraction {value} leaves a split empty" in done.err


@pytest.mark.parametrize("task", TASKS)
def test_a_share_of_data_that_are_split_is_told_to_have_no_effect(tmp_path, capsys, task):
    LAYOUTS[task][0](tmp_path, SPLIT)
    prepare(task, tmp_path, val_fraction=0.5)
    words = "warning: --val-fraction has no effect: the data are already split"
    assert words in capsys.readouterr().err


def test_folders_of_classes_may_have_the_name_of_a_split(tmp_path, capsys):
    for name, label in (("valid", "cat"), ("invalid", "dog")):
        folders(tmp_path, {"": [(n, name) for n, own in SAMPLES if own == label]})
    made = prepare("classify", tmp_path)
    assert made.classes.names == ("invalid", "valid")
    assert len(names(made, "train")) + len(names(made, "val")) == 12


def test_images_of_a_heap_without_labels_are_told(tmp_path, capsys):
    for task, lay, what in (("segment", voc_masks, "mask"), ("detect", voc_boxes, "annotation")):
        root = tmp_path / task
        lay(root, {"": SAMPLES})
        picture(root / "JPEGImages" / "lonely.png", "99")
        prepare(task, root)
        words = f"images without {what}, unused: 1, such as JPEGImages/lonely.png"
        assert words in " ".join(capsys.readouterr().err.split())


def test_proposals_of_data_that_are_not_split_are_searched_once(cvkit, tmp_path):
    root = tmp_path / "data"
    voc_boxes(root, {"": SAMPLES[:3]})
    done = cvkit("detect", "proposals", root, "--out", tmp_path / "p.npz", "--workers", 0, "--json")
    assert done.code == 0, done.err
    assert done.json["all"]["images"] == 3


def test_case_does_not_count_in_the_names_of_splits():
    assert find_split("val", ["Train", "Validation"]) == "Validation"
    assert find_split("TRAIN", ["training", "VAL"]) == "training"
    assert find_split("val", ["VAL", "val", "valid"]) == "val"
    assert find_split("val", ["train", "value"]) is None


def test_a_sample_of_several_classes_counts_for_all_of_them():
    labels = [["a", "b"]] * 4 + [["a"]] * 8 + [[]] * 4
    hashes = [f"{number:064d}" for number in range(len(labels))]
    found = draw_shares(labels, hashes, 0.25, seed=0)
    assert sum(found[:4]) == 1  # of b
    assert sum(found[:12]) == 3  # of a
    assert sum(found[12:]) == 1  # of what shows nothing
    order = list(range(len(labels)))[::-1]
    turned = draw_shares([labels[i] for i in order], [hashes[i] for i in order], 0.25, seed=0)
    assert turned == [found[i] for i in order]
