"""Backbones of timm and of self-supervised training: the same outputs, prefixes stripped."""

import argparse
import json
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn
from torchvision.models import VisionTransformer

from cvkit import catalog, load
from cvkit.data.synthetic.scenes import make_single
from cvkit.errors import ModelFileError
from cvkit.models.build import build
from cvkit.models.convert import converted, require_equal_names
from cvkit.models.layouts.encoders import encoder_of
from cvkit.models.layouts.timm import FAMILIES
from cvkit.models.specs import ClassifierSpec
from cvkit.models.state_files import StateFile, read_state_file
from cvkit.models.weights import load_pretrained

pytestmark = pytest.mark.usefixtures("quick_weights")
TIMM = {
    "resnet18": "resnet18",
    "vgg11_bn": "vgg11_bn",
    "densenet121": "densenet121",
    "mobilenet_v2": "mobilenetv2_100",
    "mobilenet_v3_small": "mobilenetv3_small_100",
    "mobilenet_v3_large": "mobilenetv3_large_100",
    "efficientnet_b0": "efficientnet_b0",
    "convnext_tiny": "convnext_tiny",
    "vit_b_32": "vit_base_patch32_224",
    "swin_t": "swin_tiny_patch4_window7_224",
    "swin_v2_t": "swinv2_tiny_window8_256",
    "regnet_y_400mf": "regnety_004",
}
"""timm's name of a network of each family; the others of a family differ in size only."""
VIT = "vit_b_32"


def settled(model):
    """Give layers that begin without effect one, and scores that differ."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_var, 0.5, 2)
            nn.init.normal_(layer.running_mean, std=0.1)
        if isinstance(getattr(layer, "gamma", None), nn.Parameter):
            nn.init.constant_(layer.gamma, 0.5)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.05)
    return model.eval()


@pytest.fixture
def picture(tmp_path):
    image = make_single(5, 1, (240, 300))[0].render().image
    Image.fromarray(image).save(tmp_path / "p.png")
    return tmp_path / "p.png"


def ours(name, tensors, side):
    """Return cvkit's classifier with imported tensors."""
    kept, _, count = converted("classify", name, name, tensors)
    spec = ClassifierSpec(arch=name, backbone=name, small=False, image_size=side)
    network = build("classify", spec, count)
    network.load_state_dict(require_equal_names(network.state_dict(), kept))
    return network.eval()


@pytest.mark.parametrize("name", [name for name in TIMM if name != VIT])
def test_a_network_of_timm_has_its_logits(name):
    timm = pytest.importorskip("timm", reason="timm is not installed")
    torch.manual_seed(0)
    model = settled(timm.create_model(TIMM[name], num_classes=10))
    side = model.pretrained_cfg["input_size"][-1]
    images = torch.randn(1, 3, side, side)
    encoder = encoder_of(StateFile(model.state_dict()))
    with torch.no_grad():
        expected, found = model(images), ours(name, encoder.tensors, side)(images)["out"]
    assert expected.std() > 1e-2, "the logits say nothing"
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_a_vision_transformer_of_timm_has_its_logits():
    """ViT-B would take seconds; names do not depend on the size."""
    timm = pytest.importorskip("timm", reason="timm is not installed")
    torch.manual_seed(0)
    size = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 4}
    model = settled(timm.models.vision_transformer.VisionTransformer(**size, num_classes=10))
    same = VisionTransformer(32, 8, 3, 4, 48, 4 * 48, num_classes=10)
    encoder = encoder_of(StateFile(model.state_dict()))
    same.load_state_dict(encoder.tensors)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected, found = model(images), same.eval()(images)
    assert expected.std() > 1e-2, "the logits say nothing"
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    kept, _, count = converted("classify", VIT, VIT, encoder.tensors)
    assert count == 10 and "backbone.encoder.layers.encoder_layer_2.mlp.3.bias" in kept


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "swin_t"])
def test_an_imported_network_of_timm_has_its_scores(cvkit, tmp_path, picture, name):
    timm = pytest.importorskip("timm", reason="timm is not installed")

    torch.manual_seed(0)
    model = settled(timm.create_model(TIMM[name], num_classes=10))
    (tmp_path / "classes.txt").write_text("".join(f"c{n}\n" for n in range(10)))
    config = model.pretrained_cfg
    content = {"architecture": TIMM[name], "pretrained_cfg": config}
    (tmp_path / "config.json").write_text(json.dumps(content))
    torch.save({"epoch": 3, "state_dict": model.state_dict()}, tmp_path / "m.pth")
    done = cvkit(
        *("weights", "import", tmp_path / "m.pth", "--arch", name, "--out"),
        *(tmp_path / "m.safetensors", "--classes", tmp_path / "classes.txt"),
    )
    assert done.code == 0, done.err
    assert "preprocessing: from config.json" in done.err
    (result,) = load(tmp_path / "m.safetensors", precision="fp32", engine="eager").predict(
        [picture]
    )
    transform = timm.data.create_transform(
        **timm.data.resolve_data_config(config, model=model), is_training=False
    )
    with torch.no_grad():
        expected = model(transform(Image.open(picture))[None]).softmax(1)[0].numpy()
    assert np.ptp(expected) > 1e-3, "the scores say nothing"
    np.testing.assert_allclose(result.scores, expected, atol=1e-5)


