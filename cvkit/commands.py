"""One function per verb: resolve names, call the engine, print. No logic of its own."""

import dataclasses
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cvkit import catalog, storage
from cvkit.config import as_config
from cvkit.engine.report import Reporter, number, print_evaluation, print_models, table
from cvkit.errors import DataError, GateFailed, UsageError
from cvkit.metrics.gates import failed_gates, parse_gates, require_known
from cvkit.options import Eval, Models, Predict, Samples, Train

SCHEMA_VERSION = 1


def _print_json(content: dict[str, Any]) -> None:
    print(json.dumps({"ok": True, "schema_version": SCHEMA_VERSION, **content}, allow_nan=False))


def train(options: Train, task_name: str) -> int:
    """Train a model in a new run folder, or go on with one."""
    import torch

    from cvkit.engine import runtime
    from cvkit.engine.plan import MODEL_SEED
    from cvkit.engine.train import Trainer
    from cvkit.ops.seeds import key_seed
    from cvkit.output.curves import write_curves

    runtime.keep_memory()
    device, precision = runtime.choose(options.device, options.precision)
    fabric = runtime.make_fabric(device, options.devices, precision)
    report = Reporter(options.quiet or fabric.global_rank > 0)
    with runtime.stop_signals() as stop:
        task = catalog.resolve(catalog.TASKS[task_name]).for_training(options, report)
        torch.manual_seed(key_seed(MODEL_SEED, options.seed))
        model = task.build()
        if not options.resume:
            task.load_pretrained(model, options, report)
        if options.freeze_backbone:
            task.freeze_backbone(model)
        if options.channels_last != "off":
            model = model.to(memory_format=torch.channels_last)
        settings = _settings(options)
        run = _run_folder(options, task_name, fabric)
        parameters = sum(p.numel() for p in model.parameters())
        report.say(
            f"model: {options.arch}, {options.backbone}, {parameters:,} parameters; "
            f"{fabric.world_size} x {device.type}, {precision}, {settings.optimizer} "
            f"lr {settings.lr:g}; run: {run}"
        )
        trainer = Trainer(
            task=task,
            model=model,
            data=(
                task.dataset(options.train_split, training=True),
                task.dataset(options.val_split, training=False),
            ),
            settings=settings,
            run=run,
            header=task.header(options),
            fabric=fabric,
            workers=runtime.choose_workers(options.workers, device, options.devices),
            reporter=report,
            stop=stop,
        )
        if options.resume:
            for reason in trainer.restore():
                report.warn(f"passed over a damaged save: {reason}")
            report.say(f"resuming {run} at step {trainer.progress.step}")
        progress = trainer.progress
        try:
            trainer.fit()
        finally:
            if fabric.global_rank == 0 and progress.history:
                write_curves(run / "curves.png", progress.history, task.best)
    if fabric.global_rank == 0:
        _print_training(options, task, run, progress, report)
    return 0


def _print_training(options: Train, task: Any, run: Path, progress: Any, report: Reporter) -> None:
    """Show the best epoch, and print where the run is (or, with --json, all of it)."""
    best = progress.history[progress.best_epoch - 1] if progress.best_epoch else {}
    rows = [[name, number(value)] for name, value in best.items() if name in task.metric_names]
    report.show(table(f"best epoch: {progress.best_epoch}", ["metric", "value"], rows))
    report.say(f"model: {run / 'best.safetensors'}, curves: {run / 'curves.png'}")
    if options.json:
        _print_json({"task": task.name, "command": "train", "run": str(run), "best": best})
    else:
        print(run)


def _settings(options: Train) -> Any:
    """Return the engine's part of the flags, the optimizer's defaults filled in."""
    from cvkit.engine.optim import DEFAULTS
    from cvkit.engine.plan import Settings

    chosen = {f.name: getattr(options, f.name) for f in dataclasses.fields(Settings)}
    for name, default in zip(("lr", "weight_decay"), DEFAULTS[options.optimizer], strict=True):
        chosen[name] = default if chosen[name] is None else chosen[name]
    return Settings(**chosen)


def _run_folder(options: Train, task_name: str, fabric: Any) -> Path:
    """Return the run folder; a new one gets its configuration and environment."""
    if options.resume:
        storage.remove_temporaries(options.resume)
        return options.resume
    import yaml

    from cvkit.engine import runtime

    run = None
    if fabric.global_rank == 0:
        run = storage.new_numbered_folder(options.out, f"{task_name}-{options.arch}")
        config = yaml.safe_dump(as_config(options), sort_keys=False)
        storage.write_file(run / "config.yaml", config)
        storage.write_json(run / "environment.json", runtime.environment(fabric))
    return Path(fabric.broadcast(str(run)))


