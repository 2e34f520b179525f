"""Flags of attack."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from cvkit.catalog import TASKS
from cvkit.options.described import Choice
from cvkit.options.job import Command, Device, Offline
from cvkit.options.panels import MODEL, OUTPUT, RUN, flag
from cvkit.options.robust import ATTACK_HELP
from cvkit.options.sentences import INPUTS_HELP, TASK_HELP, WEIGHTS_HELP


@dataclass(frozen=True, kw_only=True)
class AttackInputs(Command):
    """Change images so little that nobody sees it, until a model for classify or segment errs.

    For each image and attack: the changed image as a PNG file of what the network sees, and a
    picture of before, the difference and after. 'cvkit TASK eval --attack' measures a dataset.
    """

    inputs: Annotated[list[str], typer.Argument(help=INPUTS_HELP, show_default=False)] = (
        dataclasses.field(default_factory=list)
    )
    weights: Annotated[str | None, flag(MODEL, WEIGHTS_HELP)] = None
    task: Annotated[str | None, Choice(TASKS), flag(MODEL, TASK_HELP)] = None
    attack: Annotated[list[str], flag(MODEL, f"{ATTACK_HELP} (default: all three)")] = (
        dataclasses.field(default_factory=list)
    )
    seed: Annotated[int, flag(RUN, "Seed of random starts", min=0, max=2**31 - 1)] = 0
    device: Device = "auto"
    offline: Offline = False
    out: Annotated[
        Path | None,
        flag(OUTPUT, "Folder for the results (default: a new folder, runs/TASK-attack-NNN)"),
    ] = None
    overwrite: Annotated[bool, flag(OUTPUT, "Replace the results in --out")] = False
