"""Semantic segmentation: images with masks, a dense head, pixel losses, mIoU."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cvkit import __version__, catalog
from cvkit.data.classes import find_class_file, numbered_classes, read_classes
from cvkit.data.datasets import ImageSource, SegmentationDataset
from cvkit.data.files import InputFile
from cvkit.data.layouts import LabelledImage, detect_layout, list_split
from cvkit.data.masks import MaskMap, MaskReader, parse_mask_map
from cvkit.data.samples import cached_segmentation
from cvkit.data.scan import Scan, fingerprint, raise_defects, scan_pairs
from cvkit.engine.report import Reporter
from cvkit.engine.task import Task
from cvkit.errors import DataError, ModelFileError, UsageError
from cvkit.metrics.confusion import ConfusionMatrix
from cvkit.models.build import build_model
from cvkit.models.weights import load_pretrained
from cvkit.ops import inference, losses
from cvkit.ops.images import IMAGENET_MEAN, IMAGENET_STD, normalize
from cvkit.options import SegmentEval, SegmentPredict, SegmentTrain
from cvkit.output.draw import draw_segmentation
from cvkit.output.files import write_label_png, write_rgb
from cvkit.structures import Batch, ClassList, Sample, SegMap


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes a network input; stored in the model file."""

    image_size_wh: tuple[int, int]
    resize: str
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    @classmethod
    def from_json(cls, content: dict) -> "Preprocessing":
        """Return what `dataclasses.asdict` wrote."""
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in content.items()})


@dataclass(frozen=True)
class Network:
    """Which network; stored in the model file."""

    arch: str
    backbone: str
    output_stride: int | None
    aux: bool
    deconv: bool


@dataclass(frozen=True)
class Training:
    """What only training needs."""

    loss: dict[str, float]
    weights: Tensor | None
    label_smoothing: float
    aux_weight: float
    transform: Any


