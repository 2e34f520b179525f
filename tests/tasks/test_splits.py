"""What every task tells about the splits that it trains on and is measured on."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cvkit.catalog import TASKS, resolve
from cvkit.console import Reporter
from cvkit.data import known, scan, video
from cvkit.data.classified import read_collection
from cvkit.data.files import walk_images, walk_videos
from cvkit.data.synthetic.samples import WRITERS
from cvkit.options.tree import OPTIONS

CLASSES = ("classify", "video")
"""Tasks whose samples have one class each."""
WALKS = {"classify": walk_images, "video": walk_videos}
COUNTS = {"classify": (12, 6), "video": (14, 7)}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The built-in data of every task, small."""
    root = tmp_path_factory.mktemp("written")
    for task in TASKS:
        train, val = COUNTS.get(task, (6, 3))
        WRITERS[task](root / task, {"train": train, "val": val}, seed=2, size_hw=(48, 48))
    return root


@pytest.fixture
def data(written, tmp_path):
    """Return a copy of the data of a task."""

    def copy(task):
        return shutil.copytree(written / task, tmp_path / f"{task}-data")

    return copy


def prepare(task, root, **own):
    """Do all that training does before the network is built."""
    options = OPTIONS[task]["train"](data=str(root), **own)
    return resolve(TASKS[task]).for_training(options, Reporter())


def measure(task, header, root, **own):
    """Find the data that a model is measured on."""
    options = OPTIONS[task]["eval"](data=str(root), **own)
    made = resolve(TASKS[task]).for_model(options, json.loads(json.dumps(header)))
    made = made.with_data(options, json.loads(json.dumps(header)), Reporter())
    return [item.key for item in made.splits[options.split]]


def files(root, split):
    found = sorted(p for p in root.rglob("*") if p.suffix in (".png", ".mp4"))
    return [p for p in found if split in p.parts and "masks" not in p.parts]


@pytest.mark.parametrize("task", TASKS)
def test_clean_data_are_not_warned_of(written, capsys, task):
    prepare(task, written / task)
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize("task", TASKS)
def test_one_split_for_both_is_told(written, capsys, task):
    prepare(task, written / task, val_split="train")
    text = capsys.readouterr().err
    assert "warning: training and validation use the same split 'train'" in text
    assert text.count("warning") == 1


@pytest.mark.parametrize("task", TASKS)
def test_samples_in_both_splits_are_told(data, capsys, task):
    root = data(task)
    mine, other = files(root, "val")[0], files(root, "train")[0]
    shutil.copyfile(other, mine)
    prepare(task, root)
    text = " ".join(capsys.readouterr().err.split())
    sample = "video" if task == "video" else "image"
    assert f"warning: 1 {sample} of 'val' is also in 'train', such as" in text
    assert mine.relative_to(root).as_posix() in text
    assert other.relative_to(root).as_posix() in text


def test_parts_of_one_video_in_both_splits_are_told(data, capsys):
    root = data("video")
    clips = files(root, "train")
    rows = ["path,label,split,start,end"]
    for clip in clips:
        place, label = clip.relative_to(root).as_posix(), clip.parent.name
        rows += [f"{place},{label},train,0,0.3", f"{place},{label},val,0.3,"]
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    prepare("video", root)
    text = " ".join(capsys.readouterr().err.split())
    assert f"warning: {len(clips)} videos of 'val' come from files that are also in" in text


def tabled(root, task):
    """Make folders of classes a table; return it."""
    rows = [
        f"{path.relative_to(root).as_posix()},{path.parent.name},{split}"
        for split in ("train", "val")
        for path in WALKS[task](root / split)
    ]
    table = root / "labels.csv"
    table.write_text("\n".join(["path,label,split", *rows]) + "\n")
    return table


def swap_labels(root, task):
    """Exchange the classes of two training samples; no image and no file size changes."""
    table = root / "labels.csv"
    lines = table.read_text().splitlines()
    labels = [line.split(",")[1] for line in lines]
    other = next(n for n, label in enumerate(labels) if n and label != labels[1])
    for here, label in ((1, labels[other]), (other, labels[1])):
        path, _, split = lines[here].split(",")
        lines[here] = f"{path},{label},{split}"
    assert all(lines[n].endswith("train") for n in (1, other))
    table.write_text("\n".join(lines) + "\n")


def plain_masks(root):
    """Store masks without compression, so that all of them have the same size."""
    for mask in walk_images(root / "masks"):
        values = np.asarray(Image.open(mask))
        mask.unlink()
        Image.fromarray(values).save(mask.with_suffix(".bmp"))


