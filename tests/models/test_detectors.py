"""Detectors: torchvision's own numbers from torchvision's own state dicts, stage by stage.

Random weights alone prove nothing: their features are huge, or no detection passes the limit.
So batch norms get the statistics of random images, and the limit is 0; every test that compares
detections first asserts that there are some.
"""

import copy
import functools

import pytest
import torch
import torchvision
from networks import MEAN, STD, detector
from torch import nn
from torchvision.models import detection as tv
from torchvision.models.detection.rpn import concat_box_prediction_layers
from torchvision.ops import FrozenBatchNorm2d

from cvkit import catalog
from cvkit.errors import UsageError
from cvkit.models.convert import converted, named_parts, require_equal_names
from cvkit.models.detection import rpn
from cvkit.models.detection.detectors import rest_batch_norms
from cvkit.models.detection.inputs import DetectionInputs
from cvkit.models.detection.roi_heads import RegionRule
from cvkit.models.weights import load_pretrained
from cvkit.ops.rle import make_masks, to_layers
from cvkit.structures import DetectionTargets

SIZES = {"min_size": 160, "max_size": 200}

MODELS = {
    "fasterrcnn_resnet50_fpn": {},
    "fasterrcnn_resnet50_fpn_v2": {},
    "fasterrcnn_mobilenet_v3_large_fpn": {"positions": (13, 16), "all_sizes": True, "eps": 1e-5},
    "fasterrcnn_mobilenet_v3_large_320_fpn": {
        "positions": (13, 16),
        "all_sizes": True,
        "eps": 1e-5,
        "before_nms": (2000, 150),
        "after_nms": (2000, 150),
    },
}


def calibrate(model):
    """Give batch norms the statistics of two random images."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None
            layer.reset_running_stats()
    model.train()
    with torch.no_grad():
        model.backbone(torch.randn(2, 3, 160, 192))
    return model.eval()


SAMPLES, PROPOSALS = 64, 200
"""Regions of an image in the loss and at test: few, because the heads are slow."""


FEW = {"after_nms": (60, 30), "roi_samples": 16}
"""Still fewer, for networks whose last stage sees each region."""


def pair(name, classes=5, seed=0, **own):
    """Return torchvision's model and ours, with the same weights."""
    return copy.deepcopy(built(name, classes, seed, **own))


@functools.lru_cache(maxsize=2)
def built(name, classes, seed, **own):
    torch.manual_seed(seed)
    limits = {"box_score_thresh": 0.0, "rpn_score_thresh": 0.0, "box_batch_size_per_image": SAMPLES}
    parts = dict(MODELS[name])
    if name.endswith("v2"):
        limits["rpn_post_nms_top_n_test"] = PROPOSALS
        parts["after_nms"] = (2000, PROPOSALS)
    theirs = getattr(tv, name)(
        weights=None, weights_backbone=None, num_classes=classes, **SIZES, **limits
    )
    calibrate(theirs)
    arch, backbone = named_parts("detect", name, None)
    numbers = {"min_score": 0.0, "roi_samples": SAMPLES} | parts | own
    ours = detector(arch, backbone, classes - 1, 160, 200, **numbers).eval()
    tensors, unused, count = converted("detect", arch, backbone, theirs.state_dict())
    assert count == classes and not unused
    ours.load_state_dict(require_equal_names(ours.state_dict(), tensors))
    return theirs, ours


def images(*sizes):
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(3, *size, generator=generator) for size in sizes]


@pytest.mark.parametrize(
    "size_hw, wanted",
    [
        ((97, 97), (799, 799)),
        ((334, 500), (799, 1197)),
        ((387, 500), (799, 1033)),
        ((480, 640), (800, 1066)),
        ((427, 640), (800, 1199)),
    ],
)
def test_resized_sides_are_rounded_down(size_hw, wanted):
    batch = DetectionInputs((800,), 1333, MEAN, STD).eval()([torch.rand(3, *size_hw)])
    assert batch.sizes_hw == [wanted]


