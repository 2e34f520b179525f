"""Write the features of inputs, and show what they say."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvkit import storage
from cvkit.commands.looking import held_folder, open_model, require_inputs
from cvkit.commands.predict_inputs import count_inputs
from cvkit.commands.printing import print_json
from cvkit.config import as_config
from cvkit.console import Reporter, number, print_line, print_table
from cvkit.errors import UsageError
from cvkit.options.described import differs
from cvkit.options.features import Features, parse_maps
from cvkit.texts import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cvkit.commands.looking import Opened
    from cvkit.data.unfolding import Unfolded
    from cvkit.engine.runtime import StopSignal
    from cvkit.explain.encoding import Output
    from cvkit.explain.extract import Extracted
    from cvkit.explain.findings import Findings, Wanted
    from cvkit.structures import Failure
    from cvkit.tasks.contract import Dataset

PAGE = "features.html"
INTERRUPTED = "interrupted; nothing is written"


def features(options: Features) -> int:
    """Write the features of inputs, and print how well they agree with classes."""
    from cvkit.engine import runtime

    maps = parse_maps(options.maps)
    _check_flags(options, maps)
    report = Reporter(options.quiet)
    runtime.keep_memory()
    with runtime.stop_signals() as stop:
        with stop.at_once():
            ready = _ready(options, maps, report)
        with held_folder(options, ready.opened.trained.task.name, "features", report) as out:
            content = _run(options, ready, out, report, stop)
    return _tell(options, content, report)


@dataclass(frozen=True, kw_only=True)
class _Ready:
    """Everything that is checked before the first input is read for its features.

    Attributes:
        opened: the model and the inputs.
        layer: whose output is written; None if no input can be read.
        queries: the queries, if there are some.
        labels: of the inputs.
        wanted: what is asked for.
    """

    opened: Opened
    layer: Output | None
    queries: Unfolded | None
    labels: list[str | None]
    wanted: Wanted


def _check_flags(options: Features, maps: tuple[str, ...]) -> None:
    """Check what can be checked before anything is read.

    Raises:
        UsageError: flags that have no effect, or no input.
    """
    require_inputs(options)
    near = {"tsne", "umap"} & {*maps}
    idle = {
        "perplexity": (bool(near), "--maps tsne and umap"),
        "points": (bool(maps), "--maps"),
        "neighbors": (options.queries is not None, "--queries"),
    }
    grouped = options.clusters is None and options.truth is not None
    seeded = "umap" in maps or bool(options.clusters) or grouped
    idle["seed"] = (seeded, "--maps umap and --clusters")
    for name, (used, owner) in idle.items():
        if differs(options, name) and not used:
            raise UsageError(
                f"--{name} has no effect here", code=f"{name}.idle", hint=f"it belongs to {owner}"
            )


def _ready(options: Features, maps: tuple[str, ...], report: Reporter) -> _Ready:
    """Load the model, find inputs, queries and labels, and choose the layer.

    Raises:
        UsageError: this network or this task does not allow it.
    """
    from cvkit.explain.encoding import choose_output, first_batch, outputs_of
    from cvkit.explain.findings import Wanted
    from cvkit.tasks.file_labels import read_labels

    flags: dict[str, Any] = {"device": options.device, "offline": options.offline}
    flags |= {"precision": options.precision, "workers": options.workers}
    opened = open_model(options, "features", report, **flags)
    trained, files = opened.trained, opened.found.images
    queries = None if options.queries is None else opened.more(options.queries, report)
    labels: list[str | None] = [None] * len(files)
    if options.truth is not None:
        labels = read_labels(options.truth, files, trained.task, report)
    clusters = options.clusters
    if clusters is None:
        clusters = len({*labels} - {None})
    if clusters > len(files):
        raise UsageError(
            f"--clusters {clusters} for {counted(len(files), 'input')}",
            code="clusters.many",
            hint=f"up to {len(files)}",
        )
    batch = first_batch(trained.task.source(files), trained.fabric.device)
    layer = None
    if batch is not None:
        outputs = outputs_of(trained.model, opened.explained, batch)
        layer = choose_output(trained.model, opened.explained, outputs, options.layer)
    return _Ready(
        opened=opened,
        layer=layer,
        queries=queries,
        labels=labels,
        wanted=Wanted(
            maps=maps,
            perplexity=options.perplexity,
            points=options.points,
            neighbors=options.neighbors,
            clusters=clusters,
            duplicates=options.duplicates,
            seed=options.seed,
        ),
    )


def _run(
    options: Features, ready: _Ready, out: Path, report: Reporter, stop: StopSignal
) -> dict[str, Any]:
    """Read the features and write the results; return the content of features.json."""
    from cvkit.explain.findings import remove_earlier
    from cvkit.output.records import write_lines

    trained, found = ready.opened.trained, ready.opened.found
    layer = f"{ready.layer.name}, {ready.layer.width} numbers" if ready.layer else "none"
    report.say(f"{count_inputs(found, trained.task.noun)} with {trained.path}: layer {layer}")
    if options.overwrite:
        remove_earlier(out)
    read = _extracted(options, ready, report, stop)
    with stop.at_once(INTERRUPTED):
        write_lines(out / "failures.jsonl", map(asdict, read.failures))
        made = _findings(ready, read, out, report)
        content = _content(options, ready, read, made, out)
        storage.write_json(out / "features.json", content)
        _write_page(options, ready, read, made, content, report)
    return content


@dataclass(frozen=True)
class _Read:
    """What was read of inputs and queries.

    Attributes:
        data: the inputs.
        inputs: their features.
        queries: if there are some.
        asked: their features.
        failures: of all of them.
    """

    data: Dataset
    inputs: Extracted
    queries: Dataset | None
    asked: Extracted | None
    failures: list[Failure]


def _extracted(options: Features, ready: _Ready, report: Reporter, stop: StopSignal) -> _Read:
    """Read the features of inputs and queries."""
    from cvkit.explain.encoding import Encoder
    from cvkit.explain.extract import evenly, extract, nothing

    trained, opened = ready.opened.trained, ready.opened
    data = trained.task.source(opened.found.images)
    shown = evenly(len(data), ready.wanted.points) if ready.wanted.maps else []
    queries = asked = None
    if ready.queries is not None:
        queries = trained.task.source(ready.queries.images)
    if ready.layer is None:
        read = nothing(data)
        asked = nothing(queries) if queries is not None else None
    else:
        encoder = Encoder(
            model=trained.model,
            explained=opened.explained,
            fabric=trained.fabric,
            layer=ready.layer,
            batch_size=options.batch_size,
            workers=trained.workers,
            pause=lambda: stop.raise_if_set(INTERRUPTED),
        )
        with report.progress("reading features", len(data)) as advance:
            read = extract(encoder, data, shown, advance)
        if queries is not None:
            with report.progress("reading queries", len(queries)) as advance:
                asked = extract(encoder, queries, (), advance)
    failures = [*opened.found.failures, *read.failures]
    if ready.queries is not None and asked is not None:
        failures += [*ready.queries.failures, *asked.failures]
    return _Read(data, read, queries, asked, failures)


def _findings(ready: _Ready, read: _Read, out: Path, report: Reporter) -> Findings:
    """Write the features, what they say, and the files about it."""
    from cvkit.data.given import file_text
    from cvkit.explain.findings import Named, find, write_findings
    from cvkit.output.files import write_features

    def named(images: Sequence[Any], labels: Sequence[str | None]) -> Named:
        return Named([each.key for each in images], [file_text(each) for each in images], labels)

    images = ready.opened.found.images
    keys = [images[place].key for place in read.inputs.places]
    write_features(out / "features.npz", keys, iter(read.inputs.rows))
    queries = None if ready.queries is None else named(ready.queries.images, ())
    made = find(named(images, ready.labels), read.inputs, queries, read.asked, ready.wanted)
    if ready.wanted.maps and not made.maps:
        report.warn(f"no map: there are only {counted(len(keys), 'input')}")
    write_findings(out, made, read.inputs, read.data, read.queries)
    return made


def _content(
    options: Features, ready: _Ready, read: _Read, made: Findings, out: Path
) -> dict[str, Any]:
    """Return the content of features.json and of `--json`."""
    trained = ready.opened.trained
    counts = {"read": len(read.inputs.places), "failed": len(read.failures)}
    counts["labelled"] = sum(name is not None for name in made.labels)
    counts["queries"] = len(made.neighbours)
    return {
        "task": trained.task.name,
        "command": "features",
        "out": str(out),
        "weights": str(trained.path),
        "model": trained.header["sha256"],
        "layer": ready.layer.name if ready.layer else None,
        "width": ready.layer.width if ready.layer else None,
        "precision": trained.precision,
        "maps": list(made.maps),
        "clusters": ready.wanted.clusters if made.clusters is not None else 0,
        "metrics": made.numbers,
        "rules": {name: RULES[name] for name in made.numbers},
        "duplicates": {
            "groups": len(made.groups),
            "inputs": sum(map(len, made.groups)),
        },
        "counts": counts,
        "options": as_config(options),
    }


RULES = {
    "neighbour_accuracy": "share of labelled inputs whose nearest labelled neighbour has their "
    "class",
    "normalised_mutual_information": "mutual information of clusters and classes, divided by the "
    "mean of their entropies",
    "clustering_accuracy": "share of labelled inputs in the class of their cluster, where each "
    "cluster stands for at most one class, matched for the largest share",
}
"""What the numbers mean."""


def _write_page(
    options: Features,
    ready: _Ready,
    read: _Read,
    made: Findings,
    content: dict[str, Any],
    report: Reporter,
) -> None:
    """Write the page with the maps to walk through."""
    from cvkit.commands.reports import command_line
    from cvkit.engine.runtime import environment
    from cvkit.explain.findings import shown_groups, shown_neighbours
    from cvkit.reporting.features import Points, write_features_page

    points = None
    if made.maps:
        points = Points(
            names=[made.keys[row] for row in made.shown],
            maps=made.maps,
            groupings={n: [each[r] for r in made.shown] for n, each in made.groupings.items()},
            thumbnails=[read.inputs.thumbnails[read.inputs.places[row]] for row in made.shown],
        )
    write_features_page(
        Path(content["out"]) / PAGE,
        content,
        points=points,
        neighbours=shown_neighbours(made, read.inputs, read.data, read.queries),
        duplicates=shown_groups(made, read.inputs, read.data),
        failures=read.failures,
        command=command_line(options, ("features",)),
        environment=environment(ready.opened.trained.fabric),
        warnings=list(report.warned),
    )


def _tell(options: Features, content: dict[str, Any], report: Reporter) -> int:
    """Print the numbers; return the exit code."""
    counts, page = content["counts"], f"{content['out']}/{PAGE}"
    if options.json:
        print_json({**content, "page": page})
    else:
        if content["metrics"]:
            rows = [
                [name, number(value), content["rules"][name]]
                for name, value in content["metrics"].items()
            ]
            print_table("agreement with classes", ["metric", "value", "rule"], rows)
        if options.duplicates is not None:
            found = content["duplicates"]
            print_line(
                f"near duplicates: {counted(found['groups'], 'group')} of "
                f"{counted(found['inputs'], 'input')}"
            )
        print_line(content["out"])
    report.say(f"{counts['read']} read, {counts['failed']} failed; see {page}")
    return 3 if counts["failed"] else 0