def turn_mask(root, task):
    mask = next(walk_images(root / "masks" / "train"))
    size = mask.stat().st_size
    Image.fromarray(np.asarray(Image.open(mask))[::-1]).save(mask)
    assert mask.stat().st_size == size


def move_box(root, task):
    place = root / "annotations" / "instances_train.json"
    content = json.loads(place.read_text())
    content["annotations"][0]["bbox"][2] += 1
    place.write_text(json.dumps(content))


def move_category(root, task):
    place = root / "annotations" / "instances_train.json"
    content = json.loads(place.read_text())
    first = content["annotations"][0]
    ids = [row["id"] for row in content["categories"]]
    first["category_id"] = next(id_ for id_ in ids if id_ != first["category_id"])
    place.write_text(json.dumps(content))


def move_mask(root, task):
    place = root / "annotations" / "instances_train.json"
    content = json.loads(place.read_text())
    one, two = content["annotations"][:2]
    one["segmentation"], two["segmentation"] = two["segmentation"], one["segmentation"]
    place.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "task, change",
    [
        ("classify", swap_labels),
        ("video", swap_labels),
        ("segment", turn_mask),
        ("detect", move_box),
        ("detect", move_category),
        ("instance", move_category),
        ("instance", move_mask),
    ],
)
def test_labels_are_part_of_the_fingerprint(data, task, change):
    root = data(task)
    if task in CLASSES:
        tabled(root, task)
    if task == "segment":
        plain_masks(root)
    before = prepare(task, root).origin.data
    assert prepare(task, root).origin.data == before
    change(root, task)
    after = prepare(task, root).origin.data
    assert after["fingerprints"]["train"] != before["fingerprints"]["train"]
    assert after["fingerprints"]["val"] == before["fingerprints"]["val"]


@pytest.mark.parametrize("task", TASKS)
def test_content_is_part_of_the_fingerprint(data, task):
    root = data(task)
    before = prepare(task, root).origin.data["fingerprints"]
    one, other = files(root, "train")[:2]
    shutil.copyfile(other, one)
    after = prepare(task, root).origin.data["fingerprints"]
    assert after["train"] != before["train"] and after["val"] == before["val"]


@pytest.mark.parametrize("task", ["classify", "segment", "video"])
def test_the_order_of_classes_is_part_of_the_data(data, task):
    root = data(task)
    if task in CLASSES:
        names = sorted({path.parent.name for path in files(root, "train")})
        (root / "classes.txt").write_text("\n".join(names))
    before = prepare(task, root).origin.data
    lines = (root / "classes.txt").read_text().splitlines()
    (root / "classes.txt").write_text("\n".join([*lines[1:], lines[0]]))
    after = prepare(task, root).origin.data
    assert after != before and after["fingerprints"] == before["fingerprints"]


def test_a_changed_label_is_not_resumed(cvkit, data, tmp_path):
    root = data("classify")
    tabled(root, "classify")
    flags = ["--arch", "linear", "--image-size", "16", "--workers", "0", "--quiet"]
    out = tmp_path / "runs"
    assert cvkit("classify", "train", "--data", root, "--out", out, "--epochs", 1, *flags).code == 0
    swap_labels(root, "classify")
    done = cvkit("classify", "train", "--resume", out / "classify-linear-001")
    assert done.code == 2 and "the dataset is not the one" in done.err and "labels" in done.err


def heap(data, task):
    """Data of a task in one heap; return its folder."""
    root = data(task)
    for path in list(WALKS[task](root / "val")):
        shutil.move(path, root / "train" / path.parent.name / f"val-{path.name}")
    return root / "train"


@pytest.mark.parametrize("task", CLASSES)
def test_a_model_is_measured_on_the_division_of_its_training(data, capsys, task):
    root = heap(data, task)
    drawn = []
    for seed in (0, 7):
        made = prepare(task, root, val_fraction=0.3, seed=seed)
        val = [item.key for item in made.splits["val"]]
        header = made.header(OPTIONS[task]["train"]())
        assert measure(task, header, root) == val
        drawn.append((val, header))
    assert drawn[0][0] != drawn[1][0]
    assert measure(task, drawn[0][1], root, seed=7) == drawn[1][0]
    assert len(measure(task, drawn[0][1], root, val_fraction=0.7)) > len(drawn[0][0])
    older = drawn[1][1] | {"labels": {"val_fraction": 0.3}}
    wanted = read_collection(root, "auto", ("val",), 0.3, WALKS[task], seed=None).splits["val"]
    assert measure(task, older, root) == [item.key for item in wanted]


