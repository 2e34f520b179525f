"""Flags of style."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from cvkit.catalog import TASKS
from cvkit.options.described import Choice
from cvkit.options.job import Command, Device, Offline
from cvkit.options.panels import DATA, MODEL, OUTPUT, RUN, flag
from cvkit.options.sentences import TASK_HELP, WEIGHTS_HELP

VGG = "vgg19"
"""The network of `--weights imagenet`."""


@dataclass(frozen=True, kw_only=True)
class Style(Command):
    """Paint a photo in the style of pictures: the content of one, the textures of others.

    Pixels are moved until the maps of a network are those of the photo, and the correlations of its
    channels those of the pictures. The network is VGG 19 trained on ImageNet, or a model of cvkit.
    """

    content: Annotated[Path, typer.Argument(help="The photo", show_default=False)]
    style: Annotated[
        list[str],
        flag(
            DATA,
            "Picture whose style is taken, as FILE or FILE:WEIGHT; may be repeated: styles are "
            "mixed by their weights",
        ),
    ] = dataclasses.field(default_factory=list)
    weights: Annotated[str, flag(MODEL, f"imagenet (VGG 19), or a {WEIGHTS_HELP.lower()}")] = (
        "imagenet"
    )
    task: Annotated[str | None, Choice(TASKS), flag(MODEL, TASK_HELP)] = None
    layers: Annotated[
        str, flag(MODEL, "Layers of the style, separated by commas (default: one of each size)")
    ] = ""
    content_layer: Annotated[
        str, flag(MODEL, "Layer of the content (default: of the last size but one)")
    ] = ""
    content_weight: Annotated[float, flag(MODEL, "Weight of the content", min=0)] = 1.0
    style_weight: Annotated[float, flag(MODEL, "Weight of the style", min=0)] = 10.0
    tv: Annotated[float, flag(MODEL, "Weight of the total variation", min=0)] = 0.1
    steps: Annotated[int, flag(MODEL, "Steps", min=1)] = 300
    rate: Annotated[float, flag(MODEL, "Adam's rate, in pixel values of 1", min=1e-6)] = 0.02
    start: Annotated[str, Choice(["content", "noise"]), flag(MODEL, "What the first image is")] = (
        "content"
    )
    keep_colors: Annotated[bool, flag(OUTPUT, "Keep the colours of the photo")] = False
    size: Annotated[int, flag(MODEL, "Longer side of the images", min=16, max=4096)] = 512
    seed: Annotated[int, flag(RUN, "Seed of --start noise", min=0, max=2**31 - 1)] = 0
    device: Device = "auto"
    offline: Offline = False
    out: Annotated[
        Path | None, flag(OUTPUT, "Picture to write, .png or .jpg (default: CONTENT-style.png)")
    ] = None
    overwrite: Annotated[bool, flag(OUTPUT, "Replace --out")] = False
