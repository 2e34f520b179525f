"""Fused layers on a CPU against the same networks run by torchvision in eager mode.

All legs have the same weights and alternate in one process with kept memory; the medians of their
times and the ratios to torchvision's leg (eager, fp32, contiguous) are printed, and the largest
difference from it, relative to its largest value.

    python benchmarks/fused_layers.py [ROUNDS] [NETWORK ...]
"""

import copy
import statistics
import sys
import time
from collections.abc import Callable

import torch
import torchvision
from torch import Tensor, nn

from cvkit.engine.runtime import keep_memory
from cvkit.models.fuse import Fusion

NETWORKS = {
    "resnet18": ("resnet18", (16, 3, 224, 224)),
    "resnet50": ("resnet50", (16, 3, 224, 224)),
    "mobilenet_v3_large": ("mobilenet_v3_large", (16, 3, 224, 224)),
    "convnext_tiny": ("convnext_tiny", (8, 3, 224, 224)),
    "vit_b_16": ("vit_b_16", (8, 3, 224, 224)),
    "deeplabv3_resnet50": ("segmentation.deeplabv3_resnet50", (1, 3, 520, 520)),
    "r3d_18": ("video.r3d_18", (2, 3, 16, 112, 112)),
}


class Outer(nn.Module):
    """Has the network as its part, which is what becomes fused."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return the scores."""
        found = self.network(images)
        return found["out"] if isinstance(found, dict) else found


def built(name: str) -> Outer:
    """Return torchvision's network whose batch norms have statistics."""
    torch.manual_seed(0)
    place, _, builder = NETWORKS[name][0].rpartition(".")
    models = getattr(torchvision.models, place) if place else torchvision.models
    weights = {"weights_backbone": None} if place == "segmentation" else {}
    network = getattr(models, builder)(weights=None, **weights)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d):
            layer.running_mean.uniform_(-0.1, 0.1)
            layer.running_var.uniform_(0.5, 2)
        if isinstance(layer, nn.Linear) and not layer.weight.any():
            nn.init.normal_(layer.weight, std=0.02)  # the transformer's head begins with zeros
    return Outer(network.eval())


def legs(network: Outer, shape: tuple[int, ...]) -> dict[str, Callable[[], Tensor]]:
    """Return what runs, by name; torchvision's way comes first."""
    order = torch.channels_last_3d if len(shape) == 5 else torch.channels_last
    images = torch.randn(shape)
    nhwc = images.contiguous(memory_format=order)
    ours = copy.deepcopy(network).to(memory_format=order)
    fused32, fused16 = copy.deepcopy(ours), copy.deepcopy(ours)
    Fusion(fused32, "fp32")
    Fusion(fused16, "bf16")

    def in_16_bits(model: Outer) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return model(nhwc).float()

    return {
        "torchvision fp32": lambda: network(images),
        "eager fp32": lambda: ours(nhwc),
        "fused fp32": lambda: fused32(nhwc),
        "eager bf16": lambda: in_16_bits(ours),
        "fused bf16": lambda: in_16_bits(fused16),
    }


@torch.inference_mode()
def main() -> None:
    """Measure the networks."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    keep_memory()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    for name in sys.argv[2:] or NETWORKS:
        ways = legs(built(name), NETWORKS[name][1])
        outputs = {way: run() for way, run in ways.items()}
        times: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way, run in ways.items():
                start = time.perf_counter()
                run()
                times[way].append(time.perf_counter() - start)
        first, *_ = ways
        for way, taken in times.items():
            middle, base = statistics.median(taken), statistics.median(times[first])
            error = (outputs[way] - outputs[first]).abs().max() / outputs[first].abs().max()
            print(
                f"{name:20} {way:17} {middle * 1e3:8.1f} ms  ratio {base / middle:5.2f}  "
                f"difference {error:.0e}",
                flush=True,
            )


if __name__ == "__main__":
    main()
