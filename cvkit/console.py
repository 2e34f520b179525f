"""Messages, tables and progress of a command, on stderr."""

import contextlib
import re
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from cvkit.errors import CvkitWarning
from cvkit.printable import printable

LINE_SECONDS = 20.0
"""Seconds between progress lines if there is no terminal for a bar."""

FILE_WIDTH = 110
"""Width of a table in columns if there is no terminal."""

Cell = str | list[str]
"""A table cell: one line, or several."""


class Advance(Protocol):
    """Called by a loop to show its progress."""

    def __call__(self, done: int, note: str = "", /) -> None:
        """Show the number of samples done so far, and a note."""


class _Stderr(Console):
    """Messages; if their reader closes the stream, the work continues."""

    def on_broken_pipe(self) -> None:
        """Print nothing from now on."""
        self.quiet = True


class _Stdout(Console):
    """Data; if their reader closes the stream, the command ends."""

    def on_broken_pipe(self) -> None:
        """Leave the decision to the command line."""
        raise


class Tabular(str):
    """A remark that is shown as a table, not as a warning.

    Attributes:
        columns: their titles.
        rows: the cells of each row.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __new__(cls, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Self:
        """Return the title with the rows."""
        made = super().__new__(cls, title)
        made.columns, made.rows = columns, rows
        return made


class Reporter:
    """Messages, tables and progress on stderr; data goes to stdout by `print` elsewhere.

    Args:
        quiet: print nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.warned: dict[str, None] = {}
        """The warnings, in order."""
        self.remarked: set[str] = set()
        if quiet:
            warnings.simplefilter("ignore", CvkitWarning)
        width = None if sys.stderr.isatty() else FILE_WIDTH
        self.console = _Stderr(
            stderr=True, quiet=quiet, highlight=False, soft_wrap=True, width=width
        )

    def hush(self) -> None:
        """Print nothing from now on, because another process reports for all."""
        warnings.simplefilter("ignore", CvkitWarning)
        self.quiet = self.console.quiet = True

    def say(self, text: str) -> None:
        """Print a line."""
        self.console.print(Text(printable(text)))

    def warn(self, text: str) -> None:
        """Print a line that begins with `warning:`; each line only once."""
        if text in self.warned or text in self.remarked:
            return
        if isinstance(text, Tabular):
            self.remarked.add(text)
            self.show(table(text, text.columns, text.rows))
            return
        self.warned[text] = None
        self.console.print(Text(f"warning: {printable(text)}", "yellow"))

    def show(self, content: Table) -> None:
        """Print a table."""
        self.console.print(content)

    @contextlib.contextmanager
    def progress(self, title: str, total: int) -> Iterator[Advance]:
        """Show the progress of a loop: a bar on a terminal, else a line now and then."""
        if self.quiet or not self.console.is_terminal:
            yield self._lines(title, total)
            return
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[words]}", markup=False),
        )
        with Progress(*columns, console=self.console, transient=True) as bar:
            job = bar.add_task(printable(title), total=total, words="")

            def advance(done: int, note: str = "", /) -> None:
                bar.update(job, completed=done, words=printable(note))

            yield advance

    def _lines(self, title: str, total: int) -> Advance:
        start = shown = time.monotonic()

        def advance(done: int, note: str = "", /) -> None:
            nonlocal shown
            now = time.monotonic()
            if now - shown >= LINE_SECONDS:
                shown = now
                left = (now - start) / done * (total - done) if done else 0
                self.say(f"{title} {done}/{total} {note} ({left:.0f} s left)")

        return advance


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Table:
    """Return a rich table; columns of numbers are aligned to the right."""
    heading = Text(printable(title), "table.title")
    result = Table(title=heading, title_justify="left", show_edge=False, pad_edge=False)
    for position, column in enumerate(columns):
        numeric = all(re.fullmatch(r"[\d.,-]+", _text(row[position]).plain) for row in rows)
        result.add_column(_text(column), justify="right" if numeric else "left")
    for row in rows:
        result.add_row(*map(_text, row))
    return result


def _text(cell: Cell) -> Text:
    lines = [cell] if isinstance(cell, str) else cell
    return Text("\n".join(map(printable, lines)))


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Print a table to stdout."""
    width = None if sys.stdout.isatty() else FILE_WIDTH
    _Stdout(file=sys.stdout, width=width, highlight=False).print(table(title, columns, rows))


def print_line(text: object) -> None:
    """Print a line to stdout."""
    print(printable(str(text)))


def number(value: float | None) -> str:
    """Return a fraction with four digits, or a dash if there is none."""
    return "-" if value is None else f"{value:.4f}"