@pytest.mark.usefixtures("quick_weights")
def test_inputs_equal_torchvisions_bit_by_bit():
    theirs, ours = pair("fasterrcnn_resnet50_fpn")
    given = images((97, 131), (150, 90))
    wanted, _ = theirs.transform(given)
    found = ours.transform(given)
    assert torch.equal(found.images, wanted.tensors)
    assert found.sizes_hw == wanted.image_sizes
    bytes_ = [(image * 255).round().byte() for image in given]
    again = ours.transform(bytes_).images
    assert torch.equal(again, ours.transform([image.float() / 255 for image in bytes_]).images)


def test_a_batch_is_padded_to_whole_strides():
    batch = DetectionInputs((800,), 1333, MEAN, STD).eval()(images((480, 640), (900, 600)))
    assert batch.sizes_hw == [(800, 1066), (1200, 800)]
    assert batch.images.shape == (2, 3, 1216, 1088)
    assert not batch.images[0, :, 800:].any()


def test_several_sizes_are_drawn_in_training_only():
    inputs = DetectionInputs((64, 96, 128), 200, MEAN, STD)
    sides = {inputs.train()(images((50, 60))).sizes_hw[0][0] for _ in range(40)}
    assert sides == {64, 96, 128}
    assert inputs.eval()(images((50, 60))).sizes_hw[0][0] == 128


def test_images_may_keep_their_size():
    inputs = DetectionInputs((), 100, MEAN, STD).eval()
    assert inputs(images((50, 60))).sizes_hw == [(50, 60)]
    assert inputs(images((50, 200))).sizes_hw == [(25, 100)]


def test_anchors_are_rounded_and_ordered_ratio_by_ratio():
    wanted = [[-23, -11, 23, 11], [-16, -16, 16, 16], [-11, -23, 11, 23]]
    assert rpn.cell_anchors([32], rpn_ratios()).tolist() == wanted
    assert rpn.cell_anchors([64], rpn_ratios())[0].tolist() == [-45, -23, 45, 23]
    assert rpn.cell_anchors([512], rpn_ratios())[0].tolist() == [-362, -181, 362, 181]
    two = rpn.cell_anchors([32, 64], rpn_ratios())
    assert two[:2].tolist() == [[-23, -11, 23, 11], [-45, -23, 45, 23]]


def rpn_ratios():
    return (0.5, 1.0, 2.0)


def test_the_anchors_of_2015_are_those_of_the_original_code():
    # As its comments list them: pixels counted from 1, the last one inside.
    wanted = [
        *([-83, -39, 100, 56], [-175, -87, 192, 104], [-359, -183, 376, 200]),
        *([-55, -55, 72, 72], [-119, -119, 136, 136], [-247, -247, 264, 264]),
        *([-35, -79, 52, 96], [-79, -167, 96, 184], [-167, -343, 184, 360]),
    ]
    found = rpn.cell_anchors_2015() + torch.tensor([1, 1, 0, 0])
    assert found.tolist() == wanted


