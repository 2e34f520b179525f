"""The page of a report: its numbers, its size, and what hostile or missing content does to it."""

import errno
import os
import re
import shlex
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from command_lines import NEEDED
from report_parts import NAMES, evaluation, page, predictions_of, scored_of

from cvkit import cli
from cvkit.catalog import TASKS
from cvkit.commands.reports import command_line
from cvkit.commands.training_report import evaluation_of
from cvkit.data.synthetic.samples import WRITERS
from cvkit.errors import DataError, MachineError
from cvkit.metrics.image_counts import count_image
from cvkit.options.job import with_given
from cvkit.options.tree import OPTIONS, commands
from cvkit.reporting import classify, gallery
from cvkit.reporting.charts import Axis, Line, line_chart, nice_ceiling, ticks
from cvkit.reporting.detect import by_threshold
from cvkit.reporting.matrix import reduced, short_count
from cvkit.reporting.segment import by_size
from cvkit.reporting.training import read_history
from cvkit.scoring.contract import Scored

EXPECTED = {
    "classify": {"confusion", "calibration", "curves"},
    "video": {"confusion", "calibration", "curves"},
    "segment": {"errors", "confusion"},
    "detect": {"errors", "curves", "confusion"},
    "instance": {"errors", "curves", "confusion"},
}
VOID = {"meta", "link", "img", "input", "br"}
HOSTILE = (
    "<script>document.title='pwned'</script>",
    '"><img src=x onerror="document.title=\'pwned\'">',
    "' onclick='document.title=1",
    "{{ 7 * 7 }}{% raw %}",
    "two\nlines",
    "\u202egnp.exe",
    "العربية",
    "a&amp;b",
    "very-long-" * 60,
    "\udcff not text",
)


class Reader(HTMLParser):
    """Reads a page and checks that its elements are nested."""

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.texts, self.scripts = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        (self.scripts if self.open[-1:] == ["script"] else self.texts).append(data)

    def all(self, tag, **attributes):
        found = [attrs for name, attrs in self.seen if name == tag]
        return [a for a in found if attributes.items() <= a.items()]


def read(path):
    reader = Reader()
    text = path.read_text(encoding="utf-8")
    reader.feed(text)
    reader.close()
    assert not reader.open
    ids = [attrs["id"] for _, attrs in reader.seen if "id" in attrs]
    assert len(ids) == len(set(ids))
    return reader, text


@pytest.mark.parametrize("task", TASKS)
def test_a_page_shows_every_metric_with_its_rule_and_every_class(tmp_path, task):
    about = {"level": 0.95, "rule": "percentiles of 100 replicates"}
    made = evaluation(task, content={"intervals": {"metrics": {}, **about}})
    name = next(name for name, value in made.content["metrics"].items() if value is not None)
    made.content["intervals"]["metrics"][name] = [0.125, 0.875]
    reader, text = read(page(tmp_path, task, content=made.content))
    words = " ".join(reader.texts)
    for metric, value in made.content["metrics"].items():
        assert metric in words
        assert value is None or f"{value:.4f}" in words
        assert str(made.content["rules"].get(metric, "")).split(";")[0] in words
    assert "0.1250 – 0.8750" in words and "95%, percentiles of 100 replicates" in words
    assert f"evaluated 4 of 5 {'videos' if task == 'video' else 'images'}, 1 unreadable" in words
    assert {a["data-value"] for a in reader.all("th", scope="row") if "data-value" in a} == {*NAMES}
    assert "lost.jpg is no image" in words
    assert "2 images are rotated by EXIF" in words
    assert "cvkit " + task + " eval --weights runs/a --report" in words
    sections = {attrs.get("id") for attrs in reader.all("section")}
    assert EXPECTED[task] | {"metrics", "classes", "gallery", "training"} <= sections
    assert {a["href"][1:] for a in reader.all("a") if "href" in a} <= {
        attrs["id"] for _, attrs in reader.seen if "id" in attrs
    }
    assert not re.search(r"(?:src|href|url)\s*[=(]\s*[\"']?(?:https?:)?//", text)
    assert len(text) < 3_000_000


