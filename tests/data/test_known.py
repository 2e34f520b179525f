"""What the check of a dataset found is not looked for again."""

import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from cvkit.data import known, scan, video
from cvkit.data.boxes import read_boxes
from cvkit.data.classified import read_collection
from cvkit.data.division import content_hashes
from cvkit.data.files import walk_images, walk_videos
from cvkit.data.formats import index_maps
from cvkit.data.known import Known
from cvkit.data.labelled import read_pairs
from cvkit.data.masks import MaskReader, parse_mask_map
from cvkit.data.scan import scan_boxes, scan_images, scan_pairs, scan_videos
from cvkit.data.synthetic.samples import WRITERS


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "cvkit" / "checked"


def aged(root, seconds=100):
    """Make files older than what is too fresh to be remembered."""
    for path in root.rglob("*"):
        stat = path.stat()
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns - seconds * 10**9))
    return root


def write(task, root):
    WRITERS[task](root, {"train": 7}, seed=1, size_hw=(32, 40))
    if task == "video":  # one of them as frames
        path = next(walk_videos(root / "train"))
        shown = cv2.VideoCapture(str(path))
        folder = path.with_suffix("")
        folder.mkdir()
        for number in range(3):
            cv2.imwrite(str(folder / f"{number}.png"), shown.read()[1])
        path.unlink()
    return aged(root)


def classes(root, walk=walk_images):
    return read_collection(root, "auto", ("train",), None, walk).splits["train"]


def index(root):
    """Read a dataset of index maps."""
    found = read_boxes(root, "index", ["train"], masks=True)
    assert not found.defects
    return scan_boxes(found.splits["train"])


def boxes(masks):
    return lambda root: scan_boxes(read_boxes(root, "auto", ["train"], masks=masks).splits["train"])


SCANS = {
    "classify": lambda root: scan_images(classes(root)),
    "segment": lambda root: scan_pairs(
        read_pairs(root, "pairs", ["train"]).splits["train"], MaskReader()
    ),
    "detect": boxes(masks=False),
    "instance": boxes(masks=True),
    "video": lambda root: scan_videos(classes(root, walk_videos)),
    "index": index,
}


def shown(found):
    """Everything that a scan found, to compare."""
    return {name: repr(value) for name, value in vars(found).items()}


def refuse(*arguments):
    raise AssertionError(f"decoded or read again: {arguments}")


def refuse_to_read(patch):
    """Make every way to the content of a file fail."""
    for module, name in (
        (scan, "read_image"),
        (scan, "read_pair"),
        (index_maps, "read_index_map"),
        (video, "_decode_all"),
        (known, "sha256"),
    ):
        patch.setattr(module, name, refuse)


@pytest.mark.parametrize("kind", SCANS)
def test_a_second_scan_reads_nothing_and_finds_the_same(tmp_path, monkeypatch, kind):
    root = write("segment" if kind == "index" else kind, tmp_path / "data")
    first = SCANS[kind](root)
    assert not first.defects and len(first.hashes) == 7 and not first.note
    refuse_to_read(monkeypatch)
    assert shown(SCANS[kind](root)) == shown(first)


