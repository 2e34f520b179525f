"""What file managers, archives and notebooks leave beside the data is no data."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from cvkit.data.boxes import read_boxes
from cvkit.data.classified import read_collection
from cvkit.data.files import list_inputs, walk_images, walk_videos
from cvkit.data.formats.coco import read_coco
from cvkit.data.formats.recognise import detect_format
from cvkit.data.formats.yolo import find_yaml
from cvkit.data.frames import frame_files
from cvkit.data.labelled import read_pairs
from cvkit.data.proposals import read_proposals
from cvkit.data.synthetic.samples import WRITERS
from cvkit.errors import DataError


def clutter(root):
    """Put a hidden file beside every file of a dataset, and hidden folders into every folder."""
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        files = [path for path in folder.iterdir() if path.is_file()]
        for path in files:
            path.with_name(f"._{path.name}").write_bytes(b"\x00\x05\x16\x07Mac OS X" + bytes(40))
        (folder / ".DS_Store").write_bytes(b"Bud1")
        for name in (".ipynb_checkpoints", "__MACOSX"):
            (folder / name / "train").mkdir(parents=True)
            for path in files:
                shutil.copy(path, folder / name / path.name)


def voc_masks(root, scenes):
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / name).mkdir(parents=True)
    names = []
    for image in sorted((scenes / "images" / "train").iterdir()):
        shutil.copy(image, root / "JPEGImages")
        shutil.copy(scenes / "masks" / "train" / image.name, root / "SegmentationClass")
        names.append(image.stem)
    (root / "ImageSets" / "Segmentation" / "train.txt").write_text("\n".join(names))


def yolo(root, scenes):
    (root / "labels" / "train").mkdir(parents=True)
    shutil.copytree(scenes / "images", root / "images")
    for image in walk_images(root / "images" / "train"):
        (root / "labels" / "train" / f"{image.stem}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (root / "data.yaml").write_text("train: images/train\nnames: [thing]\n")


def voc_boxes(root, scenes):
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / name).mkdir(parents=True)
    for image in walk_images(scenes / "images" / "train"):
        shutil.copy(image, root / "JPEGImages")
        body = "<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
        text = f"<annotation><object><name>thing</name>{body}</object></annotation>"
        (root / "Annotations" / f"{image.stem}.xml").write_text(text)
    stems = [image.stem for image in walk_images(root / "JPEGImages")]
    (root / "ImageSets" / "Main" / "train.txt").write_text("\n".join(stems))


def index(root, scenes):
    shutil.copytree(scenes / "images", root / "images")
    shutil.copytree(scenes / "masks", root / "masks")


def heap(root, scenes):
    for number, image in enumerate(walk_images(scenes)):
        place = root / "ab"[number % 2] / image.name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, place)


def frames(root, scenes):
    for number, image in enumerate(walk_images(scenes / "images")):
        place = root / "train" / "ab"[number % 2] / f"clip{number % 4}" / image.name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, place)


def samples(task):
    return lambda root, scenes: WRITERS[task](root, {"train": 7}, seed=1, size_hw=(32, 32))


def collection(walk):
    def read(root):
        found = read_collection(root, "auto", ("train",), 0.3, walk=walk)
        return found.layout, found.names, found.splits

    return read


def pairs(root):
    layout = detect_format("masks", root)
    return layout, read_pairs(root, layout, ["train"]).splits["train"]


def boxes(masks):
    def read(root):
        found = read_boxes(root, "auto", ["train"], masks=masks)
        assert not found.defects
        rows = [(image.key, image.truth.boxes.tolist()) for image in found.splits["train"]]
        return found.layout, found.classes, rows

    return read


@pytest.mark.parametrize(
    "write, read",
    [
        (samples("classify"), collection(walk_images)),
        (heap, collection(walk_images)),
        (samples("video"), collection(walk_videos)),
        (frames, collection(walk_videos)),
        (samples("segment"), pairs),
        (voc_masks, pairs),
        (samples("detect"), boxes(masks=False)),
        (voc_boxes, boxes(masks=False)),
        (yolo, boxes(masks=False)),
        (samples("instance"), boxes(masks=True)),
        (index, boxes(masks=True)),
    ],
    ids=[
        "folders",
        "classes",
        "videos",
        "frames",
        "pairs",
        "voc",
        "coco",
        "voc-boxes",
        "yolo",
        "coco-masks",
        "index",
    ],
)
def test_every_layout_reads_the_same_among_hidden_files(scenes, tmp_path, write, read):
    root = tmp_path / "data"
    write(root, scenes)
    clean = read(root)
    clutter(root)
    assert read(root) == clean


@pytest.mark.parametrize("walk", [walk_images, walk_videos])
def test_predict_passes_over_hidden_files(scenes, tmp_path, walk):
    write = "segment" if walk is walk_images else "video"
    samples(write)(tmp_path / "data", scenes)
    clean = list_inputs([str(tmp_path / "data")], walk=walk)
    clutter(tmp_path / "data")
    assert list_inputs([str(tmp_path / "data")], walk=walk) == clean
    inside = str(tmp_path / "data") + "/**/*.*"
    assert {file.path for file in list_inputs([inside], walk=walk)} >= {f.path for f in clean}


def test_what_is_named_is_taken_hidden_or_not(tmp_path):
    folder = tmp_path / ".photos"
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / "a.png")
    Image.new("RGB", (8, 8)).save(folder / ".b.png")
    assert [file.key for file in list_inputs([str(folder)])] == ["a.png"]
    assert [file.key for file in list_inputs([str(folder / ".b.png")])] == [".b.png"]


def test_frames_of_a_video_are_visible_files(scenes, tmp_path):
    frames(tmp_path, scenes)
    folder = next(walk_videos(tmp_path))
    clean = frame_files(folder)
    clutter(folder)
    assert frame_files(folder) == clean


def test_hidden_files_are_not_offered_as_splits(scenes, tmp_path):
    yolo(tmp_path / "yolo", scenes)
    voc_masks(tmp_path / "voc", scenes)
    samples("detect")(tmp_path / "coco", scenes)
    for root in tmp_path.iterdir():
        clutter(root)
    assert find_yaml(tmp_path / "yolo").name == "data.yaml"
    with pytest.raises(DataError) as caught:
        read_pairs(tmp_path / "voc", "voc", ["val"])
    assert "._" not in str(caught.value)
    with pytest.raises(DataError) as caught:
        read_boxes(tmp_path / "coco", "auto", ["val"])
    assert "._" not in str(caught.value)
    content = read_coco(
        tmp_path / "coco" / "annotations" / "instances_train.json",
        None,
        tmp_path / "coco",
    )
    assert not any("__MACOSX" in Path(image.path).parts for image in content.images)


def test_proposals_in_a_folder_are_visible_files(tmp_path):
    (tmp_path / "p.json").write_text('{"a.png": [[0, 0, 4, 4]]}')
    clutter(tmp_path)
    assert list(read_proposals(tmp_path)) == ["a.png"]
