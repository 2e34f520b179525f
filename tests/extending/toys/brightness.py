"""A task of another kind, from images to one number: flags, data, network, metric and scoring.

In cvkit its parts would lie in `options/`, `tasks/NAME/`, `metrics/` and `scoring/`.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import cv2
import torch
from torch import nn

from cvkit import arch_table, catalog
from cvkit.arch_facts import Arch
from cvkit.data.decode import read_image
from cvkit.data.tables import read_rows
from cvkit.options import tree
from cvkit.options.base import Eval, Predict, Train
from cvkit.options.described import Choice
from cvkit.options.panels import MODEL, flag
from cvkit.output.answers import ClassAnswers
from cvkit.scoring.contract import Scored, content
from cvkit.structures import ClassList, Geometry, MetricReport, Sample
from cvkit.tasks.checking import about_data
from cvkit.tasks.common import LogitsTask, Origin, required

NAME, SIDE = "brightness", 32


@dataclass(frozen=True, kw_only=True)
class BrightnessTrain(Train):
    """Train a network that says how bright an image is."""

    arch: Annotated[str, Choice(["mean"]), flag(MODEL, "Architecture")] = "mean"


@dataclass(frozen=True)
class Number:
    """Truth or prediction: a number in [0, 1]."""

    value: float


@dataclass(frozen=True)
class Numbers:
    """Labelled or unlabelled images."""

    items: list[tuple[str, Path, float]]
    labelled: bool

    def __len__(self):
        return len(self.items)

    def key(self, index):
        return self.items[index][0]

    def read(self, index, seed=0):
        key, path, value = self.items[index]
        image = read_image(path)
        small = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        geometry = Geometry(image.shape[:2], (SIDE, SIDE))
        truth = Number(value) if self.labelled else None
        return Sample(path=key, image=small, geometry=geometry, truth=truth, seed=seed, file=path)


@dataclass(frozen=True)
class Network:
    arch: str
    backbone: str | None = None

    def build(self, num_classes):
        return Mean()

    def flags(self, preprocessing):
        return {"arch": self.arch}


@dataclass(frozen=True)
class Preprocessing:
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)


class Mean(nn.Module):
    """A weight for each channel's mean."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 1)

    def forward(self, images):
        return {"out": self.head(images.mean((2, 3)))[:, 0]}


class Closeness:
    """One minus the mean distance between prediction and truth."""

    def __init__(self):
        self.errors, self.truths = [], []

    def update(self, result, truth):
        self.errors.append(abs(result.value - truth.value))
        self.truths.append((str(truth.value),))
        return self.errors[-1]

    def state(self):
        return self.errors

    def merge(self, states, places):
        self.errors = [error for state in states for error in state]

    def compute(self):
        return {"closeness": 1 - sum(self.errors) / len(self.errors) if self.errors else None}

    def report(self, classes):
        numbers = self.compute()
        rules = {"closeness": "1 - mean absolute error"}
        per_class = {"brightness": {**numbers, "images": len(self.errors)}}
        return MetricReport(numbers, rules, per_class)


def read_split(root, split):
    """Return key, path and number of each image that `SPLIT.csv` lists."""
    rows = read_rows(root / f"{split}.csv", ("path", "value"))
    return [(row["path"], root / row["path"], float(row["value"])) for row in rows]


@dataclass(frozen=True, kw_only=True)
class Brightness(LogitsTask[BrightnessTrain, Eval, Predict]):
    name, best = NAME, "closeness"
    metric_names = ("closeness",)
    network_class, preprocessing_class = Network, Preprocessing

    splits: Mapping[str, list[Any]] = field(default_factory=dict)
    training: bool = False

    @classmethod
    def for_training(cls, options, report):
        root = Path(options.data)
        names = (options.train_split, options.val_split)
        splits = {name: read_split(root, name) for name in names}
        classes = ClassList(("brightness",), (0,), ((0, 0, 0),))
        rows = {name: [(key, str(value)) for key, _, value in s] for name, s in splits.items()}
        origin = Origin(about_data(options.data, classes, rows), {})
        parts = {"network": Network(options.arch), "preprocessing": Preprocessing()}
        return cls(classes=classes, splits=splits, origin=origin, training=True, **parts)

    @classmethod
    def for_model(cls, options, header):
        return cls(**cls.known_parts(header))

    def with_data(self, options, header, report):
        return replace(self, splits={options.split: read_split(Path(options.data), options.split)})

    def header(self, options):
        return {**self.about_model(), "labels": {}, "rule": "closeness: 1 - mean absolute error"}

    def inference_rule(self):
        return self.about_model()["preprocessing"]

    def dataset(self, split, *, training):
        return Numbers(self.splits[split], labelled=True)

    def source(self, inputs):
        return Numbers([(file.key, file.path, 0.0) for file in inputs], labelled=False)

    def training_input(self, batch):
        values = [required(sample.truth).value for sample in batch.samples]
        return self.normalized(batch), torch.tensor(values)

    def criterion(self, outputs, target):
        return {"out": (outputs["out"] - target).square().mean()}

    def unregularised(self):
        return self

    def predict(self, model, batch):
        return [Number(value) for value in model(self.normalized(batch))["out"].tolist()]

    def validate(self, model, batch):
        return self.predict(model, batch), self.loss(model, batch)["out"]

    def metric(self):
        return Closeness()

    def write(self, result, sample, stem, folder):
        score = min(1.0, max(0.0, result.value))
        line = {"path": sample.path, "labels": ["brightness"], "category_ids": [0]}
        return line | {"scores": [score]}

    def answers(self):
        return ClassAnswers()

    def tile(self, line, path, folder):
        return read_image(path), f"{line['scores'][0]:.2f}"


SAMPLE = "image"


def metric_names(options):
    return ("closeness",)


def score(options, report):
    root, metric, outcomes = options.truth, Closeness(), []
    truths = {key: value for key, _, value in read_split(root, options.split)}
    for row in read_rows(options.predictions, ("path", "value")):
        outcome = metric.update(Number(float(row["value"])), Number(truths[row["path"]]))
        outcomes.append((row["path"], outcome))
    return Scored(metric, ClassList(("brightness",), (0,), ((0, 0, 0),)), outcomes, [])


def write_report(scored, folder):
    metric = scored.metric
    return content(scored, metric.report(scored.classes), truths=metric.truths)


catalog.TASKS[NAME] = f"toys.{NAME}:Brightness"
catalog.AUGMENTATIONS[NAME] = ("none", "light")
arch_table.ARCHS[NAME] = {"mean": Arch(target=f"toys.{NAME}:Mean", about="means of channels")}
tree.OPTIONS[NAME] = {"train": BrightnessTrain, "eval": Eval, "predict": Predict}
tree.COMMANDS |= {(NAME, verb): options for verb, options in tree.OPTIONS[NAME].items()}
sys.modules[f"cvkit.scoring.{NAME}"] = sys.modules[__name__]
