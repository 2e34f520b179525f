"""`cvkit data check`: its output, its exit codes, its list of samples."""

import json
import shutil

import pytest

from cvkit.data.findings import chosen, located, parts_of, unknown_rules, warning
from cvkit.data.rules import ALIASES, RULES
from cvkit.data.synthetic.samples import WRITERS
from cvkit.format_table import TRUTH_OF

COUNTS = {"train": 7, "val": 7}


@pytest.fixture(params=TRUTH_OF)
def made(request, tmp_path):
    """A dataset of each task."""
    WRITERS[request.param](tmp_path / "d", COUNTS, 3, (64, 64))
    return request.param, tmp_path / "d"


def broken(root, count=7):
    """Spoil images or videos of the training split; return their keys."""
    suffixes = (".png", ".jpg", ".mp4", ".avi")
    paths = [p for p in sorted(root.rglob("*.*")) if p.suffix in suffixes and "train" in p.parts]
    paths = [path for path in paths if "masks" not in path.parts][:count]
    for path in paths:
        path.write_text("no image")
    return [path.relative_to(root).as_posix() for path in paths]


def test_warnings_are_no_failure_and_errors_are(cvkit, made):
    task, root = made
    good = cvkit("data", "check", root, "--task", task, "--json")
    assert good.code == 0, good.out
    assert good.json["ok"] is True
    assert good.json["splits"] == COUNTS
    assert good.json["images"] == 14
    assert (good.json["errors"], good.json["warnings"]) == (0, len(good.json["findings"]))
    keys = broken(root, 3)
    bad = cvkit("data", "check", root, "--task", task, "--json")
    assert bad.code == 2
    assert bad.json["ok"] is False
    errors = [each for each in bad.json["findings"] if each["level"] == "error"]
    assert sorted({each["sample"] for each in errors} - {""}) == keys
    assert bad.json["errors"] == len(errors)
    assert sum(bad.json["counts"].values()) == len(bad.json["findings"])
    names = {"rule", "level", "split", "sample", "file", "place", "message", "remedy"}
    assert all(set(each) == names and each["remedy"] for each in bad.json["findings"])


def test_the_first_five_of_a_rule_are_printed_and_all_on_request(cvkit, made):
    task, root = made
    keys = broken(root)
    few, every = (cvkit("data", "check", root, "--task", task, *more) for more in ((), ("--all",)))
    assert few.code == every.code == 2
    assert sum(key in few.out for key in keys) == 5
    assert "and 2 more, see --all" in few.out
    assert all(key in every.out for key in keys)
    assert few.err.count("error:") == 1


def test_the_samples_listed_can_be_left_out(cvkit, made, tmp_path):
    """The list is not replaced unless asked for, and has the samples of the chosen rules only."""
    task, root = made
    (key,) = broken(root, 1)
    listed = tmp_path / "broken.txt"
    shown = ("data", "check", root, "--task", task)
    assert cvkit(*shown, "--fix-list", listed).code == 2
    assert listed.read_text() == f"{key}\n"
    kept = cvkit(*shown, "--exclude", listed, "--json")
    found = kept.json["findings"]
    assert not [each for each in found if each["rule"] not in ("class.only_in_val", "class.unused")]
    again = cvkit(*shown, "--fix-list", listed)
    assert again.code == 2
    assert "exists (add --overwrite to replace it)" in again.err
    assert listed.read_text() == f"{key}\n"
    assert cvkit(*shown, "--fix-list", listed, "--overwrite", "--select", "leak").code == 0
    assert listed.read_text() == ""


def test_select_and_ignore_decide_the_exit_code(cvkit, made):
    task, root = made
    broken(root, 1)
    shown = ("data", "check", root, "--task", task)
    rule = {"video": "video"}.get(task, "image")
    assert cvkit(*shown, "--select", rule).code == 2
    assert cvkit(*shown, "--select", "leak").code == 0
    assert cvkit(*shown, "--ignore", f"{rule},class,mask,annotations").code == 0


@pytest.mark.parametrize("task", TRUTH_OF)
def test_the_task_is_found_where_only_one_fits(cvkit, tmp_path, task):
    WRITERS[task](tmp_path / "d", COUNTS, 3, (32, 32))
    done = cvkit("data", "check", tmp_path / "d", "--json")
    if task != "segment":  # the samples of detect have outlines, too
        found = {"detect": "instance"}.get(task, task)
        assert done.json["truth"] == TRUTH_OF[found][0]
    else:
        assert done.json["error"]["code"] == "task.unclear"
        assert "--task" in done.json["error"]["hint"]


