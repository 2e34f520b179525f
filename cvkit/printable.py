"""Text for a terminal: control characters from data, such as class and file names, are escaped.

Everything that cvkit prints as text goes through `printable`; JSON has its own escaping.
"""

import re

_CONTROLS = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # control characters: colours, titles, cursor, line breaks
    "\u2028\u2029"  # line breaks of Unicode
    "\u202a-\u202e\u2066-\u2069"  # change the display order of the rest of a line
    "\ud800-\udfff"  # bytes of file names that are not text
    "]"
)


def printable(text: str) -> str:
    r"""Return a line with control characters escaped, such as `\x1b` or `\n`."""
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
