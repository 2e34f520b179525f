"""Tasks with objects: images with boxes, two-stage detectors; shared by detect and instance."""

import math
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from cvkit.console import Reporter
from cvkit.data.annotated import AnnotatedImage
from cvkit.data.boxes import with_truths
from cvkit.data.datasets import BoxDataset, ImageSource
from cvkit.data.files import InputFile
from cvkit.data.given import ImageInput, pixels_of
from cvkit.data.resize import whole_size
from cvkit.data.windows import TiledImages, Windows
from cvkit.models.detection.detectors import Detector
from cvkit.models.detection.roi_heads import Detections, on_cpu
from cvkit.ops.joining import join_objects
from cvkit.ops.reducing import reduced_objects
from cvkit.ops.tiling import Tile
from cvkit.options.detect import DetectingEval, DetectingPredict, TwoStageTrain
from cvkit.output.answers import ObjectAnswers
from cvkit.output.boxes import describe_boxes, write_results
from cvkit.output.canvas import Canvas
from cvkit.output.files import write_rgb
from cvkit.output.records import read_lines
from cvkit.structures import Batch, DetectionTargets, Failure, Instances, MaskLayers, Sample
from cvkit.tasks.common import ImageTask, Origin, required, total
from cvkit.tasks.detect import setup
from cvkit.tasks.detect.inputs import (
    Preprocessing,
    batch_proposals,
    input_sizes,
    resized,
    whole,
    with_objects,
)
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
from cvkit.tasks.detect.setup import Inference, Splits
from cvkit.tasks.marked import Marker, has_overlay
from cvkit.tasks.normalisation import value_bits, warn_of_bits
from cvkit.tasks.saving import location
from cvkit.tasks.tiling import picture_for, predict_each, tile_batches

LIMITS = {"min_score": "threshold", "nms": "nms", "max_detections": "max_detections"}
"""Fields of a network's region rule, and the flags that change them for a trained model."""


T = TypeVar("T", bound=TwoStageTrain)
E = TypeVar("E", bound=DetectingEval)
P = TypeVar("P", bound=DetectingPredict)


