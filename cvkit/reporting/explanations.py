"""The page of explain: the maps of all methods side by side, and the numbers that judge them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cvkit.data.decode import read_image
from cvkit.output.records import read_lines
from cvkit.reporting.dataset import ShownSample, gallery_of, listed_failures, now
from cvkit.reporting.gallery import Item
from cvkit.reporting.page import flat, number, render
from cvkit.storage import write_file
from cvkit.structures import Failure
from cvkit.texts import counted

SHOWN = 24
"""Maximum number of inputs on the page."""
ABOUT = (
    "pointing: share of inputs whose maximum is inside an object of the class. inside: share of "
    "the map that is. deletion, "
    "insertion: area under the probability while the most important pixels go, or come, first; "
    "lower is better for deletion, higher for insertion. randomised: rank correlation of the first "
    "input's map with that of the network with random weights; near 0 is good. seconds: per input."
)


@dataclass(frozen=True, kw_only=True)
class ExplanationsPage:
    """The page as its template sees it; see `cvkit.reporting.dataset.DatasetPage`."""

    title: str
    subject: str
    evaluated: str
    about: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]
    command: str
    environment: Sequence[tuple[str, str]]
    date: str
    gallery: Sequence[Item]
    gallery_about: str
    warnings: Sequence[str]
    failures: Sequence[Mapping[str, str]]
    more_failures: int


def write_explanations_page(
    path: Path,
    content: Mapping[str, Any],
    *,
    columns: Sequence[str],
    command: str,
    environment: Mapping[str, Any],
    warnings: Sequence[str],
) -> None:
    """Write the page of a folder of explanations.

    Args:
        path: of the page, in that folder.
        content: of `explain.json`.
        columns: the numbers of the methods that are shown.
        command: that writes the page again.
        environment: versions.
        warnings: of the command.

    Raises:
        MachineError: the disk is full; nothing is left of the file.
    """
    folder, counts = path.parent, content["counts"]
    samples = _samples(folder)
    failures = [Failure(**line) for line in read_lines(folder, "failures.jsonl")]
    first = f"The first {len(samples)} of {counted(counts['explained'], 'input')}. "
    page = ExplanationsPage(
        title=f"{content['task']} · {Path(content['weights']).name}",
        subject=content["weights"],
        evaluated=f"{counted(counts['explained'], 'input')}, target {content['target']}",
        about=ABOUT if len(columns) > 1 else "",
        columns=columns,
        rows=[
            (name, [number(tally[column]) for column in columns])
            for name, tally in content["methods"].items()
        ],
        command=command,
        environment=flat(environment),
        date=now(),
        gallery=gallery_of(samples),
        gallery_about=first * (len(samples) < counts["explained"])
        + "The bar beside a map says which colour is which value.",
        warnings=warnings,
        **listed_failures(failures),
    )
    write_file(path, render(page, "explanations.html"))


def _samples(folder: Path) -> list[ShownSample]:
    """Return the first inputs with the pictures of their maps."""
    samples: list[ShownSample] = []
    for line in read_lines(folder, "explanations.jsonl"):
        if len(samples) == SHOWN:
            break
        pictures = [
            (name, read_image(folder / entry["picture"])) for name, entry in line["methods"].items()
        ]
        words = f"{line['target']}, probability {line['probability']:.3f}"
        samples.append(ShownSample(line["path"], words, tuple(pictures)))
    return samples
