"""What `--val-fraction` means for data that are divided by it, and for data that are not."""

from cvkit.data.folders import Collection
from cvkit.engine.report import Reporter
from cvkit.errors import UsageError
from cvkit.options.classify import ClassifyEval, ClassifyTrain
from cvkit.options.video import VideoEval, VideoTrain


def require_share(options: ClassifyEval | VideoEval) -> None:
    """Check that `--val-fraction` leaves something in the split that is evaluated.

    Raises:
        UsageError: it leaves nothing.
    """
    emptied = {0.0: "val", 1.0: "train"}.get(options.val_fraction)
    if options.split == emptied:
        raise UsageError(
            f"--val-fraction {options.val_fraction:g} leaves nothing in split {emptied!r}",
            code="split.empty",
            hint="--split all takes everything",
        )


def warn_of_idle_share(
    options: ClassifyTrain | VideoTrain | ClassifyEval | VideoEval,
    data: Collection,
    report: Reporter,
) -> None:
    """Say that `--val-fraction` divides nothing where the data are split already."""
    default = type(options).__dataclass_fields__["val_fraction"].default
    if options.val_fraction != default and not data.divided:
        report.warn("--val-fraction has no effect: the data are split already")
