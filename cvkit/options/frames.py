"""Flags of the image tasks about the frames of videos."""

from dataclasses import dataclass
from typing import Annotated

from cvkit.options.base import Predict
from cvkit.options.panels import DATA, flag


@dataclass(frozen=True, kw_only=True)
class ImagePredict(Predict):
    """Flags of predicting images, which may be frames of videos."""

    fps: Annotated[
        float,
        flag(
            DATA,
            "Frames to use per second of a video, by their times: those shown at 0, 1/FPS, 2/FPS, "
            "... seconds; 0: all",
            min=0,
            max=1000,
        ),
    ] = 0.0
