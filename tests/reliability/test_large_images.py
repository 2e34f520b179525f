"""Large images are converted in bands, whose pixels are those of the whole."""

import numpy as np
import pytest
from PIL import Image

from cvkit.data import decode
from cvkit.data.decode import read_image

MODES = ("RGB", "L", "1", "P", "PA", "LA", "RGBA", "CMYK", "I;16", "transparent P", "transparent L")


def made(mode, size_hw=(37, 50)):
    rng = np.random.default_rng(3)
    values = rng.integers(0, 256, (*size_hw, 4), np.uint8)
    if mode == "I;16":
        return Image.fromarray(rng.integers(0, 65536, size_hw, np.uint16)), {}
    base = Image.fromarray(values, "RGBA")
    if mode == "transparent P":
        return base.convert("RGB").convert("P"), {"transparency": 7}
    if mode == "transparent L":
        return base.convert("L"), {"transparency": int(values[0, 0, 0])}
    return (base if mode in ("RGBA", "LA", "PA") else base.convert("RGB")).convert(mode), {}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("orientation", [1, 6])
def test_bands_have_the_pixels_of_the_whole(tmp_path, monkeypatch, mode, orientation):
    image, more = made(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / ("x.tif" if mode in ("CMYK", "PA", "LA") else "x.png")
    image.save(path, exif=exif, **more)
    whole = read_image(path)
    for pixels in (1, 120, 37 * 50 - 1):
        monkeypatch.setattr(decode, "BAND_PIXELS", pixels)
        assert np.array_equal(read_image(path), whole), pixels
        assert read_image(path).flags.writeable


def test_a_large_image_is_not_converted_as_a_whole(tmp_path, monkeypatch):
    Image.new("1", (50, 40)).save(tmp_path / "x.png")
    monkeypatch.setattr(decode, "BAND_PIXELS", 500)
    seen, real = [], decode._to_rgb
    monkeypatch.setattr(
        decode, "_to_rgb", lambda image, path: seen.append(image.size) or real(image, path)
    )
    read_image(tmp_path / "x.png")
    assert seen == [(50, 10)] * 4
