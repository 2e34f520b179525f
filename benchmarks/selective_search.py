"""Selective search, fast mode, one thread: OpenCV-contrib's and cvkit's, alternating, on photos.

Needs `opencv-contrib-python-headless` in place of `opencv-python-headless`, in an environment of
its own. Says time, boxes, and how well the objects are covered.

    OMP_NUM_THREADS=1 python benchmarks/selective_search.py DATASET [IMAGES] [SPLIT]
"""

import statistics
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cvkit.data.boxes import read_boxes
from cvkit.data.decode import read_image
from cvkit.metrics.coverage import coverage
from cvkit.ops.proposals import WORK_WIDTH, selective_search


def opencv(image: np.ndarray) -> np.ndarray:
    """Return OpenCV's boxes at the same working width."""
    height, width = image.shape[:2]
    scale = WORK_WIDTH / width
    small = cv2.resize(image, (WORK_WIDTH, round(height * scale)), interpolation=cv2.INTER_AREA)
    ximgproc: Any = cv2.ximgproc  # type: ignore[attr-defined]  # of the contrib build
    search = ximgproc.segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(np.ascontiguousarray(small[..., ::-1]))
    search.switchToSelectiveSearchFast()
    x, y, w, h = search.process().T.astype(float)
    return np.stack((x, y, x + w, y + h), 1)[:2000] / scale


def main() -> None:
    """Alternate the legs and print their medians and coverage."""
    if not hasattr(cv2, "ximgproc"):
        raise SystemExit("this OpenCV has no ximgproc: install opencv-contrib-python-headless")
    cv2.setNumThreads(1)
    split = sys.argv[3] if len(sys.argv) > 3 else "val"
    images = read_boxes(Path(sys.argv[1]), "auto", [split]).splits[split]
    images = images[: int(sys.argv[2]) if len(sys.argv) > 2 else 20]
    legs = {"opencv-contrib": opencv, "cvkit": selective_search}
    times: dict[str, list[float]] = {name: [] for name in legs}
    boxes: dict[str, list[np.ndarray]] = {name: [] for name in legs}
    for item in images:
        pixels = read_image(item.path)
        for name, leg in legs.items():
            start = time.perf_counter()
            boxes[name].append(leg(pixels))
            times[name].append(time.perf_counter() - start)
    truths = [item.truth for item in images]
    for name in legs:
        found = coverage(boxes[name], [t.boxes for t in truths], [t.labels for t in truths])
        print(
            f"{name}: {statistics.median(times[name]):.2f} s, recall@0.5 {found['recall']:.3f}, "
            f"MABO {found['mabo']:.3f}, {found['boxes']:.0f} boxes"
        )
    theirs, ours = (statistics.median(values) for values in times.values())
    print(f"cvkit takes {ours / theirs:.2f} times as long; {len(images)} images")


if __name__ == "__main__":
    main()
