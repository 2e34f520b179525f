"""Object detection: images with boxes, two-stage detectors, average precision."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cvkit.data.annotated import AnnotatedImage
from cvkit.data.boxes import with_truths
from cvkit.data.datasets import BoxDataset, ImageSource
from cvkit.data.files import InputFile
from cvkit.data.scan import fingerprint
from cvkit.engine.report import Reporter
from cvkit.errors import UsageError
from cvkit.metrics.coco import METRICS, BoxMetric, CocoMetric
from cvkit.metrics.voc import VocMetric
from cvkit.models.detection.build import pretrained_part, stages
from cvkit.models.detection.detectors import rest_batch_norms
from cvkit.models.weights import load_pretrained
from cvkit.options.detect import DetectEval, DetectPredict, DetectTrain
from cvkit.output.boxes import describe_boxes, write_results
from cvkit.output.draw import draw_boxes
from cvkit.output.files import write_rgb
from cvkit.structures import Batch, Geometry, Instances, Sample
from cvkit.tasks import detect_setup as setup
from cvkit.tasks.detect_setup import Network, Preprocessing
from cvkit.tasks.image_task import ImageTask, data_place, from_header


class Detect(ImageTask):
    """Object detection, as the three loops see it.

    Args:
        classes: of the data or the model, without background.
        network: what to build.
        preprocessing: of the images.
        splits: images with boxes by name of the split.
    """

    name, best = "detect", "AP"

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
        self.proposals: Mapping[str, np.ndarray] | None = None
        self.protocol, self.iou = "coco", 0.5
        self.overlay, self.draw_threshold, self.save = "png", 0.5, ()
        self.image_ids: Path | None = None

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Names of what the protocol computes."""
        return METRICS if self.protocol == "coco" else (f"{self.protocol}_map",)

    @classmethod
    def for_training(cls, options: DetectTrain, report: Reporter) -> "Detect":
        """Return the task of a training run; reads and checks the whole dataset.

        Raises:
            UsageError: flags that do not go together.
            DataError: lists every defect of the data.
        """
        network = setup.check_flags(options)
        found = setup.training_data(options, report)
        sizes = found.scans[options.train_split].sizes_hw
        preprocessing = setup.input_sizes(options, sizes)
        task = cls(
            classes=found.classes,
            network=setup.with_samples(network, options, preprocessing),
            preprocessing=preprocessing,
            splits=found.images,
        )
        from cvkit.data.transforms.boxes import BoxTransform  # slow to import; training only

        task.transform = BoxTransform(options.augment)
        task.about_data = {
            "name": options.data if options.data == "samples" else found.root.name,
            "layout": found.data.layout,
            "fingerprints": {
                name: fingerprint([(image.key, [image.path]) for image in images])
                for name, images in found.images.items()
            },
            "images": {name: len(images) for name, images in found.images.items()},
        }
        return task

    @classmethod
    def for_model(cls, options: DetectEval | DetectPredict, header: dict) -> "Detect":
        """Return the task of a trained model, as its file's header describes it.

        Raises:
            ModelFileError: the header lacks something.
        """
        task = cls(**from_header(header, Network, Preprocessing))
        limits = {
            "min_score": options.threshold,
            "nms": options.nms,
            "max_detections": options.max_detections,
        }
        chosen = {name: value for name, value in limits.items() if value is not None}
        own = dict(task.network.own)
        own["regions"] = dict(own.get("regions") or {}) | chosen
        task.network = replace(task.network, own=own)
        if isinstance(options, DetectPredict):
            task.overlay, task.draw_threshold = options.overlay, options.draw_threshold
            task.save, task.image_ids = setup.parse_save(options.save), options.image_ids
        else:
            task.protocol, task.iou = options.protocol, options.iou
        return task

    def use_data(self, options: DetectEval, header: dict, report: Reporter) -> None:
        """Find and check the split that a trained model is evaluated on.

        Raises:
            DataError: classes that the model does not have, or defects.
        """
        if options.json_file and options.data is None:
            root = options.images or options.json_file.parent
        else:
            root = data_place(options.data, "detect")
        found = setup.checked_splits(
            root,
            options.format,
            [options.split],
            report,
            json_files={options.split: options.json_file},
            images=options.images,
            strict=False,
        )
        table = setup.class_table(found.classes, self.classes)
        self.splits = {options.split: with_truths(found.images[options.split], table)}

    def header(self, options: DetectTrain) -> dict[str, Any]:
        """Return what a model file says about itself."""
        return {**self.about_model(), "rule": "AP: COCO, mean over IoU 0.50:0.05:0.95 and classes"}

    def inference_rule(self) -> dict[str, Any]:
        """Return how images go through the network, for reports."""
        return {**asdict(self.preprocessing), **self.network.own}

    def build(self) -> nn.Module:
        """Return a freshly initialised network for the classes."""
        return self.network.build(len(self.classes), self.preprocessing)

    def load_pretrained(self, model: nn.Module, options: DetectTrain, report: Reporter) -> None:
        """Load the backbone weights that `--pretrained` names, and freeze what flags say.

        Raises:
            UsageError: `--trainable-layers` is more than the backbone has.
            ModelFileError: the weights are missing, damaged or do not fit.
        """
        if options.pretrained is None:
            report.say("backbone weights: none, trained from scratch")
        else:
            part, name = pretrained_part(model), self.network.backbone
            offline = options.offline
            source = options.pretrained
            report.say(load_pretrained(part, name, source, offline=offline, say=report.say))

    def default_rate(self, options: DetectTrain) -> tuple[float, float] | None:
        """Return the recipe's learning rate and weight decay, scaled to the batch."""
        return setup.default_rate(options)

    def freeze(self, model: nn.Module, options: DetectTrain) -> None:
        """Switch off what `--freeze-bn` and `--trainable-layers` say.

        Raises:
            UsageError: `--trainable-layers` is more than the backbone has.
        """
        if options.freeze_bn:
            rest_batch_norms(model.backbone.body)
        wanted = options.trainable_layers
        if wanted is None:
            return
        parts = stages(model)
        if wanted > len(parts):
            raise UsageError(
                f"--trainable-layers {wanted}: the backbone has {len(parts)}",
                code="trainable_layers.range",
            )
        for part in parts[: len(parts) - wanted]:
            part.requires_grad_(False)

    def dataset(self, split: str, *, training: bool) -> BoxDataset:
        """Return a split, transformed for training or whole for evaluation."""
        transform, join = None, None
        if training:
            from cvkit.data.transforms.boxes import mosaic

            transform, join = self.transform, mosaic
        return BoxDataset(self.splits[split], transform, self.proposals, join)

    def source(self, inputs: Sequence[InputFile]) -> ImageSource:
        """Return images to predict."""
        return ImageSource(inputs, _whole, keep_original=True)

    def training_input(self, batch: Batch) -> tuple[list[Tensor], Any]:
        """Return the CHW images, and the boxes, labels and proposals of each."""
        device = batch.images[0].device
        boxes = [torch.from_numpy(sample.boxes.boxes).to(device) for sample in batch.samples]
        labels = [torch.from_numpy(sample.boxes.labels).to(device) for sample in batch.samples]
        return list(batch.images), (boxes, labels, _proposals(batch))

    def criterion(self, outputs: dict[str, Tensor], target: Any) -> dict[str, Tensor]:
        """Return the terms of the loss; a detector's outputs in training are its losses."""
        return outputs

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the losses by torchvision's names."""
        images, target = self.training_input(batch)
        return model(images, *target)

    def plain(self) -> "Detect":
        """Return the same problem; nothing in it keeps the loss from reaching zero."""
        return copy.copy(self)

    def predict(self, model: nn.Module, batch: Batch) -> list[Instances]:
        """Return the detections of each sample, in original pixels."""
        found = model.detect(list(batch.images), _proposals(batch))
        return [
            Instances(
                boxes=each.boxes.float().cpu().numpy(),
                labels=each.labels.cpu().numpy(),
                scores=each.scores.float().cpu().numpy(),
            )
            for each in found
        ]

    def metric(self) -> BoxMetric:
        """Return an empty metric of the protocol."""
        if self.protocol == "coco":
            return CocoMetric(self.classes)
        return VocMetric(self.classes, self.protocol == "voc07", self.iou)

    def write(self, result: Instances, sample: Sample, stem: str, folder: Path) -> dict[str, Any]:
        """Write the overlay; return the line of `predictions.jsonl`."""
        size_hw = sample.original.shape[:2]
        line = {"path": sample.path, **describe_boxes(result, self.classes, size_hw)}
        if self.overlay != "none":
            overlay = f"overlays/{stem}.{self.overlay}"
            shown = result.pick(result.scores >= self.draw_threshold)
            write_rgb(folder / overlay, draw_boxes(sample.original, shown, self.classes))
            line["overlay"] = overlay
        return line

    def finish(self, folder: Path) -> None:
        """Write `results.json` and the other files of all results together."""
        write_results(folder, self.classes, self.save, self.image_ids)


def _whole(image: np.ndarray) -> tuple[np.ndarray, Geometry]:
    return image, Geometry(image.shape[:2], image.shape[:2])


def _proposals(batch: Batch) -> list[Tensor] | None:
    if batch.samples[0].proposals is None:
        return None
    device = batch.images[0].device
    return [torch.from_numpy(sample.proposals).to(device) for sample in batch.samples]
