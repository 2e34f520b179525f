"""How well a network does what it is pretrained by."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from cvkit.structures import ClassList, MetricReport

NAME = "pretext_score"


@dataclass
class PretextMetric:
    """The score of a method: the sum of all numerators over the sum of all denominators.

    Attributes:
        rule: of the score, in words.
        sums: of numerators and denominators.
    """

    rule: str
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0])

    def update(self, result: Sequence[float], truth: object) -> Sequence[float]:
        """Add an image; return numerator and denominator of its part."""
        self.sums = [total + part for total, part in zip(self.sums, result, strict=True)]
        return result

    def state(self) -> list[float]:
        """Return the sums."""
        return self.sums

    def merge(self, states: Sequence[list[float]], places: Sequence[Sequence[int]]) -> None:
        """Replace the sums by those of all processes."""
        self.sums = [sum(column) for column in zip(*states, strict=True)]

    def compute(self) -> dict[str, float | None]:
        """Return the score; None without images."""
        above, below = self.sums
        return {NAME: above / below if below else None}

    def report(self, classes: ClassList) -> MetricReport:
        """Return the score and its rule."""
        return MetricReport(self.compute(), {NAME: self.rule}, {})
