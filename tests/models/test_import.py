"""After `weights import`, predict gives torchvision's own scores, preprocessing included."""

import json
import pickle
import warnings

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn

from cvkit import catalog, load
from cvkit.catalog import TASKS
from cvkit.data.synthetic.scenes import make_single
from cvkit.errors import ModelFileError, UsageError
from cvkit.model_files import read_model, write_sealed
from cvkit.models import weights
from cvkit.models.convert import modern_names, named_parts
from cvkit.tasks.torchvision_import import KINDS

FAMILIES = (
    *("alexnet", "vgg11_bn", "googlenet", "inception_v3", "resnet18", "resnext50", "densenet121"),
    *("mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "convnext_tiny", "vit_b_32"),
    *("swin_t", "swin_v2_t", "regnet_y_400mf"),
)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Photos of odd sizes: wide, high, smaller than the input."""
    folder = tmp_path_factory.mktemp("pictures")
    for index, size_hw in enumerate([(240, 333), (301, 260), (90, 121)]):
        image = make_single(5, index, size_hw)[0].render().image
        Image.fromarray(image).save(folder / f"p{index}.png")
    return sorted(folder.iterdir())


def calibrated(model, side, batch=4):
    """Give a network of random weights statistics and scores that are not degenerate."""
    torch.manual_seed(1)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
        norm.reset_running_stats()
    model.train()
    with torch.no_grad():
        model(torch.randn(batch, 3, side, side))
        for name, parameter in model.named_parameters():
            if "layer_scale" in name:
                parameter.fill_(0.5)  # ConvNeXt's blocks begin almost without effect
    return model.eval()


def scoring(head):
    """The layers of torchvision's segmentation heads that score the classes."""
    return [m for m in head.modules() if getattr(m, "out_channels", 0) == 21]


def head_of(model):
    return [m for m in model.modules() if isinstance(m, nn.Linear)][-1]


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_an_imported_classifier_scores_as_torchvision_does(cvkit, tmp_path, pictures, name):
    builder = catalog.BACKBONES[name].builder
    preset = torchvision.models.get_model_weights(builder).IMAGENET1K_V1.transforms()
    torch.manual_seed(0)
    own = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    model = getattr(torchvision.models, builder)(weights=None, num_classes=10, **own)
    model = calibrated(model, preset.crop_size[0], 2)
    nn.init.normal_(head_of(model).weight, std=0.2)
    torch.save(model.state_dict(), tmp_path / "m.pth")
    (tmp_path / "classes.txt").write_text("\n".join(f"class {i}" for i in range(10)))
    done = cvkit(
        *("weights", "import", tmp_path / "m.pth", "--arch", name, "--out"),
        *(tmp_path / "m.safetensors", "--classes", tmp_path / "classes.txt"),
    )
    assert done.code == 0, done.err
    results = load(tmp_path / "m.safetensors", precision="fp32").predict(pictures)
    for path, result in zip(pictures, results, strict=True):
        with torch.no_grad():
            expected = model(preset(Image.open(path).convert("RGB"))[None]).softmax(1)[0].numpy()
        assert expected.max() > 0.11, "the scores say nothing"
        np.testing.assert_allclose(result.scores, expected, atol=1e-5)


def resized(path, side):
    """Change the size of the inputs that a model of masks was published for."""
    tensors, header = read_model(path)
    assert header["preprocessing"]["image_size_wh"] == [520, 520]
    header["preprocessing"]["image_size_wh"] = [side, side]
    write_sealed(path, tensors, header)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    torchvision.models.list_models(torchvision.models.segmentation),
)
def test_an_imported_segmenter_scores_as_torchvision_does(cvkit, tmp_path, pictures, name):
    torch.manual_seed(0)
    build = getattr(torchvision.models.segmentation, name)
    aux = {} if name.startswith("lraspp") else {"aux_loss": True}
    model = calibrated(build(weights=None, weights_backbone=None, **aux), 129)
    for scores in scoring(model.classifier):
        nn.init.normal_(scores.weight, std=0.1)
    torch.save(model.state_dict(), tmp_path / "s.pth")
    done = cvkit(
        *("weights", "import", tmp_path / "s.pth", "--task", "segment", "--arch", name),
        *("--out", tmp_path / "s.safetensors"),
    )
    assert done.code == 0, done.err
    assert ("not imported" in done.err) == bool(aux)
    preset = torchvision.models.segmentation.FCN_ResNet50_Weights.DEFAULT.transforms()
    assert preset.resize_size == [520]
    if "mobilenet" not in name:  # dilated networks take seconds for an image of that size
        resized(tmp_path / "s.safetensors", 130)
        preset.resize_size = [130]
    predictor = load(tmp_path / "s.safetensors", precision="fp32")
    assert (predictor.classes[0], predictor.classes[15]) == ("background", "person")
    path = pictures[0]
    (result,) = predictor.predict([path])
    image = Image.open(path).convert("RGB")
    with torch.no_grad():
        logits = model(preset(image)[None])["out"]
    assert logits.argmax(1).unique().numel() > 2, "the scores say nothing"
    large = nn.functional.interpolate(logits, image.size[::-1], mode="bilinear")
    # Memory order changes the last bits of a convolution, so ties may fall to either side.
    first, second = large.topk(2, dim=1).values[0]
    clear = (first - second > 1e-4 * large.abs().max()).numpy()
    assert clear.mean() > 0.99
    assert np.array_equal(result.labels[clear], large.argmax(1)[0].numpy()[clear])
    sure = nn.functional.interpolate(
        logits.softmax(1).amax(1, keepdim=True), image.size[::-1], mode="bilinear"
    )
    np.testing.assert_allclose(result.confidence, sure[0, 0].numpy(), atol=1e-3)


