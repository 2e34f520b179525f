"""Fingerprints of datasets, from the content of the samples and their labels."""

import hashlib
from collections.abc import Iterable, Sequence

from cvkit.structures import Instances, Masks

RULE = "content and labels"
"""The content of fingerprints; other rules give other fingerprints for the same data."""


def fingerprint(samples: Iterable[tuple[str, ...]]) -> str:
    """Return a SHA-256 over the samples of a split.

    Args:
        samples: key, content hash, and label in any form, of each sample.
    """
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(f"{sample!r}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def describe_objects(truth: Instances, names: Sequence[str]) -> str:
    """Return a SHA-256 over all annotations of an image.

    Args:
        truth: its objects.
        names: of the classes; label 1 is the first.
    """
    arrays = (truth.boxes, truth.xywh, truth.areas, truth.crowd, truth.difficult)
    parts = [b"-" if array is None else array.tobytes() for array in arrays]
    parts += [names[label - 1].encode(errors="surrogateescape") for label in truth.labels]
    if isinstance(truth.masks, Masks):
        parts += [bytes(code) for code in truth.masks.codes]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()
