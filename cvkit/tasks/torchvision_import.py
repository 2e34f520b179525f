"""Models made from state dicts of torchvision and of other projects."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torchvision
from torch import Tensor, nn

from cvkit import __version__, catalog
from cvkit.backbone_table import BACKBONES
from cvkit.data.classes import make_classes, object_classes, read_classes
from cvkit.data.formats.voc import VOC_CLASSES
from cvkit.errors import ModelFileError, UsageError
from cvkit.model_files import BACKBONE, read_model, unverified
from cvkit.models.convert import (
    DETECTION,
    VIDEO,
    converted,
    named_parts,
    require_equal_names,
)
from cvkit.models.published import recognised, statistics
from cvkit.models.state_files import read_state_file
from cvkit.options.tools import WeightsImport
from cvkit.structures import IGNORE, ClassList
from cvkit.tasks.classify import network as classify_network
from cvkit.tasks.detect import inputs as detect_inputs
from cvkit.tasks.detect import network as detect_network
from cvkit.tasks.foreign_import import backbone_only, coco_objects, foreign_content
from cvkit.tasks.segment import network as segment_network
from cvkit.tasks.video import network as video_network
from cvkit.texts import counted

Made = tuple[Any, Any, str]
"""Network, preprocessing and origin of a model."""


def imported_model(options: WeightsImport) -> tuple[dict[str, Tensor], dict[str, Any], list[str]]:
    """Return the tensors and the header of a model, and the names of tensors that are not imported.

    Raises:
        UsageError: no such network or class list.
        ModelFileError: the file is unusable, or its tensors do not fit.
    """
    if options.task not in KINDS:
        raise UsageError(
            f"--task {options.task}: torchvision has no networks for it",
            code="task.import",
            hint=f"there are some for {', '.join(KINDS)}",
        )
    kind = KINDS[options.task]
    arch, backbone = named_parts(options.task, options.arch, options.backbone)
    _require_list(options, kind)
    _require_meaning(options, kind, backbone)
    found = foreign_content(options, arch, backbone, read_state_file(options.file))
    if found.preprocessing and options.preset != "v1":
        raise UsageError(
            f"--preset {options.preset} has no effect: {found.about['preprocessing']}",
            code="preset.idle",
            hint="omit it",
        )
    network, preprocessing, origin = kind.make(options, arch, backbone)
    network = replace(network, **found.network)
    preprocessing = replace(preprocessing, **found.preprocessing)
    header = {
        "cvkit": __version__,
        "task": options.task,
        "network": asdict(network),
        "preprocessing": asdict(preprocessing),
        "labels": {},
        "data": {"name": found.about.get("names", origin)},
        "imported": {"file": options.file.name, **found.about},
    }
    if found.headless:
        tensors = backbone_only(options, network, found.tensors)
        return tensors, header | {"task": BACKBONE, "classes": []}, []
    tensors, count = found.tensors, found.count
    unused: list[str] = []
    if count is None:
        tensors, unused, count = converted(options.task, arch, backbone, tensors)
    named = found.classes(count) if options.classes == "auto" else None
    classes = named or kind.classes(options.classes, count)
    built = kind.build(network, preprocessing, len(classes))
    tensors = require_equal_names(built.state_dict(), tensors)
    return tensors, header | {"classes": classes.as_json()}, unused


def earlier_model(options: WeightsImport) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return the tensors and the header of a model that an earlier version of cvkit wrote.

    Rewritten, its hash covers its header. Returns None for other files.

    Raises:
        ModelFileError: damaged.
        UsageError: a flag gives a value that the header already has.
    """
    if not unverified(options.file):
        return None
    idle = options.given - {"file", "out", "overwrite", "json", "quiet", "debug"}
    if idle:
        raise UsageError(
            f"--{min(idle)} has no effect: {options.file} is already a cvkit model",
            code="import.idle",
            hint="omit it",
        )
    return read_model(options.file)


def _require_list(options: WeightsImport, kind: "Kind") -> None:
    """Check that `--classes` names a list; the number of classes is checked against the file later.

    Raises:
        UsageError: it does not; the hint gives the nearest name.
    """
    known = ("auto", *kind.lists)
    if options.classes not in known and not Path(options.classes).is_file():
        listed = f"{', '.join(known)}, or a file with one class per line"
        raise UsageError(
            f"--classes {options.classes} is neither a known list nor a file",
            code="classes.missing",
            hint=catalog.nearest(options.classes, known, listed),
        )


