"""Classifiers: torchvision's sizes, the contract of every network, the classical baselines."""

import numpy as np
import pytest
import torch
import torchvision
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import LinearSVC
from torch import nn
from torch.nn import functional as F

from cvkit import catalog
from cvkit.backbone_table import BackboneEntry
from cvkit.engine.optim import penalties
from cvkit.models.backbones import Backbone, network_stages
from cvkit.models.classify import (
    Classifier,
    LeNet,
    LinearProbe,
    NearestNeighbours,
    network_parts,
    set_dropout,
    set_stochastic_depth,
    small_parts,
)
from cvkit.models.listing import complexity
from cvkit.ops.losses import class_loss

NAMES = catalog.backbones_of("classify")
DEEP = ("convnext", "efficientnet", "maxvit", "swin")
"""Families whose blocks are skipped at random."""
HEADS = {"googlenet": {"aux1": "aux1", "aux2": "aux2"}, "inception_v3": {"aux": "AuxLogits"}}
"""Where each auxiliary head lies."""


@pytest.mark.parametrize("name", NAMES)
def test_sizes_are_torchvisions(name):
    weights = torchvision.models.get_model_weights(catalog.BACKBONES[name].builder).IMAGENET1K_V1
    side = weights.transforms().crop_size[0]
    with torch.device("meta"):
        aux = name == "inception_v3"  # its published count has the auxiliary head
        parts = network_parts(name, 1000, small=False, image_size=side, aux=aux)
        parameters, gmacs = complexity(Classifier(*parts), (side, side))
    assert parameters == weights.meta["num_params"]
    assert round(gmacs, 3) == weights.meta["_ops"]


def contract_cases():
    for name in NAMES:
        small = catalog.BACKBONES[name].small_stem
        if small != "vit":  # made for one size
            yield name, False, 97 if name == "inception_v3" else 65
        if small:
            yield name, True, 32


@pytest.mark.usefixtures("quick_weights")
@pytest.mark.parametrize(("name", "small", "side"), contract_cases())
def test_every_network_keeps_the_contract(name, small, side):
    torch.manual_seed(0)

    def build():
        parts = network_parts(name, 3, small=small, image_size=side, aux=name == "googlenet")
        model = Classifier(*parts)
        set_stochastic_depth(model, 0.0)
        return model

    model = build()
    set_dropout(model, 0.0)
    images = torch.randn(2, 3, side, side)
    outputs = model.train()(images)
    assert set(outputs) == ({"out", "aux1", "aux2"} if name == "googlenet" else {"out"})
    assert all(logits.shape == (2, 3) for logits in outputs.values())
    sum(F.cross_entropy(logits, torch.tensor([0, 2])) for logits in outputs.values()).backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None]
    assert not silent
    model.zero_grad(set_to_none=True)
    with torch.no_grad():
        first = model.eval()(images)["out"]
        features = model.embed(images)
        assert features.shape == (2, model.head.in_features)
        torch.testing.assert_close(model.head(features), first)
        with torch.device("meta"):
            again = build()
        again.load_state_dict(model.state_dict(), assign=True)
        assert torch.equal(first, again.eval()(images)["out"])


@pytest.mark.parametrize("name", [n for n in NAMES if catalog.BACKBONES[n].small_stem])
def test_a_small_stem_keeps_more_of_a_small_image(name):
    """The side of the first map of a 32-pixel image, and of the last one where there is one."""
    sides = {}
    for small in (False, True):
        with torch.device("meta"):
            body, _ = network_parts(name, 3, small=small, image_size=32, aux=False)
            images = torch.empty(1, 3, 32, 32)
            first = next(layer for layer in body.modules() if isinstance(layer, nn.Conv2d))
            sides[small] = first(images).shape[-1]
    assert sides[True] >= 2 * sides[False]


def test_resnet_on_small_images_is_the_papers_cifar_stem():
    body, _ = network_parts("resnet18", 10, small=True, image_size=32, aux=False)
    assert body.conv1.kernel_size == (3, 3)
    assert body.conv1.stride == (1, 1)
    assert isinstance(body.maxpool, nn.Identity)
    maps = body.layer4(body.layer3(body.layer2(body.layer1(body.conv1(torch.zeros(1, 3, 32, 32))))))
    assert maps.shape[-2:] == (4, 4)


def test_lenet_has_the_parameters_of_1998():
    grey = LeNet(32, in_channels=1)
    count = sum(p.numel() for p in grey.parameters()) + 84 * 10 + 10
    assert count == 61_706
    with pytest.raises(ValueError, match="16 pixels"):
        LeNet(15)


