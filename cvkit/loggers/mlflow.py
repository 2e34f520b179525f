"""`--log mlflow`: MLflow, in `mlflow.db` and `mlflow/` of the run folder unless told otherwise.

The environment variable MLFLOW_TRACKING_URI names another place, such as a server.
"""

import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cvkit import storage
from cvkit.errors import UsageError
from cvkit.loggers.contract import Run
from cvkit.yaml_files import dump_yaml

EXPERIMENT = "cvkit"
UNWRITABLE = re.compile(r"[^\w\-. /]")
"""Characters that names of metrics cannot have."""


class MLflow:
    """Curves and pictures for MLflow.

    A run that is resumed continues its entry there; steps that were logged before are skipped.

    Args:
        run: to be logged.
    """

    def __init__(self, run: Run) -> None:
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        from mlflow import MlflowClient

        own = f"sqlite:///{(run.folder / 'mlflow.db').absolute()}"
        place = os.environ.get("MLFLOW_TRACKING_URI", own)
        if run.offline and "://" in place and not place.startswith(("sqlite:", "file:")):
            raise UsageError(f"--offline forbids MLFLOW_TRACKING_URI {place}", code="log.offline")
        self.client = MlflowClient(tracking_uri=place)
        known = run.folder / "mlflow" / "run-id.txt"
        known.parent.mkdir(exist_ok=True)
        if not known.is_file():
            storage.write_file(known, self._created(run, own == place))
        self.id = known.read_text()
        history = self.client.get_run(self.id).data.metrics
        self.last = {name: self._last_step(name) for name in history}

    def _created(self, run: Run, own: bool) -> str:
        """Return the id of a new entry, with the flags as parameters."""
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        found = self.client.get_experiment_by_name(name)
        folder = (run.folder / "mlflow").absolute().as_uri() if own else None
        number = found.experiment_id if found else self.client.create_experiment(name, folder)
        id_: str = self.client.create_run(number, run_name=run.folder.name).info.run_id
        for flag, value in run.config.items():
            self.client.log_param(id_, flag, str(value)[:500])
        self.client.log_text(id_, dump_yaml(run.config), "config.yaml")
        return id_

    def _last_step(self, name: str) -> int:
        return max(each.step for each in self.client.get_metric_history(self.id, name))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log numbers after a step."""
        from mlflow.entities import Metric

        now, batch = int(time.time() * 1000), []
        for name, value in values.items():
            known = UNWRITABLE.sub("_", name)
            if step > self.last.get(known, -1):
                self.last[known] = step
                batch.append(Metric(known, value, now, step))
        self.client.log_batch(self.id, metrics=batch)

    def epoch(self, line: dict[str, Any], values: Mapping[str, float]) -> None:
        """Log an epoch after its last step."""
        self.scalars(line["step"], values)

    def pictures(self, step: int, shown: Sequence[tuple[str, np.ndarray]]) -> None:
        """Keep pictures, in a folder per step."""
        from PIL import Image

        for number, (_, picture) in enumerate(shown):
            place = f"validation/step-{step:08d}/{number}.png"
            self.client.log_image(self.id, Image.fromarray(picture), place)

    def final(self, values: Mapping[str, float], report: Path | None) -> None:
        """Log the metrics of the kept model, and keep the page."""
        for name, value in values.items():
            self.client.log_metric(self.id, UNWRITABLE.sub("_", f"final/{name}"), value)
        if report is not None:
            self.client.log_artifact(self.id, str(report))

    def close(self) -> None:
        """Mark the run as ended."""
        self.client.set_terminated(self.id)
