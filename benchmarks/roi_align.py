"""RoI Align on the CPU: torchvision's kernel and cvkit's formulation, alternating.

1000 boxes of 7x7 cells, 256 channels, a map of 200x272 (an 800-pixel image at stride 4); forward
alone, and forward with the gradient of the map.

    python benchmarks/roi_align.py [ROUNDS]
"""

import statistics
import sys
import time

import torch
from torchvision.ops import roi_align as kernel

from cvkit.engine.runtime import keep_memory
from cvkit.ops.roi import roi_align


def main() -> None:
    """Alternate the legs and print their medians and ratios."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    keep_memory()
    torch.manual_seed(0)
    maps = torch.randn(1, 256, 200, 272).requires_grad_()
    nhwc = maps.detach().to(memory_format=torch.channels_last).requires_grad_()
    corner = torch.rand(1000, 2) * torch.tensor([900.0, 650.0])
    boxes = torch.cat((corner, corner + 20 + torch.rand(1000, 2) * 160), 1)
    image = torch.zeros(1000)
    rois = torch.cat((image[:, None], boxes), 1)
    legs = {
        "torchvision": lambda: kernel(maps, rois, (7, 7), 0.25, 2, False),
        "cvkit": lambda: roi_align(nhwc, boxes, image, side=7, scale=0.25, samples=2),
    }
    difference = (legs["torchvision"]() - legs["cvkit"]()).abs().max().item()
    weight = torch.randn(1000, 256, 7, 7)
    for title, backward in (("forward", False), ("forward and gradient", True)):
        found: dict[str, list[float]] = {name: [] for name in legs}
        for _ in range(rounds):
            for name, leg in legs.items():
                start = time.perf_counter()
                with torch.set_grad_enabled(backward):
                    result = leg()
                if backward:
                    result.backward(weight)
                found[name].append(time.perf_counter() - start)
        theirs, ours = (statistics.median(times) for times in found.values())
        print(
            f"{title}: torchvision {theirs * 1e3:.0f} ms, cvkit {ours * 1e3:.0f} ms, "
            f"ratio {theirs / ours:.1f}"
        )
    print(f"{torch.get_num_threads()} threads; largest difference {difference:.1e}")


if __name__ == "__main__":
    main()
