"""Evaluate a model, or score files."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvkit import storage
from cvkit.commands import reports, robustness
from cvkit.commands.gates import Gates, read_gates
from cvkit.commands.printing import nested, print_evaluation, print_json
from cvkit.commands.reports import Measured
from cvkit.config import as_config
from cvkit.console import Reporter
from cvkit.errors import DataError, GateFailed, UsageError
from cvkit.options.base import Eval
from cvkit.output.gate_reports import junit, markdown
from cvkit.scoring.contract import Scene, Scored, denominator, scoring_of, sourced
from cvkit.scoring.intervals import intervals, samples_of
from cvkit.scoring.predicted import made_by, require_any
from cvkit.scoring.stored import write_samples
from cvkit.scoring.uses import is_test, note_use
from cvkit.structures import Failure
from cvkit.tasks.inference_flags import require_effect

if TYPE_CHECKING:
    from cvkit.engine.evaluate import OnImage
    from cvkit.engine.ranks import Ranks
    from cvkit.engine.runtime import StopSignal
    from cvkit.tasks.contract import Dataset, Metric, Task
    from cvkit.tasks.trained import Trained

REPORT, OPTIONS = "report.json", "eval.json"
"""Files of a report folder: the numbers, and the flags that repeat them."""


def evaluate(options: Eval, task_name: str) -> int:
    """Evaluate a model, or score files of predictions, and check the gates."""
    report = Reporter(options.quiet)
    done = evaluated(options, task_name, report)
    if done is None:  # the first process reports for all
        return 0
    content, shown = done
    if not options.json:
        print_evaluation(content)
        robustness.print_robustness(content)
    elif content["gates"]["passed"]:
        print_json(shown)
    for failure in content["failures"]:
        report.warn(f"not evaluated: {failure['reason']}")
    require_gates(shown)
    return 3 if content["failures"] else 0


def require_gates(shown: dict[str, Any]) -> None:
    """Check that all gates have passed.

    Args:
        shown: of `evaluated`.

    Raises:
        GateFailed: some have not.
    """
    if not shown["gates"]["passed"]:
        raise GateFailed("; ".join(shown["gates"]["failed"]), code="gate.failed", content=shown)


def evaluated(
    options: Eval, task_name: str, report: Reporter
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Evaluate a model, or score files of predictions, and write the files that are asked for.

    Returns:
        The content of `eval --json` with flat names of metrics, and as it is printed; None in all
        processes but the first.
    """
    gates = read_gates(options, task_name)
    if (options.weights is None) == (options.predictions is None):
        raise UsageError(
            "give either --weights or --predictions",
            code="eval.what",
            hint="--weights RUN --data DIR, or --predictions DIR --truth DIR",
        )
    require_effect(options)
    measure: Callable[..., Measured | None]
    measure = _measure_files if options.predictions else measure_model
    measured = measure(options, task_name, report, gates)
    if measured is None:
        return None
    content = {"task": task_name, "command": "eval", "split": options.split, **measured.content}
    content["evaluated"], content["numbers"] = denominator(content), sourced(content)
    if is_test(options.split):
        content |= _uses(options, measured, report)
    page = Path(content["folder"]) / reports.NAME if options.report else None
    if page is not None:
        content["files"] |= {"report_html": str(page)}
    try:
        verdicts = gates.verdicts(content, report)
    except UsageError:
        write_content(content, options)  # the numbers are not lost
        raise
    failed = [verdict.text for verdict in verdicts if not verdict.passed]
    checked = [asdict(verdict) for verdict in verdicts]
    content["gates"] = {"passed": not failed, "failed": failed, "checked": checked}
    shown = write_content(content, options)
    if page is not None:
        measured = replace(measured, content=content)
        reports.write_report(page, measured, options, (task_name, "eval"), report)
    if options.junit is not None:
        storage.write_file(options.junit, junit(content))
    if options.markdown is not None:
        storage.write_file(options.markdown, markdown(content))
    return content, shown