@pytest.mark.parametrize("name", ["fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2"])
@pytest.mark.usefixtures("quick_weights")
def test_every_stage_equals_torchvisions_bit_by_bit(name):
    theirs, ours = pair(name)
    given = images((97, 131), (150, 90))
    with torch.no_grad():
        wanted, _ = theirs.transform(given)
        batch = ours.transform(given)
        maps = list(theirs.backbone(wanted.tensors).values())
        for own, other in zip(ours.backbone(batch.images), maps, strict=True):
            assert torch.equal(own, other)
        anchors = theirs.rpn.anchor_generator(wanted, maps)
        logits, deltas = theirs.rpn.head(maps)
        own_anchors, own_logits, own_deltas = ours.rpn.scored_anchors(maps, batch)
        assert torch.equal(own_anchors, anchors[0])
        counts = [each[0].numel() for each in logits]
        flat_logits, flat_deltas = concat_box_prediction_layers(logits, deltas)
        assert torch.equal(torch.cat(own_logits, 1).flatten(), flat_logits.flatten())
        assert torch.equal(own_deltas.reshape(-1, 4), flat_deltas)
        decoded = theirs.rpn.box_coder.decode(flat_deltas, anchors).view(2, -1, 4)
        regions, _ = theirs.rpn.filter_proposals(decoded, flat_logits, wanted.image_sizes, counts)
        own_regions = ours.rpn.choose(own_anchors, own_logits, own_deltas, batch.sizes_hw)
        assert [len(each) for each in regions] == [len(each) for each in own_regions]
        assert all(len(each) > 100 for each in regions)
        for own, other in zip(own_regions, regions, strict=True):
            assert torch.equal(own, other)
        features = theirs.roi_heads.box_roi_pool(
            {str(i): each for i, each in enumerate(maps[:4])}, regions, wanted.image_sizes
        )
        own_features = ours.roi_heads.features(maps[:4], regions)
        # The sums of RoI Align are added in another order.
        assert torch.allclose(own_features, features, atol=1e-4)
        hidden = theirs.roi_heads.box_head(features)
        assert torch.equal(ours.roi_heads.box_head(features), hidden)
        for own, other in zip(
            ours.roi_heads.box_predictor(hidden),
            theirs.roi_heads.box_predictor(hidden),
            strict=True,
        ):
            assert torch.equal(own, other)


def assert_equal_detections(theirs, ours, given):
    with torch.no_grad():
        wanted, found = theirs(given), ours.detect(given)
    for own, other in zip(found, wanted, strict=True):
        assert len(other["boxes"]) >= 10
        assert torch.equal(own.labels, other["labels"])
        assert torch.allclose(own.boxes, other["boxes"], atol=1e-3)
        assert torch.allclose(own.scores, other["scores"], atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.usefixtures("quick_weights")
def test_detections_equal_torchvisions(name):
    theirs, ours = pair(name)
    assert_equal_detections(theirs, ours, images((97, 131), (150, 90)))
    assert_equal_detections(theirs, ours, images((97, 97)))


@pytest.mark.parametrize("classes", [2, 91])
@pytest.mark.usefixtures("quick_weights")
def test_detections_equal_torchvisions_for_few_and_many_classes(classes):
    theirs, ours = pair("fasterrcnn_resnet50_fpn", classes=classes, seed=3)
    assert_equal_detections(theirs, ours, images((130, 97)))


def test_frozen_norms_with_epsilon_0_are_reproduced():
    theirs, ours = pair("fasterrcnn_resnet50_fpn", eps=0.0)
    _, wrong = pair("fasterrcnn_resnet50_fpn")
    for layer in theirs.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_var.mul_(1e-3)  # so that the epsilon counts
            layer.weight.data.mul_(0.03)
    ours.load_state_dict(theirs.state_dict())
    wrong.load_state_dict(theirs.state_dict())
    freeze_norms(theirs)
    given = images((97, 131))
    assert_equal_detections(theirs, ours, given)
    with torch.no_grad():
        maps = [model.backbone(model.transform(given).images)[0] for model in (ours, wrong)]
    assert (maps[0] - maps[1]).abs().max() > 1e-3


def freeze_norms(model):
    """Put torchvision's frozen batch norms, as in the published file, in place of others."""
    for name, layer in list(model.named_modules()):
        if isinstance(layer, nn.BatchNorm2d):
            frozen = FrozenBatchNorm2d(layer.num_features, eps=0.0)
            frozen.load_state_dict(layer.state_dict())
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, frozen)


@pytest.mark.parametrize("sizes, scale", [((160,), 1.0), ((), 0.01)])
def test_no_side_of_an_image_vanishes(sizes, scale):
    inputs = DetectionInputs(sizes, 200, MEAN, STD, scale)
    batch = inputs(images((2, 900), (900, 2), (49, 49)))
    assert min(min(size) for size in batch.sizes_hw) >= 1
    assert max(max(size) for size in batch.sizes_hw) <= 450


