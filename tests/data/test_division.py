"""Who is measured, where the data do not say it themselves."""

import hashlib
import random
import shutil

import numpy as np
import pytest
from PIL import Image

from cvkit.data.classified import read_collection
from cvkit.data.division import draw_val
from cvkit.data.files import walk_images, walk_videos
from cvkit.data.known import content_hash
from cvkit.errors import DataError


def noise(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def hashes(count, salt=""):
    return [hashlib.sha256(f"{salt}{number}".encode()).hexdigest() for number in range(count)]


@pytest.mark.parametrize(
    ("count", "fraction", "wanted"),
    [
        (1, 0.2, 0),  # what cannot be learned cannot be measured either
        (2, 0.2, 1),
        (2, 0.9, 1),
        (3, 0.01, 1),
        (5, 0.2, 1),
        (10, 0.25, 3),
        (100, 0.2, 20),
        (100, 0.999, 99),
    ],
)
def test_every_class_gives_its_share(count, fraction, wanted):
    labels = ["a"] * count + ["b"] * 50
    found = draw_val(labels, hashes(len(labels)), fraction, seed=0)
    assert sum(found[:count]) == wanted
    assert sum(found[count:]) == min(49, max(1, round(50 * fraction + 1e-9)))


@pytest.mark.parametrize("seed", range(20))
def test_small_sets_lack_no_class(seed):
    labels = [label for label in "abc" for _ in range(7)]
    found = draw_val(labels, hashes(21, salt=seed), 0.2, seed=seed)
    measured = {label for label, val in zip(labels, found, strict=True) if val}
    trained = {label for label, val in zip(labels, found, strict=True) if not val}
    assert measured == trained == set("abc")


def test_a_seed_draws_a_division_whatever_the_order():
    labels, files = ["a", "b"] * 30, hashes(60)
    first = draw_val(labels, files, 0.3, seed=0)
    assert draw_val(labels, files, 0.3, seed=0) == first
    others = [draw_val(labels, files, 0.3, seed=seed) for seed in range(1, 6)]
    assert len({tuple(other) for other in [first, *others]}) == 6
    order = list(range(60))
    random.Random(1).shuffle(order)
    mixed = draw_val([labels[i] for i in order], [files[i] for i in order], 0.3, seed=0)
    assert mixed == [first[i] for i in order]
    # Every file is measured under some seed.
    drawn = [draw_val(labels, files, 0.3, seed=seed) for seed in range(40)]
    assert np.any(drawn, axis=0).all() and not np.all(drawn, axis=0).any()


def test_copies_stay_together_and_move_nobody():
    labels, files = ["a", "b"] * 30, hashes(60)
    first = draw_val(labels, files, 0.3, seed=0)
    again = draw_val([*labels, "a", "b", "a"], [*files, *files[:3]], 0.3, seed=0)
    assert again[:60] == first
    assert again[60:] == first[:3]


def test_a_file_of_several_classes_counts_for_all_of_them():
    """Parts of three videos, each of which shows every class."""
    files = [name for name in hashes(3) for _ in range(4)]
    found = draw_val(list("abcd") * 3, files, 0.2, seed=0)
    assert sum(found) == 4
    assert len({name for name, val in zip(files, found, strict=True) if val}) == 1


def clips(root, count=12, common=True):
    """Folders of frames; the first frame of all is black."""
    for number in range(count):
        folder = root / "ab"[number % 2] / f"clip{number:02d}"
        for frame in range(1, 4):
            noise(folder / f"{frame}.png", 10 * number + frame)
        if common:
            Image.new("RGB", (8, 8)).save(folder / "0.png")
    return root


def read(root, walk=walk_images, seed=0, splits=("train", "val")):
    return read_collection(root, "auto", splits, 0.34, walk, seed=seed)


def keys(images):
    return [image.key for image in images]


def test_clips_with_a_common_first_frame_are_divided(tmp_path):
    found = read(clips(tmp_path), walk_videos)
    assert [len(found.splits[name]) for name in ("train", "val")] == [8, 4]
    assert {video.label for video in found.splits["val"]} == {"a", "b"}


def test_a_hidden_file_moves_no_clip(tmp_path):
    before = keys(read(clips(tmp_path), walk_videos).splits["val"])
    for folder in walk_videos(tmp_path):
        (folder / ".DS_Store").write_bytes(b"Bud1")
        (folder / "Thumbs.db").write_bytes(b"thumbs")
    assert keys(read(tmp_path, walk_videos).splits["val"]) == before


def test_a_clip_is_all_of_its_frames(tmp_path):
    root = clips(tmp_path)
    first = next(walk_videos(root))
    shutil.copytree(first, root / "b" / "copy")
    assert content_hash(root / "b" / "copy") == content_hash(first)
    noise(root / "b" / "copy" / "3.png", 999)
    assert content_hash(root / "b" / "copy") != content_hash(first)


@pytest.mark.parametrize("walk", [walk_images, walk_videos])
def test_another_seed_is_another_division(tmp_path, walk):
    if walk is walk_videos:
        clips(tmp_path)
    else:
        for number in range(24):
            noise(tmp_path / "ab"[number % 2] / f"{number}.png", number)
    drawn = {tuple(keys(read(tmp_path, walk, seed).splits["val"])) for seed in range(4)}
    assert len(drawn) == 4


def test_a_table_without_splits_is_divided_too(tmp_path):
    for number in range(20):
        noise(tmp_path / f"{number}.png", number)
    rows = [f"{number}.png,{'rare' if number < 2 else 'common'}" for number in range(20)]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    labels = [image.label for image in read(tmp_path).splits["val"]]
    assert labels.count("rare") == 1 and labels.count("common") == 6


def test_parts_of_a_video_stay_together(tmp_path):
    for name in ("x", "y", "z"):
        clips(tmp_path / name, count=1)
    places = [folder.relative_to(tmp_path).as_posix() for folder in walk_videos(tmp_path)]
    assert len(places) == 3
    noise(tmp_path / places[0] / "9.png", 1)
    noise(tmp_path / places[1] / "9.png", 2)
    rows = [f"{place},{label},{n},{n + 1}" for place in places for n, label in enumerate("ab")]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label,start,end", *rows]) + "\n")
    found = read(tmp_path, walk_videos).splits
    sides = [{image.path for image in found[name]} for name in ("train", "val")]
    assert len(sides[0]) == 2 and len(sides[1]) == 1 and not sides[0] & sides[1]


def test_single_files_leave_nothing_to_measure(tmp_path):
    for name in "ab":
        noise(tmp_path / name / "x.png", ord(name))
    with pytest.raises(DataError, match="no class has two different files") as caught:
        read(tmp_path)
    assert caught.value.code == "split.empty"


def test_an_unreadable_file_is_left_to_the_check(tmp_path):
    for number in range(8):
        noise(tmp_path / "ab"[number % 2] / f"{number}.png", number)
    (tmp_path / "a" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    found = read(tmp_path).splits
    assert sum(len(images) for images in found.values()) == 9


def test_models_from_before_seeds_keep_their_division(tmp_path):
    for number in range(30):
        noise(tmp_path / "ab"[number % 2] / f"{number}.png", number)
    wanted = [
        path
        for path in walk_images(tmp_path)
        if int(hashlib.sha256(path.read_bytes()).hexdigest()[:8], 16) / 2**32 < 0.34
    ]
    found = read(tmp_path, seed=None).splits["val"]
    assert [image.path for image in found] == wanted
    root = clips(tmp_path / "clips", common=False)
    (next(walk_videos(root)) / ".a").write_bytes(b"first of all")
    wanted = [
        folder
        for folder in walk_videos(root)
        if int(hashlib.sha256(min(folder.iterdir()).read_bytes()).hexdigest()[:8], 16) / 2**32
        < 0.34
    ]
    found = read(root, walk_videos, seed=None).splits["val"]
    assert [video.path for video in found] == wanted
