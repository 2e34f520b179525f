"""Blocks that are computed again for their gradients leave everything else as it was."""

import copy

import pytest
import torch
from networks import clip_network, detector, segmenter
from torch import nn

from cvkit import catalog
from cvkit.arch_facts import Detector
from cvkit.models.classify import Classifier, network_parts, set_stochastic_depth, small_parts
from cvkit.models.recompute import recompute


def network(task, arch, **numbers):
    """Return a network for three classes, and the side of its images."""
    entry = catalog.ARCHS[task][arch]
    body = "resnet18" if entry.takes_backbone and task != "classify" else None
    if task == "segment":
        return segmenter(arch, body, 3), 64
    if task == "video":
        frames, side = (16, 112) if arch == "c3d" else (4, 32)
        return clip_network(arch, body, 3, frames=frames, image_size=side), side
    if task == "classify":
        if entry.parts:
            return Classifier(*small_parts(entry.parts, 3, 32)), 32
        small = bool(catalog.BACKBONES[arch].small_stem)
        side = 32 if small else 97
        parts = network_parts(arch, 3, small=small, image_size=side, aux=arch == "googlenet")
        return Classifier(*parts), side
    assert isinstance(entry, Detector)
    body = "vgg16" if entry.fixed_parts else "resnet18"
    return detector(arch, body, 3, min_size=64 if entry.takes_crops else 96), 96


def opened(model):
    """Return the part that has blocks, and those in it that are not blocks themselves."""
    if hasattr(model, "features") and hasattr(model, "detect"):
        return model.features, [model.body]
    return model, [getattr(model, "backbone", model)]


ALL = [
    pytest.param(task, arch, id=f"{task}-{arch}")
    for task in catalog.TASKS
    for arch in catalog.ARCHS[task]
]
WITHOUT = {"linear", "knn"}
"""One linear layer, and none that is trained."""


@pytest.mark.parametrize(("task", "arch"), ALL)
def test_every_network_of_several_layers_has_blocks(task, arch):
    with torch.device("meta"):
        model, _ = network(task, arch)
    assert bool(recompute(*opened(model))) == (arch not in WITHOUT)
    lists = [part for part in model.modules() if isinstance(part, nn.ModuleList)]
    assert not [part for part in lists if "forward" in vars(part)], "which are never called"


LARGE = ("c3d", "s3d", "i3d", "r3d", "mc3")
NUMERIC = [
    *(("classify", arch) for arch in ("vgg11_bn", "googlenet", "densenet121", "lenet")),
    *(("classify", arch) for arch in ("mobilenet_v3_small", "efficientnet_b0", "swin_t")),
    *(("segment", arch) for arch in catalog.ARCHS["segment"]),
    *(("video", arch) for arch in catalog.ARCHS["video"] if arch not in LARGE),
]
"""Families of classifiers with other blocks, decoders, and video networks."""


def learned(model, images):
    """Return the stored bytes of a step's forward pass, outputs, gradients and buffers."""
    sizes = {}

    def pack(tensor):
        kept = tensor.untyped_storage()
        sizes[kept.data_ptr()] = kept  # held, so that no other one gets its place
        return tensor

    torch.manual_seed(7)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs = model.train()(images)
    stored = sum(kept.nbytes() for kept in sizes.values())
    sizes.clear()
    sum(logits.square().sum() for logits in outputs.values()).backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    return stored, [*outputs.values(), *gradients, *model.buffers(), torch.get_rng_state()]


@pytest.mark.usefixtures("quick_weights")
@pytest.mark.parametrize(("task", "arch"), NUMERIC)
def test_gradients_statistics_and_random_numbers_are_the_same_bits(task, arch):
    torch.manual_seed(0)
    model, side = network(task, arch)
    set_stochastic_depth(model, 0.5)
    for layer in model.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.5
    images = torch.randn((2, 3, side, side) if task != "video" else (2, 3, 4, side, side))
    twin = copy.deepcopy(model)
    assert recompute(*opened(twin))
    twin = copy.deepcopy(twin)  # as for an average of the weights
    assert list(twin.state_dict()) == list(model.state_dict())
    (stored, one), (less, other) = learned(model, images), learned(twin, images)
    assert less < stored
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a, b) if a is not None else b is None


def test_blocks_do_not_overlap_and_no_layer_is_computed_twice_without_gradients():
    model, side = network("classify", "mobilenet_v3_small")
    recompute(*opened(model))
    calls = []
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda *_, layer=layer: calls.append(layer))
    images = torch.randn(2, 3, side, side)
    with torch.no_grad():
        model.train()(images)
    count = sum(isinstance(layer, nn.Conv2d) for layer in model.modules())
    assert len(calls) == count
    calls.clear()
    sum(out.sum() for out in model(images).values()).backward()
    assert len(set(calls)) == count
    assert max(map(calls.count, calls)) == 2
