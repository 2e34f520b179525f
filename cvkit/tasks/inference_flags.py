"""Flags of eval and predict that would have no effect. Imports no torch."""

from collections.abc import Iterator

from cvkit.errors import UsageError
from cvkit.options.base import Eval, Predict
from cvkit.options.described import differs
from cvkit.options.detect import DetectingEval, DetectPredict, protocols
from cvkit.options.instance import InstanceEval
from cvkit.options.saves import MARKED, parse_saves
from cvkit.options.segment import SegmentEval, dialects
from cvkit.options.tiling import Tiled

OF_A_MODEL = (
    *("data", "json_file", "tta", "sliding_window", "views", "proposals"),
    *("nms", "min_size", "mask_threshold", "exclude", "tiles", "overlap", "attack", "corruptions"),
)
"""Flags about the inputs of a network; they have no effect when files are scored."""
OF_FILES = ("truth", "fuse", "weight", "missing", "extra")
"""Flags about files of predictions; they have no effect on a model."""
DIVIDING = ("val_fraction", "seed")
"""Flags that divide data without splits; a COCO file is divided, a table is used completely."""
HINTS = {
    "data": "give the ground truth of predictions with --truth",
    "json_file": "give the ground truth of predictions with --truth FILE",
    "exclude": "leave the samples out of --truth",
    "overlap": "add --tiles",
    "truth": "give the dataset on which a model is evaluated with --data",
}

Rule = tuple[bool, tuple[str, ...], str]
"""(whether it applies, flags that then have no effect, the reason)."""


def require_effect(options: Eval | Predict) -> None:
    """Check that the result depends on every flag that differs from its default.

    Flags about how a network runs (`--device`, `--precision`, `--workers`, `--batch-size`) are not
    checked, because they are often set for all commands.

    Raises:
        UsageError: names the first flag that has no effect, and why.
    """
    for holds, names, reason in _rules(options):
        for name in names:
            if holds and differs(options, name):
                raise UsageError(
                    f"--{name.replace('_', '-')} has no effect with {reason}",
                    code=f"{name}.idle",
                    hint=HINTS.get(name, "omit it"),
                )


def _rules(options: Eval | Predict) -> Iterator[Rule]:
    if isinstance(options, Eval):
        yield options.predictions is not None, OF_A_MODEL, "--predictions: no network runs"
        yield options.weights is not None, OF_FILES, "--weights"
        yield not options.files, ("report",), "--no-files: it is written into the report folder"
        file = options.truth is not None and options.truth.is_file()
        names: tuple[str, ...] = (
            ("format",) if isinstance(options, DetectingEval) else ("format", *DIVIDING)
        )
        if options.bootstrap:
            names = tuple(name for name in names if name != "seed")
        yield file, (*names, "splits", "fold"), f"--truth {options.truth}, which is a file"
    if isinstance(options, Tiled):
        yield not options.tiles, ("overlap",), "whole images"
    if isinstance(options, SegmentEval):
        others = "cvkit" not in dialects(options.dialect)
        yield others, ("absent_class",), f"--dialect {options.dialect}, which defines it"
        yield others, ("bootstrap",), f"--dialect {options.dialect}: only cvkit's has intervals"
    if isinstance(options, DetectingEval):
        named = protocols(options.protocol)
        yield named == ("coco",), ("iou",), "--protocol coco, which averages over IoUs"
        reason = f"--protocol {options.protocol}: it belongs to coco"
        yield isinstance(options, InstanceEval) and "coco" not in named, ("boundary",), reason
    if isinstance(options, DetectPredict):
        drawn = options.overlay != "none" or MARKED in parse_saves(options.save, "detect")
        yield not drawn, ("draw_threshold",), "--overlay none"
