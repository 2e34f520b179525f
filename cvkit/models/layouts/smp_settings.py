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
STRIDES = (8, 16)
"""Output strides of the encoder of its DeepLabs, which can have any atrous rates."""


@dataclass(frozen=True)
class Possible:
    """The settings that a network of cvkit can have.

    Attributes:
        values: of each setting, but for those that are taken.
        rates: default of the atrous rates, which are taken with the output stride; None: the
            network has neither.
        upsamples_stride: its last step enlarges maps by the output stride.
    """

    values: Mapping[str, tuple[Any, ...]]
    rates: tuple[int, ...] | None = None
    upsamples_stride: bool = False


_NORMED: tuple[Any, ...] = ("batchnorm", True, None)
_COMMON: dict[str, tuple[Any, ...]] = {
    "in_channels": (3,),
    "activation": (None, "identity", "softmax", "softmax2d", "logsoftmax"),
}
_RATES = (12, 24, 36)
U_NET = Possible(
    _COMMON
    | {
        "encoder_depth": (5,),
        "decoder_use_norm": _NORMED,
        "decoder_use_batchnorm": _NORMED,
        "decoder_attention_type": (None,),
        "decoder_interpolation": ("nearest",),
    }
)
PSPNET = Possible(
    _COMMON
    | {
        "encoder_depth": (3,),
        "psp_out_channels": (512,),
        "decoder_use_norm": _NORMED,
        "psp_use_batchnorm": _NORMED,
        "upsampling": (8,),
    }
)
DEEPLAB = Possible(
    _COMMON | {"encoder_depth": (5,), "decoder_aspp_separable": (False,)},
    rates=_RATES,
    upsamples_stride=True,
)
DEEPLAB_PLUS = Possible(
    _COMMON | {"encoder_depth": (5,), "decoder_aspp_separable": (True,), "upsampling": (4,)},
    rates=_RATES,
)


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


def settings_of(
    possible: Possible, stride: int, config: Mapping[str, Any], classes: int
) -> Settings:
    """Return the settings of a network from the content of `config.json`.

    Args:
        possible: settings of this network.
        stride: the default output stride.
        config: the content; without a setting, its default is taken.
        classes: channels of the logits.

    Raises:
        ValueError: cvkit's network cannot have one of them, which the message names.
    """
    values, rates = dict(possible.values), possible.rates
    taken: set[str] = set()
    if rates is not None:
        taken = {"encoder_output_stride", "decoder_atrous_rates"}
        stride = _choice("encoder_output_stride", config, STRIDES, stride)
        rates = _rates(config.get("decoder_atrous_rates", rates))
    if possible.upsamples_stride:
        values["upsampling"] = (None, stride)
    if classes == 1:
        values["activation"] = (None, "identity", "sigmoid")
    for name, value in config.items():
        if name in values:
            _choice(name, config, values[name])
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
