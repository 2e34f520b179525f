"""Image classification: images with one class each, cross-entropy or hinge loss, accuracy."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from torch import Tensor, nn

from cvkit import catalog
from cvkit.annotation.label_studio import CLASSES
from cvkit.console import Reporter
from cvkit.data.classes import make_classes
from cvkit.data.classified import ClassifiedImage
from cvkit.data.datasets import ClassificationDataset, CropRule, ImageSource
from cvkit.data.given import ImageInput, pixels_of, read_picture
from cvkit.dividing import division_of
from cvkit.metrics.classification import METRICS, ClassificationMetric, ranked, reported
from cvkit.models.classify import Classifier, NearestNeighbours
from cvkit.ops.inference import class_probabilities
from cvkit.ops.mixing import mix
from cvkit.options.classify import ClassifyEval, ClassifyPredict, ClassifyTrain
from cvkit.output.annotated import tagged
from cvkit.output.annotation_files import Results, write_annotations
from cvkit.output.answers import ClassAnswers
from cvkit.output.draw import draw_caption
from cvkit.output.files import place_link, write_array, write_features, write_rgb
from cvkit.output.records import read_lines
from cvkit.storage import short_name
from cvkit.structures import Batch, Classes, Failure, Sample
from cvkit.tasks import classed
from cvkit.tasks.checking import about_data
from cvkit.tasks.class_weights import class_weights
from cvkit.tasks.classed import ClassTraining
from cvkit.tasks.classify import setup
from cvkit.tasks.classify.network import Network, Preprocessing
from cvkit.tasks.classify.setup import Inference
from cvkit.tasks.common import LogitsTask, Origin, required, smallest_batch
from cvkit.tasks.marked import Marker
from cvkit.tasks.normalisation import value_bits
from cvkit.tasks.saving import location


@dataclass(frozen=True, kw_only=True)
class Classify(LogitsTask[ClassifyTrain, ClassifyEval, ClassifyPredict]):
    """Image classification, as the three loops use it.

    Attributes:
        training: None for a trained model.
        inference: how a trained model is used.
    """

    name, best = "classify", "top1"
    network_class, preprocessing_class = Network, Preprocessing

    network: Network
    preprocessing: Preprocessing
    splits: Mapping[str, list[ClassifiedImage]] = field(default_factory=dict)
    training: ClassTraining | None = None
    inference: Inference = field(default_factory=Inference)

    @classmethod
    def for_training(cls, options: ClassifyTrain, report: Reporter) -> "Classify":
        """Return the task of a training run; reads and checks the whole dataset.

        Raises:
            UsageError: flags that cannot be combined.
            DataError: lists every defect of the data.
        """
        setup.check_flags(options)
        data, scans = setup.training_data(options, report)
        sizes_hw = scans[options.train_split].sizes_hw
        bits = value_bits(options, scans.values(), report)
        preprocessing = replace(setup.preprocessing_for(options, sizes_hw), bits=bits)
        train = data.splits[options.train_split]
        side = preprocessing.image_size
        network = setup.network_for(options, side, len(train), len(data.names))
        classes = make_classes(list(data.names))
        counts = classed.label_counts(train, data.names)
        aux_weight = catalog.ARCHS["classify"][network.arch].aux_weight
        training = ClassTraining(
            loss=options.loss,
            weights=class_weights(options.class_weights, counts),
            label_smoothing=options.label_smoothing,
            aux_weight=aux_weight if options.aux_weight is None else options.aux_weight,
            mixup=options.mixup,
            cutmix=options.cutmix,
            transform=setup.transform_for(options, side),
        )
        hashes = {name: scan.hashes for name, scan in scans.items()}
        rows = classed.labelled_hashes(data.splits, hashes)
        about = about_data(options.data, classes, rows, cls.noun)
        return cls(
            classes=classes,
            network=network,
            preprocessing=preprocessing,
            splits=data.splits,
            origin=Origin(about, division_of(options, data.heap)),
            training=training,
        )

    @classmethod
    def for_model(
        cls, options: ClassifyEval | ClassifyPredict, header: dict[str, Any]
    ) -> "Classify":
        """Return the task of a trained model, as its file's header describes it.

        Raises:
            ModelFileError: the header is incomplete.
            UsageError: `--tta` or `--save` is malformed, or `--embeddings` cannot be written.
        """
        known = cls.known_parts(header)
        return cls(**known, inference=setup.inference_for(options, known["classes"]))

    def with_data(
        self, options: ClassifyEval, header: dict[str, Any], report: Reporter
    ) -> "Classify":
        """Return the task with the split that a trained model is evaluated on, checked.

        Raises:
            DataError: other classes than the model's.
        """
        splits = classed.evaluation_split(self, options, header, report)
        return replace(self, splits=splits)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Names of the metrics for these classes."""
        return reported(METRICS, len(self.classes))

    @property
    def min_batch(self) -> int:
        """Minimum number of images in a training batch."""
        return smallest_batch(self.build, self.input_shape)

    @property
    def gradient_free(self) -> bool:
        """Whether training only memorises the examples."""
        return catalog.ARCHS[self.name][self.network.arch].gradient_free

    def header(self, options: ClassifyTrain) -> dict[str, Any]:
        """Return the header of the model file."""
        return {
            **self.about_model(),
            "labels": dict(self.origin.division),
            "rule": "top1: share of images whose largest score is the true class",
        }

    def inference_rule(self) -> dict[str, Any]:
        """Return a description of the inference, for reports."""
        rule: dict[str, Any] = self.about_model()["preprocessing"]
        return rule | {"flip": self.inference.flip, "ten_crop": self.inference.ten_crop}

    @property
    def _rule(self) -> CropRule:
        made, whole = self.preprocessing, self.inference.ten_crop
        size, resize = made.image_size, made.resize_size
        if whole and size == resize:
            resize = round(size * 8 / 7)  # otherwise all crops would be the same
        return CropRule(size, resize, made.interpolation, whole=whole)

    def dataset(self, split: str, *, training: bool) -> ClassificationDataset:
        """Return a split, augmented for training or centre-cropped for evaluation."""
        transformed = training and not self.gradient_free
        return ClassificationDataset(
            self.splits[split],
            self.classes.names,
            self._rule,
            required(self.training).transform if transformed else None,
            bits=self.preprocessing.bits,
        )

    def source(self, inputs: Sequence[ImageInput]) -> ImageSource:
        """Return images to predict."""
        bits, kept = self.preprocessing.bits, "sorted" in self.inference.save
        return ImageSource(inputs, self._rule, self._rule.size_hw, keep_original=kept, bits=bits)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Channels, height and width of a training sample."""
        return 3, self.preprocessing.image_size, self.preprocessing.image_size

    def training_input(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return NCHW normalised images and [N, K] class probabilities, mixed if asked for."""
        plan = required(self.training)
        seeds = [sample.seed for sample in batch.samples]
        targets = classed.one_hot(batch, len(self.classes))
        return mix(self.normalized(batch), targets, seeds, plan.mixup, plan.cutmix)

    def criterion(self, outputs: dict[str, Tensor], target: Tensor) -> dict[str, Tensor]:
        """Return the loss of each output by name, those of auxiliary heads weighted."""
        return required(self.training).criterion(outputs, target)

    def unregularised(self) -> "Classify":
        """Return the same problem without label smoothing and mixing."""
        return replace(self, training=classed.unregularised(required(self.training)))

    def memorise(self, model: nn.Module, batch: Batch) -> None:
        """Let a gradient-free model keep a batch of training images."""
        network = cast(NearestNeighbours, model)
        features = network.embed(self.normalized(batch)).float()
        network.store(features, required(batch.labels))

    def predict(self, model: nn.Module, batch: Batch) -> list[Classes]:
        """Return the scores of each sample."""
        rule = self.inference
        scores, features = class_probabilities(
            cast(Classifier, model),
            self.normalized(batch),
            self.preprocessing.image_size,
            flip=rule.flip,
            ten_crop=rule.ten_crop,
        )
        return self._results(scores, features)

    def _results(self, scores: Tensor, features: Tensor) -> list[Classes]:
        rows = scores.float().cpu().numpy()
        kept: list[np.ndarray | None] = [None] * len(rows)
        if self.inference.embeddings:
            kept = list(features.float().cpu().numpy())
        return [
            Classes(int(ranked(row)[0]), row, vector)
            for row, vector in zip(rows, kept, strict=True)
        ]

    def validate(self, model: nn.Module, batch: Batch) -> tuple[list[Classes], Tensor]:
        """Return the results of `predict` and the mean loss; the network runs once."""
        network = cast(Classifier, model)
        features = network.embed(self.normalized(batch))
        results = self._results(network.probabilities(features), features)
        targets = classed.one_hot(batch, len(self.classes))
        logits = {"out": network.head(features)}
        return results, self.unregularised().criterion(logits, targets)["out"]

    def metric(self) -> ClassificationMetric:
        """Return an empty metric."""
        return ClassificationMetric(len(self.classes))

    def write(self, result: Classes, sample: Sample, stem: str, folder: Path) -> dict[str, Any]:
        """Link the image into its class and keep its features, if asked for; return its line."""
        rule = self.inference
        line = classed.describe_classes(result, sample, self.classes, rule.top_k)
        line |= location(rule.save, sample, folder)
        if "sorted" in rule.save:
            source = sample.file
            folders, _, last = f"{rule.shelves[result.label]}/{stem}".rpartition("/")
            suffix = ".png" if source is None else os.path.splitext(source)[1]
            place = f"sorted/{folders}/{short_name(last + suffix, 255)}"
            if source is None:  # a frame, or a page of a file
                write_rgb(folder / place, required(sample.original))
            else:
                place_link(source, folder / place)
            line["sorted"] = place
        if rule.embeddings:
            line["features"] = f"features/{stem}.npy"
            write_array(folder / line["features"], required(result.features))
        return line

    def plot(self, result: Classes, item: ImageInput) -> np.ndarray:
        """Return the image with its two best classes under it."""
        picture = pixels_of(item, self.preprocessing.bits)
        return draw_caption(picture, ", ".join(classed.named(result, self.classes, 2)))

    def marker(self, labels: Collection[str], folder: Path) -> Marker:
        """Return what writes the two best classes under the frames of a video."""

        def mark(frame: np.ndarray, line: dict[str, Any] | None) -> np.ndarray:
            return draw_caption(frame, ", ".join(classed.best_words(line) if line else []))

        return mark

    def answers(self) -> ClassAnswers:
        """Return the summary of the best classes."""
        return ClassAnswers()

    def tile(self, line: dict[str, Any], path: Path, folder: Path) -> tuple[np.ndarray, str]:
        """Return the image and its two best classes."""
        return read_picture(path, self.preprocessing.bits), ", ".join(classed.best_words(line))

    def finish(self, folder: Path) -> list[Failure]:
        """Write `predictions.csv`, and the features of all images in one file, if asked for."""
        classed.write_table(folder, self.inference.top_k)
        if self.inference.embeddings:
            paths = [line["path"] for line in read_lines(folder)]
            features = (np.load(folder / line["features"]) for line in read_lines(folder))
            write_features(self.inference.embeddings, paths, features)
        results = Results(
            folder=folder,
            classes=self.classes,
            read=lambda: map(tagged, read_lines(folder)),
            controls=[CLASSES],
        )
        return write_annotations(results, self.inference.save)
