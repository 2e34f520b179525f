"""Semantic segmentation: images with masks, a dense head, pixel losses, mIoU."""

import copy
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvkit.console import Reporter
from cvkit.data.classes import dataset_classes
from cvkit.data.datasets import ImageSource, SegmentationDataset
from cvkit.data.files import InputFile
from cvkit.data.formats.layouts import LabelledImage, detect_layout, read_pairs
from cvkit.data.masks import MaskMap, MaskReader, parse_mask_map
from cvkit.data.resize import prepare
from cvkit.dividing import division_of, model_division, tell_division, warn_if_changed
from cvkit.errors import UsageError, raise_defects
from cvkit.metrics.confusion import METRICS, ConfusionMatrix
from cvkit.ops import inference, losses
from cvkit.options.segment import SegmentEval, SegmentPredict, SegmentTrain
from cvkit.output.answers import AreaAnswers
from cvkit.output.draw import draw_segmentation
from cvkit.output.files import write_label_png, write_rgb
from cvkit.output.records import describe_labels
from cvkit.structures import IGNORE, Batch, ClassList, Sample, SegMap
from cvkit.tasks.checking import about_data
from cvkit.tasks.common import (
    ImageTask,
    class_weights,
    data_place,
    require_same_classes,
    smallest_batch,
)
from cvkit.tasks.normalisation import value_bits, warn_of_bits
from cvkit.tasks.segment import setup
from cvkit.tasks.segment.network import Network, Preprocessing
from cvkit.tasks.segment.setup import Training
from cvkit.texts import counted


