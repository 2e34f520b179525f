"""COCO's evaluation, whole processes: pycocotools and `cvkit detect | instance eval`, alternating.

Synthetic truths and detections: 80 classes, 7 objects and 98 detections an image of 640x480; boxes,
or ellipses in them. The twelve numbers of both must be equal to the last digit.

    python benchmarks/coco_eval.py [IMAGES] [ROUNDS] [bbox|segm]
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from pycocotools import mask as coco

SIZE = 480, 640
PEER = """
import contextlib, io, json, sys
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
with contextlib.redirect_stdout(io.StringIO()):
    truth = COCO(sys.argv[1])
    run = COCOeval(truth, truth.loadRes(sys.argv[2]), sys.argv[3])
    run.evaluate(), run.accumulate(), run.summarize()
print(json.dumps(run.stats.tolist()))
"""


def ellipse(box: list[float]) -> dict:
    """Return the run-length code of the ellipse in a box."""
    x, y, w, h = box
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    points = np.stack([x + w / 2 * (1 + np.cos(angles)), y + h / 2 * (1 + np.sin(angles))], 1)
    code = coco.frPyObjects([points.ravel().tolist()], *SIZE)[0]
    return code | {"counts": code["counts"].decode()}


def write(folder: Path, images: int, kind: str) -> tuple[Path, Path]:
    """Write a truth and a result file and return their paths."""
    rng = np.random.default_rng(0)
    truth: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for image in range(1, images + 1):
        for _ in range(7):
            x, y, w, h = (rng.random(4) * [500, 350, 140, 130] + [0, 0, 8, 8]).tolist()
            row: dict[str, Any] = {"image_id": image, "category_id": int(rng.integers(1, 81))}
            row |= {"bbox": [x, y, w, h], "area": w * h, "iscrowd": int(rng.random() < 0.02)}
            row |= {"segmentation": ellipse(row["bbox"])} if kind == "segm" else {}
            truth.append(row | {"id": len(truth) + 1})
            moved = [x, y, w, h] + rng.normal(0, 6, 4)
            for shift in range(14):
                box = (moved + rng.normal(0, 3 * shift, 4)).clip(1).tolist()
                label = row["category_id"] if rng.random() < 0.7 else int(rng.integers(1, 81))
                entry: dict[str, Any] = {"image_id": image, "category_id": label}
                entry |= {"segmentation": ellipse(box)} if kind == "segm" else {"bbox": box}
                found.append(entry | {"score": round(float(rng.random()), 3)})
    size = {"height": SIZE[0], "width": SIZE[1]}
    names = range(1, images + 1)
    content = {"images": [{"id": i, "file_name": f"{i}.jpg"} | size for i in names]}
    content |= {"categories": [{"id": i, "name": f"c{i}"} for i in range(1, 81)]}
    paths = folder / "truth.json", folder / "results.json"
    paths[0].write_text(json.dumps(content | {"annotations": truth}))
    paths[1].write_text(json.dumps(found))
    return paths


def main() -> None:
    """Alternate the legs, compare their numbers and print the ratio."""
    images = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    kind = sys.argv[3] if len(sys.argv) > 3 else "bbox"
    task = "instance" if kind == "segm" else "detect"
    with tempfile.TemporaryDirectory() as folder:
        truth, results = (str(path) for path in write(Path(folder), images, kind))
        own = ["-m", "cvkit", task, "eval", "--predictions", results, "--truth", truth]
        legs = {
            "pycocotools": ["-c", PEER, truth, results, kind],
            "cvkit": [*own, "--no-files", "--json"],
        }
        times: dict[str, list[float]] = {name: [] for name in legs}
        cpu: dict[str, list[float]] = {name: [] for name in legs}
        memory, numbers = {}, {}
        for _ in range(rounds):
            for name, arguments in legs.items():
                start = time.perf_counter()
                leg = subprocess.Popen(
                    [sys.executable, *arguments], stdout=subprocess.PIPE, text=True
                )
                numbers[name] = json.load(cast(IO[str], leg.stdout))
                _, code, used = os.wait4(leg.pid, 0)
                leg.returncode = os.waitstatus_to_exitcode(code)
                assert leg.returncode == 0, name
                times[name].append(time.perf_counter() - start)
                cpu[name].append(used.ru_utime + used.ru_stime)
                memory[name] = used.ru_maxrss // 1024
    metrics = numbers["cvkit"]["metrics"]
    metrics = metrics["mask"] if kind == "segm" else metrics
    mine = [-1 if v is None else v for v in metrics.values()]
    for title, values in (("seconds", times), ("CPU seconds", cpu)):
        theirs, ours = (statistics.median(each) for each in values.values())
        ratio = f"ratio {theirs / ours:.1f}"
        print(f"{title:12} pycocotools {theirs:.1f}, cvkit {ours:.1f}, {ratio}")
    theirs, ours = memory.values()
    print(f"{'MiB':12} pycocotools {theirs}, cvkit {ours}, ratio {theirs / ours:.1f}")
    print(f"{images} images, numbers equal: {mine == numbers['pycocotools']}")


if __name__ == "__main__":
    main()
