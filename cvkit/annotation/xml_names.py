"""Names that XML can hold."""

import re

_UNWRITABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def fits_xml(name: str) -> bool:
    """Return whether XML can hold a name."""
    return not _UNWRITABLE.search(name)
