"""Pretraining on images without labels, as the training loop uses it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn, cast

from torch import Tensor, nn

from cvkit.console import Reporter
from cvkit.data.classified import ClassifiedImage
from cvkit.data.datasets import ImageTransform
from cvkit.data.unlabelled import UnlabelledImages
from cvkit.errors import UsageError
from cvkit.metrics.pretext import NAME, PretextMetric
from cvkit.model_files import BACKBONE
from cvkit.models.pretraining.base import Outcome, PretextNetwork
from cvkit.options.base import Eval, Predict
from cvkit.options.pretrain import Pretrain
from cvkit.pretext_table import PRETEXTS
from cvkit.structures import Batch, ClassList, Sample
from cvkit.tasks.checking import about_data
from cvkit.tasks.common import ImageTask, Origin, required
from cvkit.tasks.contract import Answers, Dataset
from cvkit.tasks.normalisation import value_bits
from cvkit.tasks.pretrain import setup
from cvkit.tasks.pretrain.network import Network, Preprocessing

NO_CLASSES = ClassList((), (), ())


@dataclass(frozen=True, kw_only=True)
class Pretraining(ImageTask[Pretrain, Eval, Predict]):
    """Images without labels, a backbone, and what it is trained by.

    It is trained like a task, but its model scores no classes: it is a backbone for the tasks.

    Attributes:
        transform: makes a random view.
    """

    name, best = "pretrain", NAME
    network_class, preprocessing_class = Network, Preprocessing

    network: Network
    preprocessing: Preprocessing
    splits: Mapping[str, list[ClassifiedImage]] = field(default_factory=dict)
    transform: ImageTransform | None = None

    @classmethod
    def for_training(cls, options: Pretrain, report: Reporter) -> "Pretraining":
        """Return the task of a training run; reads and checks all images.

        Raises:
            UsageError: flags that cannot be combined.
            DataError: lists every defect of the data.
        """
        setup.check_flags(options)
        splits, scans = setup.training_images(options, report)
        preprocessing = setup.preprocessing_for(options, scans[options.train_split].sizes_hw)
        bits = value_bits(options, scans.values(), report)
        rows = {
            name: [(i.key, h, "") for i, h in zip(images, scans[name].hashes, strict=True)]
            for name, images in splits.items()
        }
        return cls(
            classes=NO_CLASSES,
            network=setup.network_for(options, preprocessing.image_size),
            preprocessing=replace(preprocessing, bits=bits),
            splits=splits,
            origin=Origin(about_data(options.data, NO_CLASSES, rows, cls.noun)),
            transform=setup.transform_for(options, preprocessing.image_size),
        )

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The score of the method."""
        return (NAME,)

    @property
    def min_batch(self) -> int:
        """Two images: one alone has no negatives, and its features no variance."""
        return 2

    def recomputable(self, model: nn.Module) -> nn.Module:
        """Return the backbone."""
        return model.get_submodule("backbone")

    def load_pretrained(self, model: nn.Module, options: Pretrain, report: Reporter) -> None:
        """Load the weights that `--pretrained` names, and let the network take note of them."""
        super().load_pretrained(model, options, report)
        cast(PretextNetwork, model).begin()

    def header(self, options: Pretrain) -> dict[str, Any]:
        """Return the header of the model file, which is a backbone for every task."""
        return self.about_model() | {"task": BACKBONE, "labels": {}, "pretext": self._rule}

    @property
    def _rule(self) -> str:
        row = PRETEXTS[self.network.arch]
        return f"{row.about}; {NAME}: {row.score}, on images that are held out"

    def dataset(self, split: str, *, training: bool) -> Dataset:
        """Return random views of a split; for evaluation, the same ones every time."""
        views = PRETEXTS[self.network.arch].views
        transform = required(self.transform)
        images, bits = self.splits[split], self.preprocessing.bits
        return UnlabelledImages(images, transform, views, fixed=not training, bits=bits)

    def _outcome(self, model: nn.Module, batch: Batch) -> Outcome:
        assert isinstance(batch.images, Tensor), "views are squares of one size"
        outcome: Outcome = model(batch.images.float() / 255)
        return outcome

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the loss of the method."""
        return {self.network.arch: self._outcome(model, batch).loss}

    def predict(self, model: nn.Module, batch: Batch) -> list[Any]:
        """Return the part of each image in the score."""
        return self.validate(model, batch)[0]

    def validate(self, model: nn.Module, batch: Batch) -> tuple[list[Any], Tensor]:
        """Return the part of each image in the score, and the mean loss of the batch."""
        outcome = self._outcome(model, batch)
        return outcome.score.tolist(), outcome.loss

    def metric(self) -> PretextMetric:
        """Return an empty metric."""
        return PretextMetric(PRETEXTS[self.network.arch].score)

    def inference_rule(self) -> dict[str, Any]:
        """Return nothing: there is no inference."""
        return {}

    @classmethod
    def for_model(cls, options: Eval | Predict, header: dict[str, Any]) -> "Pretraining":
        """Refuse; see `_refused`."""
        _refused()

    def with_data(self, options: Eval, header: dict[str, Any], report: Reporter) -> "Pretraining":
        """Refuse; see `_refused`."""
        _refused()

    def source(self, inputs: Sequence[Any]) -> Dataset:
        """Refuse; see `_refused`."""
        _refused()

    def write(self, result: Any, sample: Sample, stem: str, folder: Path) -> dict[str, Any]:
        """Refuse; see `_refused`."""
        _refused()

    def answers(self) -> Answers:
        """Refuse; see `_refused`."""
        _refused()


def _refused() -> NoReturn:
    """Refuse what only a model with classes can do.

    Raises:
        UsageError: always.
    """
    raise UsageError(
        "a pretrained backbone scores no classes",
        code="pretrain.inference",
        hint="train a model with --pretrained, or measure it with 'cvkit probe'",
    )
