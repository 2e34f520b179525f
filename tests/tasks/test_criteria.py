"""What a task's flags make of its loss and network, against torch and values worked out by hand."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cvkit import catalog
from cvkit.console import Reporter
from cvkit.engine.loader import load
from cvkit.ops.losses import LOSSES, combined_loss
from cvkit.options.tree import OPTIONS
from cvkit.structures import IGNORE, Batch, Geometry, Sample, SegMap
from cvkit.tasks.class_weights import class_weights
from cvkit.tasks.video.task import _results

CLASSES = {"classify": 6, "segment": 6, "video": 7}
TARGETED = [task for task in catalog.TASKS if "class_weights" in vars(OPTIONS[task]["train"])]


@pytest.fixture
def made(data_of, smallest):
    """Return a task as flags make it."""

    def get(task, **own):
        plain = {"data": str(data_of(task))}
        if task in TARGETED:
            plain["class_weights"] = "none"
        options = OPTIONS[task]["train"](**(smallest[task] | plain | own))
        return catalog.resolve(catalog.TASKS[task]).for_training(options, Reporter(quiet=True))

    return get


def question(task):
    """Random logits, and what they are compared with: labels, and what the criterion takes."""
    torch.manual_seed(0)
    classes = CLASSES[task]
    if task == "segment":
        labels = torch.randint(0, classes, (2, 5, 5))
        labels[0, 0] = IGNORE
        return torch.randn(2, classes, 5, 5), labels, labels
    labels = torch.randint(0, classes, (9,))
    return torch.randn(9, classes), labels, F.one_hot(labels, classes).float()


def mean(logits, labels, weight=None, smoothing=0.0):
    """Torch's sum over the number of samples: class weights do not change what it is divided by."""
    own = {"weight": weight, "label_smoothing": smoothing, "ignore_index": IGNORE}
    return F.cross_entropy(logits, labels, reduction="sum", **own) / (labels != IGNORE).sum()


@pytest.mark.parametrize("task", TARGETED)
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("weighted", [False, True])
def test_weights_and_smoothing_reach_the_loss(made, task, smoothing, weighted):
    assert set(TARGETED) == set(CLASSES)
    numbers = [1 + index % 4 for index in range(CLASSES[task])]
    own = {"loss": "ce"} if task != "video" else {}
    if weighted:
        own["class_weights"] = ",".join(map(str, numbers))
    problem = made(task, label_smoothing=smoothing, **own)
    logits, labels, target = question(task)
    weight = problem.training.weights
    assert (weight is not None) == weighted
    if weighted:
        torch.testing.assert_close(weight / weight[0], torch.tensor(numbers).float())
    wanted = mean(logits, labels, weight, smoothing)
    found = problem.criterion({"out": logits}, target)
    torch.testing.assert_close(found["out"], wanted)
    plain = problem.unregularised().criterion({"out": logits}, target)
    torch.testing.assert_close(plain["out"], mean(logits, labels, weight))


@pytest.mark.parametrize("text", ["balanced", "sqrt"])
def test_rare_classes_weigh_more(text):
    counts = torch.tensor([10, 20, 70])
    rare = class_weights(text, counts)
    power = {"balanced": 1.0, "sqrt": 0.5}[text]
    torch.testing.assert_close(rare[0] / rare[2], torch.tensor(7.0) ** power)


@pytest.mark.parametrize(
    ("task", "own", "usual"),
    [
        ("segment", {"arch": "fcn"}, 0.5),
        ("segment", {"arch": "deeplab"}, 0.5),
        ("segment", {"arch": "pspnet"}, 0.4),
        ("classify", {"arch": "googlenet", "image_size": "64", "loss": "ce"}, 0.3),
    ],
)
def test_auxiliary_losses_have_their_weight(made, task, own, usual):
    logits, labels, target = question(task)
    for given, weight in (({}, usual), ({"aux_weight": 0.25}, 0.25)):
        problem = made(task, **({"loss": "ce"} | own | given))
        outputs = {"out": logits, "aux": 2 * logits}
        found = problem.criterion(outputs, target)
        torch.testing.assert_close(found["out"], mean(logits, labels))
        torch.testing.assert_close(found["aux"], weight * mean(2 * logits, labels))


@pytest.mark.parametrize(
    ("text", "parts"),
    [*((name, {name: 1.0}) for name in LOSSES), ("ce+0.5*dice", {"ce": 1.0, "dice": 0.5})],
)
def test_segmentation_minimises_the_loss_that_was_asked_for(made, text, parts):
    logits, _, target = question("segment")
    found = made("segment", loss=text).criterion({"out": logits}, target)["out"]
    torch.testing.assert_close(found, combined_loss(parts, logits, target))


def first_batch(problem, count=4):
    data = problem.dataset("train", training=True)
    with load(data, [[(index, 10 + index) for index in range(count)]], 0) as loaded:
        return next(loaded)[0]


