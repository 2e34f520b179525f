"""Images in two splits: the pairs that a comparison of all images finds, and no others."""

import itertools

import numpy as np
import pytest
from PIL import Image

from cvkit.data import leaks
from cvkit.data.leaks import (
    HEIGHT,
    PLAIN,
    SIMILAR,
    WIDTH,
    Member,
    near_duplicates,
    same_content,
)


def write(path, values, size_wh=(90, 80)):
    Image.fromarray(values).resize(size_wh, Image.Resampling.BICUBIC).save(path)


@pytest.fixture
def members(tmp_path):
    """Pictures of two splits; some of the second differ a little from one of the first."""
    rng = np.random.default_rng(0)
    found = []
    firsts = [rng.integers(256, size=(HEIGHT, WIDTH)).astype(np.uint8) for _ in range(40)]
    for number, values in enumerate(firsts):
        write(tmp_path / f"a{number}.png", values)
        found.append(Member("train", f"a{number}", tmp_path / f"a{number}.png", f"a{number}"))
    for number, values in enumerate(firsts):
        noise = rng.normal(0, number % 20, values.shape)
        changed = np.clip(values + noise, 0, 255).astype(np.uint8)
        write(tmp_path / f"b{number}.png", changed, (70, 60))
        found.append(Member("val", f"b{number}", tmp_path / f"b{number}.png", f"b{number}"))
    return found


def thumbnail(path):
    with Image.open(path) as image:
        grey = image.convert("L").resize((WIDTH, HEIGHT), Image.Resampling.BOX)
    return np.asarray(grey).astype(float)


def expected(members, most_bits):
    """Return the pairs that a comparison of all pairs finds."""
    grey = {member.key: thumbnail(member.path) for member in members}
    pairs = []
    for first, second in itertools.combinations(members, 2):
        if first.split == second.split:
            continue
        one, other = grey[first.key], grey[second.key]
        bits = ((one[:, 1:] > one[:, :-1]) != (other[:, 1:] > other[:, :-1])).sum()
        apart = np.abs((one - one.mean()) - (other - other.mean())).mean()
        if bits <= most_bits and apart <= SIMILAR and min(one.std(), other.std()) >= PLAIN:
            pairs.append((second.key, first.key))
    return sorted(pairs)


@pytest.mark.parametrize("most_bits", [0, 1, 3, 6, 12])
def test_the_bands_find_what_a_comparison_of_all_pairs_finds(members, most_bits):
    found = near_duplicates(members, most_bits)
    wanted = expected(members, most_bits)
    assert sorted((later.key, earlier.key) for later, earlier in found) == wanted
    assert 0 < len(wanted) < 40


def test_each_content_is_read_once_and_each_image_is_reported(members, monkeypatch):
    """Equal images of one split are all found; what an earlier split has is found elsewhere."""
    read = []
    monkeypatch.setattr(
        leaks,
        "_thumbnail",
        lambda path: read.append(path) or thumbnail(path).astype("u1").tobytes(),
    )
    again = [Member("val", f"x/{m.key}", m.path, m.digest) for m in members if m.split == "val"]
    late = [Member("test", f"y/{m.key}", m.path, m.digest) for m in members]
    found = near_duplicates([*members, *again, *late], 3)
    pairs = expected(members, 3)
    later = [name for name, _ in pairs]
    assert sorted((one.key, other.key) for one, other in found) == sorted(
        pairs + [(f"x/{name}", earlier) for name, earlier in pairs]
    )
    assert later and sorted(read) == sorted({m.path for m in members})


def test_images_of_one_split_are_not_compared(members):
    assert near_duplicates([m for m in members if m.split == "train"], 3) == []
    alone = [Member("train", m.key, m.path, m.digest) for m in members]
    assert near_duplicates(alone, 12) == []


def test_pictures_without_structure_are_not_compared(tmp_path):
    made = []
    for number, split in enumerate(("train", "val")):
        path = tmp_path / f"{split}.png"
        Image.new("L", (64, 64), 100 + number).save(path)
        made.append(Member(split, split, path, split))
    assert near_duplicates(made, 12) == []


def test_another_size_compression_or_brightness_is_the_same_picture(tmp_path):
    values = np.random.default_rng(1).integers(40, 200, size=(HEIGHT, WIDTH)).astype(np.uint8)
    write(tmp_path / "a.png", values, (900, 800))
    write(tmp_path / "b.jpg", values + 30, (300, 260))
    names = {"train": "a.png", "val": "b.jpg"}
    made = [Member(split, name, tmp_path / name, name) for split, name in names.items()]
    assert [later.key for later, _ in near_duplicates(made, 3)] == ["b.jpg"]


def test_16_bit_images_are_compared_by_the_bits_in_use(tmp_path):
    rng = np.random.default_rng(2)
    made = []
    for split in ("train", "val"):
        values = rng.integers(1024, size=(HEIGHT, WIDTH)).astype(np.uint16)
        Image.fromarray(np.kron(values, np.ones((8, 8), np.uint16))).save(tmp_path / f"{split}.png")
        made.append(Member(split, split, tmp_path / f"{split}.png", split))
    copy = Member("test", "test", made[0].path, "test")
    assert [later.key for later, _ in near_duplicates([*made, copy], 3)] == ["test"]


def test_equal_content_is_reported_with_its_first_place(tmp_path):
    rows = [("train", "a", "1"), ("train", "b", "1"), ("val", "c", "1"), ("test", "d", "2")]
    made = [Member(split, key, tmp_path / key, digest) for split, key, digest in rows]
    made.append(Member("test", "e", tmp_path / "e", "1"))
    pairs = [(later.key, earlier.key) for later, earlier in same_content(made)]
    assert pairs == [("c", "a"), ("e", "a")]
