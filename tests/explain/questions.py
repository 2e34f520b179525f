"""Questions about small networks, and about the models that come with cvkit."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from cvkit.data.given import GivenImage, GivenVideo
from cvkit.data.synthetic.scenes import make_motion, make_scene, make_single
from cvkit.engine.loader import stack
from cvkit.explain.methods import Settings, Subject
from cvkit.options.tree import task_options
from cvkit.tasks.explainable import Question, Target
from cvkit.tasks.explained import explainable_of
from cvkit.tasks.trained import load_trained

MODELS = {
    "classify": "shapes",
    "segment": "scenes",
    "detect": "boxes",
    "instance": "masks",
    "video": "motions",
}


class Smooth(nn.Module):
    """A small network whose gradient changes slowly: two convolutions with tanh, and a sum."""

    def __init__(self, classes=3, clip=False):
        super().__init__()
        conv = nn.Conv3d if clip else nn.Conv2d
        self.first = conv(3, 4, 3, padding=1)
        self.second = conv(4, 5, 3, stride=2, padding=1)
        self.head = nn.Linear(5, classes)

    def forward(self, pixels):
        maps = torch.tanh(self.second(torch.tanh(self.first(pixels))))
        return self.head(maps.flatten(2).mean(-1))


def question_of(net, pixels, index=1, region=None):
    """Return the question about an output of a network."""
    height, width = pixels.shape[-2:]
    return Question(
        pixels=pixels,
        score=lambda inputs: net(inputs)[:, index],
        probability=lambda inputs: net(inputs).softmax(1)[:, index],
        label="one",
        words="one",
        region=region,
        window_xyxy=(0.0, 0.0, float(width), float(height)),
    )


def small_subject(clip=False, size_hw=(9, 12), **settings):
    """Return a small network with a question about a random input."""
    torch.manual_seed(3)
    net = Smooth(clip=clip).eval().requires_grad_(False)
    for weight in net.parameters():
        weight.mul_(2)
    shape = (1, 3, 4, *size_hw) if clip else (1, 3, *size_hw)
    question = question_of(net, torch.rand(shape))
    return Subject(net, question, "second", Settings(**settings))


def whole(net):
    """Return a network as explanations see it, all of it."""
    return SimpleNamespace(mapped=net, body=net)


_LOADED = {}


def loaded(task):
    """Return the model that comes with cvkit for a task."""
    if task not in _LOADED:
        flags = {"weights": MODELS[task], "device": "cpu", "precision": "fp32", "workers": 0}
        options = task_options(task, "predict")(**flags)
        _LOADED[task] = load_trained(MODELS[task], options, task)
    return _LOADED[task]


def scene(task, index, seed=77):
    """Return an input of a task in memory, and the [H, W] or [T, H, W] pixels of its shapes.

    In scenes of several shapes the pixels have the numbers of their classes.
    """
    if task == "video":
        made, _ = make_motion(seed, index)
        frames = [made.render(n) for n in range(16)]
        pixels = np.stack([frame.image for frame in frames])
        return GivenVideo(pixels, "v"), np.stack([frame.visible >= 0 for frame in frames])
    if task == "classify":
        made, _ = make_single(seed, index)
        frame = made.render()
        return GivenImage(frame.image, "i"), frame.visible >= 0
    made = make_scene(seed, index)
    frame = made.render()
    return GivenImage(frame.image, "i"), made.class_mask(frame)


def asked(task, index=0, target=None):
    """Return the question about a scene, and the true pixels of its class."""
    trained = loaded(task)
    item, truth = scene(task, index)
    batch = stack([trained.task.source([item]).read(0)])[0]
    explained = explainable_of(trained.task, trained.model)
    question = explained.ask(batch, target or Target())
    if truth.dtype != bool:
        names = ("background", *trained.task.classes.names)
        names = trained.task.classes.names if task == "segment" else names
        truth = truth == names.index(question.label)
    if task == "video":  # the network sees some of the frames
        places = np.linspace(0, len(truth) - 1, question.size[0]).round().astype(int)
        truth = truth[places]
    return question, truth, explained


def subject(task, index=0, layer="", **settings):
    """Return a subject for a method, on a model that comes with cvkit."""
    question, truth, explained = asked(task, index)
    if task == "video":  # its network takes clips of any size, and small ones are faster
        pixels = question.pixels[:, :, ::2, ::2, ::2]
        question = replace(question, pixels=pixels, window_xyxy=(0.0, 0.0, 32.0, 32.0))
    return Subject(loaded(task).model, question, layer, Settings(**settings)), truth, explained