def _uses(options: Eval, measured: Measured, report: Reporter) -> dict[str, Any]:
    """Note that a test split was evaluated, and say how often it was."""
    place, scored = options.data or options.truth, measured.scored
    keys = [path for path, _ in scored.outcomes] + [failure.path for failure in scored.failures]
    model = measured.content.get("model") or str(options.predictions)
    found = note_use(str(place), options.split, keys, model)
    if isinstance(found, str):
        report.warn(f"how often this test split was evaluated cannot be noted: {found}")
        return {}
    report.say(f"{options.split} of {place}: {found}")
    return {"test_uses": asdict(found)}


def write_content(content: dict[str, Any], options: Eval) -> dict[str, Any]:
    """Write `report.json` and `eval.json` if there is a report folder.

    Args:
        content: of `eval --json`, with flat names.
        options: that repeat the evaluation.

    Returns:
        The content of `report.json`.
    """
    shown = content | {name: nested(content[name]) for name in ("metrics", "rules")}
    if "intervals" in content:
        bounds = content["intervals"]
        shown["intervals"] = bounds | {"metrics": nested(bounds["metrics"])}
    if "folder" in content:
        folder = Path(content["folder"])
        storage.write_json(folder / OPTIONS, {"options": as_config(options)})
        storage.write_json(folder / REPORT, shown)
    return shown


def _intervals(scored: Scored[Any, Any], options: Eval, folder: Path | None) -> dict[str, Any]:
    """Store the counts of each sample in the report folder; return the intervals asked for."""
    if folder is None and not options.bootstrap:
        return {}
    samples = samples_of(scored)
    if options.bootstrap and not samples:
        raise UsageError(
            "--bootstrap is not available for the metric of this task",
            code="bootstrap.metric",
            hint="omit it",
        )
    if folder is not None and samples:
        write_samples(folder, samples)
    if not options.bootstrap:
        return {}
    return {"intervals": intervals(samples, options.bootstrap, options.seed or 0)}


def _report_folder(options: Eval, task_name: str) -> Path | None:
    if not options.files:
        return None
    return storage.new_numbered_folder(options.out, f"{task_name}-eval")


def _measure_files(options: Eval, task_name: str, report: Reporter, gates: Gates) -> Measured:
    scoring = scoring_of(task_name)
    gates.require_known(scoring.metric_names(options), None)
    content: dict[str, Any] = {
        "predictions": str(options.predictions),
        "truth": str(options.truth),
    }
    gc.disable()  # a quarter of the time with many rows, which have no cycles
    try:
        scored = scoring.score(options, report)
        folder = _report_folder(options, task_name)
        content |= scoring.write_report(scored, folder) | {"precision": None, "engine": "files"}
        if options.predictions and (made := made_by(options.predictions)):
            content["made_by"] = made
        content |= _intervals(scored, options, folder)
    finally:
        gc.enable()
    content |= {"folder": str(folder)} if folder else {}
    return Measured(content, scored, reports.environment())


def measure_model(
    options: Eval,
    task_name: str,
    report: Reporter,
    gates: Gates,
    stop: StopSignal | None = None,
) -> Measured | None:
    """Evaluate a model; return None in all processes but the first.

    Args:
        options: of the task's eval command.
        task_name: key of `catalog.TASKS`.
        report: for progress.
        gates: only the names in them are checked.
        stop: the signal handler of a caller that evaluates in this process alone.
    """
    from cvkit.engine import processes

    started = processes.start(options) if stop is None else None  # others import meanwhile

    from cvkit.engine import runtime
    from cvkit.engine.ranks import Ranks, joined

    runtime.keep_memory()
    if stop is not None:
        return _measured_by(Ranks(processes.Layout(), stop), options, task_name, report, gates)()
    assert started is not None
    with runtime.stop_signals() as stop, joined(started, stop) as ranks:
        if not ranks.is_first:
            report.hush()
        finish = _measured_by(ranks, options, task_name, report, gates)
    return finish() if ranks.is_first else None


