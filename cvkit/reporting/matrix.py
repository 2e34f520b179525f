"""Confusion matrices as tables, and the largest confusions."""

import numpy as np
from markupsafe import Markup, escape

from cvkit.printable import printable
from cvkit.reporting.contract import Chart, Section

SHOWN = 25
"""Maximum number of classes in a table; the others are summed up in one row and column."""
PAIRS = 10
REST = "all others"


def confusion_section(matrix: np.ndarray, names: list[str], unit: str) -> Section:
    """Return a confusion matrix as a table, and its largest errors.

    Args:
        matrix: [K, K] counts; rows are truth, columns are prediction.
        names: of the classes.
        unit: what is counted, in the plural.
    """
    shown, titles = reduced(matrix, names)
    about = f"Rows are the truth, columns the prediction; numbers are {unit}, and the colour is "
    about += "the fraction of the row."
    if len(shown) < len(matrix):
        about += f" The {SHOWN} classes with most errors; {len(matrix) - SHOWN} others together."
    charts = [Chart("Confusion matrix", _table(shown, titles), about, wide=True)]
    if pairs := largest_errors(matrix):
        charts.append(Chart("Largest confusions", _pairs(pairs, matrix, names, unit), wide=True))
    return Section("confusion", "Confusions", tuple(charts))


def reduced(matrix: np.ndarray, names: list[str]) -> tuple[np.ndarray, list[str]]:
    """Return a matrix of at most `SHOWN` classes and one row and column for all others."""
    if len(matrix) <= SHOWN + 1:
        return matrix, names
    errors = matrix.sum(0) + matrix.sum(1) - 2 * np.diag(matrix)
    kept = np.sort(np.argsort(-errors, kind="stable")[:SHOWN])
    group = np.full(len(matrix), SHOWN)
    group[kept] = np.arange(SHOWN)
    small = np.zeros((SHOWN + 1, SHOWN + 1), matrix.dtype)
    np.add.at(small, (group[:, None], group[None]), matrix)
    return small, [*(names[index] for index in kept), REST]


def largest_errors(matrix: np.ndarray) -> list[tuple[int, int]]:
    """Return (truth, prediction) of the largest counts outside the diagonal."""
    off = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-off, axis=None, kind="stable")[:PAIRS]
    pairs = [divmod(int(place), len(matrix)) for place in order]
    return [(row, column) for row, column in pairs if off[row, column]]


def _table(matrix: np.ndarray, names: list[str]) -> Markup:
    heads = Markup("").join(
        Markup('<th scope="col" title="{}"><bdi>{}</bdi></th>').format(
            printable(name), printable(short_name(name))
        )
        for name in names
    )
    rows = Markup("").join(
        Markup('<tr><th scope="row" title="{0}"><bdi>{0}</bdi></th>{1}</tr>').format(
            printable(name), Markup("").join(_cells(row, index, names))
        )
        for index, (name, row) in enumerate(zip(names, matrix, strict=True))
    )
    return Markup(
        '<div class="scroll" tabindex="0" role="region" aria-label="confusion matrix">'
        '<table class="matrix"><thead><tr><th scope="col">truth \\ prediction</th>{}</tr></thead>'
        "<tbody>{}</tbody></table></div>"
    ).format(heads, rows)


def _cells(row: np.ndarray, place: int, names: list[str]) -> list[Markup]:
    total = int(row.sum())
    return [
        Markup('<td class="{}" style="--heat:{:.0f}%">{}</td>').format(
            "hit" if place == column else "miss",
            # Beyond 55 % the text would lose its contrast.
            55 * count / total if total else 0,
            short_count(int(count)),
        )
        for column, count in enumerate(row)
    ]


def short_name(name: str) -> str:
    """Return a name in at most ten characters: names of classes often begin alike."""
    return name if len(name) <= 10 else f"{name[:4]}…{name[-5:]}"


def short_count(count: int) -> str:
    """Return a count in at most four characters, such as 950, 9.5k or 12M."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.{1 if count < 10 * size else 0}f}{unit}"
    return str(count)


def _pairs(pairs: list[tuple[int, int]], matrix: np.ndarray, names: list[str], unit: str) -> Markup:
    rows = Markup("").join(
        Markup(
            "<tr><td><bdi>{}</bdi></td><td><bdi>{}</bdi></td><td class=n>{:,}</td>"
            "<td class=n>{:.1f} %</td></tr>"
        ).format(
            printable(names[row]),
            printable(names[column]),
            int(matrix[row, column]),
            100 * matrix[row, column] / matrix[row].sum(),
        )
        for row, column in pairs
    )
    return Markup(
        '<div class="scroll" tabindex="0" role="region" aria-label="largest confusions">'
        "<table class=pairs><thead><tr><th scope=col>truth</th><th scope=col>prediction</th>"
        "<th scope=col class=n>{}</th><th scope=col class=n>of the truth</th></tr></thead>"
        "<tbody>{}</tbody></table></div>"
    ).format(escape(unit), rows)
