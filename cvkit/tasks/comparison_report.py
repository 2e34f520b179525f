"""What bench found, as the object of `--json`."""

import shlex
from dataclasses import asdict
from typing import Any

import torch

from cvkit.engine import bench
from cvkit.engine.bench import Measured
from cvkit.engine.processes import cores
from cvkit.engine.runtime import processor
from cvkit.tasks.candidates import Candidate, available
from cvkit.tasks.comparison import Found, Row, Subject, command
from cvkit.texts import counted

BUSY_LOAD, UNSTEADY = 0.25, 0.1
"""Load average per core, and spread of the rates, from which the machine counts as busy."""


def content_of(subject: Subject, found: Found, load: float) -> dict[str, Any]:
    """Return everything as the object of `--json`.

    Args:
        subject: what was measured.
        found: what was found.
        load: average of the minute before.
    """
    best = subject.task.best
    reference = found.metrics.get(("eager", "fp32"), {}).get(best)
    chosen = bench.recommended(
        {number: _measured(row, found, best) for number, row in enumerate(found.rows)}, reference
    )
    made = subject.weights if subject.arch is None else None
    inputs = subject.inputs if 0 < len(subject.inputs) <= 3 else ["INPUTS"]
    line = None
    if chosen is not None:
        line = shlex.join(["cvkit", *command(subject, found.rows[chosen], made, inputs)])
    return {
        "weights": made,
        "arch": subject.task.network.arch,
        "trained": subject.arch is None,
        "data": subject.data,
        "split": subject.split if subject.data else None,
        "counts": {"measured": len(found.files), "failed": len(found.failures)},
        "noun": subject.task.noun,
        "machine": _machine(subject, load),
        "rounds": bench.ROUNDS,
        "seconds": subject.seconds,
        "rows": [_row(row) for row in found.rows],
        "results": [
            _result(each, found, best, reference) for each in _with_reference(found, subject)
        ],
        "metric": best if reference is not None else None,
        "recommended": line,
        "failures": [asdict(failure) for failure in found.failures],
        "notes": [*found.notes, *_notes(subject, found, load, chosen)],
    }


def _with_reference(found: Found, subject: Subject) -> list[Candidate]:
    """Return the candidates; the reference comes first if the user did not ask for it."""
    asked = subject.reference in found.candidates or not found.metrics
    return found.candidates if asked else [subject.reference, *found.candidates]


def _measured(row: Row, found: Found, best: str) -> Measured:
    pair = row.candidate.engine, row.candidate.precision
    return Measured(
        rate=row.timings.rate,
        metric=found.metrics.get(pair, {}).get(best),
        agreement=found.agreements.get(pair),
    )


def _row(row: Row) -> dict[str, Any]:
    timings = row.timings
    return {
        "engine": row.candidate.engine,
        "precision": row.candidate.precision,
        "batch_size": row.batch_size,
        "per_second": timings.rate,
        "rates": timings.rates,
        "spread": timings.spread,
        "latency_ms": {f"p{n}": 1000 * timings.latency(n) for n in (50, 90, 99)},
        "batches": len(timings.latencies),
        "shares": timings.shares(),
        "peak_memory": row.memory,
    }


def _result(
    candidate: Candidate, found: Found, best: str, reference: float | None
) -> dict[str, Any]:
    pair = candidate.engine, candidate.precision
    metrics = found.metrics.get(pair)
    value = metrics[best] if metrics else None
    running = candidate.running
    return {
        "engine": candidate.engine,
        "precision": candidate.precision,
        "available": running is not None,
        "reason": candidate.reason,
        "ran_on": running.name if running else None,
        "agreement": found.agreements.get(pair),
        "metrics": metrics,
        "difference": None if value is None or reference is None else value - reference,
    }


def _machine(subject: Subject, load: float) -> dict[str, Any]:
    return {
        "processor": processor(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "device": str(available(subject.reference).fabric.device),
        "torch": torch.__version__,
        "load_before": load,
    }


def _notes(subject: Subject, found: Found, load: float, chosen: int | None) -> list[str]:
    """Return what limits the numbers."""
    notes = []
    if load > BUSY_LOAD * cores():
        notes.append(
            f"the machine was busy before the measurement: load average {load:.1f} on "
            f"{counted(cores(), 'core')}"
        )
    spread = max(row.timings.spread for row in found.rows)
    if spread > UNSTEADY:
        notes.append(
            f"the rates of equal work differed by up to {spread:.0%}: the machine was busy, or "
            "--seconds is too short"
        )
    for candidate in found.candidates:
        if candidate.running:
            notes += [f"{candidate.precision}: {note}" for note in candidate.running.notes]
    if subject.arch is not None:
        notes.append(f"{subject.arch} is untrained: only its speed means something")
    elif not subject.inputs and subject.labelled is None:
        notes.append("built-in samples were measured; other images may take more or less time")
    if chosen is None:
        notes.append("nothing that was measured gives the results of eager layers in fp32")
    return notes