def _measured_by(
    ranks: Ranks, options: Eval, task_name: str, report: Reporter, gates: Gates
) -> Callable[[], Measured]:
    """Evaluate a model in one of the processes; return what makes the report, in the first."""
    from cvkit.engine import runtime
    from cvkit.tasks.engine_choice import use_engine
    from cvkit.tasks.trained import load_trained

    plan = robustness.plan_of(options)
    with ranks.stop.at_once():
        trained = load_trained(options.weights, options, task_name, ranks.layout)
        task, scores = trained.task, robustness.attackable(plan, trained)
        gates.require_known(task.metric_names, task.classes.names)
        task = task.with_data(options, trained.header, report)
        metric, images = task.metric(), []
        data = task.dataset(options.split, training=False)
        wanted = plan.engine or options.engine
        engine = use_engine(wanted, trained, data, options.batch_size, ranks.share)

    run = _evaluator(options, trained, ranks, report)

    def again(changed: Task, data: Dataset, title: str) -> dict[str, float | None]:
        found = task.metric()
        run(changed, data, found, title)
        return found.compute()

    failures = run(
        task, data, metric, "evaluating", lambda path, outcome: images.append((path, outcome))
    )
    robust = robustness.measure(plan, scores, task, data, again)
    notes = [note for each in ranks.gather_first(engine.notes) for note in each]

    def finish() -> Measured:
        for note in notes:
            report.warn(note)
        scoring = scoring_of(task_name)
        require_any(failures, len(failures) + len(images), scoring.SAMPLE)
        folder = _report_folder(options, task_name)
        scored = Scored(metric, task.classes, images, failures, scenes_of(trained, data))
        content: dict[str, Any] = {"weights": str(trained.path), "data": options.data}
        content["model"] = trained.header["sha256"]
        content |= scoring.write_report(scored, folder)
        content |= _intervals(scored, options, folder) | robust
        if folder is not None:
            files = content.get("files", {}) | robustness.write_picture(content, folder)
            content |= {"files": files} if files else {}
        content |= {"precision": trained.precision, "engine": engine.name}
        content["inference"] = task.inference_rule()
        content |= {"folder": str(folder)} if folder else {}
        about = runtime.environment(trained.fabric)
        return Measured(content, scored, about, trained.path.parent)

    return finish


def _evaluator(
    options: Eval, trained: Trained, ranks: Ranks, report: Reporter
) -> Callable[..., list[Failure]]:
    """Return what fills a metric: by a task on a dataset, under a title of the progress."""
    from cvkit.engine.evaluate import evaluate as run_evaluation

    def run(
        task: Task, data: Dataset, metric: Metric, title: str, on_image: OnImage | None = None
    ) -> list[Failure]:
        with report.progress(title, len(data)) as advance:
            return run_evaluation(
                task,
                trained.model,
                data,
                trained.fabric,
                metric=metric,
                batch_size=options.batch_size,
                workers=trained.workers,
                stop=ranks.stop,
                advance=advance,
                on_image=on_image,
                ranks=ranks,
            )

    return run


def scenes_of(trained: Trained, data: Dataset) -> Callable[[str], Scene]:
    """Return what reads an evaluated sample again, to show it, and can predict it again."""
    from cvkit.engine.loader import load
    from cvkit.tasks.tiling import windows_of_sample

    places: dict[str, int] = {}

    def predict(key: str) -> object:
        import torch

        with load(data, [[(places[key], 0)]], workers=0) as loaded, torch.inference_mode():
            (item,) = itertools.chain.from_iterable(loaded)
            if isinstance(item, Failure):
                raise DataError(item.reason, code=item.code)
            with trained.fabric.autocast():
                batch = item.to(trained.fabric.device)
                (result,) = trained.task.predict(trained.model, batch)
        if isinstance(result, Failure):
            raise DataError(result.reason, code=result.code)
        return result

    def scene(key: str) -> Scene:
        if not places:
            places.update({data.key(index): index for index in range(len(data))})
        sample = data.read(places[key])
        windows = windows_of_sample(sample)
        image = sample.image if windows is None else windows.whole()
        return Scene(image, sample.truth, lambda: predict(key))

    return scene