@pytest.mark.parametrize("task", TASKS)
def test_every_picture_has_a_text_and_every_chart_a_description(tmp_path, task):
    reader, _ = read(page(tmp_path, task))
    pictures, charts = reader.all("img"), reader.all("svg")
    assert len(pictures) == 4 * (1 if task in ("classify", "video") else 2)
    assert all(
        p["alt"].strip() and p["src"].startswith("data:image/webp;base64,") for p in pictures
    )
    assert charts
    assert all(chart["role"] == "img" and chart["aria-label"] for chart in charts)


@pytest.mark.parametrize("task", TASKS)
def test_names_are_text_whatever_they_contain(tmp_path, task):
    made = scored_of(task, HOSTILE, 10)
    outcomes = [(name, each) for name, (_, each) in zip(HOSTILE, made.outcomes, strict=True)]
    first, _ = made.outcomes[0]
    scored = Scored(made.metric, made.classes, outcomes, [], lambda path: made.scene(first))
    reader, text = read(page(tmp_path, task, scored=scored, warnings=HOSTILE, command=HOSTILE[0]))
    assert len(reader.all("script")) == len(reader.scripts) == 1
    handlers = {name for _, attrs in reader.seen for name in attrs if name.startswith("on")}
    assert not handlers
    assert all(attrs["src"].startswith("data:image/webp") for attrs in reader.all("img"))
    assert "\u202e" not in text
    shown = {a["data-value"] for a in reader.all("th", scope="row") if "data-value" in a}
    unchanged = {name for name in HOSTILE if name.isprintable()}
    assert unchanged | {"two\\nlines", "\\u202egnp.exe", "\\udcff not text"} == shown


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("count", [1, 1000])
def test_a_page_has_one_class_or_a_thousand(tmp_path, task, count):
    # Masks have one byte per pixel.
    names = [f"class {n}" for n in range(min(count, 250) if task == "segment" else count)]
    reader, text = read(page(tmp_path, task, scored=scored_of(task, names, 6)))
    rows = [a for a in reader.all("th", scope="row") if "data-value" in a]
    assert len(rows) == len(names)
    assert len(text) < 3_000_000


@pytest.mark.parametrize("task", TASKS)
def test_without_samples_and_with_nan_a_page_says_so(tmp_path, task):
    scored = scored_of(task, count=0)
    nothing = Scored(scored.metric, scored.classes, [], [])
    content = {"metrics": {"m": float("nan"), "n": None}, "per_class": {}, "failures": []}
    reader, _ = read(page(tmp_path, task, scored=nothing, content=content, history=()))
    words = " ".join(reader.texts)
    assert "No sample was evaluated, so there are no figures." in words
    assert "There are no classes." in words
    assert "nan" not in words.lower().split()
    assert not reader.all("img")


def test_a_task_without_a_page_of_its_own_has_its_numbers(tmp_path):
    made = evaluation("classify")
    reader, _ = read(page(tmp_path, replace(made, task="brightness", history=())))
    words = " ".join(reader.texts)
    assert "There are no figures for this task." in words
    assert f"{made.content['metrics']['top1']:.4f}" in words


@pytest.mark.parametrize("task", TASKS)
def test_a_missing_image_is_named_in_its_place(tmp_path, task):
    scored = scored_of(task)

    def scene(path):
        raise DataError(f"{path} does not exist", code="image.missing")

    gone = Scored(scored.metric, scored.classes, scored.outcomes, [], scene)
    reader, _ = read(page(tmp_path, task, scored=gone))
    words = " ".join(reader.texts)
    assert not reader.all("img")
    assert all(f"{path} does not exist" in words for path, _ in scored.outcomes)


def test_many_large_pictures_stay_below_the_limit(tmp_path):
    scored = scored_of("detect", count=20)
    noise = np.random.default_rng(0).integers(0, 255, (360, 480, 3), np.uint8)
    scene = scored.scene("0.jpg").__class__(noise)
    large = Scored(scored.metric, scored.classes, scored.outcomes, [], lambda path: scene)
    reader, text = read(page(tmp_path, "detect", scored=large))
    assert len(reader.all("img")) == 36
    assert len(text) < 3_000_000


@pytest.mark.parametrize("before", [None, "the former page"])
def test_a_full_disk_leaves_no_half_written_page(tmp_path, monkeypatch, before):
    path = tmp_path / "report.html"
    if before:
        path.write_text(before)

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MachineError):
        page(tmp_path, "classify")
    assert [each.name for each in tmp_path.iterdir()] == (["report.html"] if before else [])
    assert not before or path.read_text() == before


