"""What tests leave in a folder."""

import os

CACHES = frozenset({".pytest_cache", ".ruff_cache", ".hypothesis", "__pycache__"})
"""What tools, not tests, leave in a folder."""


def left_in(folder, before):
    """Return the names of what is new in a folder."""
    return sorted({*os.listdir(folder)} - before - CACHES)
