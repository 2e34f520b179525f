"""Models made from state dicts of torchvision."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torchvision
from torch import Tensor

from cvkit import __version__, catalog
from cvkit.data.classes import make_classes, read_classes
from cvkit.data.formats.voc import VOC_CLASSES
from cvkit.errors import ModelFileError, UsageError
from cvkit.model_files import read_model, unverified
from cvkit.models.convert import (
    DETECTION,
    MAPS,
    VIDEO,
    converted,
    named_parts,
    require_equal_names,
)
from cvkit.models.published import recognised, statistics
from cvkit.models.weights import read_state_dict
from cvkit.options.tools import WeightsImport
from cvkit.structures import IGNORE, ClassList, voc_color
from cvkit.tasks.classify import network as classify_network
from cvkit.tasks.detect import inputs as detect_inputs
from cvkit.tasks.detect import network as detect_network
from cvkit.tasks.segment import network as segment_network
from cvkit.tasks.video import network as video_network

CLASS_SETS = {1000: "imagenet", 21: "voc", 91: "coco", 400: "kinetics"}
"""What `--classes auto` takes for a number of outputs."""


def imported_model(options: WeightsImport) -> tuple[dict[str, Tensor], dict[str, Any], list[str]]:
    """Return the tensors and the header of a model, and the tensors that were left out.

    Raises:
        UsageError: no such network or class list.
        ModelFileError: the file is unusable, or its tensors do not fit.
    """
    arch, backbone = named_parts(options.task, options.arch, options.backbone)
    _require_list(options)
    _require_meaning(options, backbone)
    source = read_state_dict(options.file)
    tensors, unused, count = converted(options.task, arch, backbone, source)
    boxes = options.task in ("detect", "instance")
    if options.task == "segment":
        _require_few(count)
    classes = (_object_classes if boxes else _classes)(options.classes, count)
    own = {"classify": _classifier, "segment": _segmenter, "video": _clip_network}
    make = own.get(options.task, _detector)
    network, preprocessing, origin = make(options, arch, backbone)
    built = network.build(len(classes), preprocessing) if boxes else network.build(count)
    tensors = require_equal_names(built.state_dict(), tensors)
    header = {
        "cvkit": __version__,
        "task": options.task,
        "network": asdict(network),
        "classes": classes.as_json(),
        "preprocessing": asdict(preprocessing),
        "labels": {},
        "data": {"name": origin},
        "imported": {"file": options.file.name},
    }
    return tensors, header, unused


def earlier_model(options: WeightsImport) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return the tensors and the header of a model that an earlier version of cvkit wrote.

    Written anew, its hash covers its header. None for other files.

    Raises:
        ModelFileError: damaged.
        UsageError: a flag says something that stands in the header.
    """
    if not unverified(options.file):
        return None
    idle = options.given - {"file", "out", "overwrite", "json", "quiet", "debug"}
    if idle:
        raise UsageError(
            f"--{min(idle)} has no effect: {options.file} is a model of cvkit already",
            code="import.idle",
            hint="leave it out",
        )
    return read_model(options.file)


def _require_list(options: WeightsImport) -> None:
    """Check that `--classes` names a list; how many it must have is seen in the file.

    Raises:
        UsageError: it names none; the hint is the nearest.
    """
    boxes = options.task in ("detect", "instance")
    known = ("auto", "coco", "voc") if boxes else ("auto", "imagenet", "voc", "kinetics")
    if options.classes not in known and not Path(options.classes).is_file():
        listed = f"{', '.join(known)}, or a file with one class a line"
        raise UsageError(
            f"--classes {options.classes} is neither a list nor a file",
            code="classes.missing",
            hint=catalog.nearest(options.classes, known, listed),
        )


def _require_meaning(options: WeightsImport, backbone: str) -> None:
    """Check flags that only some networks look at.

    Args:
        options: of the command.
        backbone: of the network that `--arch` means.

    Raises:
        UsageError: names the first one that this network does not look at.
    """
    if options.backbone not in (None, backbone):
        raise UsageError(
            f"--backbone {options.backbone} has no effect with --arch {options.arch}, which is a "
            "network of its own",
            code="backbone.idle",
            hint="leave it out",
        )
    boxes = options.task in ("detect", "instance")
    idle = {
        "preset": options.preset != "v1" and options.task != "classify",
        "eps": options.eps is not None and not boxes,
    }
    for name, wrong in idle.items():
        if wrong:
            raise UsageError(
                f"--{name} has no effect with --task {options.task}",
                code=f"{name}.idle",
                hint="leave it out",
            )


def _require_few(count: int) -> None:
    """Check that masks of 8 bits can hold so many classes.

    Raises:
        ModelFileError: they cannot.
    """
    if count > IGNORE:
        raise ModelFileError(
            f"the network scores {count} classes, masks of 8 bits hold {IGNORE}",
            code="classes.count",
        )


def _classifier(options: WeightsImport, arch: str, backbone: str) -> tuple[Any, Any, str]:
    """Return network, preprocessing and origin of a classifier, by torchvision's own preset.

    Raises:
        UsageError: nothing is published under that preset.
        ModelFileError: the file has a published name and another content.
    """
    builder = catalog.BACKBONES[backbone].builder
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
    # A network of one's own was trained as the preset says, also where torchvision's was not.
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


