"""What can be checked of an export before the model is read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cvkit import storage
from cvkit.catalog import listed_names
from cvkit.errors import UsageError
from cvkit.options.export import DYNAMIC, Export

if TYPE_CHECKING:
    from cvkit.export.formats import Format


def check_flags(options: Export, kind: Format) -> None:
    """Check what can be checked before anything is read.

    Raises:
        UsageError: flags that cannot be combined, or a file that is there.
    """
    if not options.weights:
        raise UsageError("--weights is missing", code="weights.missing", hint="--weights RUN")
    if Path(options.weights).suffix in _suffixes() and Path(options.weights).exists():
        raise UsageError(
            f"--weights {options.weights} is exported already",
            code="export.source",
            hint="give the run folder or .safetensors file that it was made of",
        )
    for name in ("split", "max_drop"):
        if options.data is None and name in options.given:
            flag = name.replace("_", "-")
            raise UsageError(
                f"--{flag} has no effect without --data", code=f"{name}.idle", hint="give --data"
            )
    _check_precision(options, kind)
    if options.dynamic not in (None, "none"):
        listed_names(options.dynamic, DYNAMIC, "--dynamic")
    _require_out(options, kind)


def _check_precision(options: Export, kind: Format) -> None:
    """Check `--half`, `--int8` and what belongs to them.

    Raises:
        UsageError: they cannot be combined, or the format or the data are not for them.
    """
    from cvkit.export.formats import FORMATS, require_package

    for name in ("half", "int8"):
        if getattr(options, name) and kind.from_onnx is None:
            able = " and ".join(n for n, each in FORMATS.items() if each.from_onnx)
            raise UsageError(
                f"--{name} is not available with --format {options.format}",
                code=f"{name}.unsupported",
                hint=f"{able} have it",
            )
    if options.half and options.int8:
        raise UsageError(
            "--half and --int8 cannot be combined", code="half.combined", hint="omit one of them"
        )
    if options.int8 and options.data is None:
        raise UsageError(
            "--int8 needs images for its calibration", code="int8.data", hint="give --data"
        )
    if options.int8:
        require_package(FORMATS["onnx"], "--int8")
    elif "calibrate" in options.given:
        raise UsageError(
            "--calibrate has no effect without --int8", code="calibrate.idle", hint="omit it"
        )


def _suffixes() -> tuple[str, ...]:
    from cvkit.export.formats import FORMATS

    return tuple(kind.suffix for kind in FORMATS.values())


def _require_out(options: Export, kind: Format) -> None:
    """Check that the file can be written at the end.

    Raises:
        UsageError: `--out` is no new file of the format in a folder that exists.
    """
    if options.out is None:
        if options.overwrite:
            raise UsageError(
                "--overwrite has no effect without --out", code="overwrite.idle", hint="omit it"
            )
        return
    if options.out.suffix != kind.suffix:
        raise UsageError(
            f"--out {options.out} does not end with {kind.suffix}",
            code="out.suffix",
            hint=f"model{kind.suffix}",
        )
    if not options.out.parent.is_dir():
        raise UsageError(
            f"--out {options.out}: there is no folder {options.out.parent}",
            code="out.folder",
            hint="create it",
        )
    for path in (*kind.files(options.out), report_path(options.out)):
        if path.exists() and not options.overwrite:
            raise UsageError(
                f"--out {options.out}: {path} exists",
                code="out.exists",
                hint="add --overwrite to replace it",
            )
    storage.require_writable(options.out.parent)


def report_path(path: Path) -> Path:
    """Return the report of an exported file."""
    return path.with_name(f"{path.name}.export.json")


def failed_path(path: Path) -> Path:
    """Return the name of a file that differs from its network."""
    return path.with_name(f"{path.name}.failed")
