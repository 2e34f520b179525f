"""XML files, read strictly."""

from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import parse

from cvkit.errors import DataError
from cvkit.texts import require_regular, shown

MOST_LEVELS = 100
"""Maximum depth of elements; annotations have five levels."""


def read_root(path: Path, name: str, most_bytes: int) -> Element:
    """Return the root of an XML file.

    Args:
        path: the file.
        name: that the root must have.
        most_bytes: maximum size of the file.

    Raises:
        DataError: missing, malformed, too large or too deep, with a DTD, or with another root.
    """
    try:
        require_regular(path, area="xml")
        if path.stat().st_size > most_bytes:
            raise DataError(f"{path} is larger than {most_bytes / 1e6:g} MB", code="xml.size")
        root = parse(path, forbid_dtd=True).getroot()
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist", code="split.id_without_file") from error
    except DefusedXmlException as error:
        raise DataError(f"{path} contains a DTD or entities", code="xml.dtd") from error
    except LookupError as error:
        raise DataError(
            f"{path} has an {error}", code="xml.encoding", hint="save it as UTF-8"
        ) from error
    except (ParseError, OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid XML: {error}", code="xml.syntax") from error
    if root is None:
        raise DataError(f"{path} has no root element", code="root.name")
    if _is_deep(root):
        reason = f"nested in over {MOST_LEVELS} levels"
        raise DataError(f"{path} is not valid XML: {reason}", code="xml.syntax")
    if root.tag != name:
        raise DataError(
            f"{path}: the root is <{shown(root.tag)[1:-1]}>, not <{name}>", code="root.name"
        )
    return root


def _is_deep(root: Element) -> bool:
    """Return whether elements are nested in more levels than in any annotation."""
    level, depth = [root], 0
    while level and depth <= MOST_LEVELS:
        level, depth = [child for element in level for child in element], depth + 1
    return bool(level)
