"""Segmentation networks of segmentation_models.pytorch and mmsegmentation, under cvkit's names."""

import re

import torch
from torch import Tensor

from cvkit.catalog import SEGMENTERS
from cvkit.models.layouts.layout import Layout
from cvkit.models.layouts.names import Rule
from cvkit.models.layouts.smp_settings import DEEPLAB, DEEPLAB_PLUS, PSPNET, U_NET, Possible

SMP, MMSEG = "segmentation_models.pytorch", "mmsegmentation"


def _form(arch: str, name: str) -> str:
    """Return the form of an architecture in a project; "" if it is cvkit's."""
    return name if arch and name in dict(SEGMENTERS[arch].forms) else ""


SMP_LEFT = ((r"classification_head\..*", "classification head"),)


def _smp(
    network: str,
    arch: str,
    marks: tuple[str, ...],
    *rules: Rule,
    scores: str = "",
    possible: Possible | None = None,
) -> Layout:
    """Return a row; `scores` is cvkit's name of the layer that scores the classes."""
    outer: tuple[Rule, ...] = (
        (r"encoder\.(?:model\.)?(.*)", r"backbone.\1"),
        (r"segmentation_head\.0\.(.*)", rf"{scores}.\1"),
    )
    return Layout(
        project=SMP,
        network=network,
        arch=arch,
        marks=(r"segmentation_head\.0\.weight", *marks),
        rules=(*outer, *rules),
        form=_form(arch, "smp"),
        scores=scores,
        left=SMP_LEFT,
        possible=possible,
    )


_BLOCK = r"decoder\.blocks\.(\d{1,4})\."


SMP_LAYOUTS = (
    _smp("U-Net with attention", "", (rf"{_BLOCK}attention1\..*",)),
    _smp("U-Net++", "", (r"decoder\.blocks\.x_0_0\..*",)),
    _smp("MA-Net", "", (r"decoder\.center\.top_conv\..*",)),
    _smp(
        "U-Net",
        "unet",
        (rf"{_BLOCK}conv1\.0\.weight",),
        (rf"{_BLOCK}conv1\.(\d)\.(.*)", r"blocks.\1.0.\2.\3"),
        (rf"{_BLOCK}conv2\.(\d)\.(.*)", r"blocks.\1.1.\2.\3"),
        scores="head",
        possible=U_NET,
    ),
    _smp(
        "DeepLabV3",
        "deeplab",
        (r"decoder\.(?:aspp|0)\.convs\.1\.0\.weight",),
        (r"decoder\.(?:aspp|0)\.(.*)", r"classifier.0.\1"),
        (r"decoder\.(?:conv|1)\.(.*)", r"classifier.1.\1"),
        (r"decoder\.(?:bn|2)\.(.*)", r"classifier.2.\1"),
        scores="classifier.4",
        possible=DEEPLAB,
    ),
    _smp(
        "DeepLabV3+",
        "deeplab-plus",
        (r"decoder\.aspp\.0\.convs\.1\.0\.0\.weight",),
        (r"decoder\.aspp\.0\.convs\.([123])\.0\.([01])\.(.*)", r"branches.\1.\2.\3"),
        (r"decoder\.aspp\.0\.convs\.([123])\.1\.(.*)", r"branches.\1.2.\2"),
        (r"decoder\.aspp\.0\.convs\.(\d)\.(.*)", r"branches.\1.\2"),
        (r"decoder\.aspp\.0\.project\.(.*)", r"project.\1"),
        (r"decoder\.aspp\.1\.([01])\.(.*)", r"project.4.\1.\2"),
        (r"decoder\.aspp\.2\.(.*)", r"project.4.2.\1"),
        (r"decoder\.block1\.(.*)", r"low_level.\1"),
        (r"decoder\.block2\.0\.([01])\.(.*)", r"classifier.0.\1.\2"),
        (r"decoder\.block2\.1\.(.*)", r"classifier.0.2.\1"),
        scores="classifier.1",
        possible=DEEPLAB_PLUS,
    ),
    _smp(
        "PSPNet",
        "pspnet",
        (r"decoder\.psp\.blocks\.0\.pool\.1\.0\.weight",),
        (r"decoder\.psp\.blocks\.(\d)\.pool\.1\.([01])\.(.*)", r"branches.\1.\2.\3"),
        (r"decoder\.conv\.(.*)", r"joined.\1"),
        scores="classifier.1",
        possible=PSPNET,
    ),
    _smp("FPN", "", (r"decoder\.p5\.weight",)),
    _smp("Linknet", "", (r"decoder\.blocks\.0\.block\.0\.0\.weight",)),
    _smp("PAN", "", (r"decoder\.fpa\..*",)),
    _smp("network", "", (r"encoder\..*",)),
)

_NORMED = {"conv": "0", "bn": "1"}


def _module(pattern: str, place: str) -> Rule:
    """Return the rule for a convolution with its batch norm (mmcv's ConvModule)."""
    compiled = re.compile(pattern)
    groups = compiled.groups

    def new(match: re.Match[str]) -> str:
        base = place.format(*match.groups()[:groups])
        return f"{base}.{_NORMED[match[groups + 1]]}.{match[groups + 2]}"

    return rf"{pattern}\.(conv|bn)\.(.*)", new


