"""Find the parts of inputs at which channels of a layer are largest."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from cvkit import storage
from cvkit.commands.looking import held_folder, open_model
from cvkit.commands.predict_inputs import count_inputs
from cvkit.commands.printing import print_json
from cvkit.config import as_config
from cvkit.console import Reporter, print_line
from cvkit.errors import DataError, UsageError
from cvkit.options.explain import PATCHES, Explain
from cvkit.texts import counted

if TYPE_CHECKING:
    from pathlib import Path

    from cvkit.commands.looking import Opened
    from cvkit.engine.runtime import StopSignal
    from cvkit.explain.encoding import Encoder

INTERRUPTED = "interrupted; nothing is written"
CHANNELS = 8
"""Number of channels by default."""


def find_patches(options: Explain) -> int:
    """Write a contact sheet for each channel, and a line for each of its parts."""
    from cvkit.engine import runtime

    report = Reporter(options.quiet)
    runtime.keep_memory()
    with runtime.stop_signals() as stop:
        with stop.at_once():
            flags: dict[str, Any] = {"device": options.device, "offline": options.offline}
            opened = open_model(options, "explain", report, precision="fp32", **flags)
            encoder = _encoder(options, opened, stop)
            channels = parse_channels(options.channels, encoder.layer.width, encoder.layer.name)
        with held_folder(options, opened.trained.task.name, "explain", report) as out:
            content = _run(options, opened, encoder, channels, out, report, stop)
    counts = content["counts"]
    if options.json:
        print_json(content)
    else:
        print_line(content["out"])
    report.say(f"{counts['explained']} read, {counts['failed']} failed; see {out / PATCHES}")
    return 3 if counts["failed"] else 0


def _encoder(options: Explain, opened: Opened, stop: StopSignal) -> Encoder:
    """Return the network with the layer that is asked for, or the last one with the coarsest map.

    Raises:
        UsageError: there is no such layer.
        DataError: no input can be read.
    """
    from cvkit.explain.encoding import (
        Encoder,
        choose_maps,
        choose_output,
        first_batch,
        outputs_of,
    )

    trained, explained = opened.trained, opened.explained
    batch = first_batch(trained.task.source(opened.found.images), trained.fabric.device)
    if batch is None:
        raise DataError("no input can be read", code="inputs.unreadable", hint="give other files")
    outputs = outputs_of(trained.model, explained, batch)
    shown = [each for each in outputs if each.places]
    if options.layer is not None or not shown:
        layer = choose_maps(outputs, options.layer or "")
    else:
        layer = choose_output(trained.model, explained, shown, None)
    return Encoder(
        model=trained.model,
        explained=explained,
        fabric=trained.fabric,
        layer=layer,
        batch_size=options.batch_size,
        workers=trained.workers,
        pause=lambda: stop.raise_if_set(INTERRUPTED),
    )


def parse_channels(text: str, width: int, layer: str) -> list[int]:
    """Return the channels that `--channels` names, each once; some of all by default.

    Args:
        text: numbers and ranges, separated by commas.
        width: number of channels of the layer.
        layer: its name.

    Raises:
        UsageError: something else, or a channel that the layer does not have.
    """
    from cvkit.explain.extract import evenly

    if not text:
        return evenly(width, CHANNELS)
    found: list[int] = []
    for part in text.replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        if not (first.isdecimal() and (last.isdecimal() or not dash)):
            raise UsageError(
                f"--channels {text!r}: {part!r} is neither a number nor a range",
                code="channels.syntax",
                hint="such as 0,5,8-11",
            )
        numbers = range(int(first), int(last or first) + 1)
        if not numbers or numbers[-1] >= width:
            raise UsageError(
                f"--channels {text!r}: layer {layer} has no {part!r}",
                code="channels.unknown",
                hint=f"its channels are 0 to {width - 1}",
            )
        found += numbers
    return list(dict.fromkeys(found))


def _run(
    options: Explain,
    opened: Opened,
    encoder: Encoder,
    channels: list[int],
    out: Path,
    report: Reporter,
    stop: StopSignal,
) -> dict[str, Any]:
    """Find the parts and write them; return the content of explain.json."""
    from cvkit.explain.patch_sheets import write_patches
    from cvkit.explain.patches import strongest
    from cvkit.output.records import write_lines
    from cvkit.tasks.explained import explainable_of

    trained, found = opened.trained, opened.found
    words = f"{counted(len(channels), 'channel')} of {encoder.layer.name}"
    report.say(f"{count_inputs(found, trained.task.noun)} with {trained.path}: {words}")
    data = trained.task.source(found.images)
    with report.progress("looking", len(data)) as advance:
        made, failed = strongest(encoder, data, channels, options.top, advance)
    failures = [*found.failures, *failed]
    with stop.at_once(INTERRUPTED):
        write_lines(out / "failures.jsonl", map(asdict, failures))
        with report.progress("drawing", len(channels)) as advance:
            explain = partial(explainable_of, trained.task)
            write_patches(out, explain, encoder, data, channels, made, advance)
        content = {
            "task": trained.task.name,
            "command": "explain",
            "out": str(out),
            "weights": str(trained.path),
            "model": trained.header["sha256"],
            "methods": {PATCHES: {"channels": channels}},
            "layers": {PATCHES: encoder.layer.name},
            "counts": {
                "explained": len(data) - len(failed),
                "failed": len(failures),
            },
            "options": as_config(options),
        }
        storage.write_json(out / "explain.json", content)
    return content
