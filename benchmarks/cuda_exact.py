"""What exactness costs on a GPU: torch's own kernels and cvkit's exact ones, alternating.

The gradients of torch's kernels for bilinear resizing, RoI Align and RoI Pool add up in any
order. Forward and gradient; maps in NHWC, float32.

    python benchmarks/cuda_exact.py [ROUNDS]
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import roi_align as kernel_align
from torchvision.ops import roi_pool as kernel_pool

from cvkit.ops.resize import resize_by_products
from cvkit.ops.roi import roi_align, roi_pool


def cases() -> dict[str, tuple[Tensor, Callable[[], Tensor], Callable[[], Tensor]]]:
    """Return by title the input, torch's leg and cvkit's."""
    scores = torch.randn(8, 21, 65, 65, device="cuda").to(memory_format=torch.channels_last)
    maps = torch.randn(2, 256, 200, 272, device="cuda").to(memory_format=torch.channels_last)
    scores, maps = scores.requires_grad_(), maps.requires_grad_()
    corner = torch.rand(512, 2, device="cuda") * torch.tensor([900.0, 650.0], device="cuda")
    boxes = torch.cat((corner, corner + 20 + torch.rand(512, 2, device="cuda") * 160), 1)
    image = torch.randint(0, 2, (512,), device="cuda")
    rois = torch.cat((image[:, None].to(boxes), boxes), 1)
    wanted = (520, 520)
    return {
        "bilinear 65x65 to 520x520, 8 x 21 maps": (
            scores,
            lambda: F.interpolate(scores, size=wanted, mode="bilinear", align_corners=False),
            lambda: resize_by_products(scores, wanted),
        ),
        "RoI Align, 512 boxes of 7x7, 256 channels": (
            maps,
            lambda: kernel_align(maps, rois, (7, 7), 0.25, 2, False),
            lambda: roi_align(maps, boxes, image, side=7, scale=0.25, samples=2),
        ),
        "RoI Pool, 512 boxes of 7x7, 256 channels": (
            maps,
            lambda: kernel_pool(maps, rois, (7, 7), 0.25),
            lambda: roi_pool(maps, boxes, image, side=7, scale=0.25),
        ),
    }


def seconds(source: Tensor, leg: Callable[[], Tensor], exact: bool) -> float:
    """Return the time of ten passes forward and back."""
    torch.use_deterministic_algorithms(exact, warn_only=True)
    weight = torch.ones_like(leg())
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(10):
        source.grad = None
        leg().backward(weight)
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / 10


def main() -> None:
    """Alternate the legs and print their medians and ratios."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    torch.manual_seed(0)
    print(torch.cuda.get_device_name(), "torch", torch.__version__)
    for title, (source, theirs, ours) in cases().items():
        torch.use_deterministic_algorithms(False)  # torchvision would compile another RoI Align
        difference = (theirs() - ours()).abs().max().item()
        legs = ((theirs, False), (ours, True))
        found = [[seconds(source, leg, exact) for leg, exact in legs] for _ in range(rounds + 1)]
        first, second = (statistics.median(times) for times in zip(*found[1:], strict=True))
        print(
            f"{title}: torch {first * 1e3:.2f} ms, exact {second * 1e3:.2f} ms, "
            f"ratio {second / first:.2f}; largest difference {difference:.1e}"
        )


if __name__ == "__main__":
    main()
