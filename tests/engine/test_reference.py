"""The training loop against the same loop in a few plain lines, on a network of two layers."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from cvkit.console import Reporter
from cvkit.engine.freezing import Freezing
from cvkit.engine.optim import lr_factor
from cvkit.engine.processes import Layout
from cvkit.engine.progress import Settings
from cvkit.engine.ranks import Ranks
from cvkit.engine.runtime import StopSignal, make_fabric
from cvkit.engine.sampler import batch_plan
from cvkit.engine.train import Trainer
from cvkit.structures import Classes, Sample
from cvkit.tasks.contract import Task

COUNT, CLASSES = 11, 3


def network():
    torch.manual_seed(5)
    layers = (nn.Linear(12, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, CLASSES))
    return nn.Sequential(nn.Flatten(), *layers)


class Points:
    """Images of 2x2 pixels with a class each."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.images = rng.integers(0, 256, (COUNT, 2, 2, 3), dtype=np.uint8)
        self.labels = rng.integers(0, CLASSES, COUNT)

    def __len__(self):
        return COUNT

    def key(self, index):
        return f"{index}.png"

    def read(self, index, seed=0):
        image = np.ascontiguousarray(self.images[index])
        return Sample(self.key(index), image, truth=Classes(int(self.labels[index])), seed=seed)

    def inputs(self, indices):
        images = torch.from_numpy(self.images[list(indices)]).movedim(-1, 1).float() / 255
        return images, torch.from_numpy(self.labels[list(indices)])


class Scripted:
    """A metric whose values are given, one an epoch; training samples get none of them."""

    def __init__(self, values):
        self.values, self.count = values, 0

    def update(self, result, truth):
        self.count += 1

    def compute(self):
        return {"m": self.values.pop(0) if self.values else 0.0}


class Toy(Task):
    name, best, metric_names = "toy", "m", ("m",)
    classes = ()

    def __init__(self, values: Sequence[float] = ()):
        self.values, self.measured, self.modes = list(values), [], []

    def dataset(self, split, *, training):
        raise NotImplementedError

    source = build = write = answers = tile = dataset
    for_training = for_model = with_data = flags_of = adopting = with_classes = dataset
    header = inference_rule = load_pretrained = recipe = dataset

    def loss(self, model, batch):
        outputs = model(batch.images.float() / 255)
        self.modes.append(outputs.requires_grad)
        return {"out": F.cross_entropy(outputs, batch.labels)}

    def validate(self, model, batch):
        return self.predict(model, batch), self.loss(model, batch)["out"]

    def predict(self, model, batch):
        self.measured.append(weights(model))
        assert not model.training
        return [None] * len(batch)

    def metric(self):
        return Scripted(self.values)


def weights(model):
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


SETTINGS = {
    **{"epochs": 3, "batch_size": 3, "accumulate": 2, "optimizer": "sgd", "lr": 0.3},
    **{"momentum": 0.8, "weight_decay": 0.05, "schedule": "poly", "warmup_epochs": 1.0},
    **{"clip_grad": 0.05, "l1": 0.0, "l2": 0.0, "ema": 0.0, "patience": 0, "seed": 4},
    "save_minutes": 1e9,
}


def train(tmp_path, task, **own):
    settings = Settings(**(SETTINGS | own))
    model = network()
    data = Points(0)
    trainer = Trainer(
        task=task,
        model=model,
        data=(data, data, data),
        settings=settings,
        freezing=Freezing(model, ""),
        run=tmp_path,
        header={"data": {}},
        flags={},
        fabric=make_fabric(torch.device("cpu"), Layout(), "fp32"),
        workers=0,
        reporter=Reporter(quiet=True),
        stop=StopSignal(),
        ranks=Ranks(Layout(), StopSignal()),
    )
    trainer.fit()
    return trainer


def plainly(own):
    """The same training, written down; returns the weights after each epoch and their average."""
    settings = Settings(**(SETTINGS | own))
    data, model = Points(0), network()
    matrices = [p for p in model.parameters() if p.ndim > 1]
    speeds = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    average, step, after = weights(model), 0, []
    for epoch in range(settings.epochs):
        plan = batch_plan(COUNT, epoch, settings, 0, 1)
        assert [len(batch) for batch in plan] == [3, 3, 3, 2]
        model.train()
        for first in (0, 2):
            batches = [[index for index, _ in keys] for keys in plan[first : first + 2]]
            total = sum(map(len, batches))
            model.zero_grad()
            for batch in batches:
                images, labels = data.inputs(batch)
                loss = F.cross_entropy(model(images), labels, reduction="sum") / total
                squares = sum(w.square().sum() for w in matrices) / 2
                lengths = sum(w.abs().sum() for w in matrices)
                share = len(batch) / total
                (loss + share * (settings.l2 * squares + settings.l1 * lengths)).backward()
            norm = math.sqrt(sum(p.grad.square().sum().item() for p in model.parameters()))
            scale = min(1.0, settings.clip_grad / norm) if settings.clip_grad else 1.0
            warmup = round(settings.warmup_epochs * 2)
            rate = settings.lr * lr_factor(settings.schedule, step, 2 * settings.epochs, warmup)
            with torch.no_grad():
                for name, p in model.named_parameters():
                    decay = settings.weight_decay * (p.ndim > 1)
                    speeds[name] = settings.momentum * speeds[name] + scale * p.grad + decay * p
                    p -= rate * speeds[name]
            keep = min(settings.ema, (1 + step) / (10 + step))
            for name, value in model.state_dict().items():
                own = name.endswith(("weight", "bias"))
                average[name] = keep * average[name] + (1 - keep) * value if own else value.clone()
            step += 1
        after.append((weights(model), dict(average)))
    return after


