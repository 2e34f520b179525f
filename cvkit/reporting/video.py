"""The report of video classification."""

import numpy as np

from cvkit.output.sheet import grid_of_four
from cvkit.reporting import classify
from cvkit.reporting.contract import Shown
from cvkit.scoring.contract import Scene


class Pages(classify.Pages):
    """The report of an evaluation."""

    HEADLINES: tuple[str, ...] = (
        "video_top1",
        "video_top5",
        "clip_top1",
        "balanced_accuracy",
        "macro_f1",
        "ece",
    )

    def show(self, place: int, scene: Scene | None) -> Shown:
        """Return four frames of the video, and its classes in words."""
        if scene is not None:
            frames = scene.image.reshape(-1, *scene.image.shape[-3:])  # of all views
            chosen = np.linspace(0, len(frames) - 1, 4).round().astype(int)
            scene = Scene(grid_of_four([frames[index] for index in chosen]))
        return super().show(place, scene)
