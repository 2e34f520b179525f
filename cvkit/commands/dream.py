"""Make images that a part of a network likes best."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvkit import storage
from cvkit.catalog import nearest
from cvkit.commands.crafting import check_out, earlier_results, gradient_model, results_folder
from cvkit.commands.predict_inputs import find_inputs
from cvkit.commands.printing import print_json
from cvkit.config import as_config
from cvkit.console import Reporter, number, print_line, print_table
from cvkit.errors import DataError, UsageError
from cvkit.options.described import differs
from cvkit.options.dream import Dream

if TYPE_CHECKING:
    import torch

    from cvkit.console import Advance
    from cvkit.crafting.dream import Wish
    from cvkit.engine.runtime import StopSignal
    from cvkit.ops.ascent import Settings
    from cvkit.structures import Failure
    from cvkit.tasks.trained import Trained

INTERRUPTED = "interrupted; everything before is written"
SHEET = "dreams.png"
LONGEST = 512
"""Longer side of photos, if no size is given."""
NOISE_SIDE = 256
"""Side of an image that grows out of noise, for networks without a size of their own."""
STEPS = {False: 128, True: 20}
OCTAVES = {False: 1, True: 4}
RATES = {"pixels": 0.01, "fourier": 0.05}
"""Defaults: by whether there are photos, and by the space."""


def dream(options: Dream) -> int:
    """Make images, and print how far the number rose."""
    from cvkit.engine import runtime

    made = _settings(options)
    report = Reporter(options.quiet)
    runtime.keep_memory()
    with runtime.stop_signals() as stop:
        with stop.at_once():
            ready = _ready(options, made, report)
        with results_folder(options, f"{ready.trained.task.name}-dream", report) as out:
            rows = _run(options, ready, made, out, report, stop)
            content = _content(options, ready, out, rows)
            storage.write_json(out / "dream.json", content)
    return _tell(options, content, ready, report)


def _settings(options: Dream) -> Settings:
    """Return how the images climb.

    Raises:
        UsageError: flags that cannot be combined.
    """
    from cvkit.ops.ascent import Settings

    if options.target and (options.layer is not None or options.channel):
        raise UsageError(
            "--target and --layer cannot be combined",
            code="target.combined",
            hint="one image shows one of them",
        )
    if not (options.target or options.layer or options.inputs):
        raise UsageError(
            "there is nothing to dream of",
            code="target.missing",
            hint="--target CLASS, --target all, or --layer NAME [--channel N]",
        )
    photos = bool(options.inputs)
    octaves = options.octaves or OCTAVES[photos]
    if octaves == 1 and differs(options, "octave_scale"):
        raise UsageError(
            "--octave-scale has no effect with one octave",
            code="octave_scale.idle",
            hint="--octaves 4",
        )
    check_out(options, options.inputs)
    space = options.space
    if space == "auto":
        space = "pixels" if photos else "fourier"
    return Settings(
        space=space,
        steps=options.steps or STEPS[photos],
        rate=options.rate or RATES[space],
        jitter=options.jitter,
        blur=options.blur,
        tv=options.tv,
        decay=options.decay,
        octaves=octaves,
        octave_scale=options.octave_scale,
    )


@dataclass(frozen=True, kw_only=True)
class _Ready:
    """Everything that is checked before the first step.

    Attributes:
        trained: the model.
        wishes: what is raised.
        starts: name, photo and size of each image; without a photo it grows out of noise.
        failures: photos that cannot be read.
    """

    trained: Trained
    wishes: Sequence[Wish]
    starts: Sequence[tuple[str, torch.Tensor | None, tuple[int, ...]]]
    failures: Sequence[Failure]


def _ready(options: Dream, made: Settings, report: Reporter) -> _Ready:
    """Load the model, read the photos and choose what is raised.

    Raises:
        UsageError: this network or this task does not allow it.
    """
    from cvkit.ops.ascent import octave_sizes

    trained, predict = gradient_model(options, options.inputs)
    task = trained.task
    if options.inputs and task.dimensions != 3:
        raise UsageError(
            f"models for {task.name} dream without inputs", code="inputs.task", hint="omit them"
        )
    failures: list[Failure] = []
    starts: list[tuple[str, Any, tuple[int, ...]]] = []
    if options.inputs:
        folders = earlier_results(options, f"{task.name}-dream", options.inputs)
        found = find_inputs(predict, task, folders, report)
        failures += found.failures
        starts += _photos(found.images, options.size or 0, failures)
    else:
        starts.append(("", None, _noise_shape(task.input_shape, options.size)))
    shapes = {
        (*shape[:-2], *size)
        for _, _, shape in starts or [("", None, _noise_shape(task.input_shape, 0))]
        for size in octave_sizes((shape[-2], shape[-1]), made.octaves, made.octave_scale)
    }
    wishes = _wishes(options, trained, sorted(shapes, reverse=True))
    return _Ready(trained=trained, wishes=wishes, starts=starts, failures=failures)


def _photos(
    files: Sequence[Any], size: int, failures: list[Failure]
) -> Iterator[tuple[str, torch.Tensor, tuple[int, ...]]]:
    """Yield name, pixels in [0, 1] and shape of each photo; what cannot be read has failed."""
    import torch

    from cvkit.data.given import pixels_of
    from cvkit.data.resize import resize_image
    from cvkit.output.names import output_names
    from cvkit.structures import Failure

    names = output_names([file.key for file in files])
    for file in files:
        try:
            picture = pixels_of(file)
        except DataError as error:
            failures.append(Failure(file.key, error.code, str(error)))
            continue
        longer = max(picture.shape[:2])
        factor = (size or min(longer, LONGEST)) / longer
        height, width = (max(16, round(side * factor)) for side in picture.shape[:2])
        image = torch.from_numpy(resize_image(picture, (height, width))).permute(2, 0, 1)
        yield names[file.key], image[None].float() / 255, (1, 3, height, width)


def _noise_shape(wanted: tuple[int, ...] | None, size: int) -> tuple[int, ...]:
    """Return the shape of an image that grows out of noise."""
    *lead, height, width = wanted or (3, NOISE_SIDE, NOISE_SIDE)
    factor = size / max(height, width) if size else 1
    return (1, *lead, max(16, round(height * factor)), max(16, round(width * factor)))


def _wishes(options: Dream, trained: Trained, shapes: Sequence[tuple[int, ...]]) -> list[Wish]:
    """Return what is raised, tried on images of all sizes, the largest first.

    Raises:
        UsageError: no such class, layer or channel, or a size that the network cannot take.
    """
    import torch

    wishes: list[Wish] = []
    for shape in shapes:
        image = torch.full(shape, 0.5, device=trained.fabric.device)
        try:
            wishes = wishes or _named_wishes(options, trained, image)
            with torch.no_grad():
                wishes[0].objective(image)
        except (RuntimeError, AssertionError, ValueError) as error:
            reason = " ".join(str(error).split())[:120]
            size = "x".join(map(str, shape[:-3:-1]))
            raise UsageError(
                f"the network cannot take images of {size}: {reason}",
                code="size.unsupported",
                hint="choose another --size, or --octaves 1",
            ) from error
    return wishes


def _named_wishes(options: Dream, trained: Trained, image: torch.Tensor) -> list[Wish]:
    from cvkit.crafting import dream as dreams
    from cvkit.explain.layers import modules_of
    from cvkit.tasks.attackable import scores_of
    from cvkit.tasks.explained import explainable_of

    task, model = trained.task, trained.model
    if options.target:
        names = task.classes.names
        whole = options.target == "all" or options.target in names
        asked = names if options.target == "all" else options.target.split(",")
        asked = [options.target] if options.target in names and whole else asked
        for name in asked:
            if name not in names:
                raise UsageError(
                    f"--target {name!r} is no class of the model",
                    code="target.unknown",
                    hint=nearest(name, names, ", ".join(("all", *names))),
                )
        scores = scores_of(task, model)
        scores = dreams.clip_scores(scores) if image.ndim == 5 else scores
        return [dreams.class_wish(scores, name, names.index(name)) for name in asked]
    made, explained = task.preprocessing, explainable_of(task, model)  # type: ignore[attr-defined]
    maps = dreams.Maps(model, explained, made.mean, made.std)
    channels = maps.channels(image)
    layer = dreams.chosen_layer(channels, modules_of(model, explained.body), options.layer)
    chosen = dreams.chosen_channels(options.channel, layer, channels[layer])
    return [maps.wish(layer, each) for each in chosen]


def _run(
    options: Dream, ready: _Ready, made: Settings, out: Path, report: Reporter, stop: StopSignal
) -> list[dict[str, Any]]:
    """Make the images; return a row for each."""
    from cvkit.crafting.dream import Film, write_dream
    from cvkit.ops.ascent import octave_sizes

    jobs = [*itertools.product(ready.starts, ready.wishes)]
    counts = [
        made.steps * len(octave_sizes((shape[-2], shape[-1]), made.octaves, made.octave_scale))
        for (_, _, shape), _ in jobs
    ]
    words = ", ".join(wish.name for wish in ready.wishes[:8])
    report.say(f"{len(jobs)} dreams of {words} with {ready.trained.path}, {made.steps} steps")
    rows: list[dict[str, Any]] = []
    done = 0
    with report.progress("dreaming", sum(counts)) as advance:
        for place, (((name, start, shape), wish), count) in enumerate(
            zip(jobs, counts, strict=True)
        ):
            film = Film(count) if options.gif else None
            seen = _Seen(film, advance, stop, done)
            device = ready.trained.fabric.device
            begun = None if start is None else start.to(device)
            image = _one(wish, begun, shape, made, (options.seed, place), seen, device)
            done += count
            safe = wish.name.replace("/", "-")
            stem = f"{name}-{safe}" if name else safe
            row = {"input": name or None, "wish": wish.name, "start": seen.first, "end": seen.last}
            rows.append(row | write_dream(out, stem, image, film))
    if len(rows) > 1:
        _write_sheet(out, rows)
    return rows


@dataclass
class _Seen:
    """What is seen of an ascent, and what ends it early."""

    film: Any
    advance: Advance
    stop: StopSignal
    done: int
    first: float | None = None
    last: float | None = None

    def step(self, image: torch.Tensor, value: float) -> None:
        """Note a step."""
        self.first = value if self.first is None else self.first
        self.last, self.done = value, self.done + 1
        if self.film is not None:
            self.film.see(image)
        self.advance(self.done, f"{value:.3g}")
        self.stop.raise_if_set(INTERRUPTED)


def _one(
    wish: Wish,
    start: torch.Tensor | None,
    shape: tuple[int, ...],
    made: Settings,
    key: tuple[int, int],
    seen: _Seen,
    device: torch.device,
) -> torch.Tensor:
    import torch

    from cvkit.ops.ascent import climb
    from cvkit.ops.seeds import key_seed

    generator = torch.Generator().manual_seed(key_seed(*key))
    first = torch.full(shape, 0.5, device=device) if start is None else start
    return climb(wish.objective, first, made, generator, seen.step, noisy=start is None)


def _write_sheet(out: Path, rows: Sequence[dict[str, Any]], most: int = 48) -> None:
    from cvkit.data.decode import read_image
    from cvkit.output.files import write_rgb
    from cvkit.output.sheet import Tile, draw_sheet

    tiles = [
        Tile(
            read_image(out / row["picture"]),
            (f"{row['wish']}: {row['start']:.3g} to {row['end']:.3g}",),
        )
        for row in rows[:most]
    ]
    write_rgb(out / SHEET, draw_sheet("dreams", tiles))


def _content(
    options: Dream, ready: _Ready, out: Path, rows: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the content of dream.json and of `--json`."""
    return {
        "task": ready.trained.task.name,
        "command": "dream",
        "out": str(out),
        "weights": str(ready.trained.path),
        "model": ready.trained.header["sha256"],
        "dreams": rows,
        "counts": {"dreamt": len(rows), "failed": len(ready.failures)},
        "failures": [dataclasses.asdict(failure) for failure in ready.failures],
        "options": as_config(options),
    }


def _tell(options: Dream, content: dict[str, Any], ready: _Ready, report: Reporter) -> int:
    """Print the rows; return the exit code."""
    for failure in ready.failures:
        report.warn(f"not dreamt of: {failure.reason}")
    if options.json:
        print_json(content)
    else:
        rows = [
            [row["input"] or "noise", row["wish"], number(row["start"]), number(row["end"])]
            for row in content["dreams"]
        ]
        print_table("dreams", ["input", "raised", "start", "end"], rows)
        print_line(content["out"])
    return 3 if ready.failures else 0
