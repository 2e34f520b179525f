"""Object detection: images with boxes, two-stage detectors, average precision."""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cvkit.console import Reporter
from cvkit.data.annotated import AnnotatedImage
from cvkit.data.datasets import BoxDataset, ImageSource
from cvkit.data.files import InputFile
from cvkit.data.formats.boxes import with_truths
from cvkit.metrics.coco import METRICS, BoxMetric
from cvkit.models.detection.roi_heads import Detections
from cvkit.options.detect import (
    DetectEval,
    DetectingEval,
    DetectingPredict,
    DetectPredict,
    DetectTrain,
    TwoStageTrain,
)
from cvkit.output.answers import ObjectAnswers
from cvkit.output.boxes import describe_boxes, write_results
from cvkit.output.draw import draw_boxes
from cvkit.output.files import write_rgb
from cvkit.output.records import read_lines
from cvkit.scoring.detect import box_metric
from cvkit.structures import Batch, DetectionTargets, Failure, Instances, Sample
from cvkit.tasks.common import ImageTask
from cvkit.tasks.detect import inputs as detect_inputs
from cvkit.tasks.detect import setup
from cvkit.tasks.detect.image_ids import ImageIds
from cvkit.tasks.detect.inputs import Preprocessing, batch_proposals, input_sizes, resized
from cvkit.tasks.detect.network import (
    Network,
    check_flags,
    freeze_backbone,
    load_backbone,
    recipe,
    smallest_batch_of,
    with_anchors,
    with_samples,
)
from cvkit.tasks.detect.proposals import find_proposals, fit_regions, rcnn_post_fits, searcher
from cvkit.tasks.normalisation import value_bits, warn_of_bits


