"""Names of the output files of inputs and classes, unique on every file system."""

import os
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import PurePosixPath

from cvkit.storage import short_name


def output_names(keys: Iterable[str], taken: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the common name of an input's files, for each input.

    It is the input's path without suffix; with the suffix if the name could also belong to another
    input or folder; with a hash of the path if even that is not unique. Names differ by more than
    case and the encoding of accents, and no folder has the name of a file with any suffix. They
    depend neither on the order of the inputs nor on their results.

    Args:
        keys: paths of inputs with `/`, relative.
        taken: names of inputs that already have files, which they keep.

    Returns:
        The name of every input, relative, with `/`, without the suffix of an output.
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
        # A link to a file without suffix has none either, and may get the name of a folder.
        if name is None or (short == key and _fold(name) in folders):
            name = f"{key}-{_digest(key)}"
        folder, slash, last = name.rpartition("/")
        names[key] = f"{folder}{slash}{short_name(last)}"
    return names


class _Spellings:
    """Two spellings of each name: a short one, and a full one.

    Args:
        pairs: short and full.
    """

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self.full = Counter(_fold(full) for _, full in pairs)
        self.either = Counter(word for pair in pairs for word in {_fold(text) for text in pair})

    def free(self, short: str, full: str, refused: Collection[str] = ()) -> str | None:
        """Return the first spelling that no other name has; None if there is none."""
        free = {short: self.either[_fold(short)] == 1, full: self.full[_fold(full)] == 1}
        ways = (text for text, is_free in free.items() if is_free)
        return next((text for text in ways if _fold(text) not in refused), None)


def _digest(name: str) -> str:
    return sha256(os.fsencode(name)).hexdigest()[:16]


def _begun(folders: Iterable[str]) -> Iterator[str]:
    """Yield the prefixes of folder names up to each dot, which a suffix could complete."""
    for folder in folders:
        start = folder.rfind("/") + 1
        yield from (folder[:at] for at in range(start, len(folder)) if folder[at] == ".")


def _fold(name: str) -> str:
    """Return a name in a form that is equal for names that some file systems do not distinguish."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _without_suffix(key: str) -> str:
    folder, slash, last = key.rpartition("/")
    return f"{folder}{slash}{os.path.splitext(last)[0]}"


def class_words(names: Sequence[str]) -> tuple[str, ...]:
    """Return class names as unique names, or parts of names, of files and folders.

    A slash becomes `_`, or `%2F` if that could be another class; a hash distinguishes names that
    are still too similar.
    """
    short = [name.replace("/", "_").replace("\0", "_").strip(".") or "_" for name in names]
    quoted = [name.replace("/", "%2F").replace("\0", "%00").strip(".") or "_" for name in names]
    spellings = _Spellings(list(zip(short, quoted, strict=True)))
    result = []
    for name, *pair in zip(names, short, quoted, strict=True):
        spelling = spellings.free(*pair) or f"{pair[1]}-{_digest(name)}"
        result.append(short_name(spelling, 200))  # text is added before and after it
    return tuple(result)