class Segment(Task):
    """Semantic segmentation, as the three loops see it.

    Args:
        classes: of the data or the model.
        network: what to build.
        preprocessing: of the images.
        reader: of the masks; None for predict.
        splits: labelled images by name of the split.
    """

    best = "miou"

    def __init__(
        self,
        *,
        classes: ClassList,
        network: Network,
        preprocessing: Preprocessing,
        reader: MaskReader | None = None,
        splits: dict[str, list[LabelledImage]] | None = None,
    ) -> None:
        self.classes, self.network, self.preprocessing = classes, network, preprocessing
        self.reader, self.splits = reader, splits or {}
        self.training: Training | None = None
        self.about_data: dict[str, Any] = {}
        self.sliding_window, self.flip, self.scales = False, False, (1.0,)
        self.absent_class, self.overlay, self.with_confidence = "exclude", "png", False

    @classmethod
    def for_training(cls, options: SegmentTrain, report: Reporter) -> "Segment":
        """Return the task of a training run; reads and checks the whole dataset.

        Raises:
            UsageError: flags that do not go together.
            DataError: lists every defect of the data.
        """
        arch = catalog.ARCHS["segment"][options.arch]
        whole = bool(catalog.BACKBONES[options.backbone].whole)
        aux_weight = arch.aux_weight if options.aux_weight is None else options.aux_weight
        if options.aux_weight and (whole or not arch.aux_weight):
            raise UsageError(
                f"--aux-weight has no meaning for --arch {options.arch} with --backbone "
                f"{options.backbone}",
                code="aux_weight.unsupported",
            )
        if options.batch_size < arch.min_batch:
            raise UsageError(
                f"--batch-size {options.batch_size} is too small for --arch {options.arch}",
                code="batch_size.min",
                hint=f"its pooled batch norm needs {arch.min_batch}",
            )
        try:
            loss = losses.parse_loss(options.loss)
        except ValueError as error:
            raise UsageError(f"--loss: {error}", code="loss.syntax") from error
        scale = _parse_scale(options.scale)
        splits, reader, classes, scans = _training_data(options, report)
        if min(len(pairs) for pairs in splits.values()) < arch.min_batch and arch.min_batch > 1:
            raise DataError(
                f"--arch {options.arch} needs at least {arch.min_batch} images a split",
                code="data.too_small",
            )
        size_wh = _image_size(options.image_size, scans[options.train_split].sizes_hw)
        network = Network(
            arch=options.arch,
            backbone=options.backbone,
            output_stride=options.output_stride,
            aux=bool(aux_weight),
            deconv=options.deconv,
        )
        task = cls(
            classes=classes,
            network=network,
            preprocessing=Preprocessing(size_wh, options.resize),
            reader=reader,
            splits=splits,
        )
        with torch.device("meta"):
            task.build()  # refuses impossible combinations before any work
        pixels = scans[options.train_split].pixels[: len(classes)]
        from cvkit.data.transforms import TrainTransform

        task.training = Training(
            loss=loss,
            weights=_class_weights(options.class_weights, torch.from_numpy(pixels)),
            label_smoothing=options.label_smoothing,
            aux_weight=aux_weight,
            transform=TrainTransform(options.augment, size_wh, options.resize, scale),
        )
        task.about_data = {
            "name": options.data if options.data == "samples" else Path(options.data).name,
            "fingerprints": {name: fingerprint(pairs) for name, pairs in splits.items()},
            "images": {name: len(pairs) for name, pairs in splits.items()},
        }
        return task

    @classmethod
    def for_model(cls, options: SegmentEval | SegmentPredict, header: dict) -> "Segment":
        """Return the task of a trained model, as its file's header describes it.

        Raises:
            ModelFileError: the header lacks something.
            UsageError: `--tta` is malformed.
        """
        try:
            task = cls(
                classes=ClassList.from_json(header["classes"]),
                network=Network(**header["network"]),
                preprocessing=Preprocessing.from_json(header["preprocessing"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(
                f"the model's header is incomplete: {error!r}", code="model.header"
            ) from error
        task.sliding_window = options.sliding_window
        task.flip, task.scales = parse_tta(options.tta)
        if options.sliding_window and options.tta:
            raise UsageError(
                "--sliding-window and --tta cannot be combined", code="tta.window", hint="choose one"
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
        """
        labels = header.get("labels", {})
        ignore = labels.get("ignore_index", 255)
        mask_map = options.mask_map if options.mask_map is not None else labels.get("mask_map")
        root = data_root(options.data)
        layout = _layout(root, options.format)
        pairs = list_split(root, layout, options.split)
        classes, colors = _listed_classes(root)
        if classes is not None and classes.names != self.classes.names:
            raise DataError(_class_difference(classes, self.classes), code="classes.differ")
        self.reader = MaskReader(
            num_classes=len(self.classes),
            colors=colors,
            mask_map=parse_mask_map(mask_map) if mask_map else MaskMap(),
            ignore_index=ignore if options.ignore_index is None else options.ignore_index,
        )
        report.say(f"data: {root} ({layout} layout), {options.split}: {len(pairs)} images")
        scan = _scan(pairs, self.reader, options.split, report)
        # An unreadable image is a failed sample; a label outside the classes would be a wrong
        # number.
        raise_defects([d for d in scan.defects if d.code.startswith("mask.")], str(root))
        self.splits = {options.split: pairs}

    def header(self, options: SegmentTrain) -> dict[str, Any]:
        """Return what a model file says about itself."""
        return {
            "cvkit": __version__,
            "task": "segment",
            "network": asdict(self.network),
            "classes": self.classes.as_json(),
            "preprocessing": asdict(self.preprocessing),
            "labels": {"ignore_index": options.ignore_index, "mask_map": options.mask_map},
            "rule": "miou: mean IoU over occurring classes, one matrix, original resolution",
            "data": self.about_data,
        }

    def inference_rule(self) -> dict[str, Any]:
        """Return how images go through the network, for reports."""
        return {
            **asdict(self.preprocessing),
            "resize": self._resize,
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
            resize=self._resize,
            transform=self.training.transform if training else None,
        )

    def source(self, inputs: Sequence[InputFile]) -> ImageSource:
        """Return images to predict."""
        return ImageSource(inputs, self.preprocessing.image_size_wh, self._resize)

    @property
    def _resize(self) -> str:
        return "native" if self.sliding_window else self.preprocessing.resize

    def build(self) -> nn.Module:
        """Return a freshly initialised network for the classes."""
        net = self.network
        return build_model(
            "segment",
            net.arch,
            net.backbone,
            len(self.classes),
            output_stride=net.output_stride,
            aux=net.aux,
            deconv=net.deconv,
        )

    def load_pretrained(self, model: nn.Module, options: SegmentTrain, report: Reporter) -> None:
        """Load the backbone weights that `--pretrained` names, or say that there are none."""
        if options.pretrained is None:
            report.say("backbone weights: none, trained from scratch")
            return
        if not hasattr(model, "backbone"):
            raise UsageError(
                f"--backbone {options.backbone} is a whole network without pretrained weights",
                code="pretrained.unsupported",
            )
        report.say(
            load_pretrained(
                model.backbone,
                options.backbone,
                options.pretrained,
                offline=options.offline,
                say=report.say,
            )
        )

    def freeze_backbone(self, model: nn.Module) -> None:
        """Exclude the backbone from training.

        Raises:
            UsageError: the network is a historic whole one.
        """
        if not hasattr(model, "backbone"):
            raise UsageError(
                f"--freeze-backbone: {self.network.backbone} is a whole network",
                code="freeze.unsupported",
            )
        model.backbone.requires_grad_(False)

    def _input(self, batch: Batch) -> Tensor:
        return normalize(batch.images, self.preprocessing.mean, self.preprocessing.std)

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the loss of each output by name, the auxiliary one weighted."""
        plan = self.training
        weights = None if plan.weights is None else plan.weights.to(batch.images.device)
        factors = {"out": 1.0, "aux": plan.aux_weight}
        return {
            name: factors[name]
            * losses.combined_loss(
                plan.loss, logits.float(), batch.masks, weights, plan.label_smoothing
            )
            for name, logits in model(self._input(batch)).items()
        }

    def predict(self, model: nn.Module, batch: Batch) -> list[SegMap]:
        """Return a label map for each sample, in original pixels."""
        images = self._input(batch)
        if self.sliding_window:
            window_hw = self.preprocessing.image_size_wh[::-1]
            logits = inference.sliding_window(model.logits, images, window_hw)
        elif self.flip or self.scales != (1.0,):
            logits = inference.augmented(
                model.logits, images, flip=self.flip, scales=self.scales
            )
        else:
            logits = model.logits(images).float()
        return [self._result(*pair) for pair in zip(logits, batch.samples, strict=True)]

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
        write_label_png(folder / mask, result.labels)
        line = describe(result, self.classes)
        line = {"path": sample.path, **line, "mask": mask}
        if self.overlay != "none":
            picture = draw_segmentation(sample.original, result, self.classes)
            write_rgb(folder / overlay, picture)
            line["overlay"] = overlay
        return line


def describe(result: SegMap, classes: ClassList) -> dict[str, Any]:
    """Return size and classes of a label map, largest class first.

    `scores` are the mean confidence over the pixels of each class, `pixels` their number.
    """
    flat = result.labels.ravel()
    pixels = np.bincount(flat, minlength=len(classes))
    sums = np.bincount(flat, result.confidence.ravel().astype(float), minlength=len(classes))
    order = [int(i) for i in np.argsort(-pixels, kind="stable") if pixels[i]]
    return {
        "width": result.labels.shape[1],
        "height": result.labels.shape[0],
        "labels": [classes.names[i] for i in order],
        "category_ids": [classes.ids[i] for i in order],
        "scores": [round(float(sums[i] / pixels[i]), 4) for i in order],
        "pixels": [int(pixels[i]) for i in order],
    }


def data_root(name: str | None) -> Path:
    """Return the dataset folder that `--data` names; `samples` is made on first use."""
    if name is None:
        raise UsageError("--data is missing", code="data.missing", hint="--data DIR or samples")
    return cached_segmentation() if name == "samples" else Path(name)


def _layout(root: Path, wanted: str) -> str:
    found = detect_layout(root) if wanted == "auto" else wanted
    if wanted != "auto" and not root.is_dir():
        raise DataError(f"--data {root} is not a folder", code="data.missing")
    return found


def _listed_classes(root: Path) -> tuple[ClassList | None, dict]:
    path = find_class_file(root)
    return read_classes(path) if path else (None, {})


def _training_data(
    options: SegmentTrain, report: Reporter
) -> tuple[dict[str, list[LabelledImage]], MaskReader, ClassList, dict[str, Scan]]:
    """Return the splits, how to read their masks, the classes, and what the check found."""
    root = data_root(options.data)
    layout = _layout(root, options.format)
    names = (options.train_split, options.val_split)
    splits = {name: list_split(root, layout, name) for name in names}
    if options.data == "samples":
        report.say(
            f"training on the built-in samples (synthetic shapes, not real data): "
            f"{', '.join(f'{len(pairs)} {name}' for name, pairs in splits.items())} images"
        )
    else:
        counts = ", ".join(f"{name}: {len(pairs)} images" for name, pairs in splits.items())
        report.say(f"data: {root} ({layout} layout), {counts}")
    classes, colors = _listed_classes(root)
    reader = MaskReader(
        num_classes=len(classes) if classes else None,
        colors=colors,
        mask_map=parse_mask_map(options.mask_map) if options.mask_map else MaskMap(),
        ignore_index=options.ignore_index,
    )
    scans = {name: _scan(pairs, reader, name, report) for name, pairs in splits.items()}
    raise_defects([d for scan in scans.values() for d in scan.defects], str(root))
    largest = max(scan.largest_label for scan in scans.values())
    if classes is None:
        classes = numbered_classes(largest + 1) if largest > 0 else None
    if classes is None or len(classes) < 2:
        raise DataError(
            f"{root}: the masks hold fewer than 2 classes besides the ignored value "
            f"{options.ignore_index}",
            code="classes.count",
            hint="masks of 0 and 255 need --mask-map 255=1",
        )
    if not scans[options.train_split].pixels[: len(classes)].any():
        raise DataError(f"{root}: no training pixel has a label", code="mask.all_ignore")
    report.say(f"classes: {len(classes)} ({', '.join(classes.names)})")
    reader = MaskReader(len(classes), reader.colors, reader.mask_map, reader.ignore_index)
    return splits, reader, classes, scans


def _scan(
    pairs: list[LabelledImage], reader: MaskReader, name: str, report: Reporter
) -> Scan:
    with report.progress(f"checking {name}", len(pairs)) as advance:
        return scan_pairs(pairs, reader, advance)


def _class_difference(data: ClassList, model: ClassList) -> str:
    """Return in words how two class lists differ."""
    missing = [name for name in model.names if name not in data.names]
    extra = [name for name in data.names if name not in model.names]
    if not missing and not extra:
        return "the dataset lists the model's classes in another order"
    return (
        f"the dataset's classes are not the model's: {', '.join(missing) or 'none'} missing, "
        f"{', '.join(extra) or 'none'} new"
    )


def _parse_scale(text: str) -> tuple[float, float]:
    match = re.fullmatch(r"\s*(\d*\.?\d+)\s*,\s*(\d*\.?\d+)\s*", text)
    if not match or not 0.01 <= float(match[1]) <= float(match[2]) <= 100:
        raise UsageError(
            f"--scale {text!r} is not SMALLEST,LARGEST", code="scale.syntax", hint="such as 0.5,2"
        )
    return float(match[1]), float(match[2])


def _image_size(text: str, sizes_hw: list[tuple[int, int] | None]) -> tuple[int, int]:
    """Return the (width, height) that `--image-size` means for images of these sizes."""
    if text == "auto":
        height, width = (float(np.median(sides)) for sides in zip(*sizes_hw, strict=True))
        scale = min(1.0, 512 / max(height, width))
        return tuple(max(32, round(side * scale / 16) * 16) for side in (width, height))
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match or not all(16 <= int(side) <= 8192 for side in match.groups()):
        raise UsageError(
            f"--image-size {text!r} is not WIDTHxHEIGHT",
            code="image_size.syntax",
            hint="such as 480x360, sides from 16 to 8192",
        )
    return int(match[1]), int(match[2])


def _class_weights(text: str, pixels: Tensor) -> Tensor | None:
    if text == "none":
        return None
    if text == "balanced":
        return losses.balanced_weights(pixels)
    if text == "sqrt":
        return losses.balanced_weights(pixels).sqrt()
    try:
        weights = torch.tensor([float(part) for part in text.split(",")])
    except ValueError:
        weights = torch.empty(0)
    if len(weights) != len(pixels) or not (weights >= 0).all() or not weights.isfinite().all():
        raise UsageError(
            f"--class-weights {text!r} is not one number for each of {len(pixels)} classes",
            code="class_weights.syntax",
            hint="none, balanced, sqrt, or numbers such as 1,2,0.5",
        )
    return weights


def parse_tta(text: str | None) -> tuple[bool, tuple[float, ...]]:
    """Return whether to flip, and the scales, of `--tta`.

    Raises:
        UsageError: neither flip nor scales.
    """
    parts = set((text or "").replace(" ", "").split(",")) - {""}
    if parts - {"flip", "scales"}:
        raise UsageError(
            f"--tta {text!r} is unknown", code="tta.syntax", hint="flip, scales or flip,scales"
        )
    return "flip" in parts, inference.TTA_SCALES if "scales" in parts else (1.0,)