@pytest.mark.usefixtures("quick_weights")
def test_dropout_and_stochastic_depth_reach_their_layers():
    body, _ = network_parts("convnext_tiny", 3, small=False, image_size=64, aux=False)
    assert set_stochastic_depth(body, 0.4)
    rates = [m.p for m in body.modules() if isinstance(m, torchvision.ops.StochasticDepth)]
    assert max(rates) == pytest.approx(0.4)
    assert rates == sorted(rates)
    body, _ = network_parts("vgg11", 3, small=False, image_size=64, aux=False)
    assert set_dropout(body, 0.7)
    assert {m.p for m in body.modules() if isinstance(m, nn.Dropout)} == {0.7}
    plain, _ = network_parts("resnet18", 3, small=False, image_size=64, aux=False)
    assert not set_dropout(plain, 0.5)
    assert not set_stochastic_depth(plain, 0.5)


@pytest.mark.parametrize("name", NAMES)
def test_blocks_are_skipped_the_more_often_the_deeper_they_lie(name):
    """Deep Networks with Stochastic Depth, 2016: the rate rises linearly, from 0 on."""
    with torch.device("meta"):
        body, _ = network_parts(name, 3, small=False, image_size=224, aux=False)
    layers = [m for m in body.modules() if isinstance(m, torchvision.ops.StochasticDepth)]
    assert set_stochastic_depth(body, 0.4) == bool(layers)
    blocks = sorted({round(layer.p, 9) for layer in layers})
    assert [round(layer.p, 9) for layer in layers] == sorted(round(layer.p, 9) for layer in layers)
    assert bool(layers) == name.startswith(DEEP)
    if layers:
        assert len(blocks) > 10
        assert blocks == pytest.approx(np.linspace(0, 0.4, len(blocks)), abs=1e-6)


@pytest.mark.parametrize(("name", "heads"), HEADS.items())
def test_auxiliary_logits_have_the_names_of_their_heads(name, heads):
    parts = network_parts(name, 3, small=False, image_size=299, aux=True)
    model, made = Classifier(*parts).train(), {}
    for place in heads.values():
        layer = model.backbone.get_submodule(place)
        layer.register_forward_hook(lambda _, __, logits, place=place: made.update({place: logits}))
    outputs = model(torch.randn(2, 3, 299, 299))
    assert set(outputs) == {"out", *heads}
    for head, place in heads.items():
        assert torch.equal(outputs[head], made[place])
    assert len({tuple(logits.flatten().tolist()) for logits in outputs.values()}) == len(outputs)


@pytest.fixture
def features():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 4, 120)
    found = rng.normal(size=(120, 6)) + 1.5 * np.eye(4, 6)[labels]
    return torch.tensor(found, dtype=torch.float32), torch.tensor(labels)


def neighbours(features, labels, neighbors, distance, weighted):
    model = NearestNeighbours(
        nn.Identity(),
        6,
        4,
        examples=90,
        neighbors=neighbors,
        distance=distance,
        weighted=weighted,
    )
    model.store(features[:50], labels[:50])
    model.store(features[50:90], labels[50:90])
    return model


