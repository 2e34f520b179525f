"""One reader, known pixels: every kind of file has a documented result or a typed error."""

import io
import os
import struct
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor, as_completed

import numpy as np
import pytest
import tifffile
from PIL import Image

from cvkit.data.decode import read_image, upright_size_hw
from cvkit.errors import DataError

GRADIENT = (np.arange(12 * 20 * 3).reshape(12, 20, 3) * 7 % 256).astype(np.uint8)


def save(tmp_path, image, name="x.png", **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


def test_rgb_is_read_as_stored(tmp_path):
    assert np.array_equal(read_image(save(tmp_path, Image.fromarray(GRADIENT))), GRADIENT)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path, Image.fromarray(GRADIENT), exif=exif)
    flat, half, turn, back = (
        np.fliplr,
        lambda a: np.rot90(a, 2),
        np.rot90,
        lambda a: np.rot90(a, -1),
    )
    upright = {
        1: lambda a: a,
        2: flat,
        3: half,
        4: np.flipud,
        5: lambda a: a.transpose(1, 0, 2),
        6: back,
        7: lambda a: half(a).transpose(1, 0, 2),
        8: turn,
    }[orientation](GRADIENT)
    found = read_image(path)
    assert np.array_equal(found, upright)
    assert upright_size_hw(path) == found.shape[:2]


def test_damaged_exif_is_ignored(tmp_path):
    path = save(tmp_path, Image.fromarray(GRADIENT), "x.jpg", exif=b"Exif\0\0MM\0*\0\0\xff\xff")
    assert read_image(path).shape == (12, 20, 3)


def test_grey_and_bilevel_fill_all_channels(tmp_path):
    grey = GRADIENT[..., 0]
    found = read_image(save(tmp_path, Image.fromarray(grey)))
    assert np.array_equal(found, np.stack([grey] * 3, -1))
    bits = Image.fromarray(grey > 100)
    assert bits.mode == "1"
    found = read_image(save(tmp_path, bits))
    assert np.array_equal(found[..., 1], np.where(grey > 100, 255, 0))


def test_alpha_is_composed_over_white(tmp_path):
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 0] = 100
    rgba[0, :, 3] = (0, 255, 51)  # invisible, opaque, a fifth
    found = read_image(save(tmp_path, Image.fromarray(rgba)))
    assert found[0].tolist() == [[255, 255, 255], [100, 0, 0], [224, 204, 204]]
    la = np.array([[[10, 0], [10, 255]]], np.uint8)
    assert read_image(save(tmp_path, Image.fromarray(la)))[0, :, 0].tolist() == [255, 10]


def test_palette_is_looked_up_with_its_transparency(tmp_path):
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    assert read_image(save(tmp_path, image))[0].tolist() == [
        [10, 20, 30],
        [40, 50, 60],
        [70, 80, 90],
    ]
    found = read_image(save(tmp_path, image, transparency=1))
    assert found[0].tolist() == [[10, 20, 30], [255, 255, 255], [70, 80, 90]]


