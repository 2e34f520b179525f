"""Synthetic scenes: deterministic, exact, and of all kinds."""

import errno
import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from cvkit.data.synthetic.samples import (
    WRITERS,
    write_classification,
    write_detection,
    write_segmentation,
)
from cvkit.data.synthetic.scenes import CLASSES, Scene, make_scene, make_single
from cvkit.data.synthetic.shapes import KINDS, SHAPES, Shape


def still(kind, angle=0.0, radius=40.0):
    return Shape(kind, (64.0, 64.0), (0.0, 0.0), radius, angle, (1.0, 2.0, 3.0))


def test_shapes_have_the_areas_of_geometry():
    star = 5 * 0.45 * np.sin(np.pi / 5)  # ten triangles between radius 1 and 0.45
    areas = {
        "circle": np.pi,
        "square": 2.0,
        "triangle": 3 * np.sqrt(3) / 4,
        "star": star,
        "ring": np.pi * (1 - 0.55**2),
    }
    for kind in SHAPES:
        for angle in (0.0, 0.7, 2.0):
            found = still(kind, angle).covers((128, 128)).sum() / 40**2
            assert abs(found - areas[kind]) < 0.03 * areas[kind], kind


def test_labels_are_exact_and_later_shapes_cover_earlier_ones():
    background = np.zeros((128, 128, 3))
    scene = Scene((still("circle"), still("square", radius=20.0)), background, noise_seed=0)
    frame = scene.render()
    mask = scene.class_mask(frame)
    square = still("square", radius=20.0).covers((128, 128))
    circle = still("circle").covers((128, 128))
    assert (mask[square] == CLASSES.index("square")).all()
    assert (mask[circle & ~square] == CLASSES.index("circle")).all()
    assert (mask[~circle] == 0).all()


def test_shapes_move_by_their_velocity():
    moving = Shape("circle", (40.0, 64.0), (2.0, -1.0), 10.0, 0.0, (9.0, 9.0, 9.0))
    rows, columns = np.nonzero(moving.covers((128, 128), frame=10))
    assert abs(columns.mean() + 0.5 - 60) < 0.1
    assert abs(rows.mean() + 0.5 - 54) < 0.1


def test_a_scene_is_a_function_of_seed_and_index():
    first, again = make_scene(1, 2).render(), make_scene(1, 2).render()
    assert np.array_equal(first.image, again.image)
    assert not np.array_equal(first.image, make_scene(1, 3).render().image)
    assert not np.array_equal(first.image, make_scene(2, 2).render().image)
    counts = {len(make_scene(0, index).shapes) for index in range(100)}
    assert counts == {1, 2, 3, 4, 5, 6}


def test_written_datasets_are_identical_and_splits_differ(tmp_path):
    def digest(folder):
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        lines = [
            f"{p.relative_to(folder)} {hashlib.sha256(p.read_bytes()).hexdigest()}" for p in files
        ]
        return lines

    for name in "ab":
        write_segmentation(tmp_path / name, {"train": 3, "val": 2}, seed=4, size_hw=(32, 48))
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    images = [line.split()[1] for line in digest(tmp_path / "a") if line.startswith("images")]
    assert len(set(images)) == 5


def test_command_writes_a_dataset_and_refuses_a_full_folder(cvkit, tmp_path):
    done = cvkit("samples", tmp_path / "s", "--count", 5, "--seed", 1, "--size", 32, "--json")
    assert done.json["counts"] == {"train": 4, "val": 1}
    again = cvkit("samples", tmp_path / "s", "--count", 5)
    assert again.code == 2
    assert "not empty" in again.err and "--overwrite" not in again.err  # it has no such flag


@pytest.mark.parametrize("task", WRITERS)
def test_a_full_disk_leaves_no_half_of_a_dataset(cvkit, tmp_path, monkeypatch, task):
    def fill_disk(folder, counts, seed, size_hw):
        (folder / "images").mkdir()
        (folder / "images" / "a.png").touch()
        (folder / "labels.csv").touch()
        raise OSError(errno.ENOSPC, "No space left on device", str(folder / "b.png"))

    flags = ("samples", tmp_path / "s", "--task", task, "--count", 7, "--size", 32)
    with monkeypatch.context() as patch:
        patch.setitem(WRITERS, task, fill_disk)
        done = cvkit(*flags)
    assert done.code == 6 and "full" in done.err
    assert cvkit(*flags).code == 0


def test_single_shapes_are_whole_and_take_turns(tmp_path):
    for index in range(12):
        scene, kind = make_single(4, index, (48, 64))
        assert kind == KINDS[index % 6]
        (shape,) = scene.shapes
        assert (shape.kind == kind) and shape.covers((48, 64)).sum() > 100
        left, top = (c - shape.radius for c in shape.centre_xy)
        assert left >= 0
        assert top >= 0
        assert shape.centre_xy[0] + shape.radius <= 64
        assert shape.centre_xy[1] + shape.radius <= 48
    write_classification(tmp_path, {"train": 12, "val": 6}, seed=4, size_hw=(32, 32))
    for split, count in (("train", 2), ("val", 1)):
        for kind in KINDS:
            assert len(list((tmp_path / split / kind).glob("*.png"))) == count
    one = next((tmp_path / "val" / "ring").iterdir())
    index = int(one.stem.removeprefix("shape"))
    again = make_single(4, index, (32, 32))[0].render().image
    assert np.array_equal(np.asarray(Image.open(one)), again)
    assert index >= 12


def test_a_cross_by_hand():
    cross = Shape("cross", (10.0, 10.0), (0.0, 0.0), 10.0, 0.0, (0, 0, 0)).covers((20, 20))
    assert cross[10, 2] and cross[2, 10] and cross[10, 10]
    assert not cross[2, 2]
    assert not cross[10, 0]


@pytest.mark.parametrize("task", WRITERS)
def test_splits_of_no_task_share_a_picture(task, tmp_path):
    WRITERS[task](tmp_path, {"train": 6, "val": 6}, 2, (32, 32))
    files = {
        split: {
            path.read_bytes()
            for path in [*tmp_path.rglob("*.png"), *tmp_path.rglob("*.mp4")]
            if split in path.parts and "masks" not in path.parts
        }
        for split in ("train", "val")
    }
    assert len(files["train"]) == len(files["val"]) == 6
    assert not files["train"] & files["val"]


def test_category_ids_have_gaps_and_mean_the_shapes_that_are_there(tmp_path):
    write_detection(tmp_path, {"train": 2, "val": 3}, seed=4, size_hw=(64, 64))
    content = json.loads((tmp_path / "annotations" / "instances_val.json").read_text())
    ids = {row["name"]: row["id"] for row in content["categories"]}
    assert list(ids) == list(SHAPES)
    assert list(ids.values()) == sorted(ids.values())
    assert all(id_ not in (place, place + 1) for place, id_ in enumerate(ids.values()))
    for number, image in enumerate(content["images"]):
        kinds = [shape.kind for shape in make_scene(4, 2 + number, (64, 64)).shapes]
        rows = [row for row in content["annotations"] if row["image_id"] == image["id"]]
        own = {row["category_id"] for row in rows}
        assert own and own <= {ids[kind] for kind in kinds}
