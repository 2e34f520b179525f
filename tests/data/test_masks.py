"""Masks, class lists, layouts and the check of a whole dataset."""

import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from cvkit.data.classes import read_classes
from cvkit.data.formats.recognise import detect_format
from cvkit.data.labelled import read_pairs
from cvkit.data.masks import MaskReader, parse_mask_map
from cvkit.data.scan import scan_pairs
from cvkit.errors import CvkitError, DataError, UsageError, raise_defects
from cvkit.output.files import write_label_png
from cvkit.structures import IGNORE, VOC_PALETTE, voc_color

INDICES = np.array([[0, 1, 2], [2, 255, 0]], np.uint8)


def save(tmp_path, array, palette=None, name="m.png"):
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    if palette is not None:
        image.putpalette(palette)
    image.save(tmp_path / name)
    return tmp_path / name


def test_palette_and_grey_masks_are_read_as_indices(tmp_path):
    reader = MaskReader(num_classes=3)
    scrambled = bytes(reversed(range(256))) * 3  # colours must not matter
    assert np.array_equal(reader.read(save(tmp_path, INDICES)), INDICES)
    assert np.array_equal(reader.read(save(tmp_path, INDICES, palette=scrambled)), INDICES)
    as_rgb = np.stack([INDICES] * 3, -1)
    assert np.array_equal(reader.read(save(tmp_path, as_rgb)), INDICES)
    bits = MaskReader(num_classes=2).read(save(tmp_path, Image.fromarray(INDICES == 1)))
    assert bits.tolist() == [[0, 1, 0], [0, 0, 0]]


def test_values_outside_the_classes_name_file_value_and_remedy(tmp_path):
    path = save(tmp_path, INDICES)
    with pytest.raises(DataError, match=r"m\.png: mask value 2 at 2 pixels.*0\.\.1") as caught:
        MaskReader(num_classes=2).read(path)
    assert caught.value.code == "mask.value_range"
    assert "--mask-map 2=NEW" in caught.value.hint


def test_ignore_index_and_mask_map_are_applied_in_that_order(tmp_path):
    binary = save(tmp_path, np.array([[0, 255]], np.uint8))
    reader = MaskReader(2, mask_map=parse_mask_map("255=1"))
    assert reader.read(binary).tolist() == [[0, 1]]
    zero_ignored = MaskReader(3, ignore_index=0)
    assert zero_ignored.read(save(tmp_path, np.array([[0, 1, 2]], np.uint8))).tolist() == [
        [255, 1, 2]
    ]
    with pytest.raises(DataError, match="mask value 255"):  # now an ordinary, too large value
        zero_ignored.read(save(tmp_path, np.array([[0, 255]], np.uint8)))


@pytest.mark.parametrize("text", ["", "1", "1=", "1=256", "300=1", "a=1", "#12345=1", "1=2,"])
def test_malformed_mask_maps_are_refused(text):
    with pytest.raises(UsageError, match="FROM=TO"):
        parse_mask_map(text)


def test_colour_masks_need_a_colour_for_each_class(tmp_path):
    rgb = np.zeros((2, 2, 3), np.uint8)
    rgb[0, 1] = (128, 64, 128)
    rgb[1] = (224, 224, 192)
    path = save(tmp_path, rgb)
    with pytest.raises(DataError, match=r"#000000, #804080, #e0e0c0") as caught:
        MaskReader(2).read(path)
    assert caught.value.code == "mask.color"
    reader = MaskReader(
        2,
        colors={(0, 0, 0): 0, (128, 64, 128): 1},
        mask_map=parse_mask_map("#e0e0c0=255"),
    )
    assert reader.read(path).tolist() == [[0, 1], [255, 255]]


def test_lossy_and_wide_masks_are_refused(tmp_path):
    with pytest.raises(DataError) as caught:
        MaskReader(3).read(save(tmp_path, INDICES, name="m.jpg"))
    assert caught.value.code == "mask.lossy"
    narrow = INDICES.astype(np.uint16)
    assert np.array_equal(MaskReader(3).read(save(tmp_path, narrow)), INDICES)
    with pytest.raises(DataError) as caught:
        MaskReader(3).read(save(tmp_path, narrow * 1000))
    assert caught.value.code == "mask.16bit"


