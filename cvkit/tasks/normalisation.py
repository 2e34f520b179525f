"""Mean and deviation of the pixels that the weights of `--pretrained` expect."""

from pathlib import Path

import torchvision

from cvkit.engine.checkpoint import read_header
from cvkit.errors import ModelFileError
from cvkit.models.published import recognised, statistics


def pretrained_statistics(source: str | None, builder: str) -> dict[str, tuple[float, ...]]:
    """Return `mean` and `std` for a preprocessing, empty where the weights do not say them.

    Published weights are recognised by their hash, whether they are named or given as a file,
    whatever its name; a model that cvkit wrote says it in its header.

    Args:
        source: what `--pretrained` names.
        builder: function of torchvision that makes the network; empty if there is none.

    Raises:
        ModelFileError: the file has a published name and another content.
    """
    if source is None or not builder:
        return {}
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
        preprocessing = read_header(path).get("preprocessing", {})
    except ModelFileError:
        return {}  # tensors without a header, or a damaged file, which is refused when it is loaded
    return {name: tuple(preprocessing[name]) for name in ("mean", "std") if name in preprocessing}
