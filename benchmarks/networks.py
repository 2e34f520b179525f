"""Networks alone, on every engine of cvkit, against torchvision and other runtimes.

The peers are the same architectures: torchvision's networks (segmentation_models.pytorch's for the
U-Net) in eager mode, in fp32 and contiguous memory; ONNX Runtime and OpenVINO run the peer's
network. Weights are random.

    python benchmarks/networks.py [--rounds N] [--json]
"""

import functools
import importlib
import io
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pairs import Leg, Line, Skipped, alternate, candidates, compared, main, make_model
from torch import Tensor, nn

from cvkit.engine.runtime import keep_memory
from cvkit.tasks.candidates import Candidate, available


@dataclass(frozen=True)
class Case:
    """A network.

    Attributes:
        task: of cvkit.
        flags: of train that make it.
        shape: of the input.
        peer: `module:attribute` that builds the peer, and its arguments.
        goals: for fp32 and bf16.
    """

    task: str
    flags: dict[str, Any]
    shape: tuple[int, ...]
    peer: tuple[str, dict[str, Any]]
    goals: dict[str, float]


NO_WEIGHTS = {"weights": None, "weights_backbone": None}
CASES = {
    "resnet50, 16 images of 224": Case(
        "classify",
        {"arch": "resnet50", "image_size": "224"},
        (16, 3, 224, 224),
        ("torchvision.models:resnet50", {"weights": None}),
        {"fp32": 1.6, "bf16": 3.2},
    ),
    "DeepLabV3 resnet50, 1 image of 520": Case(
        "segment",
        {"arch": "deeplab", "backbone": "resnet50", "image_size": "520x520"},
        (1, 3, 520, 520),
        ("torchvision.models.segmentation:deeplabv3_resnet50", NO_WEIGHTS),
        {"fp32": 1.6, "bf16": 3.2},
    ),
    "U-Net resnet34, 4 images of 256": Case(
        "segment",
        {"arch": "unet", "backbone": "resnet34", "image_size": "256x256"},
        (4, 3, 256, 256),
        ("segmentation_models_pytorch:Unet", {"encoder_name": "resnet34", "encoder_weights": None}),
        {"fp32": 1.6, "bf16": 3.0},
    ),
    "r3d_18, 1 clip of 16 frames of 112": Case(
        "video",
        {"arch": "r3d", "frames": 16, "image_size": "112"},
        (1, 3, 16, 112, 112),
        ("torchvision.models.video:r3d_18", {"weights": None}),
        {},
    ),
}


class Single(nn.Module):
    """A network whose only output is its scores."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return the scores."""
        found = self.network(images)
        return found["out"] if isinstance(found, dict) else found


def peer_legs(network: nn.Module, images: Tensor) -> Iterator[tuple[str, Leg | Skipped]]:
    """Yield the other runtimes, each by its name."""
    makers: dict[str, Callable[[nn.Module, Tensor], dict[str, Leg]]] = {
        "ONNX Runtime": onnx_legs,
        "OpenVINO": openvino_legs,
    }
    for name, make in makers.items():
        try:
            yield from make(network, images).items()
        except ImportError as error:
            yield name, Skipped(name, f"{error.name} is not installed")


def onnx_legs(network: nn.Module, images: Tensor) -> dict[str, Leg]:
    """Return ONNX Runtime in fp32, the only precision that it has on CPUs."""
    importlib.import_module("onnx")  # which the export needs
    runtime = importlib.import_module("onnxruntime")
    content = io.BytesIO()
    torch.onnx.export(
        network,
        (images,),
        content,  # type: ignore[arg-type]  # it takes files, too
        input_names=["images"],
        dynamo=False,
    )
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(content.getvalue(), options)
    return {"ONNX Runtime fp32": lambda: session.run(None, {"images": images.numpy()})}


def openvino_legs(network: nn.Module, images: Tensor) -> dict[str, Leg]:
    """Return OpenVINO in fp32 and bf16."""
    openvino = importlib.import_module("openvino")
    converted = openvino.convert_model(network, example_input=images, input=list(images.shape))
    threads = torch.get_num_threads()
    legs: dict[str, Leg] = {}
    for name, kind in (("fp32", "f32"), ("bf16", "bf16")):
        hints = {"INFERENCE_PRECISION_HINT": kind, "INFERENCE_NUM_THREADS": threads}
        compiled = openvino.compile_model(converted, "CPU", hints)
        legs[f"OpenVINO {name}"] = functools.partial(compiled, images.numpy())
    return legs


def our_leg(candidate: Candidate, images: Tensor) -> Callable[[], Tensor]:
    """Return a network of cvkit, as its engine runs it."""
    trained = available(candidate)
    order = torch.channels_last_3d if images.ndim == 5 else torch.channels_last
    inputs = images.contiguous(memory_format=order)

    def run() -> Tensor:
        with trained.fabric.autocast():
            return trained.model(inputs)["out"].float()

    return run


def measured(what: str, case: Case, folder: Path, rounds: int) -> Iterator[Line | Skipped]:
    """Yield the lines of a network."""
    module, _, builder = case.peer[0].partition(":")
    try:
        place = importlib.import_module(module)
    except ImportError as error:
        yield Skipped(what, f"{error.name} is not installed")
        return
    torch.manual_seed(0)
    network, images = (
        Single(getattr(place, builder)(**case.peer[1])).eval(),
        torch.randn(case.shape),
    )
    peer = f"{module.partition('.')[0]} eager fp32"
    legs: dict[str, Leg] = {peer: lambda: network(images)}
    for name, leg in peer_legs(network, images):
        if isinstance(leg, Skipped):
            yield Skipped(f"{what}: {name}", leg.why)
        else:
            legs[name] = leg
    goals: dict[str, float] = {}
    notes: dict[str, str] = {}
    first: Tensor | None = None
    for candidate in candidates(case.task, make_model(case.task, case.flags, folder)):
        name = f"cvkit {candidate.engine} {candidate.precision}"
        if candidate.trained is None:
            yield Skipped(f"{what}: {name}", candidate.reason)
            continue
        legs[name] = run = our_leg(candidate, images)
        found = run()
        first = found if first is None else first
        difference = (found - first).abs().max() / first.abs().max()
        notes[name] = f"largest difference from eager fp32 {difference:.0e}"
        if goal := case.goals.get(candidate.precision):
            goals[name] = goal
    yield from compared(what, alternate(legs, rounds), peer, goals=goals, notes=notes)


@torch.inference_mode()
def measure(rounds: int) -> Iterator[Line | Skipped]:
    """Yield the lines of all networks."""
    warnings.simplefilter("ignore")  # both runtimes are given traced networks, which is deprecated
    keep_memory()
    with tempfile.TemporaryDirectory() as folder:
        for number, (what, case) in enumerate(CASES.items()):
            yield from measured(what, case, Path(folder, str(number)), rounds)


if __name__ == "__main__":
    main(measure)