def legacy(tensors):
    """Return a state dict under the names of the published first version."""
    result = {}
    for name, tensor in tensors.items():
        if name.endswith("num_batches_tracked"):
            continue
        name = name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        if "fpn." in name:
            name = name.replace(".0.weight", ".weight").replace(".0.bias", ".bias")
        result[name] = tensor
    return result


@pytest.mark.usefixtures("quick_weights")
def test_legacy_names_load_strictly():
    theirs, ours = pair("fasterrcnn_resnet50_fpn")
    old = legacy(theirs.state_dict())
    assert "rpn.head.conv.weight" in old and "backbone.fpn.inner_blocks.0.weight" in old
    assert len(old) == 295
    tensors, _, _ = converted("detect", "faster-rcnn", "resnet50", old)
    fresh = copy.deepcopy(ours)
    fresh.load_state_dict(require_equal_names(fresh.state_dict(), tensors))
    for name, tensor in fresh.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(tensor, ours.state_dict()[name])


OBJECTS = (
    [torch.tensor([[10.0, 12, 60, 70], [40, 30, 120, 90]]), torch.tensor([[5.0, 20, 70, 140]])],
    [torch.tensor([1, 3]), torch.tensor([2])],
)


@pytest.mark.parametrize("name", ["fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2"])
@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.usefixtures("quick_weights")
def test_losses_and_gradients_equal_torchvisions(name, empty, monkeypatch):
    theirs, ours = pair(name)
    monkeypatch.setattr(torch, "randperm", lambda n, device=None: torch.arange(n, device=device))
    boxes, labels = [list(part) for part in OBJECTS]
    if empty:
        boxes[1], labels[1] = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    given = images((97, 131), (150, 90))
    theirs.train()
    ours.train()
    targets = [{"boxes": b, "labels": n} for b, n in zip(boxes, labels, strict=True)]
    wanted = theirs(given, targets)
    found = ours(given, DetectionTargets(boxes, labels))
    assert found.keys() == wanted.keys()
    for key in wanted:
        assert found[key].item() == pytest.approx(wanted[key].item(), rel=1e-4, abs=1e-6), key
        assert wanted[key] > 0
    sum(wanted.values()).backward()
    sum(found.values()).backward()
    own = dict(ours.named_parameters())
    for key, parameter in theirs.named_parameters():
        norm = parameter.grad.norm().item()
        assert own[key].grad.norm().item() == pytest.approx(norm, rel=2e-3, abs=1e-6), key


@pytest.mark.parametrize("name", MODELS)
def test_counts_of_regions_are_torchvisions(name):
    """Networks that other tests compare have fewer of them."""
    arch, backbone = named_parts("detect", name, None)
    with torch.device("meta"):
        theirs = getattr(tv, name)(weights=None, weights_backbone=None)
        ours = detector(arch, backbone, 90, 160, 200, **MODELS[name])
    for place, key in enumerate(("training", "testing")):
        assert ours.rpn.rule.before_nms[place] == theirs.rpn._pre_nms_top_n[key]
        assert ours.rpn.rule.after_nms[place] == theirs.rpn._post_nms_top_n[key]
    for own, other in (
        (ours.rpn.rule, theirs.rpn.fg_bg_sampler),
        (ours.roi_heads.rule, theirs.roi_heads.fg_bg_sampler),
    ):
        assert own.samples == other.batch_size_per_image
        assert own.positive_share == other.positive_fraction
    assert ours.roi_heads.rule.max_detections == theirs.roi_heads.detections_per_img


@pytest.mark.parametrize("name", ["fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2"])
def test_weights_begin_as_torchvisions_do(name):
    torch.manual_seed(0)
    theirs = getattr(tv, name)(weights=None, weights_backbone=None, num_classes=21)
    ours = detector(*named_parts("detect", name, None), 20).state_dict()
    compared = 0
    for key, tensor in theirs.state_dict().items():
        if tensor.ndim > 1:
            assert ours[key].std().item() == pytest.approx(tensor.std().item(), rel=0.1), key
            spread = 5 * tensor.std() * (2 / tensor.numel()) ** 0.5
            assert abs(ours[key].mean() - tensor.mean()) < spread, key
            compared += 1
        elif tensor.numel() > 1 and not tensor.any():
            assert not ours[key].any(), key
    assert compared > 60


