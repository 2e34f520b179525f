"""Images that claim, or unpack to, more than they should, and files under names of others."""

import io
import os
import struct
import zlib

import numpy as np
from PIL import Image


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth=8, colour=2, rows=b"", more=()):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), *more, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def stored(image, kind, **flags):
    stream = io.BytesIO()
    image.save(stream, kind, **flags)
    return bytearray(stream.getvalue())


def zeros(size):
    """A zlib stream of so many zeros, made in pieces."""
    packer, parts = zlib.compressobj(9), []
    for _ in range(size // 2**20):
        parts.append(packer.compress(bytes(2**20)))
    return b"".join([*parts, packer.flush()])


def tiff(entries, data=b"\0" * 64):
    """A little-endian TIFF file with one directory: (tag, type, count, value)."""
    rows = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    head = struct.pack("<2sHI", b"II", 42, 8)
    return head + struct.pack("<H", len(entries)) + rows + struct.pack("<I", 0) + data


def tiff_of(width, height, *more, samples=1):
    base = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1)]
    base += [(262, 3, 1, 1), (277, 3, 1, samples)]
    return tiff([*base, *more])


def gif(screen, frame, at=(0, 0)):
    """A GIF whose screen and frame have any sizes."""
    content = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    content += b"," + struct.pack("<HHHHB", *at, *frame, 0)
    return content + b"\x02\x02\x4c\x01\x00;"


def jpeg(width, height):
    """A JPEG file with another size in its header."""
    content = stored(Image.new("RGB", (16, 16)), "JPEG")
    place = content.index(b"\xff\xc0") + 5
    content[place : place + 4] = struct.pack(">HH", height, width)
    return content


def bmp(width, height, kind=0):
    return (
        b"BM"
        + struct.pack(
            "<IHHIIiiHHIIiiII", 200, 0, 0, 54, 40, width, height, 1, 24, kind, 0, 0, 0, 0, 0
        )
        + bytes(64)
    )


def webp(width, height):
    """A lossless WebP file whose header claims a size."""
    content = stored(Image.new("RGB", (16, 16)), "WEBP", lossless=True)
    place = content.index(b"VP8L") + 9
    bits = int.from_bytes(content[place : place + 4], "little") >> 28 << 28
    bits |= (width - 1) | (height - 1) << 14
    content[place : place + 4] = struct.pack("<I", bits)
    return content


def wide_webp():
    """An extended WebP file whose canvas has 2^24 x 2^24 pixels."""
    body = b"VP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + b"\xff" * 6
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def with_text(kind, size):
    """A small PNG with a compressed text of so many bytes."""
    data = b"a\0\0" + zeros(size) if kind == b"zTXt" else b"a\0\x01\0\0\0" + zeros(size)
    return png(2, 2, rows=b"\0" * 14, more=[(kind, data)])


def with_profile(size):
    return png(2, 2, rows=b"\0" * 14, more=[(b"iCCP", b"a\0\0" + zeros(size))])


def bombs():
    """Return files by name; each must be refused."""
    return {
        "400 MP.png": png(20_000, 20_000),
        "400 MP of bits.png": png(20_000, 20_000, 1, 0),
        "2^31.png": png(2**31 - 1, 2**31 - 1),
        "screen.gif": gif((65_535, 65_535), (1, 1)),
        "frame.gif": gif((1, 1), (65_535, 65_535)),
        "frame far off.gif": gif((1, 1), (65_535, 65_535), (65_535, 65_535)),
        "large.webp": webp(16_383, 16_383),
        "canvas.webp": wide_webp(),
        "large.jpg": jpeg(65_500, 65_500),
        "large.bmp": bmp(10**6, 10**6),
        "upside down.bmp": bmp(40_000, -40_000),
        "packed.bmp": bmp(30_000, 30_000, 1),
        "large.ppm": b"P6 100000 100000 255\n",
        "digits.ppm": b"P6 " + b"9" * 4000 + b" 1 255\n",
        "bits.pbm": b"P4 20000 20000\n",
        "2^31.tif": tiff_of(2**31 - 1, 2**31 - 1, (273, 4, 1, 8), (279, 4, 1, 8)),
        "400 MP.tif": tiff_of(
            20_000, 20_000, (273, 4, 1, 200), (278, 4, 1, 20_000), (279, 4, 1, 9)
        ),
        "tiles.tif": tiff_of(
            64, 64, (322, 4, 1, 2**20), (323, 4, 1, 2**20), (324, 4, 1, 200), (325, 4, 1, 64)
        ),
        "samples.tif": tiff_of(64, 64, (273, 4, 1, 200), (279, 4, 1, 64), samples=65_535),
        "entries.tif": tiff([(256, 4, 2**31, 8), (257, 4, 1, 8)]),
        "circle.tif": struct.pack("<2sHIH", b"II", 42, 8, 0) + struct.pack("<I", 8),
    }


