"""Networks of clips: torchvision's own outputs, published sizes, and what time does to them."""

import pytest
import torch
import torchvision
from networks import clip_network
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import video as tv

from cvkit.catalog import ARCHS, BACKBONES
from cvkit.errors import UsageError
from cvkit.models.convert import converted, kinetics_tensors, named_parts, require_equal_names
from cvkit.models.listing import list_archs
from cvkit.models.video.frames import EarlyFusion, LateFusion, SingleFrame
from cvkit.models.video.inflated import C3D, I3D
from cvkit.models.video.resnet3d import VideoResNet


def clips(frames=16, side=64, count=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, frames, side, side, generator=generator)


def trained(model, side=64):
    """Give batch norms the statistics of random clips, so that outputs say something."""
    torch.manual_seed(1)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d):
            layer.momentum = None
            layer.reset_running_stats()
    model.train()
    with torch.no_grad():
        model(clips(side=side, seed=3, count=4))
    return model.eval()


def size(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.usefixtures("quick_weights")
@pytest.mark.parametrize("name", ["r3d_18", "mc3_18", "r2plus1d_18"])
def test_residual_networks_give_torchvisions_outputs(name):
    torch.manual_seed(0)
    theirs = trained(getattr(tv, name)(num_classes=7), 32)
    ours = VideoResNet(7, kind=name.rpartition("_")[0]).eval()
    arch, _ = named_parts("video", name, None)
    tensors, unused, count = converted("video", arch, "", theirs.state_dict())
    assert count == 7 and not unused and list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(require_equal_names(ours.state_dict(), tensors))
    for given in (clips(16, 32), clips(8, 32)):
        with torch.no_grad():
            wanted = theirs(given)
            assert wanted.std() > 1e-3 and torch.equal(ours(given)["out"], wanted)
    theirs.train(), ours.train()
    theirs(given).logsumexp(1).sum().backward()
    ours(given)["out"].logsumexp(1).sum().backward()
    own = dict(ours.named_parameters())
    for key, parameter in theirs.named_parameters():
        assert torch.allclose(own[key].grad, parameter.grad, atol=1e-5), key


def test_s3d_gives_torchvisions_outputs():
    torch.manual_seed(0)
    theirs = tv.s3d(num_classes=5).eval()
    ours = clip_network("s3d", None, 5).eval()
    tensors, _, count = converted("video", "s3d", "", theirs.state_dict())
    assert count == 5
    ours.load_state_dict(require_equal_names(ours.state_dict(), tensors))
    given = clips(16, 224, 1)
    with torch.no_grad():
        assert torch.equal(ours(given)["out"], theirs(given))


@pytest.mark.parametrize(
    "arch, classes, own, parameters",
    [
        ("r3d", 400, {}, 33_371_472),
        ("mc3", 400, {}, 11_695_440),
        ("r2plus1d", 400, {}, 31_505_325),
        ("s3d", 400, {}, 8_320_048),
        ("c3d", 101, {}, 78_409_573),
        ("c3d", 487, {}, 79_991_015),
        ("late-fusion", 101, {}, 11_228_325),
        ("late-fusion", 101, {"fusion": "concat"}, 15_423_141),
        ("early-fusion", 101, {}, 11_369_445),
        ("cnn-lstm", 101, {}, 11_990_949),
    ],
)
def test_parameters_are_counted_as_specified(arch, classes, own, parameters):
    given = {"frames": 16, "image_size": 112, "fusion": "pool"} | own
    with torch.device("meta"):
        assert size(clip_network(arch, "resnet18", classes, **given)) == parameters


def test_multiplications_are_counted_as_published():
    rows = {row["arch"]: row for row in list_archs(["video"])}
    assert list(rows) == list(ARCHS["video"])
    wanted = {"r3d": 40.697, "mc3": 43.343, "r2plus1d": 40.519, "s3d": 17.979}
    assert {name: rows[name]["gmacs"] for name in wanted} == wanted
    assert rows["late-fusion"]["backbone"] == "resnet18" and rows["r3d"]["backbone"] is None
    for classes, gmacs in ((101, 38.547), (487, 38.549)):
        with torch.device("meta"), torch.no_grad():
            model, given = C3D(classes), torch.empty(1, 3, 16, 112, 112)
            with FlopCounterMode(display=False) as counter:
                model(given)
        assert round(counter.get_total_flops() / 2e9, 3) == gmacs


@pytest.mark.usefixtures("quick_weights")
@pytest.mark.parametrize("arch", ARCHS["video"])
def test_every_part_learns_and_outputs_are_deterministic(arch):
    torch.manual_seed(0)
    side = 224 if arch == "s3d" else 64
    given = {"frames": 16, "image_size": side, "fusion": "concat", "cell": "gru"}
    model = clip_network(arch, "resnet18", 5, **given, bidirectional=True, hidden=32).train()
    out = model(clips(16, side))["out"]
    assert out.shape == (2, 5)
    nn.functional.cross_entropy(out, torch.tensor([1, 3])).backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    model.eval()
    with torch.no_grad():
        first, second = (model(clips(16, side))["out"] for _ in range(2))
    assert torch.equal(first, second)


TIMELESS = ("single-frame", "late-fusion")


@pytest.mark.usefixtures("quick_weights")
@pytest.mark.parametrize("arch", sorted(ARCHS["video"].keys() - {"s3d", "c3d"}))
def test_only_networks_without_time_ignore_the_order_of_frames(arch):
    torch.manual_seed(0)
    given = {"frames": 16, "image_size": 32, "fusion": "pool", "hidden": 32}
    model = trained(clip_network(arch, "resnet18", 5, **given), 32)
    with torch.no_grad():
        there, back = (model(given)["out"] for given in (clips(side=32), clips(side=32).flip(2)))
    same = torch.allclose(there, back, atol=1e-5)
    assert same == (arch in TIMELESS)


def test_pooled_features_score_as_averaged_frames_do():
    """The last layer is linear, so the mean may be taken before or after it."""
    torch.manual_seed(0)
    model = trained(LateFusion("resnet18", 5, 16, 64, "pool"))
    given = clips(6)
    with torch.no_grad():
        frames = [model(given[:, :, n : n + 1])["out"] for n in range(6)]
        assert torch.allclose(model(given)["out"], torch.stack(frames).mean(0), atol=1e-5)


def test_single_frames_are_averaged_as_probabilities():
    model = trained(SingleFrame("resnet18", 5, 64))
    given = clips(3)
    with torch.no_grad():
        frames = [model(given[:, :, n : n + 1])["out"].exp() for n in range(3)]
        assert torch.allclose(model(given)["out"].exp(), torch.stack(frames).mean(0), atol=1e-6)


def test_early_fusion_takes_channels_frame_by_frame():
    model = EarlyFusion("resnet18", 5, 4, 64).eval()
    given = clips(4)
    joined = torch.cat([given[:, :, n] for n in range(4)], 1)
    with torch.no_grad():
        assert torch.equal(model(given)["out"], model.head(model.backbone(joined)))


@pytest.mark.parametrize("arch", ["early-fusion", "slow-fusion", "late-fusion", "cnn-lstm"])
def test_weights_of_images_are_spread_over_the_frames(arch):
    torch.manual_seed(0)
    model = clip_network(arch, "resnet18", 5, frames=8, image_size=64, fusion="pool")
    plain = torchvision.models.resnet18()
    tensors = {n: t for n, t in plain.state_dict().items() if not n.startswith("fc.")}
    model.load_images(tensors)
    weight = model.backbone.conv1.weight
    frames = {"early-fusion": 8, "slow-fusion": 4}.get(arch, 1)
    assert weight.shape[1] == 3 * frames
    assert torch.allclose(weight.unflatten(1, (frames, 3)).sum(1), plain.conv1.weight, atol=1e-6)
    assert torch.equal(model.backbone.layer4[1].conv2.weight, plain.layer4[1].conv2.weight)


def test_an_inflated_network_gives_a_still_clip_the_image_networks_output():
    torch.manual_seed(0)
    plain = torchvision.models.resnet50(num_classes=5)
    for layer in plain.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None
    plain.train()
    with torch.no_grad():
        plain(torch.randn(4, 3, 64, 64))
    plain.eval()
    model = I3D(5).eval()
    model.load_images(plain.state_dict())
    model.fc.load_state_dict(plain.fc.state_dict())
    image = torch.randn(2, 3, 64, 64).double()
    with torch.no_grad():
        wanted = plain.double()(image)
        found = model.double()(image[:, :, None].expand(-1, -1, 9, -1, -1))["out"]
    assert wanted.std() > 1e-3 and torch.allclose(found, wanted, atol=1e-6)


def test_a_published_network_keeps_its_layers_for_other_classes():
    torch.manual_seed(0)
    theirs = tv.r3d_18(num_classes=400).state_dict()
    ours = VideoResNet(5, kind="r3d")
    before = ours.fc.weight.clone()
    kept = kinetics_tensors(ours.state_dict(), theirs, "r3d.pth")
    ours.load_state_dict(kept, strict=False)
    assert torch.equal(ours.layer3[1].conv1[0].weight, theirs["layer3.1.conv1.0.weight"])
    assert torch.equal(ours.fc.weight, before)
    with pytest.raises(Exception, match="does not fit"):
        kinetics_tensors(VideoResNet(5, kind="mc3").state_dict(), theirs, "r3d.pth")


def test_clips_that_a_network_cannot_take_are_refused():
    with pytest.raises(UsageError, match="slow-fusion needs at least 4"):
        clip_network("slow-fusion", "resnet18", 5, frames=3)
    with pytest.raises(UsageError, match="needs feature maps"):
        clip_network("conv-lstm", "vit_b_16", 5, frames=3)
    model = LateFusion("resnet18", 5, 8, 64, "concat")
    with pytest.raises(ValueError, match="got 16 frames, this network is made for 8"):
        model(clips(16))


@pytest.mark.parametrize("backbone", [n for n, e in BACKBONES.items() if e.target and not e.whole])
def test_frames_are_fused_between_the_stages_of_any_backbone_whose_channels_come_first(backbone):
    with torch.device("meta"), torch.no_grad():
        if not BACKBONES[backbone].channels_first:
            with pytest.raises(UsageError, match=f"--backbone {backbone} cannot be used with"):
                clip_network("slow-fusion", backbone, 5, 8, 64)
            return
        model = clip_network("slow-fusion", backbone, 5, 8, 64).eval()
        assert len(model.merges) == 2  # of three groups of frames: two, then one
        assert model(torch.empty(1, 3, 8, 64, 64))["out"].shape == (1, 5)


def test_c3d_fits_its_input():
    with torch.device("meta"):
        assert C3D(5, 16, 112).fc6.in_features == 8192
        assert C3D(5, 16, 64).fc6.in_features == 512 * 3 * 3