@pytest.mark.parametrize("task", CLASSES)
def test_a_division_that_has_changed_is_told(data, capsys, task):
    root = heap(data, task)
    header = prepare(task, root).header(OPTIONS[task]["train"]())
    capsys.readouterr()
    measure(task, header, root)
    assert "warning" not in capsys.readouterr().err
    measure(task, header, root, seed=3)
    words = f"'val' of {root} has changed since the model was trained"
    assert words in " ".join(capsys.readouterr().err.split())
    moved = shutil.move(root, root.with_name("elsewhere"))
    measure(task, header, moved, seed=3)
    assert "warning" not in capsys.readouterr().err  # other data, not changed ones


@pytest.mark.parametrize("task", CLASSES)
@pytest.mark.parametrize("value", ["0", "1"])
def test_a_fraction_that_empties_a_split_is_refused(cvkit, written, tmp_path, task, value):
    root, split = written / task, {"0": "val", "1": "train"}[value]
    (tmp_path / "x.csv").write_text("path,label,score\na.png,ring,1\n")
    scored = ("--predictions", tmp_path / "x.csv", "--truth", root, "--split", split)
    for flags, words in (
        (("train", "--data", root, "--out", tmp_path / "runs"), "leaves a split empty"),
        (("eval", *scored, "--out", tmp_path / "runs"), f"leaves nothing in split {split!r}"),
    ):
        done = cvkit(task, *flags, "--val-fraction", value)
        assert done.code == 2 and f"--val-fraction {value} {words}" in done.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("task", CLASSES)
def test_files_scored_against_a_heap_are_divided_by_seed(cvkit, data, tmp_path, task):
    root = heap(data, task)
    everything = read_collection(root, "auto", ("all",), None, WALKS[task])
    lines = [f"{item.key},{item.label},1" for item in everything.splits["all"]]
    (tmp_path / "scores.csv").write_text("\n".join(["path,label,score", *lines]) + "\n")
    flags = ["--predictions", tmp_path / "scores.csv", "--truth", root, "--val-fraction", 0.3]
    for seed in (0, 7):
        done = cvkit(task, "eval", *flags, "--seed", seed, "--out", tmp_path, "--json")
        assert done.code == 0, done.err
        wanted = read_collection(root, "auto", ("val",), 0.3, WALKS[task], seed=seed)
        (table,) = (v for k, v in done.json["files"].items() if k.startswith("per_"))
        keys = [line.split(",")[0] for line in Path(table).read_text().splitlines()[1:]]
        assert keys == [item.key for item in wanted.splits["val"]]


@pytest.mark.parametrize("task", CLASSES)
def test_classes_that_val_lacks_are_told(data, capsys, task):
    root = data(task)
    gone = sorted({path.parent for path in files(root, "val")})[0]
    shutil.rmtree(gone)
    prepare(task, root)
    text = " ".join(capsys.readouterr().err.split())
    assert f"classes have no samples in 'val' and are not measured: {gone.name}" in text


@pytest.mark.parametrize("task", CLASSES)
@pytest.mark.parametrize("layout", ["folders", "classes"])
def test_files_beside_the_class_folders_are_told(cvkit, data, capsys, tmp_path, task, layout):
    root = data(task) if layout == "folders" else heap(data, task)
    place = root / "val" if layout == "folders" else root
    stray = place / f"stray{next(WALKS[task](place)).suffix}"
    shutil.copy(next(WALKS[task](place)), stray)
    (place / "notes.txt").write_text("no data")
    words = f"{place}: 1 {'image' if task == 'classify' else 'video'} is beside the class folders"
    made = prepare(task, root)
    assert words in capsys.readouterr().err
    measure(task, made.header(OPTIONS[task]["train"]()), root)
    assert words in capsys.readouterr().err
    everything = [item for items in made.splits.values() for item in items]
    lines = [f"{item.key},{item.label},1" for item in everything]
    (tmp_path / "scores.csv").write_text("\n".join(["path,label,score", *lines]) + "\n")
    flags = ["--predictions", tmp_path / "scores.csv", "--truth", root, "--no-files"]
    assert words in cvkit(task, "eval", *flags).err


def as_index_maps(root):
    shutil.copytree(root, root.with_name("index"))
    for name in ("classes.txt", "samples.json"):
        (root.with_name("index") / name).unlink()
    return root.with_name("index")