@pytest.mark.parametrize("task", ["classify", "video"])
def test_mixed_images_have_mixed_targets(made, task):
    own = {"loss": "ce"} if task == "classify" else {}
    plain, mixed = made(task, **own), made(task, mixup=1.0, **own)
    batch = first_batch(plain)
    (images, hard), (blends, soft) = (t.training_input(batch) for t in (plain, mixed))
    assert torch.equal(hard, F.one_hot(batch.labels, CLASSES[task]).float())
    shares = []
    for row in range(4):
        beside = (row + 1) % 4
        change = images[beside] - images[row]
        share = ((blends[row] - images[row]) * change).sum() / change.square().sum()
        wanted = (1 - share) * hard[row] + share * hard[beside]
        torch.testing.assert_close(soft[row], wanted, atol=1e-4, rtol=0)
        torch.testing.assert_close(blends[row], images[row] + share * change, atol=1e-4, rtol=0)
        shares.append(share.item())
    assert len({round(share, 4) for share in shares}) == 4 and 0 < min(shares) < max(shares) < 1


@pytest.mark.parametrize("task", ["classify", "segment", "video"])
def test_inputs_are_normalised_channel_by_channel_in_rgb(made, task):
    problem = made(task, **({"loss": "ce"} if task == "classify" else {}))
    batch = first_batch(problem)
    images, _ = problem.training_input(batch)
    mean_, std = problem.preprocessing.mean, problem.preprocessing.std
    assert len(set(mean_)) == len(set(std)) == 3
    for channel in range(3):
        wanted = (batch.images[:, channel].float() / 255 - mean_[channel]) / std[channel]
        torch.testing.assert_close(images[:, channel], wanted)


def test_validation_compares_with_the_pixels_in_the_middle_of_those_of_the_network(made):
    """Each of 2x2 pixels stands for 3x3 or 5x2 of the truth."""
    problem = made("segment", loss="ce", label_smoothing=0.3)
    square, high = np.full((6, 6), 5, np.uint8), np.full((10, 4), 5, np.uint8)
    square[1, 1], square[1, 4], square[4, 1], square[4, 4] = 0, 1, 2, IGNORE
    high[2, 1], high[2, 3], high[7, 1], high[7, 3] = 3, 4, IGNORE, 0
    truths = [square, high]
    samples = [
        Sample(path="", image=None, geometry=Geometry(t.shape, (2, 2)), truth=SegMap(t))
        for t in truths
    ]
    torch.manual_seed(0)
    logits = torch.randn(2, 6, 2, 2)
    model = SimpleNamespace(logits=lambda images: logits)
    batch = Batch(torch.zeros(2, 3, 2, 2, dtype=torch.uint8), None, tuple(samples))
    results, loss = problem.validate(model, batch)
    seen = torch.tensor([[[0, 1], [2, IGNORE]], [[3, 4], [IGNORE, 0]]])
    torch.testing.assert_close(loss, mean(logits, seen))
    assert [result.labels.shape for result in results] == [(6, 6), (10, 4)]


def test_images_are_validated_without_what_only_training_does(made):
    problem = made("classify", loss="ce", label_smoothing=0.3, mixup=1.0, cutmix=1.0)
    torch.manual_seed(0)
    logits, labels = torch.randn(3, 6), torch.tensor([5, 0, 2])
    model = SimpleNamespace(
        embed=lambda images: logits,
        probabilities=lambda found: found.softmax(1),
        head=nn.Identity(),
    )
    batch = Batch(torch.zeros(3, 3, 8, 8, dtype=torch.uint8), None, (None,) * 3, labels=labels)
    results, loss = problem.validate(model, batch)
    torch.testing.assert_close(loss, F.cross_entropy(logits, labels))
    for result, own in zip(results, logits.softmax(1), strict=True):
        np.testing.assert_allclose(result.scores, own, rtol=1e-5)


def test_every_view_of_a_video_is_validated_with_the_class_of_its_video(made):
    problem = made("video", label_smoothing=0.3, mixup=1.0)
    preprocessing = replace(problem.preprocessing, mean=(0.0,) * 3, std=(1.0,) * 3)
    problem = replace(problem, preprocessing=preprocessing)
    # Each view is of one value, by which it is recognised; 12 go through the network in parts.
    views = torch.arange(12, dtype=torch.uint8).view(2, 1, 6, 1, 1, 1).expand(2, 3, 6, 4, 8, 8)
    torch.manual_seed(0)
    logits = torch.randn(12, 7)

    def model(clips):
        assert len(clips) <= 8 and clips.shape[1:] == (3, 4, 8, 8)
        return {"out": logits[(255 * clips[:, 0, 0, 0, 0]).round().long()]}

    batch = Batch(views, None, (None, None), labels=torch.tensor([1, 4]))
    results, loss = problem.validate(model, batch)
    torch.testing.assert_close(loss, F.cross_entropy(logits, torch.tensor([1] * 6 + [4] * 6)))
    for found in (results, problem.predict(model, batch)):
        for result, own in zip(found, logits.softmax(1).split(6), strict=True):
            np.testing.assert_allclose(result.clips, own, rtol=1e-5)
            np.testing.assert_allclose(result.scores, own.mean(0), rtol=1e-5)