def flat(colors):
    return [channel for color in colors for channel in color]


BLACK, RED, GREEN, BLUE = (0, 0, 0), (128, 0, 0), (0, 128, 0), (1, 2, 250)
CITY = {BLACK: 0, GREEN: 1, RED: 2}
"""A classes.txt that lists VOC's first colours in another order."""


@pytest.mark.parametrize(
    ("palette", "used", "wanted"),
    [
        ([BLACK, GREEN, RED], [0, 1, 2], [0, 1, 2]),  # agrees
        ([BLACK, RED, GREEN], [0, 1, 2], [0, 2, 1]),  # the same colours in another order
        (VOC_PALETTE, [0, 1, 2, 255], [0, 2, 1, 255]),
        ([BLACK, RED, GREEN], [0], [0]),  # what is not used does not matter
        ([BLUE, BLUE, BLUE], [0, 1, 2], [0, 1, 2]),  # colours of no class say nothing
        ([(n, n, n) for n in range(256)], [0, 1, 2], [0, 1, 2]),
        (
            [BLACK, RED, BLUE],
            [0, 1, 2],
            "value 1 the colour #800000.*value 2 a colour that belongs to no",
        ),
        (
            [RED, BLACK, GREEN] + 253 * [BLUE],
            [0, 1, 255],
            [2, 0, 255],
        ),  # 255 is no class, whatever its colour
    ],
)
def test_a_palette_that_contradicts_the_classes_counts_or_is_refused(
    tmp_path, palette, used, wanted
):
    flattened = palette if isinstance(palette, bytes) else flat(palette)
    path = save(tmp_path, np.array([used], np.uint8), palette=flattened)
    reader = MaskReader(3, colors=CITY)
    if isinstance(wanted, str):
        with pytest.raises(DataError, match=wanted) as caught:
            reader.read(path)
        assert caught.value.code == "mask.palette"
        return
    assert reader.read(path).tolist() == [wanted]
    assert reader.recolors(path) == (wanted != used)
    assert MaskReader(3).read(path).tolist() == [used]
    as_colors = save(tmp_path, Image.open(path).convert("RGB"), name="rgb.png")
    if 255 not in used and set(flattened[:9]) == set(flat(CITY)):
        assert reader.read(as_colors).tolist() == [wanted], "a mask means what its colours mean"


def test_the_usual_palette_says_nothing_about_classes_with_other_colours(tmp_path):
    """Many programs write VOC's palette; CamVid's buildings are as red as VOC's aeroplanes."""
    camvid = {(128, 128, 128): 0, RED: 1, (192, 192, 128): 2, (128, 64, 128): 3}
    path = save(tmp_path, np.array([[0, 1, 2, 3]], np.uint8), palette=VOC_PALETTE)
    assert MaskReader(4, colors=camvid).read(path).tolist() == [[0, 1, 2, 3]]
    swapped = dict(zip(camvid, (1, 0, 2, 3), strict=True))
    assert MaskReader(4, colors=swapped).read(path).tolist() == [[0, 1, 2, 3]]
    path = save(tmp_path, np.array([[0, 1]], np.uint8), palette=VOC_PALETTE)
    predictions = MaskReader(3, colors=CITY, trust_voc_palette=False)
    assert predictions.read(path).tolist() == [[0, 1]]


def test_values_and_colours_of_a_mask_map_reach_palette_masks(tmp_path):
    path = save(tmp_path, np.array([[0, 1, 2]], np.uint8), palette=flat([BLACK, BLUE, RED]))
    said = "#" + bytes(BLUE).hex()
    for colors in ({}, {BLACK: 0}):
        reader = MaskReader(3, colors=colors, mask_map=parse_mask_map(f"{said}=255"))
        assert reader.read(path).tolist() == [[0, 255, 2]]
    meant = MaskReader(3, colors=CITY, mask_map=parse_mask_map("1=1,2=1"))
    path = save(tmp_path, np.array([[0, 1, 2]], np.uint8), palette=flat([BLACK, RED, GREEN]))
    assert meant.read(path).tolist() == [[0, 1, 1]]