class Segment(ImageTask):
    """Semantic segmentation, as the three loops see it.

    Args:
        classes: of the data or the model.
        network: what to build.
        preprocessing: of the images.
        reader: of the masks; None for predict.
        splits: labelled images by name of the split.
    """

    name, best, metric_names = "segment", "miou", METRICS
    network_class, preprocessing_class = Network, Preprocessing

    def __init__(
        self,
        *,
        classes: ClassList,
        network: Network,
        preprocessing: Preprocessing,
        reader: MaskReader | None = None,
        splits: dict[str, list[LabelledImage]] | None = None,
    ) -> None:
        super().__init__(classes=classes, network=network, preprocessing=preprocessing)
        self.reader, self.splits = reader, splits or {}
        self.training: Training | None = None
        self.division: dict[str, Any] = {}
        self.sliding_window, self.flip, self.scales = False, False, (1.0,)
        self.absent_class, self.overlay, self.with_confidence = "exclude", "png", False

    @classmethod
    def for_training(cls, options: SegmentTrain, report: Reporter) -> "Segment":
        """Return the task of a training run; reads and checks the whole dataset.

        Raises:
            UsageError: flags that do not go together.
            DataError: lists every defect of the data.
        """
        network, loss, aux_weight = setup.check_flags(options)
        parts, reader, classes, scans = setup.training_data(options, report)
        train_scan = scans[options.train_split]
        size_wh = setup.image_size(options.image_size, train_scan.sizes_hw)
        bits = value_bits(options, scans.values(), report)
        task = cls(
            classes=classes,
            network=network,
            preprocessing=Preprocessing(size_wh, options.resize, bits=bits),
            reader=reader,
            splits=parts.splits,
        )
        task.division = division_of(options, parts.heap)
        from cvkit.data.transforms.masks import (
            TrainTransform,
        )  # slow to import; only training needs it

        scale = setup.parse_scale(options.scale)
        pixels = torch.from_numpy(train_scan.pixels[: len(classes)])
        task.training = Training(
            loss=loss,
            weights=class_weights(options.class_weights, pixels),
            label_smoothing=options.label_smoothing,
            aux_weight=aux_weight,
            transform=TrainTransform(options.augment, size_wh, options.resize, scale),
        )
        rows = {name: setup.described(pairs, scans[name]) for name, pairs in parts.splits.items()}
        task.about_data = about_data(options.data, classes, rows)
        return task

    @classmethod
    def for_model(cls, options: SegmentEval | SegmentPredict, header: dict) -> "Segment":
        """Return the task of a trained model, as its file's header describes it.

        Raises:
            ModelFileError: the header lacks something.
            UsageError: `--tta` is malformed.
        """
        task = cls(**cls.known_parts(header))
        task.sliding_window = options.sliding_window
        task.flip, task.scales = setup.parse_tta(options.tta)
        if options.sliding_window and options.tta:
            raise UsageError(
                "--sliding-window and --tta cannot be combined",
                code="tta.window",
                hint="choose one",
            )
        if isinstance(options, SegmentPredict):
            task.overlay, task.with_confidence = options.overlay, True
        else:
            task.absent_class = options.absent_class
        return task

    def use_data(self, options: SegmentEval, header: dict, report: Reporter) -> None:
        """Find and check the split that a trained model is evaluated on.

        Raises:
            DataError: other classes than the model's, or masks that it cannot be compared with.
            UsageError: `--tta scales` makes images that the network cannot take.
        """
        self._require_scales()
        labels = header.get("labels", {})
        ignore = labels.get("ignore_index", 255)
        mask_map = options.mask_map if options.mask_map is not None else labels.get("mask_map")
        root = data_place(options.data, "segment")
        layout = detect_layout(root, options.format)
        division = model_division(options, header)
        parts = read_pairs(root, layout, [options.split], division)
        pairs = parts.splits[options.split]
        tell_division(options, root, parts.heap, division, parts.splits, report)
        classes, colors = dataset_classes(root, IGNORE)
        if classes is not None:
            require_same_classes(classes.names, self.classes.names)
        self.reader = MaskReader(
            num_classes=len(self.classes),
            colors=colors,
            mask_map=parse_mask_map(mask_map) if mask_map else MaskMap(),
            ignore_index=ignore if options.ignore_index is None else options.ignore_index,
        )
        count = counted(len(pairs), "image")
        report.say(f"data: {root} ({layout} layout), {options.split}: {count}")
        for note in parts.notes:
            report.warn(note)
        scan = setup.scan_split(pairs, self.reader, options.split, report)
        setup.say_if_recolored({options.split: scan}, report)
        warn_of_bits(self.preprocessing.bits, [scan], report)
        # An unreadable image is a failed sample; a label outside the classes would be a wrong
        # number.
        raise_defects([d for d in scan.defects if d.code.startswith("mask.")], str(root))
        self.splits = parts.splits
        if not scan.defects:
            rows = {options.split: setup.described(pairs, scan)}
            warn_if_changed(root, parts.heap, rows, header, report)

    @property
    def min_batch(self) -> int:
        """Images that a batch must have in training."""
        return smallest_batch(self.build, (3, *self.preprocessing.image_size_wh[::-1]))

    def adopt(self, header: dict) -> None:
        """Take over the normalisation, and the rates of the atrous convolutions."""
        super().adopt(header)
        self.network = replace(self.network, rates=header["network"].get("rates"))

    def header(self, options: SegmentTrain) -> dict[str, Any]:
        """Return what a model file says about itself."""
        return {
            **self.about_model(),
            "labels": {
                "ignore_index": options.ignore_index,
                "mask_map": options.mask_map,
                **self.division,
            },
            "rule": "miou: mean IoU over occurring classes, one matrix, original resolution",
        }

    def inference_rule(self) -> dict[str, Any]:
        """Return how images go through the network, for reports."""
        return {
            **asdict(self.preprocessing),
            "sliding_window": self.sliding_window,
            "flip": self.flip,
            "scales": self.scales,
        }

    def dataset(self, split: str, *, training: bool) -> SegmentationDataset:
        """Return a split, transformed for training or whole for evaluation."""
        return SegmentationDataset(
            pairs=self.splits[split],
            reader=self.reader,
            image_size_wh=self.preprocessing.image_size_wh,
            resize=self.preprocessing.resize,
            transform=self.training.transform if training else None,
            bits=self.preprocessing.bits,
        )

    def check_inputs(self, keys: Sequence[str], report: Reporter) -> None:
        """Check that the network can take the smallest images of `--tta scales`.

        Raises:
            UsageError: it cannot.
        """
        self._require_scales()

    def _require_scales(self) -> None:
        if self.preprocessing.resize == "fit":  # else they are as large as what is predicted
            setup.require_scales(self.build, self.preprocessing.image_size_wh, self.scales)

    def source(self, inputs: Sequence[InputFile]) -> ImageSource:
        """Return images to predict."""
        size_wh, resize = self.preprocessing.image_size_wh, self.preprocessing.resize
        rule = partial(prepare, image_size_wh=size_wh, resize=resize)
        return ImageSource(inputs, rule, keep_original=True, bits=self.preprocessing.bits)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a training sample."""
        return 3, *self.preprocessing.image_size_wh[::-1]

    def training_input(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return NCHW normalised images, and the NHW masks that the loss compares with."""
        return self.normalized(batch), batch.masks

    def criterion(self, outputs: dict[str, Tensor], target: Tensor) -> dict[str, Tensor]:
        """Return the loss of each output by name, the auxiliary one weighted."""
        plan = self.training
        weights = None if plan.weights is None else plan.weights.to(target.device)
        factors = {"out": 1.0, "aux": plan.aux_weight}
        return {
            name: factors[name]
            * losses.combined_loss(plan.loss, logits.float(), target, weights, plan.label_smoothing)
            for name, logits in outputs.items()
        }

    def unregularised(self) -> "Segment":
        """Return the same problem without label smoothing."""
        twin = copy.copy(self)
        twin.training = replace(self.training, label_smoothing=0.0)
        return twin

    def predict(self, model: nn.Module, batch: Batch) -> list[SegMap]:
        """Return a label map for each sample, in original pixels."""
        images = self.normalized(batch)
        if self.sliding_window:
            window_hw = self.preprocessing.image_size_wh[::-1]
            logits = inference.sliding_window(model.logits, images, window_hw)
        elif self.flip or self.scales != (1.0,):
            logits = inference.augmented(model.logits, images, flip=self.flip, scales=self.scales)
        else:
            logits = model.logits(images).float()
        return [self._result(*pair) for pair in zip(logits, batch.samples, strict=True)]

    def validate(self, model: nn.Module, batch: Batch) -> tuple[list[SegMap], Tensor]:
        """Return what `predict` does, and the mean loss; the network runs once.

        The loss compares at the size of the network's input, as in training.
        """
        logits = model.logits(self.normalized(batch)).float()
        results = [self._result(*pair) for pair in zip(logits, batch.samples, strict=True)]
        masks = [torch.from_numpy(sample.truth.labels)[None, None] for sample in batch.samples]
        size_hw = logits.shape[-2:]
        truth = torch.cat([F.interpolate(mask, size_hw, mode="nearest-exact") for mask in masks])
        target = truth[:, 0].long().to(logits.device)  # [N, H, W]
        return results, self.unregularised().criterion({"out": logits}, target)["out"]

    def _result(self, logits: Tensor, sample: Sample) -> SegMap:
        size_hw = sample.geometry.original_hw
        labels = inference.enlarged_argmax(logits, size_hw).cpu().numpy()
        if not self.with_confidence:
            return SegMap(labels)
        sure = inference.confidence(logits, size_hw).half().cpu().numpy()
        return SegMap(labels, sure)

    def metric(self) -> ConfusionMatrix:
        """Return an empty confusion matrix."""
        return ConfusionMatrix(len(self.classes), self.absent_class)

    def write(self, result: SegMap, sample: Sample, stem: str, folder: Path) -> dict[str, Any]:
        """Write the palette PNG and the overlay; return the line of `predictions.jsonl`."""
        mask, overlay = f"masks/{stem}.png", f"overlays/{stem}.{self.overlay}"
        write_label_png(folder / mask, result.labels, self.classes.colors)
        line = {"path": sample.path, **describe_labels(result, self.classes), "mask": mask}
        if self.overlay != "none":
            picture = draw_segmentation(sample.original, result, self.classes)
            write_rgb(folder / overlay, picture)
            line["overlay"] = overlay
        return line

    def answers(self) -> AreaAnswers:
        """Return what tells the shares of the classes in the area."""
        return AreaAnswers()
