"""Evaluate a model, or score files."""

import gc
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cvkit import storage
from cvkit.commands.gates import Gates, read_gates
from cvkit.commands.printing import nested, print_evaluation, print_json
from cvkit.console import Reporter
from cvkit.errors import GateFailed, UsageError
from cvkit.options.base import Eval
from cvkit.output.gate_reports import junit, markdown
from cvkit.scoring.contract import Scored, denominator, scoring_of, sourced
from cvkit.scoring.intervals import intervals, samples_of
from cvkit.scoring.predicted import made_by, require_any
from cvkit.scoring.stored import write_samples
from cvkit.tasks.inference_flags import require_effect


def evaluate(options: Eval, task_name: str) -> int:
    """Evaluate a model, or score files of predictions, and check the gates."""
    report = Reporter(options.quiet)
    gates = read_gates(options, task_name)
    if (options.weights is None) == (options.predictions is None):
        raise UsageError(
            "give either --weights or --predictions",
            code="eval.what",
            hint="--weights RUN --data DIR, or --predictions DIR --truth DIR",
        )
    require_effect(options)
    measure = _evaluate_files if options.predictions else evaluate_model
    content = measure(options, task_name, report, gates)
    content = {"task": task_name, "command": "eval", "split": options.split, **content}
    content["evaluated"], content["numbers"] = denominator(content), sourced(content)
    try:
        verdicts = gates.verdicts(content, report)
    except UsageError:
        _write_report(content)  # the numbers are not lost
        raise
    failed = [verdict.text for verdict in verdicts if not verdict.passed]
    checked = [asdict(verdict) for verdict in verdicts]
    content["gates"] = {"passed": not failed, "failed": failed, "checked": checked}
    shown = _write_report(content)
    if options.junit is not None:
        storage.write_file(options.junit, junit(content))
    if options.markdown is not None:
        storage.write_file(options.markdown, markdown(content))
    if not options.json:
        print_evaluation(content)
    elif not failed:
        print_json(shown)
    for failure in content["failures"]:
        report.warn(f"not evaluated: {failure['reason']}")
    if failed:
        raise GateFailed("; ".join(failed), code="gate.failed", content=shown)
    return 3 if content["failures"] else 0


def _write_report(content: dict[str, Any]) -> dict[str, Any]:
    """Write `report.json` if there is a report folder; return its content."""
    shown = content | {name: nested(content[name]) for name in ("metrics", "rules")}
    if "intervals" in content:
        bounds = content["intervals"]
        shown["intervals"] = bounds | {"metrics": nested(bounds["metrics"])}
    if "folder" in content:
        storage.write_json(Path(content["folder"]) / "report.json", shown)
    return shown


def _intervals(scored: Scored[Any, Any], options: Eval, folder: Path | None) -> dict[str, Any]:
    """Store the counts of each sample in the report folder; return the intervals asked for."""
    if folder is None and not options.bootstrap:
        return {}
    samples = samples_of(scored)
    if folder is not None:
        write_samples(folder, samples)
    if not options.bootstrap:
        return {}
    return {"intervals": intervals(samples, options.bootstrap, options.seed or 0)}


def _report_folder(options: Eval, task_name: str) -> Path | None:
    if not options.files:
        return None
    return storage.new_numbered_folder(options.out, f"{task_name}-eval")


def _evaluate_files(
    options: Eval, task_name: str, report: Reporter, gates: Gates
) -> dict[str, Any]:
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
    return content | ({"folder": str(folder)} if folder else {})


def evaluate_model(options: Eval, task_name: str, report: Reporter, gates: Gates) -> dict[str, Any]:
    """Return the content of the report on a model; only the names of the gates are checked."""
    from cvkit.engine import runtime
    from cvkit.engine.evaluate import evaluate as run_evaluation
    from cvkit.tasks.engine_choice import use_engine
    from cvkit.tasks.trained import load_trained

    runtime.keep_memory()
    with runtime.stop_signals() as stop:
        with stop.at_once():
            trained = load_trained(options.weights, options, task_name)
            task = trained.task
            gates.require_known(task.metric_names, task.classes.names)
            task = task.with_data(options, trained.header, report)
            metric, images = task.metric(), []
            data = task.dataset(options.split, training=False)
            engine = use_engine(options.engine, trained, data, options.batch_size)
        with report.progress("evaluating", len(data)) as advance:
            failures = run_evaluation(
                task,
                trained.model,
                data,
                trained.fabric,
                metric=metric,
                batch_size=options.batch_size,
                workers=trained.workers,
                stop=stop,
                advance=advance,
                on_image=lambda sample, outcome: images.append((sample.path, outcome)),
            )
    for note in engine.notes:
        report.warn(note)
    scoring = scoring_of(task_name)
    require_any(failures, len(failures) + len(images), scoring.SAMPLE)
    folder = _report_folder(options, task_name)
    scored = Scored(metric, task.classes, images, failures)
    content: dict[str, Any] = {"weights": str(trained.path), "data": options.data}
    content |= scoring.write_report(scored, folder)
    content |= _intervals(scored, options, folder)
    content |= {"precision": trained.precision, "engine": engine.name}
    content["inference"] = task.inference_rule()
    return content | ({"folder": str(folder)} if folder else {})
