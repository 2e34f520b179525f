"""Gates of an evaluation: limits, baselines, and what CI systems read."""

import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from cvkit.catalog import TASKS
from cvkit.commands import evaluate as module
from cvkit.commands.reports import Measured
from cvkit.errors import UsageError
from cvkit.metrics.gates import check_drops, parse_drops
from cvkit.scoring.contract import scoring_of

ROOT = Path(__file__).parents[1]
LABELS = ["cat", "cat", "dog", "dog", "eel", "eel", "eel", "eel"]


def write_scores(path, wrong, labels=LABELS):
    """Write scores of which the first `wrong` are of another class."""
    names = sorted(set(labels))
    lines = ["path," + ",".join(names)]
    for number, label in enumerate(labels):
        guess = names[(names.index(label) + (number < wrong)) % len(names)]
        lines.append(f"{number}.jpg," + ",".join(str(int(name == guess)) for name in names))
    path.write_text("\n".join(lines) + "\n")


def write_labels(path, labels=LABELS):
    rows = [f"{number}.jpg,{label}" for number, label in enumerate(labels)]
    path.write_text("path,label\n" + "\n".join(rows) + "\n")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with labels, predictions that get 6 of 8 right, and a baseline of 7 of 8."""
    monkeypatch.chdir(tmp_path)
    write_labels(tmp_path / "labels.csv")
    write_scores(tmp_path / "predictions.csv", 2)
    write_scores(tmp_path / "released.csv", 1)
    return tmp_path


SCORE = ("classify", "eval", "--truth", "labels.csv", "--no-files", "--json")
NOW = (*SCORE, "--predictions", "predictions.csv")


@pytest.fixture
def baseline(cvkit, place):
    done = cvkit(*SCORE, "--predictions", "released.csv")
    (place / "baseline.json").write_text(done.out)
    return "--baseline", "baseline.json"


@pytest.mark.parametrize(
    ("drops", "code", "names"),
    [
        (["top1=0.125"], 0, ["top1"]),
        (["top1=0.12"], 4, ["top1"]),
        (["0.9"], 0, ["top1", "balanced_accuracy", "macro_f1", "weighted_f1", "ece"]),
        (["0.9", "top1=0.1"], 4, ["top1", "balanced_accuracy", "macro_f1", "weighted_f1", "ece"]),
        (["recall@cat=0.5"], 0, ["recall@cat"]),
        (["recall@cat=0.4"], 4, ["recall@cat"]),
        ([], 4, ["top1", "balanced_accuracy", "macro_f1", "weighted_f1", "ece"]),
    ],
)
def test_a_drop_below_the_baseline_fails_beyond_its_limit(cvkit, baseline, drops, code, names):
    done = cvkit(*NOW, *baseline, *(f"--max-drop={drop}" for drop in drops))
    assert done.code == code, done.err
    checked = json.loads(done.out.splitlines()[0])["gates"]["checked"]
    assert sorted(gate["name"] for gate in checked) == sorted(names)
    assert all(gate["passed"] for gate in checked) == (code == 0)
    better = cvkit(*SCORE, "--predictions", "released.csv", *baseline)
    assert better.code == 0, "nothing dropped"


def test_a_larger_calibration_error_is_a_drop():
    old, new = ({"metrics": {"ece": value}, "per_class": {}} for value in (0.1, 0.2))
    assert not check_drops({"ece": 0.05}, new, old)[0].passed
    assert check_drops({"ece": 0.05}, old, new)[0].passed
    assert "above the baseline's 0.1" in check_drops({"ece": 0.05}, new, old)[0].text


def test_numbers_that_are_undefined_never_pass_unsaid():
    known, undefined = ({"metrics": {"miou": value}, "per_class": {}} for value in (0.5, None))
    assert not check_drops({}, undefined, known)[0].passed
    with pytest.raises(UsageError, match="undefined there"):
        check_drops({"miou": 0.1}, known, undefined)
    with pytest.raises(UsageError, match="none of this evaluation's metrics"):
        check_drops({}, known, {"metrics": {"AP": 0.5}, "per_class": {}})


def test_a_drop_by_its_limit_passes_in_spite_of_rounding():
    old, new = ({"metrics": {"miou": value}, "per_class": {}} for value in (0.7, 0.6))
    assert check_drops(parse_drops(["0.1"]), new, old)[0].passed
    assert not check_drops(parse_drops(["0.0999999"]), new, old)[0].passed


@pytest.mark.parametrize(
    ("flags", "code", "text"),
    [
        (["--max-drop", "0.1"], "max_drop.idle", "--baseline"),
        (["--allow-different"], "allow_different.idle", "--baseline"),
        (["--baseline", "none.json"], "json.missing", "none.json"),
        (["--baseline", "labels.csv"], "json.syntax", "labels.csv"),
        (["--baseline", "list.json"], "baseline.format", "report.json"),
        (["--baseline", "other.json"], "baseline.task", "segment"),
        (["--baseline", "bare.json"], "baseline.numbers", "evaluate again"),
        (["--baseline", "text.json"], "baseline.numbers", "evaluate again"),
        (["--baseline", "baseline.json", "--max-drop", "x"], "drop.syntax", "miou=0.01"),
        (["--baseline", "baseline.json", "--max-drop", "nan"], "drop.syntax", "miou=0.01"),
        (["--baseline", "baseline.json", "--max-drop", "-1"], "drop.syntax", "miou=0.01"),
        (["--baseline", "baseline.json", "--max-drop", "top1=2"], "drop.syntax", "miou=0.01"),
        (["--baseline", "baseline.json", "--max-drop", "@cat=1"], "drop.syntax", "miou=0.01"),
        (["--baseline", "baseline.json", "--max-drop", "tpo1=0.1"], "gate.unknown", "top1"),
        (
            ["--baseline", "baseline.json", "--max-drop", "recal@cat=0"],
            "gate.unknown",
            "recall@cat",
        ),
        (["--junit", "no/such.xml"], "junit.folder", "a folder that exists"),
        (["--markdown", "."], "markdown.folder", "a folder that exists"),
        (["--markdown", "labels.csv"], "markdown.input", "another file"),
        (["--baseline", "baseline.json", "--junit", "baseline.json"], "junit.input", "another"),
        (["--junit", "a.txt", "--markdown", "a.txt"], "markdown.same", "two files"),
    ],
)
def test_gates_that_cannot_be_meant_are_refused(cvkit, place, baseline, flags, code, text):
    row = {"task": "classify", "command": "eval"}
    files = {
        "list.json": [],
        "other.json": row | {"task": "segment"},
        "bare.json": row,
        "text.json": row | {"numbers": {"top1": {"value": "1"}}, "per_class": {}},
    }
    for name, content in files.items():
        (place / name).write_text(json.dumps(content))
    done = cvkit(*NOW, *flags)
    assert (done.code, done.json["error"]["code"]) == (2, code), done.err
    assert text in done.err
    assert not {"a.txt", "such.xml"} & {path.name for path in place.iterdir()}


def test_other_data_and_other_rules_are_compared_only_on_demand(cvkit, place, baseline):
    report = json.loads((place / "baseline.json").read_text())
    report["numbers"]["top1"]["rule"] = "something else"
    (place / "rule.json").write_text(json.dumps(report))
    other = ["eel", *LABELS[1:]]
    write_labels(place / "labels.csv", other)
    for name, reason in (("baseline.json", "ground truth"), ("rule.json", "something else")):
        flags = (*NOW, "--baseline", name, "--max-drop", "top1=1")
        refused = cvkit(*flags)
        assert (refused.code, refused.json["error"]["code"]) == (2, "baseline.differs")
        assert "--allow-different" in refused.err
        allowed = cvkit(*flags, "--allow-different")
        assert allowed.code == 0 and reason in allowed.err
    write_labels(place / "labels.csv")
    assert "something else" in cvkit(*NOW, "--baseline", "rule.json", "--max-drop", "0.9").err
    assert cvkit(*NOW, *baseline, "--max-drop", "0.9").code == 0


def test_the_numbers_of_a_refused_comparison_are_kept(cvkit, place, baseline):
    write_labels(place / "labels.csv", ["eel", *LABELS[1:]])
    flags = [flag for flag in NOW if flag not in ("--no-files", "--json")]
    assert cvkit(*flags, *baseline).code == 2
    (report,) = place.glob("runs/*/report.json")
    assert json.loads(report.read_text())["metrics"]["top1"] is not None


HOSTILE = 'a|b`c<d>&"e"@f\x1b[31m'


@pytest.fixture
def hostile(cvkit, monkeypatch, place):
    """Let eval find a class and a failure with names of every special character."""

    def find(fails):
        content = {"metrics": {"top1": 0.5}, "rules": {"top1": f"rule of {HOSTILE}"}}
        content |= {"per_class": {HOSTILE: {"recall": 0.5, "images": 2}}}
        lost = [{"path": "x", "code": "image.broken", "reason": f"{HOSTILE} is lost"}]
        content |= {"failures": lost * fails, "counts": {"evaluated": 2, "failed": fails}}
        content |= {"precision": None, "engine": "files", "data_fingerprint": "0"}
        monkeypatch.setattr(module, "_measure_files", lambda *_: Measured(content, None, {}))
        gates = ["--fail-under", "top1=0.5", "--fail-under", f"recall@{HOSTILE}=0.75"]
        return cvkit(*NOW, *gates, "--junit", "g.xml", "--markdown", "g.md")

    return find


@pytest.mark.parametrize("fails", [0, 1])
def test_junit_has_a_test_for_each_gate_and_one_for_the_inputs(hostile, place, fails):
    assert hostile(fails).code == 4
    suite = ElementTree.fromstring((place / "g.xml").read_text()).find("testsuite")
    assert suite.attrib == {
        "name": "cvkit classify eval", "tests": "3", "failures": "1", "errors": str(fails),
    }  # fmt: skip
    first, second, inputs = suite.findall("testcase")
    assert first.get("name") == "top1 >= 0.5" and first.find("failure") is None
    assert "0.5, below 0.75" in second.find("failure").get("message")
    assert HOSTILE[:-5] in second.get("name") and "\\x1b" in second.get("name")
    assert len(inputs.findall("error")) == fails


def test_markdown_shows_hostile_names_as_they_are(hostile, place):
    hostile(1)
    text = (place / "g.md").read_text()
    head, *rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert head == "| gate | limit | value |"
    tables = [re.split(r"(?<!\\)\|", row)[1:-1] for row in rows if not set(row) <= set("|- ")]
    assert {len(cells) for cells in tables} == {3}
    assert "<d>" not in re.sub(r"``.*?``", "", text.replace("\\<", ""))
    assert "\x1b" not in text
    assert "``a\\|b`c<d>&" in text
    assert "### cvkit classify eval: **failed**" in text
    assert "evaluated 2 of 3 images, 1 unreadable" in text


def test_reports_for_ci_are_written_without_gates_too(cvkit, place):
    done = cvkit(*NOW, "--junit", "g.xml", "--markdown", "g.md")
    assert done.code == 0, done.err
    suite = ElementTree.fromstring((place / "g.xml").read_text()).find("testsuite")
    assert (suite.get("tests"), suite.get("failures")) == ("1", "0")
    assert (place / "g.md").read_text().startswith("### cvkit classify eval\n")


def test_each_gate_is_printed_with_its_outcome(cvkit, place, baseline):
    flags = [flag for flag in NOW if flag != "--json"]
    shown = cvkit(*flags, *baseline, "--max-drop", "top1=0.01", "--fail-under", "top1=0.7")
    lines = [line for line in shown.out.splitlines() if line.startswith("gate ")]
    assert [line.partition("  ")[2].strip() for line in lines] == [
        "passed: top1 is 0.75, at least 0.7",
        "failed: top1 is 0.75, more than 0.01 below the baseline's 0.875",
    ]


def steps():
    """Return the shell commands of the workflow in docs/ci.md, by the name of their step."""
    text = (ROOT / "docs" / "ci.md").read_text()
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    jobs = yaml.safe_load(block)["jobs"]
    return {
        step.get("name", step["run"]): step for step in jobs["evaluate"]["steps"] if "run" in step
    }


@pytest.mark.parametrize(("wrong", "code"), [(1, 0), (2, 4)])
def test_the_workflow_of_the_page_does_what_the_page_says(cvkit, place, wrong, code):
    page = (ROOT / "docs" / "ci.md").read_text()
    (made,) = re.findall(r"^    (cvkit classify eval .*) > baseline.json$", page, re.MULTILINE)
    (place / "baseline.json").write_text(cvkit(*shlex.split(made)[1:]).out)
    write_scores(place / "predictions.csv", wrong)
    run = steps()
    done = cvkit(*shlex.split(run["Evaluate"]["run"])[1:])
    assert done.code == code, done.err
    assert run["Show the numbers"]["if"] == "always()"
    environment = {"GITHUB_STEP_SUMMARY": str(place / "summary.md"), "PATH": os.environ["PATH"]}
    subprocess.run(
        ["sh", "-c", run["Show the numbers"]["run"]], env=environment, check=True, cwd=place
    )
    summary = (place / "summary.md").read_text()
    assert ("**failed**" in summary) == (code == 4)
    assert "top1" in summary
    assert ElementTree.fromstring((place / "gates.xml").read_text()).get("tests") == "8"


@pytest.mark.parametrize("task", TASKS)
def test_every_metric_of_every_task_can_be_gated(task):
    from cvkit.metrics.gates import require_known
    from cvkit.options.tree import task_options

    names = scoring_of(task).metric_names(task_options(task, "eval")())
    require_known(dict.fromkeys(names, 0.5), names, None, "--max-drop")
    with pytest.raises(UsageError, match=r"--max-drop .*: there is no such metric"):
        require_known({f"{names[0]}x": 0.1}, names, None, "--max-drop")