@pytest.mark.parametrize(
    "arch, backbone, numbers",
    [
        ("faster-rcnn", "resnet18", {"width": 64}),
        ("faster-rcnn-v2", "resnet18", {"width": 64}),
        ("faster-rcnn", "resnet18", {"neck": "c4"} | FEW),
        ("faster-rcnn-2015", "vgg11", {}),
        ("faster-rcnn", "vgg11_bn", {"width": 64}),
        ("faster-rcnn", "mobilenet_v3_small", {"width": 64, "roi": "pool"}),
        ("faster-rcnn", "swin_t", {"width": 64}),
        ("fast-rcnn", "efficientnet_b0", {"width": 64}),
        ("fast-rcnn", "resnet18", {"neck": "c4", "roi": "pool"} | FEW),
    ],
    ids=str,
)
@pytest.mark.usefixtures("quick_weights")
def test_detectors_learn_from_every_part_and_detect_deterministically(arch, backbone, numbers):
    torch.manual_seed(0)
    few = {"after_nms": (300, 100), "min_score": 0.0, "roi_samples": 64}
    model = detector(arch, backbone, 3, **(few | numbers)).train()
    given = images((97, 131), (150, 90))
    regions = None
    if catalog.DETECTORS[arch].needs_proposals:
        regions = [
            torch.cat((b, torch.tensor([[0.0, 0, 50, 60], [3, 3, 80, 80]]))) for b in OBJECTS[0]
        ]
    losses = model(given, DetectionTargets(*OBJECTS, regions))
    wanted = {"loss_classifier", "loss_box_reg"}
    assert set(losses) == wanted | (set() if regions else {"loss_objectness", "loss_rpn_box_reg"})
    sum(losses.values()).backward()
    dead = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not dead
    model.eval()
    with torch.no_grad():
        first, second = (model.detect(given, regions) for _ in range(2))
    for one, two in zip(first, second, strict=True):
        assert len(one.boxes) and torch.equal(one.boxes, two.boxes)
        assert (one.scores[:-1] >= one.scores[1:]).all()
        assert one.labels.min() >= 1 and one.labels.max() <= 3


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("arch", catalog.DETECTORS)
@pytest.mark.usefixtures("quick_weights")
def test_images_without_objects_and_proposals_train(arch, count):
    """Small images: no anchor of 2015 lies inside them, so even its first stage learns nothing."""
    facts = catalog.DETECTORS[arch]
    backbone = "vgg11" if arch == "faster-rcnn-2015" else "mobilenet_v3_small"
    model = detector(arch, backbone, 3, 64, 107, width=16).train()
    given, nothing = images((64, 80), (64, 64))[:count], [torch.zeros(0, 4)] * count
    masks = [to_layers(make_masks([], image.shape[-2:])) for image in given]
    labels = [torch.zeros(0, dtype=torch.int64)] * count
    losses = model(given, DetectionTargets(nothing, labels, nothing, masks))
    assert all(loss.isfinite() for loss in losses.values())
    assert all(losses[name] == 0 for name in losses if name.endswith("_reg"))
    if facts.needs_proposals:
        assert sum(losses.values()) == 0
    sum(losses.values()).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert [name for name, gradient in gradients.items() if gradient is None] == []
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    assert all(value.isfinite().all() for value in model.state_dict().values())


def test_an_image_without_regions_leaves_the_loss_of_the_others():
    torch.manual_seed(0)
    model = detector("fast-rcnn", "mobilenet_v3_small", 3, 64, 107, width=16).eval()
    two, box = images((64, 64), (64, 64)), torch.tensor([[4.0, 4, 40, 50]])
    full = ([box], [torch.tensor([2])], [box + 1])
    none = ([box[:0]], [torch.zeros(0, dtype=torch.int64)], [box[:0]])
    torch.manual_seed(1)
    alone = model(two[:1], DetectionTargets(*full))["loss_classifier"]
    torch.manual_seed(1)
    joined = (a + b for a, b in zip(full, none, strict=True))
    both = model(two, DetectionTargets(*joined))["loss_classifier"]
    assert both.item() == pytest.approx(alone.item(), rel=1e-5)
    assert alone > 0


