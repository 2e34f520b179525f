"""Charts as inline SVG whose colours follow the page's, light or dark."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

WIDTH, HEIGHT = 360, 224
LEFT, RIGHT, TOP, BOTTOM = 60, 10, 10, 38
"""Margins; the left one has room for the axis title beside ticks such as 0.0025."""
SERIES = 6
"""Number of colours in the style sheet."""
POINTS = 160
"""Maximum number of points of a line: more cannot be distinguished."""


@dataclass(frozen=True)
class Line:
    """A line of a chart; points whose x or y is not finite interrupt it."""

    name: str
    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    dashed: bool = False


@dataclass(frozen=True)
class Axis:
    """An axis: its title and range; with `whole`, only whole numbers are marked."""

    title: str
    low: float = 0.0
    high: float = 1.0
    whole: bool = False

    def place(self, value: float) -> float:
        """Return where a value is, from 0 to 1."""
        span = self.high - self.low
        return min(1.0, max(0.0, (value - self.low) / span)) if span else 0.5


def colour(index: int) -> str:
    """Return the CSS class of a series."""
    return f"s{index % SERIES + 1}"


def line_chart(
    alt: str, lines: Sequence[Line], x: Axis, y: Axis, *, diagonal: bool = False
) -> Markup:
    """Return lines over two axes.

    Args:
        alt: description for those who cannot see it.
        lines: one colour each.
        x: horizontal axis.
        y: vertical axis.
        diagonal: draw the line on which both axes are equal.
    """
    parts = [_frame(x, y)]
    if diagonal:
        (x1, y1), (x2, y2) = _point(x, y, x.low, y.low), _point(x, y, x.high, y.high)
        parts.append(f'<line class="rule" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>')
    for index, line in enumerate(lines):
        dash = ' stroke-dasharray="5 4"' if line.dashed else ""
        for run in _runs(line):
            points = " ".join("{},{}".format(*_point(x, y, *pair)) for pair in run)
            if len(run) == 1:
                cx, cy = _point(x, y, *run[0])
                parts.append(f'<circle class="dot {colour(index)}" cx="{cx}" cy="{cy}" r="3"/>')
            else:
                parts.append(f'<polyline class="line {colour(index)}" points="{points}"{dash}/>')
    return _svg(alt, parts)


def _runs(line: Line) -> list[list[tuple[float, float]]]:
    """Return the points of a line, thinned, in runs without gaps."""
    xs, ys = np.asarray(line.x, float), np.asarray(line.y, float)
    if len(xs) > POINTS:
        kept = np.unique(np.linspace(0, len(xs) - 1, POINTS).round().astype(int))
        xs, ys = xs[kept], ys[kept]
    runs: list[list[tuple[float, float]]] = [[]]
    for pair in zip(xs.tolist(), ys.tolist(), strict=True):
        if all(map(math.isfinite, pair)):
            runs[-1].append(pair)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def histogram(
    alt: str, edges: Sequence[str], stacks: Sequence[tuple[str, Sequence[float]]], x: str, y: str
) -> Markup:
    """Return columns of stacked counts.

    Args:
        alt: description for those who cannot see it.
        edges: label of each column.
        stacks: name and counts of each part of the columns, from the bottom up.
        x: title of the horizontal axis.
        y: title of the vertical axis.
    """
    totals = [sum(column) for column in zip(*(counts for _, counts in stacks), strict=True)]
    top = nice_ceiling(max(totals, default=0))
    axis = Axis(y, 0, top)
    parts = [_frame(Axis(x, 0, 0), axis, ticks_x=False)]
    step = (WIDTH - LEFT - RIGHT) / max(len(edges), 1)
    every = math.ceil(len(edges) / 8)
    for index, edge in enumerate(edges):
        left, below = LEFT + index * step, 0.0
        for number, (name, counts) in enumerate(stacks):
            low, high = axis.place(below), axis.place(below + counts[index])
            below += counts[index]
            tall = (high - low) * (HEIGHT - TOP - BOTTOM)
            if tall <= 0:
                continue
            at = TOP + (1 - high) * (HEIGHT - TOP - BOTTOM)
            text = f"{edge} {name}: {_count(counts[index])}"
            parts.append(
                f'<rect class="bar {colour(number)}" x="{left + 1:.1f}" y="{at:.1f}" '
                f'width="{max(step - 2, 1):.1f}" height="{tall:.1f}">'
                f"<title>{escape(text)}</title></rect>"
            )
        if index % every == 0:
            parts.append(_text(left + step / 2, HEIGHT - BOTTOM + 14, edge, "middle"))
    return _svg(alt, parts)


def bars(alt: str, rows: Sequence[tuple[str, float, str]]) -> Markup:
    """Return horizontal bars.

    Args:
        alt: description for those who cannot see it.
        rows: name, value and CSS class of each bar.
    """
    height, left = 30 * len(rows) + 8, 92
    most = max((value for _, value, _ in rows), default=0) or 1
    parts = []
    for index, (name, value, css) in enumerate(rows):
        y, room = 8 + 30 * index, WIDTH - left - 62
        wide = value / most * room
        parts.append(_text(left - 8, y + 14, name, "end"))
        parts.append(
            f'<rect class="bar {css}" x="{left}" y="{y}" width="{wide:.1f}" height="20" rx="2">'
            f"<title>{escape(f'{name}: {_count(value)}')}</title></rect>"
        )
        parts.append(_text(left + wide + 6, y + 14, _count(value), "start"))
    return _svg(alt, parts, height)


def _svg(alt: str, parts: Sequence[str], height: int = HEIGHT) -> Markup:
    start = f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(alt)}">'
    return Markup(start + "".join(parts) + "</svg>")  # every text in it is escaped


def _point(x: Axis, y: Axis, at_x: float, at_y: float) -> tuple[float, float]:
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    return round(LEFT + x.place(at_x) * wide, 1), round(TOP + (1 - y.place(at_y)) * high, 1)


def _frame(x: Axis, y: Axis, *, ticks_x: bool = True) -> str:
    parts = []
    bottom = HEIGHT - BOTTOM
    for value in ticks(y):
        _, at = _point(x, y, x.low, value)
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{at}" x2="{WIDTH - RIGHT}" y2="{at}"/>')
        parts.append(_text(LEFT - 6, at + 4, _tick(value), "end"))
    for value in ticks(x) if ticks_x else ():
        at, _ = _point(x, y, value, y.low)
        parts.append(f'<line class="grid" x1="{at}" y1="{TOP}" x2="{at}" y2="{bottom}"/>')
        parts.append(_text(at, bottom + 14, _tick(value), "middle"))
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(_text(middle, HEIGHT - 6, x.title, "middle"))
    up = (TOP + bottom) / 2
    parts.append(
        f'<text class="axis" transform="rotate(-90 11 {up})" x="11" y="{up}" '
        f'text-anchor="middle">{escape(y.title)}</text>'
    )
    return "".join(parts)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def ticks(axis: Axis, most: int = 5) -> list[float]:
    """Return at most `most` + 1 round numbers in the range of an axis."""
    span = axis.high - axis.low
    if not math.isfinite(span) or span <= 0:
        return [axis.low]
    step = _round_up(span / most)
    if axis.whole:
        step = max(1.0, math.ceil(step))
    first = math.ceil(axis.low / step - 1e-9)
    last = math.floor(axis.high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _round_up(value: float) -> float:
    """Return the smallest of 1, 2, 2.5, 5 and 10 times a power of ten that is not below."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= value * (1 - 1e-9))


def nice_ceiling(value: float) -> float:
    """Return a round number that is not below a value; 1 for values up to 1."""
    if value <= 1:
        return 1.0
    step = _round_up(value / 5)
    return math.ceil(value / step - 1e-9) * step


def _tick(value: float) -> str:
    if value and (abs(value) >= 1e6 or abs(value) < 1e-3):
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:,.10g}"


def _count(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.3g}"