def test_what_predict_writes_is_read_as_it_was_meant(tmp_path):
    """Also where a class without a colour would have had the colour that another one was given."""
    texts = ["a\nb\nc", "a 0 128 0\nb 0 0 0\nc 128 0 0", "a\nb\nc 128 0 0", "a 9 9 9\nb\nc 0 0 0"]
    for text in texts:
        (tmp_path / "classes.txt").write_text(text)
        classes, colors = read_classes(tmp_path / "classes.txt")
        assert len(set(classes.colors)) == 3
        labels = np.array([[0, 1, 2]], np.uint8)
        for some in (labels, labels[:, :1], labels[:, 1:]):
            write_label_png(tmp_path / "m.png", some, classes.colors)
            assert np.array_equal(MaskReader(3, colors).read(tmp_path / "m.png"), some), text
        shown = Image.open(tmp_path / "m.png").convert("RGB").getpixel((1, 0))
        assert shown == classes.colors[2]


@pytest.mark.parametrize("value", [0.5, 1.7, -0.25, 254.9, np.nan, np.inf])
def test_float_masks_are_read_if_they_hold_whole_numbers(tmp_path, value):
    whole = INDICES.astype(np.float32)
    assert np.array_equal(MaskReader(3).read(save(tmp_path, whole, name="m.tif")), INDICES)
    whole[0, 0] = value
    with pytest.raises(DataError, match=r"m\.tif: mask value .* not a whole number") as caught:
        MaskReader(3).read(save(tmp_path, whole, name="m.tif"))
    assert caught.value.code == "mask.float"


def test_colour_masks_of_16_bits_are_refused(tmp_path):
    """Pillow would keep the high byte, in which all classes are 0."""
    for channels in (3, 4):
        deep = np.stack([INDICES.astype(np.uint16)] * channels, -1)
        for name in ("m.png", "m.tif"):
            cv2.imwrite(str(tmp_path / name), deep)
            with pytest.raises(DataError, match="16 bits") as caught:
                MaskReader(3).read(tmp_path / name)
            assert caught.value.code == "mask.16bit"


def test_voc_palette_has_the_published_colours():
    assert [voc_color(i) for i in (0, 1, 2, 15, 20, 255)] == [
        (0, 0, 0),
        (128, 0, 0),
        (0, 128, 0),
        (192, 128, 128),
        (0, 64, 128),
        (224, 224, 192),
    ]
    assert VOC_PALETTE[3 * 15 : 3 * 16] == bytes((192, 128, 128))


@pytest.mark.parametrize(
    ("text", "names", "colors"),
    [
        ("sky\nthe road\n\n", ("sky", "the road"), {}),
        ("sky 1 2 3\nthe road 4 5 6\n", ("sky", "the road"), {(1, 2, 3): 0, (4, 5, 6): 1}),
        ("1,2,3 sky\n4 5 6\troad", ("sky", "road"), {(1, 2, 3): 0, (4, 5, 6): 1}),
        (
            "# label:color:parts:actions\nsky:1,2,3::\nroad:4,5,6:a,b:c",
            ("sky", "road"),
            {(1, 2, 3): 0, (4, 5, 6): 1},
        ),
        ("class 7\nroad 66", ("class 7", "road 66"), {}),
    ],
)
def test_class_files_give_names_and_colours(tmp_path, text, names, colors):
    (tmp_path / "classes.txt").write_text(text)
    classes, found = read_classes(tmp_path / "classes.txt")
    assert (classes.names, found) == (names, colors)
    expected = {index: color for color, index in colors.items()}
    assert classes.colors == tuple(expected.get(i, voc_color(i)) for i in range(len(names)))


