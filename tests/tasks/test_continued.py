"""A training that begins with one's own model takes over its network and its weights."""

import json
import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file

from cvkit import catalog
from cvkit.cli import run
from cvkit.model_files import read_header
from cvkit.models.weights import has_small_stem
from cvkit.options.tree import OPTIONS
from cvkit.tasks.classify import setup as classify_setup
from cvkit.tasks.classify.network import Preprocessing as Square
from cvkit.tasks.detect import network as detect_network
from cvkit.tasks.detect.inputs import parse_sizes
from cvkit.tasks.segment import network as segment_network
from cvkit.tasks.segment import setup as segment_setup
from cvkit.tasks.video import network as video_network

STILL = ("--lr", 0, "--epochs", 1, "--workers", 0, "--batch-size", 6)
"""Flags of a training that changes no weight."""
OTHER_NETWORK = {
    "classify": ("--arch", "mlp"),
    "segment": ("--arch", "unet"),
    "detect": ("--channels", 8),
    "instance": ("--channels", 8),
    "video": ("--arch", "single-frame", "--backbone", "mobilenet_v3_small"),
}


def renamed(task, source, target, more=False):
    """Copy a dataset; its first class has another name, and there may be one class more."""
    shutil.copytree(source, target)
    if task in ("classify", "video"):
        for split in ("train", "val"):
            first, second, *_ = sorted(path for path in (target / split).iterdir())
            if more:
                shutil.copytree(second, second.with_name("aaa"))
            else:
                first.rename(first.with_name("aaa"))
    elif task == "segment":
        listed = (target / "classes.txt").read_text().splitlines()
        listed = [*listed, "more"] if more else [listed[0], "aaa", *listed[2:]]
        (target / "classes.txt").write_text("\n".join(listed) + "\n")
    else:
        for path in (target / "annotations").glob("*.json"):
            content = json.loads(path.read_text())
            content["categories"][0]["name"] = "aaa"
            if more:
                content["categories"].append({"id": 99, "name": "more"})
            path.write_text(json.dumps(content))
    return target


def weights_of(folder):
    """The tensors of a run's last model that training changes."""
    tensors = load_file(folder / "last.safetensors")
    moving = ("running_mean", "running_var", "num_batches_tracked")
    return {name: value for name, value in tensors.items() if not name.endswith(moving)}


def start(cvkit, task, source, data, out, *more):
    done = cvkit(task, "train", "--weights", source, "--data", data, "--out", out, *STILL, *more)
    return done, next(iter(out.iterdir()), None) if out.is_dir() else None


@pytest.mark.parametrize("task", catalog.TASKS)
def test_all_weights_are_taken_over_for_the_same_classes(run_of, data_of, cvkit, tmp_path, task):
    source = run_of(task) / "last.safetensors"
    done, folder = start(cvkit, task, source, data_of(task), tmp_path)
    assert done.code == 0, done.err
    before, after = weights_of(run_of(task)), weights_of(folder)
    assert before.keys() == after.keys()
    assert not [name for name in before if not torch.equal(before[name], after[name])]
    assert f"initial weights: {source}" in done.err and "re-initialised" not in done.err
    then, now = (read_header(path / "last.safetensors") for path in (run_of(task), folder))
    for header in (then, now):  # how many regions are sampled is a flag of the training
        header["network"].pop("roi_samples", None)
    assert now["network"] == then["network"]
    assert now["preprocessing"] == then["preprocessing"]


@pytest.mark.parametrize("more", [False, True], ids=["another-name", "another-number"])
@pytest.mark.parametrize("task", catalog.TASKS)
def test_what_depends_on_the_classes_begins_anew_for_others(
    run_of, data_of, cvkit, tmp_path, task, more
):
    data = renamed(task, data_of(task), tmp_path / "data", more)
    done, folder = start(cvkit, task, run_of(task), data, tmp_path / "out")
    assert done.code == 0, done.err
    before, after = load_file(run_of(task) / "best.safetensors"), weights_of(folder)
    anew = {n for n in after if before[n].shape != after[n].shape or (before[n] != after[n]).any()}
    heads = ("head", "fc.", "classifier", "cls_score", "bbox_pred", "mask_fcn_logits")
    assert 1 <= len(anew) <= 6
    assert all(any(part in name for part in heads) for name in anew), anew
    assert not [name for name in anew if "rpn" in name or name.startswith("backbone")]
    assert "re-initialised" in done.err


@pytest.mark.parametrize("task", catalog.TASKS)
def test_flags_of_another_network_are_refused(run_of, data_of, cvkit, tmp_path, task):
    out = tmp_path / "out"
    done, folder = start(cvkit, task, run_of(task), data_of(task), out, *OTHER_NETWORK[task])
    assert done.code == 2 and folder is None
    assert "is another network" in done.err and "omit the flags" in done.err


def test_a_run_from_weights_is_resumed_without_them(run_of, data_of, cvkit, tmp_path):
    source = shutil.copytree(run_of("segment"), tmp_path / "source")
    done, folder = start(cvkit, "segment", source, data_of("segment"), tmp_path / "out")
    assert done.code == 0, done.err
    assert yaml.safe_load((folder / "config.yaml").read_text())["arch"] == "fcn"
    shutil.rmtree(source)
    done = cvkit("segment", "train", "--resume", folder, "--epochs", 2)
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    ("task", "kept", "more", "words"),
    [
        ("segment", "segment", ("--pretrained", "imagenet"), "cannot be combined"),
        ("segment", "classify", (), "is a model for task 'classify', not 'segment'"),
        ("classify", "classify", ("--arch", "knn"), "no trainable weights"),
    ],
)
def test_weights_that_cannot_be_begun_with(
    run_of, data_of, cvkit, tmp_path, task, kept, more, words
):
    out = tmp_path / "out"
    done, folder = start(cvkit, task, run_of(kept), data_of(task), out, *more)
    assert done.code == 2 and folder is None
    assert words in done.err