def texts():
    """Return small PNG files with texts or profiles that unpack to much."""
    return {
        "zTXt.png": with_text(b"zTXt", 2**30),
        "iTXt.png": with_text(b"iTXt", 2**30),
        "iCCP.png": with_profile(2**30),
        "many zTXt.png": png(
            *(2, 2), rows=b"\0" * 14, more=[(b"zTXt", b"a\0\0" + zeros(2**20 - 2**19))] * 2000
        ),
    }


def foreign():
    """Return files of other formats, named as JPEG files."""
    return {
        "eps.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99999 99999\n%%EndComments\n",
        "pdf.jpg": b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n",
        "fits.jpg": b"SIMPLE  =                    T".ljust(80) + b"BITPIX  = 8".ljust(80) * 35,
        "svg.jpg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "ico.jpg": b"\0\0\1\0\1\0\xff\xff\0\0\1\0\x20\0" + struct.pack("<II", 9, 22),
        "psd.jpg": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 30_000, 30_000, 8, 3),
        "jp2.jpg": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(60),
        "avif.jpg": b"\0\0\0\x20ftypavif" + bytes(60),
        "dds.jpg": b"DDS " + struct.pack("<I", 124) + bytes(120),
        "icns.jpg": b"icns" + struct.pack(">I", 100) + bytes(92),
        "mpeg.jpg": b"\0\0\1\xba" + bytes(60),
        "zip.jpg": b"PK\3\4" + bytes(60),
        "elf.jpg": b"\x7fELF" + bytes(60),
        "html.jpg": b"<!doctype html><html></html>",
        "wmf.jpg": b"\xd7\xcd\xc6\x9a" + bytes(60),
        "nothing.jpg": b"",
        "zeros.jpg": bytes(5000),
        "noise.jpg": np.random.default_rng(1).bytes(5000),
    }


def bits_of_100_megapixels():
    """The largest image that is read, of a bit a pixel: 12 kB in the file."""
    packer = zlib.compressobj(9)
    rows = packer.compress(bytes((9_999 + 7) // 8 + 1) * 10_000) + packer.flush()
    header = struct.pack(">IIBBBBB", 9_999, 10_000, 1, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


KINDS = 12


def damaged(number, content, folder):
    """Make a bad file of one of twelve kinds out of a good one's content; return its path."""
    kind = number % KINDS
    path = folder / f"bad{number:03}.jpg"
    if kind == 0:
        path.write_bytes(b"")
    elif kind == 1:
        path.write_bytes(content[: len(content) // 2])
    elif kind == 2:
        path.write_bytes(content[:60])
    elif kind == 3:
        path.write_bytes(b"not an image at all")
    elif kind == 4:
        path.write_bytes(png(20_000, 20_000))
    elif kind == 5:
        path.write_bytes(b"%PDF-1.7\n" + bytes(100))
    elif kind == 6:
        path.symlink_to(folder / "nowhere.jpg")
    elif kind == 7:
        path.symlink_to(path)
    elif kind == 8:
        os.mkfifo(path)
    elif kind == 9:
        path.symlink_to("/dev/zero")
    elif kind == 10:
        path.write_bytes(bytes(stored(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF")))
    else:
        path.write_bytes(bytes(png(9, 9, rows=b"\0" * 9)))
    return path
