"""The division of data without splits: its fraction and seed, and whether it is still valid."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cvkit.console import Reporter
from cvkit.data.division import Division
from cvkit.data.exclusion import noted_exclusion
from cvkit.data.fingerprint import RULE, fingerprint
from cvkit.data.roots import place_name
from cvkit.data.split_lists import SplitLists, parse_fold, read_lists, with_fold
from cvkit.errors import CvkitWarning, UsageError
from cvkit.options.base import Eval, Train
from cvkit.options.described import differs
from cvkit.storage import sha256

DIVIDING = ("val_fraction", "test_fraction", "group_by")
"""Flags that say how data without splits are divided, beside the seed."""


def training_division(options: Train) -> Division:
    """Return how training divides data without splits.

    Raises:
        UsageError: `--val-fraction` is 0 or 1, so that a split would be empty; `--splits` and
            `--fold` do not go together.
        DataError: the file of `--splits` is malformed.
    """
    share = options.val_fraction
    if lists := chosen_lists(options, options.train_split, options.val_split):
        return Division(None, options.seed, lists)
    if not 0 < share < 1:
        raise UsageError(
            f"--val-fraction {share:g} leaves a split empty",
            code="split",
            hint="a number between 0 and 1, such as 0.2",
        )
    test = options.test_fraction
    if share + test >= 1:
        raise UsageError(
            f"--val-fraction {share:g} and --test-fraction {test:g} leave nothing to train on",
            code="split",
            hint="smaller fractions, such as 0.2 and 0.1",
        )
    return Division(share, options.seed, None, test, options.group_by)


def model_division(options: Eval, header: dict) -> Division:
    """Return the fraction and seed by which data without splits are divided to evaluate a model.

    Without `--val-fraction` and `--seed` they are those of its training, so that `val` has no
    training samples. For models from versions without seeds, the seed is None.

    Raises:
        UsageError: `--val-fraction` leaves the evaluated split empty; `--splits` and `--fold` do
            not go together.
        DataError: the file of `--splits` is malformed.
    """
    share = options.val_fraction
    if share is not None and options.split == {0.0: "val", 1.0: "train"}.get(share):
        raise UsageError(
            f"--val-fraction {share:g} leaves nothing in split {options.split!r}",
            code="split.empty",
            hint="use --split all to evaluate on everything",
        )
    kept = header.get("labels", {})
    if lists := chosen_lists(options, "train", "val"):
        return Division(None, options.seed or 0, lists)
    name = (header.get("data") or {}).get("name")
    if kept.get("splits") and name in (None, place_name(Path(options.data or ""))):
        warnings.warn(
            f"the model was trained on a split of {kept['splits']}: without --splits, the data may "
            "contain training samples",
            CvkitWarning,
            stacklevel=2,
        )
    known = kept.get("val_fraction")
    seed = kept.get("split_seed", 0 if known is None else None)
    fraction = known if share is None else share
    seed = seed if options.seed is None else options.seed
    if fraction is None:  # nothing is divided
        return Division(None, seed)
    test, group_by = kept.get("test_fraction") or 0.0, kept.get("group_by")
    if fraction + test > 1:
        raise UsageError(
            f"--val-fraction {fraction:g} and the model's test fraction {test:g} are more than all",
            code="split.empty",
            hint=f"at most {1 - test:g}",
        )
    return Division(fraction, seed, None, test, group_by)


def chosen_lists(options: Train | Eval, train: str, val: str) -> SplitLists | None:
    """Return the samples that `--splits` and `--fold` list for each split; None without them.

    Args:
        options: of the command.
        train: name of the split of all folds but one.
        val: name of the split of the fold.

    Raises:
        UsageError: `--fold` without `--splits`, or malformed; `--val-fraction` with `--splits`.
        DataError: the file is malformed.
    """
    if options.splits is None:
        if options.fold is not None:
            raise UsageError(
                "--fold needs --splits",
                code="fold.alone",
                hint="'cvkit data split' writes the file",
            )
        return None
    for name in DIVIDING:
        if differs(options, name):
            raise UsageError(
                f"--{name.replace('_', '-')} has no effect with --splits {options.splits}",
                code=f"{name}.idle",
                hint="omit it",
            )
    lists = read_lists(options.splits)
    if options.fold is None:
        return lists
    return with_fold(lists, parse_fold(options.fold, lists), train, val)


def division_of(options: Train, heap: str | None) -> dict[str, Any]:
    """Return the description of the data's division for a model file; see `model_division`.

    Args:
        options: of the training.
        heap: the part that was divided, see `cvkit.data.division.Parts`.
    """
    left_out = noted_exclusion(options.exclude)
    if options.splits is not None:
        listed = {"splits": options.splits.name, "splits_sha256": sha256(options.splits)}
        return {"val_fraction": None, **listed, "fold": options.fold} | left_out
    if heap is None:
        return {"val_fraction": None} | left_out
    further = {name: getattr(options, name) for name in DIVIDING[1:] if differs(options, name)}
    made = {"val_fraction": options.val_fraction, "split_seed": options.seed}
    return made | further | left_out


def _draws(options: Train | Eval) -> bool:
    """Return whether `--seed` has an effect besides the division."""
    if isinstance(options, Train):
        return True
    return bool(options.bootstrap or options.corruptions or getattr(options, "attack", ()))


def tell_division(
    options: Train | Eval,
    place: Path,
    heap: str | None,
    division: Division,
    splits: Mapping[str, Sequence[Any]],
    report: Reporter,
) -> None:
    """Report how data were divided into which counts, or which flags had no effect.

    Args:
        options: of the command.
        place: of the data.
        heap: the part that was divided, see `cvkit.data.division.Parts`.
        division: fraction and seed.
        splits: the samples of each requested split.
        report: for the line.
    """
    if division.lists is not None:
        counts = ", ".join(f"{name}: {len(samples)}" for name, samples in splits.items())
        fold = f", fold {options.fold}" if options.fold else ""
        report.say(f"data: --splits {division.lists.file}{fold} divides {place} into {counts}")
        return
    if heap is None:
        fields = type(options).__dataclass_fields__
        others = ("val_fraction",) if _draws(options) else ("val_fraction", "seed")
        for name in DIVIDING if isinstance(options, Train) else others:
            if getattr(options, name) != fields[name].default:
                flag = name.replace("_", "-")
                report.warn(f"--{flag} has no effect: the data are already split")
        return
    if division.val_fraction is None:
        names = ", ".join(map(repr, splits))
        report.say(f"data: {place} is not split: {names} is the whole dataset")
        return
    what = f"{heap!r} of {place}" if heap else str(place)
    seed = "" if division.seed is None else f" and --seed {division.seed}"
    counts = ", ".join(f"{name}: {len(samples)}" for name, samples in splits.items())
    share = f"--val-fraction {division.val_fraction:g}"
    if division.test_fraction:
        share += f", --test-fraction {division.test_fraction:g}"
    if division.group_by:
        share += f", --group-by {division.group_by}"
    report.say(f"data: there is no validation split; {share}{seed} divide {what} into {counts}")


def warn_if_changed(
    place: Path,
    heap: str | None,
    rows: Mapping[str, Iterable[tuple[str, ...]]],
    header: dict,
    report: Reporter,
) -> None:
    """Warn if the divided data have changed since training, so that their division differs.

    Args:
        place: of the data.
        heap: the part that was divided as in training, see `cvkit.data.division.Parts`.
        rows: content of the fingerprint of each split.
        header: of the model.
        report: for the warning.
    """
    about = header.get("data", {})
    if (
        heap is None
        or about.get("name") != place_name(place)
        or about.get("fingerprint_rule") != RULE
    ):
        return
    for name, samples in rows.items():
        if about["fingerprints"].get(name, "") not in ("", fingerprint(samples)):
            report.warn(
                f"{name!r} of {place} has changed since the model was trained (files, or flags "
                "of the division); it may contain training samples"
            )