def test_every_family_of_timm_is_tested(tmp_path):
    timm = pytest.importorskip("timm", reason="timm is not installed")

    with torch.device("meta"):
        states = [timm.create_model(name).state_dict() for name in TIMM.values()]
    found = {encoder_of(StateFile(dict(state))).names for state in states}
    assert found == {"", *(family.name for family in FAMILIES)}


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(3)
    state = torchvision.models.resnet18().state_dict()
    return {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}


def placed(state, prefix):
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def projection(prefix):
    return {f"{prefix}{n}.weight": torch.zeros(8, 8) for n in (0, 2)}


NUMBERS = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}


def numbered(state):
    found = {}
    for name, tensor in state.items():
        first, rest = name.split(".", 1)
        found[f"{NUMBERS[first]}.{rest}"] = tensor
    return found


FILES = {
    "MoCo v2": lambda s: {
        "epoch": 200,
        "arch": "resnet50",
        "state_dict": placed(s, "module.encoder_q.")
        | projection("module.encoder_q.fc.")
        | placed({n: t + 1 for n, t in s.items()}, "module.encoder_k.")
        | {"module.queue": torch.zeros(128, 8), "module.queue_ptr": torch.zeros(1)},
        "optimizer": {"state": {0: {"momentum_buffer": torch.zeros(3)}}},
    },
    "MoCo v3": lambda s: {
        "state_dict": placed(s, "module.base_encoder.")
        | projection("module.base_encoder.fc.")
        | placed({n: t + 1 for n, t in s.items()}, "module.momentum_encoder.")
        | projection("module.predictor.")
    },
    "SwAV": lambda s: (
        placed(s, "module.")
        | projection("module.projection_head.")
        | {"module.prototypes.weight": torch.zeros(3, 8)}
    ),
    "DINO": lambda s: {
        "student": placed({n: t + 1 for n, t in s.items()}, "module.backbone."),
        "teacher": placed(s, "backbone.") | projection("head.mlp."),
        "epoch": 100,
        "args": argparse.Namespace(arch="resnet18", lr=0.1),
    },
    "DINO's backbone": lambda s: s,
    "VISSL": lambda s: {
        "classy_state_dict": {
            "base_model": {
                "model": {
                    "trunk": placed(s, "_feature_blocks."),
                    "heads": projection("0.clf."),
                }
            }
        },
        "config": {"name": "simclr"},
    },
    "BYOL": lambda s: (
        placed(s, "online_encoder.") | placed({n: t + 1 for n, t in s.items()}, "target_encoder.")
    ),
    "lightly": lambda s: {
        "state_dict": placed(numbered(s), "backbone.") | projection("projection_head.")
    },
    "average": lambda s: {
        "model": s,
        "model_ema": placed({n: t + 1 for n, t in s.items()}, "module.")
        | {"n_averaged": torch.tensor(5)},
    },
    "average only": lambda s: {"model_ema": placed(s, "module.") | {"n_averaged": torch.tensor(5)}},
    "compiled": lambda s: {"state_dict": placed(s, "_orig_mod.")},
    "parallel": lambda s: OrderedDict(placed(s, "module.")),
    "decoder": lambda s: placed(s, "encoder.") | {"decoder.blocks.0.weight": torch.zeros(2)},
    "nested": lambda s: {"model_state_dict": placed(s, "model.backbone.")},
}
LEFT = {
    "MoCo v2": ("MoCo", "momentum copy", "queue of keys", "projection head (2 tensors)"),
    "MoCo v3": ("MoCo v3", "momentum copy", "projection head (4 tensors)"),
    "SwAV": ("SwAV", "projection head (3 tensors)"),
    "DINO": ("copy of the student", "projection head (2 tensors)"),
    "DINO's backbone": (),
    "VISSL": ("VISSL", "projection head (2 tensors)"),
    "BYOL": ("BYOL", "momentum copy"),
    "lightly": ("projection head (2 tensors)",),
    "average": ("averaged copy",),
    "average only": ("counter of the average (1 tensor)",),
    "compiled": (),
    "parallel": (),
    "decoder": ("decoder (1 tensor)",),
    "nested": (),
}
"""Words about what was recognised and left out."""