def same(found, wanted):
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize(
    "own",
    [
        {},
        {"clip_grad": 0.0, "warmup_epochs": 0.0},
        {"schedule": "cosine", "warmup_epochs": 2.0},
        {"schedule": "constant", "l1": 0.01, "momentum": 0.0},
        {"l2": 0.3, "weight_decay": 0.0},
        {"ema": 0.7},
    ],
    ids=str,
)
def test_training_is_what_a_plain_loop_does(tmp_path, own):
    task = Toy()
    trainer = train(tmp_path, task, **own)
    after = plainly(own)
    same(weights(trainer.bare), after[-1][0])
    place = 1 if own.get("ema") else 0
    same(load_file(tmp_path / "last.safetensors"), after[-1][place])
    assert len(task.measured) == 4 * 3  # 11 samples in batches of 3
    for number, measured in enumerate(task.measured):
        same(measured, after[number // 4][place])


def test_penalties_are_logged_as_what_is_minimised(tmp_path):
    trainer = train(tmp_path, Toy(), l1=0.01, l2=0.3, epochs=1, accumulate=1, batch_size=11)
    matrices = [p for p in network().parameters() if p.ndim > 1]
    terms = trainer.progress.history[0]["losses"]
    assert terms["l2"] == pytest.approx(0.15 * sum(w.square().sum().item() for w in matrices))
    assert terms["l1"] == pytest.approx(0.01 * sum(w.abs().sum().item() for w in matrices))


def test_the_logged_loss_is_the_mean_over_the_steps_of_an_epoch(tmp_path):
    trainer = train(tmp_path, Toy(), lr=0.0)
    data, model = Points(0), network()
    for epoch, line in enumerate(trainer.progress.history):
        plan = batch_plan(COUNT, epoch, Settings(**SETTINGS), 0, 1)
        losses = []
        for first in (0, 2):
            batches = [[index for index, _ in keys] for keys in plan[first : first + 2]]
            values = [F.cross_entropy(model(data.inputs(b)[0]), data.inputs(b)[1]) for b in batches]
            sizes = torch.tensor([len(b) for b in batches])
            losses.append((torch.stack(values) * sizes).sum().item() / sizes.sum().item())
        assert line["loss"] == pytest.approx(sum(losses) / 2, rel=1e-5)
        assert line["losses"] == {"out": pytest.approx(line["loss"])}
    orders = [batch_plan(COUNT, epoch, Settings(**SETTINGS), 0, 1) for epoch in (0, 1)]
    assert orders[0] != orders[1]


@pytest.mark.parametrize("ema", [0.0, 0.5])
@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_epoch_with_the_largest_metric_is_kept(tmp_path, keep, ema):
    task = Toy([0.2, 0.9, 0.5])
    trainer = train(tmp_path, task, keep=keep, ema=ema)
    after = plainly({"ema": ema})
    place = 1 if ema else 0
    same(load_file(tmp_path / "last.safetensors"), after[2][place])
    assert (tmp_path / "best.safetensors").exists() == (keep == "best")
    if keep == "best":
        same(load_file(tmp_path / "best.safetensors"), after[1][place])
    assert trainer.progress.kept(keep)["epoch"] == {"best": 2, "last": 3}[keep]
    lines = [json.loads(row) for row in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["m"] for line in lines] == [0.2, 0.9, 0.5]


@pytest.mark.parametrize(
    ("patience", "values", "epochs"),
    [(2, [0.5, 0.4, 0.3, 0.9, 0.9], 3), (2, [0.5, 0.6, 0.6, 0.6, 0.9], 4), (0, [0.5] * 5, 5)],
)
def test_patience_counts_epochs_without_a_better_metric(tmp_path, patience, values, epochs):
    trainer = train(tmp_path, Toy(values), epochs=5, patience=patience)
    assert trainer.progress.epoch == len(trainer.progress.history) == epochs


def test_the_logged_rate_is_that_of_the_next_step(tmp_path):
    trainer = train(tmp_path, Toy(), lr=0.1, warmup_epochs=0.5)
    rates = [line["lr"] for line in trainer.progress.history]
    assert rates == pytest.approx([0.1 * lr_factor("poly", step, 6, 1) for step in (2, 4, 6)])
    assert asdict(trainer.progress)["step"] == 6
