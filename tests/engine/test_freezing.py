"""Layers that rest: which, until when, and what the optimizer knows of them."""

import json
import signal

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from cvkit.cli import run
from cvkit.data.synthetic.samples import write_classification
from cvkit.engine.freezing import Freezing, rest_statistics
from cvkit.errors import UsageError
from cvkit.tasks.classify.task import Classify


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.stem2 = nn.Conv2d(4, 4, 3)
        self.head = nn.Linear(4, 2)


def resting(net):
    return {name for name, p in net.named_parameters() if not p.requires_grad}


def test_a_name_covers_what_is_inside_it_and_nothing_that_begins_alike():
    net = Net()
    Freezing(net, "stem, head.bias")
    assert resting(net) == {
        "stem.0.weight",
        "stem.0.bias",
        "stem.1.weight",
        "stem.1.bias",
        "head.bias",
    }
    with pytest.raises(UsageError, match="stm"):
        Freezing(Net(), "stm")
    with pytest.raises(UsageError, match="--freeze"):
        Freezing(Net(), "", until=3)


def test_layers_rest_until_their_epoch():
    net = Net()
    freezing = Freezing(net, "stem", until=3)
    ids = {id(p) for p in net.stem.parameters()}
    for epoch, asleep in ((0, True), (1, True), (2, False), (3, False)):
        freezing.apply(epoch)
        assert bool(resting(net)) is asleep
    # Epochs of 5 steps: step 10 is the last one of the second epoch.
    assert freezing.untouched(0, 5) == freezing.untouched(10, 5) == ids
    assert freezing.untouched(11, 5) == set()


def test_statistics_of_resting_norms_rest_too():
    net = Net().train()
    Freezing(net, "stem")
    rest_statistics(net)
    assert not net.stem[1].training
    other = Net().eval()
    rest_statistics(other)
    assert not other.stem[1].training


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    write_classification(folder, {"train": 24, "val": 6}, seed=3, size_hw=(32, 32))
    return folder


def command(shapes, out, *more):
    return (
        *("classify", "train", "--data", shapes, "--out", out, "--quiet", "--workers", 0),
        *("--arch", "mobilenet_v3_small", "--batch-size", 6, "--epochs", 3, "--warmup-epochs", 0),
        *("--keep-states", *more),
    )


UNFREEZE = ("--freeze", "backbone.features.0,backbone.features.1", "--unfreeze-at", 3)
MIXED = (
    "--mixup",
    0.4,
    "--cutmix",
    1.0,
    "--erasing",
    0.3,
    "--augment",
    "randaugment",
    "--dropout",
    0.2,
    "--ema",
    0.9,
)


@pytest.fixture(scope="module")
def whole(shapes, tmp_path_factory):
    """Return the run with some flags that nothing has stopped; made once, not to be changed."""
    made = {}

    def get(flags):
        if flags not in made:
            out = tmp_path_factory.mktemp("whole")
            assert run([str(each) for each in command(shapes, out, *flags)]) == 0
            (made[flags],) = out.iterdir()
        return made[flags]

    return get


def test_unfrozen_layers_change_from_their_epoch_on(cvkit, shapes, tmp_path):
    saves = {}
    for until in (0, 3):
        flags = ("--freeze", "backbone.features.0", "--unfreeze-at", until)
        done = cvkit(*command(shapes, tmp_path, *flags, "--json"))
        assert done.code == 0, done.err
        last = sorted((tmp_path / done.json["run"] / "ckpt").glob("step-*"))[-1]
        saves[until] = load_file(last / "model.safetensors")
    key = "backbone.features.0.0.weight"
    torch.manual_seed(0)
    assert not torch.equal(saves[0][key], saves[3][key])
    assert not torch.equal(saves[0]["head.weight"], saves[3]["head.weight"])


@pytest.mark.parametrize(
    ("flags", "call"),
    [(UNFREEZE, 6), (UNFREEZE, 8), (UNFREEZE, 10), (MIXED, 3), (MIXED, 7)],
)
def test_a_stopped_run_resumes_bit_exactly(
    cvkit, shapes, whole, tmp_path, monkeypatch, flags, call
):
    """4 steps an epoch: 8 is where the layers wake up, 10 after it; mixing is by the seed."""
    other = whole(flags)
    real, calls = Classify.loss, [0]

    def loss(self, *rest):
        calls[0] += 1
        if calls[0] == call:
            signal.raise_signal(signal.SIGTERM)
        return real(self, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Classify, "loss", loss)
        stopped = cvkit(*command(shapes, tmp_path, *flags), "--workers", call % 2)
    assert stopped.code == 128 + signal.SIGTERM
    folder = tmp_path / "classify-mobilenet_v3_small-001"
    resumed = cvkit("classify", "train", "--resume", folder, "--quiet", "--workers", 0)
    assert resumed.code == 0, resumed.err
    assert (folder / "metrics.jsonl").read_text() == (other / "metrics.jsonl").read_text()
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 3
    for name in ("model", "optim", *(["ema"] if flags is MIXED else [])):
        ours, theirs = (
            load_file(place / "ckpt" / "step-0000000012" / f"{name}.safetensors")
            for place in (folder, other)
        )
        assert ours.keys() == theirs.keys()
        assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []


def test_mixing_changes_the_run(cvkit, shapes, tmp_path):
    losses = []
    for more in ((), ("--mixup", 0.4)):
        done = cvkit(*command(shapes, tmp_path, "--epochs", 1, *more, "--json"))
        with open(f"{done.json['run']}/metrics.jsonl") as stream:
            losses.append(json.loads(stream.readline())["loss"])
    assert losses[0] != losses[1]


@pytest.mark.parametrize("more, words", [((), "to train ("), (("--unfreeze-at", 2), "epoch 2")])
def test_a_network_without_a_layer_to_train_is_refused(cvkit, shapes, tmp_path, more, words):
    flags = ("--freeze", "backbone,head", *more)
    refused = cvkit(*command(shapes, tmp_path, *flags))
    assert refused.code == 2 and "nothing is left to train" in refused.err and words in refused.err
    assert not list(tmp_path.iterdir())