@pytest.mark.parametrize("text", ["", "a\na", "a 1 2 3\nb 1 2 3", "a 1 2 300"])
def test_unusable_class_files_are_refused(tmp_path, text):
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(DataError, match=r"classes\.txt"):
        read_classes(tmp_path / "classes.txt")


def test_only_masks_limit_the_number_of_classes(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("\n".join(f"class {number}" for number in range(1000)))
    assert len(read_classes(path)[0]) == 1000
    with pytest.raises(DataError, match=r"classes\.txt lists 1000 classes") as caught:
        read_classes(path, IGNORE)
    assert "at most 255" in caught.value.hint


def test_layouts_are_detected_and_listed(scenes, voc, tmp_path):
    assert (detect_format("masks", scenes), detect_format("masks", voc)) == ("pairs", "voc")
    pairs = read_pairs(scenes, "pairs", ["val"]).splits["val"]
    assert [p.key for p in pairs] == [f"images/val/scene{i:05d}.png" for i in range(8, 12)]
    assert [p.image.name for p in read_pairs(voc, "voc", ["val"]).splits["val"]] == [
        p.image.name for p in pairs
    ]
    with pytest.raises(DataError, match="no known layout"):
        detect_format("masks", tmp_path)
    with pytest.raises(DataError, match="did you mean val"):
        read_pairs(scenes, "pairs", ["vall"]).splits["vall"]
    with pytest.raises(DataError, match="known: train, val"):
        read_pairs(voc, "voc", ["x"]).splits["x"]


def test_missing_files_and_escapes_are_listed(voc, tmp_path):
    root = tmp_path / "voc"
    shutil.copytree(voc, root)
    split = root / "ImageSets/Segmentation/val.txt"
    split.write_text("scene00008\nnope\n")
    with pytest.raises(DataError, match=r"2 files missing: JPEGImages/nope\.jpg"):
        read_pairs(root, "voc", ["val"]).splits["val"]
    split.write_text("../../etc/passwd\n")
    with pytest.raises(DataError) as caught:
        read_pairs(root, "voc", ["val"]).splits["val"]
    assert caught.value.code == "path.escape"
    split.write_text("scene00008\nscene00008\n")
    with pytest.raises(DataError, match="twice"):
        read_pairs(root, "voc", ["val"]).splits["val"]
    split.write_text("\n")
    with pytest.raises(DataError, match="empty"):
        read_pairs(root, "voc", ["val"]).splits["val"]


def test_a_scan_finds_every_seeded_defect_at_once(scenes, tmp_path):
    root = tmp_path / "bad"
    shutil.copytree(scenes, root)
    images, masks = root / "images/train", root / "masks/train"
    (images / "scene00000.png").write_bytes(b"")
    (images / "scene00001.png").write_bytes((images / "scene00001.png").read_bytes()[:900])
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(masks / "scene00002.png")
    Image.fromarray(np.full((64, 64), 77, np.uint8)).save(masks / "scene00003.png")
    scan = scan_pairs(read_pairs(root, "pairs", ["train"]).splits["train"], MaskReader(6))
    assert [d.code for d in scan.defects] == [
        "image.empty",
        "image.truncated",
        "mask.size_mismatch",
        "mask.value_range",
    ]
    with pytest.raises(CvkitError, match="4 defects") as caught:
        raise_defects(scan.defects, "bad")
    for name in ("scene00000", "scene00001", "scene00002", "scene00003"):
        assert name in str(caught.value)


def test_a_scan_counts_pixels_by_class(scenes):
    pairs = read_pairs(scenes, "pairs", ["train"]).splits["train"]
    scan = scan_pairs(pairs, MaskReader())
    expected = np.zeros(256, np.int64)
    for pair in pairs:
        expected += np.bincount(np.asarray(Image.open(pair.mask)).ravel(), minlength=256)
    assert np.array_equal(scan.pixels, expected)
    assert scan.sizes_hw == [(64, 64)] * 8
    assert not scan.defects
