"""Explanations of image classification: the logit of a class."""

from torch import nn

from cvkit.structures import Batch
from cvkit.tasks.classify.task import Classify
from cvkit.tasks.explainable import Question, Seen, Target
from cvkit.tasks.explained import class_question


class Explained:
    """A classifier; the score of a class is its logit, before the softmax."""

    targets = ("top1", "class")

    def __init__(self, task: Classify, model: nn.Module) -> None:
        self.task, self.model = task, model
        self.mapped: nn.Module = model
        self.body: nn.Module = model.get_submodule(task.body(model))

    def ask(self, batch: Batch, target: Target) -> Question:
        """Return the question about the class of an image."""
        assert not isinstance(batch.images, list), "images to predict are stacked"
        pixels = batch.images.float().contiguous() / 255
        return class_question(self.task, lambda x: self.model(x)["out"], pixels, target)

    def encode(self, batch: Batch) -> Seen:
        """Run the network on a batch of images, as `predict` does."""
        inputs = self.task.normalized(batch)
        self.model(inputs)
        return Seen((1, *inputs.shape[-2:]))
