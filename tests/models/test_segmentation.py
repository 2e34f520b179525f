"""Architectures against torchvision, the papers' parameter counts, and one common contract."""

import pytest
import torch
import torchvision
from networks import segmenter
from torch import nn
from torch.nn import functional as F

from cvkit import catalog
from cvkit.errors import UsageError
from cvkit.models.listing import complexity
from cvkit.models.segmentation.fcn import bilinear_kernel
from cvkit.models.segmentation.unet import ClassicUNet, mirror_pad

ARCHS = catalog.ARCHS["segment"]


def on_meta(arch, backbone, classes=21, **options):
    with torch.device("meta"):
        return segmenter(arch, backbone, classes, **options)


def calibrate(model):
    """Give random weights batch statistics of their own, so that activations stay ordinary."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None
    with torch.no_grad():
        model.train()(torch.randn(4, 3, 65, 65))
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 0.1
    return model


@pytest.mark.usefixtures("quick_weights")
@pytest.mark.parametrize(
    ("arch", "builder", "backbone"),
    [
        ("fcn", "fcn_resnet50", "resnet50"),
        ("fcn", "fcn_resnet101", "resnet101"),
        ("deeplab", "deeplabv3_resnet50", "resnet50"),
        ("deeplab", "deeplabv3_resnet101", "resnet101"),
    ],
)
def test_torchvision_state_dict_gives_torchvision_outputs(arch, builder, backbone):
    torch.manual_seed(0)
    reference = getattr(torchvision.models.segmentation, builder)(
        weights=None, weights_backbone=None, num_classes=21, aux_loss=True
    )
    calibrate(reference)
    ours = segmenter(arch, backbone)
    ours.load_state_dict(reference.state_dict())
    for model in (ours, reference):
        for layer in model.modules():
            if isinstance(layer, nn.Dropout):
                layer.p = 0.0
    for size_hw in ((65, 65), (97, 131)):
        images = torch.randn(2, 3, *size_hw)
        for training in (False, True):
            with torch.no_grad():
                expected = reference.train(training)(images)
                found = ours.train(training)(images)
            assert found.keys() == expected.keys() == {"out", "aux"}
            assert expected["out"].std() > 0.05, "a constant output would prove nothing"
            for name in expected:
                torch.testing.assert_close(found[name], expected[name], rtol=0, atol=1e-5)
    with torch.no_grad():
        images = torch.randn(1, 3, 33, 47)
        torch.testing.assert_close(
            ours.eval().logits(images), reference.eval()(images)["out"], rtol=0, atol=1e-5
        )


@pytest.mark.parametrize(
    ("arch", "backbone", "builder"),
    [
        ("fcn", "resnet50", "FCN_ResNet50_Weights"),
        ("fcn", "resnet101", "FCN_ResNet101_Weights"),
        ("deeplab", "resnet50", "DeepLabV3_ResNet50_Weights"),
        ("deeplab", "resnet101", "DeepLabV3_ResNet101_Weights"),
        ("deeplab", "mobilenet_v3_large", "DeepLabV3_MobileNet_V3_Large_Weights"),
        ("lraspp", "mobilenet_v3_large", "LRASPP_MobileNet_V3_Large_Weights"),
    ],
)
def test_size_equals_torchvisions_published_figures(arch, backbone, builder):
    meta = torchvision.models.get_weight(f"{builder}.COCO_WITH_VOC_LABELS_V1").meta
    positions = dict(catalog.SEGMENTERS[arch].positions).get(backbone)
    parameters, gmacs = complexity(on_meta(arch, backbone, positions=positions), (520, 520))
    assert parameters == meta["num_params"]
    assert round(gmacs, 3) == meta["_ops"]


@pytest.mark.parametrize(
    ("arch", "backbone", "options", "parameters"),
    [
        ("deeplab", "resnet50", {"aux": False}, 39_638_869),
        ("deeplab-plus", "resnet50", {}, 40_352_181),
        ("deeplab-plus", "resnet101", {}, 59_344_309),
        ("pspnet", "resnet50", {"aux": False}, 46_592_597),
        ("pspnet", "resnet50", {}, 48_957_802),
        ("pspnet", "resnet101", {"aux": False}, 65_584_725),
        ("pspnet", "resnet101", {}, 67_949_930),
        ("unet", "resnet18", {}, 14_331_109),
        ("unet", "resnet34", {}, 24_439_269),
        ("unet", "resnet34", {"classes": 1}, 24_436_369),
        ("unet", "resnet50", {}, 32_524_005),
        ("unet", "unet-bn", {}, 31_038_933),
        ("fcn-8s", "fcn2014", {}, 134_362_751 + 2 * 21**2 * 16 + 21**2 * 256),
        ("fcn-16s", "fcn2014", {}, 134_357_354 + 21**2 * 16 + 21**2 * 1024),
        ("fcn-32s", "fcn2014", {}, 134_346_581 + 21**2 * 4096),
    ],
)
def test_parameter_counts_equal_the_specification(arch, backbone, options, parameters):
    model = on_meta(arch, backbone, **options)
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize(
    ("arch", "backbone", "options", "size", "gmacs"),
    [
        ("deeplab-plus", "resnet50", {"output_stride": 16}, 513, 72.195),
        ("deeplab-plus", "resnet50", {"output_stride": 8}, 513, 187.903),
        ("deeplab-plus", "resnet101", {"output_stride": 16}, 513, 92.820),
        ("deeplab", "resnet50", {"output_stride": 16, "aux": False}, 513, 51.078),
        ("deeplab", "resnet50", {"output_stride": 8, "aux": False}, 513, 168.653),
        ("pspnet", "resnet50", {"aux": False}, 473, 155.567),
        ("unet", "unet-bn", {}, 512, 193.005),
    ],
)
def test_gmacs_equal_the_specification(arch, backbone, options, size, gmacs):
    assert round(complexity(on_meta(arch, backbone, **options), (size, size))[1], 3) == gmacs


@pytest.mark.parametrize(
    ("arch", "backbone", "size", "gmacs"),
    [
        ("unet", "resnet18", 512, 22.3),
        ("unet", "resnet34", 512, 32.0),
        ("unet", "resnet50", 512, 43.3),
        ("fcn-32s", "fcn2014", 500, 181.4),
        ("fcn-8s", "fcn2014", 500, 181.5),
        ("deeplab-plus", "resnet101", 513, 92.8),
    ],
)
def test_gmacs_equal_the_specification_to_its_decimal(arch, backbone, size, gmacs):
    assert round(complexity(on_meta(arch, backbone), (size, size))[1], 1) == gmacs


def test_original_unet_is_the_papers_network():
    with torch.device("meta"):
        net = ClassicUNet(2, in_channels=1, valid_padding=True)
    assert sum(p.numel() for p in net.parameters()) == 31_030_658
    assert net.tile(torch.empty(1, 1, 572, 572, device="meta")).shape == (1, 2, 388, 388)


def test_original_fcn_keeps_the_image_size_and_its_fixed_bilinear_kernels():
    for stride, arch in ((32, "fcn-32s"), (16, "fcn-16s"), (8, "fcn-8s")):
        net = on_meta(arch, "fcn2014")
        assert net.logits(torch.empty(1, 3, 333, 500, device="meta")).shape == (1, 21, 333, 500)
        assert not net.up.weight.requires_grad
        assert net.up.kernel_size == (2 * stride, 2 * stride)


def test_bilinear_kernel_has_the_golden_values():
    assert bilinear_kernel(4)[0].tolist() == [0.0625, 0.1875, 0.1875, 0.0625]
    assert [bilinear_kernel(size).sum().item() for size in (4, 16, 64)] == [4, 64, 1024]


def test_deconv_starts_as_interpolation_away_from_the_border():
    torch.manual_seed(0)
    smooth = segmenter("fcn-8s", "resnet18", 5)
    deconv = segmenter("fcn-8s", "resnet18", 5, deconv=True)
    missing = deconv.load_state_dict(smooth.state_dict(), strict=False)
    assert all(name.startswith("deconvs.") for name in missing.missing_keys)
    images = torch.randn(1, 3, 256, 256)
    with torch.no_grad():
        difference = (smooth.eval().logits(images) - deconv.eval().logits(images)).abs()
        assert smooth.logits(images).std() > 0
    assert difference[..., 64:-64, 64:-64].max() < 1e-5 * difference.max().clamp(min=1)


DENSE = [n for n in catalog.backbones_of("segment") if not catalog.BACKBONES[n].whole]


def combinations():
    for arch in ARCHS:
        yield arch, "resnet18"
        yield arch, "mobilenet_v3_small"
    yield "unet", "unet-bn"
    yield "unet", "unet2015"
    for backbone in DENSE:
        yield "unet", backbone
    for backbone in ("vgg16", "resnet50", "densenet121", "convnext_tiny", "swin_t"):
        yield "deeplab", backbone
        yield "deeplab-plus", backbone


@pytest.mark.usefixtures("quick_weights")
@pytest.mark.parametrize(("arch", "backbone"), sorted(set(combinations())))
def test_every_arch_keeps_the_contract(arch, backbone):
    torch.manual_seed(0)
    model = segmenter(arch, backbone, 3)
    images = torch.randn(2, 3, 33, 65)
    outputs = model.train()(images)
    for logits in outputs.values():
        assert logits.shape == (2, 3, 33, 65)
    truth = torch.randint(0, 3, (2, 33, 65))
    sum(F.cross_entropy(logits, truth) for logits in outputs.values()).backward()
    silent = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not silent
    model.eval()
    with torch.no_grad():
        first = model.logits(images)
        assert torch.allclose(first[:1], model.logits(images[:1]), atol=1e-4)
        with torch.device("meta"):
            again = segmenter(arch, backbone, 3)
        again.load_state_dict(model.state_dict(), assign=True)
        assert torch.equal(first, again.eval().logits(images))
        assert model.logits(images[..., :47]).shape == (2, 3, 33, 47)


@pytest.mark.parametrize("backbone", DENSE)
def test_backbone_maps_have_the_channels_and_strides_they_announce(backbone):
    entry = catalog.BACKBONES[backbone]
    for stride in entry.output_strides:
        with torch.device("meta"):
            features = catalog.resolve(entry.target)(entry.builder, output_stride=stride)
        maps = features(torch.empty(1, 3, 64, 96, device="meta"))
        assert [m.shape[1] for m in maps] == features.channels
        assert [64 // m.shape[2] for m in maps] == features.strides
        assert features.strides[-1] == stride


@pytest.mark.usefixtures("quick_weights")
def test_dilated_resnet_equals_torchvisions_own_dilation():
    torch.manual_seed(0)
    reference = torchvision.models.resnet50(replace_stride_with_dilation=[False, True, True])
    ours = catalog.resolve(catalog.BACKBONES["resnet50"].target)("resnet50", output_stride=8)
    state = {k: v for k, v in reference.state_dict().items() if not k.startswith("fc.")}
    ours.load_state_dict(state)
    found = [m.dilation for m in ours.layer4.modules() if getattr(m, "kernel_size", 0) == (3, 3)]
    assert found == [(2, 2), (4, 4), (4, 4)]


def test_mirror_pad_repeats_for_small_images():
    image = torch.arange(6.0).view(1, 1, 2, 3)
    padded = mirror_pad(image, 2, [5, 8])
    assert padded[0, 0, 2].tolist() == [2, 1, 0, 1, 2, 1, 0, 1]
    assert padded[0, 0, :, 2].tolist() == [0, 3, 0, 3, 0]


@pytest.mark.parametrize(
    ("arch", "backbone", "options", "word"),
    [
        ("unet3", "resnet18", {}, "unet"),
        ("fcn", "resnet8", {}, "resnet18"),
        ("pspnet", "unet2015", {}, "unet"),
        ("fcn", "vgg16", {"output_stride": 8}, "32"),
        ("unet", "resnet18", {"deconv": True}, "fcn-8s"),
    ],
)
def test_impossible_combinations_are_refused_with_a_hint(arch, backbone, options, word):
    with pytest.raises(UsageError, match=word):
        segmenter(arch, backbone, **options)
