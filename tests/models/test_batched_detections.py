"""Detections of a batch, chosen at once, are to the bit those of a loop over its images."""

import pytest
import torch
from networks import detector
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.ops import batched_nms

from cvkit import catalog
from cvkit.models.detection.rcnn import PER_CLASS
from cvkit.models.detection.roi_heads import WEIGHTS, on_cpu
from cvkit.models.detection.rpn import UNWEIGHTED
from cvkit.ops import suppression
from cvkit.ops.boxes import clip_boxes, decode_boxes, scale_boxes

SIZES = [(67, 101), (90, 60), (64, 64)]
"""Heights and widths of a batch."""
CLASSES = 4


def network(arch):
    """Return an untrained detector that finds much: no score is too low."""
    facts = catalog.DETECTORS[arch]
    torch.manual_seed(0)
    limits = {"min_score": 0.0, "max_detections": 20}
    if not facts.needs_proposals:
        limits |= {"after_nms": (50, 40), "before_nms": (300, 100)}
    if not facts.fixed_parts:
        limits |= {"width": 8}
    model = detector(arch, "resnet18", CLASSES, 64, 96, **limits).eval()
    for name, weight in model.named_parameters():
        if "bbox_pred" in name or "cls" in name or name.startswith("head"):
            weight.data.normal_(0, 0.1)
    return model


def batch():
    """Return images and regions, in one image none."""
    generator = torch.Generator().manual_seed(1)
    images = [torch.rand(3, *size, generator=generator) for size in SIZES]
    corners = [50 * torch.rand(n, 2, generator=generator) for n in (30, 0, 25)]
    sides = [3 + 40 * torch.rand(len(each), 2, generator=generator) for each in corners]
    return images, [torch.cat((c, c + s), 1) for c, s in zip(corners, sides, strict=True)]


def large(boxes, side):
    return ((boxes[:, 2:] - boxes[:, :2]) >= side).all(1)


def thinned_proposals(rpn, anchors, logits, deltas, sizes_hw):
    """Return the proposals of each image, one image after the other."""
    result = []
    for row, size_hw in enumerate(sizes_hw):
        picked, levels, offset = [], [], 0
        for number, each in enumerate(logits):
            best = each[row].topk(min(rpn.rule.before_nms[1], each.shape[1])).indices
            picked.append(best + offset)
            levels.append(torch.full_like(best, number))
            offset += each.shape[1]
        index, level = torch.cat(picked), torch.cat(levels)
        score = torch.cat(logits, 1)[row, index].sigmoid()
        boxes = decode_boxes(deltas[row, index], anchors[index], UNWEIGHTED)[:, 0]
        boxes = clip_boxes(boxes, size_hw)
        keep = large(boxes, rpn.rule.min_side) & (score >= rpn.rule.min_score)
        boxes, score, level = boxes[keep], score[keep], level[keep]
        best = batched_nms(boxes, score, level, rpn.rule.nms)
        result.append(boxes[best[: rpn.rule.after_nms[1]]])
    return result


def pairs_of(boxes, scores, rule):
    """Return the boxes, scores and labels of an image above the minimum score, and the places."""
    count, classes = scores.shape
    labels = torch.arange(1, classes).repeat(count)
    places = torch.arange(count).repeat_interleave(classes - 1)
    boxes, scores = boxes[:, 1:].reshape(-1, 4), scores[:, 1:].reshape(-1)
    keep = scores > rule.min_score
    return [each[keep] for each in (boxes, scores, labels, places)]


def two_stage_reference(model, images, regions):
    """Return the detections of each image, chosen by a loop."""
    inputs = model.transform(images)
    maps = model.backbone(inputs.images)
    if hasattr(model, "rpn"):
        regions = thinned_proposals(
            model.rpn, *model.rpn.scored_anchors(maps, inputs), inputs.sizes_hw
        )
    else:
        regions = model.transform.boxes(inputs, regions)
    heads = model.roi_heads
    logits, deltas = heads.score(model._for_regions(maps), regions)
    counts = [len(each) for each in regions]
    boxes = decode_boxes(deltas, torch.cat(regions), WEIGHTS).split(counts)
    parts = zip(boxes, F.softmax(logits, -1).split(counts), strict=True)
    for number, (each, scores) in enumerate(parts):
        found = pairs_of(clip_boxes(each, inputs.sizes_hw[number]), scores, heads.rule)
        keep = large(found[0], heads.rule.min_side)
        found = [part[keep] for part in found[:3]]
        best = batched_nms(*found, heads.rule.nms)[: heads.rule.max_detections]
        kept, scores, labels = (part[best] for part in found)
        sizes = inputs.sizes_hw[number], inputs.original_hw[number]
        yield scale_boxes(kept, *sizes), scores, labels


