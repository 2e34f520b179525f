"""Try learning rates before a training."""

import contextlib
import dataclasses

from cvkit import storage
from cvkit.commands.printing import print_json
from cvkit.commands.training_job import TrainingJob, held_run
from cvkit.console import Reporter, print_line
from cvkit.errors import UsageError
from cvkit.options.base import Train


def find_lr(options: Train, task_name: str, report: Reporter) -> int:
    """Try learning rates from tiny to large and suggest one."""
    from cvkit.engine import runtime
    from cvkit.engine.lr_range import lr_range
    from cvkit.output.curves import write_lr_curve

    for name in ("report", "log"):
        if getattr(options, name):
            raise UsageError(
                f"--{name} has no effect with --find-lr, which trains no model",
                code=f"{name}.idle",
                hint="omit it",
            )
    if options.resume or options.devices * options.nodes > 1:
        raise UsageError(
            "--find-lr cannot be combined with --resume, --devices or --nodes",
            code="find_lr.unsupported",
        )
    with runtime.stop_signals() as stop, contextlib.ExitStack() as holding:
        with stop.at_once():
            job = TrainingJob(options, task_name, report)
            holding.enter_context(job.joined(stop))
            job.prepare()
        if job.task.gradient_free:
            raise UsageError("--find-lr needs a model that is trained in steps", code="find_lr.knn")
        run = job.run_folder()
        job.announce(run)
        with held_run(run, report), report.progress("trying learning rates", 100) as advance:
            found = lr_range(
                job.task,
                job.model,
                job.data[0],
                job.settings,
                job.fabric,
                job.workers,
                advance=advance,
                stop=stop,
            )
    write_lr_curve(run / "lr.png", found.rates, found.losses, found.suggested)
    content = dataclasses.asdict(found)
    storage.write_json(run / "lr.json", content)
    report.say(f"curve: {run / 'lr.png'}; largest useful rate about {found.largest:.1e}")
    if found.diverged:
        report.say(f"the loss became non-finite at {found.diverged:.1e}")
    if options.json:
        print_json({"task": task_name, "command": "train", "run": str(run), "find_lr": content})
    else:
        print_line(f"{found.suggested:.2e}")
    return 0
