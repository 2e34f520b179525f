"""Pipelines whose randomness is a function of a seed."""

import copy
import json
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path

import albumentations as A
import numpy as np
import yaml

from cvkit.errors import UsageError

FILL_RGB = (124, 116, 104)
"""Colour of padding: the mean of ImageNet, 0 after normalisation."""


class Seeded:
    """A pipeline whose randomness is a function of a seed; may travel between processes."""

    def __init__(
        self,
        steps: list[A.BasicTransform | A.BaseCompose],
        bbox_params: A.BboxParams | None = None,
    ) -> None:
        self._pipeline = A.Compose(steps, bbox_params=bbox_params)
        self._own = threading.local()

    def apply(self, seed: int, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        """Return what the pipeline makes of its inputs, by the same names."""
        if not hasattr(self._own, "pipeline"):
            self._own.pipeline = copy.deepcopy(self._pipeline)
        self._own.pipeline.set_random_seed(seed)
        result = self._own.pipeline(**arrays)
        return {name: np.ascontiguousarray(result[name]) for name in arrays}

    def __getstate__(self) -> dict:
        return {name: value for name, value in vars(self).items() if name != "_own"}

    def __setstate__(self, state: dict) -> None:
        self.__dict__ |= {**state, "_own": threading.local()}


def load_pipeline(path: Path, known: Sequence[str]) -> A.BaseCompose | A.BasicTransform:
    """Return the albumentations pipeline in a YAML or JSON file.

    Args:
        path: the file.
        known: built-in names that could have been meant.

    Raises:
        UsageError: the file is missing, malformed or names an unknown transform.
    """
    hint = "albumentations.save(pipeline, FILE, data_format='yaml') writes such a file"
    try:
        text = path.read_text()
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the errors below say what matters
            return A.from_dict(content)
    except OSError as error:
        raise UsageError(
            f"--augment {path}: {error.strerror}",
            code="augment.missing",
            hint=f"{', '.join(known)}, or an albumentations YAML or JSON file",
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(
            f"--augment {path}: {reason}", code="augment.invalid", hint=hint
        ) from error
