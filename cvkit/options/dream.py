"""Flags of dream."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from cvkit.catalog import TASKS
from cvkit.options.described import Choice
from cvkit.options.job import Command, Device, Offline
from cvkit.options.panels import MODEL, OUTPUT, RUN, flag
from cvkit.options.sentences import INPUTS_HELP, TASK_HELP, WEIGHTS_HELP


@dataclass(frozen=True, kw_only=True)
class Dream(Command):
    """Make images that a class, a channel or a layer of a network likes best.

    Without inputs an image grows out of noise: what the network looks for. With photos it grows out
    of them, from small to large (DeepDream).
    """

    inputs: Annotated[
        list[str],
        typer.Argument(help=f"Photos to begin with: {INPUTS_HELP.lower()}", show_default=False),
    ] = dataclasses.field(default_factory=list)
    weights: Annotated[str | None, flag(MODEL, WEIGHTS_HELP)] = None
    task: Annotated[str | None, Choice(TASKS), flag(MODEL, TASK_HELP)] = None
    target: Annotated[
        str,
        flag(
            MODEL,
            "Class whose score is raised (classify, segment, video); several are separated by "
            "commas; all: each one",
        ),
    ] = ""
    layer: Annotated[
        str | None, flag(MODEL, "Layer whose output is raised (default with photos: the last)")
    ] = None
    channel: Annotated[
        str, flag(MODEL, "Channel of --layer, from 0; several are separated by commas")
    ] = ""
    space: Annotated[
        str,
        Choice(["auto", "pixels", "fourier"]),
        flag(
            MODEL,
            "What is moved: pixels, or a spectrum in which low frequencies weigh more; auto: "
            "fourier from noise, pixels from photos",
        ),
    ] = "auto"
    steps: Annotated[
        int, flag(MODEL, "Steps of each octave (default: 128 from noise, 20 from photos)", min=0)
    ] = 0
    rate: Annotated[
        float,
        flag(
            MODEL,
            "Length of a step: mean change of the pixels, of 1, or Adam's rate in fourier "
            "(default: 0.01, or 0.05 in fourier)",
            min=0,
        ),
    ] = 0.0
    jitter: Annotated[
        int, flag(MODEL, "Largest random shift before each step, in pixels", min=0)
    ] = 4
    blur: Annotated[
        float,
        flag(MODEL, "Sigma of the Gaussian after each step, in pixels; 0: none", min=0, max=100),
    ] = 0.3
    tv: Annotated[
        float, flag(MODEL, "Weight of the total variation, which is subtracted", min=0)
    ] = 0.0
    decay: Annotated[
        float,
        flag(MODEL, "Fraction of the change that is lost at each step", min=0, max=0.99),
    ] = 0.0
    octaves: Annotated[
        int,
        flag(MODEL, "Sizes of the image, from small to full (default: 1, or 4 with photos)", min=0),
    ] = 0
    octave_scale: Annotated[
        float, flag(MODEL, "Factor between the sizes of --octaves", min=1.01, max=10)
    ] = 1.4
    size: Annotated[
        int,
        flag(
            MODEL,
            "Longer side of the image (default: the network's input; of photos, theirs up to 512)",
            min=0,
            max=4096,
        ),
    ] = 0
    gif: Annotated[bool, flag(OUTPUT, "Also write the ascent as a GIF")] = False
    seed: Annotated[int, flag(RUN, "Seed of noise and shifts", min=0, max=2**31 - 1)] = 0
    device: Device = "auto"
    offline: Offline = False
    out: Annotated[
        Path | None,
        flag(OUTPUT, "Folder for the results (default: a new folder, runs/TASK-dream-NNN)"),
    ] = None
    overwrite: Annotated[bool, flag(OUTPUT, "Replace the results in --out")] = False
