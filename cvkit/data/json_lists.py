"""JSON files with long lists, read element by element: the file is never in memory as a whole."""

import contextlib
import re
from collections.abc import Collection, Iterator
from json import JSONDecodeError
from pathlib import Path
from typing import Any

from cvkit.errors import DataError
from cvkit.texts import json_decoder, json_error, json_reason, read_json, read_pieces, shown

SPACE = re.compile(r"[ \t\n\r]*")
BETWEEN = re.compile(r"\}[ \t\n\r]*,[ \t\n\r]*\{")
"""What stands between two objects of a list, and seldom elsewhere."""


class ListStart:
    """Stands for the beginning of a list whose elements follow."""


def read_lists(path: Path, names: Collection[str]) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a JSON file that contains an object, in the order of the file.

    Args:
        path: the file.
        names: of values of the object that are read element by element, if they are lists.

    Yields:
        Name and value of each entry; for a list that was asked for, its name and a `ListStart`,
        then its name and each element.

    Raises:
        DataError: it is not such a file; see `read_json`. What came before has been yielded.
    """
    text = _Text(path)
    if text.next() != "{":
        read_json(path)
        raise DataError(f"{path} does not contain a JSON object", code="json.not_object")
    text.skip("{")
    seen: set[str] = set()
    while text.next() != "}":
        if seen:
            text.skip(",", "Expecting ',' delimiter")
        if text.next() != '"':
            raise text.wrong("Expecting property name enclosed in double quotes")
        name = text.value()
        if name in seen:
            raise DataError(
                f"{path}: key {shown(name)} occurs twice in one object", code="json.duplicate_key"
            )
        seen.add(name)
        text.skip(":", "Expecting ':' delimiter")
        if name not in names or text.next() != "[":
            yield name, text.value()
            continue
        yield name, ListStart()
        text.skip("[")
        first = True
        while text.next() != "]":
            if not first:
                text.skip(",", "Expecting ',' delimiter")
            yield from ((name, value) for value in text.values())
            first = False
        text.skip("]")
    text.skip("}")
    if text.next():
        raise text.wrong("Extra data")


class _Text:
    """The text of a JSON file, from which values are taken one after the other."""

    def __init__(self, path: Path) -> None:
        self.path, self.pieces = path, read_pieces(path, area="json")
        self.decoder = json_decoder(path, unique_keys=True)
        self.text, self.place = "", 0
        self.before = self.lines = self.line_start = 0  # of what was dropped
        self.complete = False
        self.single = False  # the values of the text read so far are taken one by one

    def _more(self) -> bool:
        """Read on, and drop what has been taken; return whether there was more."""
        kept, piece = len(self.text) - self.place, next(self.pieces, "")
        if not piece:
            self.complete = True
            return False
        # At least as much again as there is: a long value is tried a few times only.
        while len(piece) < kept and (more := next(self.pieces, "")):
            piece += more
        gone = self.text[: self.place]
        if "\n" in gone:
            self.lines += gone.count("\n")
            self.line_start = self.before + gone.rindex("\n") + 1
        self.before += self.place
        self.text, self.place = self.text[self.place :] + piece, 0
        self.single = False
        return True

    def next(self) -> str:
        """Return the next character that is not white space; "" at the end."""
        while True:
            space = SPACE.match(self.text, self.place)
            self.place = space.end() if space else self.place
            if self.place < len(self.text) or not self._more():
                return self.text[self.place : self.place + 1]

    def skip(self, sign: str, reason: str = "") -> None:
        """Take a character.

        Raises:
            DataError: there is another one.
        """
        if self.next() != sign:
            raise self.wrong(reason)
        self.place += 1

    def value(self) -> Any:
        """Take the next value.

        Raises:
            DataError: it is malformed.
        """
        self.next()
        while True:
            try:
                value, end = self.decoder.raw_decode(self.text, self.place)
            except JSONDecodeError as error:
                if self.complete or not self._more():
                    raise self.wrong(error.msg, error.pos) from error
            except (ValueError, RecursionError) as error:
                raise json_error(self.path, json_reason(error)) from error
            else:
                if end < len(self.text) or self.complete or not self._more():
                    self.place = end
                    return value

    def values(self) -> list[Any]:
        """Take the next value of a list, and all that can be taken at once with it.

        Text that is a list if it has brackets around it consists of whole values, wherever it was
        cut; where it is not, or has an error, they are taken one by one.

        Raises:
            DataError: the next value is malformed.
        """
        self.next()
        end = self.text.rfind("}", self.place)
        while not self.single and end > self.place and not BETWEEN.match(self.text, end):
            end = self.text.rfind("}", self.place, end)
        if not self.single and end > self.place:
            with contextlib.suppress(DataError, ValueError, RecursionError):  # told below
                values: list[Any] = self.decoder.decode(f"[{self.text[self.place : end + 1]}]")
                self.place = end + 1
                return values
        self.single = True
        return [self.value()]

    def wrong(self, reason: str, place: int | None = None) -> DataError:
        """Return the error of a place, by default the present one."""
        at = self.place if place is None else place
        before = self.text[:at]
        line = self.lines + before.count("\n") + 1
        start = self.before + before.rindex("\n") + 1 if "\n" in before else self.line_start
        end = self.before + at
        where = f"line {line} column {end - start + 1} (char {end})"
        return json_error(self.path, f"{reason}: {where}")