def _require_meaning(options: WeightsImport, kind: "Kind", backbone: str) -> None:
    """Refuse flags that have no effect on this network.

    Args:
        options: of the command.
        kind: of the task.
        backbone: of the network that `--arch` means.

    Raises:
        UsageError: names the first one.
    """
    if options.backbone not in (None, backbone):
        raise UsageError(
            f"--backbone {options.backbone} has no effect with --arch {options.arch}, which has "
            "no backbone",
            code="backbone.idle",
            hint="omit it",
        )
    given = {"preset": options.preset != "v1", "eps": options.eps is not None}
    for name, is_given in given.items():
        if is_given and name not in kind.flags:
            raise UsageError(
                f"--{name} has no effect with --task {options.task}",
                code=f"{name}.idle",
                hint="omit it",
            )


def _classifier(options: WeightsImport, arch: str, backbone: str) -> Made:
    """Return network, preprocessing and origin of a classifier, by torchvision's own preset.

    Raises:
        UsageError: nothing is published under that preset.
        ModelFileError: the file has a published name and another content.
    """
    builder = BACKBONES[backbone].builder
    members = torchvision.models.get_model_weights(builder).__members__
    published = recognised(options.file, [builder])
    wanted = f"IMAGENET1K_{options.preset.upper()}"
    entry = published[1] if published else members.get(wanted)
    if entry is None:
        raise UsageError(
            f"--preset {options.preset}: nothing of that version is published for {arch}",
            code="preset.unknown",
            hint="--preset v1",
        )
    preset = entry.transforms()
    # A user's own network is assumed to follow the preset, even if torchvision's does not.
    mean, std = statistics(*published) if published else (tuple(preset.mean), tuple(preset.std))
    size = preset.crop_size[0]
    network = classify_network.Network(arch=arch, backbone=backbone, small=False, image_size=size)
    preprocessing = classify_network.Preprocessing(
        image_size=size,
        resize_size=preset.resize_size[0],
        interpolation=preset.interpolation.value,
        mean=mean,
        std=std,
        bits=None,
    )
    return network, preprocessing, f"torchvision {entry.name}" if published else "unknown"


def _segmenter(options: WeightsImport, arch: str, backbone: str) -> Made:
    """Return network, preprocessing and origin of a torchvision segmentation network.

    Raises:
        ModelFileError: the file has a published name and another content.
    """
    published = recognised(
        options.file, torchvision.models.list_models(torchvision.models.segmentation)
    )
    facts = catalog.SEGMENTERS[arch]
    network = segment_network.Network(
        arch=arch,
        backbone=backbone,
        output_stride=None,
        aux=False,
        deconv=False,
        rates=facts.atrous or None,
        positions=dict(facts.positions).get(backbone),
    )
    side = torchvision.models.segmentation.FCN_ResNet50_Weights.DEFAULT.transforms().resize_size[0]
    origin = f"torchvision {published[0]} {published[1].name}" if published else "unknown"
    return network, segment_network.Preprocessing((side, side), "short", bits=None), origin


def _clip_network(options: WeightsImport, arch: str, backbone: str) -> Made:
    """Return network, preprocessing and origin of a video network, by torchvision's preset."""
    builder = next(name for name, each in VIDEO.items() if each == arch)
    entry = torchvision.models.get_model_weights(builder).DEFAULT
    published = recognised(options.file, [builder])
    facts = catalog.CLIP_NETWORKS[arch]
    preset, frames = entry.transforms(), facts.published_frames
    side = preset.crop_size[0]
    network = video_network.Network(arch=arch, backbone=None, frames=frames, image_size=side)
    preprocessing = video_network.Preprocessing(
        image_size=side,
        resize_hw=tuple(preset.resize_size),
        frames=frames,
        sampling="clip",
        fps=15.0,
        clips=facts.published_clips,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        bits=None,
    )
    return network, preprocessing, "torchvision KINETICS400_V1" if published else "unknown"


def _detector(options: WeightsImport, arch: str, backbone: str) -> Made:
    """Return network, preprocessing and origin of a detector, with torchvision's own numbers."""
    published, _ = recognised(options.file, DETECTION) or (None, None)
    network = detect_network.Network(arch, backbone)
    small = "_320_" in f"{options.arch} {published}"
    if BACKBONES[backbone].single_map:
        # Only the networks in these files were trained with batch norms whose epsilon is 0.
        first = published in ("fasterrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn")
        eps = options.eps if options.eps is not None else 0.0 if first else 1e-5
        network = replace(network, eps=eps)
    else:
        eps = 1e-5 if options.eps is None else options.eps
        network = replace(network, positions=(13, 16), all_sizes=True, eps=eps)
        network = replace(network, min_proposal_score=0.05)
        if small:
            network = replace(network, before_nms=(2000, 150), after_nms=(2000, 150))
    sizes = ((320,), 640) if small else ((800,), 1333)
    origin = f"torchvision {published}" if published else "unknown"
    return network, detect_inputs.Preprocessing(*sizes, bits=None), origin


