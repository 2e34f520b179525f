"""A model on every engine in every precision, to be compared."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from cvkit import catalog
from cvkit.console import Reporter
from cvkit.data.files import InputFile, list_inputs
from cvkit.data.synthetic.cache import cached_samples
from cvkit.engine.checkpoint import save_model
from cvkit.engine.sampler import MODEL_SEED
from cvkit.errors import UsageError
from cvkit.model_files import read_header
from cvkit.models.weights import shipped_models
from cvkit.ops.seeds import key_seed
from cvkit.options.base import Eval, Predict, Train
from cvkit.tasks.contract import Dataset, Located, Task
from cvkit.tasks.engine_choice import Engine, use_engine
from cvkit.tasks.train_flags import require_names, require_sense
from cvkit.tasks.trained import Trained, load_trained

UNAVAILABLE = ("engine.missing", "precision")
"""Codes of the errors about what this machine, or its software, does not have."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A model on one engine in one precision.

    Attributes:
        engine: a value of `--engine`, not auto.
        precision: a value of `--precision`.
        trained: the model; None if this machine cannot run it so.
        running: what it runs on; None likewise.
        reason: why this machine cannot.
    """

    engine: str
    precision: str
    trained: Trained | None = None
    running: Engine | None = None
    reason: str = ""


def load_candidate(engine: str, precision: str, options: Predict, task_name: str) -> Candidate:
    """Return a model on an engine in a precision, or the reason why that is not available.

    Args:
        engine: a value of `--engine`, not auto.
        precision: a value of `--precision`.
        options: of predict, for everything else.
        task_name: the task that the model must be of.

    Raises:
        UsageError: a flag cannot work for another reason.
        ModelFileError: the model is missing or damaged.
    """
    asked = replace(options, engine=engine, precision=precision)
    try:
        trained = load_trained(options.weights, asked, task_name)
        running = use_engine(engine, trained, None, options.batch_size)
    except UsageError as error:
        if error.code not in UNAVAILABLE:
            raise
        reason = error.as_json()["message"]
        return Candidate(engine=engine, precision=precision, reason=reason)
    return Candidate(engine=engine, precision=precision, trained=trained, running=running)


def available(candidate: Candidate) -> Trained:
    """Return the model of a candidate that runs on every machine.

    Raises:
        UsageError: it does not run on this one.
    """
    if candidate.trained is None:
        raise UsageError(candidate.reason, code="engine.missing")
    return candidate.trained


def shipped_model(task_name: str) -> str:
    """Return the name of the task's model in `weights/`.

    Raises:
        UsageError: there is none.
    """
    for path in shipped_models():
        if read_header(path).get("task") == task_name:
            return path.stem
    raise UsageError(
        f"no model for {task_name} is in weights/",
        code="weights.missing",
        hint="give --weights or --arch",
    )


def untrained_model(options: Train, task_name: str, folder: Path, report: Reporter) -> Path:
    """Write a network with random weights as a model file, and return its path.

    Args:
        options: of train; the data give the classes.
        task_name: of the network.
        folder: for the file.
        report: for messages.

    Raises:
        UsageError: the flags cannot be combined, or the model is not a network.
    """
    require_sense(options)
    require_names(options, task_name)
    task: Task = catalog.resolve(catalog.TASKS[task_name]).for_training(options, report)
    if task.gradient_free:
        raise UsageError(
            f"--arch {task.network.arch} has no results before it is trained",
            code="arch.untrained",
            hint="train it, and give its run with --weights",
        )
    torch.manual_seed(key_seed(MODEL_SEED, options.seed))
    path = folder / "untrained.safetensors"
    save_model(path, task.build().state_dict(), task.header(options))
    return path


def labelled(options: Eval, trained: Trained, report: Reporter) -> tuple[Task, Dataset]:
    """Return the task and the samples of `--data` and `--split` for a model.

    Raises:
        DataError: the data do not fit the model.
    """
    kind = catalog.resolve(catalog.TASKS[trained.task.name])
    task: Task = kind.for_model(options, trained.header)
    task = task.with_data(options, trained.header, report)
    return task, task.dataset(options.split, training=False)


def files_of(data: Dataset) -> list[InputFile]:
    """Return the files of labelled samples as inputs of predict.

    Raises:
        UsageError: the samples are not files.
    """
    if not isinstance(data, Located):
        raise UsageError(
            "the samples of --data are not files that predict can read",
            code="inputs.missing",
            hint="give files or folders as inputs too",
        )
    return [InputFile(data.file(index), data.key(index)) for index in range(len(data))]


def sample_files(task: Task) -> list[InputFile]:
    """Return the validation images or clips of the built-in samples."""
    root = cached_samples(task.name)
    place = root / "images" / "val"
    return list_inputs([str(place if place.is_dir() else root / "val")], walk=task.walk)
