"""cvkit: train, evaluate and run vision models, with numbers that can be trusted."""

from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cvkit.api.predictor import Predictor
    from cvkit.api.runs import evaluate, train

__all__ = ["__version__", "evaluate", "load", "train"]

__version__ = "0.1.0"

OF_FILES = (
    *("contact_sheet", "debug", "devices", "image_ids", "inputs", "json", "json_results"),
    *("max_failures", "nodes", "out", "overlay", "overwrite", "per_clip", "quiet", "resume"),
    *("save", "top_k"),
)
"""Flags of predict about its files and what it prints, which a program decides itself."""


def load(weights: str | PathLike[str], task: str | None = None, **options: object) -> "Predictor":
    """Return a ready `cvkit.api.predictor.Predictor` for a trained model.

    Args:
        weights: run folder, `.safetensors` file, exported `.onnx` or `.xml` file, the name of a
            file in `weights/`, or a published name such as `imagenet`, which is downloaded on
            first use.
        task: such as `"instance"`; only needed for names that are published for several tasks.
        **options: flags of the task's `predict` command about the model and the machine, for
            example `batch_size=4`.

    Raises:
        cvkit.errors.CvkitError: the model cannot be found or read, or an option is unknown or has
            an invalid value.
    """
    from cvkit.api.predictor import load_predictor
    from cvkit.config import from_config
    from cvkit.errors import UsageError
    from cvkit.options.tree import task_options
    from cvkit.tasks.naming import task_of

    if not isinstance(weights, str | PathLike) or not fspath(weights):
        raise UsageError(
            f"cvkit.load: weights={weights!r} is neither a model name nor a path",
            code="weights.type",
            hint="a run folder, a .safetensors file, or a name such as 'shapes'",
        )
    weights = fspath(weights)
    kind = task_of(weights, task)
    given = {k: fspath(v) if isinstance(v, PathLike) else v for k, v in options.items()}
    if given.get("embeddings") is True:  # the command wants the name of a file
        given["embeddings"] = "embeddings.npz"
    options_class = task_options(kind, "predict")
    idle = next((name for name in given if name in OF_FILES), None)
    if idle is not None:
        raise UsageError(
            f"cvkit.load: {idle} is for the command line", code="api.flag", hint="omit it"
        )
    chosen = from_config(options_class, given, "cvkit.load") | {"weights": weights}
    return load_predictor(weights, kind, options_class(**chosen))


def __getattr__(name: str) -> Any:
    """Import `train` and `evaluate` at their first use: the command line starts without them."""
    if name in ("evaluate", "train"):
        from cvkit.api import runs

        return getattr(runs, name)
    raise AttributeError(f"module 'cvkit' has no attribute {name!r}")