@pytest.mark.parametrize("kind", SCANS)
def test_a_changed_file_is_looked_at_again(tmp_path, kind):
    root = write("segment" if kind == "index" else kind, tmp_path / "data")
    first = SCANS[kind](root)
    files = [
        p for p in root.rglob("*.*") if p.suffix in (".png", ".mp4") and "masks" not in p.parts
    ]
    one, other = files[:2]
    before = one.stat()
    shutil.copyfile(other, one)
    # Of the same size, as far as the cache can see: only the time tells.
    os.utime(one, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    second = SCANS[kind](root)
    assert second.hashes != first.hashes
    changed = sum(a != b for a, b in zip(first.hashes, second.hashes, strict=True))
    assert changed == 1


@pytest.mark.parametrize("kind", ["segment", "index"])
def test_a_changed_mask_is_looked_at_again(tmp_path, kind):
    root = write("segment", tmp_path / "data")
    first = SCANS[kind](root)
    mask = next(walk_images(root / "masks"))
    values = np.asarray(Image.open(mask))
    Image.fromarray(np.where(values > 0, 1, 0).astype(np.uint8)[::-1]).save(mask)
    second = SCANS[kind](root)
    assert shown(second) != shown(first)
    if kind == "segment":
        assert second.mask_hashes[1:] == first.mask_hashes[1:] and second.hashes == first.hashes
        assert second.mask_hashes[0] != first.mask_hashes[0]


def test_what_a_finding_depends_on_is_part_of_its_kind(tmp_path):
    root = write("segment", tmp_path / "data")
    pairs = read_pairs(root, "pairs", ["train"]).splits["train"]
    plain = scan_pairs(pairs, MaskReader())
    mapped = scan_pairs(pairs, MaskReader(mask_map=parse_mask_map("1=0")))
    assert plain.pixels[1] and not mapped.pixels[1]
    assert mapped.pixels[0] == plain.pixels[0] + plain.pixels[1]
    assert scan_pairs(pairs, MaskReader(num_classes=2)).defects


def test_defects_are_found_each_time(tmp_path):
    root = write("classify", tmp_path / "data")
    bad = next(walk_images(root))
    bad.write_bytes(b"no image")
    aged(root)
    for _ in range(2):
        (defect,) = scan_images(classes(root)).defects
        assert defect.code == "image.not_an_image"


def test_images_are_known_whatever_task_looked(tmp_path, monkeypatch):
    root = write("detect", tmp_path / "data")
    found = read_boxes(root, "auto", ["train"]).splits["train"]
    first = scan_boxes(found)
    refuse_to_read(monkeypatch)
    assert scan_images(found).hashes == first.hashes


def test_two_splits_in_one_folder_keep_their_findings(tmp_path, monkeypatch):
    root = write("classify", tmp_path / "data")
    images = classes(root)
    halves = images[:5], images[1:]
    # Seen from the same folder, both go into the same file of the cache.
    first = [scan_images(half).hashes for half in halves]
    refuse_to_read(monkeypatch)
    assert [scan_images(half).hashes for half in halves] == first


def test_fresh_files_are_not_remembered(tmp_path, cache):
    root = tmp_path / "data"
    WRITERS["classify"](root, {"train": 7}, seed=1, size_hw=(32, 32))
    scan_images(classes(root))
    assert not cache.exists()
    aged(root)
    scan_images(classes(root))
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1}', "null", "\udcff"])
def test_a_damaged_cache_is_made_anew(tmp_path, cache, content):
    root = write("classify", tmp_path / "data")
    first = scan_images(classes(root))
    (place,) = cache.iterdir()
    whole = json.loads(place.read_text())
    place.write_bytes(content.encode(errors="surrogateescape"))
    assert shown(scan_images(classes(root))) == shown(first)
    assert json.loads(place.read_text()) == whole


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path, cache):
    root = write("classify", tmp_path / "data")
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where the folder should be")
    found = scan_images(classes(root))
    assert len(found.hashes) == 7 and str(cache) in found.note


def test_without_a_home_the_check_works(tmp_path, monkeypatch):
    def no_home():
        raise RuntimeError("no home")

    root = write("classify", tmp_path / "data")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", no_home)
    found = scan_images(classes(root))
    assert len(found.hashes) == 7 and "XDG_CACHE_HOME" in found.note


def test_what_was_found_before_an_interruption_is_kept(tmp_path, monkeypatch):
    root = write("classify", tmp_path / "data")
    images = classes(root)

    def stop(done):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan_images(images, stop)
    refuse_to_read(monkeypatch)
    assert len(scan_images(images[:4]).hashes) == 4


@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 5000])
def test_many_items_are_looked_at_in_order(count):
    steps = []
    found = scan.on_all_cores(lambda item: -item, range(count), steps.append)
    assert list(found) == [-item for item in range(count)]
    assert steps == list(range(1, count + 1))


def test_hashes_of_a_heap_are_kept(tmp_path, monkeypatch):
    root = write("video", tmp_path / "data")
    paths = [item.path for item in classes(root, walk_videos)]
    first = content_hashes(paths)
    refuse_to_read(monkeypatch)
    assert content_hashes(paths) == first


def test_findings_of_others_are_kept_beside_ones_own(tmp_path, cache):
    paths = []
    for name in (b"a.txt", b"no \xff UTF-8.txt"):
        paths.append(tmp_path / os.fsdecode(name))
        paths[-1].write_bytes(name)
    for path in paths:
        os.utime(path, (1, 1))
    with Known("x", paths) as one, Known("x", paths) as other:  # two processes, in effect
        assert one.find(paths[:1], lambda: 1) == 1
        assert other.find(paths[1:], lambda: 2) == 2
    with Known("x", paths) as again:
        assert [again.find([path], refuse) for path in paths] == [1, 2]


def test_the_dataset_is_not_written_to(tmp_path):
    root = write("segment", tmp_path / "data")
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    SCANS["segment"](root)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
