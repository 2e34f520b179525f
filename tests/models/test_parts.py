"""Parts of networks against what their papers say, where a shape or a count would not tell."""

import pytest
import torch
from networks import clip_network, detector, segmenter
from torch import nn
from torch.nn import functional as F

from cvkit import catalog
from cvkit.models.backbones import torchvision_network
from cvkit.models.classify import network_parts
from cvkit.models.detection.roi_heads import RegionRule, above_least
from cvkit.models.detection.rpn import ProposalRule, RegionProposals, RPNHead
from cvkit.models.segmentation.deeplab import ASPP, ImagePooling
from cvkit.models.segmentation.fcn import FCN2014, SkipFCN, bilinear_deconv
from cvkit.models.segmentation.pspnet import PyramidPooling
from cvkit.models.segmentation.unet import ClassicUNet
from cvkit.models.video.inflated import InflatedConv
from cvkit.models.video.recurrent import ConvLSTM


@pytest.mark.parametrize("arch", ["deeplab", "deeplab-plus"])
@pytest.mark.parametrize(
    ("stride", "wanted"), [(8, [1, 12, 24, 36]), (16, [1, 6, 12, 18]), (32, [1, 3, 6, 9])]
)
def test_atrous_rates_halve_with_the_map(arch, stride, wanted):
    with torch.device("meta"):
        model = segmenter(arch, "resnet18", 3, output_stride=stride)
    aspp = next(layer for layer in model.modules() if isinstance(layer, ASPP))
    assert [branch[0].dilation[0] for branch in list(aspp.convs)[:-1]] == wanted


def test_aspp_sees_the_whole_map_by_its_pooling():
    torch.manual_seed(0)
    aspp, maps = ASPP(4, (1, 2, 3), width=32).eval(), torch.randn(1, 4, 40, 40)
    far = maps.clone()
    far[..., 30:, 30:] += 5
    with torch.no_grad():
        assert (aspp(maps) - aspp(far))[..., :20, :20].abs().max() > 1e-4
        pooled = ImagePooling(4, 8).eval()(maps)
    torch.testing.assert_close(pooled, pooled[..., :1, :1].expand(1, 8, 40, 40))


