"""Write a model for another program, and prove that it computes the same."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvkit import storage
from cvkit.commands.export_flags import check_flags, failed_path, report_path
from cvkit.commands.printing import print_export, print_json
from cvkit.console import Reporter
from cvkit.errors import DataError, GateFailed
from cvkit.options.base import RUNS
from cvkit.options.export import Export
from cvkit.options.job import with_given
from cvkit.options.tree import task_options
from cvkit.storage import temporary_beside

if TYPE_CHECKING:
    from torch import Tensor

    from cvkit.data.files import InputFile
    from cvkit.export.forms import Form
    from cvkit.export.proof import Verdict
    from cvkit.export.served import ServedFile
    from cvkit.export.signature import Signature
    from cvkit.structures import Batch, Failure
    from cvkit.tasks.contract import Dataset, Task
    from cvkit.tasks.trained import Trained

MAX_DROP = {"fp32": 0.001, "fp16": 0.01, "int8": 0.02}
"""How much lower the metric of a file may be, by its precision."""
AT_ONCE = 4
"""Samples per batch of a comparison."""


def export(options: Export) -> int:
    """Write a file, compare it with the network, and print what was found."""
    from cvkit.engine import runtime
    from cvkit.export.formats import FORMATS, require_package

    kind = FORMATS[options.format]
    check_flags(options, kind)
    require_package(kind, f"--format {options.format}")
    report = Reporter(options.quiet)
    runtime.keep_memory()
    with (
        runtime.stop_signals() as stop,
        stop.at_once("interrupted; nothing was written"),
    ):
        source = _source(options, report)
        content = _written(options, source, report)
    for failure in content["failures"]:
        report.warn(f"not compared: {failure['reason']}")
    if content["reasons"]:
        raise GateFailed(
            f"{content['file']}: {'; '.join(content['reasons'])}",
            code="export.differs",
            hint=f"the numbers are in {content['report']}",
            content=content,
        )
    if options.json:
        print_json(content)
    else:
        print_export(content)
    return 3 if content["failures"] else 0


@dataclass(frozen=True, kw_only=True)
class _Source:
    """What is exported, and what it is compared on.

    Attributes:
        trained: the model.
        form: of its network.
        axes: that are left open.
        batches: of samples to compare.
        labelled: task and samples of `--data`; None without it.
        calibration: batches of the train split, for int8.
        failures: samples that could not be read.
    """

    trained: Trained
    form: Form
    axes: tuple[str, ...]
    batches: list[Batch]
    labelled: tuple[Task, Dataset] | None
    calibration: list[Batch]
    failures: list[Failure]


def _source(options: Export, report: Reporter) -> _Source:
    """Load the model and read the samples.

    Raises:
        UsageError: this network cannot be exported so.
        DataError: no sample can be read.
    """
    from cvkit.export.table import form_of, open_axes
    from cvkit.tasks import candidates
    from cvkit.tasks.naming import task_of
    from cvkit.tasks.trained import load_trained

    name = task_of(str(options.weights), options.task)
    shared: dict[str, Any] = {
        "weights": options.weights,
        "offline": options.offline,
        "quiet": options.quiet,
    }
    shared |= {"device": "cpu", "precision": "fp32", "workers": 0}
    trained = load_trained(options.weights, task_options(name, "predict")(**shared), name)
    task = trained.task
    form = form_of(trained.task, trained.model, options.format)
    axes = open_axes(form, options.dynamic, task.input_shape, trained.model)
    labelled: tuple[Task, Dataset] | None = None
    calibration: list[Batch] = []
    if options.data is not None:
        labelled = _labelled(options, trained, shared, options.split, report)
        files = candidates.files_of(labelled[1])
    else:
        files = candidates.sample_files(task)
    if options.int8:
        _, train = _labelled(options, trained, shared, "train", report)
        calibration, _ = _read(task, candidates.files_of(train), options.calibrate, report)
    batches, failures = _read(task, files, options.images, report)
    if not batches or (options.int8 and not calibration):
        raise DataError(
            f"no input can be read: {failures[0].reason}",
            code=failures[0].code,
            hint="give other --data",
        )
    return _Source(
        trained=trained,
        form=form,
        axes=axes,
        batches=batches,
        labelled=labelled,
        calibration=calibration,
        failures=failures,
    )


def _labelled(
    options: Export, trained: Trained, shared: dict[str, Any], split: str, report: Reporter
) -> tuple[Task, Dataset]:
    """Return the task and the samples of a split of `--data`."""
    from cvkit.tasks import candidates

    kind = task_options(trained.task.name, "eval")
    asked = kind(data=options.data, split=split, **shared)
    return candidates.labelled(with_given(asked, ("data", "split")), trained, report)


def _read(
    task: Task, files: Sequence[InputFile], count: int, report: Reporter
) -> tuple[list[Batch], list[Failure]]:
    """Read some of the files, evenly spaced."""
    from cvkit.engine.bench import evenly
    from cvkit.engine.loader import in_order, load
    from cvkit.structures import Batch, Failure

    chosen = evenly(files, count)
    task.check_inputs(sorted(file.key for file in chosen), report)
    with load(task.source(chosen), in_order(len(chosen), AT_ONCE), workers=0) as loaded:
        items = [item for group in loaded for item in group]
    batches = [item for item in items if isinstance(item, Batch)]
    return batches, [item for item in items if isinstance(item, Failure)]


def _written(options: Export, source: _Source, report: Reporter) -> dict[str, Any]:
    """Write the file under a temporary name, compare it, and give it its name.

    Returns:
        The content of the report.
    """
    from cvkit.export.formats import FORMATS

    kind, trained = FORMATS[options.format], source.trained
    out = options.out
    if out is None:
        folder = storage.new_numbered_folder(RUNS, f"{trained.task.name}-export")
        out = folder / f"{trained.task.network.arch}{kind.suffix}"
    place = temporary_beside(out)
    with storage.machine_errors(out):
        storage.remove_temporaries(out.parent)
        place.mkdir()
        try:
            passing = place / out.name
            served, signature = _converted(options, source, passing, report)
            verdict = _compared(source, served, report)
            metric = _metric(options, source, served, report)
            reasons = [*verdict.reasons, *metric.pop("reasons", [])]
            files = {}
            for path in kind.files(passing):
                final = out.parent / path.name
                final = failed_path(final) if reasons else final
                os.replace(path, final)
                files[str(final)] = final.stat().st_size
            if not reasons:  # what an earlier attempt left
                for path in kind.files(out):
                    failed_path(path).unlink(missing_ok=True)
                report_path(failed_path(out)).unlink(missing_ok=True)
            storage.fsync_folder(out.parent)
        finally:
            shutil.rmtree(place, ignore_errors=True)
            if options.out is None:  # a new folder, which is empty if nothing came of it
                with contextlib.suppress(OSError):
                    out.parent.rmdir()
    content = _content(options, source, signature, verdict)
    content |= {"file": next(iter(files)), "files": files, "bytes": sum(files.values())}
    content |= {"metric": metric or None, "passed": not reasons, "reasons": reasons}
    content["failures"] = [asdict(each) for each in source.failures]
    about = report_path(failed_path(out) if reasons else out)
    content["report"] = str(about)
    storage.write_json(about, content)
    return content


def _converted(
    options: Export, source: _Source, path: Path, report: Reporter
) -> tuple[ServedFile, Signature]:
    """Write the file and open it again.

    Raises:
        UsageError: the format cannot hold this network.
    """
    from cvkit.export.formats import FORMATS, convert, read_header
    from cvkit.export.served import ServedFile
    from cvkit.export.signature import Signature

    report.say(f"converting to {options.format}")
    header = {name: value for name, value in source.trained.header.items() if name != "sha256"}
    header["source_sha256"] = source.trained.header["sha256"]
    form, example = source.form, _example(source)
    precision = "int8" if options.int8 else "fp16" if options.half else "fp32"
    opset = FORMATS[options.format].opset
    told = Signature.of(form, example, source.axes, options.format, opset, precision)
    calibration = _inputs(source, source.calibration)
    convert(path, form, example, told, header, calibration)
    _, signature = read_header(path)
    return ServedFile.load(path, signature), signature


def _inputs(source: _Source, batches: list[Batch]) -> list[tuple[Tensor, ...]]:
    """Return the inputs of batches, in the size of the file if that is fixed."""
    from cvkit.export.forms import SIZE, resized

    found = [each for batch in batches for each in source.form.samples(batch)]
    shape = source.trained.task.input_shape
    if SIZE in source.axes or not found:
        return found
    return [resized(each, shape[-2:] if shape else found[0][0].shape[-2:]) for each in found]


def _example(source: _Source) -> tuple[Tensor, ...]:
    """Return inputs by which the network is traced: two samples, or one if their number is fixed.

    A number of one would be taken for a constant.
    """
    from cvkit.export.forms import BATCH

    first = _inputs(source, source.batches)[0]
    if not source.form.stacks:
        return first
    (samples,) = first
    return (samples[[0, min(1, len(samples) - 1)]] if BATCH in source.axes else samples[:1],)


def _compared(source: _Source, served: ServedFile, report: Reporter) -> Verdict:
    """Run the file and the network on all samples, in several sizes and numbers."""
    from cvkit.export.forms import BATCH, SIZE
    from cvkit.export.proof import compare, varied

    network, form = source.trained.model, source.form
    inputs = _inputs(source, source.batches)
    settings = {"sizes": SIZE in source.axes, "batches": form.stacks and BATCH in source.axes}
    groups = [*varied(inputs[0], network, form, **settings), *inputs[1:]]
    with report.progress("comparing", len(groups)) as advance:
        return compare(served, form, network, groups, advance)


def _metric(
    options: Export, source: _Source, served: ServedFile, report: Reporter
) -> dict[str, Any]:
    """Measure the metrics of the file and the network on `--data`; empty without it."""
    from cvkit.engine.evaluate import evaluate
    from cvkit.engine.runtime import StopSignal
    from cvkit.export.networks import SERVED

    if source.labelled is None:
        return {}
    task, data = source.labelled
    network = SERVED[task.name](served, source.form.scale)
    found = []
    with report.progress("evaluating", 2 * len(data)) as advance:
        for number, model in enumerate((source.trained.model, network)):
            metric = task.metric()
            evaluate(
                *(task, model, data, source.trained.fabric),
                metric=metric,
                batch_size=AT_ONCE,
                workers=source.trained.workers,
                stop=StopSignal(),
                advance=lambda done, note="", n=number: advance(n * len(data) + done, note),
            )
            found.append(metric.compute())
    expected, measured = found[0].get(task.best), found[1].get(task.best)
    limit = options.max_drop
    if limit is None:
        limit = MAX_DROP[served.signature.precision]
    content: dict[str, Any] = {"name": task.best, "network": expected, "file": measured}
    content |= {"data": options.data, "split": options.split, "samples": len(data)}
    content |= {"max_drop": limit, "all": {"network": found[0], "file": found[1]}}
    drop = None if expected is None or measured is None else expected - measured
    content["drop"] = drop
    if drop is not None and not drop <= limit:
        content["reasons"] = [
            f"{task.best} is {measured:.4f} instead of {expected:.4f}, which is lower by more "
            f"than {limit:g}"
        ]
    return content


def _content(
    options: Export, source: _Source, signature: Signature, verdict: Verdict
) -> dict[str, Any]:
    from cvkit.export.formats import FORMATS

    kind, trained = FORMATS[options.format], source.trained
    content: dict[str, Any] = {"task": trained.task.name, "command": "export"}
    content |= {"weights": str(trained.path), "model": trained.header["sha256"]}
    content |= {"arch": trained.task.network.arch, **signature.as_json()}
    content |= {"dynamic": list(source.axes), "runtime": kind.runtime}
    packages = ("torch", *kind.packages)
    content["versions"] = {name: importlib.metadata.version(name) for name in packages}
    return content | {"data": options.data or "samples", "proof": verdict.as_json()}
