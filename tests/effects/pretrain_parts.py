"""Rows of the commands that pretrain a backbone and measure it."""

import contextlib
import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from effect_parts import Row
from PIL import Image

from cvkit.commands import pretrain, probe
from cvkit.commands import train as command
from cvkit.commands.training_job import TrainingJob
from cvkit.console import Reporter
from cvkit.data.synthetic.samples import write_classification
from cvkit.engine.runtime import StopSignal
from cvkit.errors import CvkitError
from cvkit.options.job import with_given
from cvkit.options.pretrain import Pretrain, Probe
from cvkit.tasks.pretrain.probing import as_classify

SMALL = {"arch": "mobilenet_v3_small", "stem": "imagenet", "image_size": "32", "batch_size": 2}


def photos(seed):
    """Return what makes a folder of images."""

    def draw(folder):
        folder.mkdir()
        rng = np.random.default_rng(seed)
        for number in range(6):
            pixels = rng.integers(0, 256, (36, 40, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{seed}-{number}.png")

    return lambda at: str(at.once(f"photos-{seed}", draw))


def handed(at, **more):
    """What reaches the loop of the tasks, which are tested with these flags themselves."""
    found = []

    def training(options, task, *_):
        found.append(("train", task, repr(options)))
        return SimpleNamespace(is_main=False)

    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": "1",
            "NODE_RANK": "0",
        }.items():
            patch.setenv(name, value)
        patch.setattr(command, "run_training", training)
        patch.setattr(command, "find_lr", lambda *own: found.append(("rates", repr(own[0]))))
        pretrain.pretrain(Pretrain(**{"quiet": True} | more))
    return found


def prepared(at, **more):
    """The network, the settings and the images of a training before its first step."""
    base = SMALL | {"data": photos(0)(at), "workers": 0, "epochs": 1, "precision": "fp32"}
    chosen = base | {"warmup_epochs": 0.0, "out": at.root / "pretrained"} | more
    job = TrainingJob(with_given(Pretrain(**chosen), chosen), "pretrain", Reporter(quiet=True))
    try:
        with job.joined(StopSignal()):
            job.prepare()
    except CvkitError as error:
        return str(error)
    job.freezing.apply(0)
    data = job.data[0]
    return [
        job.task.network,
        job.settings,
        [[each.key(n) for n in range(len(each))] for each in job.data],
        data.read(0, 1).image,
        {name: value.clone() for name, value in job.model.state_dict().items()},
        [parameter.requires_grad for parameter in job.model.parameters()],
    ]


def weights(at):
    """A file with weights of the backbone."""

    def write(path):
        torch.manual_seed(9)
        names = {"method": "rotation", "seed": 5}
        state = prepared(at, **names)[4]
        inside = {n.removeprefix("backbone."): t for n, t in state.items() if "head" not in n}
        torch.save(inside, path)

    return str(at.once("backbone.pth", write))


def shapes(at):
    """A dataset of classes."""

    def write(folder):
        write_classification(folder, {"train": 12, "val": 8}, 3, (32, 32))

    return str(at.once("shapes", write))


def measured(at, **more):
    """What a probe prints."""
    base = {"data": shapes(at), "backbone": "mobilenet_v3_small", "image_size": "32"}
    base |= {"stem": "imagenet", "workers": 0, "quiet": True, "json": True, "neighbors": 3}
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        probe.probe(Probe(**base | more))
    return json.loads(out.getvalue())


def asked(at, **more):
    """With which flags of classify the features are made."""
    return repr(as_classify(Probe(**more)))


def one_left_out(at):
    return at.write("without.txt", "0-3.png\n")


def annotated(at):
    return str(at.data())


PATHS = (lambda at: at.root / "a", lambda at: at.root / "b")
ROWS = {
    ("pretrain",): [
        Row("data", (photos(0), photos(1)), prepared),
        Row("format", ("auto", "images"), prepared, base={"data": annotated}),
        Row("train_split", ("train", "val"), prepared, base={"data": annotated}),
        Row("val_fraction", (0.2, 0.5), prepared),
        Row("exclude", (None, one_left_out), prepared),
        Row("augment", ("views", "light", "none"), prepared, base={"method": "rotation"}),
        Row("image_size", ("32", "48"), prepared),
        Row("method", ("simclr", "rotation"), prepared),
        Row("arch", ("mobilenet_v3_small", "resnet18"), prepared),
        Row("stem", ("imagenet", "small"), prepared),
        Row("projection", (8, 16), prepared),
        Row("temperature", (None, 0.1), prepared),
        Row("queue", (8, 16), prepared, base={"method": "moco-v2"}),
        Row("key_momentum", (0.9, 0.99), prepared, base={"method": "moco-v2", "queue": 8}),
        Row("permutations", (2, 3), prepared, base={"method": "jigsaw"}),
        Row("hole", (0.25, 0.5), prepared, base={"method": "inpainting"}),
        Row("pretrained", (None, weights), prepared),
        Row("freeze", ("", "backbone.features.0"), prepared),
        Row("unfreeze_at", (0, 2), handed),
        Row("init", ("auto", "xavier"), prepared),
        Row("seed", (0, 1), prepared),
        Row("epochs", (1, 2), prepared),
        Row("batch_size", (2, 3), prepared),
        Row("accumulate", (1, 2), prepared),
        Row("optimizer", ("sgd", "lars"), prepared),
        Row("lr", (0.1, 0.2), prepared),
        Row("momentum", (0.5, 0.9), prepared),
        Row("weight_decay", (0.1, 0.2), prepared),
        Row("l1", (0.0, 0.1), prepared),
        Row("l2", (0.0, 0.1), prepared),
        Row("schedule", ("cosine", "constant"), prepared),
        Row("warmup_epochs", (0.0, 1.0), prepared),
        Row("clip_grad", (0.0, 1.0), prepared),
        Row("ema", (0.0, 0.9), prepared),
        Row("patience", (0, 1), prepared),
        Row("save_minutes", (0.0, 1.0), prepared),
        Row("keep", ("best", "last"), prepared),
        Row("out", PATHS, handed),
        Row("resume", (None, lambda at: at.root), handed),
        *(
            Row(name, values, handed)
            for name, values in {
                "find_lr": (False, True),
                "keep_states": (False, True),
                "log": ("", "csv"),
                "devices": (1, 2),
                "nodes": (1, 2),
                "checkpoint_gradients": (False, True),
                "compile": (False, True),
                "channels_last": ("on", "off"),
                "device": ("auto", "cpu"),
                "precision": ("fp32", "bf16"),
                "workers": (0, 1),
                "offline": (False, True),
            }.items()
        ),
    ],
    ("probe",): [
        Row("pretrained", (None, weights), measured),
        Row("backbone", ("mobilenet_v3_small", "resnet18"), measured),
        Row("neighbors", (1, 12), measured),
        Row("regularization", (1e-3, 100.0), measured),
        Row("val_split", ("val", "train"), measured),
        Row("seed", (0, 1), measured),
        *(
            Row(name, values, asked)
            for name, values in {
                "data": ("samples", "elsewhere"),
                "format": ("auto", "folders"),
                "train_split": ("train", "test"),
                "val_fraction": (0.2, 0.3),
                "image_size": ("auto", "48"),
                "stem": ("auto", "imagenet"),
                "batch_size": (1, 2),
                "device": ("auto", "cpu"),
                "precision": ("fp32", "bf16"),
                "workers": (0, 1),
                "offline": (False, True),
            }.items()
        ),
    ],
}
