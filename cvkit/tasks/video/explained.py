"""Explanations of video classification: the logit of a class for one clip."""

from torch import Tensor, nn

from cvkit.ops.images import standardize
from cvkit.structures import Batch
from cvkit.tasks.explainable import Question, Seen, Target
from cvkit.tasks.explained import class_question
from cvkit.tasks.video.task import Video


class Explained:
    """A clip network; the score is the logit of a class for the view in the middle of the video.

    Networks that average probabilities over frames have their logarithms in place of logits.
    """

    targets = ("top1", "class")

    def __init__(self, task: Video, model: nn.Module) -> None:
        self.task, self.model = task, model
        self.mapped: nn.Module = model
        self.body: nn.Module = getattr(model, "backbone", model)

    def ask(self, batch: Batch, target: Target) -> Question:
        """Return the question about the class of a clip."""
        return class_question(self.task, lambda x: self.model(x)["out"], _clips(batch), target)

    def encode(self, batch: Batch) -> Seen:
        """Run the network on the view in the middle of each video."""
        made, clips = self.task.preprocessing, _clips(batch)
        self.model(standardize(clips, made.mean, made.std))
        frames, height, width = clips.shape[-3:]
        return Seen((frames, height, width))


def _clips(batch: Batch) -> Tensor:
    """Return the [N, C, T, H, W] views in the middle, in [0, 1]."""
    assert not isinstance(batch.images, list), "clips to predict are stacked"
    views = batch.images.transpose(1, 2)  # [N, V, C, T, H, W]
    return views[:, views.shape[1] // 2].float().contiguous() / 255
