"""Image classification: images with one class each, cross-entropy or hinge loss, accuracy."""

import copy
import itertools
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from cvkit import catalog
from cvkit.console import Reporter
from cvkit.data.classes import make_classes
from cvkit.data.datasets import ClassificationDataset, CropRule, ImageSource
from cvkit.data.decode import read_image
from cvkit.data.division import content_hashes
from cvkit.data.files import InputFile, walk_images
from cvkit.data.formats.folders import ClassifiedImage, read_collection
from cvkit.dividing import division_of, model_division, tell_division, warn_if_changed
from cvkit.metrics.classification import METRICS, ClassificationMetric, ranked, reported
from cvkit.ops.inference import class_probabilities
from cvkit.ops.losses import class_loss
from cvkit.ops.mixing import mix
from cvkit.options.classify import ClassifyEval, ClassifyPredict, ClassifyTrain
from cvkit.output.answers import ClassAnswers
from cvkit.output.files import place_link, write_array, write_csv, write_features
from cvkit.output.names import class_words
from cvkit.output.records import read_lines
from cvkit.storage import short_name
from cvkit.structures import Batch, Classes, ClassList, Failure, Sample
from cvkit.tasks.checking import about_data
from cvkit.tasks.class_splits import labelled_hashes
from cvkit.tasks.classify import setup
from cvkit.tasks.classify.network import Network, Preprocessing
from cvkit.tasks.classify.setup import Training
from cvkit.tasks.common import (
    ImageTask,
    class_weights,
    data_place,
    require_same_classes,
    smallest_batch,
)
from cvkit.tasks.normalisation import value_bits


