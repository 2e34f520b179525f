"""Networks of timm (PyTorch Image Models), and others with its names, under torchvision's names.

timm's ResNets, DenseNet and Inception have torchvision's names. DINO's and DeiT's vision
transformers have timm's, and Swin's authors nearly so.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from cvkit.models.layouts.names import COMPUTED, Rule, has_names, renamed

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Family:
    """A family of networks with its names.

    Attributes:
        name: for messages.
        marks: patterns, each of which matches a name in every file of the family.
        convert: returns the tensors under torchvision's names.
        assumed: what the tensors do not show, in words.
    """

    name: str
    marks: tuple[str, ...]
    convert: Callable[[Tensors], dict[str, Tensor]]
    assumed: str = ""


def _by(*rules: Rule) -> Callable[[Tensors], dict[str, Tensor]]:
    return lambda tensors: renamed(tensors, rules)


_vit = _by(
    (r"cls_token", "class_token"),
    (r"pos_embed", "encoder.pos_embedding"),
    (r"patch_embed\.proj\.(.*)", r"conv_proj.\1"),
    (r"blocks\.(\d{1,4})\.norm([12])\.(.*)", r"encoder.layers.encoder_layer_\1.ln_\2.\3"),
    (
        r"blocks\.(\d{1,4})\.attn\.qkv\.(.*)",
        r"encoder.layers.encoder_layer_\1.self_attention.in_proj_\2",
    ),
    (
        r"blocks\.(\d{1,4})\.attn\.proj\.(.*)",
        r"encoder.layers.encoder_layer_\1.self_attention.out_proj.\2",
    ),
    (r"blocks\.(\d{1,4})\.mlp\.fc1\.(.*)", r"encoder.layers.encoder_layer_\1.mlp.0.\2"),
    (r"blocks\.(\d{1,4})\.mlp\.fc2\.(.*)", r"encoder.layers.encoder_layer_\1.mlp.3.\2"),
    (r"norm\.(.*)", r"encoder.ln.\1"),
    (r"head\.(weight|bias)", r"heads.head.\1"),
)


def _stage(match: re.Match[str]) -> str:
    """Return the place of a stage of blocks in a chain of stages and reductions."""
    return f"features.{2 * int(match[1]) + 1}.{match[2]}."


def _convnext(tensors: Tensors) -> dict[str, Tensor]:
    parts = {"conv_dw": 0, "norm": 2, "mlp.fc1": 3, "mlp.fc2": 5}
    found = renamed(
        tensors,
        (
            (r"stem\.(.*)", r"features.0.\1"),
            (
                r"stages\.(\d{1,4})\.downsample\.(.*)",
                lambda m: f"features.{2 * int(m[1])}.{m[2]}",
            ),
            (r"stages\.(\d{1,4})\.blocks\.(\d{1,4})\.gamma", lambda m: f"{_stage(m)}layer_scale"),
            (
                r"stages\.(\d{1,4})\.blocks\.(\d{1,4})\."
                rf"({'|'.join(map(re.escape, parts))})\.(.*)",
                lambda m: f"{_stage(m)}block.{parts[m[3]]}.{m[4]}",
            ),
            (r"head\.norm\.(.*)", r"classifier.0.\1"),
            (r"head\.fc\.(.*)", r"classifier.2.\1"),
        ),
    )
    for name, tensor in found.items():
        if name.endswith("layer_scale") and tensor.ndim == 1:
            found[name] = tensor[:, None, None]
        elif re.search(r"block\.[35]\.weight$", name):
            found[name] = tensor.flatten(1)  # 1x1 convolutions, as the authors' code has them
    return found


def _swin(tensors: Tensors) -> dict[str, Tensor]:
    # A reduction belongs to the stage after it, in the authors' code to the one before.
    late = 2 if "layers.0.downsample.reduction.weight" in tensors else 0
    found = renamed(
        tensors,
        (
            (r"patch_embed\.proj\.(.*)", r"features.0.0.\1"),
            (r"patch_embed\.norm\.(.*)", r"features.0.2.\1"),
            (
                r"layers\.(\d{1,4})\.downsample\.(.*)",
                lambda m: f"features.{2 * int(m[1]) + late}.{m[2]}",
            ),
            (
                r"layers\.(\d{1,4})\.blocks\.(\d{1,4})\.mlp\.fc([12])\.(.*)",
                lambda m: f"{_stage(m)}mlp.{ {'1': 0, '2': 3}[m[3]] }.{m[4]}",
            ),
            (r"layers\.(\d{1,4})\.blocks\.(\d{1,4})\.(.*)", lambda m: f"{_stage(m)}{m[3]}"),
            (r"head\.(?:fc\.)?(weight|bias)", r"head.\1"),
        ),
    )
    for name in [name for name in found if name.endswith("attn.q_bias")]:
        query, value = found.pop(name), found.pop(name.replace("q_bias", "v_bias"))
        keys = torch.zeros_like(query)
        found[name.replace("q_bias", "qkv.bias")] = torch.cat((query, keys, value))
    return {n: t for n, t in found.items() if not n.endswith((*COMPUTED, "attn_mask"))}


def _block(tensors: Tensors, place: str, nested: bool) -> dict[str, str]:
    """Return the parts of an inverted residual block and their numbers in it, in order.

    Args:
        tensors: of the network.
        place: name of the block.
        nested: its last convolution and batch norm are a part, as the others are.
    """
    expanded = f"{place}.conv_pwl.weight" in tensors
    if f"{place}.conv.weight" in tensors:
        return {"conv": "0.0", "bn1": "0.1"}
    units = [("conv_pw", "bn1"), ("conv_dw", "bn2")] if expanded else [("conv_dw", "bn1")]
    if f"{place}.se.conv_reduce.weight" in tensors:
        units.append(("se", ""))
    units.append(("conv_pwl", "bn3") if expanded else ("conv_pw", "bn2"))
    numbers: dict[str, str] = {}
    for number, (conv, norm) in enumerate(units):
        if norm:
            numbers |= {conv: f"{number}.0", norm: f"{number}.1"}
        else:
            numbers |= {"se.conv_reduce": f"{number}.fc1", "se.conv_expand": f"{number}.fc2"}
    if not nested:
        numbers |= dict(zip(units[-1], (f"{number}", f"{number + 1}"), strict=True))
    return numbers


def _inverted(tensors: Tensors) -> dict[str, Tensor]:
    """EfficientNet, MobileNetV2 and MobileNetV3, whose blocks timm names alike."""
    has_weights = any(".se." in name for name in tensors)
    last_norm = "bn2.weight" in tensors
    places = sorted(
        {
            tuple(map(int, m.groups()))
            for n in tensors
            if (m := re.match(r"blocks\.(\d{1,4})\.(\d{1,4})\.", n))
        }
    )
    found = {}
    for name, tensor in tensors.items():
        match = re.fullmatch(r"(blocks\.(\d{1,4})\.(\d{1,4}))\.(.+)\.(\w+)", name)
        if match is None:
            found[_outer(name, len(places), has_weights and last_norm)] = tensor
            continue
        stage, block = int(match[2]), int(match[3])
        nested = has_weights or not last_norm
        number = _block(tensors, match[1], nested).get(match[4], match[4])
        if not last_norm:  # MobileNetV3
            flat = places.index((stage, block)) + 1
            whole = number.partition(".")[2] if f"{match[1]}.conv.weight" in tensors else ""
            new = f"features.{flat}.{whole}" if whole else f"features.{flat}.block.{number}"
        elif has_weights:
            new = f"features.{stage + 1}.{block}.block.{number}"
        else:
            new = f"features.{places.index((stage, block)) + 1}.conv.{number}"
        found[f"{new}.{match[5]}"] = tensor
    return found if last_norm else _of_mobilenet_v3(found)


def _outer(name: str, blocks: int, by_stage: bool) -> str:
    """Return the name of a tensor before or after the blocks."""
    last = 8 if by_stage else blocks + 1
    rules: tuple[Rule, ...] = (
        (r"conv_stem\.(.*)", r"features.0.0.\1"),
        (r"bn1\.(.*)", r"features.0.1.\1"),
        (r"conv_head\.bias", r"classifier.0.bias"),
        (r"conv_head\.(.*)", rf"features.{last}.0.\1"),
        (r"bn2\.(.*)", rf"features.{last}.1.\1"),
    )
    return next(iter(renamed({name: torch.empty(0)}, rules)))


EPSILON = (1e-5, 1e-3)
"""Epsilon of the batch norms of MobileNetV3 in timm and in torchvision."""


def _of_mobilenet_v3(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return MobileNetV3 with its two last layers, and with batch norms for another epsilon.

    Only the sum of variance and epsilon has an effect, so the variance takes the difference; it may
    become slightly negative.
    """
    last = max(int(n.split(".")[1]) for n in found if n.startswith("features."))
    moved = {}
    for name, tensor in found.items():
        if name == f"features.{last}.0.weight" and "classifier.0.bias" in found:
            name, tensor = "classifier.0.weight", tensor.flatten(1)  # a 1x1 convolution there
        elif re.fullmatch(r"classifier\.(weight|bias)", name):
            name = name.replace("classifier", "classifier.3")
        elif name.endswith("running_var"):
            tensor = tensor + (EPSILON[0] - EPSILON[1])
        moved[name] = tensor
    return moved


