"""Each method against a computation of its own, on small networks and on those of all tasks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from networks import detector
from questions import MODELS, Smooth, loaded, question_of, scene, small_subject, subject, whole
from torch import nn
from torch.nn import functional as F

from cvkit.engine.loader import stack
from cvkit.errors import DataError, UsageError
from cvkit.explain import methods
from cvkit.explain.layers import activations, as_maps, default_layer, find_layers, placed
from cvkit.explain.methods import TABLE, Settings, Subject, completeness
from cvkit.options.explain import METHODS, SIGNED
from cvkit.tasks.explainable import Target
from cvkit.tasks.explained import explainable_of

CLIPS = pytest.mark.parametrize("clip", [False, True], ids=["image", "clip"])


def frames_of(pixels):
    """Return pixels as [3, T, H, W]."""
    return pixels[0] if pixels.ndim == 5 else pixels[0][:, None]


def slope(question, pixels, place, step=1e-3):
    """Return the central difference of the score at one value of an input."""
    ends = []
    for sign in (1, -1):
        moved = pixels.double().clone()
        moved[place] += sign * step
        ends.append(float(question.score(moved)))
    return (ends[0] - ends[1]) / (2 * step)


@CLIPS
def test_gradient_is_the_largest_finite_difference_over_the_colours(clip):
    given = small_subject(clip)
    given.model.double()
    found = TABLE["gradient"](
        Subject(
            given.model, question_of(given.model, given.question.pixels.double()), "", Settings()
        )
    )
    frames, height, width = given.question.size
    assert found.shape == given.question.size
    for place in [(0, 0, 0), (frames - 1, 3, 5), (frames // 2, height - 1, width - 1)]:
        where = place if clip else place[1:]
        slopes = [
            abs(slope(given.question, given.question.pixels, (0, colour, *where)))
            for colour in range(3)
        ]
        assert float(found[place]) == pytest.approx(max(slopes), rel=1e-4)


@CLIPS
def test_smooth_grad_is_the_mean_over_the_same_noise_one_by_one(clip):
    given = small_subject(clip, samples=5, noise=0.2, batch_size=2, seed=4)
    pixels = given.question.pixels
    generator = torch.Generator().manual_seed(4)
    spread = 0.2 * (pixels.max() - pixels.min())
    total = 0
    for _ in range(5):
        noisy = pixels + spread * torch.randn(pixels.shape, generator=generator)
        noisy.requires_grad_()
        total = total + torch.autograd.grad(given.model(noisy)[0, 1], noisy)[0]
    wanted = frames_of(total / 5).abs().amax(0)
    assert torch.allclose(TABLE["smooth-grad"](given), wanted, atol=1e-6)


@CLIPS
def test_integrated_gradients_are_complete(clip):
    given = small_subject(clip, steps=64, value=0.3)
    found = TABLE["integrated-gradients"](given)
    total, change = completeness(given, found)
    baseline = torch.full_like(given.question.pixels, 0.3)
    scores = [float(given.model(each)[0, 1]) for each in (given.question.pixels, baseline)]
    assert change == pytest.approx(scores[0] - scores[1], abs=1e-6)
    assert abs(change) > 0.02
    assert total == pytest.approx(change, abs=1e-3 * abs(change) + 1e-5)


@CLIPS
def test_occlusion_is_what_hiding_each_patch_costs(clip):
    given = small_subject(clip, patch=3, stride=2, value=0.25, batch_size=4)
    question, pixels = given.question, given.question.pixels
    frames, height, width = question.size
    depth = 1  # a quarter of four frames
    fall, count = np.zeros(question.size), np.zeros(question.size)
    before = float(question.score(pixels))
    for t in range(0, frames, depth):
        for y in [*range(0, height - 3, 2), height - 3]:
            for x in [*range(0, width - 3, 2), width - 3]:
                hidden = pixels.clone()
                if clip:
                    hidden[:, :, t, y : y + 3, x : x + 3] = 0.25
                else:
                    hidden[:, :, y : y + 3, x : x + 3] = 0.25
                fall[t, y : y + 3, x : x + 3] += before - float(question.score(hidden))
                count[t, y : y + 3, x : x + 3] += 1
            if not clip:
                continue
    assert (count > 0).all()
    assert np.allclose(TABLE["occlusion"](given).numpy(), fall / count, atol=1e-5)


class Pooled(nn.Module):
    """A convolution, the mean of its maps, and a linear layer: Grad-CAM has a closed form."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.act = nn.ReLU(inplace=True)
        self.head = nn.Linear(4, 3)

    def forward(self, pixels):
        return self.head(self.act(self.conv(pixels)).mean((2, 3)))