@pytest.mark.parametrize("name", FILES)
def test_a_backbone_is_found_in_the_file_of_a_program(tmp_path, resnet, name):
    torch.save(FILES[name](resnet), tmp_path / "b.pth")
    entry = catalog.BACKBONES["resnet18"]
    net = catalog.resolve(entry.target)(entry.builder)
    line = load_pretrained(
        net, "resnet18", str(tmp_path / "b.pth"), offline=True, say=lambda text: None
    )
    for key, tensor in net.state_dict().items():
        assert torch.equal(tensor, resnet[key]), key
    for words in LEFT[name]:
        assert words in line
    assert ("left out" in line) == bool(LEFT[name])


def test_a_backbone_for_bgr_is_refused(tmp_path, resnet):
    config = "backbone=dict(style='caffe'), mean=[103.53, 116.28, 123.675], to_rgb=False"
    content = {"state_dict": placed(resnet, "backbone."), "meta": {"config": config}}
    torch.save(content, tmp_path / "b.pth")
    net = catalog.resolve(catalog.BACKBONES["resnet18"].target)("resnet18")
    with pytest.raises(ModelFileError, match="BGR") as caught:
        load_pretrained(net, "resnet18", str(tmp_path / "b.pth"), offline=True, say=print)
    assert caught.value.code == "pretrained.pixels"
    content["meta"]["config"] = "style='pytorch', to_rgb=True"
    torch.save(content, tmp_path / "b.pth")
    load_pretrained(net, "resnet18", str(tmp_path / "b.pth"), offline=True, say=print)


@pytest.mark.parametrize("name", ["MoCo v2", "SwAV", "VISSL", "DINO"])
def test_an_imported_backbone_is_a_file_for_pretrained(cvkit, tmp_path, resnet, scenes, tiny, name):
    torch.save(FILES[name](resnet), tmp_path / "b.pth")
    out = tmp_path / "b.safetensors"
    done = cvkit("weights", "import", tmp_path / "b.pth", "--arch", "resnet18", "--out", out)
    assert done.code == 0, done.err
    assert "use it with --pretrained" in done.err
    for words in LEFT[name]:
        assert words in done.err
    entry = catalog.BACKBONES["resnet18"]
    net = catalog.resolve(entry.target)(entry.builder)
    load_pretrained(net, "resnet18", str(out), offline=True, say=lambda text: None)
    assert all(torch.equal(t, resnet[key]) for key, t in net.state_dict().items())
    refused = cvkit("classify", "predict", tmp_path, "--weights", out, "--out", tmp_path / "o")
    assert refused.code == 2
    assert "backbone" in refused.err
    assert len(refused.err.strip().splitlines()) == 1


def test_a_backbone_has_no_classes(cvkit, tmp_path, resnet):
    torch.save(resnet, tmp_path / "b.pth")
    done = cvkit(
        *("weights", "import", tmp_path / "b.pth", "--arch", "resnet18", "--classes", "imagenet"),
        *("--out", tmp_path / "b.safetensors", "--json"),
    )
    assert (done.code, done.json["error"]["code"]) == (2, "classes.idle")
    assert not (tmp_path / "b.safetensors").exists()