def test_sixteen_bit_grey_keeps_256_levels(tmp_path):
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    found = read_image(save(tmp_path, Image.fromarray(ramp)))
    assert np.array_equal(found[..., 2], (ramp // 256).astype(np.uint8))
    assert len(np.unique(found)) == 256


def test_sixteen_bit_rgb_keeps_the_high_byte(tmp_path):
    values = struct.pack(">6H", 0x1234, 0x5678, 0x9ABC, 0xFFFF, 0, 0x80FF)
    path = tmp_path / "x.png"
    path.write_bytes(png(2, 2, 16, b"\0" + values + b"\0" + values))
    assert read_image(path)[0].tolist() == [[0x12, 0x56, 0x9A], [0xFF, 0, 0x80]]


def test_cmyk_becomes_rgb(tmp_path):
    ink = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # magenta and yellow: red
    red = read_image(save(tmp_path, ink, "x.jpg", quality=100))[8, 8].astype(int)
    assert (abs(red - [255, 0, 0]) <= 3).all()


def test_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    path = save(tmp_path, frames[0], "x.gif", save_all=True, append_images=frames[1:])
    assert read_image(path)[0, 0].tolist() == [255, 0, 0]


def jpeg():
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(
        stream, "JPEG"
    )
    return stream.getvalue()


def png_chunk(kind, data):
    checksum = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + checksum


def png(width, height, depth, rows):
    """An RGB PNG file with any header and any content."""
    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def bomb():
    """A PNG whose header claims 20000 x 20000 pixels."""
    return png(20000, 20000, 8, b"")


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "image.empty"),
        (b"hello world, this is text", "image.not_an_image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "image.not_an_image"),
        (b"%PDF-1.4\n", "image.not_an_image"),
        (jpeg()[: len(jpeg()) // 2], "image.truncated"),
        (jpeg()[:100], "image.unreadable"),
        (bomb(), "image.too_large"),
    ],
)
def test_unusable_content_is_a_typed_error_that_names_the_file(tmp_path, content, code):
    path = tmp_path / "bad.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.jpg") as caught:
        read_image(path)
    assert caught.value.code == code


def test_size_limit_is_exactly_one_hundred_megapixels(tmp_path):
    large = Image.new("1", (10_000, 10_000))
    assert upright_size_hw(save(tmp_path, large)) == (10_000, 10_000)
    with pytest.raises(DataError) as caught:
        upright_size_hw(save(tmp_path, Image.new("1", (10_000, 10_001))))
    assert caught.value.code == "image.too_large"


def test_things_that_are_no_files_are_refused_without_blocking(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    os.symlink(tmp_path / "loop.png", tmp_path / "loop.png")
    for name, code in (
        ("pipe.png", "image.not_a_file"),
        ("missing.png", "image.missing"),
        ("loop.png", "image.unreadable"),
    ):
        with pytest.raises(DataError) as caught:
            read_image(tmp_path / name)
        assert caught.value.code == code


def test_float_pixels_have_no_conversion(tmp_path):
    path = save(tmp_path, Image.fromarray(np.ones((4, 4), np.float32)), "x.tif")
    with pytest.raises(DataError) as caught:
        read_image(path)
    assert caught.value.code == "image.depth"


@pytest.mark.parametrize("kind", ["float32", "float64", "int16", "int32", "uint32"])
def test_a_tiff_of_an_unusual_type_is_refused_by_it(tmp_path, kind):
    tifffile.imwrite(tmp_path / "a.tif", np.ones((5, 4, 3), kind), photometric="rgb")
    with pytest.raises(DataError, match=f"has {kind} pixels") as caught:
        read_image(tmp_path / "a.tif")
    assert caught.value.code == "image.depth"


@pytest.mark.parametrize("content", [b"nothing", b"II*\0", b"MM\0*\0\0\0\x08\0\x01"])
def test_what_is_no_tiff_either_is_said_to_be_no_image(tmp_path, content):
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_image(tmp_path / "a.tif")
    assert caught.value.code == "image.not_an_image"


def test_threads_that_decode_at_the_same_time_leave_other_warnings_alone(tmp_path, monkeypatch):
    """The first one begins first and ends first, so that neither undoes what it has done."""
    path = save(tmp_path, Image.fromarray(GRADIENT))
    opened, first_done = threading.Barrier(2, timeout=20), threading.Event()
    real = Image.open

    def slow(*arguments, **named):
        image = real(*arguments, **named)
        warnings.warn_explicit("a large image", UserWarning, "Image.py", 1, "PIL.Image")
        opened.wait()
        if threading.current_thread().name.endswith("1"):
            first_done.wait(20)
        return image

    monkeypatch.setattr(Image, "open", slow)
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        with ThreadPoolExecutor(2, "reader") as pool:
            jobs = [pool.submit(read_image, path) for _ in range(2)]
            next(as_completed(jobs)).result()
            first_done.set()
        assert [np.array_equal(job.result(), GRADIENT) for job in jobs] == [True, True]
        warnings.warn("of somebody else", UserWarning, stacklevel=1)
    assert [str(each.message) for each in shown] == ["of somebody else"]
