"""The page of attack: images before and after attacks, and how much their results changed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cvkit.data.decode import read_image
from cvkit.output.records import read_lines
from cvkit.reporting.dataset import ShownSample, gallery_of, listed_failures, now
from cvkit.reporting.explanations import SHOWN, ExplanationsPage
from cvkit.reporting.page import flat, number, render
from cvkit.storage import write_file
from cvkit.structures import Failure
from cvkit.texts import counted

ABOUT = (
    "changed: share of images, or of the pixels of label maps, with another class. before, after: "
    "mean probability of the class that was predicted before. Pixel values change by at most eps, "
    "of 255."
)


def write_attacks_page(
    path: Path,
    content: Mapping[str, Any],
    *,
    columns: Sequence[str],
    command: str,
    environment: Mapping[str, Any],
    warnings: Sequence[str],
) -> None:
    """Write the page of a folder of attacked images.

    Args:
        path: of the page, in that folder.
        content: of `attack.json`.
        columns: the numbers that are shown.
        command: that writes the page again.
        environment: versions.
        warnings: of the command.

    Raises:
        MachineError: the disk is full; nothing is left of the file.
    """
    folder, counts = path.parent, content["counts"]
    samples = _samples(folder)
    failures = [Failure(**line) for line in read_lines(folder, "failures.jsonl")]
    page = ExplanationsPage(
        title=f"{content['task']} · {Path(content['weights']).name}",
        subject=content["weights"],
        evaluated=counted(counts["attacked"], "image"),
        about=ABOUT,
        columns=columns,
        rows=[
            (title, [number(means[column]) for column in columns])
            for title, means in content["attacks"].items()
        ],
        command=command,
        environment=flat(environment),
        date=now(),
        gallery=gallery_of(samples),
        gallery_about=f"The first {len(samples)} of {counted(counts['attacked'], 'image')}.",
        warnings=warnings,
        **listed_failures(failures),
    )
    write_file(path, render(page, "attacks.html"))


def _samples(folder: Path) -> list[ShownSample]:
    """Return the first images with the pictures of their attacks."""
    samples: list[ShownSample] = []
    for line in read_lines(folder, "attacks.jsonl"):
        if len(samples) == SHOWN:
            break
        pictures = [
            (title, read_image(folder / entry["picture"]))
            for title, entry in line["attacks"].items()
        ]
        changed = [f"{entry['changed']:.1%}" for entry in line["attacks"].values()]
        words = line.get("label", "") or "label map"
        words += f", changed {', '.join(changed)}"
        samples.append(ShownSample(line["path"], words, tuple(pictures)))
    return samples
