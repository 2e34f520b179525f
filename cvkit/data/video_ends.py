"""Videos that break off, of the containers that do not store their number of frames."""

import os
from pathlib import Path
from typing import BinaryIO

from cvkit.texts import counted

TAIL = 2**22
"""Bytes at the end of an MPEG program stream that are looked at."""
START = b"\x00\x00\x01"
PACK, SYSTEM, END, PADDING = 0xBA, 0xBB, 0xB9, 0xBE
"""Codes after `START`: a pack, what it is for, the end, and a packet that only fills a pack."""


def damage_at_end(path: Path) -> str:
    """Return what is missing at the end of a video file; "" if nothing is known to be missing."""
    if (short := _missing_bytes(path)) > path.stat().st_size / 100:
        return f"{counted(short, 'byte')} are missing at its end"
    return "it breaks off" if _breaks_off(path) else ""


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
    """Return whether an MPEG program stream (ISO/IEC 13818-1, 2.5) ends before its end.

    Neither a number of frames nor a size is stored. The last packet must be complete, and the
    stream must end with an end code or a packet that is not full: programs write packets of one
    size, and have not enough for the last one, which they fill up or leave smaller.
    """
    with path.open("rb") as stream:
        if stream.read(4) != START + bytes([PACK]):
            return False
        stream.seek(max(0, path.stat().st_size - TAIL))
        tail = stream.read()
    place = begin = tail.find(START + bytes([PACK]))
    sizes, filled = [0], False  # with the headers before a packet
    while 0 <= place <= len(tail) - 14 and tail.startswith(START, place):
        code, size = tail[place + 3], int.from_bytes(tail[place + 4 : place + 6])
        if code == PACK:  # of MPEG-2, or of MPEG-1
            place += 14 + (tail[place + 13] & 7) if tail[place + 4] >> 6 == 1 else 12
            continue
        if code == END:
            return False
        if code == SYSTEM:
            place += 6 + size
            continue
        packet = tail[place + 6 : place + 6 + size]
        filled = code == PADDING or _is_stuffed(packet)
        place += 6 + size
        sizes.append(place - begin)
        begin = place
    if tail.startswith(START + bytes([END]), place):
        return False
    ends_amid = place > len(tail) or 0 < len(tail) - place < 14
    return ends_amid or (place == len(tail) and not filled and sizes[-1] == max(sizes))


def _is_stuffed(packet: bytes) -> bool:
    """Return whether bytes without a meaning fill the header of a packet (2.4.3.7)."""
    if packet[:1] and packet[0] >> 6 == 2:
        return packet[3 : 3 + packet[2]].endswith(b"\xff") if len(packet) > 3 else False
    return packet.startswith(b"\xff")
