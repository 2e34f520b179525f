"""TIFF files of many pages: each page is a sample of its own."""

import numpy as np
import pytest
import tifffile
from corpus import CASES, grey, halves, stack
from PIL import Image

from cvkit.console import Reporter
from cvkit.data.checked import Request
from cvkit.data.dataset_check import check
from cvkit.data.decode import needed_bits, page_count, read_header, read_image
from cvkit.data.files import list_inputs
from cvkit.data.known import content_hash
from cvkit.data.masks import MaskReader
from cvkit.data.pages import page_of, page_path
from cvkit.data.tiff_files import tiff_facts
from cvkit.errors import CvkitError, UsageError


def findings(root):
    made = check(Request(place=root, task="segment", most_bits=-1), Reporter(quiet=True))
    return [(each.rule, each.file) for each in made.findings]


def test_pages_are_read_one_by_one(tmp_path):
    file = tmp_path / "a.tif"
    file.write_bytes(stack(grey(10), grey(20)[:3], grey(20)[:3]))
    assert page_count(file) == 3
    pages = [page_path(file, number) for number in (1, 2, 3)]
    assert [int(read_image(page)[0, 0, 0]) for page in pages] == [10, 20, 20]
    assert [read_header(page)[0] for page in pages] == [(6, 8), (3, 8), (3, 8)]
    first, second, third = map(content_hash, pages)
    assert first != second == third
    with pytest.raises(CvkitError, match="no such page") as caught:
        read_image(page_path(file, 4))
    assert caught.value.code == "image.missing"


def test_a_file_with_the_name_of_a_page_is_a_file(tmp_path):
    Image.new("L", (2, 2), 7).save(tmp_path / "a.tif")
    Image.new("L", (2, 2), 9).save(tmp_path / "a.tif#1", "TIFF")
    assert page_of(tmp_path / "a.tif#1") == (tmp_path / "a.tif#1", None)
    assert read_image(tmp_path / "a.tif#1")[0, 0, 0] == 9


def test_white_in_masks_of_16_bits_is_255(tmp_path):
    (tmp_path / "m.tif").write_bytes(stack(halves(65535), bits=16))
    reader = MaskReader(2, {}, ignore_index=254)
    with pytest.raises(CvkitError, match="mask value 255"):
        reader.read(tmp_path / "m.tif")
    (tmp_path / "m.tif").write_bytes(stack(halves(300), bits=16))
    with pytest.raises(CvkitError, match="does not fit into 8 bits"):
        reader.read(tmp_path / "m.tif")


def test_stacks_with_other_numbers_of_pages_and_without_masks_are_found(tmp_path):
    CASES["stack_of_isbi"].write(tmp_path)
    (tmp_path / "classes.txt").write_text("membrane\ncell\n")
    assert findings(tmp_path) == [("data.note", "test-volume.tif")] or findings(tmp_path) == []
    (tmp_path / "train-labels.tif").write_bytes(stack(halves()))
    assert ("stack.pages", "train-volume.tif") in findings(tmp_path)


def test_a_page_whose_mask_has_another_size_is_named(tmp_path):
    CASES["stack_with_16_bits"].write(tmp_path)
    (tmp_path / "masks.tif").write_bytes(stack(halves(), grey(0)[:4], halves()))
    assert ("mask.size_mismatch", "masks.tif#2") in findings(tmp_path)


def test_a_stack_in_folders_without_masks_is_missing_them(tmp_path):
    CASES["stacks_in_folders"].write(tmp_path)
    (tmp_path / "masks/val/b.tif").unlink()
    assert ("split.id_without_file", "") in [(rule, "") for rule, _ in findings(tmp_path)]


def test_a_division_knows_pages_by_their_content(cvkit, tmp_path):
    """Training divides the pages of a stack; equal pages stay together."""
    pages = [grey(10), grey(20), grey(20), grey(30)]
    root = tmp_path / "d"
    root.mkdir()
    (root / "images.tif").write_bytes(stack(*pages))
    (root / "masks.tif").write_bytes(stack(*[halves()] * 4))
    out = tmp_path / "s.json"
    done = cvkit(*("data", "split", root, "--task", "segment", "--out", out))
    assert done.code == 0, done.err
    text = out.read_text()
    assert text.count("images.tif#") == 4
    new = tmp_path / "new"
    done = cvkit("data", "convert", root, "--task", "segment", "--to", "pairs", "--out", new)
    assert done.code == 0, done.err
    found = sorted((new / "images").iterdir())
    assert [int(np.asarray(Image.open(path))[0, 0]) for path in found] == [10, 20, 20, 30]
    assert [path.name for path in found] == [f"images-{n}.tif" for n in (1, 2, 3, 4)]


@pytest.mark.parametrize("number", ["00", "01", "-1", "\N{ARABIC-INDIC DIGIT TWO}"])
def test_a_page_has_one_name(tmp_path, number):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 8, 9), np.uint8), photometric="minisblack")
    assert page_of(tmp_path / f"a.tif#{number}") == (tmp_path / f"a.tif#{number}", None)
    with pytest.raises(UsageError, match="does not exist"):
        list_inputs([str(tmp_path / f"a.tif#{number}")])


def test_there_is_no_page_0(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 8, 9), np.uint8), photometric="minisblack")
    assert tiff_facts(tmp_path / "a.tif#1")
    assert tiff_facts(tmp_path / "a.tif#0") is None
    with pytest.raises(CvkitError, match="no such page"):
        read_image(tmp_path / "a.tif#0")


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("bits", [None, 12])
def test_a_page_of_16_bits_is_read_as_a_file_of_its_own(tmp_path, channels, bits):
    pages = np.random.default_rng(channels).integers(0, 4096, (3, 8, 9, channels), np.uint16)
    more = {"photometric": "minisblack" if channels == 1 else "rgb"}
    more |= {"extrasamples": ["unassalpha"]} if channels == 4 else {}
    pages = pages[..., 0] if channels == 1 else pages
    tifffile.imwrite(tmp_path / "all.tif", pages, **more)
    for number, page in enumerate(pages, 1):
        tifffile.imwrite(tmp_path / "one.tif", page, **more)
        alone = read_image(tmp_path / "one.tif", bits)
        assert alone.max() > 200
        assert np.array_equal(read_image(tmp_path / f"all.tif#{number}", bits), alone)
        assert needed_bits(tmp_path / f"all.tif#{number}") == 12
