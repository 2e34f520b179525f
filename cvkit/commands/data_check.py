"""The check of a dataset: findings by rule, with their places and remedies."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from cvkit import storage
from cvkit.catalog import nearest
from cvkit.commands.data_flags import require_data_flags
from cvkit.commands.printing import print_json
from cvkit.console import Reporter, print_line
from cvkit.data.rules import RULES
from cvkit.errors import DataError, UsageError
from cvkit.options.data import DataCheck
from cvkit.options.described import differs
from cvkit.texts import counted

FIRST = 5
"""Number of findings per rule that are listed without `--all`."""


def check_data(options: DataCheck) -> int:
    """Check a dataset and print the findings.

    Raises:
        DataError: there are errors; it has the output of `--json`.
    """
    from cvkit.data.findings import chosen

    started = time.monotonic()
    _require_flags(options)
    report = Reporter(options.quiet)
    request = _request(options, report)
    result, model = _found(options, request, report)
    for note in [*result.tables, *request.exclude.notes(result.keys)]:
        report.warn(note)
    findings = chosen(result.findings, options.select, options.ignore)
    if options.fix_list is not None:
        keys = sorted({each.sample for each in findings if each.sample})
        text = "".join(f"{key}\n" for key in keys)
        storage.write_file(options.fix_list, text)
        report.say(f"{options.fix_list}: {counted(len(keys), 'sample')} with findings")
    levels = Counter(each.level for each in findings)
    counts = dict(sorted(Counter(each.rule for each in findings).items()))
    splits = {part.name: len(part.items) for part in result.parts}
    content = {
        "command": "data check",
        "data": str(options.data),
        "truth": request.truth,
        "layout": result.layout,
        "images": sum(splits.values()),
        "splits": splits,
        "errors": levels["error"],
        "warnings": levels["warning"],
        "counts": counts,
        "findings": [each.as_json() for each in findings],
        **model,
        "seconds": round(time.monotonic() - started, 3),
    }
    summary = f"{counted(levels['error'], 'error')}, {counted(levels['warning'], 'warning')}"
    if not options.json:
        shown = ", ".join(f"{name}: {count}" for name, count in splits.items())
        print_line(f"{options.data} ({result.layout} layout), {shown or 'no readable split'}")
        _print_findings(findings, options.all)
        print_line(summary)
    if levels["error"]:
        codes = {each.rule for each in findings if each.level == "error"}
        raise DataError(
            f"{options.data}: {summary}",
            code=codes.pop() if len(codes) == 1 else "data.defects",
            hint="correct them, or leave these samples out with --fix-list and --exclude",
            content=content,
        )
    if options.json:
        print_json(content)
    return 3 if model.get("failures") else 0


def _found(options: DataCheck, request: Any, report: Reporter) -> tuple[Any, dict[str, Any]]:
    """Return what is found in the dataset, and what is said about the model that takes part.

    Raises:
        CvkitError: see `check` and `LabelNoise`.
    """
    from cvkit.data.dataset_check import check

    if options.weights is None:
        return check(request, report), {}

    from cvkit.commands.label_noise import LabelNoise
    from cvkit.engine import runtime

    runtime.keep_memory()
    with runtime.stop_signals() as stop:
        with stop.at_once():
            noise = LabelNoise(options, request.task, stop)
            result = check(request, report)
        if any(each.level == "error" for each in result.findings):
            report.warn("labels are not compared with predictions until the errors are corrected")
        else:
            result.findings += noise.findings([part.name for part in result.parts], report)
    for failure in noise.failures:
        report.warn(f"not predicted: {failure.reason}")
    return result, noise.as_json()


def _require_flags(options: DataCheck) -> None:
    """Check the flags before any file is read.

    Raises:
        UsageError: an unknown rule, a flag without effect, or a list that exists.
    """
    from cvkit.data.findings import parts_of, unknown_rules

    for name in ("select", "ignore"):
        for rule in unknown_rules(parts_of(getattr(options, name))):
            raise UsageError(
                f"--{name} {rule!r} is no rule",
                code="rule.unknown",
                hint=nearest(rule, RULES, "bbox, leak.same_file and the like"),
            )
    if options.weights is None:
        for name in [
            name for name in ("confidence", "device", "batch_size") if differs(options, name)
        ]:
            raise UsageError(
                f"--{name.replace('_', '-')} has no effect without --weights",
                code=f"{name}.idle",
                hint="omit it",
            )
    if options.fix_list is not None and options.fix_list.exists() and not options.overwrite:
        raise UsageError(
            f"--fix-list {options.fix_list} exists",
            code="out.exists",
            hint="add --overwrite to replace it",
        )


def _request(options: DataCheck, report: Reporter) -> Any:
    """Return what the flags ask for.

    Raises:
        UsageError: a flag has no effect on data of the task, or the task is not clear.
    """
    from cvkit.data.checked import Request
    from cvkit.data.exclusion import read_exclusion
    from cvkit.data.formats.recognise import clear_task
    from cvkit.data.masks import MaskMap, parse_mask_map
    from cvkit.options.video import VideoTrain

    task = options.task or clear_task(options.data, options.format, report.say)
    require_data_flags(options, task)
    return Request(
        place=options.data,
        task=task,
        layout=options.format,
        splits=tuple(options.split),
        images=options.images,
        mask_map=parse_mask_map(options.mask_map) if options.mask_map else MaskMap(),
        ignore_index=options.ignore_index,
        clip_frames=VideoTrain.frames,
        most_bits=options.near,
        exclude=read_exclusion(options.exclude),
    )


def _print_findings(findings: Sequence[Any], everything: bool) -> None:
    """Print findings by rule, errors first."""
    groups: dict[tuple[str, str], list[Any]] = {}
    for each in findings:
        groups.setdefault((each.level, each.rule), []).append(each)
    for (level, rule), group in sorted(groups.items()):
        print_line("")
        print_line(f"{level} {rule}: {RULES[rule].about} ({len(group)})")
        listed = group if everything else group[:FIRST]
        for each in listed:
            print_line(f"  {each.message}")
        if len(listed) < len(group):
            print_line(f"  and {len(group) - len(listed)} more, see --all")
        print_line(f"  remedy: {group[0].remedy}")