@pytest.fixture
def small(tmp_path):
    torch.manual_seed(0)
    model = torchvision.models.mobilenet_v3_small(num_classes=1000)
    torch.save(model.state_dict(), tmp_path / "m.pth")
    return tmp_path / "m.pth", model.state_dict()


def importing(cvkit, path, *more):
    out = path.with_suffix(".safetensors")
    return cvkit("weights", "import", path, "--arch", "mobilenet_v3_small", "--out", out, *more)


def test_imagenet_classes_come_by_their_number(cvkit, small):
    done = importing(cvkit, small[0], "--json")
    assert done.code == 0
    assert done.json["preprocessing"]["resize_size"] == 256
    names = load(small[0].with_suffix(".safetensors")).classes
    assert len(set(names)) == 1000
    assert names[:2] == ("tench", "goldfish")
    assert names[999] == "toilet tissue"
    again = importing(cvkit, small[0])
    assert again.code == 2
    assert "exists" in again.err
    assert importing(cvkit, small[0], "--overwrite").code == 0


def test_only_masks_limit_the_classes_of_an_imported_network(cvkit, tmp_path):
    (tmp_path / "classes.txt").write_text("\n".join(f"class {i}" for i in range(300)))
    model = torchvision.models.mobilenet_v3_small(num_classes=300)
    torch.save(model.state_dict(), tmp_path / "c.pth")
    done = importing(cvkit, tmp_path / "c.pth", "--classes", tmp_path / "classes.txt")
    assert done.code == 0, done.err
    assert len(load(tmp_path / "c.safetensors").classes) == 300
    model = torchvision.models.segmentation.lraspp_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=300
    )
    torch.save(model.state_dict(), tmp_path / "s.pth")
    own = ["--task", "segment", "--arch", "lraspp_mobilenet_v3_large"]
    done = importing(cvkit, tmp_path / "s.pth", *own, "--classes", tmp_path / "classes.txt")
    assert done.code == 2
    assert "scores 300 classes" in done.err


def test_keys_that_do_not_fit_are_listed(cvkit, small):
    path, state = small
    state = dict(state)
    state["features.5.extra"] = state.pop("features.5.block.1.0.weight")
    state["features.0.0.weight"] = torch.zeros(16, 3, 5, 5)
    state["features.0.1.weight"] = state["features.0.1.weight"].to(torch.complex64)
    state["features.0.1.bias"] = state["features.0.1.bias"].to(torch.int8)
    torch.save(state, path)
    done = importing(cvkit, path, "--json")
    assert done.code == 2
    message = json.loads(done.out)["error"]["message"]
    assert "missing backbone.features.5.block.1.0.weight" in message
    assert "unknown backbone.features.5.extra" in message
    assert "backbone.features.0.0.weight is (16, 3, 5, 5), not (16, 3, 3, 3)" in message
    assert "backbone.features.0.1.weight is complex64, not float32" in message
    assert "backbone.features.0.1.bias is int8, not float32" in message
    assert not path.with_suffix(".safetensors").exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--classes", "voc"), ["1000", "21"]),
        (("--classes", "nowhere.txt"), ["nowhere.txt"]),
        (("--preset", "v2"), ["v2", "mobilenet_v3_small"]),
        (("--arch", "resnet18"), ["fc.weight"]),
        (("--arch", "resnet19"), ["resnet19", "resnet18"]),
        (("--task", "segment", "--arch", "fcn"), ["--backbone"]),
        (("--out", "model.pth"), ["model.pth", ".safetensors"]),
    ],
)
def test_a_wrong_import_is_one_line(cvkit, small, more, words):
    done = importing(cvkit, small[0], *more)
    assert done.code == 2
    assert len(done.err.strip().splitlines()) == 1
    for word in words:
        assert word in done.err