def pooled_subject():
    torch.manual_seed(5)
    net = Pooled().eval().requires_grad_(False)
    return Subject(net, question_of(net, torch.rand(1, 3, 8, 12)), "act", Settings())


def test_grad_cam_of_a_pooled_network_is_its_class_activation_map():
    given = pooled_subject()
    maps = F.relu(
        F.conv2d(given.question.pixels, given.model.conv.weight, given.model.conv.bias, 2, 1)
    )
    weights = given.model.head.weight[1] / 24  # of 4x6 places
    wanted = (weights[:, None, None] * maps[0]).sum(0).relu()
    wanted = F.interpolate(wanted[None, None], (8, 12), mode="bilinear", align_corners=False)[0]
    assert float(wanted.max()) > 0
    assert torch.allclose(TABLE["grad-cam"](given), wanted, atol=1e-6)


def test_grad_cam_plus_weighs_by_its_formula():
    given = pooled_subject()
    maps = F.relu(
        F.conv2d(given.question.pixels, given.model.conv.weight, given.model.conv.bias, 2, 1)
    )[0]
    wanted = torch.zeros(4, 6)
    for channel in range(4):
        slope = float(given.model.head.weight[1, channel]) / 24
        below = 2 * slope**2 + float(maps[channel].sum()) * slope**3
        weight = 24 * (slope**2 / below) * max(slope, 0.0)
        wanted += weight * maps[channel]
    wanted = F.interpolate(wanted.relu()[None, None], (8, 12), mode="bilinear")[0]
    assert float(wanted.max()) > 0
    assert torch.allclose(TABLE["grad-cam++"](given), wanted, atol=1e-6)


@pytest.mark.parametrize("task", MODELS)
def test_every_method_that_a_model_can_have_gives_a_map_of_its_input(task):
    given, _, explained = subject(task, steps=2, samples=2, patch=32, stride=32)
    layer = default_layer(
        given.model, explained, find_layers(given.model, explained, given.question), given.question
    )
    for name in METHODS[:6]:
        made = Subject(given.model, given.question, layer, given.settings)
        found = TABLE[name](made)
        assert found.shape == given.question.size, name
        assert found.dtype == torch.float32
        assert bool(found.isfinite().all())
        assert float(found.abs().max()) > 0, name
        assert bool((found < 0).any()) <= (name in SIGNED), name
    with pytest.raises(UsageError, match="needs a network with attention"):
        TABLE["rollout"](given)


@pytest.mark.parametrize("task", MODELS)
def test_the_gradient_of_every_task_is_that_of_its_score(task):
    """Along the gradient the score rises by the square of its length."""
    given, _, _ = subject(task)
    pixels = given.question.pixels
    gradient = methods.input_gradient(given.question, pixels)
    length = float(gradient.norm())
    step = 0.02 / length * gradient / length
    with torch.no_grad():
        up, down = (float(given.question.score(pixels + sign * step)) for sign in (1, -1))
    assert (up - down) / 0.04 == pytest.approx(1, rel=0.1)
    assert torch.allclose(
        TABLE["gradient"](given), frames_of(gradient).abs().amax(0), atol=1e-6 * length
    )


