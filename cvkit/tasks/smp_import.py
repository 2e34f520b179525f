"""What a network of segmentation_models.pytorch takes from the file beside its weights."""

from pathlib import Path

from cvkit.errors import ModelFileError
from cvkit.models.layouts.segmenters import SMP
from cvkit.models.layouts.smp_settings import Possible, Settings, settings_of
from cvkit.texts import read_json

HINT = "its backbone can be used: --pretrained of train"


def read_settings(
    path: Path, possible: Possible, stride: int, channels: int
) -> tuple[Settings, str]:
    """Return the settings of a network, and where they are from.

    Args:
        path: of its weights, which may have a `config.json` beside it.
        possible: settings of this network.
        stride: the default output stride.
        channels: of its logits.

    Raises:
        DataError: the file is not JSON.
        ModelFileError: a setting that cvkit's network cannot have.
    """
    settings = Settings(stride, possible.rates)
    beside = path.with_name("config.json")
    content = read_json(beside, unique_keys=False) if beside.is_file() else None
    if not isinstance(content, dict) or not {"_model_class", "encoder_name"} & content.keys():
        words = f"{settings.about}, " if settings.about else ""
        return settings, (
            f"assumed to be {SMP}'s defaults ({words}the interpolation of its decoder); the "
            "config.json of its save_pretrained beside the file would be read"
        )
    try:
        settings = settings_of(possible, stride, content, channels)
    except ValueError as error:
        raise ModelFileError(f"{beside}: {error}", code="import.unsupported", hint=HINT) from error
    return settings, f"{settings.about}{', ' if settings.about else ''}from config.json"


def other_encoder(path: Path) -> ModelFileError:
    """Return the error of a network other than U-Net whose encoder is timm's (`tu-`).

    Those of DeepLab dilate their convolutions in another way, and that of PSPNet has fewer stages.
    """
    return ModelFileError(
        f"{path}: the encoder is one of timm (tu-...), which is imported in a U-Net only",
        code="import.unsupported",
        hint=HINT,
    )
