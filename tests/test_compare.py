"""Comparing evaluations: every task, reports and predictions, what is refused, and gates."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cvkit.catalog import TASKS
from cvkit.scoring.stored import NAME

SIDE = 16


def table(folder, shift):
    """Write scores of 12 samples, of which `shift` are wrong."""
    file = folder / f"scores{shift}.csv"
    rows = [f"s{n}.jpg,{(n % 2) ^ (n < shift)},{1 - (n % 2) ^ (n < shift)}" for n in range(12)]
    file.write_text("\n".join(["path,a,b", *rows]) + "\n")
    labels = folder / "labels.csv"
    labels.write_text("path,label\n" + "".join(f"s{n}.jpg,{'ba'[n % 2]}\n" for n in range(12)))
    return file, labels


def masks(folder, shift):
    """Write masks of six images; `shift` columns of the first two are wrong."""
    places = folder / f"masks{shift}", folder / "truth"
    for place, moved in zip(places, (shift, 0), strict=True):
        place.mkdir(exist_ok=True)
        for n in range(6):
            mask = np.zeros((SIDE, SIDE), np.uint8)
            mask[:, SIDE // 2 + (moved if n < 2 else 0) :] = 1
            Image.fromarray(mask).save(place / f"m{n}.png")
    (folder / "truth" / "classes.txt").write_text("a\nb\n")
    return places


def objects(folder, shift):
    """Write the objects of six images; those of the first `shift` are not found."""
    square = [[2, 2, 12, 2, 12, 12, 2, 12]]
    shape = {"bbox": [2, 2, 10, 10], "segmentation": square, "category_id": 1}
    images = [{"id": n, "file_name": f"i{n}.jpg", "width": SIDE, "height": SIDE} for n in range(6)]
    rows = [shape | {"id": n, "image_id": n, "area": 100} for n in range(6)]
    content = {"images": images, "categories": [{"id": 1, "name": "a"}], "annotations": rows}
    (folder / "truth.json").write_text(json.dumps(content))
    found = [shape | {"image_id": n, "score": 0.9 - n / 10} for n in range(shift, 6)]
    (folder / f"found{shift}.json").write_text(json.dumps(found))
    return folder / f"found{shift}.json", folder / "truth.json"


WRITERS = {"segment": masks, "detect": objects, "instance": objects}


@pytest.fixture(params=TASKS)
def task(request):
    return request.param


@pytest.fixture
def reports(cvkit, tmp_path):
    """Return what writes report folders of a task with so many mistakes each."""

    def write(task, *shifts, more=()):
        folders = []
        for shift in shifts:
            predictions, truth = WRITERS.get(task, table)(tmp_path, shift)
            flags = ("--predictions", predictions, "--truth", truth, "--out", tmp_path / "runs")
            done = cvkit(task, "eval", *flags, "--json", *more)
            assert done.code == 0, done.err
            folders.append(done.json["folder"])
        return folders

    return write


def flat(metrics):
    """Return the first metric of the content of compare."""
    first = next(iter(metrics.values()))
    return first if "values" in first else flat(first)


def test_reports_of_every_task_are_compared_with_the_first(cvkit, reports, tmp_path, task):
    places = reports(task, 0, 2, 1)
    done = cvkit("compare", *places, "--json", "--bootstrap", 50, "--out", tmp_path)
    assert done.code == 0, done.err
    found = done.json
    assert found["compared"] == places
    first = flat(found["metrics"])
    assert first["values"][0] == pytest.approx(1)
    worse, better = (row["difference"] for row in first["differences"])
    assert worse < better < 0
    assert [row["difference"] for row in first["differences"]] == pytest.approx(
        [value - first["values"][0] for value in first["values"][1:]]
    )
    for row in first["differences"]:
        assert row["low"] <= row["difference"] <= row["high"] <= 0
    changed = [each["path"] for each in found["samples"]]
    assert {path.partition(".")[0][1:] for path in changed} == {"0", "1"}
    assert found["per_class"].keys() == ({"a"} if task in ("detect", "instance") else {"a", "b"})
    folder = tmp_path / "compare-001"
    assert {"compare.json", "per_class.csv", "changed.csv"} <= {p.name for p in folder.iterdir()}
    told = cvkit("compare", *places, "--bootstrap", 50, "--no-files")
    assert told.code == 0
    assert "B - A" in told.out


def test_an_evaluation_differs_from_itself_by_nothing(cvkit, reports, task):
    """Both get the same samples in each replicate."""
    (place,) = reports(task, 2)
    done = cvkit("compare", place, place, "--json", "--no-files", "--bootstrap", 20)
    first = flat(done.json["metrics"])
    assert 0 < first["values"][0] < 1
    assert first["differences"] == [{"difference": 0, "low": 0, "high": 0}]
    assert not done.json["samples"] or not any(each["change"] for each in done.json["samples"])


def test_predictions_compare_like_their_reports(cvkit, reports, tmp_path, task):
    places = reports(task, 0, 2)
    files = [WRITERS.get(task, table)(tmp_path, shift) for shift in (0, 2)]
    flags = ("--json", "--bootstrap", 50, "--no-files")
    one = cvkit("compare", *places, *flags).json
    predicted = [prediction for prediction, _ in files]
    done = cvkit("compare", *predicted, "--task", task, "--truth", files[0][1], *flags)
    assert done.code == 0, done.err
    for name in ("metrics", "per_class", "samples", "counts"):
        assert done.json[name] == one[name], name


def test_a_drop_over_the_limit_is_exit_code_4(cvkit, reports, task):
    places = reports(task, 0, 2)
    flags = ("--json", "--bootstrap", 10, "--no-files")
    drop = -flat(cvkit("compare", *places, *flags).json["metrics"])["differences"][0]["difference"]
    assert drop > 0
    assert cvkit("compare", *places, *flags, "--max-drop", drop).code == 0
    failed = cvkit("compare", *places, *flags, "--max-drop", drop * 0.99)
    assert failed.code == 4
    assert failed.json["gates"]["failed"]
    assert cvkit("compare", *places[::-1], *flags, "--max-drop", 0).code == 0


def test_other_data_are_refused_unless_told_otherwise(cvkit, reports, tmp_path, task):
    (first,) = reports(task, 0)
    other = tmp_path / "other"
    other.mkdir()
    predictions, truth = WRITERS.get(task, table)(other, 1)
    if task == "segment":
        whole = np.zeros((SIDE, SIDE), np.uint8)
        Image.fromarray(whole).save(truth / "m5.png")
    elif task in ("detect", "instance"):
        content = json.loads(truth.read_text())
        content["annotations"].pop()
        truth.write_text(json.dumps(content))
    else:
        truth.write_text(truth.read_text().replace("s11.jpg,a", "s11.jpg,b"))
    flags = ("--predictions", predictions, "--truth", truth, "--out", other, "--json")
    second = cvkit(task, "eval", *flags).json["folder"]
    refused = cvkit("compare", first, second, "--json")
    assert refused.code == 2
    assert refused.json["error"]["code"] == "compare.differ"
    assert "different ground truths" in refused.json["error"]["message"]
    flags = ("--accept-differences", "--bootstrap", 10, "--no-files")
    done = cvkit("compare", first, second, *flags)
    assert done.code == 0
    assert "different ground truths" in done.err


def test_fewer_samples_are_refused_and_common_ones_compared_if_asked(cvkit, reports, tmp_path):
    (first,) = reports("classify", 0)
    predictions, truth = table(tmp_path, 1)
    truth.write_text("".join(truth.read_text().splitlines(keepends=True)[:-2]))
    flags = ("--predictions", predictions, "--truth", truth, "--out", tmp_path, "--json")
    second = cvkit("classify", "eval", *flags).json["folder"]
    assert "different samples" in cvkit("compare", first, second).err
    done = cvkit("compare", first, second, "--accept-differences", "--json", "--no-files")
    assert done.json["counts"]["samples"] == 10


def test_other_rules_are_refused(cvkit, reports):
    (first,) = reports("segment", 0)
    (second,) = reports("segment", 0, more=("--absent-class", "zero"))
    refused = cvkit("compare", first, second, "--json")
    assert refused.json["error"]["code"] == "compare.differ"
    assert "absent class 'exclude' and 'zero'" in refused.json["error"]["message"]
    coco, voc = (reports("detect", 0, more=more)[0] for more in ((), ("--protocol", "voc07")))
    assert "different rules" in cvkit("compare", coco, voc).err
    assert cvkit("compare", first, coco, "--json").json["error"]["code"] == "compare.task"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("A",), "compare.evaluations"),
        (("A", "B"), "compare.report"),
        (("B", "A"), "data.missing"),
        (("A", "B", "--task", "detect"), "compare.truth"),
        (("A", "B", "--truth", "t.json"), "compare.truth"),
        (("A", "B", "--split", "train"), "split.idle"),
    ],
)
def test_what_cannot_be_compared_is_refused(cvkit, tmp_path, words, code):
    (tmp_path / "A").mkdir()
    words = [tmp_path / word if word in "AB" else word for word in words]
    done = cvkit("compare", *words, "--json")
    assert done.code == 2
    assert done.json["error"]["code"] == code


def test_damaged_counts_are_refused(cvkit, reports, task):
    good, bad = reports(task, 0, 1)
    file = Path(bad) / NAME
    content = file.read_bytes()
    with np.load(file) as arrays:
        known = dict(arrays)
    wrong = []
    for name, array in known.items():
        if name != "about":
            changed = array.copy()
            changed.ravel()[-1:] = 99 if array.dtype.kind != "f" else -1.0
            wrong.append(known | {name: changed})
        wrong.append({n: a for n, a in known.items() if n != name})
    files = [b"", content[:100], content[: len(content) // 2], b"[]"]
    for case in [*files, *wrong]:
        if isinstance(case, dict):
            with file.open("wb") as stream:
                np.savez(stream, **case)
        else:
            file.write_bytes(case)
        done = cvkit("compare", good, bad, "--json", "--no-files", "--bootstrap", 10)
        assert done.code == 2, case
        assert done.json["error"]["code"] == "compare.counts"
    file.unlink()
    assert "run eval again" in cvkit("compare", good, bad).err
