"""The rules of the check: each finds its defect in one place, and nothing where all is well."""

import ast
import re
from pathlib import Path

import pytest
import small_datasets as small
from spoilt_datasets import CASES

import cvkit
from cvkit.console import Reporter
from cvkit.data import known
from cvkit.data.checked import Request
from cvkit.data.dataset_check import check
from cvkit.data.rules import ALIASES, ERRORS, RULES, WARNINGS
from cvkit.format_table import TRUTH_OF

BASES = {case.base: case.task for case in CASES} | {small.coco: "instance", small.files: "video"}


def found(root, task, **flags):
    request = Request(place=root, task=task, **flags)
    return check(request, Reporter(quiet=True)).findings


@pytest.mark.parametrize(
    ("base", "task"),
    [
        *dict.fromkeys((case.base, case.task) for case in CASES),
        (small.files, "video"),
        (small.voc_masks, "segment"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_dataset_in_which_all_is_well_has_no_findings(tmp_path, base, task):
    base(tmp_path / "d")
    assert found(tmp_path / "d", task) == []


@pytest.mark.parametrize("case", CASES, ids=[case.rule for case in CASES])
def test_every_rule_finds_the_smallest_dataset_that_breaks_it(tmp_path, case):
    root = tmp_path / "d"
    case.base(root)
    case.change(root)
    findings = found(root, case.task, **dict(case.flags))
    assert {each.rule for each in findings} == {case.rule, *case.more}, findings
    first = next(each for each in findings if each.rule == case.rule)
    assert first.file == case.file, first
    assert first.place.startswith(case.place), first
    assert bool(first.place) == bool(case.place), first
    assert first.remedy
    assert first.level == ("error" if case.rule in ERRORS else "warning")


UNCOVERED = {
    "file.unreadable": "a file that can be decoded, but not read again, see below",
    **dict.fromkeys(("class.spelling", "classes.unnamed"), "of several datasets: test_joined.py"),
    **dict.fromkeys(
        [rule for rule in RULES if rule.startswith("label-noise.")],
        "they need a model, see test_label_noise.py",
    ),
    **dict.fromkeys(
        ("supervisely.bitmap", "supervisely.meta", "supervisely.objects"),
        "spoilt files of this format are in corpus.py",
    ),
}
"""Rules without a minimal bad dataset, and why."""


def test_every_rule_has_a_minimal_bad_dataset():
    assert {case.rule for case in CASES} == RULES.keys() - UNCOVERED.keys()
    assert not ERRORS.keys() & WARNINGS.keys()


@pytest.mark.parametrize("task", TRUTH_OF)
def test_a_file_that_cannot_be_read_again_is_found(tmp_path, task, monkeypatch):
    bases = {"detect": small.coco, "instance": small.coco, "segment": small.pairs}
    {**bases, "classify": small.folders, "video": small.videos}[task](tmp_path)

    def sha256(path):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(known, "sha256", sha256)
    findings = found(tmp_path, task)
    assert {each.rule for each in findings if each.sample} == {"file.unreadable"}
    assert all("Input/output error" in each.message for each in findings if each.sample)


def test_the_catalogue_only_grows():
    assert len(ERRORS) >= 109
    assert len(WARNINGS) >= 22


OTHERS = {
    *("augment.encoding", "augment.invalid", "augment.missing", "augment.not_a_file"),
    *(
        "data.layout",
        "data.parquet",
        "data.missing",
        "data.twice",
        "data.samples",
        "json.several",
        "format.file",
        "images.idle",
        "split.test",
        "mask_map.syntax",
    ),
    *(
        "inputs.elsewhere",
        "inputs.empty",
        "inputs.frame",
        "inputs.list",
        "inputs.missing",
        "inputs.url",
        "task.unclear",
    ),
    *("proposals.ambiguous", "proposals.box", "proposals.empty", "proposals.encoding"),
    *("proposals.image", "proposals.missing", "proposals.not_a_file", "proposals.syntax"),
    *("exclude.all", "exclude.encoding", "exclude.not_a_file"),
    *("samples.none", "video.encoder", "classes.not_a_file", "file.line", "text.name"),
    *("fold.count", "fold.syntax", "group_by.lacking", "group_by.regex", "group_by.syntax"),
    *("splits.changed", "splits.files", "splits.kind", "splits.malformed", "splits.missing"),
    *("splits.twice", "splits.version", "class.folder", "to.parts"),
    "annotations.xml",
    "xml.name",
}
"""Codes of flags, inputs and proposals, and of what cvkit writes, and the name of a file; a class
list that is no file is none."""
ROOT = Path(cvkit.__file__).parent
READERS = [path for path in (ROOT / "data").rglob("*.py") if path.name != "rules.py"]
MORE = [ROOT / "texts.py", *(ROOT / "tasks").rglob("*.py")]
"""Modules that raise errors about data besides others."""
AREAS = ("encoding", "not_a_file")
"""Codes of `cvkit.texts.read_text` for a reader's area that a file of a dataset can have."""
SUFFIXES = {"txt", "csv", "json", "jsonl", "yaml", "png", "avi", "mp4", "mat"}
MADE = {
    *("annotations.missing", "categories.missing", "images.missing"),  # of a list in a COCO file
    *("bbox.nonfinite", "bbox.outside", "bndbox.nonfinite", "bndbox.outside"),  # of a kind of box
}
"""Codes that are put together."""


def codes_in(path):
    """Return the texts in a module that are codes, and those that its readers' areas give."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.keyword) and node.arg == "area":
            values = [each.value for each in ast.walk(node.value) if isinstance(each, ast.Constant)]
            found |= {f"{value}.{kind}" for value in values for kind in AREAS}
        if isinstance(node, ast.Constant) and re.fullmatch(r"[a-z_]+\.[a-z0-9_]+", str(node.value)):
            found.add(node.value)
    return {code for code in found if code.rpartition(".")[2] not in SUFFIXES}


def test_every_code_that_a_reader_gives_is_a_rule():
    found = set().union(*map(codes_in, READERS))
    assert sorted(found - OTHERS - RULES.keys()) == []


def test_every_error_is_a_code_that_something_gives():
    found = set().union(MADE, *map(codes_in, [*READERS, *MORE]))
    assert sorted(ERRORS.keys() - found) == []


def test_data_without_any_split_are_an_error(tmp_path):
    (tmp_path / "annotations").mkdir()
    (rule,) = found(tmp_path, "detect")
    assert (rule.rule, rule.level) == ("split.missing", "error")


def test_all_defects_of_all_files_are_found_in_one_pass(tmp_path):
    """What makes train stop first does not hide the rest."""
    small.pairs(tmp_path)
    (tmp_path / "masks/train/0.png").unlink()
    (tmp_path / "images/val/2.png").write_text("no image")
    small.mask(tmp_path / "masks/train/1.png", [0, 7])
    places = {(each.rule, each.split, each.sample) for each in found(tmp_path, "segment")}
    assert places == {
        ("split.id_without_file", "train", "images/train/0.png"),
        ("mask.value_range", "train", "images/train/1.png"),
        ("image.not_an_image", "val", "images/val/2.png"),
    }


@pytest.mark.parametrize("folder", ["a", "b"])
def test_every_bad_class_folder_is_found(tmp_path, folder):
    small.folders(tmp_path)
    for name in ("c", "d"):
        (tmp_path / "train" / name).mkdir()
    (tmp_path / "train" / folder.upper()).mkdir()
    rules = sorted(each.rule for each in found(tmp_path, "classify"))
    assert rules == ["class.case_collision", "class.empty", "class.empty", "class.empty"]


def test_a_table_is_read_to_its_end(tmp_path):
    small.table(tmp_path)
    text = (tmp_path / "labels.csv").read_text()
    (tmp_path / "labels.csv").write_text(text + "x.png,a,val\n../y.png,a,val\n0.png,a,train\n")
    (tmp_path / "3.png").write_text("no image")
    rules = {each.rule for each in found(tmp_path, "classify")}
    assert rules >= {
        "split.id_without_file",
        "path.escape",
        "split.duplicate",
        "image.not_an_image",
    }


CATALOGUE = {
    *("json.syntax", "json.nan_literal", "json.duplicate_key", "json.not_object"),
    *("images.missing", "images.empty", "image.id_duplicate", "image.id_type"),
    *("image.file_missing", "image.file_name_type", "image.file_duplicate", "path.escape"),
    *("image.size_missing", "image.size_mismatch", "ann.id_duplicate", "ann.id_zero"),
    *("ann.image_unknown", "ann.category_unknown", "category.id_duplicate"),
    *("category.name_duplicate", "class.unused", "bbox.length", "bbox.nonfinite"),
    *("bbox.nonpositive", "bbox.outside", "area.mismatch", "segm.odd_or_short"),
    *("rle.size_mismatch", "rle.invalid", "iscrowd.value", "xml.syntax", "xml.dtd", "xml.size"),
    *("root.name", "filename.mismatch", "object.name_unknown", "bndbox.missing", "bndbox.order"),
    *("bndbox.nonfinite", "split.id_without_file", "split.missing", "class.empty"),
    *("class.only_in_val", "class.case_collision", "file.unreadable", "image.not_an_image"),
    *("leak.same_file", "classes.differ", "mask.size_mismatch", "mask.value_range"),
    *("mask.rgb_not_index", "mask.all_ignore", "mask.16bit", "video.unreadable"),
    *("video.zero_frames", "video.shorter_than_clip", "video.count_mismatch", "class.unknown"),
    "list.bad_line",
}


SEED = {
    *("json.truncated", "json.depth", "category.unused", "xml.entity", "size.missing"),
    *("file.not_an_image", "leak.same_file_in_train_and_val"),
    *("class.list_changed_since_checkpoint", "mask.missing", "video.label_unknown"),
}
"""What the catalogue calls otherwise."""


def test_what_scripts_rely_on_stays():
    assert RULES.keys() >= CATALOGUE
    assert ALIASES.keys() >= SEED
    assert RULES.keys() >= set(ALIASES.values())


@pytest.mark.parametrize("pipe", ["json.truncated", "json.depth"])
def test_cut_and_deep_files_are_malformed(tmp_path, pipe):
    small.coco(tmp_path)
    path = tmp_path / "annotations/instances_train.json"
    whole = path.read_text()
    path.write_text(whole[:-5] if pipe == "json.truncated" else "[" * 100_000)
    assert {each.rule for each in found(tmp_path, "detect")} == {"json.syntax"}


def test_every_missing_mask_is_found(tmp_path):
    small.pairs(tmp_path)
    for number in (0, 1):
        (tmp_path / f"masks/train/{number}.png").unlink()
    rules = [(each.rule, each.sample) for each in found(tmp_path, "segment")]
    assert rules == [("split.id_without_file", f"images/train/{number}.png") for number in (0, 1)]