def test_worst_best_and_random_samples_differ():
    paths = [f"{n}.jpg" for n in range(40)]
    qualities = [n / 40 for n in range(39)] + [None]
    groups = gallery.choose(paths, qualities)
    assert groups["worst"] == [0, 1, 2, 3, 4, 5]
    assert groups["best"] == [38, 37, 36, 35, 34, 33]
    assert len(groups["random"]) == 6
    assert not {*groups["random"]} & {*groups["worst"], *groups["best"]}
    assert groups == gallery.choose(paths, qualities)
    assert gallery.choose(["a"], [0.5]) == {"worst": [0]}
    assert gallery.choose(["a"], [None]) == {"random": [0]}


def test_the_threshold_curves_are_those_of_the_counts():
    metric = scored_of("detect", count=1).metric  # two objects, found at scores 0.9 and 0.6
    limits, precision, recall, f1 = by_threshold(metric)
    at = {round(float(limit), 2): place for place, limit in enumerate(limits)}
    assert [precision[at[0.5]], recall[at[0.5]], f1[at[0.5]]] == [1, 1, 1]
    assert [precision[at[0.7]], recall[at[0.7]]] == [1, 0.5]
    assert f1[at[0.7]] == pytest.approx(2 / 3)
    assert np.isnan(precision[at[0.95]])
    assert recall[at[0.95]] == f1[at[0.95]] == 0


def test_the_sizes_of_regions_are_square_roots_of_their_areas():
    matrix = np.array([[100, 0, 0], [10, 30, 0], [0, 0, 0]])  # 100 and 40 pixels: sides 10 and 6.3
    assert by_size([count_image(matrix, matrix)]) == [("0–8", 30 / 40, 1), ("8–16", 100 / 110, 1)]


def test_many_classes_are_reduced_to_those_with_errors():
    matrix = np.diag(np.full(100, 7))
    matrix[40, 60] = 5
    small, names = reduced(matrix, [f"c{n}" for n in range(100)])
    assert small.shape == (26, 26)
    assert small.sum() == matrix.sum()
    assert {"c40", "c60"} <= {*names}
    assert names[-1] == "all others"
    assert small[names.index("c40"), names.index("c60")] == 5


def test_the_accuracy_over_the_smallest_score_is_of_those_that_reach_it():
    rows = [(0, 0, 0.9), (1, 0, 0.5), (1, 1, 0.5), (0, 1, 0.2)]
    outcomes = [(str(number), row) for number, row in enumerate(rows)]
    limits, accuracy, share = classify.by_threshold(outcomes)
    at = {round(limit, 2): (a, s) for limit, a, s in zip(limits, accuracy, share, strict=True)}
    assert at[0] == (0.5, 1)
    assert at[0.3] == at[0.5] == (2 / 3, 3 / 4)
    assert at[0.6] == (1, 1 / 4)
    assert np.isnan(at[0.95][0]) and at[0.95][1] == 0


def test_ticks_and_counts_are_short():
    assert ticks(Axis("x", 0, 1)) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert ticks(Axis("x", 1, 12)) == [2.5, 5, 7.5, 10]
    assert ticks(Axis("x", 3, 3)) == [3]
    assert ticks(Axis("x", 1, 12, whole=True)) == [3, 6, 9, 12]
    assert ticks(Axis("x", 1, 3, whole=True)) == [1, 2, 3]
    assert [nice_ceiling(value) for value in (0, 1, 7, 103)] == [1, 1, 8, 125]
    assert [short_count(n) for n in (0, 999, 1500, 12000, 3_400_000)] == [
        *("0", "999", "1.5k", "12k", "3.4M")
    ]


def test_lines_have_gaps_where_a_number_is_missing():
    nan = float("nan")
    drawn = line_chart(
        "a <b>", [Line("m", [0, 1, 2, 3], [0, 1, nan, 1])], Axis("x", 0, 3), Axis("y")
    )
    root = ET.fromstring(str(drawn))
    assert root.attrib["aria-label"] == "a <b>"
    assert [e.attrib["class"] for e in root if "s1" in e.attrib.get("class", "")] == [
        *("line s1", "dot s1")
    ]


