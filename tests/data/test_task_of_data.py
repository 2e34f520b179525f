"""Which task the objects of a dataset are for, if its format holds outlines as well as boxes."""

import importlib

import pytest
from corpus import CASES, coco

from cvkit.data.formats.recognise import clear_task
from cvkit.format_table import FORMATS

BOTH = FORMATS["boxes"].keys() & FORMATS["instances"].keys()
BOXES_ONLY = {
    *("yolo_boxes", "yolo_of_roboflow", "yolo_with_absolute_path", "yolo_with_absolute_splits"),
    *("yolo_without_yaml", "cvat_boxes", "cvat_of_datumaro", "supervisely_boxes"),
}
"""Datasets of the corpus without any outline; the others of these formats have one at least."""


def test_every_format_of_both_tasks_says_whether_objects_have_outlines():
    modules = [importlib.import_module(FORMATS["boxes"][name].module) for name in BOTH]
    assert all(callable(module.has_outlines) for module in modules)


@pytest.mark.parametrize(
    "name", [n for n, c in CASES.items() if c.format in BOTH and c.truth != "masks"]
)
def test_outlines_decide_between_the_tasks_of_objects(name, tmp_path):
    case = CASES[name]
    case.write(tmp_path)
    said = []
    task = clear_task(tmp_path, "auto", said.append)
    assert task == ("detect" if name in BOXES_ONLY else "instance")
    other = {"detect": "instance", "instance": "detect"}[task]
    assert len(said) == 1
    assert f"'cvkit {task}'" in said[0]
    assert f"--task {other}" in said[0]


EDITS = {
    "coco": coco(["a.png"], masks=False),
    "empty lists": coco(["a.png"], masks=False).replace('"area"', '"segmentation": [], "area"'),
    "labelme": '{"shapes": [{"shape_type": "rectangle"}], "imagePath": "a.png"}',
    "label-studio": '[{"annotations": [{"result": [{"type": "rectanglelabels"}]}]}]',
    "cvat": '<annotations><image name="a"><box label="cat"/></image></annotations>',
}


@pytest.mark.parametrize("name", EDITS)
def test_boxes_without_outlines_are_for_detect(name, tmp_path):
    file = tmp_path / ("annotations.xml" if name == "cvat" else "x.json")
    file.write_text(EDITS[name])
    assert clear_task(tmp_path, "auto", lambda text: None) == "detect"


def test_an_outline_behind_much_else_is_found(tmp_path):
    """Signs are searched for in chunks of a file; this one lies where two of them meet."""
    text = coco(["a.png"])
    place = text.index('"segmentation"')
    for shift in (3, 20):
        padded = text[:place] + " " * (1_000_000 - place - shift) + text[place:]
        (tmp_path / "x.json").write_text(padded)
        assert clear_task(tmp_path / "x.json", "auto", lambda text: None) == "instance"


@pytest.mark.parametrize("verb", ["check", "stats", "show", "split", "convert"])
@pytest.mark.parametrize("name", ["coco_instances", "yolo_boxes"])
def test_every_command_on_data_says_which_task_it_took(cvkit, tmp_path, verb, name):
    CASES[name].write(tmp_path / "d")
    task = "detect" if name in BOXES_ONLY else "instance"
    words = {
        "show": ("--out", tmp_path / "x.png"),
        "split": ("--out", tmp_path / "x.json", "--val-fraction", 0.5),
        "convert": ("--to", "coco", "--out", tmp_path / "new"),
    }
    done = cvkit("data", verb, tmp_path / "d", *words.get(verb, ()))
    assert done.err.count(f"is read for 'cvkit {task}'") == 1
    done = cvkit("data", verb, tmp_path / "d", "--task", task, *words.get(verb, ()))
    assert "is read for" not in done.err


FILES = {
    "images": ("a.png", "classify"),
    "images and a GIF": ("z.png b.gif", "classify"),
    "GIFs": ("a.gif b.gif", "classify"),
    "videos": ("a.mp4", "video"),
    "videos and a GIF": ("a.gif b.mpeg", "video"),
    "videos and an image": ("a.jpg b.mp4", "classify"),
}


@pytest.mark.parametrize("names", FILES)
@pytest.mark.parametrize("layout", ["{}", "train/{}", "val/{}"])
def test_files_that_are_no_gifs_decide_between_images_and_videos(names, layout, tmp_path):
    for kind in ("cat", "dog"):
        for name in FILES[names][0].split():
            file = tmp_path / layout.format(kind) / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    assert clear_task(tmp_path, "auto", lambda text: None) == FILES[names][1]
