"""`--log wandb`: Weights & Biases, offline in `wandb/` of the run folder unless told otherwise.

The environment variable WANDB_MODE=online makes it send the run; `--offline` never lets it.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cvkit import storage
from cvkit.loggers.contract import Run

PROJECT = "cvkit"


class WeightsAndBiases:
    """Curves and pictures for Weights & Biases.

    A run that is resumed has the same id, and steps that were logged before are not logged again.

    Args:
        run: to be logged.
    """

    def __init__(self, run: Run) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # it would call the network
        import wandb

        known = run.folder / "wandb" / "run-id.txt"
        known.parent.mkdir(exist_ok=True)
        if not known.is_file():
            storage.write_file(known, os.urandom(4).hex())
        self.library = wandb
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            dir=run.folder,
            name=run.folder.name,
            id=known.read_text(),
            resume="allow",
            mode="offline" if run.offline else os.environ.get("WANDB_MODE", "offline"),
            config=run.config,
            settings=wandb.Settings(
                console="off", silent=True, disable_git=True, disable_code=True
            ),
        )

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log numbers after a step."""
        self.run.log(dict(values), step=step)

    def epoch(self, line: dict[str, Any], values: Mapping[str, float]) -> None:
        """Log an epoch after its last step."""
        self.scalars(line["step"], values)

    def pictures(self, step: int, shown: Sequence[tuple[str, np.ndarray]]) -> None:
        """Log pictures after a step."""
        images = [self.library.Image(picture, caption=name) for name, picture in shown]
        self.run.log({"validation": images}, step=step)

    def final(self, values: Mapping[str, float], report: Path | None) -> None:
        """Log the metrics of the kept model as the run's summary, and the page."""
        self.run.summary.update({f"final/{name}": value for name, value in values.items()})
        if report is not None:
            self.run.log({"report": self.library.Html(str(report))})

    def close(self) -> None:
        """Write what is left."""
        self.run.finish(quiet=True)