def _coco() -> list[str]:
    """Return COCO's ninety categories; ten of their ids were never used."""
    meta = torchvision.models.detection.FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta
    names = enumerate(meta["categories"][1:], 1)
    return [f"unused {number}" if name == "N/A" else name for number, name in names]


LABELS: dict[str, Callable[[], list[str]]] = {
    "imagenet": lambda: list(torchvision.models.ResNet50_Weights.IMAGENET1K_V1.meta["categories"]),
    "voc": lambda: ["background", *VOC_CLASSES],
    "kinetics": lambda: list(torchvision.models.video.R3D_18_Weights.DEFAULT.meta["categories"]),
}
"""Lists of classes of networks that score labels, by their names in `--classes`."""
OBJECTS: dict[str, Callable[[], list[str]]] = {"coco": _coco, "voc": lambda: list(VOC_CLASSES)}
"""Lists of classes of detectors, without the background that they also score."""


def _listed(
    name: str, count: int, lists: dict[str, Callable[[], list[str]]], more: str = ""
) -> list[str]:
    """Return the names of the classes that `--classes` names.

    Args:
        name: of a list, of a file, or `auto`.
        count: classes that the network scores.
        lists: the known ones.
        more: what the network scores in addition.

    Raises:
        UsageError: `auto`, and no list has this number of classes.
        ModelFileError: the list has another number of classes.
    """
    scores = f"the network scores {counted(count, 'class', 'classes')}{more}"
    if name == "auto":
        found = next((names for make in lists.values() if len(names := make()) == count), None)
        if found is None:
            raise UsageError(
                f"--classes is missing: {scores}",
                code="classes.missing",
                hint="a file with one class per line" + (", without background" if more else ""),
            )
        return found
    names = lists[name]() if name in lists else list(read_classes(Path(name))[0].names)
    if len(names) != count:
        raise ModelFileError(
            f"{scores}, but --classes {name} lists {len(names)}", code="classes.count"
        )
    return names


def _label_classes(name: str, count: int) -> ClassList:
    """Return the classes of a network that gives one label per image, pixel or clip."""
    return make_classes(_listed(name, count, LABELS))


def _mask_classes(name: str, count: int) -> ClassList:
    """Return the classes of a network that labels pixels.

    Raises:
        ModelFileError: 8-bit masks cannot store so many.
    """
    if count > IGNORE:
        raise ModelFileError(
            f"the network scores {count} classes, but 8-bit masks can store only {IGNORE}",
            code="classes.count",
        )
    return _label_classes(name, count)


def _object_classes(name: str, count: int) -> ClassList:
    """Return the classes of a detector with `count` outputs, the first of which is background.

    COCO's categories are all ninety, or the eighty that are in use.
    """
    if name in ("auto", "coco") and count - 1 == len(used := coco_objects()):
        return object_classes(list(used), used.values())
    names = _listed(name, count - 1, OBJECTS, " and background")
    return object_classes(names, range(1, count))


def _build(network: Any, preprocessing: Any, num_classes: int) -> nn.Module:
    return network.build(num_classes)


def _build_detector(network: Any, preprocessing: Any, num_classes: int) -> nn.Module:
    return network.build(num_classes, preprocessing)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How torchvision's networks become models of a task.

    Attributes:
        make: returns network, preprocessing and origin, from options, architecture and backbone.
        classes: returns the classes, from `--classes` and the number of outputs.
        lists: what `--classes` may name besides `auto` and files.
        build: returns the network that the tensors must fit.
        flags: that have an effect on this task only.
    """

    make: Callable[[WeightsImport, str, str], Made]
    classes: Callable[[str, int], ClassList]
    lists: tuple[str, ...] = tuple(LABELS)
    build: Callable[[Any, Any, int], nn.Module] = _build
    flags: frozenset[str] = frozenset()


_DETECTOR = Kind(
    make=_detector,
    classes=_object_classes,
    lists=tuple(OBJECTS),
    build=_build_detector,
    flags=frozenset({"eps"}),
)
KINDS = {
    "classify": Kind(make=_classifier, classes=_label_classes, flags=frozenset({"preset"})),
    "segment": Kind(make=_segmenter, classes=_mask_classes, lists=("voc",)),
    "detect": _DETECTOR,
    "instance": _DETECTOR,
    "video": Kind(make=_clip_network, classes=_label_classes),
}
"""The import rules of each task."""
