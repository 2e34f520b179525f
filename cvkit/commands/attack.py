"""Attack images, and show what came of it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvkit import storage
from cvkit.commands.crafting import (
    check_out,
    earlier_results,
    gradient_model,
    results_folder,
)
from cvkit.commands.predict_inputs import count_inputs, find_inputs
from cvkit.commands.printing import print_json
from cvkit.config import as_config
from cvkit.console import Reporter, number, print_line, print_table
from cvkit.errors import UsageError
from cvkit.options.attack import AttackInputs
from cvkit.options.robust import ATTACKS, Attack, parse_attack

if TYPE_CHECKING:
    from cvkit.crafting.adversarial import Summary
    from cvkit.data.unfolding import Unfolded
    from cvkit.engine.runtime import StopSignal
    from cvkit.tasks.attackable import Scores
    from cvkit.tasks.trained import Trained

PAGE = "attacks.html"
INTERRUPTED = "interrupted; everything before is written"
COLUMNS = ("changed", "before", "after")


def attack(options: AttackInputs) -> int:
    """Attack images; write them with pictures, and print how many results changed."""
    from cvkit.engine import runtime
    from cvkit.tasks.attackable import scores_of

    attacks = _checked(options)
    report = Reporter(options.quiet)
    runtime.keep_memory()
    with runtime.stop_signals() as stop:
        with stop.at_once():
            trained, predict = gradient_model(options, options.inputs)
            scores, task = scores_of(trained.task, trained.model), trained.task
            if task.dimensions != 3:
                raise UsageError(
                    f"pictures of attacks on {task.name} are not made",
                    code="attack.pictures",
                    hint=f"cvkit {task.name} eval --attack measures it",
                )
            folders = earlier_results(options, f"{task.name}-attack", options.inputs)
            found = find_inputs(predict, task, folders, report)
        with results_folder(options, f"{task.name}-attack", report) as out:
            summary = _run(trained, scores, attacks, found, options, out, report, stop)
            content = _content(options, trained, out, summary)
            storage.write_json(out / "attack.json", content)
            _write_page(options, trained, content, report)
    return _tell(options, content, report)


def _checked(options: AttackInputs) -> list[Attack]:
    """Return the attacks, each once.

    Raises:
        UsageError: no input, or flags that cannot work.
    """
    if not options.inputs:
        raise UsageError("no input given", code="inputs.missing", hint="give files or folders")
    attacks = [*dict.fromkeys(parse_attack(text) for text in options.attack or ATTACKS)]
    for each in attacks:
        if each.eps < 1:
            raise UsageError(
                f"--attack {each.title}: files hold whole values, which change by 1 or more",
                code="attack.eps",
                hint="eps=1; eval --attack measures smaller ones",
            )
    check_out(options, options.inputs)
    return attacks


def _run(
    trained: Trained,
    scores: Scores,
    attacks: list[Attack],
    found: Unfolded,
    options: AttackInputs,
    out: Path,
    report: Reporter,
    stop: StopSignal,
) -> Summary:
    """Attack the inputs."""
    from cvkit.crafting.adversarial import Work, attack_inputs
    from cvkit.engine.journal import Lines
    from cvkit.output.names import output_names

    task, files = trained.task, found.images
    words = ", ".join(each.title for each in attacks)
    report.say(f"{count_inputs(found, task.noun)} with {trained.path}: {words}")
    for name in ("attacks.jsonl", "failures.jsonl"):
        storage.write_file(out / name, "")
    lines = Lines(out, "attacks.jsonl", "failures.jsonl")
    with (
        contextlib.closing(lines),
        report.progress("attacking", len(files)) as advance,
    ):
        work = Work(
            task=task,
            model=trained.model,
            scores=scores,
            device=trained.fabric.device,
            attacks=attacks,
            seed=options.seed,
            names=output_names([file.key for file in files]),
            advance=advance,
            pause=lambda: stop.raise_if_set(INTERRUPTED),
        )
        return attack_inputs(work, task.source(files), found.failures, out, lines)


def _content(
    options: AttackInputs, trained: Trained, out: Path, summary: Summary
) -> dict[str, Any]:
    """Return the content of attack.json and of `--json`."""
    return {
        "task": trained.task.name,
        "command": "attack",
        "out": str(out),
        "weights": str(trained.path),
        "model": trained.header["sha256"],
        "attacks": summary.means(),
        "counts": {"attacked": summary.attacked, "failed": summary.failed},
        "options": as_config(options),
    }


def _write_page(
    options: AttackInputs, trained: Trained, content: dict[str, Any], report: Reporter
) -> None:
    from cvkit.commands.reports import command_line
    from cvkit.engine.runtime import environment
    from cvkit.reporting.attacks import write_attacks_page

    write_attacks_page(
        Path(content["out"]) / PAGE,
        content,
        columns=COLUMNS,
        command=command_line(options, ("attack",)),
        environment=environment(trained.fabric),
        warnings=list(report.warned),
    )


def _tell(options: AttackInputs, content: dict[str, Any], report: Reporter) -> int:
    """Print the means; return the exit code."""
    counts = content["counts"]
    if options.json:
        print_json({**content, "page": f"{content['out']}/{PAGE}"})
    else:
        rows = [
            [title, *(number(means[column]) for column in COLUMNS)]
            for title, means in content["attacks"].items()
        ]
        print_table("attacks", ["attack", *COLUMNS], rows)
        print_line(content["out"])
    report.say(
        f"{counts['attacked']} attacked, {counts['failed']} failed; see {content['out']}/{PAGE}"
    )
    return 3 if counts["failed"] else 0
