"""What is counted and shown of labelled data is what a training of the same flags gets."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from cvkit import catalog
from cvkit.console import Reporter
from cvkit.data.known import Known
from cvkit.data.statistics import collect
from cvkit.data.synthetic.samples import WRITERS
from cvkit.errors import DataError
from cvkit.ops.rle import decode
from cvkit.options.tree import task_options
from cvkit.structures import Instances
from cvkit.tasks.labelled import Labelled, labelled_class

TASKS = tuple(catalog.TASKS)
SMALL = {
    "classify": {"arch": "lenet", "image_size": "32"},
    "segment": {"arch": "fcn-32s"},
    "detect": {},
    "instance": {},
    "video": {"arch": "r3d-small", "frames": 4},
}


@pytest.fixture(scope="module")
def scenes_of(tmp_path_factory):
    """Return a dataset of a task; the same one each time."""
    made = {}

    def get(task):
        if task not in made:
            made[task] = tmp_path_factory.mktemp("labelled") / task
            WRITERS[task](made[task], {"train": 8, "val": 8}, 3, (48, 48))
        return made[task]

    return get


def read(task, folder, splits=(), **flags):
    options = task_options(task, "train")(data=str(folder), **SMALL[task] | flags)
    return labelled_class(task).read(options, splits)


def facts_of(data, split):
    items = data.splits[split]
    with Known(data.cache, [data.path(item) for item in items]) as known:
        return collect(items, data.key, lambda item: data.measure(item, known), len(data.classes))


AUGMENTED = [(task, augment) for task in TASKS for augment in catalog.AUGMENTATIONS[task]]


@pytest.mark.parametrize(("task", "augment"), AUGMENTED, ids="-".join)
def test_what_is_shown_of_training_is_what_training_gets(scenes_of, monkeypatch, task, augment):
    """All pixels, boxes and masks of the samples are those of the training's own dataset."""
    folder = scenes_of(task)
    data, seen = read(task, folder, augment=augment), []
    trained = catalog.resolve(catalog.TASKS[task]).for_training(data.options, Reporter(quiet=True))
    own = trained.dataset("train", training=True)
    kind = type(own)
    original = kind.read

    def spy(self, index, seed=0):
        seen.append(original(self, index, seed))
        return seen[-1]

    monkeypatch.setattr(kind, "read", spy)
    for place in (0, 5):
        data.augmented("train", place, 11 + place)
        ours, theirs = seen.pop(), original(own, place, 11 + place)
        assert ours.path == theirs.path
        np.testing.assert_array_equal(ours.image, theirs.image)
        if theirs.mask is not None:
            np.testing.assert_array_equal(ours.mask, theirs.mask)
        if theirs.boxes is not None:
            np.testing.assert_array_equal(ours.boxes.boxes, theirs.boxes.boxes)
            np.testing.assert_array_equal(ours.boxes.labels, theirs.boxes.labels)


@pytest.mark.parametrize("task", TASKS)
def test_the_inputs_are_sized_by_the_training_split_whatever_is_shown(scenes_of, task, tmp_path):
    """Two splits of different sizes: samples of val are shown as training would size them."""
    folder = tmp_path / "other"
    shutil.copytree(scenes_of(task), folder)
    for image in (folder / "images" / "val").glob("*.png") if task == "segment" else ():
        for path in (image, folder / "masks" / "val" / image.name):
            Image.open(path).resize((96, 96), 0).save(path)
    data = read(task, folder, augment="none")
    one, other = (data.augmented(split, 0, 1).picture for split in ("train", "val"))
    if task == "segment":  # of which the legend has another height
        one, other = one[:480, :480], other[:480, :480]
    assert one.shape == other.shape


@pytest.mark.parametrize("task", TASKS)
def test_every_split_is_read_and_each_sample_is_counted_once(scenes_of, task):
    data = read(task, scenes_of(task))
    assert list(data.splits) == ["train", "val"]
    for split in data.splits:
        found = facts_of(data, split)
        assert len(found.items) == len(found.values["width"]) == 8
        assert not found.failures
        sizes = {48} if task != "video" else {int(found.values["width"][0])}
        assert set(found.values["width"].tolist()) == sizes


def test_pixels_of_classes_are_those_of_the_masks(scenes_of):
    data = read("segment", scenes_of("segment"))
    found = facts_of(data, "train")
    masks = [np.asarray(Image.open(pair.mask)) for pair in data.splits["train"]]
    for label in range(len(data.classes)):
        assert found.per_class["pixels"][label] == sum(int((m == label).sum()) for m in masks)
        assert found.per_class["images"][label] == sum(bool((m == label).any()) for m in masks)
    assert found.counts["pixels_without_label"] == sum(int((m == 255).sum()) for m in masks)


@pytest.mark.parametrize("task", ["detect", "instance"])
def test_objects_are_those_of_the_annotation_file(scenes_of, task):
    folder = scenes_of(task)
    content = json.loads((folder / "annotations" / "instances_train.json").read_text())
    data = read(task, folder)
    found = facts_of(data, "train")
    rows = content["annotations"]
    assert len(found.values["object_side"]) == len(rows) > 8
    widths, heights = zip(*(row["bbox"][2:] for row in rows), strict=True)
    assert sorted(found.values["object_width"].tolist()) == pytest.approx(sorted(widths))
    assert found.values["object_side"].sum() == pytest.approx(
        sum((w * h) ** 0.5 for w, h in zip(widths, heights, strict=True)), rel=1e-5
    )
    by_id = dict(zip(data.classes.ids, data.classes.names, strict=True))
    for index, name in enumerate(data.classes.names):
        of_class = [row for row in rows if by_id[row["category_id"]] == name]
        assert found.per_class["objects"][index] == len(of_class)
        assert found.per_class["images"][index] == len({row["image_id"] for row in of_class})
    if task == "instance":
        masks = [image.truth.coded_masks() for image in found.items]
        areas = [int(mask.sum()) for each in masks for mask in decode(each)]
        assert found.values["mask_area"].tolist() == areas


