"""Flags of large images that are predicted in tiles."""

from dataclasses import dataclass
from typing import Annotated

from cvkit.options.panels import DATA, flag


@dataclass(frozen=True, kw_only=True)
class Tiled:
    """Flags of the commands that can predict an image in tiles."""

    tiles: Annotated[
        str,
        flag(
            DATA,
            "Predict images that are larger than a tile in overlapping tiles of this size in "
            "pixels, SIDE (a square) or WIDTHxHEIGHT, each like an image by itself, and join the "
            "results; auto: the size for which the model was trained; TIFF files are read in "
            "windows (default: whole images)",
        ),
    ] = ""
    overlap: Annotated[
        float,
        flag(
            DATA,
            "Minimum overlap of neighbouring tiles, as a fraction of their side; objects that "
            "are smaller than that are whole in one of them",
            min=0.05,
            max=0.5,
        ),
    ] = 0.2
