"""Measure a model on this machine, on every engine and in every precision."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvkit import storage
from cvkit.catalog import ARCHS, known_entry, listed_names, nearest
from cvkit.commands.printing import print_bench, print_json
from cvkit.config import NOT_STORED, from_config, from_text, parse_setting
from cvkit.console import Reporter
from cvkit.errors import UsageError
from cvkit.options.base import ENGINES
from cvkit.options.job import PRECISIONS, AnyCommand, Command, with_given
from cvkit.options.tools import Bench
from cvkit.options.tree import task_options
from cvkit.tasks.inference_flags import require_effect

if TYPE_CHECKING:
    from cvkit.structures import Failure
    from cvkit.tasks.comparison import Subject

TAKEN = frozenset(
    {"weights", "arch", "data", "split", "inputs", "predictions", "truth", "engine", "precision"}
    | {"batch_size", "device", "offline", "out", "overwrite", "contact_sheet", "files"}
    | {"fail_under", "max_failures"}
)
"""Flags of the measured commands that the flags of bench set, or that mean nothing here."""

BY_DEFAULT = tuple(name for name in ENGINES if name not in ("auto", "compile"))
"""Engines that are measured if none are named; compiling takes a minute per network and size."""


def bench(options: Bench) -> int:
    """Measure a model and print, or write, what was found."""
    from cvkit.engine import runtime
    from cvkit.tasks import comparison
    from cvkit.tasks.comparison_report import content_of

    plan, report = _plan(options), Reporter(options.quiet)
    runtime.keep_memory()
    load = os.getloadavg()[0]
    with (
        tempfile.TemporaryDirectory(prefix="cvkit-bench-") as place,
        runtime.stop_signals() as stop,
        stop.at_once("interrupted; nothing was written"),
    ):
        subject = _subject(options, plan, Path(place), report)
        found = comparison.compare(subject, report)
        if options.memory:
            comparison.measure_memory(subject, found, report)
        comparison.evaluate(subject, found, report)
    content = {"task": options.task, "command": "bench"} | content_of(subject, found, load)
    for note in content["notes"]:
        report.warn(note)
    if options.out:
        storage.write_json(options.out, content)
    if options.json:
        print_json(content)
    else:
        print_bench(content)
    return 3 if found.failures else 0


def _subject(options: Bench, plan: _Plan, place: Path, report: Reporter) -> Subject:
    """Load the model on each engine, and find the inputs and the labelled data."""
    from cvkit.data.files import list_inputs
    from cvkit.tasks import candidates
    from cvkit.tasks.comparison import Subject

    name, given = options.task, plan.settings
    weights = options.weights
    if options.arch is not None:
        train = _made(task_options(name, "train"), given["train"], arch=options.arch)
        weights = str(candidates.untrained_model(train, name, place, Reporter(quiet=True)))
    elif weights is None:
        weights = candidates.shipped_model(name)
    shared = {"weights": weights, "device": options.device, "offline": options.offline}
    shared |= {"quiet": options.quiet}
    predict = _made(task_options(name, "predict"), given["predict"], **shared)
    require_effect(predict)
    reference = candidates.load_candidate("eager", "fp32", predict, name)
    trained = candidates.available(reference)
    labelled = None
    if options.data is not None:
        chosen = shared | {"data": options.data, "split": options.split}
        asked = _made(task_options(name, "eval"), given["eval"], **chosen)
        require_effect(asked)
        labelled = candidates.labelled(asked, trained, report)
    failures: list[Failure] = []
    if options.inputs:
        files = list_inputs(options.inputs, walk=trained.task.walk, lost=failures)
    else:
        files = (
            candidates.files_of(labelled[1]) if labelled else candidates.sample_files(trained.task)
        )
    trained.task.check_inputs(sorted(file.key for file in files), report)
    return Subject(
        options=predict,
        place=place,
        weights=None if options.arch else weights,
        arch=options.arch,
        inputs=options.inputs,
        data=options.data,
        split=options.split,
        flags=[word for pair in given["predict"].items() for word in _typed(*pair)],
        seconds=options.seconds,
        batch_sizes=plan.batch_sizes,
        pairs=[(engine, precision) for engine in plan.engines for precision in plan.precisions],
        reference=reference,
        labelled=labelled,
        files=files,
        lost=failures,
    )


def _made(kind: type[AnyCommand], settings: dict[str, Any], **values: Any) -> AnyCommand:
    return with_given(kind(**values | settings), settings)


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What is measured.

    Attributes:
        engines: values of `--engine`, without auto.
        precisions: values of `--precision`, without auto.
        batch_sizes: in ascending order.
        settings: values of `--set` by verb.
    """

    engines: tuple[str, ...]
    precisions: tuple[str, ...]
    batch_sizes: tuple[int, ...]
    settings: dict[str, dict[str, Any]]


