"""Samples that are left out: they stop no command, and all others stay where they are."""

import pytest
import small_datasets as small
from spoilt_datasets import CASES

from cvkit.console import Reporter
from cvkit.data.boxes import read_boxes
from cvkit.data.checked import Request
from cvkit.data.classified import read_collection
from cvkit.data.dataset_check import check
from cvkit.data.division import Division
from cvkit.data.exclusion import NOTHING, Exclusion, read_exclusion
from cvkit.data.files import walk_images, walk_videos
from cvkit.data.formats.recognise import detect_format
from cvkit.data.labelled import read_pairs
from cvkit.data.masks import MaskReader
from cvkit.data.rules import ERRORS
from cvkit.data.scan import scan_boxes, scan_images, scan_pairs, scan_videos
from cvkit.dividing import division_of
from cvkit.errors import CvkitError, DataError, UsageError
from cvkit.format_table import TRUTH_OF
from cvkit.options.tree import OPTIONS
from cvkit.storage import sha256

SPLITS = ("train", "val")


def read(root, task, exclude=NOTHING, division=Division(0.5)):  # noqa: B008
    """Return the splits of a dataset as train reads them, and its defects."""
    truth, videos = TRUTH_OF[task]
    if truth == "classes":
        walk = walk_videos if videos else walk_images
        share = division.val_fraction
        data = read_collection(root, "auto", SPLITS, share, walk, exclude=exclude)
        return data.splits, [], data.notes
    if truth == "masks":
        layout = detect_format("masks", root)
        data = read_pairs(root, layout, SPLITS, division, exclude)
        return data.splits, [], data.notes
    masks = truth == "instances"
    data = read_boxes(root, "auto", SPLITS, masks=masks, division=division, exclude=exclude)
    return data.splits, data.defects, data.notes


def scanned(splits, task):
    """Return the defects of the files of splits."""
    truth, videos = TRUTH_OF[task]
    scans = {
        "classes": scan_videos if videos else scan_images,
        "masks": lambda items: scan_pairs(items, MaskReader(2)),
        "boxes": scan_boxes,
        "instances": scan_boxes,
    }
    return [defect for items in splits.values() for defect in scans[truth](items).defects]


def problems(root, task, exclude=NOTHING):
    """Return the codes of everything that would stop a training."""
    try:
        splits, defects, _ = read(root, task, exclude)
    except CvkitError as error:
        return {error.code}
    return {each.code for each in [*defects, *scanned(splits, task)]}


def of_samples(case, tmp_path):
    """Return the folder of a bad dataset, and the keys of the samples with errors."""
    root = tmp_path / "d"
    case.base(root)
    case.change(root)
    found = check(Request(place=root, task=case.task), Reporter(quiet=True)).findings
    return root, {each.sample for each in found if each.rule == case.rule} - {""}


ONE_SAMPLE = [
    *("ann.category_unknown", "ann.id_duplicate", "ann.id_type", "area.value", "bbox.length"),
    *("bbox.nonfinite", "bbox.nonpositive", "bbox.outside", "bndbox.missing", "bndbox.nonfinite"),
    *("bndbox.order", "bndbox.outside", "difficult.value", "image.corrupt", "image.depth"),
    *("image.empty", "image.missing", "image.not_a_file", "image.not_an_image"),
    *("image.size_mismatch", "image.too_large", "image.truncated", "image.unreadable"),
    *("iscrowd.value", "mask.16bit", "mask.color", "mask.float", "mask.instance_unknown"),
    *("mask.lossy", "mask.palette", "mask.rgb_not_index", "mask.size_mismatch"),
    *("mask.value_range", "object.name_missing", "object.name_unknown", "rle.invalid", "rle.size"),
    *("rle.size_mismatch", "root.name", "segm.missing", "segm.odd_or_short", "segm.outside"),
    *("segm.too_long", "size.value", "split.id_without_file", "video.part_empty"),
    *("video.truncated", "video.unreadable", "video.zero_frames", "xml.dtd", "xml.encoding"),
    *("xml.not_a_file", "xml.size", "xml.syntax", "yolo.class", "yolo.encoding"),
    *("yolo.not_a_file", "yolo.range", "yolo.syntax"),
]
"""Errors of a single sample."""


