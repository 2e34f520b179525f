"""Commands that count and show labelled data: what they print, write and refuse."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from cvkit.catalog import TASKS
from cvkit.data.synthetic.samples import WRITERS
from cvkit.output import sheet


@pytest.fixture(scope="module")
def scenes_of(tmp_path_factory):
    """Return a dataset of a task; the same one each time."""
    made = {}

    def get(task):
        if task not in made:
            made[task] = tmp_path_factory.mktemp("views") / task
            WRITERS[task](
                made[task], {"train": 6, "val": 3 if task != "classify" else 6}, 3, (40, 40)
            )
        return made[task]

    return get


@pytest.fixture
def spoilt(scenes_of, tmp_path):
    """A dataset of each task with one file that cannot be read, and that file."""

    def make(task):
        folder = tmp_path / task
        shutil.copytree(scenes_of(task), folder)
        suffix = ".mp4" if task == "video" else ".png"
        places = [folder / "images" / "train", folder / "train"]
        place = next(place for place in places if place.is_dir())
        victim = sorted(place.rglob(f"*{suffix}"))[0]
        victim.write_bytes(b"nothing")
        return folder, victim

    return make


@pytest.mark.parametrize("task", TASKS)
def test_numbers_of_every_task_as_json_and_as_words(cvkit, scenes_of, task):
    done = cvkit("data", "stats", scenes_of(task), "--task", task, "--json")
    assert done.code == 0, done.err
    said = done.json
    assert (said["task"], list(said["splits"])) == (task, ["train", "val"])
    train = said["splits"]["train"]
    assert train["samples"] == 6
    assert train["colours"]["images"] == 6
    assert set(train["per_class"]) == set(said["classes"])
    assert all(each["text"] for each in said["advice"])
    words = cvkit("data", "stats", scenes_of(task), "--task", task)
    assert words.code == 0
    for name in said["classes"]:
        assert name in words.out
    assert "what the numbers imply" in words.out


@pytest.mark.parametrize("task", TASKS)
def test_one_unreadable_file_costs_one_sample_and_is_named(cvkit, spoilt, tmp_path, task):
    folder, victim = spoilt(task)
    flags = (folder, "--task", task)
    counted = cvkit("data", "stats", *flags, "--json", "--out", tmp_path / "page.html")
    assert counted.code == 3, counted.err
    assert counted.json["splits"]["train"]["samples"] == 5
    assert [each["path"] for each in counted.json["failures"]] == [str(victim.relative_to(folder))]
    assert victim.name in counted.err
    assert victim.name in (tmp_path / "page.html").read_text()
    shown = cvkit("data", "show", *flags, "--json", "--count", 99, "--out", tmp_path / "s.png")
    assert shown.code == 3
    assert victim.name in shown.json["failures"][0]["path"]
    assert len(shown.json["samples"]) == sum(s["samples"] for s in counted.json["splits"].values())


@pytest.mark.parametrize("task", TASKS)
def test_a_sheet_and_a_page_of_every_task(cvkit, scenes_of, tmp_path, task):
    flags = (scenes_of(task), "--task", task, "--count", 3, "--augment", "strong")
    for name in ("sheet.png", "page.html"):
        done = cvkit("data", "show", *flags, "--out", tmp_path / name, "--json")
        assert done.code == 0, done.err
        assert len(done.json["samples"]) == 3
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.width == sheet.GAP + 4 * (sheet.SIDE + sheet.GAP)
    page = (tmp_path / "page.html").read_text()
    assert page.count('class="picture"') == 6
    assert page.count('<span class="title">training</span>') == 3


def test_the_same_seed_shows_the_same_samples_and_another_seed_others(cvkit, scenes_of, tmp_path):
    found = []
    for seed in (1, 1, 2):
        out = tmp_path / f"{len(found)}.png"
        done = cvkit(
            *("data", "show", scenes_of("detect"), "--task", "detect", "--count", 4, "--json"),
            *("--seed", seed, "--augment", "strong", "--out", out),
        )
        found.append(([each["path"] for each in done.json["samples"]], out.read_bytes()))
    assert found[0] == found[1]
    assert found[0][0] != found[2][0]


def test_a_samples_transform_does_not_depend_on_the_other_samples(scenes_of):
    from cvkit.commands.data_show import transform_seed

    assert transform_seed("a.png", 0) == transform_seed("a.png", 0) < 2**31
    assert len({transform_seed(key, seed) for key in ("a", "b") for seed in (0, 1)}) == 4


def test_only_samples_with_a_class_are_shown(cvkit, scenes_of, tmp_path):
    folder = scenes_of("detect")
    content = json.loads((folder / "annotations" / "instances_train.json").read_text())
    for category in content["categories"]:
        ids = {
            row["image_id"]
            for row in content["annotations"]
            if row["category_id"] == category["id"]
        }
        wanted = {row["file_name"] for row in content["images"] if row["id"] in ids}
        done = cvkit(
            *("data", "show", folder, "--task", "detect", "--split", "train", "--count", 99),
            *("--with-class", category["name"], "--json", "--out", tmp_path / "x.png"),
            "--overwrite",
        )
        if not wanted:
            assert (done.code, done.json["error"]["code"]) == (2, "class.absent")
            continue
        assert {each["path"].rpartition("/")[2] for each in done.json["samples"]} == wanted


def test_numbers_follow_the_flags_of_train(cvkit, scenes_of):
    flags = ("data", "stats", scenes_of("segment"), "--task", "segment", "--json")
    before = cvkit(*flags).json["splits"]["train"]["per_class"]
    mapped = cvkit(*flags, "--set", "mask_map=1=0").json["splits"]["train"]["per_class"]
    first, second, *_ = before
    total = before[first]["pixels"] + before[second]["pixels"]
    assert (mapped[first]["pixels"], mapped[second]["pixels"]) == (total, 0)
    sized = cvkit(*flags, "--set", "image_size=64x32").json["advice"][0]["flag"]
    assert sized == "--image-size 64x32 gives 64x32"


def test_names_from_the_data_are_not_markup(cvkit, tmp_path):
    folder = tmp_path / "hostile"
    hostile = "<script>document.title='x'<script>"
    for name in (hostile.replace("/", ""), "b"):
        (folder / "train" / name).mkdir(parents=True)
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "train" / name / "<b>.png")
    for verb in ("stats", "show"):
        out = tmp_path / f"{verb}.html"
        done = cvkit("data", verb, folder, "--task", "classify", "--out", out)
        assert done.code == 0, done.err
        page = out.read_text()
        assert page.count("<script>") == 1
        assert "<b>.png" not in page
        assert "&lt;b&gt;.png" in page


def test_a_dataset_without_splits_is_read_as_a_whole(cvkit, tmp_path):
    for name, shade in (("dark", 10), ("light", 200)):
        (tmp_path / "d" / name).mkdir(parents=True)
        for n in range(3):
            image = np.full((8, 6, 3), shade, np.uint8)
            Image.fromarray(image).save(tmp_path / "d" / name / f"{n}.png")
    said = cvkit("data", "stats", tmp_path / "d", "--json").json
    assert (said["task"], list(said["splits"])) == ("classify", ["all"])
    found = said["splits"]["all"]
    assert found["per_class"] == {"dark": {"images": 3}, "light": {"images": 3}}
    assert found["colours"]["mean"] == pytest.approx([105 / 255] * 3)
    assert found["colours"]["std"] == pytest.approx([95 / 255] * 3)
    assert found["colours"]["grey"] == 6
    assert "all measured images are grey" in said["advice"][-1]["text"]


REFUSED = [
    (("stats", "nowhere"), "data.missing"),
    (("stats", "samples"), "task.unclear"),
    (("stats", "{masks}"), "task.unclear"),
    (("stats", "{masks}", "--task", "segment", "--format", "imagenet"), "config.value"),
    (("stats", "{masks}", "--task", "segment", "--split", "no such"), "split.missing"),
    (("stats", "{masks}", "--task", "segment", "--out", "x.png"), "out.suffix"),
    (("stats", "{masks}", "--task", "segment", "--out", "no/x.html"), "out.folder"),
    (("stats", "{masks}", "--task", "segment", "--out", "{there}"), "out.exists"),
    (("stats", "{masks}", "--task", "segment", "--overwrite"), "overwrite.idle"),
    (("stats", "{masks}", "--task", "segment", "--set", "data=x"), "set.taken"),
    (("stats", "{masks}", "--task", "segment", "--set", "image_sizes=3"), "config.key"),
    (("stats", "{masks}", "--task", "segment", "--set", "resize"), "set.syntax"),
    (("show", "{masks}", "--task", "segment", "--out", "x.jpg"), "out.suffix"),
    (("show", "{masks}", "--task", "segment", "--out", "{there}"), "out.exists"),
    (
        ("show", "{masks}", "--task", "segment", "--out", "x.png", "--with-class", "x"),
        "class.unknown",
    ),
    (
        ("show", "{masks}", "--task", "segment", "--out", "x.png", "--augment", "strng"),
        "augment.missing",
    ),
]


@pytest.mark.parametrize(("words", "code"), REFUSED, ids=[f"{w[0]}-{c}" for w, c in REFUSED])
def test_mistakes_are_refused_in_one_line_and_nothing_is_written(
    cvkit, scenes_of, tmp_path, monkeypatch, words, code
):
    monkeypatch.chdir(tmp_path)
    there = tmp_path / "there.html"
    if "show" in words:
        there = there.with_suffix(".png")
    there.write_text("old")
    places = {"masks": scenes_of("segment"), "there": there}
    done = cvkit("data", *(word.format(**places) for word in words), "--json")
    assert done.code == 2, done.err
    assert re.fullmatch(rf"{code}(\..*)?", done.json["error"]["code"]), done.json
    assert len(done.err.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == [there.name]
    assert there.read_text() == "old"


def test_defects_of_annotations_are_told_and_the_rest_is_counted(cvkit, scenes_of, tmp_path):
    folder = tmp_path / "detect"
    shutil.copytree(scenes_of("detect"), folder)
    path = folder / "annotations" / "instances_train.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["bbox"] = [1, 1, -5, 4]
    path.write_text(json.dumps(content))
    done = cvkit("data", "stats", folder, "--task", "detect", "--json")
    assert done.code == 3
    assert [each["code"] for each in done.json["defects"]] == ["bbox.nonpositive"]
    assert "cannot be used" in done.err
