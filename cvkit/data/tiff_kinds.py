"""The type of the pixels of TIFF files that Pillow does not open."""

import logging
import struct
from pathlib import Path

DAMAGES = (
    *(ValueError, RuntimeError, OSError, LookupError, TypeError, ArithmeticError),
    *(AttributeError, struct.error),
)
"""What tifffile raises about damaged files, and about files that are none of its own."""
USUAL = ("uint8", "uint16")


def unusual_kind(file: Path) -> str:
    """Return the type of the pixels of a TIFF file, such as `float32`; "" if it is a usual one.

    Any other file has none.
    """
    from tifffile import TiffFile

    logging.getLogger("tifffile").addHandler(logging.NullHandler())  # damage is reported elsewhere
    try:
        with TiffFile(file, _multifile=False) as opened:
            kind = str(opened.pages[0].dtype)
    except DAMAGES:
        return ""
    return "" if kind in (*USUAL, "None") else kind
