"""Flags of features."""

import dataclasses
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from cvkit.catalog import TASKS, listed_names
from cvkit.errors import UsageError
from cvkit.options.described import Choice
from cvkit.options.job import Job
from cvkit.options.panels import DATA, MODEL, OUTPUT, RUN, flag
from cvkit.options.sentences import INPUTS_HELP, TASK_HELP, WEIGHTS_HELP

MAPS = ("tsne", "umap", "pca")
"""The values of `--maps`, beside none."""


@dataclass(frozen=True, kw_only=True)
class Features(Job):
    """Write the features of images or videos, and show what they say.

    Features are the numbers of a layer, by default those that the model describes an input as a
    whole with. They are shown as a map on which similar inputs are close, and tell nearest
    neighbours, clusters and near duplicates; two inputs are as similar as the cosine of their
    features.
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
    layer: Annotated[
        str | None,
        flag(
            MODEL,
            "Layer whose output is written, the mean over all places; a wrong one lists the names "
            "(default: the backbone, or its last layer with the coarsest map)",
        ),
    ] = None
    maps: Annotated[
        str,
        flag(
            OUTPUT,
            f"Maps of the features: {', '.join(MAPS)}; several are separated by commas; none: no "
            "map. umap needs pip install 'cvkit[features]'",
        ),
    ] = "tsne"
    perplexity: Annotated[
        float, flag(OUTPUT, "Neighbours that count as near on tsne and umap maps", min=2, max=1000)
    ] = 30.0
    points: Annotated[
        int,
        flag(
            OUTPUT,
            "Maximum number of inputs on the maps and their page, spaced evenly over all of them",
            min=4,
            max=10_000,
        ),
    ] = 2000
    queries: Annotated[
        str | None,
        flag(
            DATA,
            "File, folder, glob or @list.txt of images whose nearest neighbours among the inputs "
            "are shown",
        ),
    ] = None
    neighbors: Annotated[int, flag(OUTPUT, "Neighbours of each query", min=1, max=100)] = 7
    truth: Annotated[
        Path | None,
        flag(
            DATA,
            "Dataset with one class per input, in any format for classify or video, whose files "
            "are among the inputs: how well do clusters and neighbours agree with the classes?",
        ),
    ] = None
    clusters: Annotated[
        int | None,
        flag(
            RUN,
            "Number of clusters of k-means; 0: none (default: the number of classes in --truth, "
            "else none)",
            min=0,
        ),
    ] = None
    duplicates: Annotated[
        float | None,
        flag(
            RUN,
            "Also list groups of inputs whose cosine is at least this, such as 0.98",
            min=0.5,
            max=1,
        ),
    ] = None
    seed: Annotated[int, flag(RUN, "Seed of umap maps and clusters", min=0, max=2**31 - 1)] = 0
    batch_size: Annotated[int, flag(RUN, "Inputs per forward pass", min=1)] = 8
    out: Annotated[
        Path | None,
        flag(OUTPUT, "Folder for the results (default: a new folder, runs/TASK-features-NNN)"),
    ] = None
    overwrite: Annotated[bool, flag(OUTPUT, "Replace the results in --out")] = False


def parse_maps(text: str) -> tuple[str, ...]:
    """Return the maps that `--maps` names, each once.

    Raises:
        UsageError: an unknown one, or one whose package is not installed.
    """
    names = listed_names(text, ("none", *MAPS), "--maps")
    if "none" in names:
        if len(names) > 1:
            raise UsageError(
                f"--maps {text!r}: none cannot be combined", code="maps.combined", hint="omit none"
            )
        return ()
    if "umap" in names and find_spec("umap") is None:
        raise UsageError(
            "--maps umap needs the package umap-learn, which is not installed",
            code="maps.missing",
            hint="pip install 'cvkit[features]'",
        )
    return names
