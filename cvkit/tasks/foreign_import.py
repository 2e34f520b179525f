"""What a model takes from a file of another project: tensors, network, pixels, classes."""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from cvkit import catalog
from cvkit.data.classes import make_classes, object_classes
from cvkit.errors import ModelFileError, UsageError
from cvkit.models.classify import network_parts
from cvkit.models.convert import require_equal_names
from cvkit.models.layouts import detectors, segmenters
from cvkit.models.layouts.encoders import encoder_of
from cvkit.models.layouts.layout import Layout, recognise, require_fit
from cvkit.models.layouts.names import COMPUTED, renamed
from cvkit.models.layouts.timm import assumed
from cvkit.models.state_files import StateFile
from cvkit.models.trials import on_meta
from cvkit.options.tools import WeightsImport
from cvkit.structures import ClassList
from cvkit.tasks.classify.network import Network
from cvkit.tasks.smp_import import other_encoder, read_settings
from cvkit.texts import counted, read_json
from cvkit.yaml_files import read_yaml


@dataclass(frozen=True)
class Foreign:
    """The content of a file under names that cvkit knows.

    Attributes:
        tensors: under torchvision's names, or under cvkit's if there is a `count`.
        count: number of classes that the network scores, with background; None: by the tensors.
        headless: it is a backbone only, which scores no classes.
        network: fields of the network that differ from those of torchvision's.
        preprocessing: fields of the preprocessing that do.
        classes: that the file names, by the number of outputs; None: by `--classes`.
        about: what was recognised, left out and assumed, for the header and for messages.
    """

    tensors: dict[str, Tensor]
    count: int | None = None
    headless: bool = False
    network: Mapping[str, Any] = field(default_factory=dict)
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    classes: Callable[[int], ClassList | None] = lambda count: None
    about: Mapping[str, Any] = field(default_factory=dict)


def foreign_content(options: WeightsImport, arch: str, backbone: str, file: StateFile) -> Foreign:
    """Return what a file contains, of torchvision or of another project.

    Args:
        options: of the command.
        arch: key of `catalog.ARCHS[options.task]`.
        backbone: key of `catalog.BACKBONES`.
        file: that was read.

    Raises:
        ModelFileError: cvkit does not have the network.
        UsageError: the flags name another one.
    """
    return READERS.get(options.task, _plain)(options, arch, backbone, file)


def _plain(options: WeightsImport, arch: str, backbone: str, file: StateFile) -> Foreign:
    return _torchvision(_unprefixed(file))


