"""Search for training settings with short runs."""

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvkit import storage
from cvkit.catalog import TASKS
from cvkit.commands.printing import print_json
from cvkit.commands.train import run_training
from cvkit.config import (
    NOT_STORED,
    as_config,
    from_config,
    from_environment,
    from_text,
    parse_setting,
    variable,
)
from cvkit.console import Reporter, number, print_table
from cvkit.engine.processes import find_layout
from cvkit.errors import Interrupted, TrainingDiverged, UsageError
from cvkit.options.base import Train
from cvkit.options.job import with_given
from cvkit.options.tools import Tune
from cvkit.options.tree import task_options
from cvkit.texts import counted

if TYPE_CHECKING:
    from cvkit.engine.runtime import StopSignal
    from cvkit.engine.search import Space

Values = dict[str, Any]
"""Settings of a trial by flag name, or a line of results."""


def tune(options: Tune) -> int:
    """Run the remaining trials, then rank all of them."""
    from cvkit.engine import search

    report = Reporter(options.quiet)
    options = _with_variables(options, report)
    if not options.resume:
        _require_searched(options)
    space = _space(options)
    base, plan = _base(options), _planning(options, space)
    _require_one_process(base)
    for values in plan([]):  # all that are known are checked before the first one starts
        _require_effect(_trial_options(base, values, Path()), values, options.task)
    study = _study_folder(options)
    with storage.held(study, report.warn):
        ranked = search.ranking(_run_trials(base, plan, study, report))
        warnings = search.edges(space, ranked[0]) if ranked[0]["value"] is not None else []
        content = {
            "task": options.task,
            "command": "tune",
            "study": str(study),
            "ranking": ranked,
            "warnings": warnings,
        }
        storage.write_json(study / "study.json", content)
    if options.json:
        print_json(content)
    else:
        names = [*space, *(["epochs"] if options.strategy == "halving" else [])]
        rows = [
            [
                str(r["trial"]),
                *(f"{r[n]:g}" if isinstance(r[n], float) else str(r[n]) for n in names),
            ]
            + [number(r["value"]), r["run"] or r["reason"]]
            for r in ranked
        ]
        title = ranked[0]["metric"] or "result"
        print_table("trials, best first", ["trial", *names, title, "run"], rows)
    for warning in warnings:
        report.warn(warning)
    return 0


Plan = Callable[[list[Values]], list[Values]]
"""From the results so far to the settings of all trials that are known, in order."""


def _planning(options: Tune, space: "Space") -> Plan:
    """Return the plan of a study."""
    from cvkit.engine import search

    if options.strategy == "halving":
        numbers = options.trials, options.epochs, options.seed
        return lambda results: search.halving(space, results, *numbers)
    plan = search.trials(space, options.strategy, options.trials, options.points, options.seed)
    return lambda results: plan


def _run_trials(base: Train, plan: Plan, study: Path, report: Reporter) -> list[Values]:
    """Run the remaining trials of a plan, and return the results of all."""
    from cvkit.engine import runtime

    results = _finished(study, plan)
    known = counted(len(plan(results)), "trial")
    report.say(f"study: {study}, {known}, {len(results)} of them done")
    with runtime.stop_signals() as stop:
        while len(results) < len(trials := plan(results)):
            trial, values = len(results), trials[len(results)]
            result = {"trial": trial} | values | _run(base, values, study, trial, stop)
            results.append(result)
            lines = "".join(json.dumps(line) + "\n" for line in results)
            storage.write_file(study / "trials.jsonl", lines)
            report.say(f"trial {trial}: {_shown(values)} -> {number(result['value'])}")
    return results


def _require_searched(options: Tune) -> None:
    """Check that the flags about the search have an effect with the strategy.

    Raises:
        UsageError: names the first one without effect.
    """
    idle = {"grid": ("trials", "seed")}.get(options.strategy, ("points",))
    for name in idle:
        if getattr(options, name) != type(options).__dataclass_fields__[name].default:
            raise UsageError(
                f"--{name} has no effect with --strategy {options.strategy}",
                code=f"{name}.idle",
                hint="omit it",
            )


def _space(options: Tune) -> "Space":
    """Return the search space."""
    from cvkit.engine.search import Choices, parse_range

    space: Space = {
        "lr": parse_range(options.lr, "lr", zero=False),
        "weight_decay": parse_range(options.weight_decay, "weight-decay"),
    }
    if options.batch_size:
        sizes = options.batch_size.split(",")
        if not all(size.strip().isdecimal() and int(size) for size in sizes):
            raise UsageError(
                f"--batch-size {options.batch_size!r} is not a list of sizes",
                code="range.syntax",
                hint="such as 16,32,64",
            )
        space["batch_size"] = Choices(tuple(int(size) for size in sizes))
    if options.augment:
        space["augment"] = Choices(tuple(part.strip() for part in options.augment.split(",")))
    return space


TAKEN = frozenset({"data", "epochs", "lr", "weight_decay", "out", "resume", "find_lr", "check"})
"""Training flags that are set by the study."""


