"""Flags of video classification."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cvkit.catalog import ARCHS, backbones_of
from cvkit.options.base import (
    DATA,
    MODEL,
    OUTPUT,
    RUN,
    TRAINING,
    Choice,
    Eval,
    Predict,
    Train,
    flag,
    weights_flag,
)

_LAYOUTS = Annotated[str, Choice(["auto", "folders", "classes", "csv"])]
_VIEWS = Annotated[
    str,
    flag(
        DATA,
        "Clips of a video, evenly over its length, times crops of each frame (1 or 3): 5x1, 10x3; "
        "empty: the model's own",
    ),
]


@dataclass(frozen=True, kw_only=True)
class VideoTrain(Train):
    """Train a video classifier.

    Layouts: SPLIT/CLASS/videos, CLASS/videos (divided by --val-fraction), or a table with the
    columns path,label[,split,start,end] (a .csv file, or labels.csv in the folder; start and end
    in seconds). A folder of pictures is a video, too.
    """

    arch: Annotated[str, Choice(ARCHS["video"]), flag(MODEL, "Network; see 'cvkit models'")] = "r3d"
    backbone: Annotated[
        str,
        Choice(backbones_of("classify")),
        flag(MODEL, "Network of images that single-frame, the fusions and the LSTMs are made of"),
    ] = "resnet18"
    fusion: Annotated[
        str, Choice(["pool", "concat"]), flag(MODEL, "Of late-fusion: mean, or all frames at once")
    ] = "pool"
    cell: Annotated[str, Choice(["lstm", "gru"]), flag(MODEL, "Of cnn-lstm")] = "lstm"
    hidden: Annotated[int, flag(MODEL, "Width of the state of cnn-lstm and conv-lstm", min=1)] = 256
    bidirectional: Annotated[bool, flag(MODEL, "cnn-lstm also reads backwards")] = False
    dropout: Annotated[
        float | None, flag(MODEL, "Rate of cnn-lstm, c3d and s3d; their own", min=0, max=0.99)
    ] = None
    pretrained: Annotated[
        str | None,
        flag(
            MODEL,
            "'imagenet' for what is made of a network of images, and i3d; 'kinetics' for r3d, mc3, "
            "r2plus1d and s3d; a run folder, or a file; none by default",
        ),
    ] = None
    format: Annotated[_LAYOUTS, flag(DATA, "Layout of --data")] = "auto"
    frames: Annotated[int, flag(DATA, "Frames of a clip", min=1, max=512)] = 16
    sampling: Annotated[
        str,
        Choice(["auto", "clip", "uniform"]),
        flag(
            DATA,
            "Frames that follow each other, or are spread over the video; auto: uniform for "
            "single-frame, late-fusion and the LSTMs",
        ),
    ] = "auto"
    stride: Annotated[
        int, flag(DATA, "Frames of the video from one of a clip to the next", min=1)
    ] = 1
    fps: Annotated[
        float, flag(DATA, "Frames a second of a clip, by their times; 0: by --stride", min=0)
    ] = 0.0
    clips: Annotated[int, flag(DATA, "Clips of each video in an epoch", min=1)] = 1
    views: Annotated[str, flag(DATA, "Clips and crops of a video to measure it: 5x1, 10x3")] = "1x1"
    image_size: Annotated[
        str,
        flag(
            DATA,
            "Frame of the network's input, a square of SIDE: training cuts it out at random; eval "
            "and predict scale the shorter side of a video's pictures to it (above 64 to 8/7 of "
            "it) and cut out the middle; auto: small ones as they are, others at most 112",
        ),
    ] = "auto"
    flip: Annotated[
        float,
        flag(
            DATA, "Probability of mirroring a clip; not where left and right matter", min=0, max=1
        ),
    ] = 0.0
    reverse: Annotated[
        float, flag(DATA, "Probability that a clip runs backwards", min=0, max=1)
    ] = 0.0
    mixup: Annotated[
        float, flag(TRAINING, "Beta parameter of mixup, such as 0.2; 0: none", min=0)
    ] = 0.0
    class_weights: Annotated[
        str,
        flag(TRAINING, "none, balanced (median frequency), sqrt (its root), or numbers: 1,2,0.5"),
    ] = "none"
    batch_size: Annotated[int, flag(TRAINING, "Clips a step and process", min=1)] = 8


@dataclass(frozen=True, kw_only=True)
class VideoEval(Eval):
    """Measure a video classifier, or score tables of predictions.

    Several tables are fused: their scores are averaged, with weights.
    """

    weights: Annotated[str | None, weights_flag("video")] = None
    format: Annotated[_LAYOUTS, flag(DATA, "Layout of the data")] = "auto"
    predictions: Annotated[
        Path | None,
        flag(
            DATA,
            "CSV with a column of scores for each class, or predict's output, instead of a model",
        ),
    ] = None
    fuse: Annotated[
        list[str], flag(DATA, "Another such file to average with: FILE or FILE=WEIGHT; may repeat")
    ] = dataclasses.field(default_factory=list)
    weight: Annotated[float, flag(DATA, "Weight of --predictions among them", min=0)] = 1.0
    truth: Annotated[
        Path | None, flag(DATA, "CSV with a column label, or a dataset, to score them with")
    ] = None
    views: _VIEWS = ""
    batch_size: Annotated[int, flag(RUN, "Videos a forward pass", min=1)] = 4


@dataclass(frozen=True, kw_only=True)
class VideoPredict(Predict):
    """Classify videos: a table, and a line of JSON for each."""

    weights: Annotated[str | None, weights_flag("video")] = None
    top_k: Annotated[int, flag(OUTPUT, "Classes and scores to write for each video", min=1)] = 5
    per_clip: Annotated[
        bool, flag(OUTPUT, "Also a table and a plot of the scores over each video's time")
    ] = False
    save: Annotated[
        str,
        Choice(["none", "video"]),
        flag(OUTPUT, "video: mp4 files with the classes written under them"),
    ] = "none"
    views: _VIEWS = ""
    batch_size: Annotated[int, flag(RUN, "Videos a forward pass", min=1)] = 4
