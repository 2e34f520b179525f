"""Settings of segmentation_models.pytorch's networks, which their tensors do not show.

Its `save_pretrained` writes them to a `config.json` beside the weights, under the names of the
constructor's parameters.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

IDLE = frozenset(
    {
        *("encoder_name", "encoder_weights", "classes", "aux_params", "decoder_channels"),
        *("decoder_aspp_dropout", "psp_dropout"),
    }
)
"""Settings that have no effect on predictions, or that the tensors show."""
_NORMED: tuple[Any, ...] = ("batchnorm", True, None)
_COMMON: dict[str, tuple[Any, ...]] = {
    "in_channels": (3,),
    "activation": (None, "identity", "softmax", "softmax2d", "logsoftmax"),
}
_U_NET: dict[str, tuple[Any, ...]] = {
    "encoder_depth": (5,),
    "decoder_use_norm": _NORMED,
    "decoder_use_batchnorm": _NORMED,
    "decoder_attention_type": (None,),
    "decoder_interpolation": ("nearest",),
}
_PSP: dict[str, tuple[Any, ...]] = {
    "encoder_depth": (3,),
    "psp_out_channels": (512,),
    "decoder_use_norm": _NORMED,
    "psp_use_batchnorm": _NORMED,
    "upsampling": (8,),
}
_DEEPLAB: dict[str, tuple[Any, ...]] = {
    "encoder_depth": (5,),
    "decoder_aspp_separable": (False,),
}
_PLUS: dict[str, tuple[Any, ...]] = {
    "encoder_depth": (5,),
    "decoder_aspp_separable": (True,),
    "upsampling": (4,),
}
POSSIBLE: dict[str, dict[str, tuple[Any, ...]]] = {
    "unet": _COMMON | _U_NET,
    "pspnet": _COMMON | _PSP,
    "deeplab": _COMMON | _DEEPLAB,
    "deeplab-plus": _COMMON | _PLUS,
}
"""The values of each setting that an architecture of cvkit can have."""
STRIDES = (8, 16)
"""Output strides of the encoder of its DeepLabs, which can have any atrous rates."""
RATES = (12, 24, 36)


@dataclass(frozen=True)
class Settings:
    """What a network takes from the settings.

    Attributes:
        output_stride: of the backbone.
        rates: of the atrous convolutions; None for networks without them.
    """

    output_stride: int
    rates: tuple[int, ...] | None

    @property
    def about(self) -> str:
        """The settings in words."""
        if self.rates is None:
            return ""
        return f"output stride {self.output_stride}, atrous rates {'/'.join(map(str, self.rates))}"


def default_settings(arch: str, output_stride: int) -> Settings:
    """Return the settings of a network that was constructed without any.

    Args:
        arch: key of `POSSIBLE`.
        output_stride: of the form of the architecture.
    """
    return Settings(output_stride, RATES if arch.startswith("deeplab") else None)


def settings_of(arch: str, default: Settings, config: Mapping[str, Any], classes: int) -> Settings:
    """Return the settings of a network from the content of `config.json`.

    Args:
        arch: key of `POSSIBLE`.
        default: of this architecture.
        config: the content.
        classes: channels of the logits.

    Raises:
        ValueError: cvkit's network cannot have one of them, which the message names.
    """
    possible = dict(POSSIBLE[arch])
    stride, rates = default.output_stride, default.rates
    if rates is not None:
        stride = _choice("encoder_output_stride", config, STRIDES, stride)
        rates = _rates(config.get("decoder_atrous_rates", rates))
    if rates is not None and "upsampling" not in possible:
        possible["upsampling"] = (None, stride)
    if classes == 1:
        possible["activation"] = (None, "identity", "sigmoid")
    taken = {"encoder_output_stride", "decoder_atrous_rates"} if rates is not None else set()
    for name, value in config.items():
        if name in possible:
            _choice(name, config, possible[name])
        elif name not in IDLE | taken and not name.startswith("_") and value is not None:
            raise ValueError(f"{name} is {value!r}, which cvkit's network does not have")
    return Settings(stride, rates)


def _choice(
    name: str, config: Mapping[str, Any], possible: tuple[Any, ...], default: Any = None
) -> Any:
    """Return a setting, or its default if it is not given.

    Raises:
        ValueError: it has another value than the possible ones.
    """
    value = config.get(name, default)
    if not any(type(value) is type(each) and value == each for each in possible):
        listed = " or ".join(f"{each!r}" for each in possible)
        raise ValueError(f"{name} is {value!r}, and cvkit's network can only have {listed}")
    return value


def _rates(value: Any) -> tuple[int, ...]:
    fits = isinstance(value, list | tuple) and len(value) == 3
    if not fits or not all(type(rate) is int and 0 < rate < 1000 for rate in value):
        raise ValueError(f"decoder_atrous_rates is {value!r}, not three positive whole numbers")
    return tuple(value)