def crops_reference(model, images, regions):
    """Return R-CNN's detections of each image, chosen by a loop."""
    for image, each in zip(images, regions, strict=True):
        features, grids = model.describe(image, each)
        if model.fitted:
            margins = features @ model.svm_weight.T + model.svm_bias
            scores = F.pad(margins.sigmoid(), (1, 0))
        else:
            scores = model.head(features / model.feature_scale).softmax(1)
        boxes = each[:, None].expand(-1, scores.shape[1], -1)
        found = pairs_of(boxes, scores, model.rule)
        if not model.fitted:
            keep = large(found[0], model.rule.min_side)
            found = [part[keep] for part in found]
        ranked = found[1].argsort(descending=True, stable=True).tolist()
        of = {label: [p for p in ranked if found[2][p] == label] for label in range(1, CLASSES + 1)}
        passed = [place for label in of for place in of[label][:PER_CLASS]]
        found = [part[torch.tensor(passed, dtype=torch.int64)] for part in found]
        best = batched_nms(*found[:3], model.rule.nms)[: model.rule.max_detections]
        boxes, scores, labels, places = (part[best] for part in found)
        if model.fitted:
            boxes = clip_boxes(model.correct(boxes, grids[places], labels), image.shape[1:])
        yield boxes, scores, labels


def fitted(model):
    """Give an R-CNN random SVMs and regressors."""
    for name in ("svm_weight", "svm_bias", "ridge_weight", "ridge_mean"):
        getattr(model, name).normal_(0, 0.05)
    model.feature_scale.fill_(0.5)
    model.fitted.fill_(1)
    return model


CASES = [(arch, False) for arch in catalog.DETECTORS]
CASES += [(arch, True) for arch, facts in catalog.DETECTORS.items() if facts.takes_crops]


@pytest.mark.parametrize(("arch", "fit"), CASES)
@pytest.mark.usefixtures("quick_weights")
@torch.no_grad()
def test_detections_are_those_of_a_loop_over_the_images(arch, fit):
    model = fitted(network(arch)) if fit else network(arch)
    images, regions = batch()
    facts = catalog.DETECTORS[arch]
    reference = crops_reference if facts.takes_crops else two_stage_reference
    wanted = list(reference(model, images, regions))
    found = on_cpu(model.detect(images, regions if facts.needs_proposals else None))
    assert sum(len(each.labels) for each in found) > 20
    assert any(each.labels.max() > 1 for each in found if len(each.labels))
    for each, (boxes, scores, labels) in zip(found, wanted, strict=True):
        assert torch.equal(each.boxes, boxes)
        assert torch.equal(each.scores, scores)
        assert torch.equal(each.labels, labels)
        assert (each.grids is not None) == facts.masks
        assert each.grids is None or len(each.grids) == len(labels)


WAITING = {
    *("_local_scalar_dense", "nonzero", "masked_select", "equal", "nms", "unique_consecutive"),
    *("_unique2", "unique_dim", "bincount", "repeat_interleave"),
}
"""Operators that let a program wait for a GPU: the size of their result is on it, or its value."""


class Waits(TorchDispatchMode):
    """Counts the operators that wait for a GPU."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, operator, types, arguments=(), named=None):
        name = operator.__name__.partition(".")[0]
        given = name == "repeat_interleave" and (named or {}).get("output_size") is not None
        masks = [each for each in arguments[1] or () if each is not None] if name == "index" else []
        waits = (name in WAITING and not given) or any(each.dtype == torch.bool for each in masks)
        self.count += waits
        return operator(*arguments, **(named or {}))


@pytest.mark.parametrize("arch", catalog.DETECTORS)
@pytest.mark.usefixtures("quick_weights")
@torch.no_grad()
def test_more_images_do_not_wait_more_often_for_a_gpu(monkeypatch, arch):
    monkeypatch.setattr(suppression, "_image_by_image", suppression._jointly)
    model, (images, regions) = network(arch), batch()
    if catalog.DETECTORS[arch].takes_crops:
        model = fitted(model)
    reads = [0]

    def counted(real):
        def read(tensor, *more):
            reads[0] += 1
            return real(tensor, *more)

        return read

    for name in ("tolist", "cpu", "numpy"):
        monkeypatch.setattr(torch.Tensor, name, counted(getattr(torch.Tensor, name)))
    counts = []
    for many in (1, 3):
        reads[0] = 0
        given = regions[2:] if many == 1 else [regions[2]] * many
        with Waits() as waits:
            found = model.detect([images[0]] * many, given)
            assert all(len(each.labels) for each in on_cpu(found))
        counts.append((waits.count, reads[0]))
    assert counts[0] == counts[1]
    assert sum(counts[0]) < 25


@pytest.mark.parametrize("kinds", [1, 90])
@pytest.mark.parametrize("count", [0, 1, 4000])
def test_all_images_at_once_give_what_each_gives(monkeypatch, kinds, count):
    generator = torch.Generator().manual_seed(count + kinds)
    corner = 300 * torch.rand(count, 2, generator=generator)
    boxes = torch.cat((corner, corner + 5 + 20 * torch.rand(count, 2, generator=generator)), 1)
    scores = torch.rand(count, generator=generator)
    kind = torch.randint(kinds, (count,), generator=generator)
    image = torch.randint(3, (count,), generator=generator).sort().values * 2  # two have no box
    given = (boxes, scores, kind, image)
    made = []
    for find in (suppression._image_by_image, suppression._jointly):
        monkeypatch.setattr(suppression, "_image_by_image", find)
        best, counts = suppression.suppress(*given, images=6, limit=0.3, most=100)
        made.append(best.tolist())
        assert len(counts) == 6 and max(counts) <= 100 and counts[1] == counts[5] == 0
        assert counts == [int((image[best] == number).sum()) for number in range(6)]
        assert count < 2 or 0 < sum(counts) < count
    assert made[0] == made[1]