def test_data_that_are_none_are_refused(cvkit, tmp_path):
    missing = cvkit("data", "check", tmp_path / "none", "--json")
    assert missing.json["error"]["code"] == "data.missing"
    empty = cvkit("data", "check", tmp_path, "--json")
    assert empty.json["error"]["code"] == "task.unclear"
    known = cvkit("data", "check", tmp_path, "--task", "detect", "--json")
    assert known.json["error"]["code"] == "data.layout"
    wrong = cvkit("data", "check", tmp_path, "--task", "detect", "--format", "csv", "--json")
    assert wrong.json["error"]["code"] == "format.unknown"


@pytest.mark.parametrize(
    "task", [task for task, (truth, _) in TRUTH_OF.items() if truth != "masks"]
)
@pytest.mark.parametrize("words", [("--mask-map", "1=2"), ("--ignore-index", 3)])
def test_flags_of_masks_have_no_effect_elsewhere(cvkit, tmp_path, task, words):
    done = cvkit("data", "check", tmp_path, "--task", task, *words)
    assert done.code == 2
    assert f"{words[0]} has no effect" in done.err


def test_a_coco_file_is_checked_alone(cvkit, tmp_path):
    WRITERS["detect"](tmp_path / "d", COUNTS, 3, (32, 32))
    file = next((tmp_path / "d").rglob("instances_val.json"))
    shutil.move(file, tmp_path / "x.json")
    images = tmp_path / "d" / "images" / "val"
    done = cvkit(
        "data", "check", tmp_path / "x.json", "--task", "detect", "--images", images, "--json"
    )
    assert done.code == 0, done.out
    assert done.json["splits"] == {"all": 7}
    content = json.loads((tmp_path / "x.json").read_text())
    content["annotations"][0]["bbox"] = [1]
    (tmp_path / "x.json").write_text(json.dumps(content))
    done = cvkit(
        "data", "check", tmp_path / "x.json", "--task", "detect", "--images", images, "--json"
    )
    (finding,) = done.json["findings"]
    assert (finding["rule"], finding["file"]) == ("bbox.length", "x.json")


@pytest.mark.parametrize(
    ("rest", "place"),
    [
        (":3: class 'x' is unknown", "line 3"),
        (": annotations[2] (id 7): its id occurs twice", "annotations[2] (id 7)"),
        (" is not valid JSON: Expecting value: line 2 column 5 (char 9)", "line 2 column 5"),
        (" is damaged", ""),
        ("", ""),
    ],
)
@pytest.mark.parametrize("name", ["a.json", "a b: c.json", "a:7.json"])
def test_a_place_is_told_from_the_name_of_its_file(tmp_path, name, rest, place):
    (tmp_path / name).touch()
    assert located(f"{tmp_path / name}{rest}", tmp_path) == (name, place)


def test_rules_are_chosen_by_name_and_by_first_part():
    found = [warning(rule, "x") for rule in RULES]
    assert {each.rule for each in chosen(found, "bbox, leak.same_file", None)} == {
        *(rule for rule in RULES if rule.startswith("bbox.")),
        "leak.same_file",
    }
    assert not chosen(found, "bbox", "bbox")
    assert chosen(found, None, None) == found
    assert not chosen(found, "", None)


def test_a_rule_has_the_names_under_which_others_know_it(cvkit, tmp_path):
    found = [warning(rule, "x") for rule in RULES]
    for alias, rule in ALIASES.items():
        assert alias not in RULES
        assert [each.rule for each in chosen(found, alias, None)] == [rule]
        assert rule not in {each.rule for each in chosen(found, None, alias)}
        assert not unknown_rules(parts_of(alias))
    WRITERS["classify"](tmp_path / "d", COUNTS, 3, (64, 64))
    broken(tmp_path / "d", 1)
    shown = ("data", "check", tmp_path / "d", "--task", "classify", "--json")
    assert list(cvkit(*shown, "--select", "file.not_an_image").json["counts"]) == [
        "image.not_an_image"
    ]
    assert cvkit(*shown, "--select", "leak,file.not_an_imag").json["error"]["hint"]


def test_warnings_do_not_fail(cvkit, tmp_path):
    WRITERS["classify"](tmp_path / "d", COUNTS, 3, (64, 64))
    first = next((tmp_path / "d" / "train").rglob("*.png"))
    shutil.copy(first, tmp_path / "d" / "val" / first.parent.name / "copy.png")
    done = cvkit("data", "check", tmp_path / "d", "--json")
    assert done.code == 0
    assert "leak.same_file" in done.json["counts"]
    assert (done.json["errors"], done.json["warnings"] > 0) == (0, True)
