"""Whole predictions of folders of photos against the loop that a tutorial of torchvision has.

cvkit decodes, runs the network on each engine, and writes results and pictures; the tutorial's loop
decodes and runs torchvision's network of the same architecture in eager mode, image by image where
sizes differ, and writes nothing. Weights are random. The last lines compare predict with the
network alone, and a folder of mixed sizes with one of equal sizes.

    python benchmarks/predict.py [--rounds N] [--json]
"""

import functools
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from pairs import (
    SIZES,
    Leg,
    Line,
    Skipped,
    alternate,
    candidates,
    compared,
    main,
    make_model,
    make_photos,
)
from PIL import Image
from torchvision import models, transforms

from cvkit.data.files import InputFile
from cvkit.engine import bench
from cvkit.engine.runtime import keep_memory

BATCH = 8
MIXED = 2000
"""Photos of the folders of mixed and of equal sizes."""
MEAN_SIZE = (688, 516)
"""Width and height with the mean number of pixels of the mixed sizes."""


@dataclass(frozen=True)
class Case:
    """A network and the folder that it predicts.

    Attributes:
        task: of cvkit.
        flags: of train that make the network.
        photos: number of them.
        peer: builds torchvision's network.
        resize: what the tutorial does with an image.
        goal: ratio that is wanted.
    """

    task: str
    flags: dict[str, Any]
    photos: int
    peer: Callable[[], torch.nn.Module]
    resize: list[Any]
    goal: float


BARE = {"weights": None, "weights_backbone": None}
CROP = [transforms.Resize(256), transforms.CenterCrop(224)]
CASES = {
    "classify resnet50": Case(
        "classify",
        {"arch": "resnet50", "image_size": "224"},
        *(32, lambda: models.resnet50(weights=None), CROP, 5.0),
    ),
    "segment DeepLabV3 resnet50": Case(
        "segment",
        {"arch": "deeplab", "backbone": "resnet50", "image_size": "640x480"},
        *(4, lambda: models.segmentation.deeplabv3_resnet50(**BARE), [], 6.0),
    ),
    "detect Faster R-CNN resnet50": Case(
        "detect",
        {"backbone": "resnet50", "min_size": "480"},
        *(4, lambda: models.detection.fasterrcnn_resnet50_fpn(min_size=480, **BARE), [], 4.0),
    ),
    "instance Mask R-CNN resnet50": Case(
        "instance",
        {"backbone": "resnet50", "min_size": "480"},
        *(4, lambda: models.detection.maskrcnn_resnet50_fpn(min_size=480, **BARE), [], 4.0),
    ),
}


def tutorial(network: torch.nn.Module, case: Case, paths: list[Path]) -> None:
    """Predict as a tutorial does: detectors normalise by themselves, other networks do not."""
    finds = isinstance(network, torchvision.models.detection.generalized_rcnn.GeneralizedRCNN)
    norm = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    steps = transforms.Compose([*case.resize, transforms.ToTensor(), *([] if finds else [norm])])
    size = BATCH if case.resize else 1
    for first in range(0, len(paths), size):
        images = [steps(Image.open(path).convert("RGB")) for path in paths[first : first + size]]
        found = network(images if finds else torch.stack(images))
        if not finds:
            (found["out"] if isinstance(found, dict) else found).argmax(1)


def leg_of(candidate: Any) -> bench.Leg:
    """Return a model as predict runs it."""
    trained = candidate.trained
    return bench.Leg(
        task=trained.task,
        model=trained.model,
        fabric=trained.fabric,
        workers=trained.workers,
        batch_size=BATCH,
    )


def inputs(paths: list[Path]) -> list[InputFile]:
    """Return paths as inputs of predict."""
    return [InputFile(path, path.name) for path in paths]


def alone(leg: bench.Leg, files: list[InputFile]) -> Leg:
    """Return the network on samples that lie in memory."""
    groups = bench.batches_of(leg, files)
    return lambda: [leg.predict(batch) for batches in groups for batch in batches]


def measured(what: str, case: Case, root: Path, rounds: int) -> Iterator[Line | Skipped]:
    """Yield the lines of a network."""
    paths = make_photos(root / "photos", case.photos, SIZES[:1])
    files, network = inputs(paths), case.peer().eval()
    legs: dict[str, Leg] = {"torchvision's loop": lambda: tutorial(network, case, paths)}
    networks: dict[str, Leg] = {}
    for candidate in candidates(case.task, make_model(case.task, case.flags, root)):
        name = f"cvkit {candidate.engine} {candidate.precision}"
        if candidate.trained is None:
            yield Skipped(f"{what}: {name}", candidate.reason)
            continue
        leg = leg_of(candidate)
        legs[name] = functools.partial(bench.rate_of_predict, leg, files, root, 0)
        networks[name] = alone(leg, files)
    goals = dict.fromkeys(legs, case.goal)
    whole = "whole predict, 640x480 photos"
    last = list(networks)[-1]
    with torch.inference_mode():
        both = alternate({**legs, "the network alone": networks[last]}, rounds)
    network_seconds = both.pop("the network alone")
    yield from compared(f"{what}, {whole}", both, "torchvision's loop", goals=goals)
    pair = {"the network alone": network_seconds, last: both[last]}
    yield from compared(f"{what}, {whole}", pair, "the network alone", goals={last: 0.9})


def mixed(root: Path) -> Iterator[Line]:
    """Yield how fast a folder of mixed sizes is predicted, against one of equal sizes."""
    flags = {"arch": "unet", "backbone": "resnet18", "image_size": "160x120"}
    weights = make_model("segment", flags, root)
    folders = {"mixed sizes": SIZES, "equal sizes": [MEAN_SIZE]}
    files = {
        name: inputs(make_photos(root / name, MIXED, sizes)) for name, sizes in folders.items()
    }
    found = [each for each in candidates("segment", weights, overlay="none") if each.trained]
    leg = leg_of(next(each for each in found if (each.engine, each.precision) == ("fused", "fp32")))
    legs = {
        name: functools.partial(bench.rate_of_predict, leg, some, root, 0)
        for name, some in files.items()
    }
    bench.warmed_up(leg, files["equal sizes"])
    what = f"{MIXED} photos, segment U-Net resnet18 at 160x120"
    seconds = alternate(legs, 1, warm_up=False)
    yield from compared(what, seconds, "equal sizes", goals={"mixed sizes": 0.9})


def measure(rounds: int) -> Iterator[Line | Skipped]:
    """Yield all lines."""
    keep_memory()
    with tempfile.TemporaryDirectory() as text:
        for number, (what, case) in enumerate(CASES.items()):
            (root := Path(text, str(number))).mkdir()
            yield from measured(what, case, root, rounds)
        (root := Path(text, "mixed")).mkdir()
        yield from mixed(root)


if __name__ == "__main__":
    main(measure)
