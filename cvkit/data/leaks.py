"""Images that are in two splits: the same content, or nearly the same picture.

Near duplicates have similar difference hashes: 64 bits, each of which says whether a pixel of a
thumbnail of 9x8 pixels is brighter than its left neighbour. Two hashes that differ in up to N bits
are equal in at least one of N + 1 bands, so only images that share a band are compared; this avoids
the comparison of all pairs. The thumbnails of a pair must be similar, too, because plain pictures
have similar hashes.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from cvkit.data.decode import decode, open_image, read_image
from cvkit.data.known import Known
from cvkit.data.scan import on_all_cores
from cvkit.errors import CvkitError

WIDTH, HEIGHT = 9, 8
"""Size of the thumbnails."""
PLAIN = 12.0
"""Thumbnails whose grey values have a smaller standard deviation are not compared."""
SIMILAR = 6.0
"""Largest mean difference of two thumbnails of the same picture, in grey values, at equal means."""
MOST_PAIRS = 2**18
"""Number of pairs that are compared at a time."""
MOST_BITS = 12
"""Largest number of bits that may differ; with more, too many pairs share a band."""


@dataclass(frozen=True)
class Member:
    """A readable image or video of a split.

    Attributes:
        split: its name.
        key: of the sample.
        path: its location.
        digest: hash of its content.
    """

    split: str
    key: str
    path: Path
    digest: str


Pair = tuple[Member, Member]
"""A sample, and one of an earlier split that it repeats."""


def same_content(members: Sequence[Member]) -> list[Pair]:
    """Return the samples whose content is also in an earlier split, each with the first such one.

    Args:
        members: of all splits, split by split.
    """
    first: dict[str, Member] = {}
    pairs = []
    for member in members:
        known = first.setdefault(member.digest, member)
        if known.split != member.split:
            pairs.append((member, known))
    return pairs


def near_duplicates(
    members: Sequence[Member], most_bits: int, on_step: Callable[[int], None] | None = None
) -> list[Pair]:
    """Return the images that nearly equal one of an earlier split, each with the nearest such one.

    Each content is read and compared once. Images whose content is also in an earlier split are
    left out, see `same_content`.

    Args:
        members: images of all splits, split by split.
        most_bits: number of bits in which their hashes may differ, up to `MOST_BITS`.
        on_step: called with the number of images done so far.
    """
    if len({member.split for member in members}) < 2:
        return []
    first: dict[str, Member] = {}
    for member in members:
        first.setdefault(member.digest, member)
    found = _nearest([*first.values()], most_bits, on_step)
    return [
        (member, found[member.digest])
        for member in members
        if member.digest in found and member.split == first[member.digest].split
    ]


def _nearest(
    members: Sequence[Member], most_bits: int, on_step: Callable[[int], None] | None
) -> dict[str, Member]:
    """Return the nearest image of an earlier split for each content that nearly equals one.

    Args:
        members: one for each content.
        most_bits: see `near_duplicates`.
        on_step: see `near_duplicates`.
    """
    thumbnails = _thumbnails(members, on_step)
    grey = thumbnails.reshape(len(members), HEIGHT, WIDTH).astype(np.float32)
    hashes = _packed(grey[..., 1:] > grey[..., :-1])
    centred = (grey - grey.mean((1, 2), keepdims=True)).reshape(len(members), -1)
    usable = np.flatnonzero(centred.std(1) >= PLAIN)
    order: dict[str, int] = {}
    numbers = np.array([order.setdefault(member.split, len(order)) for member in members])
    best: dict[int, tuple[int, float, int]] = {}
    for left, right in _candidates(hashes, numbers, usable, most_bits):
        bits = np.bitwise_count(hashes[left] ^ hashes[right])
        near = bits <= most_bits
        left, right, bits = left[near], right[near], bits[near]
        apart = np.abs(centred[left] - centred[right]).mean(1)
        for each in np.flatnonzero(apart <= SIMILAR).tolist():
            later, earlier = int(right[each]), int(left[each])
            found = (int(bits[each]), float(apart[each]), earlier)
            best[later] = min(best.get(later, found), found)
    return {members[later].digest: members[earlier] for later, (_, _, earlier) in best.items()}


def _candidates(
    hashes: np.ndarray, numbers: np.ndarray, usable: np.ndarray, most_bits: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield indices of images that share a band of their hashes: of an earlier and a later split.

    Args:
        hashes: [N] uint64.
        numbers: [N] of the splits.
        usable: indices of the images to compare.
        most_bits: see `near_duplicates`.
    """
    edges = np.linspace(0, 64, most_bits + 2).round().astype(int).tolist()
    for low, high in itertools.pairwise(edges):
        mask = (1 << (high - low)) - 1
        band = (hashes[usable] >> np.uint64(low)) & np.uint64(mask)
        ranked = usable[np.argsort(band, kind="stable")]
        values = np.sort(band)
        changes = np.flatnonzero(values[1:] != values[:-1]) + 1
        for members in np.split(ranked, changes):
            if len(members) > 1:
                yield from _across(members, numbers)


def _across(members: np.ndarray, numbers: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the pairs of images of different splits, of a limited number at a time."""
    splits = numbers[members]
    if splits.min() == splits.max():
        return
    step = max(1, MOST_PAIRS // len(members))
    for start in range(0, len(members), step):
        part = slice(start, start + step)
        later, earlier = np.nonzero(splits[None] < splits[part, None])
        yield members[earlier], members[part][later]


def _packed(bits: np.ndarray) -> np.ndarray:
    """Return [N] uint64 hashes of [N, 8, 8] bits."""
    return np.packbits(bits.reshape(len(bits), 64), axis=1).view(">u8")[:, 0].astype(np.uint64)


def _thumbnails(
    members: Sequence[Member], on_step: Callable[[int], None] | None = None
) -> np.ndarray:
    """Return [N, 72] uint8 thumbnails; grey for images that cannot be read any more."""
    with Known(f"thumbnail {WIDTH}x{HEIGHT}", [member.path for member in members]) as known:

        def examine(member: Member) -> bytes:
            try:
                text = known.find([member.path], lambda: _thumbnail(member.path).hex())
                return bytes.fromhex(text)
            except CvkitError:  # reported by the scan, unless the file has changed since
                return bytes(WIDTH * HEIGHT)

        found = b"".join(on_all_cores(examine, members, on_step))
    return np.frombuffer(found, np.uint8).reshape(len(members), WIDTH * HEIGHT)


def _thumbnail(path: Path) -> bytes:
    """Return the grey values of a thumbnail of an image as stored, whatever its EXIF says.

    Raises:
        DataError: see `cvkit.data.decode`.
    """
    with open_image(path) as image:
        if image.mode.startswith(("I", "F")):  # Pillow would clip the values
            grey = Image.fromarray(read_image(path, None)).convert("L")
        else:
            image.draft("L", (16 * WIDTH, 16 * HEIGHT))  # decodes a JPEG at a smaller size
            grey = decode(image, path).convert("L")
        return grey.resize((WIDTH, HEIGHT), Image.Resampling.BOX).tobytes()
