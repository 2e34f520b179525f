"""Short summaries of predictions, from their lines in `predictions.jsonl`.

Every class here is a `cvkit.tasks.contract.Answers`.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

NAMED = 10
"""Maximum number of classes named in a cell or a line."""


class ClassAnswers:
    """The best classes of an image or video, and their scores."""

    columns = ("class", "score", "next best")

    def row(self, line: dict[str, Any]) -> list[str]:
        """Return the cells of one result: the best class, its score, the second and third."""
        pairs = list(zip(line["labels"], line["scores"], strict=True))
        (label, score), *others = pairs[:3]
        rest = ", ".join(f"{name} {value:.2f}" for name, value in others)
        return [label, f"{score:.2f}", rest or "-"]

    def tally(self, line: dict[str, Any]) -> Counter[str]:
        """Return the best class, counted once."""
        return Counter(line["labels"][:1])

    def summary(self, total: Counter[str]) -> str:
        """Return how often each class was the best one."""
        return f"best classes: {_some(f'{name} {count}' for name, count in total.most_common())}"


class AreaAnswers:
    """The classes of an image's pixels."""

    columns = ("shares of the area",)

    def row(self, line: dict[str, Any]) -> list[str]:
        """Return the cell of one result: the share of each class, largest first."""
        return [self._shares(self.tally(line))]

    def tally(self, line: dict[str, Any]) -> Counter[str]:
        """Return the pixels of each class."""
        return Counter(dict(zip(line["labels"], line["pixels"], strict=True)))

    def summary(self, total: Counter[str]) -> str:
        """Return the share of each class in all pixels."""
        return f"shares of the area: {self._shares(total)}"

    @staticmethod
    def _shares(pixels: Counter[str]) -> str:
        everything = pixels.total()
        return _some(f"{name} {per_cent(n / everything)}" for name, n in pixels.most_common() if n)


@dataclass(frozen=True)
class ObjectAnswers:
    """The objects in an image, by class.

    Attributes:
        least: smallest score of a counted object, as in the overlays.
    """

    least: float

    @property
    def columns(self) -> tuple[str, ...]:
        """Column headings."""
        return (f"objects with a score of at least {self.least:g}",)

    def row(self, line: dict[str, Any]) -> list[str]:
        """Return the cell of one result: how many there are of each class."""
        return [self._counts(self.tally(line))]

    def tally(self, line: dict[str, Any]) -> Counter[str]:
        """Return the number of objects of each class."""
        pairs = zip(line["labels"], line["scores"], strict=True)
        return Counter(label for label, score in pairs if score >= self.least)

    def summary(self, total: Counter[str]) -> str:
        """Return the number of objects of each class in all images."""
        return f"{self.columns[0]}: {self._counts(total)}"

    @staticmethod
    def _counts(total: Counter[str]) -> str:
        return _some(f"{count} {name}" for name, count in total.most_common())


def per_cent(share: float) -> str:
    """Return a fraction above 0 in percent."""
    return f"{100 * share:.1f} %" if share >= 0.0005 else "<0.1 %"


def _some(answers: Iterable[str]) -> str:
    """Return the first of several answers, separated by commas, and how many follow."""
    listed = list(answers)
    more = [f"{len(listed) - NAMED} more"] if len(listed) > NAMED else []
    return ", ".join([*listed[:NAMED], *more]) or "none"
