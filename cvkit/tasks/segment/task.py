"""Semantic segmentation: images with masks, a dense head, pixel losses, mIoU."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvkit.annotation.label_studio import MASKS
from cvkit.console import Reporter
from cvkit.data.classes import without_background
from cvkit.data.datasets import ImageSource, SegmentationDataset
from cvkit.data.decode import MAX_PIXELS
from cvkit.data.exclusion import read_exclusion
from cvkit.data.files import InputFile
from cvkit.data.formats.recognise import detect_format
from cvkit.data.given import ImageInput, pixels_of
from cvkit.data.labelled import LabelledImage, mask_classes, read_pairs
from cvkit.data.masks import BINARY, MaskMap, MaskReader, parse_mask_map
from cvkit.data.resize import input_size_hw, prepare
from cvkit.data.windows import TiledImages, Windows
from cvkit.dividing import division_of, model_division, tell_division, warn_if_changed
from cvkit.errors import raise_defects
from cvkit.metrics.confusion import ConfusionMatrix, metric_names
from cvkit.ops import inference, losses
from cvkit.ops.blending import Blend
from cvkit.ops.reducing import reduced_map
from cvkit.ops.resize import resize_bilinear
from cvkit.options.segment import SegmentEval, SegmentPredict, SegmentTrain
from cvkit.output.annotated import segmented
from cvkit.output.annotation_files import Results, write_annotations
from cvkit.output.answers import AreaAnswers
from cvkit.output.draw import draw_segmentation
from cvkit.output.files import read_label_png, write_label_png, write_rgb
from cvkit.output.records import describe_labels, read_lines, write_areas
from cvkit.structures import IGNORE, Batch, Failure, Geometry, Sample, SegMap
from cvkit.tasks.checking import about_data
from cvkit.tasks.class_weights import class_weights
from cvkit.tasks.common import (
    LogitsTask,
    Origin,
    data_place,
    require_same_classes,
    required,
    smallest_batch,
    truth_of,
)
from cvkit.tasks.marked import Marker, has_overlay
from cvkit.tasks.normalisation import value_bits, warn_of_bits
from cvkit.tasks.saving import location
from cvkit.tasks.segment import setup
from cvkit.tasks.segment.network import Network, Preprocessing, segmenter
from cvkit.tasks.segment.setup import Inference, Training
from cvkit.tasks.tiling import picture_for, predict_each, tile_batches
from cvkit.texts import counted


@dataclass(frozen=True, kw_only=True)
class Segment(LogitsTask[SegmentTrain, SegmentEval, SegmentPredict]):
    """Semantic segmentation, as the three loops use it.

    Attributes:
        reader: of the masks; None for predict.
        training: None for a trained model.
        inference: how a trained model is used.
    """

    name, best = "segment", "miou"
    network_class, preprocessing_class = Network, Preprocessing

    network: Network
    preprocessing: Preprocessing
    splits: Mapping[str, list[LabelledImage]] = field(default_factory=dict)
    reader: MaskReader | None = None
    training: Training | None = None
    inference: Inference = field(default_factory=Inference)

    @classmethod
    def for_training(cls, options: SegmentTrain, report: Reporter) -> "Segment":
        """Return the task of a training run; reads and checks the whole dataset.

        Raises:
            UsageError: flags that cannot be combined.
            DataError: lists every defect of the data.
        """
        network, loss, aux_weight = setup.check_flags(options)
        parts, reader, classes, scans = setup.training_data(options, report)
        train_scan = scans[options.train_split]
        size_wh = setup.image_size(options.image_size, train_scan.sizes_hw)
        bits = value_bits(options, scans.values(), report)
        pixels = torch.from_numpy(train_scan.pixels[: len(classes)])
        rows = {name: setup.described(pairs, scans[name]) for name, pairs in parts.splits.items()}
        return cls(
            classes=classes,
            network=network,
            preprocessing=Preprocessing(size_wh, options.resize, bits=bits),
            splits=parts.splits,
            origin=Origin(
                about_data(options.data, classes, rows), division_of(options, parts.heap)
            ),
            reader=reader,
            training=Training(
                loss=loss,
                weights=class_weights(options.class_weights, pixels),
                label_smoothing=options.label_smoothing,
                aux_weight=aux_weight,
                transform=setup.transform_for(options, size_wh),
            ),
        )

    @classmethod
    def for_model(cls, options: SegmentEval | SegmentPredict, header: dict[str, Any]) -> "Segment":
        """Return the task of a trained model, as its file's header describes it.

        Raises:
            ModelFileError: the header is incomplete.
            UsageError: `--tta` or `--save` is malformed.
        """
        known = cls.known_parts(header)
        rule = setup.inference_for(options, known["classes"], known["preprocessing"].image_size_wh)
        return cls(**known, inference=rule)

    def with_data(
        self, options: SegmentEval, header: dict[str, Any], report: Reporter
    ) -> "Segment":
        """Return the task with the split that a trained model is evaluated on, checked.

        Raises:
            DataError: other classes than the model's, or masks that it cannot be compared with.
            UsageError: `--tta scales` makes images that the network cannot take.
        """
        self._require_scales()
        labels = header.get("labels", {})
        ignore = labels.get("ignore_index", 255)
        mask_map = options.mask_map if options.mask_map is not None else labels.get("mask_map")
        root = data_place(options.data, "segment")
        layout = detect_format("masks", root, options.format)
        division = model_division(options, header)
        excluded = read_exclusion(options.exclude)
        parts = read_pairs(root, layout, [options.split], division, excluded)
        pairs = parts.splits[options.split]
        tell_division(options, root, parts.heap, division, parts.splits, report)
        classes, colors = mask_classes(root, [pair.mask for pair in pairs])
        if classes is not None:
            require_same_classes(classes.names, self.classes.names)
        reader = MaskReader(
            num_classes=len(self.classes),
            colors=colors,
            mask_map=parse_mask_map(mask_map) if mask_map else MaskMap(),
            ignore_index=ignore if options.ignore_index is None else options.ignore_index,
        )
        count = counted(len(pairs), "image")
        report.say(f"data: {root} ({layout} layout), {options.split}: {count}")
        for note in parts.notes:
            report.warn(note)
        scan = setup.scan_split(pairs, reader, options.split, report)
        setup.say_if_recolored({options.split: scan}, report)
        warn_of_bits(self.preprocessing.bits, [scan], report)
        # An unreadable image is a failed sample; a label outside the classes would give a wrong
        # number.
        raise_defects([d for d in scan.defects if d.code.startswith("mask.")], str(root))
        if not scan.defects:
            rows = {options.split: setup.described(pairs, scan)}
            warn_if_changed(root, parts.heap, rows, header, report)
        return replace(self, splits=parts.splits, reader=reader)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Names of the metrics."""
        return metric_names(self.inference.dialects)

    @property
    def min_batch(self) -> int:
        """Minimum number of images in a training batch."""
        return smallest_batch(self.build, (3, *self.preprocessing.image_size_wh[::-1]))

    def adopting(self, header: dict[str, Any]) -> "Segment":
        """Return the task with the normalisation of a model, its atrous rates and its form."""
        kept = {name: header["network"].get(name) for name in ("rates", "form", "deep_stem")}
        kept = {name: value for name, value in kept.items() if value or name == "rates"}
        network = replace(self.network, **kept)
        return replace(super().adopting(header), network=network)

    def header(self, options: SegmentTrain) -> dict[str, Any]:
        """Return the header of the model file."""
        return {
            **self.about_model(),
            "labels": {
                "ignore_index": options.ignore_index,
                "mask_map": options.mask_map or self._assumed_map(),
                **self.origin.division,
            },
            "rule": "miou: mean IoU over occurring classes, one matrix, original resolution",
        }

    def _assumed_map(self) -> str | None:
        """Return the `--mask-map` that masks of 0 and 255 got without the flag."""
        assumed = self.reader is not None and self.reader.mask_map == parse_mask_map(BINARY)
        return BINARY if assumed else None

    def inference_rule(self) -> dict[str, Any]:
        """Return a description of the inference, for reports."""
        return {
            **asdict(self.preprocessing),
            "sliding_window": self.inference.sliding_window,
            "flip": self.inference.flip,
            "scales": self.inference.scales,
            **(self.inference.tiling.rule() if self.inference.tiling else {}),
        }

    def dataset(self, split: str, *, training: bool) -> SegmentationDataset | TiledImages:
        """Return a split, augmented for training or uncropped for evaluation."""
        data = self._labelled(split, training=training)
        if self.inference.tiling is None or training:
            return data
        files = [InputFile(pair.image, pair.key) for pair in data.pairs]
        return TiledImages(data, files, self.inference.tiling.tile_hw, data.truth)

    def _labelled(self, split: str, *, training: bool) -> SegmentationDataset:
        return SegmentationDataset(
            pairs=self.splits[split],
            reader=required(self.reader),
            image_size_wh=self.preprocessing.image_size_wh,
            resize=self.preprocessing.resize,
            transform=required(self.training).transform if training else None,
            bits=self.preprocessing.bits,
        )

    def check_inputs(self, keys: Sequence[str], report: Reporter) -> None:
        """Check that the network can take the smallest images of `--tta scales`.

        Raises:
            UsageError: it cannot.
        """
        self._require_scales()

    def _require_scales(self) -> None:
        size_wh = self.preprocessing.image_size_wh
        if self.preprocessing.resize == "fit":  # otherwise an image decides how large they are
            setup.require_scales(self.build, size_wh, self.inference.scales)

    def source(self, inputs: Sequence[ImageInput]) -> ImageSource | TiledImages:
        """Return images to predict."""
        size_wh, resize = self.preprocessing.image_size_wh, self.preprocessing.resize
        size_hw = partial(input_size_hw, image_size_wh=size_wh, resize=resize)
        bits, rule = self.preprocessing.bits, self._prepared
        data = ImageSource(inputs, rule, size_hw, keep_original=True, bits=bits)
        tiling = self.inference.tiling
        return data if tiling is None else TiledImages(data, inputs, tiling.tile_hw)

    @property
    def _prepared(self) -> Callable[[np.ndarray], tuple[np.ndarray, Geometry]]:
        """Returns the network input of an image, and its geometry."""
        size_wh, resize = self.preprocessing.image_size_wh, self.preprocessing.resize
        return partial(prepare, image_size_wh=size_wh, resize=resize)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a training sample."""
        return 3, *self.preprocessing.image_size_wh[::-1]

    def training_input(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return NCHW normalised images, and the NHW masks that the loss compares with."""
        return self.normalized(batch), required(batch.masks)

    def criterion(self, outputs: dict[str, Tensor], target: Tensor) -> dict[str, Tensor]:
        """Return the loss of each output by name, the auxiliary one weighted."""
        plan = required(self.training)
        weights = None if plan.weights is None else plan.weights.to(target.device)
        factors = {"out": 1.0, "aux": plan.aux_weight}
        return {
            name: factors[name]
            * losses.combined_loss(plan.loss, logits.float(), target, weights, plan.label_smoothing)
            for name, logits in outputs.items()
        }

    def unregularised(self) -> "Segment":
        """Return the same problem without label smoothing."""
        return replace(self, training=replace(required(self.training), label_smoothing=0.0))

    def predict(self, model: nn.Module, batch: Batch) -> list[SegMap | Failure]:
        """Return a label map for each sample, in original pixels."""

        def whole(batch: Batch) -> list[SegMap]:
            logits = self._logits(model, batch)
            return [self._result(*pair) for pair in zip(logits, batch.samples, strict=True)]

        return predict_each(batch, whole, partial(self._predict_tiles, model))

    def _logits(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the logits of a batch, NKHW at the size of the network's input."""
        images, rule, network = self.normalized(batch), self.inference, segmenter(model)
        if rule.sliding_window:
            window_hw = self.preprocessing.image_size_wh[::-1]
            return inference.sliding_window(network.logits, images, window_hw)
        if rule.flip or rule.scales != (1.0,):
            return inference.augmented(network.logits, images, flip=rule.flip, scales=rule.scales)
        return network.logits(images).float()

    def _predict_tiles(
        self, model: nn.Module, sample: Sample, windows: Windows, device: torch.device
    ) -> SegMap:
        """Return the label map of an image from the blended probabilities of its tiles."""
        tiling = required(self.inference.tiling)
        grid = tiling.grid(windows.size_hw)
        blend = Blend(
            grid, kept=self.inference.confidence and math.prod(grid.size_hw) <= MAX_PIXELS
        )
        with windows.opened() as read:
            work = tile_batches(read, grid.tiles, self._prepared, tiling.batch_size, device)
            for _, batch in work:
                for logits in self._logits(model, batch):
                    blend.add(resize_bilinear(logits[None], grid.tile_hw)[0].softmax(0))
        means = blend.sums / np.maximum(blend.pixels, 1)
        return SegMap(blend.labels, blend.confidence, means if self.inference.confidence else None)

    def validate(self, model: nn.Module, batch: Batch) -> tuple[list[SegMap], Tensor]:
        """Return the results of `predict` and the mean loss; the network runs once.

        The loss compares at the size of the network's input, as in training.
        """
        logits = segmenter(model).logits(self.normalized(batch)).float()
        results = [self._result(*pair) for pair in zip(logits, batch.samples, strict=True)]
        truths = [truth_of(sample, SegMap).labels for sample in batch.samples]
        masks = [torch.from_numpy(labels)[None, None] for labels in truths]
        size_hw = logits.shape[-2:]
        truth = torch.cat([F.interpolate(mask, size_hw, mode="nearest-exact") for mask in masks])
        target = truth[:, 0].long().to(logits.device)  # [N, H, W]
        return results, self.unregularised().criterion({"out": logits}, target)["out"]

    def _result(self, logits: Tensor, sample: Sample) -> SegMap:
        size_hw = required(sample.geometry).original_hw
        labels = inference.enlarged_argmax(logits, size_hw).cpu().numpy()
        if not self.inference.confidence:
            return SegMap(labels)
        sure = inference.confidence(logits, size_hw).half().cpu().numpy()
        return SegMap(labels, sure)

    def with_scores(self) -> Self:
        """Return the task with the probability of each pixel's class in all results."""
        return replace(self, inference=replace(self.inference, confidence=True))

    def metric(self) -> ConfusionMatrix:
        """Return an empty confusion matrix."""
        settings = self.inference
        return ConfusionMatrix(len(self.classes), settings.absent_class, settings.dialects)

    def write(self, result: SegMap, sample: Sample, stem: str, folder: Path) -> dict[str, Any]:
        """Write the palette PNG and the overlay; return the line of `predictions.jsonl`."""
        mask, overlay = f"masks/{stem}.png", f"overlays/{stem}.{self.inference.overlay}"
        write_label_png(folder / mask, result.labels, self.classes.colors)
        line = {"path": sample.path, **describe_labels(result, self.classes), "mask": mask}
        line |= location(self.inference.save, sample, folder)
        if has_overlay(self.inference.overlay, self.inference.save, sample):
            image, factor = picture_for(sample)
            shown = SegMap(reduced_map(result.labels, factor))
            write_rgb(folder / overlay, draw_segmentation(image, shown, self.classes))
            line["overlay"] = overlay
        return line

    def plot(self, result: SegMap, item: ImageInput) -> np.ndarray:
        """Return the image with its classes in colour, and a legend under it."""
        return draw_segmentation(pixels_of(item, self.preprocessing.bits), result, self.classes)

    def marker(self, labels: Collection[str], folder: Path) -> Marker:
        """Return what draws results on the frames of a video, with one legend for all."""

        def mark(frame: np.ndarray, line: dict[str, Any] | None) -> np.ndarray:
            found = np.full(frame.shape[:2], IGNORE, np.uint8)
            if line is not None:
                found = read_label_png(folder / line["mask"])
            return draw_segmentation(frame, SegMap(found), self.classes, legend=labels)

        return mark

    def answers(self) -> AreaAnswers:
        """Return the summary of the area shares of the classes."""
        return AreaAnswers()

    def finish(self, folder: Path) -> list[Failure]:
        """Write the files that `--save` asks for."""
        names, save = self.classes.names, self.inference.save
        left_out = {*names}.difference(without_background(names, tuple))
        if "csv" in save:
            write_areas(folder)
        results = Results(
            folder=folder,
            classes=self.classes,
            read=lambda: (
                segmented(line, folder, self.classes, left_out) for line in read_lines(folder)
            ),
            controls=[MASKS],
        )
        return write_annotations(results, save)
