"""GeoJSON features (RFC 7946) in pixels, with the properties that QuPath reads.

x points right and y down from the top left corner of the image, in continuous pixels.
"""

from typing import Any

import numpy as np

from cvkit.annotation.marked import Marked
from cvkit.ops.rings import pieces, simple_rings


def feature(shown: Marked, color: tuple[int, int, int]) -> dict[str, Any]:
    """Return an object as a feature: a polygon, or several if its mask is in pieces.

    Args:
        shown: the object.
        color: RGB of its class.
    """
    properties: dict[str, Any] = {
        "objectType": "annotation",
        "classification": {"name": shown.name, "color": list(color)},
    }
    if shown.score is not None:
        properties["measurements"] = {"score": shown.score}
    return {"type": "Feature", "geometry": _geometry(shown), "properties": properties}


def _geometry(shown: Marked) -> dict[str, Any]:
    if shown.part is None:
        x1, y1, x2, y2 = shown.box
        corners = [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]
        return {"type": "Polygon", "coordinates": [[*corners, corners[0]]]}
    (top, left), found = shown.corner_yx, []
    for piece, (y, x) in pieces(shown.part):
        found.append([_closed(ring + (left + x, top + y)) for ring in simple_rings(piece)])
    if len(found) == 1:
        return {"type": "Polygon", "coordinates": found[0]}
    return {"type": "MultiPolygon", "coordinates": found}


def _closed(ring: np.ndarray) -> list[list[int]]:
    """Return the corners of a ring, the first one again at the end."""
    closed: list[list[int]] = np.concatenate([ring, ring[:1]]).tolist()
    return closed
