"""Mask R-CNN: torchvision's masks and losses from torchvision's own state dicts.

See `test_detectors` for how random weights are made to prove something.
"""

import copy
import functools

import numpy as np
import pytest
import torch
from networks import detector
from test_detectors import FEW, OBJECTS, PROPOSALS, SAMPLES, SIZES, calibrate, images, legacy
from torchvision.models import detection as tv

from cvkit.models.convert import converted, named_parts, require_equal_names
from cvkit.models.detection import mask_heads
from cvkit.ops.mask_pasting import paste_masks
from cvkit.ops.rle import decode, encode, layer_boxes, to_layers
from cvkit.structures import DetectionTargets

MODELS = {"maskrcnn_resnet50_fpn": (1, 360), "maskrcnn_resnet50_fpn_v2": (2, 432)}


def centre_masks(model):
    """Shift the logits of random masks so that half of the pixels are inside."""
    seen = []
    hook = model.roi_heads.mask_predictor.register_forward_hook(lambda *a: seen.append(a[2]))
    with torch.no_grad():
        model.eval()(images((97, 131)))
        model.roi_heads.mask_predictor.mask_fcn_logits.bias -= seen[0].median()
    hook.remove()


def pair(name, classes=5):
    """Return torchvision's model and ours, with the same weights."""
    return copy.deepcopy(built(name, classes))


@functools.lru_cache(maxsize=2)
def built(name, classes):
    torch.manual_seed(0)
    most = 100 if MODELS[name][0] == 2 else 30  # the best boxes of the second one are tiny
    limits = {"box_score_thresh": 0.0, "rpn_score_thresh": 0.0, "box_detections_per_img": most}
    limits |= {"box_batch_size_per_image": SAMPLES, "rpn_post_nms_top_n_test": PROPOSALS}
    theirs = getattr(tv, name)(
        weights=None, weights_backbone=None, num_classes=classes, **SIZES, **limits
    )
    calibrate(theirs)
    centre_masks(theirs)
    parts = named_parts("instance", name, None)
    numbers = {"min_score": 0.0, "max_detections": most, "roi_samples": SAMPLES}
    ours = detector(*parts, classes - 1, 160, 200, after_nms=(2000, PROPOSALS), **numbers).eval()
    tensors, unused, count = converted("instance", *parts, theirs.state_dict())
    assert count == classes and not unused
    ours.load_state_dict(require_equal_names(ours.state_dict(), tensors))
    return theirs, ours


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.usefixtures("quick_weights")
def test_names_of_tensors_are_torchvisions(name):
    theirs, ours = pair(name)
    assert set(theirs.state_dict()) == set(ours.state_dict())
    assert len(ours.state_dict()) == MODELS[name][1]


@pytest.mark.parametrize(
    "name, classes",
    [
        ("maskrcnn_resnet50_fpn", 5),
        ("maskrcnn_resnet50_fpn", 91),
        ("maskrcnn_resnet50_fpn_v2", 2),
        ("maskrcnn_resnet50_fpn_v2", 5),
    ],
)
@pytest.mark.usefixtures("quick_weights")
def test_masks_equal_torchvisions(name, classes):
    theirs, ours = pair(name, classes)
    given = images((97, 131), (150, 90)) if classes == 5 else images((130, 97))
    with torch.no_grad():
        wanted, found = theirs(given), ours.detect(given)
    total = 0
    for own, other, image in zip(found, wanted, given, strict=True):
        assert len(other["boxes"]) >= 10
        assert torch.equal(own.labels, other["labels"])
        assert torch.allclose(own.boxes, other["boxes"], atol=1e-3)
        assert torch.allclose(own.scores, other["scores"], atol=1e-5)
        probabilities = other["masks"][:, 0].numpy()
        pixels, close = probabilities > 0.5, np.abs(probabilities - 0.5) < 1e-5
        assert pixels.any() and close.mean() < 1e-3
        total += int(pixels.sum())
        pasted = paste_masks(own.grids, own.boxes, image.shape[-2:])
        assert not ((decode(pasted) != pixels) & ~close).any()
    assert total > 500


