"""A TIFF file that is turned has the pixels of the image that it turns, however it is stored."""

import numpy as np
import pytest
from PIL import Image

from cvkit.data.decode import read_image, upright_size_hw

MODES = ("RGB", "L", "1", "P", "LA", "RGBA", "CMYK", "I;16")
TURNS = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: np.rot90,
}


def made(mode):
    rng = np.random.default_rng(2)
    if mode == "I;16":
        return Image.fromarray(rng.integers(0, 65536, (7, 11), np.uint16))
    image = Image.fromarray(rng.integers(0, 256, (7, 11, 4), np.uint8), "RGBA")
    return image.convert("RGB" if mode in ("CMYK", "P", "1") else "RGBA").convert(mode)


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("mode", MODES)
def test_turned_pixels_are_the_pixels_turned(tmp_path, mode, compression):
    path = tmp_path / "x.tif"
    image = made(mode)
    image.save(path, compression=compression)
    upright = read_image(path)
    for orientation, turn in TURNS.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        image.save(path, exif=exif, compression=compression)
        found = read_image(path)
        assert np.array_equal(found, turn(upright)), orientation
        assert upright_size_hw(path) == found.shape[:2]
