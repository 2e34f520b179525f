"""Labelled videos, to count and to show."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cvkit.data.classified import ClassifiedImage
from cvkit.data.clips import ClipDataset, ClipRule, FrameRule, part_of
from cvkit.data.files import walk_videos
from cvkit.data.known import Known
from cvkit.data.statistics import Facts, Measured
from cvkit.data.video import index_video, read_frames
from cvkit.options.video import VideoTrain
from cvkit.output.sheet import grid_of_four
from cvkit.tasks.classed_labels import LabelledFiles
from cvkit.tasks.labelled import Advice, View, imbalance, sizes
from cvkit.tasks.video import setup
from cvkit.tasks.video.network import Preprocessing, preprocessing_for
from cvkit.texts import counted

SHORT = 0.25
"""A clip that spans less of the median video than this fraction misses most of it."""


@dataclass(frozen=True, kw_only=True)
class LabelledSamples(LabelledFiles[VideoTrain]):
    """Videos with one class each."""

    task, noun, walk = "video", "videos", staticmethod(walk_videos)

    def picture(self, item: ClassifiedImage) -> np.ndarray:
        """Return the pixels of the middle frame."""
        return self._frames(item, [0.5])[0]

    def _frames(self, item: ClassifiedImage, places: Sequence[float]) -> list[np.ndarray]:
        """Return frames; place 0 is the first one and 1 the last one."""
        index = index_video(item.path)
        part = part_of(index, item.seconds, item.path)
        last = part.stop - part.start - 1
        return read_frames(item.path, index, [part.start + round(p * last) for p in places], None)

    def truth(self, item: ClassifiedImage) -> View:
        """Return four frames of a video in order, row by row, and its class."""
        return View(grid_of_four(self._frames(item, (0, 1 / 3, 2 / 3, 1))), item.label)

    def augmented(self, split: str, place: int, seed: int) -> View:
        """Return four frames of a training clip as the network gets it."""
        made = self._preprocessing
        rule = ClipRule(made.frames, made.sampling, made.stride, made.fps)
        frame_rule = FrameRule(made.image_size, made.resize_hw, bits=None)
        transform = setup.transform_for(self.options, made.image_size)
        videos, names = self.splits[split], self.classes.names
        reverse = self.options.reverse
        data = ClipDataset(videos, names, rule, frame_rule, 1, transform, reverse)
        clip = data.read(place, seed).image
        chosen = np.linspace(0, len(clip) - 1, 4).round().astype(int)
        side = made.image_size
        return View(grid_of_four(clip[chosen]), f"{counted(len(clip), 'frame')} of {side}x{side}")

    @cached_property
    def _preprocessing(self) -> Preprocessing:
        videos = next(iter(self.splits.values())) if self.options.image_size == "auto" else ()
        return self.preprocessing([index_video(v.path).size_hw for v in videos] or [(1, 1)])

    def preprocessing(self, sizes_hw: Sequence[tuple[int, int]]) -> Preprocessing:
        """Return the preprocessing of a training on frames of these sizes."""
        return preprocessing_for(self.options, sizes_hw)

    @property
    def cache(self) -> str:
        """Name of the findings; those about videos have their own cache."""
        return "video"

    def measure(self, item: ClassifiedImage, known: Known) -> Measured[ClassifiedImage]:
        """Return size, length, rate and class of a video."""
        index = index_video(item.path)
        part = part_of(index, item.seconds, item.path)
        frames = part.stop - part.start
        values = {"frames": frames, "fps": index.fps, "seconds": frames / index.fps}
        differing = index.header_frames not in (0, len(index))
        return Measured(
            item,
            sizes(index.size_hw) | values,
            {"videos": {self.label(item): 1}},
            {"headers_with_another_count": int(differing)},
        )

    def normalisation(
        self, facts: Facts[ClassifiedImage]
    ) -> tuple[Sequence[float], Sequence[float]]:
        """Return mean and standard deviation that training subtracts."""
        made = self.preprocessing(_sizes_hw(facts))
        return made.mean, made.std

    def advice(self, facts: Facts[ClassifiedImage]) -> list[Advice]:
        """Return what the numbers imply for the flags of train."""
        made = self.preprocessing(_sizes_hw(facts))
        short = np.minimum(facts.values["width"], facts.values["height"])
        found = [
            Advice(
                f"--image-size {self.options.image_size} gives {made.image_size}x{made.image_size}",
                f"the shorter side of the median video has {np.median(short):.0f} pixels",
            )
        ]
        if made.sampling == "clip":
            found += self._of_lengths(facts, made)
        return found + imbalance(facts.per_class["videos"], self.classes.names, "videos")

    def _of_lengths(self, facts: Facts[ClassifiedImage], made: Preprocessing) -> list[Advice]:
        found = []
        rates, frames = facts.values["fps"], facts.values["frames"]
        low, high = np.percentile(rates, (5, 95))
        if not made.fps and high > 1.2 * low:
            found.append(
                Advice(
                    f"--fps {np.median(rates):.3g}",
                    f"rates range from {low:.3g} to {high:.3g} frames per second: with --stride, "
                    "clips show motion at different speeds",
                )
            )
        if made.fps:
            return found
        span, median = (made.frames - 1) * made.stride + 1, float(np.median(frames))
        shown = f"--frames {made.frames} --stride {made.stride}"
        if median * SHORT > span:
            stride = int((median / 2 - 1) // max(1, made.frames - 1))
            found.append(
                Advice(
                    f"--stride {max(2, stride)}",
                    f"a clip of {shown} spans {span} frames, {span / median:.0%} of the median "
                    f"video of {median:.0f} frames; --sampling uniform spreads over all of it",
                )
            )
        if (short := int((frames < span).sum())) > 0.05 * len(frames):
            found.append(
                Advice(
                    f"--frames {max(1, int(np.median(frames)) // made.stride)}",
                    f"{short} of {counted(len(frames), 'video')} shorter than the {span} frames "
                    f"that a clip of {shown} spans: its last frames are repeated",
                )
            )
        return found


def _sizes_hw(facts: Facts[ClassifiedImage]) -> list[tuple[int, int]]:
    pairs = zip(facts.values["height"].tolist(), facts.values["width"].tolist(), strict=True)
    return [(int(height), int(width)) for height, width in pairs]