@pytest.mark.parametrize("task", MODELS)
def test_occlusion_of_every_task_is_what_one_patch_costs(task):
    given, _, _ = subject(task, patch=16, stride=16, value=0.5)
    found = TABLE["occlusion"](given)
    frames = -(-given.question.size[0] // 4)
    hidden = given.question.pixels.clone()
    area = (..., slice(16, 32), slice(0, 16))
    hidden[(..., slice(0, frames), *area[1:]) if hidden.ndim == 5 else area] = 0.5
    with torch.no_grad():
        fall = float(given.question.score(given.question.pixels) - given.question.score(hidden))
    assert float(found[0, 20, 10]) == pytest.approx(fall, abs=1e-3)


@pytest.mark.parametrize("task", MODELS)
def test_the_gradients_of_a_layer_are_what_its_channels_change(task):
    given, _, explained = subject(task)
    layers = find_layers(given.model, explained, given.question)
    name = default_layer(given.model, explained, layers, given.question)
    (maps, slopes), *_ = activations(given.model, name, given.question)
    assert maps.shape == slopes.shape
    channel = int(slopes.sum((0, 2, 3)).abs().argmax())
    size, ends = 1e-2 * float(maps.std()), []

    def pushed(amount):
        def push(module, inputs, output):
            moved = output.clone()
            moved.select(1, channel).add_(amount)
            return moved

        return push

    for amount in (size, -size):
        handle = given.model.get_submodule(name).register_forward_hook(pushed(amount))
        with torch.no_grad():
            ends.append(float(given.question.score(given.question.pixels)))
        handle.remove()
    wanted = float(slopes[:, channel].sum())
    assert (ends[0] - ends[1]) / (2 * size) == pytest.approx(wanted, rel=0.05)


def test_grad_cam_of_the_built_in_classifier_is_its_class_activation_map():
    """Its last map is averaged and goes through one linear layer."""
    given, _, explained = subject("classify")
    layers = find_layers(given.model, explained, given.question)
    name = default_layer(given.model, explained, layers, given.question)
    ((maps, _),) = activations(given.model, name, given.question)
    index = loaded("classify").task.classes.names.index(given.question.label)
    weights = given.model.head.weight[index] / maps[0, 0].numel()
    wanted = (weights[:, None, None] * maps[0]).sum(0).relu()
    found = TABLE["grad-cam"](Subject(given.model, given.question, name, given.settings))
    assert torch.allclose(found, placed(wanted[None], given.question), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("task", ["detect", "instance"])
def test_a_box_is_the_nth_detection_and_its_score_that_of_the_second_stage(task):
    trained = loaded(task)
    item, _ = scene(task, 0)
    batch = stack([trained.task.source([item]).read(0)])[0]
    with torch.no_grad():
        (found,) = trained.task.predict(trained.model, batch)
    explained = explainable_of(trained.task, trained.model)
    question = explained.ask(batch, Target("box", number=2))
    assert question.label == trained.task.classes.names[found.labels[1] - 1]
    assert question.words == f"{question.label}, box 2 of {len(found)}"
    x1, y1, x2, y2 = found.boxes[1]
    rows, columns = np.nonzero(question.region)
    assert abs(rows.min() - y1) < 6
    assert abs(columns.max() - x2) < 6
    assert question.region.sum() <= (x2 - x1 + 1) * (y2 - y1 + 1)
    # The refined box is scored again: nearly what the region it came from got.
    assert float(question.probability(question.pixels)) > 0.5 * float(found.scores[1])
    with pytest.raises(DataError, match=f"box {len(found) + 1} of {len(found)} detections"):
        explained.ask(batch, Target("box", number=len(found) + 1))
    name = trained.task.classes.names[found.labels[-1] - 1]
    first = [trained.task.classes.names[n - 1] for n in found.labels].index(name) + 1
    assert explained.ask(batch, Target("class", name=name)).words.startswith(
        f"{name}, box {first} "
    )


def test_the_regions_of_r_cnn_are_scored_as_it_detects_them():
    torch.manual_seed(0)
    net = detector("rcnn", "mobilenet_v3_small", 3, min_size=32).eval().requires_grad_(False)
    image = torch.rand(3, 40, 60)
    boxes = torch.tensor([[5.0, 6.0, 30.0, 35.0], [10.0, 0.0, 59.0, 39.0]])
    logits, shares = net.score_regions([image, image], [boxes[:1], boxes[1:]])
    features, _ = net.describe(image, boxes)
    assert torch.allclose(shares, net._scores(features, fitted=False), atol=1e-6)
    assert torch.allclose(logits.softmax(1), shares)
    x1, y1, x2, y2 = net.window(image, boxes[0])
    assert (x1, y1, x2, y2) == (3, 4, 32, 37)  # 16 of 227 pixels more on each side, rounded
    net.fitted.fill_(1)
    net.svm_weight.normal_()
    logits, shares = net.score_regions([image], [boxes])
    features, _ = net.describe(image, boxes)
    assert torch.allclose(logits[:, 1:], features @ net.svm_weight.T, atol=1e-4)
    assert torch.allclose(shares[:, 1:], logits[:, 1:].sigmoid(), atol=1e-6)


def test_maps_are_found_in_every_layout():
    size = (1, 32, 64)
    for output, shape in (
        (torch.zeros(1, 7, 8, 16), (1, 7, 8, 16)),
        (torch.zeros(1, 8, 16, 7), (1, 7, 8, 16)),
        (torch.zeros(1, 8 * 16, 7), (1, 7, 8, 16)),
        (torch.zeros(1, 1 + 8 * 16, 7), (1, 7, 8, 16)),
        (torch.zeros(1, 7, 1, 1), None),
        (torch.zeros(1, 7), None),
        (torch.zeros(3, 7, 8, 16), None),
        (torch.zeros(1, 7, 8, 8), None),
    ):
        found = as_maps(output, size)
        assert (None if found is None else tuple(found.shape)) == shape
    clip = as_maps(torch.zeros(1, 7, 4, 8, 16), (8, 32, 64))
    assert clip.shape == (4, 7, 8, 16)
    assert as_maps(torch.zeros(8, 7, 8, 16), (8, 32, 64)).shape == (8, 7, 8, 16)


def test_tokens_keep_their_places():
    tokens = torch.arange(1.0, 9.0)[None, :, None]
    with_class = torch.cat((torch.zeros(1, 1, 1), tokens), 1)
    assert as_maps(with_class, (1, 32, 64)).tolist() == [[[[1, 2, 3, 4], [5, 6, 7, 8]]]]


def test_a_window_places_maps_where_the_network_saw_them():
    question = question_of(Smooth(), torch.rand(1, 3, 4, 8))
    maps = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    half = replace(question, window_xyxy=(4.0, 0.0, 8.0, 4.0))
    found = placed(maps, half)[0]
    assert not found[:, :4].any()
    assert torch.allclose(
        found[:, 4:], placed(maps, question_of(Smooth(), torch.rand(1, 3, 4, 4)))[0]
    )
    padded = replace(question, window_xyxy=(0.0, 0.0, 16.0, 8.0))
    larger = F.interpolate(maps[None], (8, 16), mode="bilinear", align_corners=False)[0]
    assert torch.allclose(placed(maps, padded), larger[:, :4, :8])  # the rest is padding


def test_frames_of_a_coarser_clip_are_interpolated():
    question = question_of(Smooth(clip=True), torch.rand(1, 3, 4, 2, 2))
    maps = torch.tensor([0.0, 4.0])[:, None, None].expand(2, 2, 2)
    assert placed(maps, question)[:, 0, 0].tolist() == [0.0, 1.0, 3.0, 4.0]


def test_layers_that_do_not_matter_are_told_apart():
    class Two(Smooth):
        def forward(self, pixels):
            self.first(pixels)  # its result is not used
            return self.head(torch.tanh(self.side(pixels)).flatten(2).mean(-1))

    net = Two()
    net.side = nn.Conv2d(3, 5, 3, padding=1)
    net.requires_grad_(False)
    question = question_of(net, torch.rand(1, 3, 8, 8))
    layers = find_layers(net, whole(net), question)
    assert {layer.name: layer.matters for layer in layers} == {"first": False, "side": True}
    assert default_layer(net, whole(net), layers, question) == "side"
