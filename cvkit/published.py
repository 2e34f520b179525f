"""Trained models that `--weights` takes by name: torchvision's, and those in folders."""

from dataclasses import dataclass
from pathlib import Path

from cvkit.backbone_table import BACKBONES


@dataclass(frozen=True)
class Published:
    """A trained torchvision model.

    Attributes:
        builder: torchvision function that builds the network.
        version: name of its weights there.
    """

    builder: str
    version: str = "DEFAULT"


def _published_classifiers() -> dict[str, Published]:
    """Return the ImageNet classifiers by name; without a version it is the newest."""
    found = {"imagenet": Published("resnet50", "IMAGENET1K_V2")}
    for name, entry in BACKBONES.items():
        if entry.builder:
            each = [Published(entry.builder, f"IMAGENET1K_{v.upper()}") for v in entry.versions]
            found[f"imagenet:{name}"] = each[-1]
            found |= {
                f"imagenet:{name}:{v}": one for v, one in zip(entry.versions, each, strict=True)
            }
    return found


PUBLISHED = {
    "classify": _published_classifiers(),
    "segment": {
        "coco-voc": Published("deeplabv3_resnet50"),
        "coco-voc:fcn-resnet50": Published("fcn_resnet50"),
        "coco-voc:fcn-resnet101": Published("fcn_resnet101"),
        "coco-voc:deeplab-resnet50": Published("deeplabv3_resnet50"),
        "coco-voc:deeplab-resnet101": Published("deeplabv3_resnet101"),
        "coco-voc:deeplab-mobilenet": Published("deeplabv3_mobilenet_v3_large"),
        "coco-voc:lraspp-mobilenet": Published("lraspp_mobilenet_v3_large"),
    },
    "detect": {
        "coco": Published("fasterrcnn_resnet50_fpn_v2"),
        "coco:resnet50": Published("fasterrcnn_resnet50_fpn"),
        "coco:resnet50-v2": Published("fasterrcnn_resnet50_fpn_v2"),
        "coco:mobilenet": Published("fasterrcnn_mobilenet_v3_large_fpn"),
        "coco:mobilenet-320": Published("fasterrcnn_mobilenet_v3_large_320_fpn"),
    },
    "instance": {
        "coco": Published("maskrcnn_resnet50_fpn_v2"),
        "coco:resnet50": Published("maskrcnn_resnet50_fpn"),
        "coco:resnet50-v2": Published("maskrcnn_resnet50_fpn_v2"),
    },
    "video": {
        "kinetics": Published("r2plus1d_18"),
        "kinetics:r2plus1d": Published("r2plus1d_18"),
        "kinetics:r3d": Published("r3d_18"),
        "kinetics:mc3": Published("mc3_18"),
        "kinetics:s3d": Published("s3d"),
    },
}
"""Published models, by task and name."""


def published_models(task: str) -> dict[str, Published]:
    """Return a task's published models by name; there may be none."""
    return PUBLISHED.get(task, {})


def published_text(task: str) -> str:
    """Return the names of a task's published models as text, abbreviated for classifiers.

    The text is empty for a task without any.
    """
    if task != "classify":
        return ", ".join(published_models(task))
    names = [name for name, entry in BACKBONES.items() if entry.builder]
    both = [name for name in names if len(BACKBONES[name].versions) > 1]
    return (
        "imagenet (resnet50 v2), imagenet:NETWORK (its newest version) or "
        f"imagenet:NETWORK:VERSION, where NETWORK is one of {', '.join(names)}, and VERSION is v1, "
        f"or v2 for {', '.join(both)}"
    )


def families(task: str) -> list[str]:
    """Return the first parts of the names of a task's published models, such as `coco`."""
    return list(dict.fromkeys(name.partition(":")[0] for name in published_models(task)))


def weight_shelves() -> list[Path]:
    """Return the `weights` folders that may contain trained models: the current one and cvkit's."""
    package = Path(__file__).parent  # an installed package contains its weights
    return [Path("weights"), package.parent / "weights", package / "weights"]