NETWORKS = {
    "classify": "mobilenet_v3_small",
    "segment": "lraspp_mobilenet_v3_large",
    "detect": "fasterrcnn_resnet50_fpn",
    "instance": "maskrcnn_resnet50_fpn",
    "video": "r3d_18",
}
FLAGS = {"preset": ("v2", {"classify"}), "eps": ("0.001", {"detect", "instance"})}
"""Flags that only some tasks know: a value that is not the default, and these tasks."""
IDLE = [(task, name) for task in TASKS for name in FLAGS if task not in FLAGS[name][1]]


@pytest.mark.parametrize(("task", "name"), IDLE)
def test_a_flag_without_a_meaning_for_the_task_is_refused_before_the_file_is_read(
    cvkit, tmp_path, task, name
):
    given = ("--task", task, "--arch", NETWORKS[task], f"--{name}", FLAGS[name][0])
    done = importing(cvkit, tmp_path / "nowhere.pth", *given, "--json")
    assert (done.code, done.json["error"]["code"]) == (2, f"{name}.idle")
    assert f"--{name} has no effect with --task {task}" in done.json["error"]["message"]


@pytest.mark.parametrize("task", TASKS)
def test_classes_come_by_their_number_or_by_the_name_of_a_list(task):
    kind = KINDS[task]
    background = task in ("detect", "instance")
    sizes = {"imagenet": 1000, "kinetics": 400, "coco": 91, "voc": 21}
    for name in kind.lists:
        for given in (name, "auto"):
            classes = kind.classes(given, sizes[name])
            assert len(classes) == sizes[name] - background
            assert classes.ids == tuple(range(background, sizes[name]))
        assert ("background" in classes.names) == (name == "voc" and not background)
        with pytest.raises(ModelFileError, match=f"--classes {name} lists {len(classes)}"):
            kind.classes(name, sizes[name] - 1)
    more = " and background" if background else ""
    with pytest.raises(UsageError, match=f"--classes is missing: the network scores 1 class{more}"):
        kind.classes("auto", 1 + background)


class Harm:
    """Would run code when it is unpickled."""

    def __reduce__(self):
        return print, ("harm",)


def test_a_file_that_would_run_code_is_refused_in_one_line(cvkit, tmp_path):
    with (tmp_path / "evil.pth").open("wb") as stream:
        pickle.dump(Harm(), stream, protocol=4)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        done = importing(cvkit, tmp_path / "evil.pth")
    assert done.code == 2 and "loaded safely" in done.err
    assert len(done.err.strip().splitlines()) == 1 and not done.out
    assert not caught


def test_torchvisions_own_names_are_known():
    assert named_parts("classify", "resnext50_32x4d", None) == ("resnext50", "resnext50")
    assert named_parts("classify", "resnext50", None) == ("resnext50", "resnext50")
    assert named_parts("segment", "deeplabv3_mobilenet_v3_large", None) == (
        "deeplab",
        "mobilenet_v3_large",
    )
    assert named_parts("segment", "fcn", "resnet101") == ("fcn", "resnet101")


def test_names_of_old_files_become_todays():
    old = {
        "features.denseblock1.denselayer2.norm.1.running_mean": 1,
        "features.denseblock1.denselayer2.conv.2.weight": 2,
        "encoder.layers.encoder_layer_0.mlp.linear_2.bias": 3,
        "features.norm5.weight": 4,
    }
    assert modern_names(old) == {
        "features.denseblock1.denselayer2.norm1.running_mean": 1,
        "features.denseblock1.denselayer2.conv2.weight": 2,
        "encoder.layers.encoder_layer_0.mlp.3.bias": 3,
        "features.norm5.weight": 4,
    }


def test_a_published_file_is_known_by_its_name(cvkit, tmp_path, monkeypatch):
    entry = torchvision.models.GoogLeNet_Weights.IMAGENET1K_V1
    torch.manual_seed(0)
    model = calibrated(torchvision.models.googlenet(init_weights=True, transform_input=True), 96, 2)
    path = tmp_path / entry.url.rpartition("/")[2]
    torch.save(model.state_dict(), path)
    out = tmp_path / "g.safetensors"
    done = cvkit("weights", "import", path, "--arch", "googlenet", "--out", out)
    assert done.code == 2
    assert "SHA-256" in done.err
    monkeypatch.setattr(weights, "verified", lambda path: path)
    done = cvkit("weights", "import", path, "--arch", "googlenet", "--out", out, "--json")
    assert done.json["preprocessing"]["mean"] == [0.5, 0.5, 0.5]
    picture = tmp_path / "p.png"
    Image.fromarray(make_single(5, 1, (240, 300))[0].render().image).save(picture)
    (result,) = load(out, precision="fp32").predict([picture])
    with torch.no_grad():
        expected = model(entry.transforms()(Image.open(picture))[None]).softmax(1)[0]
    np.testing.assert_allclose(result.scores, expected.numpy(), atol=1e-5)
