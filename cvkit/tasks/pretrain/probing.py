"""The frozen features of a backbone on a labelled dataset."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cvkit.console import Reporter
from cvkit.engine import runtime
from cvkit.engine.evaluate import evaluate
from cvkit.engine.inference import choose_readers
from cvkit.engine.processes import Layout
from cvkit.engine.sampler import MODEL_SEED
from cvkit.errors import DataError, ModelFileError
from cvkit.metrics.classification import ClassificationMetric
from cvkit.model_files import read_header
from cvkit.models.probes import linear_probabilities, neighbour_probabilities
from cvkit.models.weights import find_model
from cvkit.ops.seeds import key_seed
from cvkit.options.classify import ClassifyTrain
from cvkit.options.pretrain import Probe
from cvkit.structures import Classes, ClassList, MetricReport
from cvkit.tasks.classify.setup import Inference
from cvkit.tasks.classify.task import Classify
from cvkit.tasks.train_flags import require_names


@dataclass
class FeatureBank:
    """Features and labels, collected as a metric is updated."""

    features: list[np.ndarray] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)

    def update(self, result: Classes, truth: Classes) -> None:
        """Add the features of an image."""
        assert result.features is not None, "the task was asked for them"
        self.features.append(result.features)
        self.labels.append(truth.label)

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Return [N, D] features and [N] labels."""
        return torch.from_numpy(np.stack(self.features)), torch.tensor(self.labels)

    def state(self) -> Any:
        """Return what another process would need."""
        return self.features, self.labels

    def merge(self, states: Sequence[Any], places: Sequence[Sequence[int]]) -> None:
        """Do nothing: one process reads all samples."""

    def compute(self) -> dict[str, float | None]:
        """Return no numbers."""
        return {}

    def report(self, classes: ClassList) -> MetricReport:
        """Return nothing."""
        return MetricReport({}, {}, {})


@dataclass(frozen=True)
class Probed:
    """What the features of a backbone tell.

    Attributes:
        backbone: key of `catalog.BACKBONES`.
        features: number of features.
        counts: samples to fit on and to measure on.
        linear: metrics of the linear classifier.
        knn: metrics of the nearest neighbours.
    """

    backbone: str
    features: int
    counts: dict[str, int]
    linear: dict[str, float | None]
    knn: dict[str, float | None]


def as_classify(options: Probe) -> ClassifyTrain:
    """Return the flags of a linear classifier on the frozen backbone.

    Without `--backbone` and `--image-size`, they are those of the model that `--pretrained` names.
    """
    header: dict[str, Any] = {}
    if options.pretrained and not options.pretrained.startswith("imagenet"):
        path = find_model(options.pretrained, flag="--pretrained")
        try:
            header = read_header(path)
        except ModelFileError:
            header = {}  # not a model of cvkit; what is damaged is refused when it is loaded
    network, preprocessing = header.get("network") or {}, header.get("preprocessing") or {}
    backbone = options.backbone or network.get("backbone") or "resnet18"
    side = options.image_size
    if side == "auto" and "image_size" in preprocessing:
        side = str(preprocessing["image_size"])
    names = (
        *("data", "format", "train_split", "val_split", "val_fraction", "pretrained", "stem"),
        *("seed", "batch_size", "device", "precision", "workers", "offline", "quiet", "debug"),
    )
    given = {name: getattr(options, name) for name in names}
    return ClassifyTrain(**given, arch="linear", backbone=backbone, image_size=side, augment="none")


def probe(options: Probe, report: Reporter, stop: runtime.StopSignal) -> Probed:
    """Return what the features of a backbone tell about the classes of a dataset.

    Raises:
        UsageError: flags that cannot be combined.
        ModelFileError: the weights are missing or do not fit.
        DataError: lists every defect of the data.
        Interrupted: a signal came.
    """
    flags = as_classify(options)
    with stop.at_once():
        require_names(flags, Classify.name)
        device, precision = runtime.choose(flags.device, flags.precision)
        fabric = runtime.make_fabric(device, Layout(), precision)
        task = Classify.for_training(flags, report)
        torch.manual_seed(key_seed(MODEL_SEED, flags.seed))
        model = task.build()
        task.load_pretrained(model, flags, report)
    task = replace(task, inference=Inference(embeddings=Path("features")))
    model = fabric.to_device(model.requires_grad_(False).to(memory_format=task.weight_format))
    banks = {}
    for split in dict.fromkeys((flags.train_split, flags.val_split)):
        data, bank = task.dataset(split, training=False), FeatureBank()
        with report.progress(f"features of {split}", len(data)) as advance:
            failures = evaluate(
                task,
                model,
                data,
                fabric,
                metric=bank,
                batch_size=flags.batch_size,
                workers=choose_readers(flags.workers, device),
                stop=stop,
                advance=advance,
            )
        if failures:
            raise DataError(failures[0].reason, code=failures[0].code)
        banks[split] = bank.tensors()
    train, val = banks[flags.train_split], banks[flags.val_split]
    num_classes = len(task.classes)
    report.say(f"fitting on {len(train[0])} x {train[0].shape[1]} features")
    linear = linear_probabilities(*train, val[0], num_classes, options.regularization)
    votes = neighbour_probabilities(*train, val[0], num_classes, options.neighbors)
    return Probed(
        backbone=str(flags.backbone),
        features=train[0].shape[1],
        counts={"train": len(train[0]), "val": len(val[0])},
        linear=_metrics(linear, val[1]),
        knn=_metrics(votes, val[1]),
    )


def _metrics(scores: Tensor, labels: Tensor) -> dict[str, float | None]:
    """Return the metrics of [M, K] class probabilities."""
    metric = ClassificationMetric(scores.shape[1])
    for row, label in zip(scores.numpy(), labels.tolist(), strict=True):
        metric.update(Classes(int(row.argmax()), row), Classes(label))
    return metric.compute()