@pytest.mark.parametrize(
    "arch, classes, parameters",
    [
        ("faster-rcnn", 20, 41_449_656),
        ("faster-rcnn", 90, 41_808_406),
        ("faster-rcnn-v2", 90, 43_712_278),
    ],
)
def test_parameters_are_counted_as_published(arch, classes, parameters):
    with torch.device("meta"):
        model = detector(arch, "resnet50", classes)
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize(
    "backbone, numbers, parameters",
    [
        ("resnet50", {}, 41_755_286),
        ("mobilenet_v3_large", {"positions": (13, 16), "all_sizes": True}, 19_386_354),
    ],
)
def test_resting_norms_do_not_count_as_published(backbone, numbers, parameters):
    with torch.device("meta"):
        model = detector("faster-rcnn", backbone, 90, **numbers)
    rest_batch_norms(model.backbone.body)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == parameters


@pytest.mark.parametrize(
    "trainable, parameters",
    list(enumerate([3_344_384, 18_286_592, 25_364_480, 26_576_896, 26_789_888, 26_799_296])),
)
def test_trainable_layers_are_counted_from_the_last_one(trainable, parameters):
    with torch.device("meta"):
        model = detector("faster-rcnn", "resnet50", 20)
    parts = model.stages()
    assert len(parts) == 5
    rest_batch_norms(model.backbone.body)
    for part in parts[: 5 - trainable]:
        part.requires_grad_(False)
    count = sum(p.numel() for p in model.backbone.parameters() if p.requires_grad)
    assert count == parameters


MAPPED = [name for name, entry in catalog.BACKBONES.items() if entry.target and not entry.whole]


def nchw(maps, backbone):
    return maps if catalog.BACKBONES[backbone].channels_first else maps.permute(0, 3, 1, 2)


@pytest.mark.parametrize("backbone", MAPPED)
def test_stages_are_a_backbone_from_the_image_to_the_last_map(backbone):
    """One after the other they give its maps, and every parameter belongs to one of them."""
    entry = catalog.BACKBONES[backbone]
    with torch.device("meta"), torch.no_grad():
        body = catalog.resolve(entry.target)(entry.builder).eval()
        maps = given = torch.empty(1, 3, 64, 64)
        parts = body.stages()
        assert len(parts) == len(body.channels) == len(body.strides) >= 4
        for part, wanted in zip(parts, body(given), strict=True):
            maps = part(maps)
            assert nchw(maps, backbone).shape == wanted.shape
    counted = [id(p) for part in parts for p in part.parameters()]
    assert sorted(counted) == sorted(id(p) for p in body.parameters())


@pytest.mark.parametrize("backbone", ["resnet18", "vgg11_bn", "mobilenet_v3_small", "swin_t"])
def test_the_maps_of_stages_are_those_of_the_backbone(backbone):
    entry = catalog.BACKBONES[backbone]
    torch.manual_seed(0)
    body = catalog.resolve(entry.target)(entry.builder).eval()
    maps = given = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for part, wanted in zip(body.stages(), body(given), strict=True):
            maps = part(maps)
            assert torch.equal(nchw(maps, backbone), wanted)


@pytest.mark.parametrize("neck", ["fpn", "c4"])
@pytest.mark.parametrize("backbone", ["resnet18", "vgg11"])
def test_the_stages_of_a_detector_are_those_of_its_backbone(backbone, neck):
    with torch.device("meta"):
        model = detector("faster-rcnn", backbone, 3, neck=neck)
    parts = model.stages()
    assert len(parts) == (4 if neck == "c4" and backbone == "resnet18" else 5)
    counted = [id(p) for part in parts for p in part.parameters()]
    assert sorted(counted) == sorted(id(p) for p in model.body.parameters())


