"""What `compare` compares: report folders, run folders and predictions."""

from __future__ import annotations

import contextlib
import functools
import gc
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cvkit.catalog import TASKS
from cvkit.commands.evaluate import OPTIONS, REPORT, scenes_of
from cvkit.commands.reports import command_line
from cvkit.commands.training_report import evaluation_of
from cvkit.config import from_config
from cvkit.console import Reporter
from cvkit.errors import CvkitError, DataError
from cvkit.options.base import Eval
from cvkit.options.tools import Compare
from cvkit.options.tree import task_options
from cvkit.scoring.compared import Evaluated
from cvkit.scoring.contract import Scene, Scored, scoring_of
from cvkit.scoring.intervals import samples_of
from cvkit.scoring.stored import NAME, read_samples
from cvkit.texts import is_number, read_json, shown


def read_evaluation(place: Path, options: Compare, report: Reporter) -> Evaluated:
    """Return the evaluation of a report folder, or the newest one of a run folder.

    Raises:
        DataError: it is neither, or the run has not been evaluated since it was trained.
    """
    if (place / "config.yaml").is_file():
        folder = _evaluated_run(place, options)
        report.say(f"{place}: {folder / REPORT}")
    elif (place / REPORT).is_file():
        folder = place
    elif not place.exists():
        raise DataError(f"{place} does not exist", code="data.missing", hint="check its name")
    else:
        raise DataError(
            f"{place} is not a report folder of eval, nor a run folder",
            code="compare.report",
            hint="give --task and --truth to compare predictions; evaluate models with eval first",
        )
    about = _read_about(folder / REPORT)
    task = about.get("task")
    if task not in TASKS:
        raise DataError(
            f"{folder / REPORT} has no task that is known: {shown(task)}", code="compare.report"
        )
    return Evaluated(
        place, task, read_samples(folder), lambda paths: _evaluate_again(folder, about, paths)
    )


def score_predictions(place: Path, options: Compare, report: Reporter) -> Evaluated:
    """Return the evaluation of predictions."""
    task = str(options.task)
    asked = task_options(task, "eval")(
        predictions=place, truth=options.truth, split=options.split, quiet=options.quiet
    )
    scored = _score(asked, task, report)
    return Evaluated(place, task, samples_of(scored), lambda _: scored)


def _score(asked: Eval, task: str, report: Reporter) -> Scored[Any, Any]:
    with _uncollected():
        return scoring_of(task).score(asked, report)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Collect no garbage meanwhile, as in eval."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _read_about(file: Path) -> dict[str, Any]:
    content = read_json(file)
    return content if isinstance(content, dict) else {}


def _evaluated_run(run: Path, options: Compare) -> Path:
    """Return the folder of the newest evaluation of the model that a run has kept.

    Raises:
        DataError: there is none.
        ModelFileError: the run has no model.
    """
    from cvkit.model_files import read_header
    from cvkit.models.weights import find_model

    path = find_model(str(run), flag="the run folder")
    header = read_header(path)
    task = header.get("task")
    beside = {folder for near in (run.parent, options.out) for folder in _reports(near, task)}
    folders = [run, *beside] if (run / REPORT).is_file() else [*beside]
    fitting = [
        folder
        for folder in folders
        if (folder / NAME).is_file()
        and _read_about(folder / REPORT).get("model") == header.get("sha256")
    ]
    if fitting:
        return max(fitting, key=lambda folder: (folder / REPORT).stat().st_mtime_ns)
    raise DataError(
        f"{run} has no evaluation of its model {path.name}",
        code="compare.run",
        hint=_eval_command(run, task),
    )


def _reports(folder: Path, task: object) -> list[Path]:
    return [file.parent for file in folder.glob(f"{task}-eval-*/{REPORT}")]


def _eval_command(run: Path, task: object) -> str:
    """Return the command that evaluates the model of a run on its validation split."""
    words = f"cvkit {task} eval --weights {run} --data DIR"
    if task in TASKS:
        kind = task_options(str(task), "train")
        with contextlib.suppress(CvkitError):  # an unusable configuration says less
            stored = from_config(kind, _stored(run / "config.yaml"), str(run / "config.yaml"))
            asked = evaluation_of(kind(**stored), str(task), run)
            words = command_line(replace(asked, files=True), (str(task), "eval"))
    return f"run: {words}"


def _stored(path: Path) -> dict[Any, object]:
    from cvkit.yaml_files import read_yaml

    content = read_yaml(path, area="config", error=DataError)
    return content if isinstance(content, dict) else {}


def _evaluate_again(folder: Path, about: dict[str, Any], paths: Sequence[str]) -> Scored[Any, Any]:
    """Evaluate samples of a report again, as its eval did, for pictures of them.

    Args:
        folder: of the report.
        about: the content of `report.json`.
        paths: of the samples; files of predictions are scored completely.

    Raises:
        CvkitError: the report does not say how, or the model, predictions or data have changed.
    """
    task, file = about["task"], folder / OPTIONS
    kind = task_options(task, "eval")
    if not file.is_file():
        raise DataError(f"there is no {file} with the flags of its eval", code="compare.pictures")
    flags = _read_about(file).get("options")
    stored = from_config(kind, flags if isinstance(flags, dict) else {}, str(file))
    asked = kind(**stored | {"quiet": True})
    errors = about.get("errors")
    least = errors.get("score") if isinstance(errors, dict) else None
    again = _score(asked, task, Reporter(True)) if asked.predictions else None
    if again is None:
        again = _predict_again(asked, about, paths)
    return replace(again, least=least if is_number(least) else None)


def _itself(result: object) -> object:
    return result


def _predict_again(asked: Eval, about: dict[str, Any], paths: Sequence[str]) -> Scored[Any, Any]:
    """Evaluate some of the samples with the model.

    Raises:
        CvkitError: the model or the data are not there any more, or are others.
    """
    from cvkit.tasks.trained import load_trained

    trained = load_trained(asked.weights, asked, about["task"])
    if trained.header["sha256"] != about.get("model"):
        raise DataError(
            f"{trained.path} has changed since it was evaluated", code="compare.pictures"
        )
    task = trained.task.with_data(asked, trained.header, Reporter(True))
    data = task.dataset(asked.split, training=False)
    scene_of = scenes_of(replace(trained, task=task), data)
    known = {data.key(index) for index in range(len(data))}
    metric, outcomes, scenes = task.metric(), [], {}
    for path in (path for path in paths if path in known):
        scene = scene_of(path)
        result = scene.predict()
        scenes[path] = Scene(scene.image, scene.truth, functools.partial(_itself, result))
        outcomes.append((path, metric.update(result, scene.truth)))
    return Scored(metric, task.classes, outcomes, [], scenes.__getitem__)
