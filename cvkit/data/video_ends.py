"""Videos that break off, of the containers that do not store their number of frames."""

import os
import re
from pathlib import Path
from typing import BinaryIO

from cvkit.texts import counted

MPEG_SUFFIXES = frozenset({".mpg", ".mpeg"})
HEAD, TAIL = 2**20, 2**22
"""Bytes at the start and at the end of an MPEG file that are looked at."""
SEQUENCE = b"\x00\x00\x01\xb3"
PACK, END, SYSTEM = 0xBA, 0xB9, 0xBB
"""Last bytes of the start codes of a program stream: a pack, its end, and the first packet."""
PICTURE_OR_SLICE = re.compile(rb"\x00\x00\x01([\x00-\xaf])", re.DOTALL)


def damage_at_end(path: Path) -> str:
    """Return what is missing at the end of a video file; "" if nothing is known to be missing."""
    if (short := _missing_bytes(path)) > path.stat().st_size / 100:
        return f"{counted(short, 'byte')} are missing at its end"
    if path.suffix.lower() in MPEG_SUFFIXES and _breaks_off(path):
        return "its last picture breaks off"
    return ""


def _missing_bytes(path: Path) -> int:
    """Return how many bytes are missing at the end of a Matroska file (mkv, webm); 0 for others.

    The format does not store a frame count, but its second element has the size (RFC 8794, RFC
    9559).
    """
    with path.open("rb") as stream:
        if stream.read(4) != b"\x1a\x45\xdf\xa3":
            return 0
        stream.seek(_element_size(stream) or 0, os.SEEK_CUR)
        size = _element_size(stream) if stream.read(4) == b"\x18\x53\x80\x67" else None
        return 0 if size is None else max(0, stream.tell() + size - path.stat().st_size)


def _element_size(stream: BinaryIO) -> int | None:
    """Return the next number of one to eight bytes; None if it means unknown."""
    first = stream.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    known = (1 << 7 * (more + 1)) - 1
    size = int.from_bytes(first + stream.read(more)) & known
    return None if size == known else size


def _breaks_off(path: Path) -> bool:
    """Return whether the last picture of an MPEG-1 or MPEG-2 video lacks slices at its end.

    Neither a number of frames nor a size is stored. A picture consists of slices that have the
    numbers of their rows (ISO/IEC 13818-2, 6.2.4); the last picture must come as far down as the
    others do. A file cut between two pictures looks whole.
    """
    with path.open("rb") as stream:
        if SEQUENCE not in stream.read(HEAD):
            return False  # another codec, whose start codes mean something else
        stream.seek(max(0, path.stat().st_size - TAIL))
        tail = _video_bytes(stream.read())
    rows: list[int] = []
    for code in PICTURE_OR_SLICE.findall(tail):
        if code == b"\x00":
            rows.append(0)
        elif rows:
            rows[-1] = max(rows[-1], code[0])
    return len(rows) > 1 and rows[-1] < min(rows[:-1])


def _video_bytes(data: bytes) -> bytes:
    """Return the video in a part of an MPEG program stream without the headers of its packets.

    A start code may be divided between two packets. Other data are returned as they are.
    """
    place = data.find(bytes([0, 0, 1, PACK]))
    if place < 0:
        return data
    parts = []
    while 0 <= place < len(data) - 14:
        code, skip = data[place + 3], 4
        if not data.startswith(b"\x00\x00\x01", place) or code < END:
            place = data.find(bytes([0, 0, 1, PACK]), place + 1)
            continue
        if code == PACK:
            skip = 14 + (data[place + 13] & 7) if data[place + 4] >> 6 == 1 else 12
        elif code >= SYSTEM:
            skip = 6 + int.from_bytes(data[place + 4 : place + 6])
        if 0xE0 <= code <= 0xEF:
            packet = data[place + 6 : place + skip]
            parts.append(packet[_header_bytes(packet) :])
        place += skip
    return b"".join(parts)


def _header_bytes(packet: bytes) -> int:
    """Return the size of the header in a packet (MPEG-2: ISO/IEC 13818-1, 2.4.3.6, or MPEG-1)."""
    packet += bytes(12)
    if packet[0] >> 6 == 2:
        return 3 + packet[2]
    size = len(packet) - len(packet.lstrip(b"\xff"))
    if packet[size] >> 6 == 1:
        size += 2
    return size + {2: 5, 3: 10}.get(packet[size] >> 4, 1)