@pytest.mark.parametrize("rule", ONE_SAMPLE)
def test_without_its_sample_an_error_stops_no_training(tmp_path, rule):
    case = next(case for case in CASES if case.rule == rule)
    assert rule in ERRORS
    root, keys = of_samples(case, tmp_path)
    assert len(keys) == 1
    assert rule in problems(root, case.task) or rule in ("mask.palette", "mask.color")
    exclude = Exclusion(frozenset(keys), tmp_path / "list")
    assert rule not in problems(root, case.task, exclude)


def missing_mask(root):
    small.pairs(root)
    (root / "masks/train/0.png").unlink()


def missing_row(root):
    small.table(root)
    (root / "0.png").unlink()


def missing_voc_mask(root):
    small.voc_masks(root)
    (root / "SegmentationClass/0.png").unlink()


@pytest.mark.parametrize(
    ("make", "task", "key"),
    [
        (missing_mask, "segment", "images/train/0.png"),
        (missing_mask, "instance", "images/train/0.png"),
        (missing_voc_mask, "segment", "JPEGImages/0.png"),
        (missing_row, "classify", "0.png"),
    ],
)
def test_a_missing_file_belongs_to_a_sample(tmp_path, make, task, key):
    make(tmp_path / "d")
    assert problems(tmp_path / "d", task) == {"split.id_without_file"}
    exclude = Exclusion(frozenset({key}), tmp_path / "list")
    assert "split.id_without_file" not in problems(tmp_path / "d", task, exclude)


HEAPS = [
    (small.folders, "classify", "train"),
    (small.pairs, "segment", "train"),
    (small.coco, "detect", "train"),
    (small.coco, "instance", "train"),
    (small.videos, "video", "train"),
]


@pytest.mark.parametrize(("base", "task", "split"), HEAPS, ids=[row[1] for row in HEAPS])
def test_the_others_stay_in_their_splits_and_are_counted(tmp_path, base, task, split):
    root = tmp_path / "d"
    base(root)
    whole, _, _ = read(root, task)
    (tmp_path / "list").write_text(f"{whole[split][0].key}\nno/such.png\n")
    left, _, notes = read(root, task, read_exclusion(tmp_path / "list"))
    keys = {name: [item.key for item in items] for name, items in whole.items()}
    keys[split] = keys[split][1:]
    assert {name: [item.key for item in items] for name, items in left.items()} == keys
    said = " ".join(notes)
    assert "1 sample left out" in said
    assert "1 key matches no sample of these splits, such as no/such.png" in said


def heap(root):
    for number in range(12):
        small.picture(root / "ab"[number % 2] / f"{number}.png", number)


def test_divided_data_are_divided_as_if_nothing_were_left_out(tmp_path):
    heap(tmp_path)
    whole, _, _ = read(tmp_path, "classify")
    gone = {whole["train"][0].key, whole["train"][1].key}
    left, _, _ = read(tmp_path, "classify", Exclusion(frozenset(gone), tmp_path / "list"))
    assert left["val"] == whole["val"]
    assert left["train"] == [item for item in whole["train"] if item.key not in gone]


@pytest.mark.parametrize(("base", "task", "split"), HEAPS, ids=[row[1] for row in HEAPS])
def test_an_empty_split_is_refused(tmp_path, base, task, split):
    base(tmp_path / "d")
    whole, _, _ = read(tmp_path / "d", task)
    keys = frozenset(item.key for item in whole[split])
    with pytest.raises(DataError, match=r"leaves nothing of split 'train'") as caught:
        read(tmp_path / "d", task, Exclusion(keys, tmp_path / "list"))
    assert caught.value.code == "exclude.all"


def test_a_list_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"--exclude: .*list does not exist") as caught:
        read_exclusion(tmp_path / "list")
    assert caught.value.code == "exclude.missing"


@pytest.mark.parametrize("task", TRUTH_OF)
def test_a_model_file_says_which_list_was_used(tmp_path, task):
    (tmp_path / "list").write_text("a.png\n")
    made = OPTIONS[task]["train"](exclude=tmp_path / "list")
    for name in (None, "all"):
        assert division_of(made, name)["excluded_by"] == sha256(tmp_path / "list")
        assert "excluded_by" not in division_of(OPTIONS[task]["train"](), name)
