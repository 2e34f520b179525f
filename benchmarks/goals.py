"""The goals of the benchmarks against what was reached, from the results on their page."""

import re
from collections.abc import Iterator

LIMITS = {
    r"whole predict.*torchvision's loop": "the network takes nine tenths of the time; the goals "
    "come from a CPU with AMX, which multiplies about six times as fast in bf16 as in fp32, and "
    "this one twice",
    r"the network alone": "decoding and writing need the cores that the network runs on",
    r"mixed sizes": "these photos have 1.16 times as many pixels, which explains 0.86; the rest is "
    "not known",
    r"training step": "oneDNN's convolutions and their gradients, twice as fast in bf16 as in "
    "fp32, take 71 (classify), 77 (segment), 62 (detect), 75 (instance) and 86 % (video) of the "
    "time of a step in bf16; of detect, matrix products take 13 % more",
    r"start-up of cvkit classify predict": "importing what predict needs besides torch and "
    "torchvision (Fabric, OpenCV, typer, rich and cvkit) takes a tenth of the time of all imports; "
    "loading the model and the network's first call come on top",
    r"bf16$": "without AMX, oneDNN's convolutions are twice as fast in bf16 as in fp32 (1000 and "
    "500 GFLOP/s), so 16 images of resnet50 take 131 ms at least; the goals come from a CPU with "
    "AMX",
    r"fp32$": "torchvision's network runs the same oneDNN convolutions (500 GFLOP/s); NHWC and "
    "joined layers save only what lies between them",
}
"""What keeps a result from its goal, by a pattern of its text; the first that is found counts.

The speeds of oneDNN and the shares of a step (torch's profiler) are of the machine of the page.
"""
NAME = "goals"
"""Of the section."""


def rows(page: str) -> Iterator[tuple[str, str, str, float, float]]:
    """Yield what is measured, the peer, the leg, the ratio and the goal of the results with one."""
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 7 and re.fullmatch(r"[\d.]+ [\d.]+", f"{cells[3]} {cells[5]}"):
            what, leg, peer, ratio, _, goal, _ = cells
            yield what, peer, leg, float(ratio), float(goal)


def section(page: str) -> str:
    """Return the best result for each goal as Markdown, with what limits those that fall short."""
    best: dict[tuple[str, str, float], tuple[float, str]] = {}
    for what, peer, leg, ratio, goal in rows(page):
        key = what, peer, goal
        best[key] = max(best.get(key, (0.0, "")), (ratio, leg))
    lines = ["| what | compared with | goal | best | what limits it |", "|---|---|---|---|---|"]
    for (what, peer, goal), (ratio, leg) in best.items():
        text = f"{what}, {peer}, {leg}"
        limits = (why for pattern, why in LIMITS.items() if re.search(pattern, text))
        verdict = "reached" if ratio >= goal else next(limits, "not known")
        lines.append(f"| {what} | {peer} | {goal:g} | {ratio:.2f}, {leg} | {verdict} |")
    return "\n".join([f"### {NAME}", "", "The best of the results below.", "", *lines, ""])
