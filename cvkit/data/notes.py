"""Remarks on oddities of a dataset that do not make it unusable."""

from typing import Self


class Note(str):
    """The text of a warning, with the rule of `cvkit.data.rules` to which it belongs.

    Attributes:
        rule: id of the rule.
        sample: key of the only sample that it concerns; "" for any other.
    """

    rule: str
    sample: str

    def __new__(cls, text: str, rule: str, sample: str = "") -> Self:
        """Return a text with its rule."""
        made = super().__new__(cls, text)
        made.rule = rule
        made.sample = sample
        return made