def _efficient(tensors: Tensors) -> dict[str, Tensor]:
    found = _inverted(tensors)
    return renamed(found, ((r"classifier\.(weight|bias)", r"classifier.1.\1"),))


def _regnet(tensors: Tensors) -> dict[str, Tensor]:
    kinds = {"conv": "0", "bn": "1"}
    letters = {"1": "a", "2": "b", "3": "c"}

    def block(match: re.Match[str]) -> str:
        return f"trunk_output.block{match[1]}.block{match[1]}-{int(match[2]) - 1}."

    return renamed(
        tensors,
        (
            (r"stem\.(conv|bn)\.(.*)", lambda m: f"stem.{kinds[m[1]]}.{m[2]}"),
            (
                r"s(\d)\.b(\d{1,4})\.downsample\.(conv|bn)\.(.*)",
                lambda m: f"{block(m)}proj.{kinds[m[3]]}.{m[4]}",
            ),
            (
                r"s(\d)\.b(\d{1,4})\.conv(\d)\.(conv|bn)\.(.*)",
                lambda m: f"{block(m)}f.{letters[m[3]]}.{kinds[m[4]]}.{m[5]}",
            ),
            (r"s(\d)\.b(\d{1,4})\.se\.(.*)", lambda m: f"{block(m)}f.se.{m[3]}"),
            (r"head\.fc\.(.*)", r"fc.\1"),
        ),
    )