def backbone_only(
    options: WeightsImport, network: Network, tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the tensors of a backbone without scores, under the names of a classifier's.

    Raises:
        UsageError: `--classes` is given.
    """
    if options.classes != "auto":
        raise UsageError(
            f"--classes has no effect: {options.file} is a backbone without scores of classes",
            code="classes.idle",
            hint="omit it",
        )
    state = network.build(2).state_dict()
    wanted = {name: tensor for name, tensor in state.items() if not name.startswith("head.")}
    return require_equal_names(wanted, {f"backbone.{n}": t for n, t in tensors.items()})


def said(about: Mapping[str, Any]) -> list[str]:
    """Return lines on what was recognised, left out and assumed."""
    lines = [f"recognised: {about['names']}"] if about.get("names") else []
    told = ("pixels", "preprocessing", "settings", "classes")
    lines += [f"{name}: {about[name]}" for name in told if name in about]
    if left := about.get("left"):
        parts = (f"{what} ({counted(count, 'tensor')})" for what, count in sorted(left.items()))
        lines.append(f"not imported: {', '.join(parts)}")
    return lines


def _classifier(options: WeightsImport, arch: str, backbone: str, file: StateFile) -> Foreign:
    encoder = encoder_of(file)
    about: dict[str, Any] = {}
    if encoder.names:
        about["names"] = encoder.names
    if encoder.left:
        about["left"] = dict(encoder.left)
    network: dict[str, Any] = {}
    preprocessing: dict[str, Any] = {}
    if config := _timm_config(options.file):
        preprocessing = _timm_preprocessing(options.file, config)
        network = {"image_size": preprocessing["image_size"]}
        about["preprocessing"] = "from config.json"
    elif encoder.names:
        about["preprocessing"] = (
            "assumed to be that of torchvision's weights; a config.json of timm beside the file "
            "would be read"
        )
        if text := assumed(encoder.names):
            about["padding"] = text
    return Foreign(
        tensors=encoder.tensors,
        headless=_is_headless(backbone, encoder.tensors),
        network=network,
        preprocessing=preprocessing,
        about=about,
    )


def _is_headless(backbone: str, tensors: Mapping[str, Tensor]) -> bool:
    """Return whether tensors are those of a complete backbone without the layer of the classes."""
    with on_meta():
        body, head = network_parts(backbone, 2, small=False, image_size=224, aux=False)
    wanted = body.state_dict()
    fits = all(
        name in tensors and tensors[name].shape == tensor.shape
        for name, tensor in wanted.items()
        if not name.endswith(("num_batches_tracked", *COMPUTED))
    )
    width = head.in_features
    scored = (t for n, t in tensors.items() if n not in wanted and n.endswith("weight"))
    return fits and not any(t.ndim == 2 and t.shape[1] == width for t in scored)


def _timm_config(path: Path) -> dict[str, Any]:
    """Return the content of timm's `config.json` beside a file; empty if there is none.

    Raises:
        DataError: it is not JSON.
        ModelFileError: it says that the network pads its maps on one side.
    """
    beside = path.with_name("config.json")
    if not beside.is_file():
        return {}
    content = read_json(beside, unique_keys=False)
    if not isinstance(content, dict) or not isinstance(content.get("pretrained_cfg"), dict):
        return {}
    name = str(content.get("architecture", ""))
    if name.startswith("tf_"):
        raise ModelFileError(
            f"{beside}: {name} pads maps as TensorFlow does, which cvkit's networks do not",
            code="import.unsupported",
            hint=f"use {name.removeprefix('tf_')}",
        )
    return content["pretrained_cfg"]


def _timm_preprocessing(path: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return preprocessing fields from timm's configuration of pretrained weights.

    Raises:
        ModelFileError: a value is missing or not usable.
    """
    try:
        side = int(config["input_size"][-1])
        how = str(config.get("interpolation", "bicubic"))
        if how not in ("bilinear", "bicubic"):
            raise ValueError(f"interpolation {how!r}")
        numbers = {name: tuple(map(float, config[name])) for name in ("mean", "std")}
        if any(len(values) != 3 for values in numbers.values()):
            raise ValueError("mean and std need 3 values")
        size = int(side / float(config.get("crop_pct") or 0.875))
        finite = all(map(math.isfinite, (*numbers["mean"], *numbers["std"])))
        if not (0 < side <= size and finite and min(numbers["std"]) > 0):
            raise ValueError("a number is out of range")
    except (KeyError, TypeError, ValueError, IndexError, ArithmeticError) as error:
        raise ModelFileError(
            f"{path.with_name('config.json')}: pretrained_cfg is not usable: {error}",
            code="import.config",
            hint="remove the file, or correct input_size, interpolation, mean, std and crop_pct",
        ) from error
    return {"image_size": side, "resize_size": size, "interpolation": how, **numbers}


def _taken(layout: Layout, file: StateFile) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Return the tensors of a layout under cvkit's names, and how many were left out, by kind."""
    left = Counter(file.left)
    kept = {}
    for name, tensor in file.tensors.items():
        what = next((what for form, what in layout.left if re.fullmatch(form, name)), None)
        if what is None:
            kept[name] = tensor
        else:
            left[what] += 1
    return renamed(kept, layout.rules), dict(left)


def _located(layouts: Sequence[Layout], file: StateFile) -> tuple[Layout | None, StateFile]:
    """Return the layout of a file, and the tensors of its network without their prefix.

    Programs put the network beside losses and counters, under names such as `model.` or `module.`.
    """
    pattern = re.compile(r"((?:\w+\.){0,3}?)(?:encoder|backbone|proposal_generator|rpn_head)\.")
    prefixes = {match[1] for name in file.tensors if (match := pattern.match(name))}
    for prefix in sorted(prefixes, key=len):
        inside = {
            name.removeprefix(prefix): tensor
            for name, tensor in file.tensors.items()
            if name.startswith(prefix)
        }
        if layout := recognise(layouts, inside):
            left = Counter(file.left)
            if others := len(file.tensors) - len(inside):
                left["parts beside the network"] += others
            return layout, StateFile(inside, left, file.about)
    return None, _unprefixed(file)


def _unprefixed(file: StateFile) -> StateFile:
    """Return the tensors without the prefix of a wrapped network, such as `module.`."""
    tensors = file.tensors
    for prefix in ("module.", "_orig_mod.", "model."):
        own = {name for name in tensors if name not in ("n_averaged", f"{prefix}n_averaged")}
        if own and all(name.startswith(prefix) for name in own):
            tensors = {name.removeprefix(prefix): tensors[name] for name in own}
    return StateFile(tensors, file.left, file.about)


def _segmenter(options: WeightsImport, arch: str, backbone: str, file: StateFile) -> Foreign:
    layout, file = _located(segmenters.LAYOUTS, file)
    if layout is None:
        return _torchvision(file)
    require_fit(layout, options.task, arch, backbone)
    tensors, left = _taken(layout, file)
    facts = catalog.SEGMENTERS[arch]
    form = dict(facts.forms).get(layout.form)
    stride = form.output_stride if form else facts.output_stride
    network: dict[str, Any] = {"output_stride": stride, "rates": None, "form": layout.form}
    about: dict[str, Any] = {"names": layout.title, "left": left}
    if layout.project == segmenters.MMSEG:
        network["deep_stem"] = segmenters.has_deep_stem(file.tensors)
        sizes: dict[str, Any] = {"image_size_wh": (512, 512), "resize": "short"}
        words = "the shorter side becomes 512 pixels, as with mmsegmentation's scale of 2048 x 512"
    else:
        assert layout.possible is not None, "known networks have settings"
        sizes = {"resize": "native"}
        words = "images keep their size; ImageNet's mean and standard deviation"
        channels = len(tensors[f"{layout.scores}.weight"])
        if form is not None and any(name.startswith("encoder.model.") for name in file.tensors):
            raise other_encoder(options.file)
        settings, about["settings"] = read_settings(options.file, layout.possible, stride, channels)
        network |= {"output_stride": settings.output_stride, "rates": settings.rates}
        if channels == 1:
            tensors = segmenters.background_scored(tensors, layout.scores)
            about["classes"] = "the one score of a pixel is that of the second class against 0"
    return Foreign(
        tensors=tensors,
        count=len(tensors[f"{layout.scores}.weight"]),
        network=network,
        preprocessing=sizes,
        classes=_named_labels(detectors.class_names(file.about)),
        about=about | {"preprocessing": words},
    )


def _torchvision(file: StateFile) -> Foreign:
    """Return a file with torchvision's names, which may have been wrapped."""
    return Foreign(file.tensors, about={"left": dict(file.left)} if file.left else {})


def _detector(options: WeightsImport, arch: str, backbone: str, file: StateFile) -> Foreign:
    layout, file = _located(detectors.LAYOUTS, file)
    if layout is None:
        return _torchvision(file)
    require_fit(layout, options.task, arch, backbone)
    pixels = _pixels(options.file, layout, file)
    tensors, left = _taken(layout, file)
    tensors = detectors.background_first(pixels.flipped(tensors))
    values = f"mean {_listed(pixels.mean)}, standard deviation {_listed(pixels.std)}"
    turned = "; the first layer's channels are turned to RGB" if pixels.bgr else ""
    return Foreign(
        tensors=tensors,
        network={"aligned": True, "stride_first": pixels.stride_first},
        preprocessing=pixels.rgb_statistics,
        classes=_named_objects(detectors.class_names(file.about)),
        about={
            "names": layout.title,
            "pixels": f"{pixels.about}, {values}{turned}",
            "left": left,
        },
    )


def _pixels(path: Path, layout: Layout, file: StateFile) -> detectors.Pixels:
    """Return how a detector takes its images, by detectron2's `config.yaml` if it is beside it.

    Raises:
        ModelFileError: that file is not usable.
    """
    beside = path.with_name("config.yaml")
    about = dict(file.about)
    if layout.project == detectors.DETECTRON2 and beside.is_file():
        about["detectron2"] = read_yaml(beside, area="import", error=ModelFileError)
    try:
        return detectors.pixels_of(layout, file.tensors, about)
    except ValueError as error:
        raise ModelFileError(
            f"{beside} is not usable: {error}",
            code="import.config",
            hint="cvkit has detectron2's RoI Align with POOLER_TYPE ROIAlignV2 and "
            "POOLER_SAMPLING_RATIO 0",
        ) from error


def _listed(values: Sequence[float]) -> str:
    return "/".join(f"{value:g}" for value in values)


def _named_labels(names: list[str]) -> Callable[[int], ClassList | None]:
    return lambda count: make_classes(names) if names and len(names) == count else None


def _named_objects(names: list[str]) -> Callable[[int], ClassList | None]:
    def classes(count: int) -> ClassList | None:
        if not names or len(names) != count - 1 or names == list(coco_objects()):
            return None
        return object_classes(names, range(1, count))

    return classes


def coco_objects() -> dict[str, int]:
    """Return the ids of COCO's eighty used categories, by name."""
    from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

    names = enumerate(FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"][1:], 1)
    return {name: number for number, name in names if name != "N/A"}


READERS: dict[str, Callable[[WeightsImport, str, str, StateFile], Foreign]] = {
    "classify": _classifier,
    "segment": _segmenter,
    "detect": _detector,
    "instance": _detector,
}
"""The reader of each task whose networks other projects have."""
