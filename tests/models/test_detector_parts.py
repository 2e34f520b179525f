"""Parts of detectors against sums written down by hand; test_detectors has whole ones."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cvkit.models.detection.detectors import FasterRCNN, rest_batch_norms
from cvkit.models.detection.fpn import FeaturePyramid
from cvkit.models.detection.inputs import DetectionInputs, PaddedBatch
from cvkit.models.detection.mask_heads import MaskRoIHeads
from cvkit.models.detection.roi_heads import (
    Detections,
    RegionRule,
    RoIFeatures,
    RoIHeads,
    SampledRegions,
)
from cvkit.models.detection.rpn import ProposalRule, RegionProposals, RPNHead, grid_anchors
from cvkit.ops.boxes import encode_boxes
from cvkit.structures import MaskLayers

TRUTH = torch.tensor([[10.0, 10, 30, 30]])


def smooth_l1(difference, beta):
    size = difference.abs()
    return torch.where(size < beta, size**2 / (2 * beta), size - beta / 2).sum()


def proposals(**rule):
    return RegionProposals(RPNHead(4, 1), [torch.zeros(1, 4)], ProposalRule(**rule))


def test_anchors_sit_at_multiples_of_the_stride():
    cells = [torch.tensor([[-2.0, -1, 2, 1]]), torch.tensor([[-8.0, -8, 8, 8]])]
    fine, coarse = grid_anchors(cells, [(2, 3), (1, 1)], (16, 24))
    centres = (fine[:, :2] + fine[:, 2:]) / 2
    assert centres.tolist() == [[0, 0], [8, 0], [16, 0], [0, 8], [8, 8], [16, 8]]
    assert coarse.tolist() == [[-8, -8, 8, 8]]


def test_the_loss_of_proposals_is_a_mean_over_the_sampled_anchors():
    """One positive, one in between, two negatives: three count."""
    anchors = torch.tensor([[10.0, 11, 30, 31], [10, 20, 30, 40], [50, 50, 70, 70], [0, 60, 9, 80]])
    logits, deltas = torch.tensor([[2.0, 3.0, -1.0, 0.5]]), torch.randn(1, 4, 4)
    network = proposals()
    found = network.losses(anchors, [logits[:, :3], logits[:, 3:]], deltas, [(90, 90)], [TRUTH])
    positive, negative = F.logsigmoid(logits[0, [0]]), F.logsigmoid(-logits[0, [2, 3]])
    wanted = -(positive.sum() + negative.sum()) / 3
    torch.testing.assert_close(found["loss_objectness"], wanted)
    target = encode_boxes(TRUTH, anchors[:1], (1.0, 1.0, 1.0, 1.0))
    wanted = smooth_l1(deltas[0, :1] - target, 1 / 9) / 3
    torch.testing.assert_close(found["loss_rpn_box_reg"], wanted)


def test_proposals_are_cut_to_the_image_and_thinned_out_on_each_level():
    anchors = torch.tensor([[0.0, 0, 20, 20], [0, 1, 20, 20], [0, 0, 20, 20], [90, 90, 120, 130]])
    logits = [torch.tensor([[3.0, 2.0]]), torch.tensor([[1.0, 0.0]])]
    (found,) = proposals().choose(anchors, logits, torch.zeros(1, 4, 4), [(100, 110)])
    wanted = [[0, 0, 20, 20], [0, 0, 20, 20], [90, 90, 110, 100]]  # one of each level, and the last
    assert found.tolist() == wanted


def heads(rule, logits, deltas):
    """Heads that say given things of any regions."""
    made = RoIHeads(RoIFeatures([4], 7, "align"), nn.Identity(), nn.Identity(), rule)
    made.score = lambda maps, regions: (logits, deltas)
    return made


@pytest.mark.parametrize("beta", [1 / 9, 1.0])
def test_the_loss_of_regions_is_a_mean_over_all_of_them(beta):
    torch.manual_seed(0)
    logits, deltas = torch.randn(4, 3), torch.randn(4, 12)
    regions = torch.tensor([[10.0, 12, 30, 30], [50, 50, 60, 60], [0, 0, 5, 5], [12, 10, 33, 30]])
    labels, index = torch.tensor([2, 0, 0, 1]), torch.zeros(4, dtype=torch.int64)
    sample = SampledRegions(regions, labels, TRUTH.repeat(4, 1), index)
    found = heads(RegionRule(beta=beta), logits, deltas).box_losses([], [sample])
    own = logits.log_softmax(1)[torch.arange(4), labels]
    torch.testing.assert_close(found["loss_classifier"], -own.mean())
    target = encode_boxes(TRUTH.repeat(2, 1), regions[[0, 3]], (10.0, 10.0, 5.0, 5.0))
    difference = torch.stack((deltas[0, 8:12], deltas[3, 4:8])) - target
    torch.testing.assert_close(found["loss_box_reg"], smooth_l1(difference, beta) / 4)


def test_true_boxes_are_among_the_regions_of_a_loss():
    sample = heads(RegionRule(), None, None).sample(
        torch.tensor([[50.0, 50, 60, 60], [10, 10, 30, 31]]), TRUTH, torch.tensor([3])
    )
    assert sample.labels.tolist() == [0, 3, 3]
    assert sample.regions.tolist()[2] == TRUTH[0].tolist()


def test_detections_are_decoded_and_share_their_probability_with_background():
    logits = torch.tensor([[1.0, 3.0, 0.0]])
    region = torch.tensor([[10.0, 10, 30, 50]])
    deltas = torch.zeros(1, 12)
    deltas[0, 4:8] = torch.tensor([1.0, -1.0, 0.0, 5 * torch.tensor(0.5).log().item()])
    made = heads(RegionRule(min_score=0.2), logits, deltas)
    (found,) = made.detect([], [region], [(100, 100)])
    # The centre (20, 30) moves by a tenth of the sides, and the height halves.
    torch.testing.assert_close(found.boxes, torch.tensor([[12.0, 16, 32, 36]]))
    assert found.labels.tolist() == [1]
    torch.testing.assert_close(found.scores, logits.softmax(1)[0, 1:2])


class Fixed(nn.Module):
    """Stands for every part of a detector: one map, one region, one detection."""

    extra = 0

    def forward(self, images):
        return [images]

    def propose(self, maps, batch):
        return [torch.zeros(1, 4)]

    def detect(self, maps, regions, sizes_hw):
        box = torch.tensor([[0.0, 0, sizes_hw[0][1], sizes_hw[0][0]]])
        return [Detections(box, torch.ones(1), torch.ones(1))]


def test_detections_are_in_the_pixels_of_the_image():
    model = FasterRCNN(DetectionInputs((64,), 64, (0.5,) * 3, (0.25,) * 3), *[Fixed()] * 3).eval()
    (found,) = model.detect([torch.rand(3, 100, 200)])
    torch.testing.assert_close(found.boxes, torch.tensor([[0.0, 0, 200, 100]]))


def doubled(maps):
    return maps.repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_a_pyramid_adds_the_enlarged_map_from_above():
    pyramid = FeaturePyramid([1, 1, 1], 1)
    for block in (*pyramid.inner_blocks, *pyramid.layer_blocks):
        nn.init.zeros_(block[0].weight)
        middle = block[0].kernel_size[0] // 2
        block[0].weight.data[0, 0, middle, middle] = 1  # passes its input on
    maps = [torch.randn(1, 1, side, side) for side in (12, 6, 3)]
    fine, middle, coarse, extra = pyramid(maps)
    torch.testing.assert_close(coarse, maps[2])
    torch.testing.assert_close(
        middle, maps[1] + maps[2].repeat_interleave(2, 2).repeat_interleave(2, 3)
    )
    torch.testing.assert_close(
        fine, maps[0] + middle.repeat_interleave(2, 2).repeat_interleave(2, 3)
    )
    torch.testing.assert_close(extra, coarse[..., ::2, ::2])


def test_masks_learn_from_objects_of_their_own_class():
    torch.manual_seed(0)
    logits = torch.randn(2, 4, 8, 8)  # two positive regions, three classes and background
    logits[0, 1], logits[1, 3] = torch.linspace(4, -4, 8), 4.0
    made = MaskRoIHeads(heads(RegionRule(), None, None), None, nn.Identity(), nn.Identity())
    seen = []
    made.mask_logits = lambda maps, regions: seen.append(regions) or logits
    covered = np.zeros((1, 64, 64), np.uint16)
    covered[0, :35, 5:20], covered[0, 36:, 36:] = 1, 2
    masks = MaskLayers(covered, np.zeros(2, int), np.array([1, 2]))
    regions = torch.tensor([[10.0, 10, 30, 30], [0, 0, 5, 5], [40, 40, 60, 60]])
    sample = SampledRegions(regions, torch.tensor([1, 0, 3]), regions, torch.tensor([0, 0, 1]))
    found = made.mask_loss([], [sample], [masks], [(64, 64)])
    assert torch.equal(seen[0][0], regions[[0, 2]])
    left = torch.zeros(8, 8)
    left[:, :4] = 1  # the object fills the left half of its region, and the other one all of it
    shares = torch.stack((left, torch.ones(8, 8)))
    wanted = F.binary_cross_entropy_with_logits(logits[[0, 1], [1, 3]], shares)
    others = [
        F.binary_cross_entropy_with_logits(logits[[0, 1], [1, 1]], shares),
        F.binary_cross_entropy_with_logits(logits[[0, 1], [1, 3]], shares.transpose(1, 2)),
    ]
    # Along the edge a cell sees half a pixel of its neighbours.
    assert abs(found - wanted) < 0.02 < 0.05 < min(abs(found - other) for other in others)


def test_resting_norms_have_nothing_to_learn():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    rest_batch_norms(net)
    assert [p.requires_grad for p in net.parameters()] == [True, True, False, False]


def test_a_padded_batch_keeps_what_was_before():
    batch = PaddedBatch(torch.zeros(1, 3, 32, 32), [(20, 30)], [(40, 60)])
    (boxes,) = DetectionInputs.boxes(batch, [torch.tensor([[2.0, 4, 20, 40]])])
    assert boxes.tolist() == [[1, 2, 10, 20]]
