"""RoI Pool on the CPU: torchvision's kernel and cvkit's lookup, alternating.

Fast R-CNN's evaluation of an image: 2000 boxes of 7x7 cells, 512 channels, a map of 38x50 (a
600-pixel image at stride 16). Besides the time on the clock it prints the CPU time, which other
processes disturb less.

    python benchmarks/roi_pool.py [ROUNDS]
"""

import statistics
import sys
import time

import torch
from torchvision.ops import roi_pool as kernel

from cvkit.engine.runtime import keep_memory
from cvkit.ops.roi import roi_pool


def main() -> None:
    """Alternate the legs and print their medians and ratios."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    keep_memory()
    torch.manual_seed(0)
    maps = torch.randn(1, 512, 38, 50).relu()
    nhwc = maps.to(memory_format=torch.channels_last)
    corner = torch.rand(2000, 2) * torch.tensor([700.0, 500.0])
    boxes = torch.cat((corner, corner + 20 + torch.rand(2000, 2) * 300), 1)
    boxes = boxes.minimum(torch.tensor([800.0, 608.0, 800.0, 608.0]))
    image = torch.zeros(2000)
    rois = torch.cat((image[:, None], boxes), 1)
    legs = {
        "torchvision": lambda: kernel(maps, rois, (7, 7), 1 / 16),
        "cvkit": lambda: roi_pool(nhwc, boxes, image, side=7, scale=1 / 16),
    }
    assert torch.equal(legs["torchvision"](), legs["cvkit"]()), "the values differ"
    clocks = {"on the clock": time.perf_counter, "of CPU time": time.process_time}
    found: dict[str, dict[str, list[float]]] = {c: {leg: [] for leg in legs} for c in clocks}
    for _ in range(rounds):
        for name, leg in legs.items():
            starts = {clock: read() for clock, read in clocks.items()}
            leg()
            for clock, read in clocks.items():
                found[clock][name].append(read() - starts[clock])
    for clock, times in found.items():
        theirs, ours = (statistics.median(each) for each in times.values())
        print(
            f"{clock}: torchvision {theirs * 1e3:.0f} ms, cvkit {ours * 1e3:.0f} ms, "
            f"ratio {theirs / ours:.1f}"
        )
    print(f"{torch.get_num_threads()} threads; all values are equal")


if __name__ == "__main__":
    main()
