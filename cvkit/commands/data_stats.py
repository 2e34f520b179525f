"""Count classes, sizes, objects and colours of a labelled dataset."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cvkit.commands.data_views import read_labelled, refuse_existing, task_of, train_options
from cvkit.commands.printing import print_json
from cvkit.commands.reports import command_line, environment
from cvkit.console import Reporter, print_line, print_table
from cvkit.data.roots import place_name
from cvkit.options.data_views import DataStats
from cvkit.texts import counted

if TYPE_CHECKING:
    from cvkit.data.statistics import Colours, Facts
    from cvkit.tasks.labelled import Advice, Labelled

MOST = 24
"""Samples in the gallery of the page."""
SUITS, SPREAD = 1.0, (0.5, 2.0)
"""A normalisation suits if it moves all means below this, and deviations into this range."""


def stats(options: DataStats) -> int:
    """Print the numbers of a dataset and what they imply, and write the page if asked for."""
    refuse_existing(options.out, (".html",), options.overwrite)
    report = Reporter(options.quiet)
    task = task_of(options)
    data = read_labelled(options, task, train_options(options, task), report)
    facts = {split: _facts(data, split, report) for split in data.splits}
    colours = {split: _colours(data, split, options, report) for split in data.splits}
    measured = {split: found for split, found in colours.items() if found}
    advice = _advice(data, facts, measured)
    content = _content(data, facts, measured, advice)
    if options.out is not None:
        _write_page(options, data, facts, measured, advice, report)
        content["out"] = str(options.out)
    if options.json:
        print_json(content)
    else:
        _print(data, facts, measured, advice)
        if options.out is not None:
            print_line(options.out)
    failures = [failure for each in facts.values() for failure in each.failures]
    for failure in failures:
        report.warn(f"not read: {failure.reason}")
    return 3 if failures or data.defects else 0


def _facts(data: Labelled[Any, Any], split: str, report: Reporter) -> Facts[Any]:
    """Return what is counted of a split."""
    from cvkit.data.known import Known
    from cvkit.data.statistics import collect

    items = data.splits[split]
    with (
        report.progress(f"counting {split}", len(items)) as advance,
        Known(data.cache, [data.path(item) for item in items]) as known,
    ):
        return collect(
            items, data.key, lambda item: data.measure(item, known), len(data.classes), advance
        )


def _colours(
    data: Labelled[Any, Any], split: str, options: DataStats, report: Reporter
) -> Colours | None:
    """Return the colours of a sample of a split."""
    from cvkit.data.statistics import colours

    items, wanted = data.splits[split], options.colour_sample
    with report.progress(f"colours of {split}", min(wanted, len(items))) as advance:
        return colours(items, data.picture, wanted, options.seed, advance)


def training_split(splits: Mapping[str, Any]) -> str:
    """Return the name of the training split; of the first split if there is none."""
    from cvkit.data.division import find_split

    return find_split("train", splits) or next(iter(splits))


def _advice(
    data: Labelled[Any, Any],
    facts: Mapping[str, Facts[Any]],
    colours: Mapping[str, Colours],
) -> list[Advice]:
    """Return what the numbers of the training split imply."""
    split = training_split(data.splits)
    if not facts[split].items:
        return []
    found = data.advice(facts[split])
    if split in colours:
        found.append(_of_colours(data, facts[split], colours[split]))
    return found


def _of_colours(data: Labelled[Any, Any], facts: Facts[Any], colours: Colours) -> Advice:
    """Return whether the normalisation of training suits the colours."""
    from cvkit.tasks.labelled import Advice

    means, deviations = data.normalisation(facts)
    moved = [(a - b) / s for a, b, s in zip(colours.mean, means, deviations, strict=True)]
    spread = [a / s for a, s in zip(colours.std, deviations, strict=True)]
    suits = max(map(abs, moved)) <= SUITS
    suits &= SPREAD[0] <= min(spread) and max(spread) <= SPREAD[1]
    text = (
        "after the normalisation of training (mean "
        f"{_numbers(means)}, deviation {_numbers(deviations)}) the channels have mean "
        f"{_numbers(moved)} and deviation {_numbers(spread)}"
    )
    if suits:
        text += ": it suits these images"
    else:
        text += (
            ": far from 0 and 1; the network's norms adapt to this in training, but a frozen "
            "pretrained backbone (--freeze-backbone) does not"
        )
    if colours.grey == colours.images:
        text += "; all measured images are grey, so changes of hue and saturation do nothing"
    return Advice("", text)


def _numbers(values: Any) -> str:
    return " ".join(f"{value:.3g}" for value in values)


def _content(
    data: Labelled[Any, Any],
    facts: Mapping[str, Facts[Any]],
    colours: Mapping[str, Colours],
    advice: list[Advice],
) -> dict[str, Any]:
    """Return the object of `--json`."""
    from cvkit.data.statistics import QUANTITIES, summary

    splits: dict[str, Any] = {}
    for split, each in facts.items():
        classes = {
            name: {what: int(counts[index]) for what, counts in each.per_class.items()}
            for index, name in enumerate(data.classes.names)
        }
        splits[split] = {
            "samples": len(each.items),
            "failed": len(each.failures),
            "quantities": {
                name: summary(each.values[name])
                for name in QUANTITIES
                if name in each.values and len(each.values[name])
            },
            "counts": each.counts,
            "per_class": classes,
            "colours": colours[split].as_json() if split in colours else None,
        }
    return {
        "command": "data stats",
        "task": data.task,
        "data": str(data.root),
        "layout": data.layout,
        "classes": list(data.classes.names),
        "splits": splits,
        "advice": [{"flag": each.flag, "text": each.text} for each in advice],
        "defects": [defect.as_json() for defect in data.defects],
        "failures": [dataclasses.asdict(f) for each in facts.values() for f in each.failures],
    }


def _headline(data: Labelled[Any, Any]) -> str:
    """Return layout, splits and classes in words."""
    counts = ", ".join(f"{split}: {len(items):,}" for split, items in data.splits.items())
    classes = counted(len(data.classes), "class", "classes")
    return f"{data.task}, {data.layout} layout, {data.noun} in {counts}; {classes}"


def _print(
    data: Labelled[Any, Any],
    facts: Mapping[str, Facts[Any]],
    colours: Mapping[str, Colours],
    advice: list[Advice],
) -> None:
    """Print the numbers as tables."""
    from cvkit.data.statistics import PERCENTILES
    from cvkit.reporting.dataset import COLOUR_COLUMNS, class_numbers, colour_rows, quantity_rows

    print_line(f"{data.root}: {_headline(data)}")
    classes = class_numbers(data.classes.names, facts)
    rows = [[name, *(text for _, text in cells)] for name, cells in classes.rows]
    print_table("classes", ["class", *classes.columns], rows)
    print()
    rows = [[title, *cells] for title, cells in quantity_rows(facts)]
    print_table("numbers", ["quantity", "split", *PERCENTILES, "mean"], rows)
    rows = [
        [name.replace("_", " "), *(f"{each.counts.get(name, 0):,}" for each in facts.values())]
        for name in dict.fromkeys(n for each in facts.values() for n in each.counts)
    ]
    if rows:
        print()
        print_table("counts", ["count", *facts], rows)
    if colours:
        print()
        rows = [[split, *cells] for split, cells in colour_rows(colours)]
        print_table("colours", list(COLOUR_COLUMNS), rows)
    print()
    rows = [[each.flag or "-", each.text] for each in advice]
    print_table("what the numbers imply", ["flag of train", "numbers"], rows)


def _write_page(
    options: DataStats,
    data: Labelled[Any, Any],
    facts: Mapping[str, Facts[Any]],
    colours: Mapping[str, Colours],
    advice: list[Advice],
    report: Reporter,
) -> None:
    """Write the page with all numbers, charts and some samples."""
    from cvkit.commands.data_show import Choice, shown_samples
    from cvkit.reporting import dataset

    failures = [failure for each in facts.values() for failure in each.failures]
    samples = shown_samples(data, Choice(MOST, options.seed, list(data.splits)), report)
    tables = [dataset.quantities_table(facts)]
    tables += [dataset.colours_table(colours)] if colours else []
    counts = [(f"{data.noun} in {split}", f"{len(each.items):,}") for split, each in facts.items()]
    assert options.out is not None
    dataset.write_dataset_page(
        options.out,
        dataset.DatasetPage(
            title=f"{data.task} · {place_name(data.root)}",
            subject=str(data.root),
            evaluated=_headline(data),
            command=command_line(options, ("data", "stats")),
            environment=dataset.environment_rows(environment()),
            date=dataset.now(),
            cards=[("classes", f"{len(data.classes):,}"), *counts],
            advice=[(each.flag, each.text) for each in advice],
            tables=tables,
            classes=dataset.class_numbers(data.classes.names, facts),
            sections=dataset.charts_of(facts),
            gallery=dataset.gallery_of(samples),
            gallery_about="Drawn at random; the labels are those of the dataset.",
            warnings=list(report.warned),
            **dataset.listed_failures(failures),
        ),
    )
