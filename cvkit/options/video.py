"""Flags of video classification."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cvkit.catalog import ARCHS, backbones_of
from cvkit.format_table import format_choices
from cvkit.options.base import Eval, Predict, Train
from cvkit.options.described import Choice
from cvkit.options.panels import DATA, MODEL, OUTPUT, RUN, TRAINING, flag
from cvkit.options.robust import Attackable
from cvkit.options.saves import save_help
from cvkit.options.sentences import weights_flag

_FORMATS = Annotated[str, Choice(format_choices("classes"))]
_VIEWS = Annotated[
    str,
    flag(
        DATA,
        "Clips per video, spaced evenly, times crops per frame (1 or 3), such as 5x1 or "
        "10x3 (default: the model's)",
    ),
]


@dataclass(frozen=True, kw_only=True)
class VideoTrain(Train):
    """Train a video classifier.

    Layouts: SPLIT/CLASS/videos, CLASS/videos (divided by --val-fraction), or a table with the
    columns path,label[,split,start,end] (a .csv file, or labels.csv or train.csv and val.csv in
    the folder; start and end in seconds). A folder of frames counts as a video.
    """

    arch: Annotated[
        str, Choice(ARCHS["video"]), flag(MODEL, "Architecture; see 'cvkit models'")
    ] = "r3d"
    backbone: Annotated[
        str,
        Choice(backbones_of("video")),
        flag(
            MODEL,
            "Image network on which single-frame, fusion, LSTM and transformer archs are built",
        ),
    ] = "resnet18"
    fusion: Annotated[
        str,
        Choice(["pool", "concat"]),
        flag(
            MODEL,
            "How late-fusion combines the features of the frames: mean (pool) or concatenation "
            "(concat)",
        ),
    ] = "pool"
    cell: Annotated[
        str,
        Choice(["lstm", "gru", "rnn"]),
        flag(MODEL, "Recurrent cell of cnn-lstm; rnn: a plain one, with tanh"),
    ] = "lstm"
    hidden: Annotated[
        int,
        flag(MODEL, "Width of the state of cnn-lstm and conv-lstm, and of cnn-transformer", min=1),
    ] = 256
    heads: Annotated[int, flag(MODEL, "Heads of the attention of cnn-transformer", min=1)] = 4
    depth: Annotated[int, flag(MODEL, "Number of blocks of cnn-transformer", min=1, max=64)] = 2
    positions: Annotated[
        str,
        Choice(["sine", "learned"]),
        flag(MODEL, "How cnn-transformer tells frames apart by their place"),
    ] = "sine"
    bidirectional: Annotated[bool, flag(MODEL, "Let cnn-lstm read the frames backwards too")] = (
        False
    )
    dropout: Annotated[
        float | None,
        flag(
            MODEL,
            "Dropout rate of cnn-lstm, cnn-transformer, c3d and s3d (default: the network's)",
            min=0,
            max=0.99,
        ),
    ] = None
    pretrained: Annotated[
        str | None,
        flag(
            MODEL,
            "'imagenet' for i3d and for architectures built on an image network; 'kinetics' "
            "for r3d, mc3, r2plus1d and s3d; a run folder, or a file (default: none)",
        ),
    ] = None
    format: Annotated[_FORMATS, flag(DATA, "Layout of the data; auto: detected")] = "auto"
    frames: Annotated[int, flag(DATA, "Frames per clip", min=1, max=512)] = 16
    sampling: Annotated[
        str,
        Choice(["auto", "clip", "uniform"]),
        flag(
            DATA,
            "clip: successive frames, spaced by --stride or --fps; uniform: frames spread over "
            "the video; "
            "auto: uniform for single-frame, late-fusion, the LSTMs and cnn-transformer, else clip",
        ),
    ] = "auto"
    stride: Annotated[
        int, flag(DATA, "Step between the frames of a clip, in frames of the video", min=1)
    ] = 1
    fps: Annotated[
        float,
        flag(
            DATA,
            "Frames per second of a clip, chosen by their timestamps; 0: chosen by --stride",
            min=0,
        ),
    ] = 0.0
    clips: Annotated[int, flag(DATA, "Clips per video and epoch", min=1)] = 1
    views: Annotated[
        str,
        flag(
            DATA,
            "Clips per video times crops per frame (1 or 3) in validation, such as 5x1 or 10x3",
        ),
    ] = "1x1"
    image_size: Annotated[
        str,
        flag(
            DATA,
            "Input size, a square of SIDE pixels: training takes a random crop; eval and "
            "predict scale the shorter side of a video's frames to it (above 64, to 8/7 of "
            "it) and take the centre crop; auto: that of small frames, else at most 112",
        ),
    ] = "auto"
    flip: Annotated[
        float,
        flag(
            DATA,
            "Probability that a clip is mirrored; not for classes that differ by left and right",
            min=0,
            max=1,
        ),
    ] = 0.0
    reverse: Annotated[
        float, flag(DATA, "Probability that a clip is reversed in time", min=0, max=1)
    ] = 0.0
    mixup: Annotated[
        float,
        flag(TRAINING, "Parameter of mixup's beta distribution, such as 0.2; 0: no mixup", min=0),
    ] = 0.0
    class_weights: Annotated[
        str,
        flag(
            TRAINING,
            "Weights of the classes in the loss: none, balanced (median frequency), sqrt "
            "(its square root), or numbers such as 1,2,0.5",
        ),
    ] = "none"
    batch_size: Annotated[int, flag(TRAINING, "Clips per batch and process", min=1)] = 8


@dataclass(frozen=True, kw_only=True)
class VideoEval(Attackable, Eval):
    """Evaluate a video classifier, or score tables of predictions.

    Several tables are fused by the weighted mean of their scores.
    """

    weights: Annotated[str | None, weights_flag("video")] = None
    format: Annotated[_FORMATS, flag(DATA, "Layout of the data; auto: detected")] = "auto"
    predictions: Annotated[
        Path | None,
        flag(
            DATA,
            "CSV file with one column of scores per class, or the output folder of predict, "
            "to score instead of a model",
        ),
    ] = None
    fuse: Annotated[
        list[str],
        flag(DATA, "Further predictions to average with, as FILE or FILE=WEIGHT; may be repeated"),
    ] = dataclasses.field(default_factory=list)
    weight: Annotated[
        float, flag(DATA, "Weight of --predictions in the average with --fuse", min=0)
    ] = 1.0
    truth: Annotated[
        Path | None,
        flag(
            DATA, "Ground truth for --predictions: a CSV file with a 'label' column, or a dataset"
        ),
    ] = None
    views: _VIEWS = ""
    batch_size: Annotated[int, flag(RUN, "Videos per forward pass", min=1)] = 4


@dataclass(frozen=True, kw_only=True)
class VideoPredict(Predict):
    """Classify videos; write a table, and a line of JSON per video."""

    weights: Annotated[str | None, weights_flag("video")] = None
    top_k: Annotated[
        int, flag(OUTPUT, "Number of classes to write per video, with their scores", min=1)
    ] = 5
    per_clip: Annotated[
        bool,
        flag(OUTPUT, "Also write a table and a plot of each video's scores over time"),
    ] = False
    save: Annotated[str, flag(OUTPUT, save_help("video"))] = ""
    views: _VIEWS = ""
    batch_size: Annotated[int, flag(RUN, "Videos per forward pass", min=1)] = 4
