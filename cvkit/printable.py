"""Text for a terminal: what comes from data, such as the names of classes and files, is only data.

Everything that cvkit prints for people goes through `printable`; JSON escapes by itself.
"""

import re

_CONTROLS = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # control characters: colours, titles, cursor, line breaks
    "\u2028\u2029"  # line breaks of Unicode
    "\u202a-\u202e\u2066-\u2069"  # change the order in which the rest of a line is shown
    "\ud800-\udfff"  # bytes of file names that are no text
    "]"
)


def printable(text: str) -> str:
    r"""Return a line with what a terminal would obey escaped, such as `\x1b` or `\n`."""
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
