"""Video classification: videos with one class each, cross-entropy over clips, accuracy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cvkit import catalog
from cvkit.console import Reporter
from cvkit.data.classes import make_classes
from cvkit.data.classified import ClassifiedImage
from cvkit.data.clips import ClipDataset, VideoInputs
from cvkit.data.files import InputFile, walk_videos
from cvkit.data.given import VideoInput, frames_of, index_of
from cvkit.data.video import all_frames, index_video
from cvkit.dividing import division_of
from cvkit.metrics.classification import ranked, reported
from cvkit.metrics.video import METRICS, VideoMetric
from cvkit.ops.mixing import mix
from cvkit.options.video import VideoEval, VideoPredict, VideoTrain
from cvkit.output.answers import ClassAnswers
from cvkit.output.draw import draw_caption
from cvkit.output.records import read_lines
from cvkit.output.sheet import grid_of_four
from cvkit.output.videos import write_marked_video, write_timeline
from cvkit.structures import Batch, Classes, Failure, Sample
from cvkit.tasks import classed
from cvkit.tasks.checking import about_data, warn_of_cache
from cvkit.tasks.class_weights import class_weights
from cvkit.tasks.common import LogitsTask, Origin, required, smallest_batch
from cvkit.tasks.normalisation import value_bits
from cvkit.tasks.video import setup
from cvkit.tasks.video.network import (
    Network,
    Preprocessing,
    load_backbone,
    network_for,
    parse_views,
    preprocessing_for,
)
from cvkit.tasks.video.setup import Inference, Training

CLIPS_AT_ONCE = 8
"""Clips per forward pass of evaluation, for any number of views; limits the memory."""


@dataclass(frozen=True, kw_only=True)
class Video(LogitsTask[VideoTrain, VideoEval, VideoPredict]):
    """Video classification, as the three loops use it.

    Attributes:
        training: None for a trained model.
        inference: how a trained model is used.
    """

    name, best = "video", "video_top1"
    network_class, preprocessing_class = Network, Preprocessing
    noun, dimensions, walk = "videos", 4, staticmethod(walk_videos)

    network: Network
    preprocessing: Preprocessing
    splits: Mapping[str, list[ClassifiedImage]] = field(default_factory=dict)
    training: Training | None = None
    inference: Inference = field(default_factory=Inference)

    @classmethod
    def for_training(cls, options: VideoTrain, report: Reporter) -> "Video":
        """Return the task of a training run; reads every video of the dataset.

        Raises:
            UsageError: flags that cannot be combined.
            DataError: lists every defect of the data.
        """
        setup.check_flags(options)
        data, scans = setup.training_data(options, report)
        sizes_hw = scans[options.train_split].sizes_hw
        bits = value_bits(options, scans.values(), report)
        preprocessing = replace(preprocessing_for(options, sizes_hw), bits=bits)
        network = network_for(options, preprocessing, len(data.names))
        classes = make_classes(list(data.names))
        counts = classed.label_counts(data.splits[options.train_split], data.names)
        side = preprocessing.image_size
        training = Training(
            loss="ce",
            weights=class_weights(options.class_weights, counts),
            label_smoothing=options.label_smoothing,
            aux_weight=0.0,
            mixup=options.mixup,
            cutmix=0.0,
            transform=setup.transform_for(options, side),
            reverse=options.reverse,
            clips=options.clips,
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
    def for_model(cls, options: VideoEval | VideoPredict, header: dict[str, Any]) -> "Video":
        """Return the task of a trained model, as its file's header describes it.

        Raises:
            ModelFileError: the header is incomplete.
            UsageError: `--views` is malformed.
        """
        known = cls.known_parts(header)
        if options.views:
            clips, crops = parse_views(options.views)
            known["preprocessing"] = replace(known["preprocessing"], clips=clips, crops=crops)
        return cls(**known, inference=setup.inference_for(options, known["classes"]))

    def with_data(self, options: VideoEval, header: dict[str, Any], report: Reporter) -> "Video":
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
    def weight_format(self) -> torch.memory_format:
        """Memory format of the network's weights."""
        images = catalog.CLIP_NETWORKS[self.network.arch].takes_backbone
        return torch.channels_last if images else torch.channels_last_3d

    @property
    def min_batch(self) -> int:
        """Minimum number of clips in a training batch."""
        return smallest_batch(self.build, self.input_shape)

    def header(self, options: VideoTrain) -> dict[str, Any]:
        """Return the header of the model file."""
        return {
            **self.about_model(),
            "labels": dict(self.origin.division),
            "rule": "video_top1: share of videos whose largest score is the true class",
        }

    def inference_rule(self) -> dict[str, Any]:
        """Return a description of the inference, for reports."""
        rule: dict[str, Any] = self.about_model()["preprocessing"]
        return rule

    def load_pretrained(self, model: nn.Module, options: VideoTrain, report: Reporter) -> None:
        """Load the weights that `--pretrained` names, or say that there are none.

        Raises:
            UsageError: nothing is published for this network.
            ModelFileError: the weights are missing, damaged or do not fit.
        """
        load_backbone(model, self.network, options, report)

    def dataset(self, split: str, *, training: bool) -> ClipDataset:
        """Return a split: random clips for training, or the views of each video."""
        made, plan = self.preprocessing, required(self.training) if training else None
        return ClipDataset(
            self.splits[split],
            self.classes.names,
            made.clip_rule,
            made.frame_rule,
            plan.clips if plan else made.clips,
            plan.transform if plan else None,
            plan.reverse if plan else 0.0,
        )

    def check_inputs(self, keys: Sequence[str], report: Reporter) -> None:
        """Warn if the indexes of the videos cannot be cached."""
        warn_of_cache("videos", report)

    def source(self, inputs: Sequence[VideoInput]) -> VideoInputs:
        """Return videos to predict."""
        made = self.preprocessing
        return VideoInputs(inputs, made.clip_rule, made.frame_rule, made.clips)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Channels, frames, height and width of a training sample."""
        made = self.preprocessing
        return 3, made.frames, made.image_size, made.image_size

    def training_input(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return NCTHW normalised clips and [N, K] class probabilities, mixed if asked for."""
        clips = self.normalized(batch)
        targets = classed.one_hot(batch, len(self.classes))
        seeds = [sample.seed for sample in batch.samples]
        flat = clips.flatten(1, 2)  # all frames of a clip are mixed alike
        mixed, targets = mix(flat, targets, seeds, required(self.training).mixup, 0.0)
        return mixed.unflatten(1, clips.shape[1:3]), targets

    def criterion(self, outputs: dict[str, Tensor], target: Tensor) -> dict[str, Tensor]:
        """Return the loss of the logits."""
        return required(self.training).criterion(outputs, target)

    def unregularised(self) -> "Video":
        """Return the same problem without label smoothing and mixing."""
        return replace(self, training=classed.unregularised(required(self.training)))

    def predict(self, model: nn.Module, batch: Batch) -> list[Classes]:
        """Return the scores of each video: the mean of its views' probabilities."""
        return _results(self._view_logits(model, batch))

    def validate(self, model: nn.Module, batch: Batch) -> tuple[list[Classes], Tensor]:
        """Return the results of `predict` and the mean loss of all views; the network runs once."""
        logits = self._view_logits(model, batch)
        targets = classed.one_hot(batch, len(self.classes))
        targets = targets.repeat_interleave(logits.shape[1], 0)
        loss = self.unregularised().criterion({"out": logits.flatten(0, 1)}, targets)["out"]
        return _results(logits), loss

    def _view_logits(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the [N, V, K] logits of each view of the videos."""
        views = self.normalized(batch).transpose(1, 2)  # [N, V, C, T, H, W]
        parts = views.flatten(0, 1).split(CLIPS_AT_ONCE)
        logits = torch.cat([model(part)["out"].float() for part in parts])
        return logits.unflatten(0, views.shape[:2])

    def metric(self) -> VideoMetric:
        """Return an empty metric."""
        return VideoMetric(len(self.classes))

    def write(self, result: Classes, sample: Sample, stem: str, folder: Path) -> dict[str, Any]:
        """Write the timeline and the marked video, if asked for; return its line."""
        rule, about = self.inference, required(sample.video)
        line = classed.describe_classes(result, sample, self.classes, rule.top_k)
        line |= {"frames": about.frames, "header_frames": about.header_frames, "fps": about.fps}
        line |= {"seconds": about.seconds, "looped": about.looped}
        if rule.per_clip:
            crops = self.preprocessing.crops
            scores = required(result.clips).reshape(-1, crops, len(self.classes)).mean(1)
            line["timeline"] = f"timelines/{stem}.csv"
            write_timeline(folder / line["timeline"], about.starts, scores, self.classes)
        if "video" in rule.save:
            line["video"] = f"videos/{stem}.mp4"
            path = required(sample.file)
            index = index_video(path)
            frames = all_frames(path, index, self.preprocessing.bits)
            labels = classed.best_words(line, 3)
            write_marked_video(folder / line["video"], frames, index.fps, labels)
        return line

    def plot(self, result: Classes, item: VideoInput) -> np.ndarray:
        """Return four frames of the video, row by row, with its two best classes under them."""
        return draw_caption(self._four(item), ", ".join(classed.named(result, self.classes, 2)))

    def _four(self, item: VideoInput) -> np.ndarray:
        index = index_of(item)
        wanted = np.linspace(0, len(index) - 1, 4).round().astype(int).tolist()
        return grid_of_four(frames_of(item, index, wanted, self.preprocessing.bits))

    def answers(self) -> ClassAnswers:
        """Return the summary of the best classes."""
        return ClassAnswers()

    def tile(self, line: dict[str, Any], path: Path, folder: Path) -> tuple[np.ndarray, str]:
        """Return four frames of the video in order, row by row, and its best classes."""
        picture = self._four(InputFile(path, str(path)))
        return picture, ", ".join(classed.best_words(line))

    def finish(self, folder: Path) -> list[Failure]:
        """Write `predictions.csv`; with `--per-clip` also all timelines in one table."""
        classed.write_table(folder, self.inference.top_k)
        if self.inference.per_clip:
            setup.join_timelines(folder, read_lines(folder))
        return []


def _results(logits: Tensor) -> list[Classes]:
    """Return the scores of each video from the [N, V, K] logits of its views."""
    clips = logits.softmax(-1)
    rows, every = clips.mean(1).cpu().numpy(), clips.cpu().numpy()
    return [
        Classes(int(ranked(row)[0]), row, clips=scores)
        for row, scores in zip(rows, every, strict=True)
    ]
