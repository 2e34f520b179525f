"""What `predict --save` asks for, checked before anything is predicted."""

from collections.abc import Sequence
from os.path import relpath
from pathlib import Path

from cvkit.errors import UsageError
from cvkit.options.saves import parse_saves
from cvkit.output.annotation_files import IN_XML, require_xml
from cvkit.structures import ClassList, Sample


def chosen_saves(text: str, task: str, classes: ClassList) -> tuple[str, ...]:
    """Return what `--save` names.

    Args:
        text: value of the flag.
        task: key of `cvkit.options.saves.SAVES`.
        classes: of the model.

    Raises:
        UsageError: unknown, always written, or a format that cannot hold the name of a class.
    """
    kinds = parse_saves(text, task)
    for kind in kinds:
        for name in classes.names if kind in IN_XML else ():
            try:
                require_xml(name)
            except UsageError as error:
                raise UsageError(
                    f"--save {kind}: {error}, which is a class of the model", code=error.code
                ) from error
    return kinds


def location(kinds: Sequence[str], sample: Sample, folder: Path) -> dict[str, str]:
    """Return the place of an input for its line, if a format of `--save` needs it.

    Args:
        kinds: of `--save`.
        sample: the input.
        folder: of the results.
    """
    if "labelme" not in kinds or sample.file is None:
        return {}
    return {"file": Path(relpath(sample.file, folder)).as_posix()}
