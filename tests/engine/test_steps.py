"""A step is the same however its samples are divided into batches."""

import pytest
import torch
from safetensors.torch import load_file

from cvkit import catalog
from cvkit.cli import run
from cvkit.data.synthetic.samples import write_classification
from cvkit.errors import UsageError
from cvkit.ops.losses import LOSSES, class_loss
from cvkit.options.tree import OPTIONS
from cvkit.tasks.class_weights import class_weights


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """11 images to train, some classes with more of them than others."""
    folder = tmp_path_factory.mktemp("uneven")
    write_classification(folder, {"train": 24, "val": 6}, seed=3, size_hw=(32, 32))
    for number, path in enumerate(sorted((folder / "train").rglob("*.png"))):
        if number % 24 in (1, 2, 3, 5, 6, 7, 9, 10, 11, 14, 15, 18, 19):
            path.unlink()
    return folder


def first_step(shapes, out, *more):
    """The weights after one epoch of plain gradient descent."""
    flags = ("--data", shapes, "--out", out, "--arch", "lenet", "--optimizer", "sgd", "--lr", 0.05)
    flags += ("--epochs", 1, "--warmup-epochs", 0, "--momentum", 0, "--clip-grad", 0)
    flags += ("--augment", "none", "--workers", 0, "--quiet", "--schedule", "constant")
    assert run([str(part) for part in ("classify", "train", *flags, *more)]) == 0
    return load_file(out / "classify-lenet-001" / "last.safetensors")


@pytest.mark.parametrize("loss", ["ce", "hinge"])
@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_accumulated_batches_of_any_size_make_the_step_of_one_batch(
    shapes, tmp_path, weights, loss
):
    common = ("--class-weights", weights, "--loss", loss)
    whole = first_step(shapes, tmp_path / "whole", *common, "--batch-size", 11)
    for size, accumulate in ((1, 11), (3, 4), (4, 3)):
        parts = ("--batch-size", size, "--accumulate", accumulate)
        found = first_step(shapes, tmp_path / f"{size}", *common, *parts)
        for name, value in whole.items():
            torch.testing.assert_close(found[name], value, atol=1e-6, rtol=1e-4, msg=name)


def test_class_weights_change_the_step_of_batches_of_one(shapes, tmp_path):
    parts = ("--batch-size", 1, "--accumulate", 11)
    plain = first_step(shapes, tmp_path / "plain", *parts)
    weighted = first_step(shapes, tmp_path / "w", *parts, "--class-weights", "9,1,1,1,1,1")
    assert (plain["head.weight"] - weighted["head.weight"]).abs().max() > 1e-4


@pytest.mark.parametrize("text", ["balanced", "sqrt", "3,1,2"])
def test_class_weights_have_a_mean_of_one_over_the_training_set(text):
    counts = torch.tensor([50, 40, 10])
    weights = class_weights(text, counts)
    assert (weights * counts).sum().item() / 100 == pytest.approx(1)
    ratio = {"balanced": 5.0, "sqrt": 5**0.5, "3,1,2": 1.5}[text]
    found = weights[2] / weights[0] if text != "3,1,2" else weights[0] / weights[2]
    assert found.item() == pytest.approx(ratio)


def test_weights_of_zero_for_all_that_occurs_are_refused():
    with pytest.raises(UsageError, match="weight 0"):
        class_weights("0,0,1", torch.tensor([5, 5, 0]))


@pytest.mark.parametrize("kind", ["ce", "hinge"])
def test_the_loss_of_a_batch_is_the_mean_of_its_images(kind):
    torch.manual_seed(0)
    logits, weight = torch.randn(6, 3), torch.tensor([0.2, 1.0, 3.0])
    targets = torch.rand(6, 3).softmax(1)
    each = [class_loss(kind, logits[i, None], targets[i, None], weight) for i in range(6)]
    whole = class_loss(kind, logits, targets, weight)
    torch.testing.assert_close(torch.stack(each).mean(), whole)


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "dice"])  # dice: of classes
def test_the_loss_of_an_image_of_one_class_has_the_weight_of_the_class(name):
    torch.manual_seed(0)
    logits, truth = torch.randn(1, 3, 4, 4), torch.full((1, 4, 4), 2)
    weight = torch.tensor([0.2, 1.0, 3.0])
    plain, weighted = LOSSES[name](logits, truth), LOSSES[name](logits, truth, weight)
    torch.testing.assert_close(weighted, 3 * plain)


@pytest.mark.parametrize(
    "task", [t for t in catalog.TASKS if "class_weights" in vars(OPTIONS[t]["train"])]
)
def test_every_task_divides_its_class_weights_by_their_mean(data_of, smallest, task):
    from cvkit.console import Reporter

    made = catalog.resolve(catalog.TASKS[task])
    count = {"segment": 6, "classify": 6, "video": 7}[task]
    means = []
    for scale in (1, 10):
        text = ",".join(str(scale * (1 + number)) for number in range(count))
        options = OPTIONS[task]["train"](
            **smallest[task], data=str(data_of(task)), class_weights=text
        )
        means.append(made.for_training(options, Reporter(quiet=True)).training.weights)
    torch.testing.assert_close(means[0], means[1])
    assert means[0].min() < 1 < means[0].max()


@pytest.mark.parametrize(
    ("task", "more", "least"),
    [
        ("classify", {}, 1),
        ("classify", {"arch": "resnet18", "stem": "imagenet"}, 2),
        ("classify", {"arch": "resnet18", "stem": "small"}, 1),
        ("segment", {}, 1),
        ("segment", {"arch": "unet"}, 2),
        ("segment", {"arch": "unet", "image_size": "64x64"}, 1),
        *(("segment", {"arch": arch}, 2) for arch in ("deeplab", "deeplab-plus", "pspnet")),
        ("detect", {}, 2),
        ("instance", {}, 2),
        ("detect", {"min_size": "64"}, 1),
        ("instance", {"min_size": "64"}, 1),
        ("detect", {"backbone": "vgg11"}, 1),
        ("video", {}, 2),
    ],
)
def test_a_task_knows_its_smallest_batch(data_of, smallest, task, more, least):
    from cvkit.console import Reporter

    options = OPTIONS[task]["train"](
        **(smallest[task] | {"loss": "ce"} | more) if task == "classify" else smallest[task] | more,
        data=str(data_of(task)),
        batch_size=2,
    )
    made = catalog.resolve(catalog.TASKS[task]).for_training(options, Reporter(quiet=True))
    assert made.min_batch == least
    model = made.build().train()
    data = made.dataset("train", training=True)
    from cvkit.engine.loader import load

    def step(count):
        with load(data, [[(i, 0) for i in range(count)]], 0) as loaded:
            made.loss(model, next(loaded)[0])

    step(least)
    if least == 2:
        with pytest.raises(ValueError, match="more than 1 value"):
            step(1)


def test_images_that_a_network_cannot_take_are_refused(data_of, cvkit, tmp_path):
    flags = ("--backbone", "convnext_tiny", "--image-size", "16x16", "--workers", 0)
    done = cvkit("segment", "train", "--data", data_of("segment"), "--out", tmp_path / "o", *flags)
    assert done.code == 2
    assert "cannot take inputs of 16x16" in done.err and "--image-size" in done.err
    assert not (tmp_path / "o").exists()
