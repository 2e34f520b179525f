"""Flags of explain."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from cvkit.catalog import TASKS
from cvkit.options.described import Choice
from cvkit.options.job import Command, Device, Offline
from cvkit.options.panels import DATA, MODEL, OUTPUT, RUN, flag
from cvkit.options.sentences import INPUTS_HELP, TASK_HELP, WEIGHTS_HELP

METHODS = (
    *("gradient", "smooth-grad", "integrated-gradients", "occlusion"),
    *("grad-cam", "grad-cam++", "rollout", "attention"),
)
"""The methods of `--method`."""
PATCHES = "patches"
"""The method about channels of a layer over all inputs."""
GRADIENT_METHODS = ("gradient", "smooth-grad", "integrated-gradients", "grad-cam", "grad-cam++")
"""Those that need a score with a gradient."""
LAYER_METHODS = ("grad-cam", "grad-cam++")
"""Those that need the maps of a layer."""
ATTENTION_METHODS = ("rollout", "attention")
"""Those that need a network with attention."""
QUICK = ("gradient", *LAYER_METHODS, *ATTENTION_METHODS)
"""Those that need one pass through the network."""
SIGNED = ("integrated-gradients", "occlusion")
"""Those whose maps are negative where a pixel lowers the score."""
SETS = {"auto": QUICK, "all": METHODS}
"""Values of `--method` that mean those of some methods that the network can have."""
USED_BY = {
    "samples": ("smooth-grad",),
    "noise": ("smooth-grad",),
    "steps": ("integrated-gradients",),
    "patch": ("occlusion",),
    "stride": ("occlusion",),
    "layer": (*LAYER_METHODS, "attention", PATCHES),
    "channels": (PATCHES,),
    "top": (PATCHES,),
}
"""Methods to which a flag means something."""


@dataclass(frozen=True, kw_only=True)
class Explain(Command):
    """Show what a result depends on, as heat maps over images and clips.

    The score that is explained is the logit of a class (classify, video), its mean logit over the
    pixels predicted as it (segment), or the logit of a detection's class in its box (detect,
    instance). --measure and --truth tell how good the maps are, beside a random one.
    """

    inputs: Annotated[
        list[str],
        typer.Argument(
            help=INPUTS_HELP,
            show_default=False,
        ),
    ] = dataclasses.field(default_factory=list)
    weights: Annotated[str | None, flag(MODEL, WEIGHTS_HELP)] = None
    task: Annotated[
        str | None,
        Choice(TASKS),
        flag(MODEL, TASK_HELP),
    ] = None
    method: Annotated[
        str,
        flag(
            MODEL,
            f"{', '.join(METHODS)}; several are separated by commas; auto: those of one pass that "
            "the network can have; all: all that it can have. Or patches: the parts of the inputs "
            "at which channels of --layer are largest",
        ),
    ] = "auto"
    target: Annotated[
        str,
        flag(
            MODEL,
            "What is explained: top1, the name of a class, 'box N' (detect and instance), or "
            "'point X,Y' (segment)",
        ),
    ] = "top1"
    layer: Annotated[
        str | None,
        flag(
            MODEL,
            "Layer for grad-cam, grad-cam++, attention and patches; a wrong one lists the names "
            "(default: the last one with the coarsest map; of attention the last one)",
        ),
    ] = None
    channels: Annotated[
        str,
        flag(
            MODEL,
            "Channels for patches, counted from 0, such as 0,5,8-11 (default: 8 of them, spaced "
            "evenly)",
        ),
    ] = ""
    top: Annotated[int, flag(OUTPUT, "Inputs of each channel for patches", min=1, max=100)] = 9
    samples: Annotated[int, flag(MODEL, "Noisy inputs of smooth-grad", min=1)] = 16
    noise: Annotated[
        float,
        flag(
            MODEL,
            "Deviation of the noise of smooth-grad, as a fraction of the range of the pixels",
            min=0.001,
            max=1,
        ),
    ] = 0.15
    steps: Annotated[
        int, flag(MODEL, "Steps of integrated-gradients from --value to the image", min=1)
    ] = 32
    patch: Annotated[
        int,
        flag(
            MODEL,
            "Side of the hidden square of occlusion, in pixels of the network's input; 0: an "
            "eighth of the shorter side",
            min=0,
        ),
    ] = 0
    stride: Annotated[
        int, flag(MODEL, "Pixels between the squares of occlusion; 0: half of --patch", min=0)
    ] = 0
    value: Annotated[
        float,
        flag(
            MODEL,
            "Grey value of hidden pixels, from 0 to 255: of occlusion, integrated-gradients and "
            "--measure",
            min=0,
            max=255,
        ),
    ] = 127.5
    truth: Annotated[
        Path | None,
        flag(
            DATA,
            "Dataset of boxes or masks whose images are among the inputs: how often is the "
            "maximum of a map inside an object of the class (pointing game)?",
        ),
    ] = None
    measure: Annotated[
        bool,
        flag(
            RUN,
            "Also delete and insert the most important pixels first, and randomise the weights "
            "layer by layer",
        ),
    ] = False
    seed: Annotated[int, flag(RUN, "Seed of noise and random weights", min=0, max=2**31 - 1)] = 0
    batch_size: Annotated[int, flag(RUN, "Changed inputs per forward pass", min=1)] = 8
    device: Device = "auto"
    offline: Offline = False
    out: Annotated[
        Path | None,
        flag(OUTPUT, "Folder for the results (default: a new folder, runs/TASK-explain-NNN)"),
    ] = None
    overwrite: Annotated[bool, flag(OUTPUT, "Replace the results in --out")] = False