def _segmenter(options: WeightsImport, arch: str, backbone: str) -> tuple[Any, Any, str]:
    """Return network, preprocessing and origin of a network of torchvision that segments.

    Raises:
        ModelFileError: the file has a published name and another content.
    """
    published = recognised(
        options.file, torchvision.models.list_models(torchvision.models.segmentation)
    )
    network = segment_network.Network(
        arch=arch,
        backbone=backbone,
        output_stride=None,
        aux=False,
        deconv=False,
        rates=catalog.SEGMENTERS[arch].atrous or None,
        positions=MAPS.get((arch, backbone)),
    )
    side = torchvision.models.segmentation.FCN_ResNet50_Weights.DEFAULT.transforms().resize_size[0]
    origin = f"torchvision {published[0]} {published[1].name}" if published else "unknown"
    return network, segment_network.Preprocessing((side, side), "short", bits=None), origin


def _clip_network(options: WeightsImport, arch: str, backbone: str) -> tuple[Any, Any, str]:
    """Return network, preprocessing and origin of a network of clips, by torchvision's preset."""
    builder = next(name for name, own in VIDEO.items() if own == arch)
    entry = torchvision.models.get_model_weights(builder).DEFAULT
    published = recognised(options.file, [builder])
    facts = catalog.CLIP_NETWORKS[arch]
    preset, length = entry.transforms(), facts.published_frames
    side = preset.crop_size[0]
    network = video_network.Network(arch=arch, backbone=None, frames=length, image_size=side)
    preprocessing = video_network.Preprocessing(
        image_size=side,
        resize_hw=tuple(preset.resize_size),
        frames=length,
        sampling="clip",
        fps=15.0,
        clips=facts.published_clips,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        bits=None,
    )
    return network, preprocessing, "torchvision KINETICS400_V1" if published else "unknown"


def _detector(options: WeightsImport, arch: str, backbone: str) -> tuple[Any, Any, str]:
    """Return network, preprocessing and origin of a detector, with torchvision's own numbers."""
    published, _ = recognised(options.file, DETECTION) or (None, None)
    network = detect_network.Network(arch, backbone)
    small = "_320_" in f"{options.arch} {published}"
    if backbone == "resnet50":
        # Only these files were trained with batch norms whose epsilon is 0.
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


def _object_classes(name: str, count: int) -> ClassList:
    """Return the classes of a detector with so many outputs; the first one is background.

    Raises:
        UsageError: no such list.
        ModelFileError: the file's network scores another number of classes.
    """
    sets = {"coco": torchvision.models.detection.FasterRCNN_ResNet50_FPN_Weights.COCO_V1}
    if name in sets or (name == "auto" and count == 91):
        names = sets["coco"].meta["categories"][1:]
        # Ten of COCO's ninety category ids were never used.
        listed = [f"unused {i}" if n == "N/A" else n for i, n in enumerate(names, 1)]
    elif name == "voc" or (name == "auto" and count == 21):
        listed = list(VOC_CLASSES)
    elif name != "auto" and Path(name).is_file():
        listed = list(read_classes(Path(name))[0].names)
    else:
        raise UsageError(
            f"--classes {name}: the network scores {count - 1} classes and background",
            code="classes.missing",
            hint="coco, voc, or a file with one class a line, without background",
        )
    if len(listed) != count - 1:
        raise ModelFileError(
            f"the network scores {count - 1} classes and background, --classes {name} lists "
            f"{len(listed)}",
            code="classes.count",
        )
    made = make_classes(listed, {i: voc_color((i + 1) % 256) for i in range(len(listed))})
    return ClassList(made.names, tuple(range(1, count)), made.colors)


def _classes(name: str, count: int) -> ClassList:
    """Return the classes that `--classes` names.

    Raises:
        UsageError: no such list.
        ModelFileError: the file's network scores another number of classes.
    """
    if name == "auto":
        if count not in CLASS_SETS:
            raise UsageError(
                f"--classes is missing: the network scores {count} classes",
                code="classes.missing",
                hint="a file with one class a line",
            )
        name = CLASS_SETS[count]
    models = torchvision.models
    if name == "imagenet":
        names = models.ResNet50_Weights.IMAGENET1K_V1.meta["categories"]
    elif name == "kinetics":
        names = models.video.R3D_18_Weights.DEFAULT.meta["categories"]
    elif name == "voc":
        # Its first name is "__background__" there; datasets write "background".
        names = [
            n.strip("_")
            for n in models.segmentation.FCN_ResNet50_Weights.DEFAULT.meta["categories"]
        ]
    elif Path(name).is_file():
        classes, _ = read_classes(Path(name))
        names = classes.names
    else:
        raise UsageError(
            f"--classes {name} is not a file",
            code="classes.missing",
            hint="or imagenet, voc or kinetics",
        )
    if len(names) != count:
        raise ModelFileError(
            f"the network scores {count} classes, --classes {name} lists {len(names)}",
            code="classes.count",
        )
    return make_classes(list(names))
