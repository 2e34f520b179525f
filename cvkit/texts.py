"""Strict reading of text and JSON files."""

import codecs
import contextlib
import csv
import json
import math
import os
import re
import reprlib
import select
import stat
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from cvkit.errors import CvkitError, DataError

WHOLE = 2**53
"""Largest whole number that is exact in every program; no id may be larger."""

PIECE_BYTES = 1 << 20
"""Size of the pieces in which long files are read."""

PIPE_SECONDS = 30
"""How long a pipe may stay silent before its first byte."""

_short = reprlib.Repr()
_short.maxlevel, _short.maxlist, _short.maxdict, _short.maxtuple = 2, 4, 4, 4
_short.maxstring, _short.maxother, _short.maxlong = 160, 60, 40


def shown(value: Any) -> str:
    """Return a value from a file for a message: on one line, and shortened if long."""
    return _short.repr(value)


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun, such as "1 image" or "2 images".

    Args:
        number: from 0.
        noun: in the singular.
        plural: if it is not the noun plus "s".
    """
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def read_text(
    path: Path,
    *,
    area: str = "text",
    error: type[CvkitError] = DataError,
    most_bytes: int | None = None,
    pipes: bool = False,
) -> str:
    """Return the content of a text file in UTF-8, without a byte order mark.

    Args:
        path: the file.
        area: first part of the codes of errors: `AREA.missing`, `AREA.not_a_file`,
            `AREA.encoding`, `AREA.size`.
        error: class of the error to raise.
        most_bytes: maximum file size; None for no limit.
        pipes: accept them too; they end with their writer.

    Raises:
        CvkitError: missing, unreadable, not a regular file, too large, or not in UTF-8; the message
            gives the line.
    """
    with _reading(path, area, error, pipes) as stream:
        content = stream.read(-1 if most_bytes is None else most_bytes + 1)
    if most_bytes is not None and len(content) > most_bytes:
        raise error(
            f"{path} is larger than {most_bytes / 1e6:g} MB",
            code=f"{area}.size",
            hint="check that it is the right file",
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise _not_text(path, area, error, problem) from problem


def read_pieces(path: Path, *, area: str) -> Iterator[str]:
    """Yield the content of a text file in pieces, as `read_text` reads it; no piece is empty."""
    decoder, lines = codecs.getincrementaldecoder("utf-8-sig")(), 0
    with _reading(path, area, DataError) as stream:
        last = False
        while not last:
            content = stream.read(PIECE_BYTES)
            last = not content
            try:
                text = decoder.decode(content, final=last)
            except UnicodeDecodeError as problem:
                raise _not_text(path, area, DataError, problem, lines) from problem
            lines += content.count(b"\n")
            if text:
                yield text


@contextlib.contextmanager
def _reading(
    path: Path, area: str, error: type[CvkitError], pipes: bool = False
) -> Iterator[BinaryIO]:
    """Open a file; see `read_text`."""
    try:
        require_regular(path, area=area, error=error, pipes=pipes)
        with _opened(path, area, error) as stream:
            yield stream
    except FileNotFoundError as problem:
        raise error(f"{path} does not exist", code=f"{area}.missing") from problem
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise error(f"cannot read {path}: {reason}", code=f"{area}.missing") from problem


def _not_text(
    path: Path, area: str, error: type[CvkitError], problem: UnicodeDecodeError, lines: int = 0
) -> CvkitError:
    """Return the error of a file that is not in UTF-8, of which some lines have been read."""
    line = lines + problem.object.count(b"\n", 0, problem.start) + 1
    return error(
        f"{path}:{line} is not UTF-8 (byte {problem.object[problem.start]:#04x})",
        code=f"{area}.encoding",
        hint="save the file as UTF-8",
    )


def _opened(path: Path, area: str, error: type[CvkitError]) -> BinaryIO:
    """Return an open file; of a pipe, once a program writes to it.

    Raises:
        CvkitError: no program writes to the pipe.
    """
    if not path.is_fifo():
        return path.open("rb")
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    stream = os.fdopen(number, "rb")
    waiting = select.poll()
    waiting.register(number, select.POLLIN)
    if not waiting.poll(1000 * PIPE_SECONDS):
        stream.close()
        raise error(
            f"nothing was written to the pipe {path} for {counted(PIPE_SECONDS, 'second')}",
            code=f"{area}.not_a_file",
            hint="start the program that writes to it first, or give a file",
        )
    os.set_blocking(number, True)
    return stream


def read_lines(path: Path, *, area: str) -> list[str]:
    """Return the lines of a text file in UTF-8, as `read_text` reads it; see `lines_of`."""
    return lines_of(read_text(path, area=area))


def lines_of(text: str) -> list[str]:
    """Return the lines of a text.

    Lines end as in an editor: U+2028 and the like are ordinary characters.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def require_regular(
    path: Path,
    *,
    area: str = "text",
    error: type[CvkitError] = DataError,
    pipes: bool = False,
) -> None:
    """Refuse devices and pipes, which may be endless, before they are opened.

    Args:
        path: of a file; a folder is left to the code that opens it.
        area: first part of the code of the error, `AREA.not_a_file`.
        error: class of the error to raise.
        pipes: accept them.

    Raises:
        CvkitError: it is neither a regular file nor a folder.
        OSError: it does not exist.
    """
    mode = path.stat().st_mode
    known = stat.S_ISREG(mode) or stat.S_ISDIR(mode) or (pipes and stat.S_ISFIFO(mode))
    if not known:
        raise error(
            f"{path} is not a regular file",
            code=f"{area}.not_a_file",
            hint="write its content to a file first",
        )


