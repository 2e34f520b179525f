"""What the curves of a training say about it, in words and with the numbers that show it."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

FEWEST = 5
"""Epochs below which curves are not read."""
RISE = 1.1
"""Factor between losses from which one of them counts as higher."""
LEVEL = 0.03
"""Relative change of the validation loss between two quarters of the epochs that is none."""
ALIKE = 0.05
"""Difference of a metric between training and validation that is none."""
GOOD = 0.9
"""Training metric from which nothing is said about under-fitting."""


@dataclass(frozen=True)
class Finding:
    """What curves show.

    Attributes:
        name: `unstable`, `overfitting`, `improving`, `underfitting` or `level`.
        evidence: the numbers that show it.
        advice: what to try; "" for nothing.
    """

    name: str
    evidence: str
    advice: str = ""

    def sentence(self) -> str:
        """Return the finding in words."""
        advice = f"; {self.advice}" if self.advice else ""
        return f"curves: {TITLES[self.name]}: {self.evidence}{advice}"


TITLES = {
    "unstable": "the learning rate is probably too high",
    "overfitting": "over-fitting",
    "improving": "still improving",
    "underfitting": "probably under-fitting",
    "level": "level",
}


def read_curves(history: Sequence[Mapping[str, Any]], metric: str) -> Finding | None:
    """Return what the curves of a run show; None if there are too few epochs or numbers.

    The first of these that holds:

    - unstable: the training loss ends above that of the first epoch, or rises by a tenth in a third
      of the epochs.
    - overfitting: the validation loss ends a tenth above its minimum, two epochs or more after it,
      and the training loss has fallen meanwhile.
    - improving: the validation loss is lowest in the last tenth of the epochs, and its mean over
      the last quarter is 3 % or more below that of the quarter before.
    - underfitting: the metric of training and validation differ by at most 0.05, and that of
      training is below 0.9.
    - level: none of them.

    Args:
        history: lines of metrics.jsonl.
        metric: name of the one that picks the best epoch, larger is better, in [0, 1].
    """
    loss, val = (_numbers(history, name) for name in ("loss", "val_loss"))
    if len(history) < FEWEST or loss is None or val is None:
        return None
    trained, validated = (_numbers(history[-2:], name) for name in (f"train_{metric}", metric))
    found = _unstable(loss) or _overfitting(loss, val) or _improving(val)
    if found is None and trained and validated:
        found = _underfitting(mean(trained), mean(validated), metric, val)
    return found or Finding("level", _change(val))


def _numbers(history: Sequence[Mapping[str, Any]], name: str) -> list[float] | None:
    values = [line.get(name) for line in history]
    known = [value for value in values if isinstance(value, int | float) and math.isfinite(value)]
    return known if len(known) == len(values) else None


def _unstable(loss: list[float]) -> Finding | None:
    pairs = list(itertools.pairwise(loss))
    rises = [after / before for before, after in pairs if after > RISE * before > 0]
    advice = "a lower --lr; --find-lr suggests one"
    if loss[-1] > loss[0]:
        words = f"training loss {loss[0]:.4g} in the first epoch, {loss[-1]:.4g} in the last"
        return Finding("unstable", words, advice)
    if 3 * len(rises) >= len(pairs):
        words = f"the training loss rose in {len(rises)} of {len(pairs)} epochs"
        return Finding("unstable", f"{words}, by up to {max(rises) - 1:.0%}", advice)
    return None


def _overfitting(loss: list[float], val: list[float]) -> Finding | None:
    low = val.index(min(val))
    later = len(val) - 1 - low
    if later < max(2, len(val) // 10):
        return None
    end = mean(val[-min(3, later) :])
    if end < RISE * val[low] or loss[-1] >= loss[low]:
        return None
    return Finding(
        "overfitting",
        f"the validation loss was lowest in epoch {low + 1} ({val[low]:.4g}) and ended at "
        f"{end:.4g}, while the training loss fell from {loss[low]:.4g} to {loss[-1]:.4g}",
        "more data, stronger --augment or --weight-decay, or fewer epochs",
    )


def _quarters(val: list[float]) -> tuple[float, float]:
    """Return the means of the last quarter of the epochs and of the one before."""
    size = max(1, len(val) // 4)
    return mean(val[-size:]), mean(val[-2 * size : -size])


def _change(val: list[float]) -> str:
    recent, before = _quarters(val)
    size = max(1, len(val) // 4)
    span = "epoch" if size == 1 else f"{size} epochs"
    return f"validation loss {recent:.4g} in the last {span}, {before:.4g} in the {span} before"


def _improving(val: list[float]) -> Finding | None:
    recent, before = _quarters(val)
    late = val.index(min(val)) >= len(val) - max(1, len(val) // 10)
    if not late or recent > (1 - LEVEL) * before:
        return None
    return Finding("improving", _change(val), "more --epochs")


def _underfitting(
    trained: float, validated: float, metric: str, val: list[float]
) -> Finding | None:
    if abs(trained - validated) > ALIKE or trained >= GOOD:
        return None
    return Finding(
        "underfitting",
        f"{metric} is {trained:.3f} in training and {validated:.3f} in validation; {_change(val)}",
        "a larger network, a higher --lr, or less regularisation",
    )