def made_network(task, options):
    """The network of some flags, as a training makes it, and its inputs."""
    if task == "segment":
        return segment_setup.check_flags(options)[0], segment_network.Preprocessing((64, 48), "fit")
    if task == "classify":
        side = 96 if options.image_size == "auto" else int(options.image_size)
        return classify_setup.network_for(options, side, 5, 3), Square(side, side)
    if task == "video":
        inputs = video_network.preprocessing_for(options, [(64, 64)])
        return video_network.network_for(options, inputs, 3), inputs
    return detect_network.check_flags(options, task), parse_sizes("64,96")


@pytest.mark.parametrize(
    ("task", "arch"), [(task, arch) for task, archs in catalog.ARCHS.items() for arch in archs]
)
def test_the_flags_of_a_network_lead_to_it(task, arch):
    own = {"inception_v3": {"image_size": "299"}, "s3d": {"image_size": "224"}}.get(arch, {})
    own |= {"vit_b_32": {"stem": "small"}, "cnn-lstm": {"hidden": 8, "cell": "gru"}}.get(arch, {})
    own |= {"cnn-transformer": {"heads": 2, "positions": "learned"}}.get(arch, {})
    own |= {"mlp": {"hidden": "24,12"}, "fcn-8s": {"deconv": True}, "fcn": {"aux_weight": 0.0}}.get(
        arch, {}
    )
    own |= {"faster-rcnn": {"channels": 32, "roi": "pool"}}.get(arch, {})
    options = OPTIONS[task]["train"](arch=arch, **own)
    network, inputs = made_network(task, options)
    again = type(options)(**network.flags(inputs))
    assert made_network(task, again)[0] == network


@pytest.fixture(scope="module")
def classifier(data_of, tmp_path_factory):
    """A run of a classifier with first layers for small images."""
    out = tmp_path_factory.mktemp("classifier")
    flags = ("--data", data_of("classify"), "--arch", "mobilenet_v3_small", "--epochs", 1)
    more = ("--out", out, "--workers", 0, "--quiet")
    assert run([str(part) for part in ("classify", "train", *flags, *more)]) == 0
    return out / "classify-mobilenet_v3_small-001"


def backbone(folder, prefix="backbone."):
    tensors = weights_of(folder)
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


@pytest.mark.parametrize("task", catalog.TASKS)
def test_pretrained_takes_a_run_folder(classifier, flags_of, data_of, cvkit, tmp_path, task):
    flags = flags_of(task) if task not in ("classify", "video") else []
    flags += ["--backbone", "mobilenet_v3_small"]
    if task == "video":
        flags += ["--arch", "single-frame", "--frames", "2"]
    done = cvkit(
        *(task, "train", *flags, "--data", data_of(task), "--out", tmp_path, *STILL),
        *("--pretrained", classifier),
    )
    assert done.code == 0, done.err
    (folder,) = tmp_path.iterdir()
    prefix = "backbone.body." if task in ("detect", "instance") else "backbone."
    before, after = backbone(classifier), backbone(folder, prefix)
    shared = before.keys() & after.keys()
    assert len(shared) > 100
    assert not [name for name in shared if not torch.equal(before[name], after[name])]
    if task == "classify":
        assert read_header(folder / "last.safetensors")["network"]["small"] is True


@pytest.mark.parametrize("task", ["segment", "detect", "instance"])
def test_pretrained_takes_the_backbone_of_the_own_task(
    run_of, flags_of, data_of, cvkit, tmp_path, task
):
    flags = (*flags_of(task), "--data", data_of(task), "--out", tmp_path, *STILL)
    done = cvkit(task, "train", *flags, "--pretrained", run_of(task))
    assert done.code == 0, done.err
    (folder,) = tmp_path.iterdir()
    prefix = "backbone." if task == "segment" else "backbone.body."
    before = load_file(run_of(task) / "best.safetensors")
    after = backbone(folder, prefix)
    assert len(after) > 50
    assert not [n for n, value in after.items() if not torch.equal(value, before[prefix + n])]


@pytest.mark.parametrize("task", catalog.TASKS)
def test_a_folder_without_a_model_is_told(data_of, cvkit, tmp_path, task):
    (tmp_path / "empty").mkdir()
    for flag in ("--pretrained", "--weights"):
        done = cvkit(
            *(task, "train", "--data", data_of(task), "--out", tmp_path / "out", *STILL),
            *(flag, tmp_path / "empty"),
        )
        assert done.code == 2
        assert f"{flag} {tmp_path / 'empty'} contains neither best.safetensors" in done.err
    assert not (tmp_path / "out").exists()


def test_the_stem_follows_from_the_file(classifier, tmp_path):
    assert has_small_stem(str(classifier))
    assert not has_small_stem("imagenet:v2")
    (tmp_path / "a.safetensors").write_bytes(b"nonsense")
    assert not has_small_stem(str(tmp_path / "a.safetensors"))
