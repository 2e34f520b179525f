"""What tests leave in a folder."""

import os

CACHES = frozenset(
    {".pytest_cache", ".ruff_cache", ".mypy_cache", ".hypothesis", "__pycache__", "site", "demo"}
)
"""What tools, not tests, leave in a folder, perhaps while tests run."""


def left_in(folder, before):
    """Return the names of what is new in a folder."""
    return sorted({*os.listdir(folder)} - before - CACHES)
