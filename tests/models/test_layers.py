"""How weights begin: every layer of every network, by the formulas of the papers."""

import pytest
import torch
from networks import clip_network, detector, segmenter
from torch import nn

from cvkit import catalog
from cvkit.models import classify
from cvkit.models.layers import initialise
from cvkit.models.segmentation.fcn import bilinear_deconv, bilinear_kernel

NO_MATRIX = (
    *("pos_embedding", "class_token", "relative_position_bias_table"),
    *("layer_scale", "logit_scale"),
)
"""Last parts of names of parameters that are added, or that multiply channel by channel."""


def network(task, arch, backbone):
    """Return a network on the meta device: only which layers it has counts."""
    entry = catalog.ARCHS[task][arch]
    with torch.device("meta"):
        if task == "segment":
            deconv = arch.startswith("fcn-") and not catalog.BACKBONES[backbone].whole
            return segmenter(arch, backbone, 4, deconv=deconv)
        if task == "video":
            return clip_network(arch, backbone, 4, hidden=8)
        if task == "classify":
            if arch in catalog.BACKBONES:
                parts = {"small": False, "image_size": 64, "aux": bool(entry.aux_weight)}
                return classify.Classifier(*classify.network_parts(arch, 4, **parts))
            return classify.Classifier(*classify.small_parts(entry.parts, 4, 32))
        return detector(arch, backbone, 4)


NETWORKS = [
    *(("segment", arch, "mobilenet_v3_small") for arch in catalog.ARCHS["segment"]),
    *(("segment", arch, name) for name, b in catalog.BACKBONES.items() for arch in b.whole),
    *(("classify", arch, None) for arch in catalog.ARCHS["classify"]),
    *(("video", arch, "vit_b_16") for arch in ("single-frame", "cnn-lstm")),
    *(("video", arch, "mobilenet_v3_small") for arch in catalog.ARCHS["video"]),
    *((task, arch, "vgg11") for task in ("detect", "instance") for arch in catalog.ARCHS[task]),
]


@pytest.mark.parametrize(("task", "arch", "backbone"), NETWORKS, ids=str)
def test_every_weight_of_every_network_is_drawn_anew(task, arch, backbone):
    model = network(task, arch, backbone)
    matrices = {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.ndim > 1 and parameter.requires_grad and name.split(".")[-1] not in NO_MATRIX
    }
    before = {name: parameter._version for name, parameter in matrices.items()}
    initialise(model, "normal")
    kept = [name for name, parameter in matrices.items() if parameter._version == before[name]]
    assert matrices
    assert kept == []


def test_auto_changes_nothing_and_norms_stay():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv3d(2, 3, 3), nn.BatchNorm3d(3), nn.LSTM(3, 4))
    nn.init.constant_(net[1].weight, 0.7)
    nn.init.constant_(net[1].bias, 0.2)
    before = {name: p.clone() for name, p in net.named_parameters()}
    initialise(net, "auto")
    assert all(torch.equal(p, before[name]) for name, p in net.named_parameters())
    initialise(net, "normal")
    same = {name for name, p in net.named_parameters() if torch.equal(p, before[name])}
    assert same == {"1.weight", "1.bias"}


LAYERS = {
    "conv1d": (lambda: nn.Conv1d(400, 300, 3), 400 * 3, 300 * 3),
    "conv2d": (lambda: nn.Conv2d(64, 72, 3), 64 * 9, 72 * 9),
    "conv3d": (lambda: nn.Conv3d(32, 48, 3), 32 * 27, 48 * 27),
    "linear": (lambda: nn.Linear(500, 300), 500, 300),
    # Torch counts the inputs of a transposed convolution along its second dimension.
    "transposed2d": (lambda: nn.ConvTranspose2d(80, 64, 2), 64 * 4, 80 * 4),
    "transposed3d": (lambda: nn.ConvTranspose3d(40, 32, 2), 32 * 8, 40 * 8),
    # Each gate and each projection is a layer of its own.
    "lstm": (lambda: nn.LSTM(300, 300), 300, 300),
    "gru": (lambda: nn.GRU(300, 300), 300, 300),
    "attention": (lambda: nn.MultiheadAttention(300, 4), 300, 300),
}


@pytest.mark.parametrize("how", ["xavier", "kaiming", "normal"])
@pytest.mark.parametrize("kind", LAYERS)
def test_initialisation_has_its_spread(kind, how):
    torch.manual_seed(0)
    make, fan_in, fan_out = LAYERS[kind]
    layer = make()
    initialise(layer, how)
    spread = {
        "xavier": (2 / (fan_in + fan_out)) ** 0.5,
        "kaiming": (2 / fan_in) ** 0.5,
        "normal": 0.01,
    }[how]
    for name, parameter in layer.named_parameters():
        if "bias" in name:
            assert not parameter.any(), name
        else:
            assert parameter.std().item() == pytest.approx(spread, rel=0.03), name


def test_an_interpolation_that_never_trains_stays_one():
    for learnable in (False, True):
        net = nn.Sequential(nn.Conv2d(3, 3, 1), bilinear_deconv(3, 2, learnable))
        initialise(net, "kaiming")
        still = torch.equal(net[1].weight[1, 1], bilinear_kernel(4))
        assert still is not learnable
