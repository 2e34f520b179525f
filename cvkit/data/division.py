"""Dividing data that lie in one heap into what is trained on and what is measured."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from cvkit.data.known import Known, content_hash, known_hash
from cvkit.errors import DataError


def content_hashes(paths: Sequence[Path]) -> list[str]:
    """Return the hash of each file or folder of frames; of an unreadable one that of its name.

    Whoever decodes it says what is wrong with it.
    """
    with Known("content", paths) as known:
        return [_hash_or_name(path, known) for path in paths]


def _hash_or_name(path: Path, known: Known) -> str:
    try:
        return known_hash(path, known)
    except DataError:
        return hashlib.sha256(str(path).encode(errors="surrogateescape")).hexdigest()


def draw_val(
    labels: Sequence[str], hashes: Sequence[str], val_fraction: float, seed: int
) -> list[bool]:
    """Return which samples are measured: the same share of every class.

    Of a class with two or more different files at least one is on either side; a single one is
    trained on. A share of 0 or 1 leaves one side empty. Samples with equal hashes, such as copies
    of an image or parts of one video, are on the same side, also where they have different
    classes: then the rarest class is served first, as in Sechidis et al., On the Stratification
    of Multi-label Data, 2011.

    Args:
        labels: class of each sample.
        hashes: of its content.
        val_fraction: the share, in [0, 1].
        seed: another one draws another division; the order of the samples does not matter.
    """
    if val_fraction in (0, 1):
        return [val_fraction == 1] * len(labels)
    found: dict[str, set[str]] = {}
    for label, file in zip(labels, hashes, strict=True):
        found.setdefault(file, set()).add(label)
    classes: dict[str, list[str]] = {label: [] for label in labels}
    for file in sorted(found, key=lambda f: hashlib.sha256(f"{seed}\0{f}".encode()).digest()):
        for label in found[file]:
            classes[label].append(file)
    in_val: dict[str, bool] = {}
    for _, own in sorted(classes.items(), key=lambda item: (len(item[1]), item[0])):
        wanted = min(max(1, int(len(own) * val_fraction + 0.5)), len(own) - 1)
        left = wanted - sum(in_val.get(file, False) for file in own)
        for file in own:
            if file not in in_val:
                in_val[file] = left > 0
                left -= in_val[file]
    return [in_val[file] for file in hashes]


def drawn_singly(paths: Sequence[Path], val_fraction: float) -> list[bool]:
    """Return which samples are measured of a model that was trained before divisions had seeds.

    Every file was drawn on its own, and a folder of frames by its first file; only so its `val`
    holds nothing that it was trained on.

    Raises:
        DataError: a file cannot be read.
    """
    firsts = [min(path.iterdir()) if path.is_dir() else path for path in paths]
    return [int(content_hash(first)[:8], 16) / 2**32 < val_fraction for first in firsts]