def _separable(pattern: str, place: str) -> tuple[Rule, Rule]:
    """Return the rules for a separable convolution, whose parts are numbered on."""
    compiled = re.compile(pattern)
    groups = compiled.groups

    def rule(part: str, first: int) -> Rule:
        def new(match: re.Match[str]) -> str:
            base = place.format(*match.groups()[:groups])
            number = first + int(_NORMED[match[groups + 1]])
            return f"{base}.{number}.{match[groups + 2]}"

        return rf"{pattern}\.{part}\.(conv|bn)\.(.*)", new

    return rule("depthwise_conv", 0), rule("pointwise_conv", 3)


_STEM: tuple[Rule, ...] = (
    (r"backbone\.stem\.([01346])\.(.*)", r"backbone.conv1.\1.\2"),
    (r"backbone\.stem\.7\.(.*)", r"backbone.bn1.\1"),
)
MMSEG_LEFT = (
    (r"auxiliary_head\..*", "auxiliary head, needed for training only"),
    (r"backbone\.fc\..*", "classifier of the backbone"),
)


def _mmseg(
    network: str, arch: str, marks: tuple[str, ...], *rules: Rule, scores: str = ""
) -> Layout:
    """Return a row; `scores` is cvkit's name of the layer that scores the classes."""
    outer: tuple[Rule, ...] = (
        *_STEM,
        (r"decode_head\.conv_seg\.(.*)", rf"{scores}.\1"),
    )
    # Blocks of two convolutions have another dilation there; only bottlenecks are the same.
    bottleneck = (r"backbone\.layer1\.0\.conv3\.weight",) if arch else ()
    return Layout(
        project=MMSEG,
        network=network,
        arch=arch,
        marks=(r"decode_head\.conv_seg\.weight", *bottleneck, *marks),
        rules=(*outer, *rules),
        form=_form(arch, "mmseg"),
        scores=scores,
        left=MMSEG_LEFT,
    )


_HEAD = r"decode_head\."
MMSEG_LAYOUTS = (
    _mmseg("U-Net", "", (r"backbone\.decoder\.0\..*",)),
    _mmseg(
        "FCN",
        "fcn",
        (rf"{_HEAD}convs\.1\.conv\.weight", rf"{_HEAD}conv_cat\.conv\.weight"),
        _module(rf"{_HEAD}convs\.(\d)", "convs.{}"),
        _module(rf"{_HEAD}conv_cat", "joined"),
        scores="classifier.1",
    ),
    _mmseg(
        "PSPNet",
        "pspnet",
        (rf"{_HEAD}psp_modules\.0\.1\.conv\.weight",),
        (
            rf"{_HEAD}psp_modules\.(\d)\.1\.(conv|bn)\.(.*)",
            lambda m: f"pyramid.branches.{m[1]}.{1 + int(_NORMED[m[2]])}.{m[3]}",
        ),
        _module(rf"{_HEAD}bottleneck", "classifier"),
        scores="classifier.4",
    ),
    _mmseg(
        "DeepLabV3+",
        "deeplab-plus",
        (rf"{_HEAD}c1_bottleneck\.conv\.weight", rf"{_HEAD}image_pool\.1\.conv\.weight"),
        (
            rf"{_HEAD}image_pool\.1\.(conv|bn)\.(.*)",
            lambda m: f"branches.0.{1 + int(_NORMED[m[1]])}.{m[2]}",
        ),
        _module(rf"{_HEAD}aspp_modules\.0", "branches.1"),
        *(
            rule
            for n in (1, 2, 3)
            for rule in _separable(rf"{_HEAD}aspp_modules\.{n}", f"branches.{n + 1}")
        ),
        *_separable(rf"{_HEAD}bottleneck", "joined"),
        _module(rf"{_HEAD}c1_bottleneck", "low_level"),
        *_separable(rf"{_HEAD}sep_bottleneck\.(\d)", "refined.{}"),
        scores="classifier.1",
    ),
    _mmseg(
        "DeepLabV3",
        "deeplab",
        (rf"{_HEAD}aspp_modules\.1\.conv\.weight", rf"{_HEAD}bottleneck\.conv\.weight"),
        (
            rf"{_HEAD}image_pool\.1\.(conv|bn)\.(.*)",
            lambda m: f"branches.0.{1 + int(_NORMED[m[1]])}.{m[2]}",
        ),
        *(_module(rf"{_HEAD}aspp_modules\.{n}", f"branches.{n + 1}") for n in range(4)),
        _module(rf"{_HEAD}bottleneck", "joined"),
        scores="classifier.1",
    ),
    _mmseg("network (with another backbone or head)", "", (r"decode_head\..*",)),
)

LAYOUTS = (*SMP_LAYOUTS, *MMSEG_LAYOUTS)
"""The layouts, each before those whose marks it has too."""


def has_deep_stem(tensors: dict[str, Tensor]) -> bool:
    """Return whether a ResNet has three convolutions where others have one (ResNet-C)."""
    return any(name.startswith("backbone.stem.") for name in tensors)


def background_scored(tensors: dict[str, Tensor], scores: str) -> dict[str, Tensor]:
    """Return a network of one class per pixel with a second one, background, before it.

    Background scores 0, so that the softmax of both is the sigmoid of the one score.

    Args:
        tensors: under cvkit's names.
        scores: name of the layer that scores the classes.
    """
    layer = {f"{scores}.{part}": tensors[f"{scores}.{part}"] for part in ("weight", "bias")}
    return tensors | {name: torch.cat([torch.zeros_like(t), t]) for name, t in layer.items()}
