"""A trained model, read from its file and ready to run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from cvkit import catalog, published
from cvkit.console import Reporter
from cvkit.engine.checkpoint import load_exactly
from cvkit.engine.inference import choose_readers
from cvkit.engine.processes import Layout
from cvkit.engine.runtime import choose, make_fabric
from cvkit.errors import ModelFileError, UsageError
from cvkit.export.formats import FORMATS, format_of, read_header
from cvkit.export.networks import SERVED
from cvkit.export.served import ServedFile
from cvkit.export.signature import Signature
from cvkit.export.table import scale_of
from cvkit.model_files import BACKBONE, PROVEN, content_hash, read_model, unverified
from cvkit.models.published import published_model
from cvkit.models.trials import undrawn
from cvkit.models.weights import find_model
from cvkit.options.described import differs
from cvkit.options.job import Job
from cvkit.options.tools import WeightsImport
from cvkit.tasks.contract import Task

ALONE = Layout()
"""One process."""
WRITTEN = ("threshold", "nms", "max_detections", "image_size", "min_size")
"""Flags of networks whose effect is part of an exported file."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A model file with everything around it that the loops need.

    Attributes:
        path: of the model file.
        header: what it says about itself.
        task: the problem it solves.
        model: the network, on the device, in evaluation mode.
        fabric: the device and precision.
        workers: threads or processes that decode.
        precision: fp32, bf16 or fp16; of an exported file its own.
        runtime: the program that runs an exported file; "" for a network.
    """

    path: Path
    header: dict[str, Any]
    task: Task
    model: nn.Module
    fabric: Fabric
    workers: int
    precision: str
    runtime: str = ""


def load_trained(
    weights: str | None, options: Job, task_name: str | None = None, layout: Layout = ALONE
) -> Trained:
    """Return the model that `--weights` names, ready to run.

    Args:
        weights: see `cvkit.models.weights.find_model`.
        options: of eval or predict.
        task_name: the task that the model must be of; None accepts any.
        layout: of the processes that run it.

    Raises:
        UsageError: `--weights` is not given, or the device is not available.
        ModelFileError: the file is missing, damaged, or for another task.
    """
    if not weights:
        raise UsageError("--weights is missing", code="weights.missing", hint="--weights RUN")
    if format_of(Path(weights)) is not None:
        return _load_exported(Path(weights), options, task_name, layout)
    path, tensors, header = read_trained(weights, options, task_name)
    kind = header.get("task")
    if kind not in catalog.TASKS or (task_name is not None and kind != task_name):
        raise ModelFileError(
            f"{path} is a model for task {kind!r}, not {task_name!r}",
            code="model.task",
            hint="it scores no classes: --pretrained of train takes it" if kind == BACKBONE else "",
        )
    noted = header.get(PROVEN)
    proven = isinstance(noted, dict) and "bf16" in noted
    device, precision = choose(options.device, options.precision, proven=proven)
    task = catalog.resolve(catalog.TASKS[kind]).for_model(options, header)
    fabric = make_fabric(device, layout, precision)
    try:
        with undrawn():
            model = task.build()
    except (UsageError, KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ModelFileError(
            f"{path}: its header describes no network that can be built: {reason}",
            code="model.header",
        ) from error
    try:
        load_exactly(model, tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ModelFileError(f"{path}: {reason}", code="model.mismatch") from error
    model.requires_grad_(False).eval()
    return Trained(
        path=path,
        header=header,
        task=task,
        model=fabric.to_device(model.to(memory_format=task.weight_format)),
        fabric=fabric,
        workers=choose_readers(options.workers, device),
        precision=precision,
    )


def _load_exported(path: Path, options: Job, task_name: str | None, layout: Layout) -> Trained:
    """Return the model of an exported file, which runs in its runtime on the CPU.

    Raises:
        ModelFileError: missing, damaged, of another task, or of a format that can contain code.
        UsageError: a flag that such a file cannot follow, or its package is missing.
    """
    header, signature = exported_header(path)
    runtime, kind = FORMATS[signature.format].runtime, str(header.get("task"))
    _require_as_exported(options, runtime, signature.precision)
    if kind not in SERVED or (task_name is not None and kind != task_name):
        raise ModelFileError(
            f"{path} is a model for task {kind!r}, not {task_name!r}", code="model.task"
        )
    task = catalog.resolve(catalog.TASKS[kind]).for_model(options, header)
    device = torch.device("cpu")
    return Trained(
        path=path,
        header=header,
        task=task,
        model=SERVED[kind](ServedFile.load(path, signature), scale_of(task)).eval(),
        fabric=make_fabric(device, layout, "fp32"),
        workers=choose_readers(options.workers, device),
        precision=signature.precision,
        runtime=runtime,
    )


def exported_header(path: Path) -> tuple[dict[str, Any], Signature]:
    """Return the header of an exported file that cvkit can run, and its inputs and outputs.

    Raises:
        ModelFileError: missing, damaged, or of a format that can contain code.
        UsageError: the package that reads it is missing.
    """
    kind = FORMATS[str(format_of(path))]
    if not kind.safe:
        safe = [each.suffix for each in FORMATS.values() if each.safe]
        raise ModelFileError(
            f"--weights {path}: {kind.suffix} files can contain code, and are not run",
            code="model.unsafe",
            hint=f"export the model as {' or '.join(safe)}",
        )
    return read_header(path)


def _require_as_exported(options: Job, runtime: str, precision: str) -> None:
    """Check that no flag asks for something that an exported file decides.

    Raises:
        UsageError: names the first one.
    """
    possible = {"device": ("auto", "cpu"), "precision": ("auto", "fp32", precision)}
    possible["engine"] = ("auto", runtime)
    for name in (*possible, *WRITTEN):
        value = getattr(options, name, None)
        if (
            hasattr(options, name)
            and differs(options, name)
            and value not in possible.get(name, ())
        ):
            raise UsageError(
                f"--{name.replace('_', '-')} {value} has no effect on an exported file, which "
                f"runs in {runtime} on the CPU as it is",
                code=f"{name}.exported",
                hint="omit it, or export the model again",
            )


def read_trained(weights: str, options: Job, task_name: str | None) -> tuple[Path, dict, dict]:
    """Return path, tensors and header of a cvkit model, or of a published one, imported.

    Raises:
        ModelFileError: the file is missing or damaged.
    """
    report = Reporter(options.quiet)
    if task_name is not None and not is_here(weights):
        found = published_model(task_name, weights, options.offline, report.say)
        if found is not None:
            from cvkit.tasks.torchvision_import import imported_model

            builder, path = found
            asked = WeightsImport(file=path, out=path, task=task_name, arch=builder)
            tensors, header, _ = imported_model(asked)
            return path, tensors, header | {"sha256": content_hash(tensors)}
    names = published.published_models(task_name) if task_name else ()
    path = find_model(weights, task_name, names=list(names))
    if note := unverified(path):
        report.warn(note)
    return path, *read_model(path)


def is_here(weights: str) -> bool:
    """Return whether a file or a run folder has the name; a folder called `coco` may be neither."""
    return Path(weights).is_file() or (Path(weights) / "best.safetensors").is_file()