@pytest.mark.parametrize("distance", ["l1", "l2", "cosine"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("neighbors", [1, 5, 30])
def test_knn_equals_scikit_learn(features, distance, weighted, neighbors):
    found, labels = features
    model = neighbours(found, labels, neighbors, distance, weighted)
    theirs = KNeighborsClassifier(
        neighbors,
        metric={"l1": "manhattan", "l2": "euclidean", "cosine": "cosine"}[distance],
        weights="distance" if weighted else "uniform",
        algorithm="brute",
    ).fit(found[:90].double().numpy(), labels[:90].numpy())
    expected = theirs.predict_proba(found[90:].double().numpy())
    np.testing.assert_allclose(model.probabilities(found[90:]).numpy(), expected, atol=2e-4)


def test_an_equal_image_outvotes_all_others(features):
    found, labels = features
    scores = neighbours(found, labels, 5, "l2", weighted=True).probabilities(found[:90])
    assert torch.equal(scores.argmax(1), labels[:90])
    assert torch.equal(scores.amax(1), torch.ones(90))


def minimised(features, labels, loss, l2):
    """Return a linear head at the minimum of cvkit's own loss and penalty."""
    torch.manual_seed(0)
    model = LinearProbe(nn.Identity(), nn.Linear(6, int(labels.max()) + 1)).double()
    targets = F.one_hot(labels).double()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=2000, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        logits = model(features.double())["out"]
        value = class_loss(loss, logits, targets) + penalties(model, 0.0, l2)["l2"]
        value.backward()
        return value

    optimizer.step(closure)
    return model


def test_a_linear_softmax_equals_scikit_learn(features):
    found, labels = features
    model = minimised(found, labels, "ce", l2=1 / 120)
    theirs = LogisticRegression(C=1.0, tol=1e-10, max_iter=5000).fit(found.numpy(), labels.numpy())
    np.testing.assert_allclose(model.head.weight.detach().numpy(), theirs.coef_, atol=2e-4)
    scores = model.probabilities(found.double()).detach().numpy()
    np.testing.assert_allclose(scores, theirs.predict_proba(found.numpy()), atol=2e-4)


def test_a_linear_hinge_of_two_classes_equals_scikit_learns_svm(features):
    found, labels = features
    labels = (labels > 1).long()
    model = minimised(found, labels, "hinge", l2=2 / 120)
    weight = model.head.weight.detach().numpy()
    # With two classes both rows are opposite, and half the sum of their squares is a quarter of
    # the square of their difference.
    np.testing.assert_allclose(weight[0], -weight[1], atol=1e-2)
    theirs = LinearSVC(loss="hinge", C=1.0, tol=1e-8, max_iter=500_000, intercept_scaling=100)
    theirs.fit(found.numpy(), labels.numpy())

    def objective(w, b):
        signs = 2 * labels.numpy() - 1
        margins = np.maximum(0, 1 - signs * (found.numpy() @ w + b))
        return 0.5 * w @ w + margins.sum()

    ours = objective(weight[1] - weight[0], float(model.head.bias[1] - model.head.bias[0]))
    assert ours <= 1.01 * objective(theirs.coef_[0], theirs.intercept_[0])


def test_frozen_features_stay_as_they_are():
    body, head = network_parts("resnet18", 3, small=True, image_size=32, aux=False)
    model = LinearProbe(body, head).train()
    before = {k: v.clone() for k, v in model.backbone.state_dict().items()}
    model(torch.randn(4, 3, 32, 32))["out"].sum().backward()
    assert all(torch.equal(v, before[k]) for k, v in model.backbone.state_dict().items())
    assert [n for n, p in model.named_parameters() if p.grad is not None] == [
        "head.weight",
        "head.bias",
    ]


def test_pixels_are_the_flat_image():
    body, head = small_parts("pixels", 3, 8)
    images = torch.arange(192.0).view(1, 3, 8, 8)
    assert torch.equal(body(images), images.view(1, 192))
    assert head.in_features == 192


@pytest.mark.parametrize(
    ("hidden", "count"),
    [
        ((5,), 192 * 5 + 5 + 5 * 3 + 3),
        ((5, 4), 192 * 5 + 5 + 5 * 4 + 4 + 4 * 3 + 3),
        ((4, 5, 6), 192 * 4 + 4 + 4 * 5 + 5 + 5 * 6 + 6 + 6 * 3 + 3),
    ],
)
def test_hidden_layers_have_their_widths_in_order(hidden, count):
    body, head = small_parts("mlp", 3, 8, hidden)
    assert sum(p.numel() for part in (body, head) for p in part.parameters()) == count
    linear = [layer for layer in body if isinstance(layer, nn.Linear)]
    assert tuple(layer.out_features for layer in linear) == hidden
    assert sum(isinstance(layer, nn.ReLU) for layer in body) == len(hidden)
    images = torch.randn(2, 3, 8, 8)
    wanted = images.flatten(1)
    for layer in linear:
        wanted = (wanted @ layer.weight.T + layer.bias).clamp(min=0)
    torch.testing.assert_close(body(images), wanted)


class Maps(Backbone):
    """Two stages of a convolution and a pooling layer."""

    def __init__(self, builder, output_stride=32):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.MaxPool2d(2))
        self.last = nn.Sequential(nn.Conv2d(4, 6, 3), nn.MaxPool2d(2))
        self._set_contract([4, 6], output_stride)

    def forward(self, images):
        first = self.first(images)
        return [first, self.last(first)]

    def stages(self):
        return [self.first, self.last]

    @classmethod
    def divided(cls, net, builder):
        raise NotImplementedError("torchvision has no such network")


def test_a_backbone_that_torchvision_does_not_have_averages_its_last_map(monkeypatch):
    entry = BackboneEntry(target=f"{__name__}:Maps")
    monkeypatch.setitem(catalog.BACKBONES, "maps", entry)
    body, head = network_parts("maps", 5, small=False, image_size=64, aux=False)
    maps = Maps("")
    assert list(body.state_dict()) == list(maps.state_dict())
    maps.load_state_dict(body.state_dict())
    images = torch.randn(2, 3, 64, 96)
    wanted = maps.eval()(images)[-1].mean((2, 3))
    torch.testing.assert_close(body.eval()(images), wanted)
    assert head.in_features == wanted.shape[1] == 6
    assert network_stages("maps", body) == [body.first, body.last]
