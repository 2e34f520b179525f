"""Predict images or videos into a folder."""

import contextlib
from dataclasses import asdict

from cvkit import storage
from cvkit.commands.printing import print_json
from cvkit.config import as_config
from cvkit.engine.report import Reporter
from cvkit.errors import UsageError
from cvkit.options.base import Predict
from cvkit.tasks.inference_flags import require_effect


def predict(options: Predict, task_name: str) -> int:
    """Predict images or videos into a folder."""
    from cvkit.data.files import list_inputs, walk_images, walk_videos
    from cvkit.engine import predict as loop
    from cvkit.engine import runtime
    from cvkit.tasks.predictor import load_trained

    report = Reporter(options.quiet)
    if not options.inputs:
        raise UsageError("no input given", code="inputs.missing", hint="name files or folders")
    if options.resume and options.overwrite:
        raise UsageError("--resume and --overwrite exclude each other", code="out.resume")
    require_effect(options)
    walk = walk_videos if task_name == "video" else walk_images
    runtime.keep_memory()
    with runtime.stop_signals() as stop:
        with stop.at_once():
            files = list_inputs(options.inputs, without=options.out, walk=walk)
            trained = load_trained(options.weights, options, task_name)
            keys = {file.key for file in files}
            trained.task.check_inputs(sorted(keys))
        storage.claim_output_folder(options.out, reuse=options.overwrite or options.resume)
        about = {"model": trained.header["sha256"], "options": as_config(options)}
        # What scoring the files needs to know of the model.
        about["classes"] = trained.task.classes.as_json()
        about["labels"] = trained.header.get("labels", {})
        journal = loop.Journal(options.out, resume=options.resume, model=about["model"])
        storage.write_json(options.out / "predict.json", about)
        what = "videos" if task_name == "video" else "images"
        report.say(f"{len(files)} {what} with {trained.path} ({trained.precision})")
        with contextlib.closing(journal), report.progress("predicting", len(files)) as advance:
            if journal.done:  # results of other inputs may lie there too
                trained.task.check_inputs(sorted(journal.done | keys))
            counts = loop.predict(
                trained.task,
                trained.model,
                files,
                journal,
                trained.fabric,
                batch_size=options.batch_size,
                workers=trained.workers,
                stop=stop,
                advance=advance,
                max_failures=options.max_failures,
            )
    trained.task.finish(options.out)
    summary = f"{counts.predicted} predicted, {counts.failed} failed, {counts.skipped} skipped"
    report.say(f"{summary}; results in {options.out}")
    if options.json:
        print_json(
            {"task": task_name, "command": "predict", "out": str(options.out)}
            | {"counts": asdict(counts), "precision": trained.precision, "engine": "eager"}
        )
    else:
        print(options.out)
    return 3 if counts.failed else 0
