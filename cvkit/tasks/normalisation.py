"""Mean and deviation of the pixels that the weights of `--pretrained` expect."""

import json
from pathlib import Path

import torchvision

from cvkit.engine.checkpoint import read_header
from cvkit.errors import ModelFileError
from cvkit.models.published import recognised, statistics
from cvkit.options.base import Train


def pretrained_statistics(options: Train, builder: str) -> dict[str, tuple[float, ...]]:
    """Return `mean` and `std` for a preprocessing, empty where the weights do not say them.

    Published weights are recognised by their hash, whether they are named or given as a file,
    whatever its name; a model that cvkit wrote says it in its header. A run that is resumed goes
    on with the numbers that it began with: the file may have gone since.

    Args:
        options: of the run.
        builder: function of torchvision that makes the network; empty if there is none.

    Raises:
        ModelFileError: the file has a published name and another content.
    """
    source = options.pretrained
    if source is None or not builder:
        return {}
    if options.resume and (own := _of_run(options.resume)):
        return own
    if source.partition(":")[0] in ("imagenet", "kinetics"):
        found = builder, torchvision.models.get_model_weights(builder).DEFAULT
    elif not Path(source).is_file():
        return {}  # refused where it is loaded
    elif own := _of_header(Path(source)):
        return own
    else:
        found = recognised(Path(source), [builder])
    return dict(zip(("mean", "std"), statistics(*found), strict=True)) if found else {}


def _of_header(path: Path) -> dict[str, tuple[float, ...]]:
    """Return mean and deviation that a model of cvkit stores; empty for other files."""
    if path.suffix != ".safetensors":
        return {}
    try:
        return _both(read_header(path).get("preprocessing"))
    except ModelFileError:
        return {}  # tensors without a header, or a damaged file, which is refused when it is loaded


def _of_run(run: Path) -> dict[str, tuple[float, ...]]:
    """Return what a run wrote down at its start; the best model says it of runs that did not."""
    try:
        about = json.loads((run / "environment.json").read_text())
    except (OSError, ValueError):
        about = {}
    return _both(about.get("preprocessing")) or _of_header(run / "best.safetensors")


def _both(preprocessing: dict | None) -> dict[str, tuple[float, ...]]:
    made = preprocessing or {}
    return {name: tuple(made[name]) for name in ("mean", "std") if name in made}
