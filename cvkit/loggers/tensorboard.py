"""`--log tensorboard`: event files in `tensorboard/` of the run folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cvkit.loggers.contract import Run
from cvkit.yaml_files import dump_yaml


class TensorBoard:
    """Curves and pictures for TensorBoard.

    A run that is resumed begins a new event file, which voids later steps of the older ones.

    Args:
        run: to be logged.
    """

    def __init__(self, run: Run) -> None:
        from torch.utils.tensorboard import SummaryWriter

        place = run.folder / "tensorboard"
        begun = place.is_dir()
        self.writer = SummaryWriter(str(place), purge_step=run.step + 1 if begun else None)
        if not begun:
            self.writer.add_text("config", _code(dump_yaml(run.config)), 0)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log numbers after a step."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def epoch(self, line: dict[str, Any], values: Mapping[str, float]) -> None:
        """Log an epoch after its last step."""
        self.scalars(line["step"], values)
        self.writer.flush()

    def pictures(self, step: int, shown: Sequence[tuple[str, np.ndarray]]) -> None:
        """Log pictures after a step."""
        for name, picture in shown:
            self.writer.add_image(f"validation/{name}", picture, step, dataformats="HWC")
        self.writer.flush()

    def final(self, values: Mapping[str, float], report: Path | None) -> None:
        """Log the metrics of the kept model as a table."""
        rows = "".join(f"| {name} | {value} |\n" for name, value in values.items())
        self.writer.add_text("final", f"| metric | value |\n|---|---|\n{rows}")

    def close(self) -> None:
        """Write what is left."""
        self.writer.close()


def _code(text: str) -> str:
    """Return text for Markdown, where four blanks mean that it is not interpreted."""
    return "".join(f"    {line}\n" for line in text.splitlines())
