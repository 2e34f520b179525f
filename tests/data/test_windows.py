"""Windows of TIFF files: the pixels of `read_image`, without the rest of the image."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from cvkit.data import tiff_files
from cvkit.data.decode import read_image
from cvkit.data.files import InputFile
from cvkit.data.given import GivenImage
from cvkit.data.tiff_files import open_tiff, tiff_facts
from cvkit.data.windows import windows_of
from cvkit.errors import DataError
from cvkit.ops.tiling import Tile

SIZE_HW = (150, 230)


def pixels(kind, dtype=np.uint8, top=256):
    """Return smooth values with noise; `kind` is the number of channels."""
    rng = np.random.default_rng(kind)
    shape = SIZE_HW if kind == 1 else (*SIZE_HW, kind)
    return rng.integers(0, top, shape).astype(dtype)


TIFFS = {
    "tiles": (3, {"tile": (64, 48), "photometric": "rgb"}),
    "deflate": (3, {"tile": (64, 48), "photometric": "rgb", "compression": "zlib"}),
    "predictor": (
        3,
        {"tile": (32, 32), "photometric": "rgb", "compression": "zlib", "predictor": True},
    ),
    "strips": (3, {"rowsperstrip": 7, "photometric": "rgb"}),
    "one strip": (3, {"rowsperstrip": 150, "photometric": "rgb"}),
    "grey": (1, {"tile": (64, 48), "photometric": "minisblack"}),
    "alpha": (4, {"tile": (64, 48), "photometric": "rgb", "extrasamples": ["unassalpha"]}),
    "big": (3, {"tile": (64, 48), "photometric": "rgb", "bigtiff": True}),
    "big-endian": (3, {"tile": (64, 48), "photometric": "rgb", "byteorder": ">"}),
}


def stored(path, kind, more, **values):
    more = dict(more)
    order = {name: more.pop(name) for name in ("bigtiff", "byteorder") if name in more}
    with tifffile.TiffWriter(path, **order) as writer:
        writer.write(pixels(kind, **values), **more)
    return InputFile(path, path.name)


def tile_of(windows, *place):
    with windows.opened() as read:
        return read(Tile(*place))


PLACES = [(0, 0, 64, 48), (60, 40, 30, 30), (100, 200, 50, 30), (0, 0, *SIZE_HW), (149, 229, 1, 1)]


@pytest.mark.parametrize("name", TIFFS)
def test_windows_are_parts_of_the_whole_image(tmp_path, name):
    item = stored(tmp_path / "x.tif", *TIFFS[name])
    windows = windows_of(item)
    assert windows.tiff is not None and windows.size_hw == SIZE_HW
    whole = read_image(item.path)
    for y, x, height, width in PLACES:
        found = tile_of(windows, y, x, height, width)
        np.testing.assert_array_equal(found, whole[y : y + height, x : x + width])


@pytest.mark.parametrize("kind", [1, 3])
@pytest.mark.parametrize("bits", [16, 12, None])
def test_windows_of_16_bits_are_scaled_as_the_whole_image(tmp_path, kind, bits):
    more = {"tile": (64, 48), "photometric": "rgb" if kind == 3 else "minisblack"}
    item = stored(tmp_path / "x.tif", kind, more, dtype=np.uint16, top=4000)
    whole = read_image(item.path, bits)
    assert whole.max() > (200 if bits != 16 else 10)
    np.testing.assert_array_equal(tile_of(windows_of(item, bits), 0, 0, *SIZE_HW), whole)


def test_pages_are_found_by_their_number(tmp_path):
    with tifffile.TiffWriter(tmp_path / "x.tif") as writer:
        for page in range(3):
            writer.write(np.full((64, 64), 10 * page, np.uint8), tile=(32, 32))
    item = InputFile(tmp_path / "x.tif#3", "x.tif#3")
    assert windows_of(item).tiff is not None
    assert np.unique(tile_of(windows_of(item), 3, 3, 50, 50)).tolist() == [20]


def test_other_images_are_decoded_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff_files, "find_spec", lambda name: None)  # no imagecodecs
    image = pixels(3)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(image).save(tmp_path / "x.png")
    Image.fromarray(image).save(tmp_path / "turned.tif", exif=turned)
    Image.fromarray(image).quantize(16).save(tmp_path / "palette.tif")
    Image.fromarray(image).save(tmp_path / "lzw.tif", compression="tiff_lzw")
    items = [InputFile(path, path.name) for path in sorted(tmp_path.iterdir())]
    for item in [*items, GivenImage(image, "given")]:
        windows = windows_of(item)
        whole = image if isinstance(item, GivenImage) else read_image(item.path)
        assert windows.tiff is None and windows.size_hw == whole.shape[:2]
        np.testing.assert_array_equal(tile_of(windows, 10, 20, 30, 40), whole[10:40, 20:60])
        np.testing.assert_array_equal(windows.whole(), whole)


def test_only_the_tiles_of_a_window_are_decoded(tmp_path, monkeypatch):
    item = stored(tmp_path / "x.tif", *TIFFS["deflate"])
    decoded, decode = [], tiff_files.TiffWindows._decoded
    monkeypatch.setattr(
        tiff_files.TiffWindows,
        "_decoded",
        lambda image, index: decoded.append(index) or decode(image, index),
    )
    with windows_of(item).opened() as read:
        read(Tile(60, 40, 8, 4))
        assert decoded == [0, 5], "tiles of 64x48: two rows of the first column of five"
        read(Tile(63, 47, 2, 2))
        assert decoded == [0, 5, 1, 6], "those from before are kept"
    monkeypatch.setattr(tiff_files, "KEPT", 64 * 48 * 3)
    decoded.clear()
    with windows_of(item).opened() as read:
        for _ in range(2):
            read(Tile(60, 40, 8, 4))
    assert decoded == [0, 5, 0, 5], "there is room for one"


def test_a_header_of_any_size_opens_and_its_windows_are_read(tmp_path):
    side = 40_000  # 1,600 megapixels, of which one tile is written
    tile = pixels(3)[:128, :128]
    with tifffile.TiffWriter(tmp_path / "x.tif", bigtiff=True) as writer:
        blank = (None for _ in range((-(-side // 128)) ** 2 - 1))
        tiles = (each for part in ([tile], blank) for each in part)
        writer.write(
            tiles, shape=(side, side, 3), dtype=np.uint8, tile=(128, 128), photometric="rgb"
        )
    windows = windows_of(InputFile(tmp_path / "x.tif", "x.tif"))
    assert windows.size_hw == (side, side)
    np.testing.assert_array_equal(tile_of(windows, 0, 0, 128, 128), tile)
    assert not tile_of(windows, side - 9, side - 9, 9, 9).any()
    with pytest.raises(DataError, match="megapixels") as caught:
        read_image(tmp_path / "x.tif")
    assert "--tiles" in caught.value.hint


def test_what_cannot_be_read_in_windows_keeps_the_limit(tmp_path, monkeypatch):
    Image.new("L", (300, 200)).save(tmp_path / "x.png")
    monkeypatch.setattr("cvkit.data.decode.MAX_PIXELS", 50_000)
    with pytest.raises(DataError, match="megapixels") as caught:
        windows_of(InputFile(tmp_path / "x.png", "x.png"))
    assert caught.value.code == "image.too_large" and "TIFF file with tiles" in caught.value.hint


def test_a_strip_that_is_too_large_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    stored(tmp_path / "x.tif", *TIFFS["one strip"])
    monkeypatch.setattr(tiff_files, "MAX_PIXELS", 150 * 230 - 1)
    with pytest.raises(DataError, match="in a tile or strip") as caught:
        tiff_facts(tmp_path / "x.tif")
    assert caught.value.code == "image.too_large"


def test_a_tile_that_grows_when_it_is_decoded_is_refused(tmp_path):
    import zlib

    path = tmp_path / "x.tif"
    stored(path, *TIFFS["deflate"])
    with tifffile.TiffFile(path) as file:
        start, tags = path.stat().st_size, file.pages[0].tags
        places = tags["TileOffsets"].valueoffset, tags["TileByteCounts"].valueoffset
    bomb = zlib.compress(bytes(64 * 48 * 3 + 1))
    with open(path, "r+b") as stream:
        stream.seek(start)
        stream.write(bomb)
        for place, value in zip(places, (start, len(bomb)), strict=True):
            stream.seek(place)
            stream.write(value.to_bytes(4, "little"))
    with pytest.raises(DataError, match="longer than its size") as caught:
        tile_of(windows_of(InputFile(path, "x")), 0, 0, 8, 8)
    assert caught.value.code == "image.corrupt"


def test_a_truncated_file_says_so(tmp_path):
    path = tmp_path / "x.tif"
    item = stored(path, *TIFFS["tiles"])
    with open_tiff(path) as image:
        last = max(image.page.dataoffsets)
    content = path.read_bytes()
    assert last < len(content) - 10
    path.write_bytes(content[: last + 10])
    if tiff_facts(path) is None:  # the header was at the end
        pytest.fail("the header comes first")
    with pytest.raises(DataError) as caught:
        tile_of(windows_of(item), 140, 220, 10, 10)
    assert caught.value.code in ("image.truncated", "image.corrupt")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["tiles", "grey"])
def test_a_reduced_image_has_the_means_of_squares(tmp_path, monkeypatch, name):
    item = stored(tmp_path / "x.tif", *TIFFS[name])
    monkeypatch.setattr("cvkit.data.windows.BAND", 3 * 4 * SIZE_HW[1])
    found, factor = windows_of(item).reduced(60)
    assert factor == 4 and found.shape == (37, 57, 3)
    whole = read_image(item.path)[:148, :228].astype(float)
    means = whole.reshape(37, 4, 57, 4, 3).mean((1, 3))
    assert np.abs(found - means).max() <= 1
    same, factor = windows_of(item).reduced(230)
    assert factor == 1
    np.testing.assert_array_equal(same, read_image(item.path))
