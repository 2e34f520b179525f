"""The splits of a dataset, which all commands on datasets name alike."""

import pytest
import small_datasets as small

from cvkit.data.division import splits_of

LISTS = {"detect": (small.voc, "Main"), "segment": (small.voc_masks, "Segmentation")}


def listed(root, task, **lists):
    """Write a VOC dataset with these lists and no others."""
    base, kind = LISTS[task]
    base(root)
    folder = root / "ImageSets" / kind
    for path in folder.iterdir():
        path.unlink()
    for name, numbers in lists.items():
        (folder / f"{name}.txt").write_text("".join(f"{number}\n" for number in numbers))
    return root


@pytest.mark.parametrize("task", LISTS)
def test_all_commands_read_the_same_splits(cvkit, tmp_path, task):
    """VOC 2007 is often used with `trainval` and `test` alone."""
    root = listed(tmp_path / "d", task, trainval=[0, 1], test=[2])
    flags = (root, "--task", task, "--json", "--quiet")
    wanted = {"trainval": 2, "test": 1}
    check = cvkit("data", "check", *flags, "--ignore", "classes.count")
    assert check.json["splits"] == wanted
    stats = cvkit("data", "stats", *flags).json["splits"]
    assert {name: each["samples"] for name, each in stats.items()} == wanted
    made = cvkit("data", "convert", *flags, "--to", "voc", "--out", tmp_path / "made")
    assert made.json["splits"] == wanted
    shown = cvkit("data", "show", *flags, "--out", tmp_path / "s.png")
    assert len(shown.json["samples"]) == 3
    split = cvkit("data", "split", *flags, "--out", tmp_path / "s.json", "--val-fraction", 0.4)
    assert sum(split.json["samples"].values()) == 3


@pytest.mark.parametrize("task", LISTS)
def test_all_images_are_no_split_beside_one(cvkit, tmp_path, task):
    """Else every validation image would be one of `trainval`, too."""
    root = listed(tmp_path / "d", task, trainval=[0, 1, 2], val=[2])
    done = cvkit("data", "check", root, "--task", task, "--json", "--quiet")
    assert done.json["splits"] == {"val": 1}
    assert not [name for name in done.json["counts"] if name.startswith("leak.")]


@pytest.mark.parametrize(
    ("known", "heap", "wanted", "twins"),
    [
        ([], "", [""], [""]),
        ([], None, [], []),
        (["val", "train", "a_train"], None, ["train", "val"], ["train", "val"]),
        (["valid", "val", "train"], None, ["train", "val"], ["train", "val", "valid"]),
        (["b", "a"], None, ["a", "b"], ["a", "b"]),
        (["b", "a", "all"], None, ["a", "b"], ["a", "b"]),
        (["all"], None, ["all"], ["all"]),
        (["north", "south"], "", [""], [""]),
        (["trainval", "test", "train"], "trainval", ["train", "test"], ["train", "test"]),
        (["trainval", "test"], "trainval", ["trainval", "test"], ["trainval", "test"]),
    ],
)
def test_the_names_of_splits(known, heap, wanted, twins):
    assert splits_of(known, heap) == wanted
    assert splits_of(known, heap, twins=True) == twins


@pytest.mark.parametrize("task", ["detect", "instance"])
@pytest.mark.parametrize("verb", ["check", "stats", "show", "split", "convert"])
def test_a_coco_file_is_a_dataset(cvkit, tmp_path, task, verb):
    small.coco(tmp_path / "d")
    file = tmp_path / "d" / "annotations" / "instances_train.json"
    images = tmp_path / "d" / "images" / "train"
    given = ("--images", images)
    flags = given if verb in ("check", "convert") else ("--set", f"images={images}")
    more = {
        "show": ("--out", tmp_path / "s.png"),
        "split": ("--out", tmp_path / "s.json", "--val-fraction", 0.5),
        "convert": ("--out", tmp_path / "out", "--to", "coco"),
    }.get(verb, ())
    done = cvkit("data", verb, file, "--task", task, "--json", "--quiet", *flags, *more)
    assert done.code == 0, done.err