def test_the_preset_has_no_effect_beside_a_config(cvkit, tmp_path):
    state = torchvision.models.mobilenet_v2(num_classes=3).state_dict()
    torch.save(state, tmp_path / "m.pth")
    numbers = {"input_size": [3, 64, 64], "mean": [0.5] * 3, "std": [0.25] * 3}
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": numbers}))
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    flags = ("weights", "import", tmp_path / "m.pth", "--arch", "mobilenet_v2")
    flags += ("--classes", tmp_path / "classes.txt", "--out", tmp_path / "m.safetensors", "--json")
    done = cvkit(*flags, "--preset", "v2")
    assert (done.code, done.json["error"]["code"]) == (2, "preset.idle")
    done = cvkit(*flags)
    assert done.code == 0, done.err
    found = done.json["preprocessing"]
    assert (found["image_size"], found["resize_size"], found["interpolation"]) == (
        64,
        73,
        "bicubic",
    )
    assert (found["mean"], found["std"]) == ([0.5] * 3, [0.25] * 3)


@pytest.mark.parametrize("arch", ["efficientnet_b0", "mobilenet_v3_small", "resnet18"])
def test_what_the_tensors_of_timm_do_not_show_is_said(cvkit, tmp_path, arch):
    timm = pytest.importorskip("timm", reason="it is not installed")

    name = {"mobilenet_v3_small": "mobilenetv3_small_100"}.get(arch, arch)
    model = timm.create_model(name, num_classes=3)
    torch.save(model.state_dict(), tmp_path / "m.pth")
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    flags = ("weights", "import", tmp_path / "m.pth", "--arch", arch, "--classes")
    flags += (tmp_path / "classes.txt", "--out", tmp_path / "m.safetensors", "--overwrite")
    done = cvkit(*flags)
    assert done.code == 0, done.err
    assert ("warning: assumed: maps are padded" in done.err) == (arch != "resnet18")
    numbers = {"input_size": [3, 64, 64], "mean": [0.5] * 3, "std": [0.25] * 3}
    about = {"architecture": name, "pretrained_cfg": numbers}
    (tmp_path / "config.json").write_text(json.dumps(about))
    assert "padded" not in cvkit(*flags).err


CONFIGS = {
    "no JSON": ("{", "is not valid JSON"),
    "same padding": ({"architecture": "tf_efficientnet_b0", "pretrained_cfg": {}}, "TensorFlow"),
    "no size": ({"pretrained_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}, "input_size"),
    "two means": (
        {"pretrained_cfg": {"input_size": [3, 64, 64], "mean": [0.5] * 2, "std": [0.5] * 3}},
        "mean and std need 3 values",
    ),
    "a negative deviation": (
        {"pretrained_cfg": {"input_size": [3, 64, 64], "mean": [0.5] * 3, "std": [-1] * 3}},
        "out of range",
    ),
    "lanczos": (
        {"pretrained_cfg": {"input_size": [3, 64, 64], "interpolation": "lanczos"}},
        "lanczos",
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_that_is_not_usable_is_refused(cvkit, tmp_path, resnet, name):
    torch.save(resnet, tmp_path / "b.pth")
    content, words = CONFIGS[name]
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / "config.json").write_text(text)
    out = tmp_path / "b.safetensors"
    done = cvkit("weights", "import", tmp_path / "b.pth", "--arch", "resnet18", "--out", out)
    assert done.code == 2
    assert words in done.err
    assert "config.json" in done.err
    assert not out.exists()


class Harm:
    def __reduce__(self):
        return print, ("harm",)


class Codec:
    def __reduce__(self):
        import codecs

        return codecs.encode, ("abc", "rot13")


@pytest.mark.parametrize("content", [{"model": Harm()}, {"model": {"w": Codec()}}])
@pytest.mark.parametrize("suffix", [".pkl", ".pth"])
def test_a_file_of_arrays_runs_no_code(tmp_path, capsys, content, suffix):
    path = tmp_path / f"evil{suffix}"
    path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(ModelFileError, match="loaded safely") as caught:
        read_state_file(path)
    assert caught.value.code == "model.unsafe"
    assert not capsys.readouterr().out


def test_arrays_of_a_pickle_become_tensors(tmp_path):
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.int64(3) * np.ones(2, int)}
    content = {"model": arrays, "__author__": "somebody"}
    for protocol in (2, 4, 5):
        path = tmp_path / f"p{protocol}.pkl"
        path.write_bytes(pickle.dumps(content, protocol=protocol))
        found = read_state_file(path)
        assert found.about == {"__author__": "somebody"}
        assert {name: t.tolist() for name, t in found.tensors.items()} == {
            "a": [[0, 1, 2], [3, 4, 5]],
            "b": [3, 3],
        }
