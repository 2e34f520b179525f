"""Training curves."""

import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cvkit.output.lettering import fit
from cvkit.storage import write_file

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Place = Literal["lower left", "upper right"]

# Letters that the font lacks are boxes in the legend; the tables have the full names.
warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from")
# Without a home folder it keeps its font list in a temporary folder; no warning is needed.
logging.getLogger("matplotlib").setLevel(logging.ERROR)


def write_curves(path: Path, history: Sequence[dict], metric: str) -> None:
    """Plot losses and metric of training and validation, and the learning rate, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import MaxNLocator

    epochs = [line["epoch"] for line in history]
    figure, axes = plt.subplots(1, 3, figsize=(13, 3.6))
    # Margins that are looked for take a second drawing.
    figure.subplots_adjust(left=0.045, right=0.99, bottom=0.14, top=0.91, wspace=0.18)
    axes[0].plot(epochs, _values(history, "loss"), marker=".", label="training")
    axes[0].plot(epochs, _values(history, "val_loss"), marker=".", label="validation")
    for name in history[-1]["losses"]:
        values = [line["losses"].get(name) for line in history]
        if len(history[-1]["losses"]) > 1:
            axes[0].plot(epochs, values, linestyle="--", label=name)
    axes[0].legend()
    axes[1].plot(epochs, _values(history, f"train_{metric}"), marker=".", label="training")
    axes[1].plot(epochs, _values(history, metric), marker=".", label="validation")
    axes[1].set_ylim(0, 1)
    axes[1].legend()
    axes[2].plot(epochs, [line["lr"] for line in history], marker=".", color="tab:gray")
    for axis, title in zip(axes, ("loss", metric, "learning rate"), strict=True):
        axis.set_title(title)
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
    _save(figure, path)


def _values(history: Sequence[dict], name: str) -> list[float]:
    """Return a number per epoch; NaN if there is none."""
    found = (line.get(name) for line in history)
    return [float("nan") if value is None else value for value in found]


def _save(figure: "Figure", path: Path) -> None:
    from matplotlib import pyplot as plt

    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    plt.close(figure)
    write_file(path, stream.getvalue())


def _name_lines(axis: "Axes", names: Sequence[str], place: Place) -> None:
    """Write class names into a legend literally, never as formulas."""
    # A fixed place: finding the best one takes seconds with many points.
    legend = axis.legend(axis.get_lines(), ["" for _ in names], fontsize=8, loc=place)
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_parse_math(False)
        text.set_text(fit(name, 12, 300))


def write_lr_curve(
    path: Path, rates: Sequence[float], losses: Sequence[float], suggested: float
) -> None:
    """Plot the loss over the learning rate of a range test as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 4), constrained_layout=True)
    axis.plot(rates, losses)
    axis.axvline(suggested, color="tab:red", linestyle="--", label=f"suggested: {suggested:.1e}")
    axis.set_xscale("log")
    axis.set_ylim(top=min(max(losses), 2 * losses[0]))
    axis.set_xlabel("learning rate")
    axis.set_ylabel("loss, smoothed")
    axis.grid(alpha=0.3)
    axis.legend()
    _save(figure, path)


def write_precision_recall(
    path: Path,
    curves: Mapping[str, tuple["np.ndarray", "np.ndarray"]],
    iou: str,
    shown: int = 20,
) -> None:
    """Plot precision over recall of each class (the first `shown` ones) as a PNG.

    Args:
        path: of the picture.
        curves: recall and precision by class.
        iou: of the curves, for the title.
        shown: number of classes to plot.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 5), constrained_layout=True)
    for recall, precision in list(curves.values())[:shown]:
        axis.plot(recall, precision)
    axis.set_xlim(0, 1)
    axis.set_ylim(0, 1.02)
    axis.set_xlabel("recall")
    axis.set_ylabel("precision")
    more = f", {shown} of {len(curves)} classes" if len(curves) > shown else ""
    axis.set_title(f"precision and recall at IoU {iou}{more}")
    axis.grid(alpha=0.3)
    if curves:
        _name_lines(axis, list(curves)[:shown], "lower left")
    _save(figure, path)


def write_scores_over_time(
    path: Path, seconds: Sequence[float], scores: "np.ndarray", names: Sequence[str], shown: int = 8
) -> None:
    """Plot the scores of the best classes over a video's time as a PNG.

    Args:
        path: of the picture.
        seconds: start of each clip.
        scores: [V, K] of the clips.
        names: K.
        shown: number of classes to plot, those with the largest mean.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.6), constrained_layout=True)  # pyplot is not thread-safe
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    best = (-scores.mean(0)).argsort(kind="stable")[:shown]
    for index in best:
        axis.plot(seconds, scores[:, index], marker=".")
    axis.set_ylim(0, 1.02)
    if len(seconds) == 1:
        axis.set_xlim(
            seconds[0], seconds[0] + 1
        )  # otherwise only a few hundredths around the only clip
    axis.set_xlabel("seconds")
    axis.set_ylabel("score")
    axis.grid(alpha=0.3)
    _name_lines(axis, [names[index] for index in best], "upper right")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    write_file(path, stream.getvalue())


def write_severities(
    path: Path,
    curves: Mapping[str, Sequence[tuple[int, float | None]]],
    metric: str,
    clean: float | None,
) -> None:
    """Plot a metric over the severities of corruptions as a PNG.

    Args:
        path: of the picture.
        curves: severities and values by corruption.
        metric: its name.
        clean: value without a corruption, at severity 0.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 4), constrained_layout=True)
    for pairs in curves.values():
        points = [(at, value) for at, value in ((0, clean), *pairs) if value is not None]
        axis.plot(*zip(*points, strict=True) if points else ((), ()), marker=".")
    axis.set_xticks(range(6))
    axis.set_ylim(0, 1.02)
    axis.set_xlabel("severity")
    axis.set_ylabel(metric)
    axis.grid(alpha=0.3)
    _name_lines(axis, list(curves), "lower left")
    _save(figure, path)
