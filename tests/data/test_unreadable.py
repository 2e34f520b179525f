"""Folders that cannot be read are told: what they hold would vanish without a word."""

import os
import shutil

import pytest
from PIL import Image

from cvkit.cli import run
from cvkit.data.boxes import read_boxes
from cvkit.data.classified import read_collection
from cvkit.data.files import list_inputs, walk_images, walk_videos
from cvkit.data.frames import frame_files
from cvkit.data.labelled import read_pairs
from cvkit.data.synthetic.samples import WRITERS
from cvkit.data.video import index_video
from cvkit.errors import DataError

WALKS = [walk_images, walk_videos]


@pytest.fixture
def lock(monkeypatch):
    """Make folders unreadable, also for root, whom no mode keeps out."""
    locked = set()

    def guarded(real):
        def call(path="."):
            if not isinstance(path, int) and os.path.abspath(path) in locked:
                raise PermissionError(13, "Permission denied", str(path))
            return real(path)

        return call

    monkeypatch.setattr(os, "scandir", guarded(os.scandir))
    monkeypatch.setattr(os, "listdir", guarded(os.listdir))
    return lambda folder: locked.add(os.path.abspath(folder))


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)


@pytest.fixture
def photos(tmp_path):
    for name in ("a/1.png", "a/b/2.png", "c/3.png"):
        picture(tmp_path / "photos" / name)
    return tmp_path / "photos"


def names(files):
    return [file.key for file in files]


@pytest.mark.parametrize("walk", WALKS)
@pytest.mark.parametrize("shape", ["{}", "{}/**/*.png", "{}/*"])
def test_an_unreadable_folder_is_lost_once(photos, lock, walk, shape):
    lock(photos / "c")
    lost = []
    files = list_inputs([shape.format(photos)], walk=walk, lost=lost)
    assert not any("3" in name or name == "c" for name in names(files)) and files
    (failure,) = lost
    assert failure.code == "folder.unreadable"
    assert failure.path == ("c" if shape == "{}" else str(photos / "c"))
    assert str(photos / "c") in failure.reason and "Permission denied" in failure.reason
    with pytest.raises(DataError, match="cannot be read: Permission denied"):
        list_inputs([shape.format(photos)], walk=walk)


@pytest.mark.parametrize("walk", WALKS)
def test_nothing_but_an_unreadable_folder_is_an_error(photos, lock, walk):
    lock(photos)
    with pytest.raises(DataError, match=f"{photos} cannot be read: Permission denied"):
        list_inputs([str(photos)], walk=walk, lost=[])


@pytest.mark.parametrize("walk", WALKS)
def test_links_that_lead_to_nothing_are_lost_and_circles_are_not(photos, walk):
    (photos / "round").symlink_to(photos)  # what it leads to is found anyway
    for name in (".hidden", "gone"):
        (photos / name).symlink_to(photos / "nowhere")
    (photos / "itself").symlink_to("itself")
    (photos / "README").symlink_to(photos / "a" / "1.png")
    lost = []
    list_inputs([str(photos)], walk=walk, lost=lost)
    assert [failure.path for failure in lost] == ["gone", "itself"]
    assert all("the link is broken" in failure.reason for failure in lost)


def test_a_link_to_no_image_is_an_input_that_fails(photos):
    (photos / "gone.png").symlink_to(photos / "nowhere.png")
    lost = []
    assert "gone.png" in names(list_inputs([str(photos)], lost=lost)) and not lost


def test_predict_counts_and_records_them(cvkit, photos, lock, trained, tmp_path):
    lock(photos / "c")
    flags = ("--weights", trained, "--out", tmp_path / "out", "--workers", 0, "--json")
    done = cvkit("segment", "predict", photos, *flags, "--json-results")
    assert done.code == 3
    assert done.json["counts"] == {"predicted": 2, "failed": 1, "skipped": 0}
    assert [(row["path"], row["code"]) for row in done.json["failures"]] == [
        ("c", "folder.unreadable")
    ]
    stopped = cvkit("segment", "predict", photos, *flags, "--overwrite", "--max-failures", 1)
    assert stopped.code == 2 and "Permission denied" in stopped.json["error"]["message"]
    again = cvkit("segment", "predict", photos, *flags, "--resume")
    assert again.code == 3 and again.json["counts"]["failed"] == 1


def write(task, root):
    WRITERS[task](root, {"train": 7, "val": 7}, seed=1, size_hw=(32, 32))
    return root


def boxes(root):
    found = read_boxes(root, "auto", ["train"])
    return found.splits["train"]


def yolo(root):
    write("segment", root)
    shutil.rmtree(root / "masks")
    for image in walk_images(root / "images" / "train"):
        label = root / "labels" / "train" / f"{image.stem}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text("0 0.5 0.5 0.2 0.2\n")
    (root / "data.yaml").write_text("train: images/train\nnames: [thing]\n")
    return root


READERS = {
    "folders": (
        lambda root: write("classify", root),
        lambda root: read_collection(root, "auto", ("train",), None),
        "train/*",
    ),
    "classes": (
        lambda root: write("classify", root) / "train",
        lambda root: read_collection(root, "auto", ("train", "val"), 0.5),
        "*",
    ),
    "videos": (
        lambda root: write("video", root),
        lambda root: read_collection(root, "auto", ("train",), None, walk_videos),
        "train/*",
    ),
    "pairs": (
        lambda root: write("segment", root),
        lambda root: read_pairs(root, "pairs", ["train"]).splits["train"],
        "images/train",
    ),
    "masks": (
        lambda root: write("segment", root),
        lambda root: read_pairs(root, "pairs", ["train"]).splits["train"],
        "masks/train",
    ),
    "yolo": (yolo, boxes, "images/train"),
    "coco": (lambda root: write("detect", root), boxes, "annotations"),
}
"""How a layout is written and read, and which folder of it is made unreadable."""


@pytest.mark.parametrize("kind", READERS)
def test_a_dataset_is_not_read_without_its_unreadable_folders(tmp_path, lock, kind):
    make, read, pattern = READERS[kind]
    root = make(tmp_path / "data")
    read(root)
    inner = sorted(root.glob(pattern))[0]
    lock(inner)
    with pytest.raises(DataError, match=f"{inner} cannot be read: Permission denied"):
        read(root)


@pytest.mark.parametrize("kind", ["folders", "classes", "videos"])
def test_a_class_that_is_a_link_to_nothing_is_told(tmp_path, kind):
    make, read, pattern = READERS[kind]
    root = make(tmp_path / "data")
    gone = root / pattern.replace("*", "gone")
    gone.symlink_to(root / "nowhere")
    with pytest.raises(DataError, match="gone cannot be read: the link is broken"):
        read(root)


def test_frames_in_an_unreadable_folder_are_a_failure(photos, lock):
    lock(photos / "c")
    for look in (frame_files, index_video):
        with pytest.raises(DataError, match="Permission denied"):
            look(photos / "c")


def test_other_files_without_permission_are_no_bug(monkeypatch, capsys):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", "/data/x")

    monkeypatch.setattr("cvkit.cli.build_app", refuse)
    assert run(["segment", "train"]) == 2
    assert capsys.readouterr().err == (
        "error: /data/x: permission denied (give this user permission, or choose another file or "
        "folder)\n"
    )
