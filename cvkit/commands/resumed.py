"""What a resumed prediction has in common with the one that began."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvkit.config import as_config
from cvkit.errors import UsageError
from cvkit.options.base import ENGINES, Predict
from cvkit.options.job import with_given
from cvkit.options.saves import NONE
from cvkit.texts import read_json, shown

if TYPE_CHECKING:
    from cvkit.data.files import InputFile
    from cvkit.data.video_frames import VideoFrame

FREE = frozenset(
    {
        *(
            "inputs",
            "weights",
            "out",
            "overwrite",
            "contact_sheet",
            "save",
            "engine",
            "batch_size",
            "image_ids",
        ),
        *("workers", "device", "devices", "nodes", "offline", "max_failures"),
    }
)
"""Flags that may differ when a prediction is resumed: no line of a result depends on them.

The model is compared by its hash. Inputs may be added; `root_of` tells where.
"""


class Earlier:
    """A prediction that is to be resumed, as its `predict.json` describes it.

    Args:
        options: of the command that resumes it, or of any other.

    Raises:
        DataError: `predict.json` is not JSON.
    """

    def __init__(self, options: Predict) -> None:
        about = options.out / "predict.json" if options.resume and options.out else None
        content = read_json(about) if about is not None and about.is_file() else {}
        self.about: dict[str, Any] = content if isinstance(content, dict) else {}
        flags = self.about.get("options")
        self.flags: dict[str, Any] = flags if isinstance(flags, dict) else {}
        self.out = options.out

    def continued(self, options: Predict) -> Predict:
        """Return the options of the command, which also keeps files for other programs current.

        Flags that only one of two versions of cvkit knows are not compared.

        Raises:
            UsageError: a flag that results depend on differs.
        """
        now = as_config(options)
        for name in sorted((now.keys() & self.flags.keys()) - FREE):
            if now[name] != self.flags[name]:
                raise UsageError(
                    f"--{name.replace('_', '-')} is {shown(now[name])}, but the results in --out "
                    f"{self.out} were made with {shown(self.flags[name])}",
                    code="resume.changed",
                    hint="resume with the same flags, or choose another folder or --overwrite",
                )
        before = self.flags.get("save")
        if not isinstance(before, str) or before in ("", NONE):
            return options
        kinds = dict.fromkeys(f"{before},{getattr(options, 'save', '')}".split(","))
        saves = ",".join(kind.strip() for kind in kinds if kind.strip() not in ("", NONE))
        changes: dict[str, Any] = {"save": saves} if "save" in now else {}
        return with_given(replace(options, **changes), options.given)

    def engine(self, wanted: str) -> str:
        """Return `--engine`, by default the one that the prediction began on: the bits are its."""
        name = self.about.get("engine")
        return str(name) if wanted == "auto" and name in ENGINES else wanted

    def root(self) -> Path | None:
        """Return the folder that the inputs were named after; None if there is none any more."""
        root = self.about.get("root")
        return Path(root) if isinstance(root, str) and os.path.isdir(root) else None


def root_of(files: "Sequence[InputFile | VideoFrame]") -> str | None:
    """Return the folder to which the keys of files are relative; None without files."""
    return os.path.abspath(files[0].path).removesuffix(f"/{files[0].key}") if files else None
