"""Batch norms with one value per channel: refused where all batches are so, else they rest."""

import copy
import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from networks import segmenter
from safetensors.torch import load_file
from torch import nn

from cvkit import catalog
from cvkit.data.synthetic.samples import write_classification, write_detection, write_videos
from cvkit.engine import norms
from cvkit.engine.norms import require_company, rest_where_alone
from cvkit.errors import UsageError

KINDS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


@pytest.mark.parametrize("dimensions", KINDS)
def test_one_value_is_normalised_by_the_running_statistics(dimensions):
    net = nn.Sequential(KINDS[dimensions](3))
    net[0].running_mean.fill_(2.0)
    net[0].running_var.fill_(4.0)
    rest_where_alone(net)
    twin = copy.deepcopy(net)
    single = torch.full((1, 3, *[1] * dimensions), 6.0)
    before = {name: value.clone() for name, value in twin.state_dict().items()}
    found = twin(single)
    torch.testing.assert_close(found, torch.full_like(single, 2.0), atol=1e-4, rtol=0)
    assert all(torch.equal(value, before[name]) for name, value in twin.state_dict().items())
    assert twin[0].training
    twin.eval()
    twin(single)
    assert not twin[0].training


def test_more_values_are_normalised_as_ever():
    torch.manual_seed(0)
    plain = nn.BatchNorm2d(3)
    watched = nn.Sequential(copy.deepcopy(plain))
    rest_where_alone(watched)
    for shape in ((2, 3, 1, 1), (1, 3, 2, 1), (4, 3, 5, 5)):
        maps = torch.randn(shape)
        assert torch.equal(watched(maps), plain(maps))
    assert torch.equal(watched[0].running_var, plain.running_var)


@pytest.mark.parametrize("arch", catalog.ARCHS["segment"])
def test_a_rest_of_one_image_trains_every_arch(arch):
    model = segmenter(arch, "mobilenet_v3_small", 3).train()
    image = torch.randn(1, 3, 16, 16)
    with pytest.raises(ValueError, match="more than 1 value"):
        model(image)
    rest_where_alone(model)
    sum(logits.square().mean() for logits in model(image).values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@pytest.fixture(scope="module")
def data(scenes, tmp_path_factory):
    """A dataset of each task, and one of a single image to train."""
    root = tmp_path_factory.mktemp("data")
    write_classification(root / "classify", {"train": 6, "val": 6}, seed=3, size_hw=(32, 32))
    write_videos(root / "video", {"train": 7, "val": 7}, seed=3, size_hw=(32, 32))
    write_detection(root / "detect", {"train": 2, "val": 1}, seed=3, size_hw=(64, 64))
    (root / "instance").symlink_to(root / "detect")
    shutil.copytree(scenes, root / "segment")
    shutil.copytree(scenes, root / "one")
    for kind in ("images", "masks"):
        for path in sorted((root / "one" / kind / "train").iterdir())[1:]:
            path.unlink()
    return root


BODY = ("--backbone", "mobilenet_v3_small")
OWN = {
    "classify": ("--arch", "mobilenet_v3_small", "--stem", "imagenet", "--image-size", 32),
    "segment": (*BODY, "--image-size", "32x32"),
    "video": ("--arch", "single-frame", *BODY, "--frames", 1, "--image-size", 32),
    "detect": ("--arch", "faster-rcnn-v2", *BODY, "--min-size", 32, "--channels", 8),
    "instance": ("--arch", "mask-rcnn-v2", *BODY, "--min-size", 32, "--channels", 8),
}
COMMON = ("--epochs", 1, "--workers", 0, "--quiet")


@pytest.mark.parametrize(
    ("task", "place", "more", "words"),
    [
        *((t, t, ("--batch-size", 1), ["--batch-size 1", "32x32"]) for t in list(OWN)[:3]),
        *(
            ("segment", "one", ("--arch", arch, *more), ["1 training"])
            for arch in ("pspnet", "deeplab", "deeplab-plus")
            for more in ((), ("--find-lr",))
        ),
    ],
)
def test_batches_of_one_are_refused_before_work_starts(
    cvkit, data, tmp_path, task, place, more, words
):
    common = ("--data", data / place, "--out", tmp_path / "runs", *COMMON)
    done = cvkit(task, "train", *common, *OWN[task], *more)
    assert done.code == 2, done.err
    assert len(done.err.strip().splitlines()) == 1
    for word in (*words, "batch norm"):
        assert word in done.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("task", "more"),
    [
        ("segment", ("--freeze-backbone",)),
        ("segment", ("--image-size", "64x64")),
        ("detect", ()),
        ("instance", ()),
    ],
)
def test_batches_of_one_train_where_norms_rest_or_see_more(cvkit, data, tmp_path, task, more):
    common = ("--data", data / task, "--out", tmp_path, *COMMON, "--batch-size", 1)
    done = cvkit(task, "train", *common, *OWN[task], *more)
    assert done.code == 0, done.err
    (run,) = tmp_path.iterdir()
    (line,) = (run / "metrics.jsonl").read_text().splitlines()
    found = json.loads(line)
    assert found["step"] >= 1 and 0 < found["loss"] < 50
    tensors = load_file(run / "last.safetensors")
    trained = [n for n, v in tensors.items() if "running_mean" in n and v.abs().max() > 0]
    assert trained, "no batch norm has seen the images"


def test_few_images_in_many_batches_are_told_with_their_numbers(monkeypatch):
    """Whatever the plan of the batches is: their size is that of the first one."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(4))
    task = SimpleNamespace(input_shape=(3, 16, 24))
    settings = SimpleNamespace(batch_size=4, accumulate=6)
    monkeypatch.setattr(norms, "batch_plan", lambda *_: [[(0, 0)]] * 6)
    with pytest.raises(UsageError) as refused:
        require_company(task, model, range(7), settings, 2)
    for word in ("7 training images", "--accumulate 6", "--devices 2", "24x16", "batch norm 2 "):
        assert word in str(refused.value)
    require_company(task, model[:2], range(7), settings, 2)
    require_company(SimpleNamespace(input_shape=None), model, range(7), settings, 2)
    monkeypatch.setattr(norms, "batch_plan", lambda *_: [[(0, 0), (1, 0)]])
    require_company(task, model, range(7), settings, 2)
    assert model[2].num_batches_tracked == 0
