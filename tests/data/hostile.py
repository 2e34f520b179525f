"""Documents that no program writes: small valid ones, and ways to spoil them."""

import copy
import json

from hypothesis import strategies as st

JUNK = (
    *(None, True, False, "", "x", "7", "\0", "\ud800", "x" * 300, "../x", "/etc/passwd"),
    *(0, -1, 1.5, 2**31, 2**63, 10**9, 10**400, 1e300, -0.0, float("inf"), float("nan")),
    *([], [[]], [1, 2, 3, 4], [10**400] * 4, ["1", "2", "3", "4"], {}, {"a": [1]}),
    *([1e9, 1e9, 9e8, 1e9, 1e9, 9e8], [[0, 0, 1e9, 0, 1e9, 1e9]], {"size": [10**9, 10**9]}),
    *({"size": [4, 4], "counts": [-1, 17]}, {"size": [4, 4], "counts": "\x7f" * 9}),
    *({"size": [True, 16], "counts": [16]}, {"size": [4, 4], "counts": [10**400]}),
)
"""Values that stand where others belong."""

TEXTS = (
    *("", " ", "nan", "inf", "-inf", "1e999", "9" * 400, "9" * 5000, "-1", "0x7", "1_0", "\0"),
    *("x" * 200_000, "../../x", "/etc/passwd", "\ufeff", "\u2028", '"', "'", ",", ":", "[", "{"),
    *("&a", "*a", "!!python/name:os.system", "2024-01-01", "1:30", "~", "<<", "- ", "\n", "\t"),
    *("<!DOCTYPE a>", "&amp;", "&b;", "<a>", "\x1b", "NaN", "Infinity", "[" * 2000, "\r\n\r\n"),
)
"""Pieces of text that mean something to some format."""

RAW = (b"\xff", b"\xfe\xff", b"\x00", b"\xc3", b"\xef\xbb\xbf", b"\n", b"PK\x03\x04")
"""Bytes that are no text."""


def nodes(value, place=()):
    """Yield the place of each value in a document."""
    yield place
    pairs = ()
    if isinstance(value, dict):
        pairs = value.items()
    elif isinstance(value, list):
        pairs = enumerate(value)
    for key, inner in pairs:
        yield from nodes(inner, (*place, key))


def changed(document, place, junk, drop):
    """Return a document with another value in a place, or without the key."""
    if not place:
        return junk
    document = copy.deepcopy(document)
    inner = document
    for key in place[:-1]:
        inner = inner[key]
    if drop:
        del inner[place[-1]]
    else:
        inner[place[-1]] = junk
    return document


@st.composite
def documents(draw, document):
    """Draw a document of JSON in which one or two values are spoilt; as bytes."""
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.sampled_from(list(nodes(document))))
        document = changed(document, place, draw(st.sampled_from(JUNK)), draw(st.booleans()))
    return json.dumps(document).encode()


@st.composite
def spoilt(draw, content):
    """Draw bytes with one or two places cut out, turned over, or filled with something else."""
    for _ in range(draw(st.integers(1, 2))):
        first = draw(st.integers(0, len(content)))
        kind = draw(st.sampled_from(["cut", "drop", "flip", "text", "raw", "word"]))
        if kind == "cut":
            content = content[:first]
        elif kind == "drop":
            content = content[:first] + content[first + draw(st.integers(1, 9)) :]
        elif kind == "flip" and first < len(content):
            flipped = bytes([content[first] ^ (1 << draw(st.integers(0, 7)))])
            content = content[:first] + flipped + content[first + 1 :]
        elif kind == "word":  # a whole number or word gives way
            end = first
            while end < len(content) and content[end : end + 1].isalnum():
                end += 1
            piece = draw(st.sampled_from(TEXTS)).encode()
            content = content[:first] + piece + content[end:]
        else:
            pieces = [text.encode() for text in TEXTS] if kind == "text" else RAW
            content = content[:first] + draw(st.sampled_from(pieces)) + content[first:]
    return content
