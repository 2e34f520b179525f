"""Label Studio's code of a brush: runs of the bytes of an RGBA image, as a stream of bits.

The code begins with the number of bytes (32 bits), the bits of a value less 1 (5) and the widths of
the four kinds of lengths less 1 (4 each). Then come blocks: a bit that says whether a value is
repeated, the kind of the length (2 bits), the length less 1, and the value or the values.
"""

from collections.abc import Sequence

import numpy as np

WIDTHS = (3, 4, 8, 16)
"""Bits of the four kinds of lengths."""
LONGEST = 1 << WIDTHS[-1]
CHANNELS = 4
"""Bytes of a pixel, which are equal: 255 inside a mask, 0 outside."""


def encode_brush(mask: np.ndarray) -> list[int]:
    """Return the code of an [H, W] bool mask, row by row, as bytes."""
    pixels = mask.astype(bool).ravel()
    starts = np.flatnonzero(np.diff(pixels, prepend=~pixels[:1]))
    lengths = np.diff(starts, append=len(pixels)) * CHANNELS
    bits = [f"{len(pixels) * CHANNELS:032b}", f"{7:05b}", *(f"{w - 1:04b}" for w in WIDTHS)]
    for inside, length in zip(pixels[starts].tolist(), lengths.tolist(), strict=True):
        for first in range(0, length, LONGEST):
            count = min(LONGEST, length - first) - 1
            kind = next(k for k, width in enumerate(WIDTHS) if count >> width == 0)
            bits.append(f"1{kind:02b}{count:0{WIDTHS[kind]}b}{255 if inside else 0:08b}")
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def decode_brush(code: Sequence[int], size_hw: tuple[int, int]) -> np.ndarray:
    """Return the [H, W] bool mask of a code: pixels that are not transparent.

    Raises:
        ValueError: it is not a code of a mask of this size.
    """
    height, width = size_hw
    total = height * width * CHANNELS
    read = _Bits(bytes(code))
    size, depth = read.number(32), read.number(5) + 1
    widths = [read.number(4) + 1 for _ in range(4)]
    if size != total or depth != 8:
        raise ValueError(f"is of {size} values of {depth} bits, not of {total} of 8")
    values, counts, done = list[int](), list[int](), 0
    while done < total:
        repeated, kind = read.number(1), read.number(2)
        length = read.number(widths[kind]) + 1
        found = [read.number(8)] if repeated else [read.number(8) for _ in range(length)]
        values += found
        counts += [length] if repeated else [1] * length
        done += length
    if done != total:
        raise ValueError(f"is of {done} values, not of {total}")
    pixels = np.repeat(np.array(values, np.uint8), counts).reshape(height, width, CHANNELS)
    return pixels[..., -1] > 0


class _Bits:
    """Reads numbers from bytes, the highest bit first."""

    def __init__(self, content: bytes) -> None:
        self.content, self.place = content, 0

    def number(self, width: int) -> int:
        """Return the number in the next bits.

        Raises:
            ValueError: there are not so many.
        """
        first, last = self.place // 8, (self.place + width + 7) // 8
        if last > len(self.content):
            raise ValueError("ends too early")
        self.place += width
        whole = int.from_bytes(self.content[first:last], "big")
        return whole >> (last * 8 - self.place) & ((1 << width) - 1)
