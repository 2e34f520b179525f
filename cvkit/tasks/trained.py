"""A trained model as a Python object."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from cvkit import catalog, published
from cvkit.console import Reporter
from cvkit.data.files import InputFile
from cvkit.engine.checkpoint import load_exactly
from cvkit.engine.inference import choose_readers
from cvkit.engine.loader import in_order, load
from cvkit.engine.processes import Layout
from cvkit.engine.runtime import choose, make_fabric
from cvkit.errors import DataError, ModelFileError, UsageError
from cvkit.model_files import content_hash, read_header, read_model, unverified
from cvkit.models.fuse import Fusion, choose_engine
from cvkit.models.published import published_model
from cvkit.models.weights import find_model
from cvkit.options.base import Job, Predict
from cvkit.options.tools import WeightsImport
from cvkit.structures import Failure
from cvkit.tasks.contract import Task

ALONE = Layout()
"""One process."""


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
        precision: fp32, bf16 or fp16.
    """

    path: Path
    header: dict[str, Any]
    task: Task
    model: nn.Module
    fabric: Fabric
    workers: int
    precision: str


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
    path, tensors, header = read_trained(weights, options, task_name)
    kind = header.get("task")
    if kind not in catalog.TASKS or (task_name is not None and kind != task_name):
        raise ModelFileError(
            f"{path} is a model for task {kind!r}, not {task_name!r}", code="model.task"
        )
    device, precision = choose(options.device, options.precision)
    task = catalog.resolve(catalog.TASKS[kind]).for_model(options, header)
    fabric = make_fabric(device, layout, precision)
    try:
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


@dataclass(frozen=True)
class Engine:
    """What a trained network runs on.

    Attributes:
        wanted: eager or fused.
        fusion: the fused parts.
    """

    wanted: str
    fusion: Fusion | None = None

    @property
    def name(self) -> str:
        """Eager or fused, whichever it was when the work is done."""
        return self.fusion.engine if self.fusion else self.wanted

    @property
    def notes(self) -> list[str]:
        """What is to be said when the work is done."""
        rejected = self.fusion.rejected if self.fusion else []
        if not rejected:
            return []
        parts = ", ".join(rejected)
        return [f"--engine fused: the results of {parts} differed, so their own layers were used"]


def use_engine(wanted: str, trained: Trained, samples: int) -> Engine:
    """Let a trained network run on an engine.

    Args:
        wanted: `--engine`.
        trained: its network is changed in place.
        samples: that it will see.

    Raises:
        UsageError: the engine is not available.
    """
    name = choose_engine(wanted, trained.precision, trained.fabric.device, samples)
    if name == "eager":
        return Engine(name)
    return Engine(name, Fusion(trained.model, trained.precision))


def read_trained(weights: str, options: Job, task_name: str | None) -> tuple[Path, dict, dict]:
    """Return path, tensors and header of a cvkit model, or of a published one, imported.

    Raises:
        ModelFileError: the file is missing or damaged.
    """
    report = Reporter(options.quiet)
    if task_name is not None and not _is_here(weights):
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


def _is_here(weights: str) -> bool:
    """Return whether a file or a run folder has the name; a folder called `coco` may be neither."""
    return Path(weights).is_file() or (Path(weights) / "best.safetensors").is_file()


class Predictor:
    """Predicts images; made by `cvkit.load`."""

    def __init__(self, trained: Trained, batch_size: int) -> None:
        self._trained, self._batch_size = trained, batch_size

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in index order."""
        return self._trained.task.classes.names

    @torch.inference_mode()
    def predict(self, images: Iterable[str | Path]) -> list[Any]:
        """Return one result per image file, in the pixels of the original image.

        Raises:
            DataError: names the first file that could not be read.
            UsageError: one path instead of several.
        """
        if isinstance(images, str | bytes | Path):
            raise UsageError(
                f"predict({images!r}): a list of paths is expected",
                code="inputs.type",
                hint=f"predict([{images!r}])",
            )
        trained = self._trained
        files = [InputFile(Path(image), str(image)) for image in images]
        results = []
        data = trained.task.source(files)
        with load(data, in_order(len(files), self._batch_size), workers=0) as loaded:
            for item in itertools.chain.from_iterable(loaded):
                if isinstance(item, Failure):
                    raise DataError(item.reason, code=item.code)
                with trained.fabric.autocast():
                    results += trained.task.predict(trained.model, item.to(trained.fabric.device))
        return results


def load_predictor(weights: str, task: str, options: Predict) -> Predictor:
    """Return a predictor of a task that `task_of` knows; see `cvkit.load`."""
    trained = load_trained(weights, options, task)
    use_engine(options.engine, trained, samples=0)  # how many will come is not known
    return Predictor(trained, options.batch_size)


def task_of(weights: str, task: object = None) -> str:
    """Return the task of a model: as given, by its published name, or by its file.

    Raises:
        UsageError: an unknown task, or models of several tasks have the name.
        ModelFileError: the file is missing, damaged, or for an unknown task.
    """
    if task is None:
        task = _named_task(weights)
        if task not in catalog.TASKS:
            raise ModelFileError(
                f"{weights} is a model for an unknown task, {task!r}",
                code="model.task",
                hint=catalog.nearest(str(task), catalog.TASKS),
            )
    if task not in catalog.TASKS:
        raise UsageError(
            f"task={task!r} is not a task",
            code="task.unknown",
            hint=catalog.nearest(str(task), catalog.TASKS),
        )
    return str(task)


def _named_task(weights: str) -> object:
    """Return the task of a published name or a file."""
    family = weights.partition(":")[0]
    tasks = [task for task in published.PUBLISHED if family in published.families(task)]
    if not tasks or _is_here(weights):
        return read_header(find_model(weights)).get("task")
    if len(tasks) > 1:
        raise UsageError(
            f"{weights} is published for several tasks",
            code="weights.task",
            hint=" or ".join(f"task={task!r}" for task in tasks),
        )
    return tasks[0]