CLASSIFYING = [name for name, entry in catalog.BACKBONES.items() if entry.builder]
UNDIVIDED = {"googlenet", "inception_v3", "shufflenet_v2_x0_5", "vit_b_16", "vit_b_32"}


@pytest.mark.parametrize("backbone", CLASSIFYING)
def test_the_classifier_of_crops_has_the_stages_of_its_network(backbone):
    with torch.device("meta"):
        model = detector("rcnn", backbone, 3)
    if backbone in UNDIVIDED:
        with pytest.raises(UsageError, match="is not divided into stages"):
            model.stages()
        return
    parts = model.stages()
    assert len(parts) >= 3
    counted = [id(p) for part in parts for p in part.parameters()]
    assert len(counted) == len(set(counted))
    assert set(counted) <= {id(p) for p in model.body.parameters()}


def test_a_backbone_without_a_division_refuses_one_map():
    with pytest.raises(UsageError, match="--neck c4 needs a VGG or ResNet"):
        detector("faster-rcnn", "swin_t", 3, neck="c4")


@pytest.mark.usefixtures("quick_weights")
def test_fast_rcnn_equals_torchvisions_second_stage():
    """Torchvision has no Fast R-CNN, but its second stage takes any regions."""
    theirs, ours = pair("fasterrcnn_resnet50_fpn")
    fast = detector("fast-rcnn", "resnet50", 4, 160, 200, min_score=0.0, nms=0.5).eval()
    fast.load_state_dict({k: v for k, v in ours.state_dict().items() if not k.startswith("rpn.")})
    given = images((160, 192))
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(60, 2, generator=generator) * 100
    regions = [torch.cat((corner, corner + 10 + torch.rand(60, 2, generator=generator) * 50), 1)]
    with torch.no_grad():
        maps = theirs.backbone(theirs.transform(given)[0].tensors)
        wanted, _ = theirs.roi_heads(maps, regions, [(160, 192)])
        found = fast.detect(given, regions)[0]
    assert len(found.boxes) >= 10
    assert torch.equal(found.labels, wanted[0]["labels"])
    assert torch.allclose(found.boxes, wanted[0]["boxes"], atol=1e-3)


def test_low_overlaps_are_left_out_where_a_rule_says_so():
    rule = RegionRule(low=0.1, samples=100, positive_share=0.25)
    model = detector("fast-rcnn", "resnet18", 3)
    model.roi_heads.rule = rule
    regions = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 4], [80, 80, 90, 90]])
    found = model.roi_heads.sample(regions, torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([2]))
    # The far one overlaps by 0, under 0.1; the truth itself is one of the regions.
    assert found.labels.tolist() == [2, 0, 2]


@pytest.mark.parametrize(
    "arch, backbone, numbers",
    [
        ("faster-rcnn", "resnet18", {}),
        ("faster-rcnn", "resnet18", {"neck": "c4"}),
        ("faster-rcnn-2015", "vgg11", {}),
        ("faster-rcnn", "mobilenet_v3_small", {}),
    ],
)
@pytest.mark.usefixtures("quick_weights")
def test_published_classifiers_fill_all_layers_that_they_have(arch, backbone, numbers, tmp_path):
    builder = getattr(torchvision.models, backbone)
    torch.manual_seed(0)
    tensors = builder(weights=None).state_dict()
    path = tmp_path / "classifier.pth"
    torch.save(tensors, path)
    torch.manual_seed(1)
    model = detector(arch, backbone, 3, **numbers)
    part = model.pretrained_part()
    load_pretrained(part, backbone, str(path), offline=True, say=print)
    loaded = part.state_dict()
    assert all(torch.equal(value, tensors[name]) for name, value in loaded.items())
    missing = {name.split(".")[0] for name in tensors.keys() - loaded.keys()}
    assert missing <= {"fc", "classifier"} and "layer4" not in missing
    if backbone == "vgg11":
        assert "classifier.3.weight" in loaded and "classifier.6.weight" not in loaded
    body = {id(p) for p in model.backbone.body.parameters()}
    assert body <= {id(p) for p in part.parameters()}