@pytest.mark.parametrize("text", ["{", "[]", '{"epoch": "x"}', '{"epoch": 1}'])
def test_a_damaged_history_is_named_with_its_line(tmp_path, text):
    good = '{"epoch": 1, "loss": 1.0}\n'
    (tmp_path / "metrics.jsonl").write_text(good)
    assert len(read_history(tmp_path)) == 1
    (tmp_path / "metrics.jsonl").write_text(good + text)
    with pytest.raises(DataError, match=r"metrics\.jsonl:2"):
        read_history(tmp_path)
    assert read_history(tmp_path / "none") == []


def test_the_command_repeats_every_flag_that_is_not_at_its_default(tmp_path):
    asked = OPTIONS["detect"]["eval"](
        weights="a run", files=False, iou=0.7, fail_under=["AP=0.5", "AP50@a b=1"], quiet=True
    )
    assert command_line(asked, ("detect", "eval")) == (
        "cvkit detect eval --quiet --fail-under AP=0.5 --fail-under 'AP50@a b=1' "
        "--weights 'a run' --no-files --iou 0.7"
    )


@pytest.mark.parametrize("path", [path for path, _ in commands()], ids=" ".join)
def test_the_command_can_be_given_again(path, monkeypatch):
    asked = []
    monkeypatch.setattr(cli, "resolve", lambda target: lambda options, *task: asked.append(options))
    for more in ([], ["--quiet"]):
        cli.run([*path, *more, *NEEDED.get(path, [])])
        cli.run(shlex.split(command_line(asked[-1], path))[1:])
        assert len(asked) == 2 and asked[0] == asked[1]
        asked.clear()


def test_inputs_that_look_like_flags_are_given_as_inputs():
    asked = OPTIONS["segment"]["predict"](inputs=["-x.png", "a b"], weights="w")
    assert command_line(asked, ("segment", "predict")) == (
        "cvkit segment predict --weights w -- -x.png 'a b'"
    )


@pytest.mark.parametrize("task", TASKS)
def test_the_evaluation_after_a_training_reads_the_same_data(tmp_path, task):
    flags = {"data": "d", "workers": 3, "val_split": "test", "keep": "last", "offline": True}
    known = OPTIONS[task]["train"].__dataclass_fields__
    if "val_json" in known:
        flags |= {"train_json": tmp_path / "a.json", "val_json": tmp_path / "b.json"}
    options = with_given(OPTIONS[task]["train"](**flags), flags)
    found = evaluation_of(options, task, tmp_path)
    assert found.weights == str(tmp_path / "last.safetensors")
    assert (found.split, found.workers, found.offline) == ("test", 3, True)
    json_file = getattr(found, "json_file", None)
    assert (found.data, json_file) == ((None, tmp_path / "b.json") if json_file else ("d", None))
    assert bool(json_file) == ("val_json" in known)


@pytest.mark.parametrize("task", TASKS)
def test_the_report_of_a_training_uses_its_splits(task, tmp_path):
    flags = {"splits": tmp_path / "s.json", "fold": "1/2", "exclude": tmp_path / "e.txt"}
    found = evaluation_of(OPTIONS[task]["train"](data="d", **flags), task, tmp_path)
    assert {name: getattr(found, name) for name in flags} == flags


@pytest.mark.parametrize("task", TASKS)
def test_the_page_of_scored_files_shows_the_images_of_the_dataset(cvkit, tmp_path, task):
    counts = {"train": 7, "val": 7} if task in ("classify", "video") else {"train": 1, "val": 2}
    WRITERS[task](tmp_path / "data", counts, 1, (32, 32))
    predictions = predictions_of(task, tmp_path / "data", tmp_path)
    flags = ("--predictions", predictions, "--truth", tmp_path / "data", "--out", tmp_path / "out")
    done = cvkit(task, "eval", *flags, "--report", "--json")
    assert done.code == 0, done.out
    reader, text = read(Path(done.json["files"]["report_html"]))
    views = 1 if task in ("classify", "video") else 2
    assert len(reader.all("img")) == views * done.json["counts"]["evaluated"]
    assert 'class="missing"' not in text
    words = " ".join(reader.texts)
    assert f"cvkit {task} eval" in words
    assert "pycocotools" in words