class Detect(ImageTask):
    """Object detection, as the three loops see it.

    Args:
        classes: of the data or the model, without background.
        network: what to build.
        preprocessing: of the images.
        splits: images with boxes by name of the split.
    """

    name, best = "detect", "AP"
    network_class, preprocessing_class = Network.from_file, Preprocessing
    draw = staticmethod(draw_boxes)
    """Makes the overlay."""

    def __init__(
        self,
        *,
        classes: Any,
        network: Network,
        preprocessing: Preprocessing,
        splits: dict[str, list[AnnotatedImage]] | None = None,
    ) -> None:
        super().__init__(classes=classes, network=network, preprocessing=preprocessing)
        self.splits = splits or {}
        self.transform: Any = None
        self.division: dict[str, Any] = {}
        self.head = "svm"
        self.body = "backbone" if network.facts.takes_crops else "backbone.body"
        self.proposals: Mapping[str, np.ndarray] | None = None
        self.protocol, self.iou = "coco", 0.5
        self.overlay, self.draw_threshold, self.save = "png", 0.5, ()
        self.image_ids: ImageIds | None = None
        self.search: Any = None
        self.proposal_mode = "fast"

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Names of what the protocol computes."""
        return METRICS if self.protocol == "coco" else (f"{self.protocol}_map",)

    @classmethod
    def for_training(cls, options: TwoStageTrain, report: Reporter) -> "Detect":
        """Return the task of a training run; reads and checks the whole dataset.

        Raises:
            UsageError: flags that do not go together.
            DataError: lists every defect of the data.
        """
        network = check_flags(options)
        found = setup.training_data(options, cls.name, report)
        images = found.images[options.train_split]
        sizes_hw = found.scans[options.train_split].sizes_hw
        bits = value_bits(options, found.scans.values(), report)
        preprocessing = replace(input_sizes(options, images, sizes_hw), bits=bits)
        report.say(f"input: {preprocessing.words()}")
        network = with_samples(network, options, preprocessing)
        network = with_anchors(network, options, preprocessing, images)
        task = cls(
            classes=found.classes, network=network, preprocessing=preprocessing, splits=found.images
        )
        if isinstance(options, DetectTrain):
            task.head, task.proposal_mode = options.head, options.proposal_mode
            task.proposals = find_proposals(
                network, found.images, options.proposals, options.proposal_mode, report, bits
            )
        from cvkit.data.transforms.boxes import BoxTransform  # slow to import; training only

        task.transform = BoxTransform(options.augment)
        task.about_data = setup.about_training(options, found)
        task.division = setup.division_words(options, found)
        return task

    @classmethod
    def for_model(cls, options: DetectingEval | DetectingPredict, header: dict) -> "Detect":
        """Return the task of a trained model, as its file's header describes it.

        Raises:
            ModelFileError: the header lacks something.
        """
        task = cls(**cls.known_parts(header))
        names = {"min_score": "threshold", "nms": "nms", "max_detections": "max_detections"}
        limits = {name: getattr(options, flag) for name, flag in names.items()}
        chosen = {name: value for name, value in limits.items() if value is not None}
        task.network = replace(task.network, **chosen)
        task.preprocessing = resized(task.preprocessing, options, task.network.arch)
        if "imported" in header:
            # Torchvision's own order of additions; NHWC, as in training here, is a sixth faster.
            task.memory_format = torch.contiguous_format
        if isinstance(options, DetectingPredict):
            task.overlay, task.draw_threshold = options.overlay, options.draw_threshold
            task.image_ids = ImageIds(options.image_ids)
        if isinstance(options, DetectEval):
            task.protocol, task.iou = options.protocol, options.iou
        task.proposal_mode = header.get("proposals", "fast")
        if isinstance(options, DetectPredict):
            task.save = setup.parse_save(options.save)
            task.search = searcher(task.network, options.proposals, task.proposal_mode)
        return task

    def use_data(self, options: DetectingEval, header: dict, report: Reporter) -> None:
        """Find and check the split that a trained model is evaluated on.

        Raises:
            DataError: classes that the model does not have, or defects.
        """
        found = setup.evaluation_split(options, self.name, header, report)
        bits = self.preprocessing.bits
        warn_of_bits(bits, found.scans.values(), report)
        table = setup.class_table(found.classes, self.classes)
        self.splits = {options.split: with_truths(found.images[options.split], table)}
        if isinstance(options, DetectEval):
            place, mode = options.proposals, self.proposal_mode
            self.proposals = find_proposals(self.network, self.splits, place, mode, report, bits)

    @property
    def min_batch(self) -> int:
        """Images that a batch must have in training."""
        return smallest_batch_of(self.build, self.preprocessing)

    def adopt(self, header: dict) -> None:
        """Take over the normalisation, and the numbers of the network that no flag can say."""
        super().adopt(header)
        self.network = self.network.adopted(self.known_parts(header)["network"])

    def header(self, options: TwoStageTrain) -> dict[str, Any]:
        """Return what a model file says about itself."""
        return {
            **self.about_model(),
            "labels": self.division,
            "proposals": self.proposal_mode,
            "rule": f"{self.best}: COCO, mean over IoU 0.50:0.05:0.95 and classes",
        }

    def inference_rule(self) -> dict[str, Any]:
        """Return how images go through the network, for reports."""
        return {**asdict(self.preprocessing), **self.network.reported()}

    def build(self) -> nn.Module:
        """Return a freshly initialised network for the classes."""
        return self.network.build(len(self.classes), self.preprocessing)

    def load_pretrained(self, model: nn.Module, options: TwoStageTrain, report: Reporter) -> None:
        """Load the backbone weights that `--pretrained` names, or say that there are none.

        Raises:
            ModelFileError: the weights are missing, damaged or do not fit.
        """
        load_backbone(model, self.network, options, report)

    def recipe(self, options: TwoStageTrain) -> dict[str, Any]:
        """Return optimizer, schedule, learning rate and weight decay."""
        return recipe(options)

    def freeze(self, model: nn.Module, options: TwoStageTrain) -> None:
        """Switch off what `--freeze-bn` and `--trainable-layers` say.

        Raises:
            UsageError: `--trainable-layers` is more than the backbone has.
        """
        freeze_backbone(model, options)

    def dataset(self, split: str, *, training: bool) -> BoxDataset:
        """Return a split, transformed for training or whole for evaluation."""
        transform, join = None, None
        if training:
            from cvkit.data.transforms.boxes import mosaic

            transform, join = self.transform, mosaic
        bits = self.preprocessing.bits
        return BoxDataset(self.splits[split], transform, self.proposals, join, bits)

    def source(self, inputs: Sequence[InputFile]) -> ImageSource:
        """Return images to predict."""
        whole, bits = detect_inputs.whole, self.preprocessing.bits
        return ImageSource(inputs, whole, keep_original=True, propose=self.search, bits=bits)

    def training_input(self, batch: Batch) -> tuple[list[Tensor], DetectionTargets]:
        """Return the CHW images, and their objects."""
        device = batch.images[0].device
        boxes = [torch.from_numpy(sample.boxes.boxes).to(device) for sample in batch.samples]
        labels = [torch.from_numpy(sample.boxes.labels).to(device) for sample in batch.samples]
        masks = [sample.boxes.masks for sample in batch.samples]
        found = None if masks[0] is None else masks
        return list(batch.images), DetectionTargets(boxes, labels, batch_proposals(batch), found)

    def criterion(self, outputs: dict[str, Tensor], target: Any) -> dict[str, Tensor]:
        """Return the terms of the loss; a detector's outputs in training are its losses."""
        return outputs

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the losses by torchvision's names."""
        return model(*self.training_input(batch))

    def judged(self, batch: Batch) -> Batch:
        """Return a batch of evaluation with the objects that a training loss compares with."""
        return detect_inputs.with_objects(batch)

    overfit_goal = (0.2, 0.35, 100)

    def uniform_loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the loss if all classes scored equally; the boxes' part is what it is."""
        even = {"loss_classifier": math.log(len(self.classes) + 1), "loss_objectness": math.log(2)}
        return sum(even.get(name, value) for name, value in self.loss(model, batch).items())

    def probe(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the backbone's input and its finest map (of crops: the features)."""
        return model.probe(self.training_input(batch)[0])

    def unregularised(self) -> "Detect":
        """Return the same problem: its loss has no smoothing."""
        return copy.copy(self)

    def predict(self, model: nn.Module, batch: Batch) -> list[Instances]:
        """Return the detections of each sample, in original pixels."""
        found = model.detect(list(batch.images), batch_proposals(batch))
        return [self.result(*each) for each in zip(found, batch.samples, strict=True)]

    def result(self, found: Detections, sample: Sample) -> Instances:
        """Return what a network found in an image, in original pixels."""
        return Instances(
            boxes=found.boxes.float().cpu().numpy(),
            labels=found.labels.cpu().numpy(),
            scores=found.scores.float().cpu().numpy(),
        )

    def post_fits(self, model: nn.Module, seed: int) -> list[tuple[str, Any]]:
        """Return R-CNN's SVMs and box regressors; other detectors have nothing to add."""
        if not self.network.facts.takes_crops or self.head == "softmax":
            return []
        return rcnn_post_fits(model, seed)

    def fit_batch(self, fit: Any, batch: Batch) -> None:
        """Show images, their objects and proposals to a stage."""
        fit_regions(fit, batch, batch_proposals(batch))

    def metric(self) -> BoxMetric:
        """Return an empty metric of the protocol."""
        return box_metric(self.classes, self.protocol, self.iou)

    def write(self, result: Instances, sample: Sample, stem: str, folder: Path) -> dict[str, Any]:
        """Write the overlay; return the line of `predictions.jsonl`."""
        size_hw = sample.original.shape[:2]
        line = {"path": sample.path, **describe_boxes(result, self.classes, size_hw)}
        if self.overlay != "none":
            overlay = f"overlays/{stem}.{self.overlay}"
            shown = result.pick(result.scores >= self.draw_threshold)
            write_rgb(folder / overlay, self.draw(sample.original, shown, self.classes))
            line["overlay"] = overlay
        return line

    def check_inputs(self, keys: Sequence[str], report: Reporter) -> None:
        """Check that `--image-ids` knows the inputs.

        Raises:
            DataError: it lacks one, or two are the same image.
        """
        self.image_ids.of(keys)

    def answers(self) -> ObjectAnswers:
        """Return what tells the numbers of the objects that pictures show."""
        return ObjectAnswers(self.draw_threshold)

    def finish(self, folder: Path) -> list[Failure]:
        """Write `results.json` and the other files of all results together."""
        paths = [line["path"] for line in read_lines(folder)]
        return write_results(folder, self.classes, self.save, self.image_ids.of(paths))
