"""Segmentation networks of other projects give the logits of those projects."""

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cvkit import catalog
from cvkit.console import Reporter
from cvkit.errors import CvkitError
from cvkit.models.layouts import segmenters
from cvkit.models.layouts.smp_settings import settings_of
from cvkit.options.segment import SegmentTrain
from cvkit.options.tools import WeightsImport
from cvkit.tasks.segment.network import Network
from cvkit.tasks.segment.task import Segment
from cvkit.tasks.torchvision_import import imported_model

pytestmark = pytest.mark.usefixtures("quick_weights")
CLASSES = 4
SMP = {
    "unet": ("Unet", "resnet18"),
    "deeplab": ("DeepLabV3", "resnet18"),
    "deeplab-plus": ("DeepLabV3Plus", "resnet18"),
    "pspnet": ("PSPNet", "resnet18"),
}
"""Networks of segmentation_models.pytorch with a counterpart, each with an encoder."""


def noise(*shape):
    """Return a tensor of random numbers, which are repeated to save time."""
    count = int(np.prod(shape))
    block = torch.randn(8191)  # a prime, so that no two rows are equal
    return block.repeat(-(-count // len(block)))[:count].view(shape).clone()


def settled(model):
    """Give batch norms statistics that have an effect."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_var, 0.5, 2)
            nn.init.normal_(layer.running_mean, std=0.1)
    return model.eval()


@pytest.fixture
def imported(tmp_path):
    def run(content, arch, backbone, name="s.pth", classes=CLASSES):
        torch.save(content, tmp_path / name)
        (tmp_path / "classes.txt").write_text("".join(f"c{n}\n" for n in range(classes)))
        asked = WeightsImport(
            file=tmp_path / name,
            out=tmp_path / "s.safetensors",
            task="segment",
            arch=arch,
            backbone=backbone,
            classes=str(tmp_path / "classes.txt"),
        )
        tensors, header, unused = imported_model(asked)
        assert not unused
        network = Network(**header["network"]).build(classes)
        network.load_state_dict(tensors)
        return network.eval(), header

    return run


@pytest.mark.parametrize("arch", SMP)
def test_a_network_of_smp_has_its_logits(imported, tmp_path, arch):
    smp = pytest.importorskip("segmentation_models_pytorch", reason="it is not installed")

    name, backbone = SMP[arch]
    torch.manual_seed(0)
    model = settled(getattr(smp, name)(backbone, encoder_weights=None, classes=CLASSES))
    state = {f"model.{key}": value for key, value in model.state_dict().items()}
    state["loss.weight"] = torch.ones(CLASSES)
    (tmp_path / "config.json").write_text(json.dumps(model.config | {"_model_class": name}))
    network, header = imported({"state_dict": state, "epoch": 3}, arch, backbone)
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        expected = model(images)
        found = network.logits(images)
    assert expected.std() > 0.01, "the logits say nothing"
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert header["imported"]["names"].endswith("of segmentation_models.pytorch")
    assert header["imported"]["left"] == {"parts beside the network": 1}
    assert header["preprocessing"]["resize"] == "native"


SETTINGS = (
    ("deeplab", {"encoder_output_stride": 16}),
    ("deeplab", {"decoder_atrous_rates": [2, 3, 5]}),
    ("deeplab-plus", {"encoder_output_stride": 8}),
    ("deeplab-plus", {"decoder_atrous_rates": [2, 3, 5]}),
)
"""Settings that the tensors do not show."""


@pytest.mark.parametrize(("arch", "settings"), SETTINGS)
def test_settings_beside_a_network_of_smp_are_taken(imported, tmp_path, arch, settings):
    smp = pytest.importorskip("segmentation_models_pytorch", reason="it is not installed")

    name, backbone = SMP[arch]
    torch.manual_seed(0)
    make = getattr(smp, name)
    model = settled(make(backbone, encoder_weights=None, classes=CLASSES, **settings))
    (tmp_path / "config.json").write_text(json.dumps(model.config | {"_model_class": name}))
    network, header = imported(model.state_dict(), arch, backbone)
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(network.logits(images), model(images), atol=1e-5, rtol=1e-5)
    assert header["imported"]["settings"].endswith("from config.json")


@pytest.mark.parametrize("arch", SMP)
def test_one_score_of_smp_becomes_two_classes_of_the_same_probability(imported, arch):
    smp = pytest.importorskip("segmentation_models_pytorch", reason="it is not installed")

    name, backbone = SMP[arch]
    torch.manual_seed(0)
    model = settled(getattr(smp, name)(backbone, encoder_weights=None, classes=1))
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        model.segmentation_head[0].bias -= model(images).median()
    network, header = imported(model.state_dict(), arch, backbone, classes=2)
    assert header["imported"]["settings"].startswith("assumed to be segm")
    with torch.no_grad():
        scores, logits = model(images), network.logits(images)
    torch.testing.assert_close(logits.softmax(1)[:, 1:], scores.sigmoid(), atol=1e-5, rtol=1e-5)
    assert logits.argmax(1).float().mean() not in (0, 1), "the labels say nothing"


POSSIBLE = {layout.arch: layout.possible for layout in segmenters.SMP_LAYOUTS if layout.arch}
REFUSED = (
    *((arch, {"in_channels": 1}) for arch in SMP),
    *((arch, {"encoder_depth": 4}) for arch in SMP),
    *((arch, {"activation": "sigmoid"}) for arch in SMP),
    *((arch, {"a_new_setting": True}) for arch in SMP),
    ("unet", {"decoder_interpolation": "bilinear"}),
    ("unet", {"decoder_attention_type": "scse"}),
    ("unet", {"decoder_use_norm": "layernorm"}),
    ("unet", {"decoder_atrous_rates": [1, 2, 3]}),
    ("pspnet", {"psp_out_channels": 256}),
    ("pspnet", {"upsampling": 4}),
    ("pspnet", {"encoder_output_stride": 8}),
    ("deeplab", {"decoder_aspp_separable": True}),
    ("deeplab", {"encoder_output_stride": 32}),
    ("deeplab", {"encoder_output_stride": True}),
    ("deeplab", {"upsampling": 16}),
    ("deeplab", {"decoder_atrous_rates": [1, 2]}),
    ("deeplab-plus", {"decoder_atrous_rates": [1, 2, 0]}),
    ("deeplab-plus", {"decoder_aspp_separable": False}),
    ("deeplab-plus", {"upsampling": 8}),
)


@pytest.mark.parametrize(("arch", "settings"), REFUSED)
def test_settings_of_smp_that_cvkit_does_not_have_are_refused_by_name(arch, settings):
    (name,) = settings
    with pytest.raises(ValueError, match=f"^{name} is "):
        settings_of(POSSIBLE[arch], 8, settings, CLASSES)


def test_a_refused_setting_of_smp_names_the_file(imported, tmp_path):
    (tmp_path / "config.json").write_text('{"encoder_name": "resnet18", "in_channels": 4}')
    state = {
        "encoder.conv1.weight": torch.zeros(1),
        "segmentation_head.0.weight": torch.zeros(4, 1, 3, 3),
        "decoder.blocks.0.conv1.0.weight": torch.zeros(1),
    }
    with pytest.raises(CvkitError, match=r"config\.json: in_channels is 4, ") as caught:
        imported(state, "unet", "resnet18")
    assert caught.value.code == "import.unsupported"


@pytest.mark.parametrize("arch", SMP)
def test_an_encoder_of_timm_is_imported_in_a_u_net_only(imported, arch):
    smp = pytest.importorskip("segmentation_models_pytorch", reason="it is not installed")

    torch.manual_seed(0)
    make = getattr(smp, SMP[arch][0])
    model = settled(make("tu-resnet18", encoder_weights=None, classes=CLASSES))
    if arch != "unet":
        with pytest.raises(CvkitError, match=r"one of timm \(tu-") as caught:
            imported(model.state_dict(), arch, "resnet18")
        assert caught.value.code == "import.unsupported"
        return
    network, _ = imported(model.state_dict(), arch, "resnet18")
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(network.logits(images), model(images), atol=1e-5, rtol=1e-5)


UNKNOWN = {
    "decoder.p5.weight": "FPN",
    "decoder.blocks.x_0_0.conv1.0.weight": "U-Net++",
    "decoder.blocks.0.attention1.attention.cSE.1.weight": "U-Net with attention",
    "decoder.center.top_conv.weight": "MA-Net",
    "decoder.blocks.0.block.0.0.weight": "Linknet",
    "decoder.fpa.branch1.1.conv.weight": "PAN",
}


@pytest.mark.parametrize("key", UNKNOWN)
def test_a_network_of_smp_that_cvkit_does_not_have_is_refused_by_its_name(imported, key):
    state = {key: torch.zeros(1), "segmentation_head.0.weight": torch.zeros(4, 1, 3, 3)}
    state["encoder.conv1.weight"] = torch.zeros(1)
    if "attention" in key:  # the rest of it is a U-Net
        state["decoder.blocks.0.conv1.0.weight"] = torch.zeros(1)
    with pytest.raises(CvkitError, match=UNKNOWN[key].replace("+", r"\+")) as caught:
        imported(state, "unet", "resnet18")
    assert caught.value.code == "import.unsupported"
    assert "--pretrained" in caught.value.hint


def test_the_flags_must_name_the_network_of_the_file(imported):
    state = {
        "encoder.conv1.weight": torch.zeros(1),
        "segmentation_head.0.weight": torch.zeros(4, 1, 3, 3),
        "decoder.blocks.0.conv1.0.weight": torch.zeros(1),
    }
    with pytest.raises(CvkitError, match=r"names of U-Net of segm.*, not of --arch fcn") as caught:
        imported(state, "fcn", "resnet18")
    assert caught.value.hint == "--arch unet"
    with pytest.raises(CvkitError, match=r"--backbone vgg16: U-Net of .* with a ResNet only"):
        imported(state, "unet", "vgg16")


class Backbone:
    """mmsegmentation's ResNetV1c-50, dilated to stride 8: names, shapes and forward."""

    def __init__(self):
        torch.manual_seed(0)
        self.state = {}
        self.add("stem.0", "stem.1", (32, 3, 3, 3))
        self.add("stem.3", "stem.4", (32, 32, 3, 3))
        self.add("stem.6", "stem.7", (64, 32, 3, 3))
        given = 64
        for stage, count in enumerate((3, 4, 6, 3)):
            middle = 64 * 2**stage
            for block in range(count):
                place = f"layer{stage + 1}.{block}"
                if not block:
                    self.add(
                        f"{place}.downsample.0", f"{place}.downsample.1", (4 * middle, given, 1, 1)
                    )
                self.add(f"{place}.conv1", f"{place}.bn1", (middle, given, 1, 1))
                self.add(f"{place}.conv2", f"{place}.bn2", (middle, middle, 3, 3))
                self.add(f"{place}.conv3", f"{place}.bn3", (4 * middle, middle, 1, 1), 0.3)
                given = 4 * middle

    def add(self, conv, norm, shape, gain=1.0):
        layer(self.state, f"backbone.{conv}", f"backbone.{norm}", shape, gain)

    def block(self, x, conv, norm, stride=1, padding=0, dilation=1, groups=1):
        names = (f"backbone.{conv}", f"backbone.{norm}")
        return convolved(self.state, x, *names, stride, padding, dilation, groups)

    def maps(self, x):
        x = self.block(x, "stem.0", "stem.1", 2, 1).relu()
        x = self.block(x, "stem.3", "stem.4", 1, 1).relu()
        x = self.block(x, "stem.6", "stem.7", 1, 1).relu()
        x = F.max_pool2d(x, 3, 2, 1)
        found = []
        # stride of the first block, its dilation, and that of the others (contracted)
        rules = ((1, 1, 1), (2, 1, 1), (1, 1, 2), (1, 2, 4))
        for stage, (count, rule) in enumerate(zip((3, 4, 6, 3), rules, strict=True)):
            for block in range(count):
                place = f"layer{stage + 1}.{block}"
                stride, rate = (1, rule[2]) if block else rule[:2]
                y = self.block(x, f"{place}.conv1", f"{place}.bn1").relu()
                y = self.block(y, f"{place}.conv2", f"{place}.bn2", stride, rate, rate).relu()
                y = self.block(y, f"{place}.conv3", f"{place}.bn3")
                if not block:
                    x = self.block(x, f"{place}.downsample.0", f"{place}.downsample.1", stride)
                x = (x + y).relu()
            found.append(x)
        return found


def layer(state, conv, norm, shape, gain=1.0):
    """Add the tensors of a convolution and its batch norm."""
    state[f"{conv}.weight"] = noise(*shape) * (2 / np.prod(shape[1:])) ** 0.5
    state |= {
        f"{norm}.weight": (torch.rand(shape[0]) + 0.5) * gain,
        f"{norm}.bias": torch.randn(shape[0]) * 0.1,
        f"{norm}.running_mean": torch.randn(shape[0]) * 0.1,
        f"{norm}.running_var": torch.rand(shape[0]) + 0.5,
        f"{norm}.num_batches_tracked": torch.tensor(7),
    }


def convolved(state, x, conv, norm, stride=1, padding=0, dilation=1, groups=1):
    x = F.conv2d(x, state[f"{conv}.weight"], None, stride, padding, dilation, groups)
    names = ("running_mean", "running_var", "weight", "bias")
    return F.batch_norm(x, *(state[f"{norm}.{name}"] for name in names), False, 0.0, 1e-5)


class Head:
    """Names, shapes and forward of a decode head with 2048 input channels and 512 inside."""

    def __init__(self):
        self.state = {
            "decode_head.conv_seg.weight": torch.randn(CLASSES, 512, 1, 1) * 0.1,
            "decode_head.conv_seg.bias": torch.randn(CLASSES),
            "auxiliary_head.conv_seg.weight": torch.zeros(CLASSES, 256, 1, 1),
        }
        self.make()

    def module(self, name, shape):
        layer(self.state, f"decode_head.{name}.conv", f"decode_head.{name}.bn", shape)

    def separable(self, name, given, width):
        self.module(f"{name}.depthwise_conv", (given, 1, 3, 3))
        self.module(f"{name}.pointwise_conv", (width, given, 1, 1))

    def run(self, x, name, padding=0, dilation=1, groups=1):
        names = (f"decode_head.{name}.conv", f"decode_head.{name}.bn")
        return convolved(self.state, x, *names, 1, padding, dilation, groups).relu()

    def separated(self, x, name, rate=1):
        x = self.run(x, f"{name}.depthwise_conv", rate, rate, x.shape[1])
        return self.run(x, f"{name}.pointwise_conv")

    def seg(self, x):
        names = ("decode_head.conv_seg.weight", "decode_head.conv_seg.bias")
        return F.conv2d(x, *(self.state[name] for name in names))


def bilinear(x, like):
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)


class FCNHead(Head):
    def make(self):
        self.module("convs.0", (512, 2048, 3, 3))
        self.module("convs.1", (512, 512, 3, 3))
        self.module("conv_cat", (512, 2560, 3, 3))

    def logits(self, maps):
        x = self.run(self.run(maps[-1], "convs.0", 1), "convs.1", 1)
        return self.seg(self.run(torch.cat([maps[-1], x], 1), "conv_cat", 1))


class PSPHead(Head):
    def make(self):
        for n in range(4):
            self.module(f"psp_modules.{n}.1", (512, 2048, 1, 1))
        self.module("bottleneck", (512, 4096, 3, 3))

    def logits(self, maps):
        x = maps[-1]
        parts = [x]
        for n, size in enumerate((1, 2, 3, 6)):
            pooled = self.run(F.adaptive_avg_pool2d(x, size), f"psp_modules.{n}.1")
            parts.append(bilinear(pooled, x))
        return self.seg(self.run(torch.cat(parts, 1), "bottleneck", 1))


class ASPPHead(Head):
    def make(self):
        self.module("image_pool.1", (512, 2048, 1, 1))
        self.module("aspp_modules.0", (512, 2048, 1, 1))
        for n in (1, 2, 3):
            self.module(f"aspp_modules.{n}", (512, 2048, 3, 3))
        self.module("bottleneck", (512, 2560, 3, 3))

    def branch(self, x, n, rate):
        return self.run(x, f"aspp_modules.{n}", rate, rate)

    def joined(self, x):
        pooled = self.run(F.adaptive_avg_pool2d(x, 1), "image_pool.1")
        parts = [bilinear(pooled, x), self.run(x, "aspp_modules.0")]
        parts += [self.branch(x, n, rate) for n, rate in ((1, 12), (2, 24), (3, 36))]
        return torch.cat(parts, 1)

    def logits(self, maps):
        return self.seg(self.run(self.joined(maps[-1]), "bottleneck", 1))


class SeparableHead(ASPPHead):
    def make(self):
        self.module("image_pool.1", (512, 2048, 1, 1))
        self.module("aspp_modules.0", (512, 2048, 1, 1))
        for n in (1, 2, 3):
            self.separable(f"aspp_modules.{n}", 2048, 512)
        self.separable("bottleneck", 2560, 512)
        self.module("c1_bottleneck", (48, 256, 1, 1))
        self.separable("sep_bottleneck.0", 560, 512)
        self.separable("sep_bottleneck.1", 512, 512)

    def branch(self, x, n, rate):
        return self.separated(x, f"aspp_modules.{n}", rate)

    def logits(self, maps):
        fine = self.run(maps[0], "c1_bottleneck")
        x = bilinear(self.separated(self.joined(maps[-1]), "bottleneck"), fine)
        x = self.separated(torch.cat([x, fine], 1), "sep_bottleneck.0")
        return self.seg(self.separated(x, "sep_bottleneck.1"))


MMSEG = {"fcn": FCNHead, "pspnet": PSPHead, "deeplab": ASPPHead, "deeplab-plus": SeparableHead}


def test_every_layout_is_tested():
    for project, tested in ((segmenters.SMP, SMP), (segmenters.MMSEG, MMSEG)):
        archs = {x.arch for x in segmenters.LAYOUTS if x.project == project and x.arch}
        assert archs == set(tested)
    forms = {(arch, form) for arch, row in catalog.SEGMENTERS.items() for form, _ in row.forms}
    known = {(x.arch, x.form) for x in segmenters.LAYOUTS if x.form}
    assert forms == known


@pytest.fixture(scope="module")
def backbone():
    made = Backbone()
    torch.manual_seed(1)
    images = torch.randn(1, 3, 64, 72)
    return made, images, made.maps(images)


@pytest.mark.parametrize("arch", MMSEG)
def test_a_network_of_mmsegmentation_has_its_logits(imported, backbone, arch):
    made, images, maps = backbone
    torch.manual_seed(2)
    head = MMSEG[arch]()
    meta = {"CLASSES": [f"class {n}" for n in range(CLASSES)]}
    network, header = imported(
        {"meta": meta, "state_dict": made.state | head.state}, arch, "resnet50"
    )
    expected = F.interpolate(head.logits(maps), (64, 72), mode="bilinear", align_corners=False)
    assert expected.std() > 0.01, "the logits say nothing"
    with torch.no_grad():
        found = network.logits(images)
    torch.testing.assert_close(found, expected, atol=1e-5 * float(expected.abs().max()), rtol=0)
    assert header["imported"]["left"] == {"auxiliary head, needed for training only": 1}
    assert header["network"]["deep_stem"] is True


def test_training_goes_on_in_the_form_of_the_file(scenes):
    options = SegmentTrain(data=str(scenes), arch="pspnet", backbone="resnet18")
    task = Segment.for_training(options, Reporter(quiet=True))
    assert (task.network.form, task.network.deep_stem) == ("", False)
    header = task.header(options)
    made = task.adopting(
        header | {"network": header["network"] | {"form": "smp", "deep_stem": True}}
    )
    assert (made.network.form, made.network.deep_stem) == ("smp", True)
    assert made.build().backbone.conv1[0].kernel_size == (3, 3)
    earlier = {k: v for k, v in header["network"].items() if k not in ("form", "deep_stem")}
    assert task.adopting(header | {"network": earlier}).network == task.network
