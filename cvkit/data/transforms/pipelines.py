"""Pipelines whose randomness is a function of a seed."""

import copy
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path

import albumentations as A
import numpy as np

from cvkit.errors import DataError, UsageError
from cvkit.texts import read_json
from cvkit.yaml_files import read_yaml

FILL_RGB = (124, 116, 104)
"""Padding colour: the mean of ImageNet, which is 0 after normalisation."""


class Seeded:
    """A pipeline whose randomness is a function of a seed; can be pickled."""

    def __init__(
        self,
        steps: list[A.BasicTransform | A.BaseCompose],
        bbox_params: A.BboxParams | None = None,
    ) -> None:
        self._pipeline = A.Compose(steps, bbox_params=bbox_params)
        self._thread = threading.local()

    def apply(self, seed: int, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        """Return the transformed inputs, by the same names."""
        if not hasattr(self._thread, "pipeline"):
            self._thread.pipeline = copy.deepcopy(self._pipeline)
        self._thread.pipeline.set_random_seed(seed)
        result = self._thread.pipeline(**arrays)
        return {name: np.ascontiguousarray(result[name]) for name in arrays}

    def __getstate__(self) -> dict:
        return {name: value for name, value in vars(self).items() if name != "_thread"}

    def __setstate__(self, state: dict) -> None:
        self.__dict__ |= {**state, "_thread": threading.local()}


def load_pipeline(path: Path, known: Sequence[str]) -> A.BaseCompose | A.BasicTransform:
    """Return the albumentations pipeline in a YAML or JSON file.

    Args:
        path: the file.
        known: built-in names, for hints.

    Raises:
        UsageError: the file is missing, malformed or names an unknown transform.
    """
    hint = "albumentations.save(pipeline, FILE, data_format='yaml') writes such a file"
    if not path.is_file():
        raise UsageError(
            f"--augment {path} is not a file",
            code="augment.missing",
            hint=f"{', '.join(known)}, or an albumentations YAML or JSON file",
        )
    try:
        if path.suffix == ".json":
            content = read_json(path)
        else:
            content = read_yaml(path, area="augment", error=UsageError)
    except DataError as error:
        raise UsageError(f"--augment {error}", code="augment.invalid", hint=hint) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the errors below report what matters
            return A.from_dict(content)
    except Exception as error:  # constructors of transforms raise many kinds for a wrong value
        reason = " ".join(str(error).split())
        raise UsageError(
            f"--augment {path}: {reason}", code="augment.invalid", hint=hint
        ) from error