def read_json(path: Path, unique_keys: bool = True) -> Any:
    """Return the content of a JSON file.

    Args:
        path: the file.
        unique_keys: refuse a key that occurs twice in an object; doubles the time.

    Raises:
        DataError: missing, malformed, with NaN or infinity, or with a repeated key.
    """
    text = read_text(path, area="json")
    if not text.strip():
        raise DataError(f"{path} is empty", code="json.syntax")
    try:
        return json_decoder(path, unique_keys=unique_keys).decode(text)
    except (ValueError, RecursionError) as error:
        raise json_error(path, json_reason(error)) from error


def json_decoder(path: Path, *, unique_keys: bool) -> json.JSONDecoder:
    """Return what decodes the values of a JSON file; see `read_json`."""

    def refuse(text: str) -> None:
        raise DataError(f"{path}: {text} is not JSON", code="json.nan_literal")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            key = Counter(name for name, _ in pairs).most_common(1)[0][0]
            raise DataError(
                f"{path}: key {shown(key)} occurs twice in one object", code="json.duplicate_key"
            )
        return result

    return json.JSONDecoder(
        parse_constant=refuse, object_pairs_hook=unique if unique_keys else None
    )


def json_error(path: Path, reason: str) -> DataError:
    """Return the error of a JSON file that could not be decoded."""
    return DataError(f"{path} is not valid JSON: {reason}", code="json.syntax")


def json_reason(error: Exception) -> str:
    """Return a description of why JSON could not be read."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, json.JSONDecodeError):
        return str(error)
    return f"a number of over {sys.get_int_max_str_digits()} digits"


def is_number(value: Any) -> bool:
    """Return whether a value from a file is a finite number in the range of a float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) if isinstance(value, float) else abs(value) <= sys.float_info.max


def parse_number(text: str) -> float | None:
    """Return a text as a number, including NaN and infinity; None if it is not a number.

    Python's `1_000` and digits of other scripts are not accepted.
    """
    if not text.isascii() or "_" in text:
        return None
    try:
        return float(text)
    except ValueError:
        return None


def whole_number(value: Any) -> int | None:
    """Return a whole number of up to 2^53, such as 7, 7.0 or "7"; None for any other value."""
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,16}", value):
        value = int(value)
    if not is_number(value) or abs(value) > WHOLE or value != int(value):
        return None
    return int(value)


def is_text(value: Any) -> bool:
    """Return whether a value from a file is text that can be written to a file again."""
    if not isinstance(value, str):
        return False
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def is_utf8(name: str) -> bool:
    """Return whether a name is text in UTF-8; names of files may contain any bytes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def write_rows(stream: TextIO, rows: Iterable[Sequence[object]]) -> None:
    """Write rows of a CSV table, whose lines end with a line feed.

    Readers treat a carriage return as a line end too, so rows with one are quoted.
    """
    bare = csv.writer(stream, lineterminator="\n")
    quoted = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in rows:
        returns = any(isinstance(cell, str) and "\r" in cell for cell in row)
        (quoted if returns else bare).writerow(row)
