"""Explanations of detection: the score of a detection's class in its box."""

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from cvkit.models.detection.detectors import Detector
from cvkit.ops.rle import decode_parts
from cvkit.structures import Batch, Failure, Instances
from cvkit.tasks.explainable import Question, Seen, Target
from cvkit.tasks.explained import no_target
from cvkit.texts import counted


class Explained:
    """A detector; the score is what its second stage gives the class in the box that was found.

    The box stays the same while the input is changed, whatever the first stage would propose: the
    score is then a smooth function of the pixels.
    """

    targets = ("top1", "class", "box")

    def __init__(self, task: Any, model: nn.Module) -> None:
        self.task, self.model = task, cast(Detector, model)
        self.mapped: nn.Module = self.model.features
        self.body: nn.Module = self.model.body

    def ask(self, batch: Batch, target: Target) -> Question:
        """Return the question about a detection.

        Raises:
            DataError: there is no such detection.
        """
        assert not isinstance(batch.images, list), "images to predict are stacked"
        with torch.no_grad():
            found = self.task.predict(self.model, batch)[0]
        assert not isinstance(found, Failure), "only tiles fail"
        number = self._chosen(found, target)
        label = int(found.labels[number])
        pixels = batch.images.float().contiguous() / 255
        box = torch.from_numpy(found.boxes[number : number + 1]).to(pixels.device)

        def scored(inputs: Tensor) -> tuple[Tensor, Tensor]:
            return self.model.score_regions(list(inputs), [box] * len(inputs))

        name = self.task.classes.names[label - 1]
        return Question(
            pixels=pixels,
            score=lambda inputs: scored(inputs)[0][:, label],
            probability=lambda inputs: scored(inputs)[1][:, label],
            label=name,
            words=f"{name}, box {number + 1} of {len(found)}",
            region=self.region(found, number, tuple(pixels.shape[-2:])),
            window_xyxy=self.model.window(pixels[0], box[0]),
        )

    def _chosen(self, found: Instances, target: Target) -> int:
        """Return the place of a detection among those of an image, best first."""
        if target.kind == "box":
            if target.number > len(found):
                raise no_target(f"box {target.number} of {counted(len(found), 'detection')}")
            return target.number - 1
        names = [self.task.classes.names[label - 1] for label in found.labels]
        which = [n for n, name in enumerate(names) if target.kind == "top1" or name == target.name]
        if not which:
            raise no_target(f"no {target.name or 'object'} is detected")
        return which[0]

    def region(self, found: Instances, number: int, size_hw: tuple[int, ...]) -> np.ndarray:
        """Return the HW bool pixels of a detection: its mask, or its box."""
        region = np.zeros(size_hw, bool)
        if found.masks is not None:
            decoded = found.pick(slice(number, number + 1)).coded_masks()
            for part, (y, x) in decode_parts(decoded):
                region[y : y + part.shape[0], x : x + part.shape[1]] = part
            return region
        x1, y1, x2, y2 = found.boxes[number].round().astype(int).tolist()
        region[y1:y2, x1:x2] = True
        return region

    def encode(self, batch: Batch) -> Seen:
        """Run the backbone, with its neck if it has one, on a batch of images."""
        shape_hw, filled_hw = self.model.encode(list(batch.images))
        high, wide = (side / whole for side, whole in zip(filled_hw, shape_hw, strict=True))
        return Seen((1, *shape_hw), (high, wide))