def test_crowds_and_difficult_objects_are_counted_apart(scenes_of, tmp_path):
    folder = tmp_path / "crowds"
    shutil.copytree(scenes_of("detect"), folder)
    path = folder / "annotations" / "instances_train.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["iscrowd"] = 1
    path.write_text(json.dumps(content))
    found, before = (
        facts_of(read("detect", each), "train") for each in (folder, scenes_of("detect"))
    )
    assert found.counts["crowd"] == 1
    assert len(found.values["object_side"]) == len(before.values["object_side"]) - 1


@pytest.mark.parametrize("task", TASKS)
def test_advice_names_flags_that_the_task_has(scenes_of, task, monkeypatch):
    monkeypatch.setattr("cvkit.tasks.labelled.IMBALANCED", 1)
    known = {
        f"--{name.replace('_', '-')}"
        for verb in ("train", "eval", "predict")
        for name in task_options(task, verb).__dataclass_fields__
    }
    data = read(task, scenes_of(task))
    found = data.advice(facts_of(data, "train"))
    assert found
    for each in found:
        words = f"{each.flag} {each.text}".split()
        named = {word.strip(".,:;()'") for word in words if word.startswith(("--", "(--"))}
        assert named <= known


@pytest.mark.parametrize("task", ["classify", "segment", "video", "detect", "instance"])
def test_classes_of_very_different_frequency_are_named_with_their_counts(task):
    from cvkit.tasks.labelled import imbalance

    weighted = "class_weights" in task_options(task, "train").__dataclass_fields__
    found = imbalance(np.array([100, 0, 10, 5]), ["a", "b", "c", "d"], "images", weighted=weighted)
    assert [each.flag for each in found] == ["", "--class-weights sqrt" if weighted else ""]
    assert "1 of 4 classes without images: b" in found[0].text
    assert "'a' has 20 times as many images as 'd' (100 and 5)" in found[1].text
    assert imbalance(np.array([9, 1]), ["a", "b"], "images") == []
    assert imbalance(np.array([9, 0]), ["a", "b"], "images")[0].flag == ""


@pytest.mark.parametrize("task", TASKS)
def test_the_size_that_auto_takes_is_that_of_a_training(scenes_of, task):
    data = read(task, scenes_of(task))
    trained = catalog.resolve(catalog.TASKS[task]).for_training(data.options, Reporter(quiet=True))
    made, said = trained.preprocessing, data.advice(facts_of(data, "train"))[0].flag
    if task in ("detect", "instance"):
        assert said == f"--min-size auto gives {made.describe()}"
        anchors = data.advice(facts_of(data, "train"))[1].flag
        assert anchors == f"--anchor-size 0 gives {trained.network.smallest}"
        return
    size = made.image_size_wh if task == "segment" else (made.image_size, made.image_size)
    assert said.endswith(f" gives {size[0]}x{size[1]}")
    assert data.normalisation(facts_of(data, "train")) == (made.mean, made.std)


@pytest.mark.parametrize("task", TASKS)
def test_a_sample_has_the_classes_that_its_label_names(scenes_of, task):
    data = read(task, scenes_of(task))
    for item in data.splits["train"]:
        names = set(data.class_names(item))
        if task in ("classify", "video"):
            assert names == {item.label}
        elif task == "segment":
            values = np.unique(np.asarray(Image.open(item.mask)))
            assert names == {data.classes.names[v] for v in values if v != 255}
        else:
            assert isinstance(item.truth, Instances)
            assert names == {data.classes.names[n - 1] for n in item.truth.labels}


def test_pixels_without_a_label_are_drawn_in_a_colour_of_their_own(scenes_of, tmp_path):
    folder = tmp_path / "void"
    shutil.copytree(scenes_of("segment"), folder)
    mask = min((folder / "masks" / "train").iterdir())
    with Image.open(mask) as image:
        values, palette = np.asarray(image).copy(), image.getpalette()
    values[:24] = 255
    changed = Image.fromarray(values)
    if palette:
        changed.putpalette(palette)
    changed.save(mask)
    data = read("segment", folder)
    place = next(n for n, pair in enumerate(data.splits["train"]) if pair.mask.name == mask.name)
    item = data.splits["train"][place]
    view, pixels = data.truth(item), data.picture(item)
    colour = view.picture[60, 240].astype(float)  # the image is enlarged ten times
    plain = np.asarray(Image.fromarray(pixels).resize((480, 480), 0))[60, 240]
    np.testing.assert_allclose(colour, (plain + np.array((224, 224, 192))) / 2, atol=40)


def test_every_task_has_its_labelled_samples():
    for task in TASKS:
        assert issubclass(labelled_class(task), Labelled)
        assert labelled_class(task).task == task


def test_a_broken_image_is_refused_by_its_name(scenes_of, tmp_path):
    folder = tmp_path / "broken"
    shutil.copytree(scenes_of("classify"), folder)
    victim = sorted((folder / "train").rglob("*.png"))[0]
    victim.write_bytes(b"no image")
    data = read("classify", folder)
    found = facts_of(data, "train")
    assert [each.path for each in found.failures] == [str(victim.relative_to(folder))]
    broken = next(item for item in data.splits["train"] if item.path == victim)
    with pytest.raises(DataError, match=victim.name):
        data.truth(broken)
