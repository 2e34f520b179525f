"""The names of what is written for an input or a class: each its own, on every file system."""

import os
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import PurePosixPath

from cvkit.storage import short_name


def output_names(keys: Iterable[str], taken: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the name that all files of an input have in common, for each input.

    It is the input's path without suffix; with it where that could be another input's name or
    folder; with a hash of the path where this could be too. Names differ by more than case and
    the way accents are stored, and no folder is in the way of a file, whatever suffix it gets. They
    do not depend on the order of the inputs, nor on what becomes of them.

    Args:
        keys: paths of inputs with `/`, relative.
        taken: names of inputs that have files already; they keep them.

    Returns:
        The name of every input, relative, with `/`, without a suffix of its own.
    """
    names = dict(taken or {})
    keys = list(dict.fromkeys([*keys, *names]))
    spellings = _Spellings([(_without_suffix(key), key) for key in keys])
    folders = {str(folder) for key in keys for folder in PurePosixPath(_fold(key)).parents}
    refused = {_fold(name) for name in names.values()} | set(_begun(folders))
    for key in keys:
        if key in names:
            continue
        short = _without_suffix(key)
        name = spellings.free(short, key, refused)
        # A link to what has no suffix has none either, and may get the name of a folder.
        if name is None or (short == key and _fold(name) in folders):
            name = f"{key}-{_digest(key)}"
        folder, slash, last = name.rpartition("/")
        names[key] = f"{folder}{slash}{short_name(last)}"
    return names


class _Spellings:
    """Two ways to write each of some names: a short one, and a full one that says more.

    Args:
        pairs: short and full.
    """

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self.full = Counter(_fold(full) for _, full in pairs)
        self.either = Counter(word for pair in pairs for word in {_fold(text) for text in pair})

    def free(self, short: str, full: str, refused: Collection[str] = ()) -> str | None:
        """Return the first way in which no other name may be written; None if there is none."""
        free = {short: self.either[_fold(short)] == 1, full: self.full[_fold(full)] == 1}
        ways = (text for text, is_free in free.items() if is_free)
        return next((text for text in ways if _fold(text) not in refused), None)


def _digest(name: str) -> str:
    return sha256(os.fsencode(name)).hexdigest()[:16]


def _begun(folders: Iterable[str]) -> Iterator[str]:
    """Yield what the names of folders begin with, up to each dot: a suffix would make them."""
    for folder in folders:
        start = folder.rfind("/") + 1
        yield from (folder[:at] for at in range(start, len(folder)) if folder[at] == ".")


def _fold(name: str) -> str:
    """Return what names have in common that some file systems take for the same."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _without_suffix(key: str) -> str:
    folder, slash, last = key.rpartition("/")
    return f"{folder}{slash}{os.path.splitext(last)[0]}"


def class_words(names: Sequence[str]) -> tuple[str, ...]:
    """Return names of classes as names of files or folders, or parts of them, each its own.

    A slash becomes `_`, or `%2F` where that could be another class; a hash tells apart what is
    still too similar.
    """
    short = [name.replace("/", "_").replace("\0", "_").strip(".") or "_" for name in names]
    quoted = [name.replace("/", "%2F").replace("\0", "%00").strip(".") or "_" for name in names]
    spellings = _Spellings(list(zip(short, quoted, strict=True)))
    result = []
    for name, *pair in zip(names, short, quoted, strict=True):
        spelling = spellings.free(*pair) or f"{pair[1]}-{_digest(name)}"
        result.append(short_name(spelling, 200))  # more is added before and after it
    return tuple(result)