def _plan(options: Bench) -> _Plan:
    """Check what can be checked before anything is read.

    Raises:
        UsageError: flags that cannot be combined, an unknown name, or a file that is there.
    """
    if options.arch is not None:
        known_entry(ARCHS[options.task], options.arch, "arch")
    for name in ("weights", "data") if options.arch else ():
        if getattr(options, name) is not None:
            raise UsageError(
                f"--{name} has no effect with --arch, whose network is untrained",
                code=f"{name}.idle",
                hint="omit one of them",
            )
    if options.data is None and "split" in options.given:
        raise UsageError(
            "--split has no effect without --data", code="split.idle", hint="give --data"
        )
    _require_out(options)
    sizes = options.batch_sizes.split(",")
    if not all(size.strip().isdecimal() and int(size) for size in sizes):
        raise UsageError(
            f"--batch-sizes {options.batch_sizes!r} is not a list of sizes",
            code="batch_sizes.syntax",
            hint="such as 1,8",
        )
    return _Plan(
        engines=listed_names(options.engines or ",".join(BY_DEFAULT), ENGINES[1:], "--engines"),
        precisions=listed_names(options.precisions, PRECISIONS[1:], "--precisions"),
        batch_sizes=tuple(sorted({int(size) for size in sizes})),
        settings=_settings(options),
    )


def _require_out(options: Bench) -> None:
    """Check that the results can be written at the end.

    Raises:
        UsageError: `--out` is no new .json file in a folder that exists.
    """
    if options.out is None:
        if options.overwrite:
            raise UsageError(
                "--overwrite has no effect without --out", code="overwrite.idle", hint="omit it"
            )
        return
    if options.out.suffix != ".json":
        raise UsageError(
            f"--out {options.out} does not end with .json", code="out.suffix", hint="bench.json"
        )
    if options.out.exists() and not options.overwrite:
        raise UsageError(
            f"--out {options.out} exists", code="out.exists", hint="add --overwrite to replace it"
        )
    if not options.out.parent.is_dir():
        raise UsageError(
            f"--out {options.out}: there is no folder {options.out.parent}",
            code="out.folder",
            hint="create it",
        )
    storage.require_writable(options.out.parent)


def _settings(options: Bench) -> dict[str, dict[str, Any]]:
    """Return the values of `--set` by verb: each one that has the flag gets it.

    Raises:
        UsageError: a value is malformed, or its flag is unknown or set by bench.
    """
    verbs: dict[str, type[Command]] = {"predict": task_options(options.task, "predict")}
    if options.data is not None:
        verbs["eval"] = task_options(options.task, "eval")
    if options.arch is not None:
        verbs["train"] = task_options(options.task, "train")
    content: dict[str, dict[str, Any]] = {verb: {} for verb in verbs}
    for text in options.set:
        name, value = parse_setting(text)
        if name in TAKEN | NOT_STORED:
            raise UsageError(f"--set {name}: this flag is set by bench", code="set.taken")
        having = [verb for verb, kind in verbs.items() if name in _fields(kind)]
        if not having:
            known = {field for kind in verbs.values() for field in _fields(kind)}
            raise UsageError(
                f"--set: {' and '.join(verbs)} have no flag {name!r}",
                code="set.unknown",
                hint=nearest(name, known - TAKEN - NOT_STORED),
            )
        for verb in having:
            content[verb][name] = from_text(verbs[verb], name, value)
    return {verb: from_config(verbs[verb], values, "--set") for verb, values in content.items()}


def _fields(options_class: type[Command]) -> set[str]:
    return {each.name for each in dataclasses.fields(options_class)}


def _typed(name: str, value: object) -> list[str]:
    """Return a flag with its value as typed."""
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [flag if value else flag.replace("--", "--no-", 1)]
    values = value if isinstance(value, list) else [value]
    return [word for each in values for word in (flag, str(each))]
