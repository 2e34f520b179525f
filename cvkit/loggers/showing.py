"""Pictures of some validation samples with what a network finds in them."""

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from cvkit.data.files import InputFile
from cvkit.engine.evaluate import Part
from cvkit.engine.loader import only_batch, stack
from cvkit.errors import CvkitError
from cvkit.tasks.contract import Dataset, Located, Task

SHOWN = 4
"""Number of pictures per epoch."""


class Shown:
    """Some validation samples, evenly spaced over the split.

    Args:
        task: the problem.
        data: the split, preprocessed as for evaluation.
        fabric: device and precision.
    """

    def __init__(self, task: Task, data: Dataset, fabric: Fabric) -> None:
        self.task, self.data, self.fabric = task.with_scores(), data, fabric

    @torch.inference_mode()
    def draw(self, network: nn.Module) -> list[tuple[str, np.ndarray]]:
        """Return the names of the samples, and HWC RGB uint8 pictures."""
        network.eval()
        if not isinstance(self.data, Located):
            return []
        found = []
        for place in Part(self.data, SHOWN).indices:
            key, path = self.data.key(place), self.data.file(place)
            sample = self.data.read(place)
            batch = only_batch(stack([sample])).to(self.fabric.device)
            with self.fabric.autocast():
                (result,) = self.task.predict(network, batch)
            try:
                found.append((key, self.task.plot(result, InputFile(path, key))))
            except CvkitError:
                continue  # a sample that is not a file of its own has no picture
        return found
