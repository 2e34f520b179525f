"""Show what results depend on."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvkit import storage
from cvkit.catalog import nearest
from cvkit.commands.explain_patches import find_patches
from cvkit.commands.looking import held_folder, open_model, require_inputs
from cvkit.commands.predict_inputs import count_inputs
from cvkit.commands.printing import print_json
from cvkit.config import as_config
from cvkit.console import Reporter, number, print_line, print_table
from cvkit.errors import UsageError
from cvkit.options.described import differs
from cvkit.options.explain import PATCHES, USED_BY, Explain
from cvkit.tasks.explainable import Target

if TYPE_CHECKING:
    from cvkit.data.unfolding import Unfolded
    from cvkit.engine.runtime import StopSignal
    from cvkit.explain.plan import Plan
    from cvkit.explain.run import Summary
    from cvkit.tasks.explainable import Explainable, Regions
    from cvkit.tasks.trained import Trained

PAGE = "explanations.html"
INTERRUPTED = "interrupted; everything before is written"
COLUMNS = ("pointing", "inside", "deletion", "insertion", "randomised", "seconds")
"""The numbers of a method."""


def explain(options: Explain) -> int:
    """Explain inputs, and print how good the maps are."""
    from cvkit.engine import runtime
    from cvkit.explain.plan import chosen_methods

    methods = chosen_methods(options.method)
    _check_flags(options, methods)
    if PATCHES in methods:
        return find_patches(options)
    report = Reporter(options.quiet)
    runtime.keep_memory()
    with runtime.stop_signals() as stop:
        with stop.at_once():
            ready = _ready(options, report)
        with held_folder(options, ready.trained.task.name, "explain", report) as out:
            summary = _run(options, ready, out, report, stop)
            content = _content(options, ready, out, summary)
            storage.write_json(out / "explain.json", content)
            _write_page(options, ready, content, report)
    return _tell(options, content, report)


@dataclass(frozen=True, kw_only=True)
class _Ready:
    """Everything that is checked before the first input is explained.

    Attributes:
        trained: the model.
        explained: the same, as explanations see it.
        found: the inputs.
        target: what is explained.
        plan: methods and layers.
        regions: true regions, if `--truth` is given.
    """

    trained: Trained
    explained: Explainable
    found: Unfolded
    target: Target
    plan: Plan
    regions: Regions | None


def _ready(options: Explain, report: Reporter) -> _Ready:
    """Load the model, find the inputs and choose the methods.

    Raises:
        UsageError: this network or this task does not allow it.
    """
    from cvkit.explain.plan import first_question, plan_of

    flags = {"device": options.device, "offline": options.offline}
    opened = open_model(options, "explain", report, workers=0, precision="fp32", **flags)
    trained, explained, found = opened.trained, opened.explained, opened.found
    names = trained.task.classes.names
    target = parse_target(options.target, trained.task.name, explained.targets, names)
    regions = _regions(options, trained, found, report)
    device = trained.fabric.device
    question = first_question(trained.task.source(found.images), explained, target, device)
    if question is None:
        from cvkit.explain.plan import Plan, chosen_methods

        plan = Plan(chosen_methods(options.method), {})  # every input fails
    else:
        plan = plan_of(
            options.method, options.layer, trained.task, trained.model, explained, question
        )
    return _Ready(
        trained=trained,
        explained=explained,
        found=found,
        target=target,
        plan=plan,
        regions=regions,
    )


def _check_flags(options: Explain, methods: tuple[str, ...]) -> None:
    """Check what can be checked before anything is read.

    Raises:
        UsageError: flags that cannot be combined, or no input.
    """
    require_inputs(options)
    for name, users in USED_BY.items():
        if differs(options, name) and not {*users} & {*methods}:
            raise UsageError(
                f"--{name} has no effect on --method {options.method}",
                code=f"{name}.idle",
                hint=f"it belongs to {', '.join(users)}",
            )
    for name in ("target", "truth", "measure", "seed"):
        if PATCHES in methods and differs(options, name):
            raise UsageError(
                f"--{name} has no effect on --method {PATCHES}", code=f"{name}.idle", hint="omit it"
            )
    shown = {"occlusion", "integrated-gradients"} & {*methods}
    if differs(options, "value") and not shown and not options.measure:
        raise UsageError(
            f"--value has no effect on --method {options.method}",
            code="value.idle",
            hint="it belongs to occlusion, integrated-gradients and --measure",
        )
    if options.patch and options.stride > options.patch:
        raise UsageError(
            f"--stride {options.stride} leaves gaps between squares of --patch {options.patch}",
            code="stride.gaps",
            hint="a --stride up to --patch",
        )


def parse_target(text: str, task: str, kinds: tuple[str, ...], names: tuple[str, ...]) -> Target:
    """Return the target that `--target` names.

    Args:
        text: of the flag.
        task: of the model.
        kinds: of targets that the task has.
        names: of the model's classes.

    Raises:
        UsageError: no class of the model, or a kind that the task does not have.
    """
    if text in names:
        return Target("class", name=text)
    if text == "top1":
        return Target("top1")
    box = re.fullmatch(r"box (\d+)", text)
    point = re.fullmatch(r"point (\d+(?:\.\d+)?),(\d+(?:\.\d+)?)", text)
    kind = "box" if box else "point" if point else ""
    if kind and kind not in kinds:
        raise UsageError(
            f"--target {text!r}: models for {task} have no such target",
            code="target.unsupported",
            hint="top1 or the name of a class",
        )
    if point:
        return Target("point", point_xy=(float(point[1]), float(point[2])))
    if box and int(box[1]):
        return Target("box", number=int(box[1]))
    more = {"box": "'box N' with N from 1", "point": "'point X,Y'"}
    words = [more[kind] for kind in kinds if kind in more]
    raise UsageError(
        f"--target {text!r} is no class of the model",
        code="target.unknown",
        hint=nearest(text, names, ", ".join(["top1", *words, *sorted(names)])),
    )


def _regions(
    options: Explain, trained: Trained, found: Unfolded, report: Reporter
) -> Regions | None:
    """Return the true regions of `--truth`.

    Raises:
        UsageError: the inputs are clips, or none is in the dataset.
    """
    if options.truth is None:
        return None
    from cvkit.tasks.regions import read_regions

    if trained.task.dimensions != 3:
        raise UsageError(
            f"--truth has no effect on models for {trained.task.name}",
            code="truth.unsupported",
            hint="omit it",
        )
    return read_regions(options.truth, found.images, trained.task, report)


def _run(options: Explain, ready: _Ready, out: Path, report: Reporter, stop: StopSignal) -> Summary:
    """Explain the inputs."""
    from cvkit.engine.journal import Lines
    from cvkit.explain.methods import Settings
    from cvkit.explain.run import Work, explain_inputs
    from cvkit.output.names import output_names

    trained, files = ready.trained, ready.found.images
    words = ", ".join(ready.plan.methods)
    noun = trained.task.noun
    report.say(f"{count_inputs(ready.found, noun)} with {trained.path}: {words}")
    named = [name for name, users in USED_BY.items() if name != "layer" and PATCHES not in users]
    settings = {name: getattr(options, name) for name in (*named, "seed", "batch_size")}
    for name in ("explanations.jsonl", "failures.jsonl"):
        storage.write_file(out / name, "")
    lines = Lines(out, "explanations.jsonl", "failures.jsonl")
    with (
        contextlib.closing(lines),
        report.progress("explaining", len(files)) as advance,
    ):
        work = Work(
            task=trained.task,
            model=trained.model,
            explained=ready.explained,
            device=trained.fabric.device,
            target=ready.target,
            plan=ready.plan,
            settings=Settings(value=options.value / 255, **settings),
            names=output_names([file.key for file in files]),
            regions=ready.regions,
            measure=options.measure,
            advance=advance,
            pause=lambda: stop.raise_if_set(INTERRUPTED),
        )
        data = trained.task.source(files)
        return explain_inputs(work, data, ready.found.failures, out, lines)


def _content(options: Explain, ready: _Ready, out: Path, summary: Summary) -> dict[str, Any]:
    """Return the content of explain.json and of `--json`."""
    return {
        "task": ready.trained.task.name,
        "command": "explain",
        "out": str(out),
        "weights": str(ready.trained.path),
        "model": ready.trained.header["sha256"],
        "target": options.target,
        "methods": {name: tally.as_json() for name, tally in summary.tallies.items()},
        "layers": ready.plan.layers,
        "randomised_from": summary.stages,
        "counts": {"explained": summary.explained, "failed": summary.failed},
        "options": as_config(options),
    }


def _write_page(options: Explain, ready: _Ready, content: dict[str, Any], report: Reporter) -> None:
    """Write the page with the maps of all methods side by side."""
    from cvkit.commands.reports import command_line
    from cvkit.engine.runtime import environment
    from cvkit.reporting.explanations import write_explanations_page

    write_explanations_page(
        Path(content["out"]) / PAGE,
        content,
        columns=COLUMNS if options.measure or options.truth else ("seconds",),
        command=command_line(options, ("explain",)),
        environment=environment(ready.trained.fabric),
        warnings=list(report.warned),
    )


def _tell(options: Explain, content: dict[str, Any], report: Reporter) -> int:
    """Print the numbers; return the exit code."""
    counts = content["counts"]
    if options.json:
        print_json({**content, "page": f"{content['out']}/{PAGE}"})
    else:
        if options.measure or options.truth:
            rows = [
                [name, *(number(tally[column]) for column in COLUMNS)]
                for name, tally in content["methods"].items()
            ]
            print_table("maps", ["method", *COLUMNS], rows)
        print_line(content["out"])
    report.say(
        f"{counts['explained']} explained, {counts['failed']} failed; see {content['out']}/{PAGE}"
    )
    return 3 if counts["failed"] else 0