def test_pyramid_pooling_averages_over_1_2_3_and_6_bins():
    pyramid, maps = PyramidPooling(8).eval(), torch.randn(1, 8, 12, 12)
    for branch, size in zip(pyramid.branches, (1, 2, 3, 6), strict=True):
        torch.testing.assert_close(branch[0](maps), F.avg_pool2d(maps, 12 // size))
    assert torch.equal(pyramid(maps)[:, :8], maps)  # the map itself comes first


def some_maps(channels, strides, side=64):
    return [torch.randn(1, c, side // s, side // s) for c, s in zip(channels, strides, strict=True)]


def test_unet_has_the_decoded_map_before_the_skip():
    """The order of all weights that were ever trained: first what comes from below."""
    torch.manual_seed(0)
    model = segmenter("unet", "resnet18", 3).eval()
    maps = some_maps(model.backbone.channels, model.backbone.strides)
    with torch.no_grad():
        for block, skip in zip(model.blocks, (256, 128, 64, 64, 0), strict=True):
            block[0][0].weight[:, block[0][0].in_channels - skip :] = 0
        found = model.decode(maps, (64, 64))
        other = [*(torch.randn_like(each) for each in maps[:-1]), maps[-1]]
        assert torch.equal(found, model.decode(other, (64, 64)))
        other = [*maps[:-1], torch.randn_like(maps[-1])]
        assert not torch.equal(found, model.decode(other, (64, 64)))


def test_the_unet_of_2015_has_the_skip_before_the_decoded_map():
    torch.manual_seed(0)
    model, seen = ClassicUNet(2, valid_padding=False).eval(), {}
    model.down[3].register_forward_hook(lambda *found: seen.update(skip=found[-1]))
    model.enlarge[0].register_forward_hook(lambda *found: seen.update(below=found[-1]))
    model.up[0].register_forward_pre_hook(lambda _, given: seen.update(joined=given[0]))
    with torch.no_grad():
        model.logits(torch.randn(1, 3, 32, 32))
    assert torch.equal(seen["joined"], torch.cat([seen["skip"], seen["below"]], 1))


@pytest.mark.parametrize(("stride", "skips"), [(32, 0), (16, 1), (8, 2)])
def test_skips_add_their_scores_as_they_are(stride, skips):
    torch.manual_seed(0)
    with torch.device("meta"):
        backbone = segmenter("fcn-8s", "resnet18", 3).backbone
    model = SkipFCN(backbone, 3, stride=stride)
    for layer in (model.score, *model.skip_scores):
        nn.init.normal_(layer.weight)
    maps = some_maps(backbone.channels, backbone.strides)
    with torch.no_grad():
        scores = model.score(maps[4])
        for number in range(skips):
            skip = model.skip_scores[number](maps[3 - number])
            scores = F.interpolate(scores, skip.shape[-2:], mode="bilinear") + skip
        wanted = F.interpolate(scores, (64, 64), mode="bilinear")
        torch.testing.assert_close(model.decode(maps, (64, 64)), wanted)


def passing(conv, inputs=1):
    """A convolution with one output that is its first input, with the padding of another one."""
    made = nn.Conv2d(inputs, 1, conv.kernel_size, padding=conv.padding)
    nn.init.zeros_(made.weight)
    nn.init.zeros_(made.bias)
    middle = conv.kernel_size[0] // 2
    with torch.no_grad():
        made.weight[0, 0, middle, middle] = 1
    return made


@pytest.mark.parametrize("stride", [32, 16, 8])
def test_the_fcn_of_2014_puts_every_score_over_its_pixels(stride):
    """Layers that pass on a ramp: pooling takes its last pixel, half a cell beyond the middle."""
    with torch.device("meta"):
        model = FCN2014(1, stride=stride)
    model.features = nn.Sequential(
        *(
            passing(layer, 1 if number else 3) if isinstance(layer, nn.Conv2d) else layer
            for number, layer in enumerate(model.features)
        )
    )
    for name, layer in list(model.named_children()):
        if isinstance(layer, nn.Conv2d):
            setattr(model, name, passing(layer))
        elif isinstance(layer, nn.ConvTranspose2d):
            setattr(model, name, bilinear_deconv(1, layer.stride[0]))
    with torch.no_grad():
        found = model.eval().logits(torch.arange(400.0).expand(1, 3, 400, 400))[0, 0]
    beyond = [cell / 2 - 0.5 for cell in (32, 16, 8) if cell >= stride]
    wanted = len(beyond) * torch.arange(120.0, 280.0) + sum(beyond)
    torch.testing.assert_close(found[200, 120:280], wanted, atol=1e-2, rtol=0)


class Given(nn.Module):
    """A backbone that has one map: the images."""

    channels = (4,)

    def forward(self, images):
        return [images]


def test_conv_lstm_is_an_lstm_where_maps_are_one_pixel(monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr("cvkit.models.video.recurrent.dense_backbone", lambda *_: Given())
    model, cell = ConvLSTM("resnet18", 3, hidden=5), nn.LSTMCell(4, 5)
    inputs, forget, candidate, outputs = range(4)  # torch's order of the gates
    gates = torch.arange(20).view(4, 5)
    order = gates[[inputs, forget, outputs, candidate]].flatten()
    with torch.no_grad():
        both = torch.cat((cell.weight_ih, cell.weight_hh), 1)[order]
        model.gates.weight.zero_()[:, :, 1, 1] = both
        model.gates.bias[:] = (cell.bias_ih + cell.bias_hh)[order]
        clips = torch.randn(2, 4, 6, 1, 1)
        state = None
        for frame in clips.flatten(2).unbind(2):
            state = cell(frame, state)
        torch.testing.assert_close(model(clips)["out"], model.head(state[0]))


OF_IMAGES = [name for name, entry in catalog.CLIP_NETWORKS.items() if entry.takes_backbone]


@pytest.mark.parametrize("frames", [11, 16])
@pytest.mark.parametrize("arch", [*OF_IMAGES, "r3d-small"])
def test_every_frame_counts(arch, frames):
    torch.manual_seed(0)
    numbers = {"frames": frames, "image_size": 32, "fusion": "concat", "hidden": 16}
    model = clip_network(arch, "mobilenet_v3_small", 5, **numbers).eval()
    clip = torch.randn(1, 3, frames, 32, 32, requires_grad=True)
    (model(clip)["out"] * torch.randn(5)).sum().backward()
    assert (clip.grad.abs().amax((0, 1, 3, 4)) > 0).tolist() == [True] * frames


def on_meta(arch, **numbers):
    with torch.device("meta"):
        return detector(arch, "resnet18", 2, **numbers)


@pytest.mark.parametrize(
    ("arch", "numbers", "samples"),
    [
        ("faster-rcnn", {}, 512),
        ("faster-rcnn-v2", {}, 512),
        ("faster-rcnn-2015", {}, 128),
        ("fast-rcnn", {}, 64),
        ("fast-rcnn", {"roi_samples": 16}, 16),
        ("mask-rcnn", {}, 512),
        ("mask-rcnn-v2", {}, 512),
    ],
)
def test_a_quarter_of_the_regions_of_a_loss_may_be_objects(arch, numbers, samples):
    heads = on_meta(arch, **numbers).roi_heads
    near = torch.tensor([[0.0, 0, 10, 10]]).repeat(600, 1)
    beside = torch.tensor([[0.0, 5, 10, 25]]).repeat(600, 1)  # IoU 0.2
    chosen = heads.sample(torch.cat((near, beside)), near[:1], torch.tensor([2]))
    assert len(chosen.labels) == samples
    assert chosen.labels.bincount().tolist() == [samples * 3 // 4, 0, samples // 4]


@pytest.mark.parametrize("arch", ["faster-rcnn", "faster-rcnn-2015", "mask-rcnn"])
def test_half_of_the_anchors_of_a_loss_may_be_objects(arch):
    rule = on_meta(arch).rpn.rule
    assert (rule.samples, rule.positive_share, rule.high, rule.low) == (256, 0.5, 0.7, 0.3)
    assert rule.inside_only == (arch == "faster-rcnn-2015")


def test_background_of_fast_rcnn_touches_an_object():
    """Far regions are easy, and there are thousands of them: it trains on IoU 0.1 to 0.5."""
    touching, far = [0.0, 5, 10, 25], [0.0, 9, 10, 60]  # IoU 0.2 and 1/60
    regions, truth = torch.tensor([touching] * 40 + [far] * 40), torch.tensor([[0.0, 0, 10, 10]])
    chosen = on_meta("fast-rcnn").roi_heads.sample(regions, truth, torch.tensor([1]))
    assert len(chosen.labels) == 41 and not (chosen.regions[:, 3] == 60).any()
    chosen = on_meta("faster-rcnn").roi_heads.sample(regions, truth, torch.tensor([1]))
    assert (chosen.regions[:, 3] == 60).sum() == 40


def test_more_proposals_stay_in_training():
    rule = ProposalRule(before_nms=(8, 4), after_nms=(6, 3))
    network = RegionProposals(RPNHead(4, 1), [torch.zeros(1, 4)], rule)
    corner = 20.0 * torch.arange(10.0)[:, None]
    anchors = torch.cat((corner, 0 * corner, corner + 10, 0 * corner + 10), 1)
    given = (anchors, [torch.arange(10.0)[None]], torch.zeros(1, 10, 4), [(20, 200)])
    assert [len(r) for r in network.train().choose(*given)] == [6]
    (found,) = network.eval().choose(*given)
    assert found[:, 0].tolist() == [180, 160, 140]  # the best ones


def test_anchors_that_leave_the_image_do_not_train_the_network_of_2015():
    anchors = torch.tensor([[0.0, 0, 20, 20], [-1, 0, 19, 20], [21, 5, 41, 20], [21, 5, 30, 31]])
    for arch, wanted in (("faster-rcnn-2015", [1, -1, -1, -1]), ("faster-rcnn", [1, 1, 0, 0])):
        network = on_meta(arch).rpn
        label, _ = network._targets(anchors, anchors[:1], (30, 40))
        assert label.tolist() == wanted, arch


def test_the_best_detections_stay():
    """Of one class NMS keeps the best of overlapping boxes; classes do not see each other."""
    one, two = [0.0, 0, 10, 10], [0.0, 1, 10, 10]  # IoU 0.9
    boxes = torch.tensor([one, two, [50.0, 50, 60, 60]])
    scores = torch.tensor([[0.1, 0.8, 0.1], [0.3, 0.7, 0.6], [0.9, 0.06, 0.04]])

    def choose(rule):
        found = above_least(scores, torch.zeros(3, dtype=torch.int64), rule)
        best, counts = found.suppress(boxes[found.regions], 1, rule)
        assert counts == [len(best)]
        found = found.pick(best)
        rows = zip(found.labels.tolist(), found.scores.tolist(), found.regions, strict=True)
        return [
            (label, round(score, 2), boxes[region, :2].tolist()) for label, score, region in rows
        ]

    rows = choose(RegionRule())
    assert rows == [(1, 0.8, [0, 0]), (2, 0.6, [0, 1]), (1, 0.06, [50, 50])]
    assert choose(RegionRule(max_detections=2)) == rows[:2]
    assert choose(RegionRule(min_score=0.6)) == rows[:1]


STEMS = {"resnet": 4, "densenet": 4, "strides": 4, "patch": 2}
"""How much larger a small stem leaves the last map."""
STEMMED = (
    *("resnet18", "densenet121", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0"),
    *("shufflenet_v2_x0_5", "regnet_y_400mf", "convnext_tiny", "swin_t"),
)


@pytest.mark.parametrize("name", STEMMED)
def test_a_small_stem_leaves_two_halvings_out(name):
    assert {catalog.BACKBONES[each].small_stem for each in STEMMED} >= set(STEMS)
    sides = {}
    for small in (False, True):
        with torch.device("meta"):
            body, _ = network_parts(name, 3, small=small, image_size=128, aux=False)
            seen = []
            for layer in body.modules():
                if isinstance(layer, nn.Conv2d):
                    layer.register_forward_hook(lambda *found, seen=seen: seen.append(found[-1]))
            body.eval()(torch.empty(1, 3, 128, 128))
        sides[small] = seen[-1].shape[-1]
    assert sides[True] == STEMS[catalog.BACKBONES[name].small_stem] * sides[False]


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "mobilenet_v3_large", "efficientnet_b0"])
def test_statistics_follow_within_short_runs(name):
    """Torchvision's 0.01 of some networks would need hundreds of steps."""
    with torch.device("meta"):
        layers = torchvision_network(name).modules()
    momenta = {layer.momentum for layer in layers if isinstance(layer, nn.BatchNorm2d)}
    assert momenta == {0.1}


@pytest.mark.parametrize("arch", catalog.ARCHS["instance"])
def test_masks_are_cut_out_of_14_cells_and_boxes_out_of_7(arch):
    heads = on_meta(arch).roi_heads
    assert (heads.mask_features.side, heads.features.side) == (14, 7)


def test_an_inflated_convolution_gives_every_frame_of_a_still_clip_the_same():
    torch.manual_seed(0)
    conv = InflatedConv(2, 3, (3, 3, 3), padding=(1, 1, 1))
    image = torch.randn(1, 2, 6, 6)
    wanted = F.conv2d(image, conv.weight.sum(2), conv.bias, padding=1)
    found = conv(image[:, :, None].expand(-1, -1, 4, -1, -1))
    torch.testing.assert_close(found, wanted[:, :, None].expand(-1, -1, 4, -1, -1))