@dataclass(frozen=True, kw_only=True)
class ObjectTask(ImageTask[T, E, P]):
    """A problem whose results are objects with boxes, as the three loops use it.

    Attributes:
        classes: without background.
        transform: of the training samples; None for a trained model.
        inference: how a trained model is used.
        as_imported: the network was trained by torchvision.
    """

    network_class, preprocessing_class = Network.from_file, Preprocessing
    overfit_goal = (0.2, 0.35, 100)
    with_masks: ClassVar[bool]
    """Whether the objects have masks."""

    network: Network
    preprocessing: Preprocessing
    splits: Mapping[str, list[AnnotatedImage]] = field(default_factory=dict)
    transform: Any = None
    inference: Inference = field(default_factory=Inference)
    as_imported: bool = False

    @classmethod
    def for_training(cls, options: T, report: Reporter) -> Self:
        """Return the task of a training run; reads and checks the whole dataset.

        Raises:
            UsageError: flags that cannot be combined.
            DataError: lists every defect of the data.
        """
        network = check_flags(options, cls.name)
        found = setup.training_data(options, cls.name, report, masks=cls.with_masks)
        images = found.images[options.train_split]
        sizes_hw = found.scans[options.train_split].sizes_hw
        bits = value_bits(options, found.scans.values(), report)
        preprocessing = replace(input_sizes(options, images, sizes_hw), bits=bits)
        report.say(f"input: {preprocessing.describe()}")
        network = with_samples(network, options, preprocessing)
        network = with_anchors(network, options, preprocessing, images)
        further = cls._parts_for_training(options, network, found, bits, report)
        return cls(
            classes=found.classes,
            network=network,
            preprocessing=preprocessing,
            splits=found.images,
            origin=Origin(
                setup.about_training(options, found), setup.describe_division(options, found)
            ),
            transform=setup.transform_for(options),
            **further,
        )

    @classmethod
    def _parts_for_training(
        cls,
        options: T,
        network: Network,
        found: Splits,
        bits: int | None,
        report: Reporter,
    ) -> dict[str, Any]:
        """Return further fields of the task of a training run."""
        return {}

    @classmethod
    def for_model(cls, options: E | P, header: dict[str, Any]) -> Self:
        """Return the task of a trained model, as its file's header describes it.

        Raises:
            ModelFileError: the header is incomplete.
        """
        known = cls.known_parts(header)
        network: Network = known["network"]
        limits = {name: getattr(options, flag) for name, flag in LIMITS.items()}
        chosen = {name: value for name, value in limits.items() if value is not None}
        network = replace(network, **chosen)
        known["preprocessing"] = resized(known["preprocessing"], options, network.arch)
        return cls(
            **known | {"network": network},
            as_imported="imported" in header,
            inference=setup.inference_for(
                options, cls.name, known["classes"], known["preprocessing"], network.arch
            ),
            **cls._parts_for_model(options, network, header),
        )

    @classmethod
    def _parts_for_model(
        cls, options: E | P, network: Network, header: dict[str, Any]
    ) -> dict[str, Any]:
        """Return further fields of the task of a trained model."""
        return {}

    def with_data(self, options: E, header: dict[str, Any], report: Reporter) -> Self:
        """Return the task with the split that a trained model is evaluated on, checked.

        Raises:
            DataError: classes that the model does not have, or defects.
        """
        found = setup.evaluation_split(options, self.name, header, report, masks=self.with_masks)
        warn_of_bits(self.preprocessing.bits, found.scans.values(), report)
        table = setup.class_table(found.classes, self.classes)
        splits = {options.split: with_truths(found.images[options.split], table)}
        return replace(self, splits=splits)

    def body(self, model: nn.Module) -> str:
        """Return the name of the layers that `--freeze-backbone` freezes."""
        body = cast(Detector, model).body
        return next(name for name, part in model.named_modules() if part is body)

    def recomputable(self, model: nn.Module) -> nn.Module:
        """Return the backbone with its neck; regions are drawn at random after it."""
        return cast(Detector, model).features

    @property
    def weight_format(self) -> torch.memory_format:
        """Memory format of the network's weights."""
        # NCHW has torchvision's order of additions; NHWC, as in training here, is a sixth faster.
        return torch.contiguous_format if self.as_imported else torch.channels_last

    @property
    def min_batch(self) -> int:
        """Minimum number of images in a training batch."""
        return smallest_batch_of(self.build, self.preprocessing)

    def adopting(self, header: dict[str, Any]) -> Self:
        """Return the task with the normalisation and the network's numbers of a model."""
        network = self.network.adopted(self.known_parts(header)["network"])
        return replace(super().adopting(header), network=network)

    def header(self, options: T) -> dict[str, Any]:
        """Return the header of the model file."""
        return {
            **self.about_model(),
            "labels": dict(self.origin.division),
            "proposals": "fast",
            "rule": f"{self.best}: COCO, mean over IoU 0.50:0.05:0.95 and classes",
        }

    def inference_rule(self) -> dict[str, Any]:
        """Return a description of the inference, for reports."""
        tiling = self.inference.tiling
        tiled = tiling.rule() if tiling else {}
        return {**asdict(self.preprocessing), **self.network.reported(), **tiled}

    def build(self) -> nn.Module:
        """Return a freshly initialised network for the classes."""
        return self.network.build(len(self.classes), self.preprocessing)

    def load_pretrained(self, model: nn.Module, options: T, report: Reporter) -> None:
        """Load the backbone weights that `--pretrained` names, or say that there are none.

        Raises:
            ModelFileError: the weights are missing, damaged or do not fit.
        """
        load_backbone(cast(Detector, model), self.network, options, report)

    def recipe(self, options: T) -> dict[str, Any]:
        """Return optimizer, schedule, learning rate and weight decay."""
        return recipe(options)

    def freeze(self, model: nn.Module, options: T) -> None:
        """Freeze the layers given by `--freeze-bn` and `--trainable-layers`.

        Raises:
            UsageError: `--trainable-layers` is more than the backbone has.
        """
        freeze_backbone(cast(Detector, model), options)

    def dataset(self, split: str, *, training: bool) -> BoxDataset | TiledImages:
        """Return a split, augmented for training or uncropped for evaluation."""
        bits, regions, images = self.preprocessing.bits, self._proposals(), self.splits[split]
        if training:
            return setup.training_set(images, required(self.transform), regions, bits)
        data, tiling = BoxDataset(images, None, regions, bits=bits), self.inference.tiling
        if tiling is None:
            return data
        files = [InputFile(image.path, image.key) for image in images]
        return TiledImages(data, files, tiling.tile_hw, data.truth)

    def _proposals(self) -> Mapping[str, np.ndarray] | None:
        """Return the [R, 4] proposals of each image by key; None if the network makes them."""
        return None

    def source(self, inputs: Sequence[ImageInput]) -> ImageSource | TiledImages:
        """Return images to predict."""
        bits, tiling = self.preprocessing.bits, self.inference.tiling
        data = ImageSource(inputs, whole, whole_size, keep_original=True, bits=bits)
        return data if tiling is None else TiledImages(data, inputs, tiling.tile_hw)

    def training_input(self, batch: Batch) -> tuple[list[Tensor], DetectionTargets]:
        """Return the CHW images and their objects."""
        device = batch.images[0].device
        objects = [required(sample.boxes) for sample in batch.samples]
        boxes = [torch.from_numpy(each.boxes).to(device) for each in objects]
        labels = [torch.from_numpy(each.labels).to(device) for each in objects]
        masks = [each.masks for each in objects if isinstance(each.masks, MaskLayers)]
        return list(batch.images), DetectionTargets(
            boxes, labels, batch_proposals(batch), masks or None
        )

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the losses by torchvision's names."""
        terms: dict[str, Tensor] = model(*self.training_input(batch))
        return terms

    def unregularised(self) -> Self:
        """Return the same problem: its loss has no smoothing."""
        return self

    def uniform_loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the loss if all classes scored equally; box losses are as computed."""
        even = {"loss_classifier": math.log(len(self.classes) + 1), "loss_objectness": math.log(2)}
        terms = self.loss(model, batch)
        return total({n: torch.full_like(v, even[n]) if n in even else v for n, v in terms.items()})

    def probe(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the backbone's input and its finest map (for crops: the features)."""
        return cast(Detector, model).probe(self.training_input(batch)[0])

    def predict(self, model: nn.Module, batch: Batch) -> list[Instances | Failure]:
        """Return the detections of each sample, in original pixels."""
        return predict_each(batch, partial(self._detect, model), partial(self._detect_tiles, model))

    def _detect(self, model: nn.Module, batch: Batch) -> list[Instances]:
        found = on_cpu(cast(Detector, model).detect(list(batch.images), batch_proposals(batch)))
        return [self.result(*each) for each in zip(found, batch.samples, strict=True)]

    def _detect_tiles(
        self, model: nn.Module, sample: Sample, windows: Windows, device: torch.device
    ) -> Instances:
        """Return the objects of an image, joined from those of its tiles."""
        tiling = required(self.inference.tiling)
        grid = tiling.grid(windows.size_hw)
        found: list[tuple[Tile, Instances]] = []
        with windows.opened() as read:
            for tiles, batch in tile_batches(read, grid.tiles, whole, tiling.batch_size, device):
                found += zip(tiles, self._detect(model, batch), strict=True)
        return join_objects(found, grid.size_hw, self.network.detection_nms)

    def validate(self, model: nn.Module, batch: Batch) -> tuple[list[Instances], Tensor]:
        """Return the results of `predict` and the mean loss of the batch."""
        terms = self.loss(model, with_objects(batch))
        return self._detect(model, batch), total(terms)

    def result(self, found: Detections, sample: Sample) -> Instances:
        """Return the objects found in an image, in original pixels."""
        return Instances(
            boxes=found.boxes.numpy(),
            labels=found.labels.numpy(),
            scores=found.scores.numpy(),
        )

    def write(self, result: Instances, sample: Sample, stem: str, folder: Path) -> dict[str, Any]:
        """Write the overlay; return the line of `predictions.jsonl`."""
        size_hw = required(sample.geometry).original_hw
        line = {"path": sample.path, **describe_boxes(result, self.classes, size_hw)}
        line |= location(self.inference.save, sample, folder)
        if has_overlay(self.inference.overlay, self.inference.save, sample):
            overlay = f"overlays/{stem}.{self.inference.overlay}"
            shown = result.pick(result.prediction_scores() >= self.inference.draw_threshold)
            image, factor = picture_for(sample)
            write_rgb(folder / overlay, self.draw(image, reduced_objects(shown, factor)))
            line["overlay"] = overlay
        return line

    def plot(self, result: Instances, item: ImageInput) -> np.ndarray:
        """Return the image with its objects, without those below `--draw-threshold`."""
        shown = result.pick(result.prediction_scores() >= self.inference.draw_threshold)
        return self.draw(pixels_of(item, self.preprocessing.bits), shown)

    def marker(self, labels: Collection[str], folder: Path) -> Marker:
        """Return what draws results on the frames of a video."""

        def mark(frame: np.ndarray, line: dict[str, Any] | None) -> np.ndarray:
            if line is None:
                return Canvas(frame).picture
            result = self.result_in(line)
            least = self.inference.draw_threshold
            return self.draw(frame, result.pick(result.prediction_scores() >= least))

        return mark

    def result_in(self, line: dict[str, Any]) -> Instances:
        """Return the objects in a line of `predictions.jsonl`."""
        names = {name: number for number, name in enumerate(self.classes.names, 1)}
        return Instances(
            boxes=np.array(line["boxes"], np.float32).reshape(-1, 4),
            labels=np.array([names[label] for label in line["labels"]], np.int64),
            scores=np.array(line["scores"], np.float32),
        )

    @abstractmethod
    def draw(self, image: np.ndarray, result: Instances) -> np.ndarray:
        """Return an overlay: the objects drawn on their HWC RGB uint8 image."""

    def check_inputs(self, keys: Sequence[str], report: Reporter) -> None:
        """Check that `--image-ids` knows the inputs.

        Raises:
            DataError: it lacks one, or two match the same image.
        """
        required(self.inference.image_ids).of(keys)

    def answers(self) -> ObjectAnswers:
        """Return the summary of the numbers of drawn objects."""
        return ObjectAnswers(self.inference.draw_threshold)

    def finish(self, folder: Path) -> list[Failure]:
        """Write `results.json` and the other files about all results."""
        paths = [line["path"] for line in read_lines(folder)]
        ids = required(self.inference.image_ids).of(paths)
        masks = self.with_masks
        return write_results(folder, self.classes, self.inference.save, ids, masks=masks)