@pytest.mark.parametrize("task", ["segment", "instance"])
def test_masks_that_do_not_belong_to_one_image_are_told(cvkit, data, capsys, tmp_path, task):
    root = data("segment")
    if task == "instance":
        root = as_index_maps(root)
    image = files(root, "val")[0]
    mask = root / "masks" / "val" / image.name
    Image.open(image).save(image.with_suffix(".bmp"))
    Image.fromarray(np.asarray(Image.open(mask))).save(mask.with_suffix(".tif"))
    shutil.copy(mask, mask.with_name("lonely.png"))
    shutil.copy(image, root / "images" / "stray.png")
    words = [
        f"labels shared by several images: 1, such as {mask.with_suffix('.tif')} of "
        f"images/val/{image.with_suffix('.bmp').name} and images/val/{image.name}",
        "masks of 'val' ignored because another file has the same name: 1, such as",
        "masks of 'val' without an image, unused: 1, such as masks/val/lonely.png",
        f"{root / 'images'}: 1 image is beside the split folders and unused, such as stray.png",
    ]

    def assert_told(text):
        text = " ".join(text.split())
        for word in words:
            assert text.count(word) == 1, (word, text)

    made = prepare(task, root)
    assert_told(capsys.readouterr().err)
    measure(task, made.header(OPTIONS[task]["train"]()), root)
    assert_told(capsys.readouterr().err)
    if task == "segment":
        flags = ["--predictions", root / "masks" / "val", "--truth", root, "--no-files"]
        assert_told(cvkit("segment", "eval", *flags).err)


def test_labels_that_two_images_share_are_told_for_yolo(data, capsys):
    root = data("detect")
    shutil.rmtree(root / "annotations")
    for split in ("train", "val"):
        (root / "labels" / split).mkdir(parents=True)
        for image in files(root, split):
            (root / "labels" / split / f"{image.stem}.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    (root / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [thing]\n")
    image = files(root, "train")[0]
    Image.open(image).save(image.with_suffix(".bmp"))
    prepare("detect", root)
    assert "labels shared by several images: 1, such as" in capsys.readouterr().err


def refuse(*arguments):
    raise AssertionError(f"decoded again: {arguments}")


@pytest.mark.parametrize("task", TASKS)
def test_a_second_start_decodes_nothing(data, monkeypatch, task):
    root = data(task)
    for path in root.rglob("*"):
        os.utime(path, (1e9, 1e9))
    first = prepare(task, root)
    for module, name in (
        (scan, "read_image"),
        (scan, "read_pair"),
        (video, "_decode_all"),
        (known, "sha256"),
    ):
        monkeypatch.setattr(module, name, refuse)
    again = prepare(task, root)
    assert again.origin.data == first.origin.data
    assert again.preprocessing == first.preprocessing
    keys = [{name: [s.key for s in own] for name, own in t.splits.items()} for t in (first, again)]
    assert keys[0] == keys[1]
    if task not in CLASSES:  # their eval does not look at the data beforehand
        header = first.header(OPTIONS[task]["train"](data=str(root)))
        assert measure(task, header, root) == keys[0]["val"]


@pytest.mark.slow
def test_trials_and_resumed_runs_decode_nothing_again(cvkit, data, tmp_path, monkeypatch):
    root, looked = data("classify"), []
    for path in root.rglob("*"):
        os.utime(path, (1e9, 1e9))
    look = scan._image_facts
    monkeypatch.setattr(scan, "_image_facts", lambda path: looked.append(path) or look(path))
    flags = ["--trials", 2, "--epochs", 1, "--set", "arch=linear", "--set", "image_size=16"]
    flags += ["--set", "workers=0", "--set", "precision=fp32", "--quiet", "--out", tmp_path]
    assert cvkit("tune", "classify", "--data", root, *flags).code == 0
    assert sorted(looked) == sorted(walk_images(root))
    run = next(tmp_path.rglob("best.safetensors")).parent
    assert cvkit("classify", "train", "--resume", run, "--quiet").code == 0
    assert len(looked) == 18


def test_a_cache_that_cannot_be_kept_is_told(data, capsys, tmp_path, monkeypatch):
    root = data("classify")
    for path in root.rglob("*"):
        os.utime(path, (1e9, 1e9))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    prepare("classify", root)
    text = " ".join(capsys.readouterr().err.split())
    told = "warning: the results of the data check cannot be cached: cannot write"
    assert text.count(told) == 1  # not once for each split