def shapes(sizes, boxes):
    """Return masks that fill a part of each box, as arrays."""
    result = []
    for size, own in zip(sizes, boxes, strict=True):
        y, x = np.mgrid[: size[0], : size[1]]
        found = np.zeros((len(own), *size), bool)
        for place, (x1, y1, x2, y2) in enumerate(own.tolist()):
            around = ((x - (x1 + x2) / 2) / (x2 - x1)) ** 2 + ((y - (y1 + y2) / 2) / (y2 - y1)) ** 2
            found[place] = around < 0.25
        result.append(found)
    return result


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.usefixtures("quick_weights")
def test_losses_and_gradients_equal_torchvisions(name, empty, monkeypatch):
    theirs, ours = pair(name)
    monkeypatch.setattr(torch, "randperm", lambda n, device=None: torch.arange(n, device=device))
    boxes, labels = [list(part) for part in OBJECTS]
    if empty:
        boxes[1], labels[1] = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    sizes = [(97, 131), (150, 90)]
    masks = shapes(sizes, boxes)
    theirs.train()
    ours.train()
    targets = [
        {"boxes": b, "labels": n, "masks": torch.tensor(m, dtype=torch.uint8)}
        for b, n, m in zip(boxes, labels, masks, strict=True)
    ]
    given = images(*sizes)
    wanted = theirs(given, targets)
    layers = [to_layers(encode(each)) for each in masks]
    found = ours(given, DetectionTargets(boxes, labels, masks=layers))
    assert found.keys() == wanted.keys() and len(found) == 5
    for key in wanted:
        assert found[key].item() == pytest.approx(wanted[key].item(), rel=1e-4, abs=1e-6), key
        assert wanted[key] > 0
    sum(wanted.values()).backward()
    sum(found.values()).backward()
    own = dict(ours.named_parameters())
    for key, parameter in theirs.named_parameters():
        norm = parameter.grad.norm().item()
        assert own[key].grad.norm().item() == pytest.approx(norm, rel=2e-3, abs=1e-6), key


@pytest.mark.usefixtures("quick_weights")
def test_legacy_names_load_strictly():
    theirs, ours = pair("maskrcnn_resnet50_fpn")
    old = {}
    for name, tensor in legacy(theirs.state_dict()).items():
        for place in range(4):
            name = name.replace(f"mask_head.{place}.0.", f"mask_head.mask_fcn{place + 1}.")
        old[name] = tensor
    assert "roi_heads.mask_head.mask_fcn4.bias" in old and len(old) == 307
    tensors, _, _ = converted("instance", "mask-rcnn", "resnet50", old)
    fresh = copy.deepcopy(ours)
    fresh.load_state_dict(require_equal_names(fresh.state_dict(), tensors))
    for name, tensor in fresh.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(tensor, ours.state_dict()[name])


@pytest.mark.parametrize(
    "arch, classes, parameters",
    [
        ("mask-rcnn", 20, 44_077_773),
        ("mask-rcnn", 90, 44_401_393 + 53_120),  # published with norms that rest
        ("mask-rcnn-v2", 90, 46_359_409),
    ],
)
def test_parameters_are_counted_as_published(arch, classes, parameters):
    with torch.device("meta"):
        model = detector(arch, "resnet50", classes)
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize("name", MODELS)
def test_weights_of_the_mask_branch_begin_as_torchvisions_do(name):
    torch.manual_seed(0)
    theirs = getattr(tv, name)(weights=None, weights_backbone=None, num_classes=21)
    ours = detector(*named_parts("instance", name, None), 20)
    own, compared = ours.state_dict(), 0
    for key, tensor in theirs.state_dict().items():
        if "mask" not in key:
            continue
        if tensor.ndim > 1:
            assert own[key].std().item() == pytest.approx(tensor.std().item(), rel=0.1), key
            compared += 1
        elif tensor.numel() > 1 and not tensor.any():
            assert not own[key].any(), key
    assert compared == 6


