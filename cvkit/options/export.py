"""Flags of export."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cvkit.catalog import TASKS
from cvkit.options.described import Choice
from cvkit.options.job import Command, Offline
from cvkit.options.panels import DATA, MODEL, OUTPUT, RUN, flag
from cvkit.options.sentences import TASK_HELP, WEIGHTS_HELP

FORMATS = ("onnx", "openvino", "torchscript", "torch-export")
"""The values of `--format`."""
DYNAMIC = ("batch", "size")
"""What `--dynamic` may leave open."""


@dataclass(frozen=True, kw_only=True)
class Export(Command):
    """Write a model for another program, and compare what it computes with the network.

    The file is run by its runtime on real images before it gets its name. If an output differs by
    more than the tolerance, or the metric on --data drops, the file is named .failed, and the exit
    code is 4. All numbers are in FILE.export.json beside it.
    """

    weights: Annotated[str | None, flag(MODEL, WEIGHTS_HELP)] = None
    task: Annotated[
        str | None,
        Choice(TASKS),
        flag(MODEL, TASK_HELP),
    ] = None
    format: Annotated[
        str,
        Choice(FORMATS),
        flag(
            OUTPUT,
            "onnx, for ONNX Runtime and others; openvino; torchscript and torch-export, for torch",
        ),
    ] = "onnx"
    dynamic: Annotated[
        str | None,
        flag(
            MODEL,
            "What may differ from call to call: batch, size, or batch,size; none: nothing "
            "(default: batch, and size if the task has inputs of several sizes)",
        ),
    ] = None
    half: Annotated[
        bool,
        flag(MODEL, "Store the weights in 16 bits: half the size (onnx and openvino)"),
    ] = False
    int8: Annotated[
        bool,
        flag(
            MODEL,
            "Compute layers in 8 bits, calibrated on the train split of --data, and judged by the "
            "metric alone (onnx and openvino)",
        ),
    ] = False
    calibrate: Annotated[
        int, flag(DATA, "Number of images or videos by which --int8 is calibrated", min=1)
    ] = 64
    data: Annotated[
        str | None,
        flag(
            DATA,
            "Dataset folder, or 'samples', whose images are compared and on which the metric of "
            "the file is measured (default: images of the samples, without a metric)",
        ),
    ] = None
    split: Annotated[str, flag(DATA, "Split of --data")] = "val"
    images: Annotated[
        int, flag(DATA, "Number of images or videos whose outputs are compared", min=1)
    ] = 8
    max_drop: Annotated[
        float | None,
        flag(
            RUN,
            "How much lower the metric of the file may be than the network's (default: 0.001; "
            "--half: 0.01; --int8: 0.02)",
            min=0,
            max=1,
        ),
    ] = None
    offline: Offline = False
    out: Annotated[
        Path | None,
        flag(OUTPUT, "File to write (default: ARCH in a new folder, runs/TASK-export-NNN)"),
    ] = None
    overwrite: Annotated[bool, flag(OUTPUT, "Replace the file --out and its report")] = False