PRINTING = frozenset({"json", "quiet", "debug"})
"""Training flags about what a single run prints."""


def _with_variables(options: Tune, report: Reporter) -> Tune:
    """Return the options with the values of CVKIT_TRAIN_... before those of `--set`.

    A resumed study already has them.
    """
    if options.resume:
        return options
    texts = from_environment(task_options(options.task, "train"), "train", os.environ)
    for name in sorted(texts.keys() & (TAKEN | NOT_STORED) - PRINTING):
        report.warn(f"{variable(('train',), name)} has no effect on the trials of a study")
    added = [f"{n}={text}" for n, text in texts.items() if n not in TAKEN | NOT_STORED]
    if added:
        report.say(f"set by variables (CVKIT_TRAIN_...): {', '.join(added)}")
    return dataclasses.replace(options, set=[*added, *options.set])


def _base(options: Tune) -> Train:
    """Return the training flags that all trials share.

    Raises:
        UsageError: `--set` is malformed, or names a flag that is unknown or set by the study.
    """
    content: Values = {}
    options_class = task_options(options.task, "train")
    for text in options.set:
        name, value = parse_setting(text)
        if name in TAKEN | NOT_STORED:
            raise UsageError(f"--set {name}: this flag is set by the study", code="set.taken")
        content[name] = from_text(options_class, name, value)
    chosen = from_config(options_class, content, "--set")
    base = options_class(**chosen, data=options.data, epochs=options.epochs, quiet=True)
    return with_given(base, chosen)


def _require_one_process(base: Train) -> None:
    """Check that the trials run in this process alone, because others would begin a study, too.

    Raises:
        UsageError: flags or a launcher ask for more.
    """
    for name in ("devices", "nodes"):
        if (count := getattr(base, name)) > 1:
            raise UsageError(
                f"--set {name}={count}: the trials of a study run in one process",
                code="tune.processes",
                hint="omit it; several studies with different --seed can run at the same time",
            )
    layout = find_layout(base)
    if layout.world > 1:
        raise UsageError(
            f"{layout.launcher} has started {layout.world} processes, but the trials of a study "
            "run in one",
            code="tune.processes",
            hint="start cvkit tune without it",
        )


def _trial_options(base: Train, values: Values, out: Path) -> Train:
    checked = from_config(type(base), values, "trial")
    options = dataclasses.replace(base, **checked | {"out": out})
    return with_given(options, base.given | checked.keys())


def _require_effect(options: Train, values: Values, task: str) -> None:
    """Check the flags of a trial, and that the tried values have an effect.

    Raises:
        UsageError: names the first flag that is invalid or has no effect.
    """
    from cvkit.tasks.train_flags import idle_flags, require_names, require_sense

    require_sense(options)
    require_names(options, task)
    for reason, flags in idle_flags(options, options.optimizer).items():
        for flag in flags:
            if flag[2:].replace("-", "_") in values:
                raise UsageError(f"{flag} has no effect with {reason}", code="tune.idle")


def _study_folder(options: Tune) -> Path:
    from cvkit.yaml_files import dump_yaml

    if options.resume:
        return options.resume
    study = storage.new_numbered_folder(options.out, f"tune-{options.task}")
    storage.write_file(study / "config.yaml", dump_yaml(as_config(options)))
    return study


def _finished(study: Path, plan: Plan) -> list[Values]:
    """Return the results of the trials that are done, in order.

    Raises:
        UsageError: they do not belong to this plan.
    """
    path = study / "trials.jsonl"
    if not path.is_file():
        return []
    results = [json.loads(line) for line in path.read_text().splitlines()]
    for values, result in zip(plan(results), results, strict=False):
        if any(result.get(name) != value for name, value in values.items()):
            raise UsageError(f"{path} belongs to another study", code="resume.changed")
    return results


def _run(base: Train, values: Values, study: Path, trial: int, stop: "StopSignal") -> Values:
    """Run or continue a trial, and return its result."""
    folder = study / "trials" / f"{trial:03d}"
    options = _trial_options(base, values, folder)
    marks = (
        "*/ckpt/last",
        "*/last.safetensors",
    )  # of a trial that has started, that has ended
    begun = [mark for pattern in marks for mark in folder.glob(pattern)]
    if begun:
        options = dataclasses.replace(
            options, resume=folder / begun[0].relative_to(folder).parts[0]
        )
    task_name = next(name for name in TASKS if task_options(name, "train") is type(base))
    try:
        done = run_training(options, task_name, Reporter(quiet=True), stop)
    except TrainingDiverged as error:
        return {"metric": None, "value": None, "run": None, "reason": str(error)}
    except Interrupted as error:
        raise Interrupted(
            f"stopped in trial {trial}; finished trials are kept",
            signal_number=error.exit_code - 128,
            hint=f"continue with: cvkit tune {task_name} --resume {study}",
        ) from error
    value = done.progress.kept(options.keep)[done.task.best]
    return {"metric": done.task.best, "value": value, "run": str(done.run), "reason": ""}


def _shown(values: Values) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
