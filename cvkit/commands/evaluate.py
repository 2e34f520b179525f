"""Evaluate a model, or score files."""

from __future__ import annotations

import gc
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvkit import storage
from cvkit.commands.printing import nested, print_evaluation, print_json
from cvkit.console import Reporter
from cvkit.errors import GateFailed, UsageError
from cvkit.metrics.gates import failed_gates, parse_gates, require_known
from cvkit.options.base import Eval
from cvkit.scoring.contract import Scored, scoring_of
from cvkit.scoring.predicted import require_any
from cvkit.tasks.inference_flags import require_effect

if TYPE_CHECKING:
    from cvkit.engine.ranks import Ranks
    from cvkit.tasks.trained import Engine, Trained


def evaluate(options: Eval, task_name: str) -> int:
    """Evaluate a model, or score files of predictions, and check the gates."""
    report = Reporter(options.quiet)
    gates = parse_gates(options.fail_under)
    if (options.weights is None) == (options.predictions is None):
        raise UsageError(
            "give either --weights or --predictions",
            code="eval.what",
            hint="--weights RUN --data DIR, or --predictions DIR --truth DIR",
        )
    require_effect(options)
    measure = _evaluate_files if options.predictions else _evaluate_model
    measured = measure(options, task_name, report)
    if measured is None:  # the first process reports for all
        return 0
    content: dict[str, Any] = {
        "task": task_name,
        "command": "eval",
        "split": options.split,
        **measured,
    }
    failed = failed_gates(gates, content)
    content["gates"] = {"passed": not failed, "failed": failed}
    shown = content | {name: nested(content[name]) for name in ("metrics", "rules")}
    if "folder" in content:
        storage.write_json(Path(content["folder"]) / "report.json", shown)
    if not options.json:
        print_evaluation(content)
    elif not failed:
        print_json(shown)
    for failure in content["failures"]:
        report.warn(f"not evaluated: {failure['reason']}")
    if failed:
        raise GateFailed("; ".join(failed), code="gate.failed", content=shown)
    return 3 if content["failures"] else 0


def _report_folder(options: Eval, task_name: str) -> Path | None:
    if not options.files:
        return None
    return storage.new_numbered_folder(options.out, f"{task_name}-eval")


def _evaluate_files(options: Eval, task_name: str, report: Reporter) -> dict[str, Any]:
    scoring = scoring_of(task_name)
    require_known(parse_gates(options.fail_under), scoring.metric_names(options), None)
    content = {"predictions": str(options.predictions), "truth": str(options.truth)}
    gc.disable()  # a quarter of the time with many rows, which have no cycles
    try:
        scored = scoring.score(options, report)
        folder = _report_folder(options, task_name)
        content |= scoring.write_report(scored, folder) | {"precision": None, "engine": "files"}
    finally:
        gc.enable()
    return content | ({"folder": str(folder)} if folder else {})


def _evaluate_model(options: Eval, task_name: str, report: Reporter) -> dict[str, Any] | None:
    """Return the numbers of a model; None in all processes but the first."""
    from cvkit.engine import processes

    started = processes.start(options)  # they import their libraries while this one does

    from cvkit.engine import runtime
    from cvkit.engine.ranks import joined

    runtime.keep_memory()
    with runtime.stop_signals() as stop, joined(started, stop) as ranks:
        if not ranks.is_first:
            report.hush()
        measured = _measure(options, task_name, report, ranks)
    if not ranks.is_first:
        return None
    for note in measured.notes:
        report.warn(note)
    scoring, scored, trained = scoring_of(task_name), measured.scored, measured.trained
    require_any(scored.failures, len(scored.failures) + len(scored.outcomes), scoring.SAMPLE)
    folder = _report_folder(options, task_name)
    content: dict[str, Any] = {"weights": str(trained.path), "data": options.data}
    content |= scoring.write_report(scored, folder)
    content |= {"precision": trained.precision, "engine": measured.engine.name}
    content["inference"] = trained.task.inference_rule()
    return content | ({"folder": str(folder)} if folder else {})


@dataclass(frozen=True)
class _Measured:
    """A model that has been evaluated.

    Attributes:
        trained: the model.
        engine: what it ran on.
        notes: about the engine, from all processes, in the first.
        scored: the results.
    """

    trained: Trained
    engine: Engine
    notes: list[str]
    scored: Scored[Any, Any]


def _measure(options: Eval, task_name: str, report: Reporter, ranks: Ranks) -> _Measured:
    """Evaluate a model in one of the processes; the first gets the results of all."""
    from cvkit.engine.evaluate import evaluate as run_evaluation
    from cvkit.tasks.trained import load_trained, use_engine

    with ranks.stop.at_once():
        trained = load_trained(options.weights, options, task_name, ranks.layout)
        task = trained.task
        gates = parse_gates(options.fail_under)
        require_known(gates, task.metric_names, task.classes.names)
        task = task.with_data(options, trained.header, report)
        metric, images = task.metric(), []
        data = task.dataset(options.split, training=False)
        engine = use_engine(options.engine, trained, len(data))
    with report.progress("evaluating", len(data)) as advance:
        failures = run_evaluation(
            task,
            trained.model,
            data,
            trained.fabric,
            metric=metric,
            batch_size=options.batch_size,
            workers=trained.workers,
            stop=ranks.stop,
            advance=advance,
            on_image=lambda path, outcome: images.append((path, outcome)),
            ranks=ranks,
        )
    notes = [note for each in ranks.gather_first(engine.notes) for note in each]
    scored = Scored(metric, task.classes, images, failures)
    return _Measured(replace(trained, task=task), engine, notes, scored)