TERMS = {
    "loss_classifier": 9.0,
    "loss_box_reg": 0.75,
    "loss_objectness": 8.0,
    "loss_rpn_box_reg": 0.125,
    "loss_mask": 0.5,
}


@pytest.mark.parametrize("task", catalog.TASKS)
def test_equal_scores_lose_the_logarithm_of_the_number_of_classes(made, task):
    problem = made(task, **({"loss": "ce"} if task in ("classify", "segment") else {}))
    batch, count = first_batch(problem), len(problem.classes)
    if task in CLASSES:
        assert count == CLASSES[task]
        shape = (4, count, 32, 32) if task == "segment" else (4, count)
        names = ("out", "aux") if task == "segment" else ("out",)
        model, wanted = lambda _: {n: torch.randn(shape) for n in names}, math.log(count)
        wanted *= 1.5 if task == "segment" else 1
    else:
        model = lambda *_: {name: torch.tensor(value) for name, value in TERMS.items()}  # noqa: E731
        # The background is a class too; the parts of boxes and masks are what they are.
        wanted = math.log(count + 1) + math.log(2) + 0.75 + 0.125 + 0.5
    assert float(problem.uniform_loss(model, batch)) == pytest.approx(wanted)


@pytest.mark.parametrize("task", [task for task in catalog.TASKS if task not in CLASSES])
@pytest.mark.parametrize("verb", ["eval", "predict"])
def test_a_trained_detector_keeps_its_limits_but_for_those_that_are_asked_for(made, task, verb):
    problem = made(task)
    stored = {"min_score": 0.125, "nms": 0.375, "max_detections": 7, "roi_samples": 3}
    network = replace(problem.network, **stored)
    options = OPTIONS[task]["train"](data="d")
    header = replace(problem, network=network).header(options)
    for flags, changed in (
        ({}, {}),
        ({"threshold": 0.25}, {"min_score": 0.25}),
        ({"nms": 0.75}, {"nms": 0.75}),
        ({"max_detections": 9}, {"max_detections": 9}),
    ):
        used = OPTIONS[task][verb](**flags)
        found = catalog.resolve(catalog.TASKS[task]).for_model(used, header)
        assert found.network == replace(network, **changed)


@pytest.mark.parametrize("task", [task for task in catalog.TASKS if task not in CLASSES])
def test_a_detector_whose_scores_are_equal_loses_what_equal_scores_lose(made, task):
    problem = made(task)
    torch.manual_seed(0)
    model, batch = problem.build().train(), first_batch(problem, 2)
    silent = 0
    for name, layer in model.named_modules():
        if name.endswith(("cls_score", "cls_logits")):
            silent += 1
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
    assert silent == 2
    terms = problem.loss(model, batch)
    assert terms["loss_classifier"].item() == pytest.approx(math.log(len(problem.classes) + 1))
    assert terms["loss_objectness"].item() == pytest.approx(math.log(2))


def test_scores_of_a_video_are_the_mean_of_the_probabilities_of_its_views():
    """One view is sure, two lean to the other class: the mean of logits would be another one."""
    logits = torch.tensor([[[4.0, 0.0], [0.0, 0.5], [0.0, 0.5]], [[0.0, 1.0]] * 3])
    found = _results(logits)
    for result, views in zip(found, logits.softmax(-1), strict=True):
        torch.testing.assert_close(torch.from_numpy(result.scores), views.mean(0))
        torch.testing.assert_close(torch.from_numpy(result.clips), views)
    assert [result.label for result in found] == [0, 1]


@pytest.mark.parametrize(
    ("arch", "small", "large"),
    [
        ("resnet18", {"conv1": (1, 1)}, {"conv1": (2, 2)}),
        ("densenet121", {"features.conv0": (1, 1)}, {"features.conv0": (2, 2)}),
        ("mobilenet_v3_small", {"features.0.0": (1, 1)}, {"features.0.0": (2, 2)}),
        ("convnext_tiny", {"features.0.0": (2, 2)}, {"features.0.0": (4, 4)}),
    ],
)
def test_the_first_layers_are_those_that_were_asked_for(made, arch, small, large):
    for stem, wanted in (("small", small), ("imagenet", large), ("auto", small)):
        problem = made("classify", arch=arch, stem=stem, loss="ce")
        with torch.device("meta"):
            body = problem.build().backbone
        assert {name: body.get_submodule(name).stride for name in wanted} == wanted, stem


@pytest.mark.parametrize(
    ("votes", "wanted"), [("uniform", [2 / 3, 1 / 3]), ("distance", [0.5] * 2)]
)
def test_votes_count_as_they_were_asked_to(made, votes, wanted):
    model = made("classify", arch="knn", votes=votes, neighbors=3, loss="ce").build()
    assert isinstance(model, nn.Module) and model.weighted == (votes == "distance")
    model.bank[:] = 9.0
    for index, (place, label) in enumerate(((4.0, 0), (-4.0, 0), (2.0, 1))):
        model.bank[index] = 0.0
        model.bank[index, 0], model.bank_labels[index] = place, label
    shares = model.probabilities(torch.zeros(1, model.bank.shape[1]))[0, :2]
    torch.testing.assert_close(shares, torch.tensor(wanted))
