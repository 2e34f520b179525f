"""Pictures of the samples that `compare` found to have changed most."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cvkit.console import Reporter, number
from cvkit.errors import CvkitError
from cvkit.output.files import write_rgb
from cvkit.output.sheet import Tile, draw_sheet
from cvkit.reporting.contract import Shown, pages_of
from cvkit.scoring.compared import Evaluated
from cvkit.texts import counted

PICTURE = "changed.png"


def write_changed(
    folder: Path,
    samples: Sequence[Mapping[str, Any]],
    found: Mapping[str, Evaluated],
    report: Reporter,
) -> Path | None:
    """Write each sample with its truth and the predictions of all evaluations, side by side.

    Args:
        folder: gets the picture.
        samples: of `compare --json`.
        found: the evaluations by letter.
        report: for what cannot be shown.

    Returns:
        The path of the picture; None if no sample can be shown.
    """
    paths = [sample["path"] for sample in samples]
    shown = {}
    for letter, each in found.items() if paths else ():
        try:
            shown[letter] = _shown(each, paths, report)
        except CvkitError as error:
            report.warn(f"no pictures of {each.place}: {error}")
    rows = {}
    for sample in samples:
        path, values = sample["path"], dict(zip(found, sample["values"], strict=True))
        views = {letter: of[path] for letter, of in shown.items() if path in of}
        if tiles := _tiles(views, values):
            rows[path] = tiles
    if not rows:
        return None
    sheets = [draw_sheet(path, tiles) for path, tiles in rows.items() if len(tiles) > 1]
    if single := [
        Tile(tile.picture, (path, *tile.captions))
        for path, (tile, *others) in rows.items()
        if not others
    ]:
        sheets.append(draw_sheet("samples that changed most", single))
    width = max(sheet.shape[1] for sheet in sheets)
    wide = [
        np.pad(sheet, ((0, 0), (0, width - sheet.shape[1]), (0, 0)), constant_values=255)
        for sheet in sheets
    ]
    write_rgb(folder / PICTURE, np.vstack(wide))
    return folder / PICTURE


def _shown(each: Evaluated, paths: Sequence[str], report: Reporter) -> dict[str, Shown]:
    """Return how the samples of an evaluation are shown, as in its report."""
    there_of = {path: each.paths.get(path, path) for path in paths}
    scored = each.evaluate_again(list(there_of.values()))
    pages = pages_of(each.task, scored)
    places = {path: place for place, (path, _) in enumerate(scored.outcomes)}
    shown: dict[str, Shown] = {}
    lost = []
    if pages is None:
        return {}
    for path, there in there_of.items():
        try:
            if there in places:
                shown[path] = pages.show(places[there], scored.scene(there))
        except CvkitError as error:
            lost.append(str(error))
    if lost:
        count = counted(len(lost), "sample")
        report.warn(f"no picture of {count} of {each.place}, such as: {lost[0]}")
    return shown


def _tiles(views: Mapping[str, Shown], values: Mapping[str, float | None]) -> list[Tile]:
    """Return the tiles of a sample: its truth once, then the prediction of each evaluation.

    Where truth and prediction are words, one picture has them all as captions.
    """
    drawn = {letter: dict(view.pictures) for letter, view in views.items() if view.pictures}
    if not drawn:
        return []
    words = {
        letter: f"{letter} {number(values[letter])}: {view.prediction}"
        for letter, view in views.items()
    }
    first = next(iter(drawn))
    truth = f"truth: {views[first].truth}"
    if "prediction" not in drawn[first]:
        return [Tile(next(iter(drawn[first].values())), (truth, *words.values()))]
    predictions = [Tile(each["prediction"], (words[letter],)) for letter, each in drawn.items()]
    return [Tile(drawn[first]["truth"], (truth,)), *predictions]