def evaluate(options: Eval, task_name: str) -> int:
    """Measure a model, or score files of predictions, and check the gates."""
    report = Reporter(options.quiet)
    gates = parse_gates(options.fail_under)
    if (options.weights is None) == (options.predictions is None):
        raise UsageError(
            "give either --weights or --predictions",
            code="eval.what",
            hint="--weights RUN --data DIR, or --predictions DIR --truth DIR",
        )
    measure = _evaluate_files if options.predictions else _evaluate_model
    content = measure(options, task_name, report)
    content = {"task": task_name, "command": "eval", "split": options.split, **content}
    failed = failed_gates(gates, content)
    content["gates"] = {"passed": not failed, "failed": failed}
    if "folder" in content:
        storage.write_json(Path(content["folder"]) / "report.json", content)
    if options.json:
        _print_json(content)
    else:
        print_evaluation(content)
    for failure in content["failures"]:
        report.warn(f"not evaluated: {failure['reason']}")
    if failed:
        raise GateFailed("; ".join(failed), code="gate.failed")
    return 3 if content["failures"] else 0


def _report_folder(options: Eval, task_name: str) -> Path | None:
    if not options.files:
        return None
    return storage.new_numbered_folder(options.out, f"{task_name}-eval")


def _evaluate_files(options: Eval, task_name: str, report: Reporter) -> dict[str, Any]:
    scorer = catalog.resolve(catalog.SCORERS[task_name])
    write = catalog.resolve(catalog.REPORTS[task_name])
    found = scorer(options, report)
    folder = _report_folder(options, task_name)
    content = {"predictions": str(options.predictions), "truth": str(options.truth)}
    content |= write(*found, folder) | {"precision": None, "engine": "files"}
    return content | ({"folder": str(folder)} if folder else {})


def _evaluate_model(options: Eval, task_name: str, report: Reporter) -> dict[str, Any]:
    from cvkit.engine import runtime
    from cvkit.engine.evaluate import evaluate as run_evaluation
    from cvkit.tasks.predictor import load_trained

    runtime.keep_memory()
    trained = load_trained(options.weights, options, task_name)
    task = trained.task
    require_known(parse_gates(options.fail_under), task.metric_names)
    task.use_data(options, trained.header, report)
    metric, images = task.metric(), []
    data = task.dataset(options.split, training=False)
    with runtime.stop_signals() as stop, report.progress("evaluating", len(data)) as advance:
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
            on_image=lambda sample, own: images.append((sample.path, own)),
        )
    if not images:
        raise DataError(
            f"none of {len(failures)} images could be evaluated: {failures[0].reason}",
            code=failures[0].code,
        )
    folder = _report_folder(options, task_name)
    write = catalog.resolve(catalog.REPORTS[task_name])
    content = {"weights": str(trained.path), "data": options.data}
    content |= write(metric, task.classes, images, failures, folder)
    content |= {"precision": trained.precision, "engine": "eager"}
    content["inference"] = task.inference_rule()
    return content | ({"folder": str(folder)} if folder else {})


def predict(options: Predict, task_name: str) -> int:
    """Predict images into a folder."""
    from cvkit.data.files import list_inputs
    from cvkit.engine import predict as loop
    from cvkit.engine import runtime
    from cvkit.tasks.predictor import load_trained

    report = Reporter(options.quiet)
    if not options.inputs:
        raise UsageError("no input given", code="inputs.missing", hint="name files or folders")
    if options.resume and options.overwrite:
        raise UsageError("--resume and --overwrite exclude each other", code="out.resume")
    files = list_inputs(options.inputs, without=options.out)
    runtime.keep_memory()
    trained = load_trained(options.weights, options, task_name)
    storage.claim_output_folder(options.out, reuse=options.overwrite or options.resume)
    about = {"model": trained.header["sha256"], "options": as_config(options)}
    journal = loop.Journal(options.out, resume=options.resume, model=about["model"])
    storage.write_json(options.out / "predict.json", about)
    report.say(f"{len(files)} images with {trained.path} ({trained.precision})")
    with runtime.stop_signals() as stop, report.progress("predicting", len(files)) as advance:
        try:
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
        finally:
            journal.close()
    summary = f"{counts.predicted} predicted, {counts.failed} failed, {counts.skipped} skipped"
    report.say(f"{summary}; results in {options.out}")
    if options.json:
        _print_json(
            {"task": task_name, "command": "predict", "out": str(options.out)}
            | {"counts": asdict(counts), "precision": trained.precision, "engine": "eager"}
        )
    else:
        print(options.out)
    return 3 if counts.failed else 0


def models(options: Models) -> int:
    """List architectures and backbones, with sizes computed from the networks themselves."""
    from cvkit.models.build import list_archs, list_backbones

    tasks = [options.task] if options.task else list(catalog.ARCHS)
    archs, backbones = list_archs(tasks), list_backbones()
    if options.json:
        _print_json({"command": "models", "archs": archs, "backbones": backbones})
        return 0
    print_models(archs, backbones)
    return 0


def samples(options: Samples) -> int:
    """Write synthetic scenes as a dataset."""
    from cvkit.data.samples import write_segmentation

    storage.claim_output_folder(options.folder, reuse=False)
    val = max(1, options.count // 5)
    counts = {"train": options.count - val, "val": val}
    write_segmentation(options.folder, counts, options.seed, (options.size, options.size))
    if options.json:
        _print_json({"command": "samples", "folder": str(options.folder), "counts": counts})
    else:
        print(options.folder)
    return 0
