"""One training step of a U-Net (resnet18, 240x180, batch 8, fp32): plain PyTorch and cvkit.

Plain is the same network trained as a tutorial would: contiguous memory order and the C library's
default memory settings. Each leg runs in a process of its own, alternating; the medians and their
ratio are printed.

    python benchmarks/train_step.py [ROUNDS]
"""

import statistics
import subprocess
import sys
import time

STEPS = 6


def measure(leg: str) -> float:
    """Return the median seconds of a step."""
    import torch

    from cvkit.engine.runtime import keep_memory
    from cvkit.models.build import build
    from cvkit.models.specs import SegmenterSpec
    from cvkit.ops.losses import combined_loss

    torch.manual_seed(0)
    if leg == "cvkit":
        keep_memory()
    order = torch.channels_last if leg == "cvkit" else torch.contiguous_format
    spec = SegmenterSpec("unet", "resnet18", output_stride=None, aux=True, deconv=False)
    model = build("segment", spec, 11).train().to(memory_format=order)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    images = torch.randn(8, 3, 180, 240).contiguous(memory_format=order)
    truth = torch.randint(0, 11, (8, 180, 240))
    times = []
    for _ in range(STEPS):
        start = time.perf_counter()
        optimizer.zero_grad()
        combined_loss({"ce": 1.0}, model(images)["out"], truth).backward()
        optimizer.step()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def main() -> None:
    """Alternate the legs and print their ratio."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    found = {"plain": [], "cvkit": []}
    for _ in range(rounds):
        for leg, times in found.items():
            done = subprocess.run(
                [sys.executable, __file__, "--leg", leg], capture_output=True, text=True, check=True
            )
            times.append(float(done.stdout))
    plain, ours = (statistics.median(times) for times in found.values())
    print(f"plain {plain:.3f} s/step, cvkit {ours:.3f} s/step, ratio {plain / ours:.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--leg"]:
        print(measure(sys.argv[2]))
    else:
        main()