@pytest.mark.parametrize(
    "arch, backbone, numbers, side",
    [
        ("mask-rcnn", "resnet18", {"width": 64}, 28),
        ("mask-rcnn-v2", "resnet18", {"width": 64}, 28),
        ("mask-rcnn", "resnet18", {"neck": "c4"} | FEW, 14),
        ("mask-rcnn", "vgg11_bn", {"neck": "c4"} | FEW, 28),
        ("mask-rcnn", "mobilenet_v3_small", {"width": 32, "smallest": 8}, 28),
        ("mask-rcnn", "swin_t", {"width": 64}, 28),
    ],
    ids=str,
)
@pytest.mark.usefixtures("quick_weights")
def test_every_part_learns_and_masks_are_deterministic(arch, backbone, numbers, side):
    torch.manual_seed(0)
    few = {"after_nms": (300, 100), "min_score": 0.0, "roi_samples": 64, "max_detections": 20}
    model = detector(arch, backbone, 3, **(few | numbers)).train()
    sizes = [(97, 131), (150, 90)]
    layers = [to_layers(encode(each)) for each in shapes(sizes, OBJECTS[0])]
    losses = model(images(*sizes), DetectionTargets(*OBJECTS, masks=layers))
    assert len(losses) == 5
    sum(losses.values()).backward()
    dead = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not dead
    still = [n for n, p in model.named_parameters() if "mask" in n and not p.grad.any()]
    assert not still
    model.eval()
    with torch.no_grad():
        first, second = (model.detect(images(*sizes)) for _ in range(2))
    for one, two in zip(first, second, strict=True):
        assert one.grids.shape == (len(one.boxes), side, side) and len(one.boxes)
        assert torch.equal(one.grids, two.grids)
        assert one.grids.min() >= 0 and one.grids.max() <= 1


@pytest.mark.usefixtures("quick_weights")
@pytest.mark.parametrize(
    "arch, neck", [("mask-rcnn", "fpn"), ("mask-rcnn-v2", "fpn"), ("mask-rcnn", "c4")]
)
def test_images_without_objects_train(arch, neck):
    torch.manual_seed(0)
    model = detector(arch, "resnet18", 3, neck=neck, roi_samples=64).train()
    sizes = [(97, 131), (150, 90)]
    none = [torch.zeros(0, 4)] * 2
    layers = [to_layers(encode(np.zeros((0, *size), bool))) for size in sizes]
    labels = [torch.zeros(0, dtype=torch.int64)] * 2
    losses = model(images(*sizes), DetectionTargets(none, labels, masks=layers))
    assert losses["loss_mask"] == 0
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert all(p.grad is not None for n, p in model.named_parameters() if "mask" in n)


def test_of_300_objects_only_a_sample_is_masked(monkeypatch):
    numbers = {"width": 16, "roi_samples": 64}
    model = detector("mask-rcnn", "mobilenet_v3_small", 1, 240, 320, **numbers).train()
    masks = np.zeros((300, 240, 320), bool)
    for number, mask in enumerate(masks):
        y, x = 15 * (number // 20), 16 * (number % 20)
        mask[y : y + 12, x : x + 13] = True
    layers = to_layers(encode(masks))
    boxes = torch.tensor(layer_boxes(layers), dtype=torch.float32)
    seen = []
    real = mask_heads.mask_targets

    def counted(own, objects, regions, *rest):
        seen.append(len(regions))
        return real(own, objects, regions, *rest)

    monkeypatch.setattr(mask_heads, "mask_targets", counted)
    labels = [torch.ones(300, dtype=torch.int64)]
    losses = model(images((240, 320)), DetectionTargets([boxes], labels, masks=[layers]))
    assert seen == [16] and losses["loss_mask"] > 0


def test_an_image_without_detections_has_no_masks():
    model = detector("mask-rcnn", "resnet18", 3, min_score=0.999).eval()
    with torch.no_grad():
        (found,) = model.detect(images((97, 131)))
    assert found.grids.shape == (0, 28, 28)
    assert len(paste_masks(found.grids, found.boxes, (97, 131))) == 0
