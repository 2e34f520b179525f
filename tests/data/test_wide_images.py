"""Images of 16 bits whose values need fewer: the bits that hold something are kept."""

import cv2
import numpy as np
import pytest
from PIL import Image

from cvkit.data.annotated import AnnotatedImage, no_objects
from cvkit.data.decode import DEPTHS, needed_bits, read_image
from cvkit.data.proposals import search_images
from cvkit.data.synthetic.scenes import make_single


def ramp(bits, channels=1):
    """All values of so many bits, at most 4096 of them, in rows of 64."""
    values = np.linspace(0, 2**bits - 1, min(2**bits, 4096)).round().astype(np.uint16)
    return np.stack([values.reshape(-1, 64)] * channels, -1).squeeze()


def save(path, values):
    """Write with OpenCV, which keeps 16 bits of all channels."""
    assert cv2.imwrite(str(path), values)
    return path


CHANNELS = [1, 3, 4]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("bits", DEPTHS)
def test_the_bits_that_hold_values_are_kept(tmp_path, bits, channels, suffix):
    values = ramp(bits, channels)
    if channels == 4:
        values[..., 3] = 65535  # opaque
    path = save(tmp_path / f"x{suffix}", values)
    assert needed_bits(path) == bits
    wanted = (ramp(bits) >> (bits - 8)).astype(np.uint8)
    for found in (read_image(path, None), read_image(path, bits)):
        assert np.array_equal(found, np.stack([wanted] * 3, -1))
        assert len(np.unique(found)) == 256
    assert len(np.unique(read_image(path))) == 256 >> (16 - bits), "the rule of older models"
    assert np.array_equal(read_image(path, 16), read_image(path))


@pytest.mark.parametrize("channels", CHANNELS)
def test_an_image_is_scaled_by_the_models_bits_and_not_by_its_own(tmp_path, channels):
    dark, bright = np.full((8, 8), 900), np.full((8, 8), 5000)
    for values, wanted in ((dark, 900 >> 4), (bright, 255)):
        stacked = np.stack([values.astype(np.uint16)] * channels, -1).squeeze()
        if channels == 4:
            stacked[..., 3] = 4095
        found = read_image(save(tmp_path / "x.png", stacked), 12)
        assert (found == wanted).all()


def add_orientation(content, value):
    """Append a copy of a TIFF's directory that also says how the image is turned."""
    order = "little" if content[:2] == b"II" else "big"
    start = int.from_bytes(content[4:8], order)
    count = int.from_bytes(content[start : start + 2], order)
    fields = [content[start + 2 + 12 * n : start + 14 + 12 * n] for n in range(count)]
    fields = [f for f in fields if int.from_bytes(f[:2], order) != 0x0112]
    own = (0x0112, 3)
    new = b"".join(part.to_bytes(2, order) for part in own) + (1).to_bytes(4, order)
    fields.append(bytearray(new + value.to_bytes(2, order) + b"\0\0"))
    fields.sort(key=lambda f: int.from_bytes(f[:2], order))
    if len(content) % 2:
        content += b"\0"
    place = len(content)
    content += len(fields).to_bytes(2, order) + b"".join(fields) + bytes(4)
    content[4:8] = place.to_bytes(4, order)


@pytest.mark.parametrize("channels", [1, 3])
def test_exif_orientation_is_kept(tmp_path, channels):
    values = np.zeros((4, 6), np.uint16)
    values[0] = 4095
    path = save(tmp_path / "x.tif", np.stack([values] * channels, -1).squeeze())
    content = bytearray(path.read_bytes())
    add_orientation(content, 6)
    path.write_bytes(content)
    found = read_image(path, None)
    assert found.shape[:2] == (6, 4)
    assert (found[:, 3] == 255).all() and (found[:, :3] == 0).all()


def test_declared_ranges_count(tmp_path):
    dark = np.full((4, 4), 700, np.uint16)
    (tmp_path / "x.pgm").write_bytes(b"P5 4 4 4095\n" + dark.astype(">u2").tobytes())
    assert needed_bits(tmp_path / "x.pgm") is None
    for bits in (None, 12, 16):
        assert (read_image(tmp_path / "x.pgm", bits) == 700 * 65535 // 4095 >> 8).all()
    for declared, wanted in ((4095, 12), (65535, 10), (100, 10)):  # a lie, and what says nothing
        Image.fromarray(dark).save(tmp_path / "x.tif", tiffinfo={281: declared})
        assert needed_bits(tmp_path / "x.tif") == wanted


def test_files_of_8_bits_are_what_they_are(tmp_path):
    image = make_single(5, 1, (20, 30))[0].render().image
    for name in ("x.png", "x.bmp", "x.tif"):
        Image.fromarray(image).save(tmp_path / name)
        assert needed_bits(tmp_path / name) is None
        for bits in (None, 8, 12, 16):
            assert np.array_equal(read_image(tmp_path / name, bits), image)


def test_regions_are_searched_in_the_image_that_the_network_sees(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # Stands for the search, which takes seconds: its result says what it was given.
    given = "cvkit.ops.proposals.selective_search"
    monkeypatch.setattr(given, lambda image, *_, **__: image.reshape(-1, 4)[:9].astype(np.float32))
    image = make_single(5, 1, (32, 32))[0].render().image
    Image.fromarray(image).save(tmp_path / "shallow.png")
    save(tmp_path / "deep.png", image[..., ::-1].astype(np.uint16) << 4)
    items = [
        AnnotatedImage(name, tmp_path / name, 1, (32, 32), no_objects())
        for name in ("shallow.png", "deep.png")
    ]
    for bits in (12, None):
        found = search_images(items, mode="fast", workers=0, on_step=lambda *_: None, bits=bits)
        assert np.array_equal(found["deep.png"], found["shallow.png"])
    old = search_images(items, mode="fast", workers=0, on_step=lambda *_: None, bits=16)
    assert not np.array_equal(old["deep.png"], old["shallow.png"])