def _vgg(tensors: Tensors) -> dict[str, Tensor]:
    found = renamed(
        tensors,
        (
            (r"pre_logits\.fc1\.(.*)", r"classifier.0.\1"),
            (r"pre_logits\.fc2\.(.*)", r"classifier.3.\1"),
            (r"head\.fc\.(.*)", r"classifier.6.\1"),
        ),
    )
    return {n: t.flatten(1) if t.ndim == 4 and n[0] == "c" else t for n, t in found.items()}


FAMILIES = (
    Family("timm's vision transformer", (r"cls_token", r"blocks\.0\.attn\.qkv\.weight"), _vit),
    Family("timm's ConvNeXt", (r"stages\.0\.blocks\.0\.conv_dw\.weight",), _convnext),
    Family("timm's Swin", (r"layers\.0\.blocks\.0\.attn\.qkv\.weight",), _swin),
    Family(
        "timm's EfficientNet or MobileNet",
        (r"conv_stem\.weight", r"blocks\..*"),
        _efficient,
        "maps are padded on all sides; networks whose names in timm begin with tf_ have the same "
        "tensors, but pad on one side, and would give other scores: the config.json beside the "
        "file tells them apart",
    ),
    Family("timm's RegNet", (r"s1\.b1\.conv1\.conv\.weight",), _regnet),
    Family("timm's VGG", (r"features\.0\.weight", r"pre_logits\.fc1\.weight"), _vgg),
)
"""The families whose names differ from torchvision's."""


def torchvision_names(tensors: Tensors) -> tuple[dict[str, Tensor], str]:
    """Return tensors under torchvision's names, and the family they were recognised as, or ""."""
    family = next((each for each in FAMILIES if has_names(tensors, each.marks)), None)
    if family is None:
        return dict(tensors), ""
    try:
        return family.convert(tensors), family.name
    except (IndexError, KeyError, RuntimeError, ValueError):
        return dict(tensors), ""  # shapes or names of no such network, which are reported later


def assumed(names: str) -> str:
    """Return what is assumed of networks that were recognised as `names`; "" if nothing is."""
    return next((family.assumed for family in FAMILIES if names.startswith(family.name)), "")