class Classify(ImageTask):
    """Image classification, as the three loops see it.

    Args:
        classes: of the data or the model.
        network: what to build.
        preprocessing: of the images.
        splits: labelled images by name of the split.
    """

    name, best, all_metrics = "classify", "top1", METRICS
    network_class, preprocessing_class = Network, Preprocessing
    noun, walk = "images", staticmethod(walk_images)
    """What has a class, and what finds it in a folder."""

    def __init__(
        self,
        *,
        classes: ClassList,
        network: Network,
        preprocessing: Preprocessing,
        splits: dict[str, list[ClassifiedImage]] | None = None,
    ) -> None:
        super().__init__(classes=classes, network=network, preprocessing=preprocessing)
        self.splits = splits or {}
        self.training: Training | None = None
        self.division: dict[str, Any] = {}
        self.flip = self.ten_crop = False
        self.top_k, self.sorted, self.embeddings = 5, False, None
        self.shelves: tuple[str, ...] = ()
        self.paths: dict[str, Path] = {}

    @classmethod
    def for_training(cls, options: ClassifyTrain, report: Reporter) -> "Classify":
        """Return the task of a training run; reads and checks the whole dataset.

        Raises:
            UsageError: flags that do not go together.
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
        task = cls(
            classes=make_classes(list(data.names)),
            network=network,
            preprocessing=preprocessing,
            splits=data.splits,
        )
        from cvkit.data.transforms.classes import ClassifyTransform  # slow to import; training only

        counts = setup.label_counts(train, data.names)
        aux_weight = catalog.ARCHS["classify"][network.arch].aux_weight
        task.training = Training(
            loss=options.loss,
            weights=class_weights(options.class_weights, counts),
            label_smoothing=options.label_smoothing,
            aux_weight=aux_weight if options.aux_weight is None else options.aux_weight,
            mixup=options.mixup,
            cutmix=options.cutmix,
            transform=ClassifyTransform(options.augment, side, options.erasing),
        )
        task.division = division_of(options, data.heap)
        hashes = {name: scan.hashes for name, scan in scans.items()}
        rows = labelled_hashes(data.splits, hashes)
        task.about_data = about_data(options.data, task.classes, rows, cls.noun)
        return task

    @classmethod
    def for_model(cls, options: ClassifyEval | ClassifyPredict, header: dict) -> "Classify":
        """Return the task of a trained model, as its file's header describes it.

        Raises:
            ModelFileError: the header lacks something.
            UsageError: `--tta` is malformed, or `--embeddings` cannot be written.
        """
        task = cls(**cls.known_parts(header))
        task.flip, task.ten_crop = setup.parse_tta(options.tta)
        if isinstance(options, ClassifyPredict):
            task.top_k = min(options.top_k, len(task.classes))
            task.sorted, task.embeddings = options.save == "sorted", options.embeddings
            task.shelves = class_words(task.classes.names)
            setup.check_embeddings(options)
        return task

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Names of what is computed for these classes."""
        return reported(self.all_metrics, len(self.classes))

    @property
    def min_batch(self) -> int:
        """Images that a batch must have in training."""
        return smallest_batch(self.build, self.input_shape)

    @property
    def gradient_free(self) -> bool:
        """Whether training means to memorise the examples."""
        return catalog.ARCHS[self.name][self.network.arch].gradient_free

    def use_data(self, options: Any, header: dict, report: Reporter) -> None:
        """Find the split that a trained model is evaluated on, and check its classes.

        Raises:
            DataError: other classes than the model's.
        """
        place = data_place(options.data, self.name)
        made = model_division(options, header)
        share, names = made.val_fraction, [options.split]
        data = read_collection(place, options.format, names, share, self.walk, seed=made.seed)
        tell_division(options, place, data.heap, made, data.splits, report)
        require_same_classes(data.names, self.classes.names, ordered=data.ordered)
        count = f"{len(data.splits[options.split])} {self.noun}"
        report.say(f"data: {place} ({data.layout} layout), {options.split}: {count}")
        for note in data.notes:
            report.warn(note)
        if data.heap is not None:
            hashes = {
                name: content_hashes([item.path for item in items])
                for name, items in data.splits.items()
            }
            rows = labelled_hashes(data.splits, hashes)
            warn_if_changed(place, data.heap, rows, header, report)
        self.splits = data.splits

    def header(self, options: ClassifyTrain) -> dict[str, Any]:
        """Return what a model file says about itself."""
        return {
            **self.about_model(),
            "labels": self.division,
            "rule": "top1: share of images whose largest score is the true class",
        }

    def inference_rule(self) -> dict[str, Any]:
        """Return how images go through the network, for reports."""
        about = self.about_model()["preprocessing"]
        return about | {"flip": self.flip, "ten_crop": self.ten_crop}

    @property
    def _rule(self) -> CropRule:
        made = self.preprocessing
        size, resize = made.image_size, made.resize_size
        if self.ten_crop and size == resize:
            resize = round(size * 8 / 7)  # else all crops would be the same
        return CropRule(size, resize, made.interpolation, whole=self.ten_crop)

    def dataset(self, split: str, *, training: bool) -> ClassificationDataset:
        """Return a split, transformed for training or cut from the centre for evaluation."""
        transform = self.training.transform if training and not self.gradient_free else None
        return ClassificationDataset(
            self.splits[split],
            self.classes.names,
            self._rule,
            transform,
            bits=self.preprocessing.bits,
        )

    def source(self, inputs: Sequence[InputFile]) -> ImageSource:
        """Return images to predict."""
        self.paths = {file.key: file.path for file in inputs}
        return ImageSource(inputs, self._rule, bits=self.preprocessing.bits)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Channels, height and width of a training sample."""
        return 3, self.preprocessing.image_size, self.preprocessing.image_size

    def training_input(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return NCHW normalised images and [N, K] class probabilities, mixed where asked."""
        images = self.normalized(batch)
        targets = F.one_hot(batch.labels, len(self.classes)).float()
        seeds = [sample.seed for sample in batch.samples]
        return mix(images, targets, seeds, self.training.mixup, self.training.cutmix)

    def criterion(self, outputs: dict[str, Tensor], target: Tensor) -> dict[str, Tensor]:
        """Return the loss of each output by name, those of auxiliary heads weighted."""
        plan = self.training
        weights = None if plan.weights is None else plan.weights.to(target.device)
        return {
            name: (1.0 if name == "out" else plan.aux_weight)
            * class_loss(plan.loss, logits.float(), target, weights, plan.label_smoothing)
            for name, logits in outputs.items()
        }

    def unregularised(self) -> "Classify":
        """Return the same problem without label smoothing and mixing."""
        twin = copy.copy(self)
        twin.training = replace(self.training, label_smoothing=0.0, mixup=0.0, cutmix=0.0)
        return twin

    def memorise(self, model: nn.Module, batch: Batch) -> None:
        """Let a gradient-free model keep a batch of training images."""
        model.store(model.embed(self.normalized(batch)).float(), batch.labels)

    def predict(self, model: nn.Module, batch: Batch) -> list[Classes]:
        """Return the scores of each sample."""
        size = self.preprocessing.image_size
        scores, features = class_probabilities(
            model, self.normalized(batch), size, flip=self.flip, ten_crop=self.ten_crop
        )
        return self._results(scores, features)

    def _results(self, scores: Tensor, features: Tensor) -> list[Classes]:
        rows = scores.float().cpu().numpy()
        kept = features.float().cpu().numpy() if self.embeddings else [None] * len(rows)
        return [Classes(int(ranked(row)[0]), row, own) for row, own in zip(rows, kept, strict=True)]

    def validate(self, model: nn.Module, batch: Batch) -> tuple[list[Classes], Tensor]:
        """Return what `predict` does, and the mean loss; the network runs once."""
        features = model.embed(self.normalized(batch))
        results = self._results(model.probabilities(features), features)
        targets = F.one_hot(batch.labels, len(self.classes)).float()
        return results, self.unregularised().criterion({"out": model.head(features)}, targets)[
            "out"
        ]

    def metric(self) -> ClassificationMetric:
        """Return empty counts."""
        return ClassificationMetric(len(self.classes))

    def write(self, result: Classes, sample: Sample, stem: str, folder: Path) -> dict[str, Any]:
        """Link the image into its class and keep its features, where asked; return its line."""
        order = [int(index) for index in ranked(result.scores)[: self.top_k]]
        height, width = sample.geometry.original_hw
        line = {
            "path": sample.path,
            "width": width,
            "height": height,
            "labels": [self.classes.names[index] for index in order],
            "category_ids": [self.classes.ids[index] for index in order],
            "scores": [float(result.scores[index]) for index in order],
        }
        if self.sorted:
            source = self.paths[sample.path]
            folders, _, last = f"{self.shelves[order[0]]}/{stem}".rpartition("/")
            place = f"sorted/{folders}/{short_name(last + os.path.splitext(source)[1], 255)}"
            place_link(source, folder / place)
            line["sorted"] = place
        if self.embeddings:
            line["features"] = f"features/{stem}.npy"
            write_array(folder / line["features"], result.features)
        return line

    def answers(self) -> ClassAnswers:
        """Return what tells the best classes."""
        return ClassAnswers()

    def tile(self, line: dict[str, Any], path: Path, folder: Path) -> tuple[np.ndarray, str]:
        """Return the image, and its two best classes."""
        return read_image(path, self.preprocessing.bits), best_words(line)

    def finish(self, folder: Path) -> list[Failure]:
        """Write `predictions.csv`, and the features of all images in one file, where asked."""
        names = [part for k in range(1, self.top_k + 1) for part in _columns(k)]
        pairs = (
            (line["path"], zip(line["labels"], line["scores"], strict=True))
            for line in read_lines(folder)
        )
        rows = ([path, *itertools.chain.from_iterable(own)] for path, own in pairs)
        write_csv(folder / "predictions.csv", ["path", *names], rows)
        if self.embeddings:
            paths = [line["path"] for line in read_lines(folder)]
            features = (np.load(folder / line["features"]) for line in read_lines(folder))
            write_features(self.embeddings, paths, features)
        return []


def best_words(line: dict[str, Any]) -> str:
    """Return the two best classes of a line of `predictions.jsonl`, and their scores."""
    pairs = list(zip(line["labels"], line["scores"], strict=True))[:2]
    return ", ".join(f"{label} {score:.2f}" for label, score in pairs)


def _columns(rank: int) -> tuple[str, str]:
    """Return the names of the columns of the rank-th best class."""
    return ("label", "score") if rank == 1 else (f"label_{rank}", f"score_{rank}")
