"""Renaming of tensors by tables of patterns."""

import re
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

Rule = tuple[str, str | Callable[[re.Match[str]], str]]
"""A pattern for a whole name, and its new form: a template of `re.sub`, or a function."""


COMPUTED = ("relative_position_index", "relative_coords_table")
"""Ends of names of tables that Swin computes from the sizes of its windows."""


def renamed(tensors: Mapping[str, Tensor], rules: Sequence[Rule]) -> dict[str, Tensor]:
    """Return tensors under new names; the first rule that matches a name decides.

    A name without a rule stays as it is.
    """
    compiled = [(re.compile(pattern), new) for pattern, new in rules]

    def new_name(name: str) -> str:
        for pattern, new in compiled:
            if match := pattern.fullmatch(name):
                return new(match) if callable(new) else match.expand(new)
        return name

    return {new_name(name): tensor for name, tensor in tensors.items()}


def has_names(tensors: Mapping[str, Tensor], patterns: Sequence[str]) -> bool:
    """Return whether each pattern matches the whole of some name."""
    return all(any(re.fullmatch(pattern, name) for name in tensors) for pattern in patterns)
