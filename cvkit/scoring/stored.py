"""The counts of each sample in a report folder, for `compare`. Does not import torch."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from cvkit.errors import DataError
from cvkit.metrics.resampling import ClassCounts, Matches, Samples
from cvkit.output.files import write_bytes
from cvkit.texts import is_text, require_regular, shown

NAME = "counts.npz"
MOST_BYTES = 4 * 2**30
"""Largest file of counts that is read."""


def write_samples(folder: Path, several: Sequence[Samples]) -> Path:
    """Write the counts of an evaluation to a report folder and return the file's path."""
    arrays: dict[str, np.ndarray] = {}
    about = []
    for place, each in enumerate(several):
        fields: dict[str, Any] = {"keys": each.keys, "classes": each.classes}
        if isinstance(each, ClassCounts):
            found = {name: getattr(each.counts, name) for name in ("data", "indices", "indptr")}
            fields |= {"absent_class": each.absent_class, "per_class": each.per_class}
        elif isinstance(each, Matches):
            found = {name: getattr(each, name) for name in ("images", "labels", "outcomes")}
            found["objects"] = each.objects
            fields |= {"rule": each.rule, "places": each.places, "per_class": each.per_class}
        about.append(fields | {"kind": type(each).__name__, "names": list(vars(each)["names"])})
        arrays |= {f"{name}{place}": array for name, array in found.items()}
    text = json.dumps(about).encode("ascii")
    stream = io.BytesIO()
    arrays["about"] = np.frombuffer(text, np.uint8)
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    write_bytes(folder / NAME, stream.getvalue())
    return folder / NAME


def read_samples(folder: Path) -> list[Samples]:
    """Return the counts in a report folder.

    Raises:
        DataError: missing or malformed.
    """
    path = folder / NAME
    try:
        require_regular(path)
        if path.stat().st_size > MOST_BYTES:
            raise ValueError("it is too large")
        with np.load(path, allow_pickle=False) as arrays:
            about = json.loads(arrays["about"].tobytes())
            found = [_samples(fields, arrays, str(place)) for place, fields in enumerate(about)]
        if not found:
            raise ValueError("it has no counts")
        return found
    except FileNotFoundError as error:
        raise DataError(
            f"{folder} has no {NAME}",
            code="compare.counts",
            hint="run eval again: it writes the counts of each sample",
        ) from error
    except (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, BadZipFile) as error:
        raise DataError(
            f"{path} is not as eval writes it: {shown(str(error))}",
            code="compare.counts",
            hint="run eval again",
        ) from error


def _samples(fields: Mapping[str, Any], arrays: Mapping[str, np.ndarray], place: str) -> Samples:
    keys, classes, names = (tuple(fields[name]) for name in ("keys", "classes", "names"))
    if not all(map(is_text, (*keys, *classes, *names))) or len(set(keys)) < len(keys):
        raise ValueError("names of samples or classes that are not text, or occur twice")
    if fields["kind"] == "ClassCounts":
        from scipy.sparse import csr_matrix

        parts = [arrays[f"{name}{place}"] for name in ("data", "indices", "indptr")]
        counts = csr_matrix(tuple(parts), shape=(len(keys), 3 * len(classes)))
        counts.check_format()
        _require(np.isfinite(counts.data).all() and (counts.data >= 0).all())
        absent, column = fields["absent_class"], fields["per_class"]
        return ClassCounts(keys, classes, counts, absent, names, column)
    columns = [arrays[f"{name}{place}"] for name in ("images", "labels", "outcomes", "objects")]
    images, labels, outcomes, objects = columns
    _require(objects.shape == (len(keys), len(classes)) and objects.dtype.kind == "f")
    _require(np.isfinite(objects).all() and (objects >= 0).all())
    _require(images.shape == labels.shape == outcomes.shape[:1] and outcomes.ndim == 2)
    for column, most in ((images, len(keys)), (labels, len(classes))):
        _require(column.dtype.kind in "iu" and ((column >= 0) & (column < most)).all())
    _require((np.diff(labels) >= 0).all() and np.isin(outcomes, (-1, 0, 1)).all())
    found = Matches(keys, classes, images, labels, outcomes, objects, fields["rule"], names)
    title = fields.get("per_class", found.per_class)
    if not is_text(title):
        raise ValueError("the name of the metric of each class is not text")
    return replace(found, places=tuple(fields["places"]), per_class=title)


def _require(holds: bool | np.bool) -> None:
    if not holds:
        raise ValueError("its arrays do not belong together")
