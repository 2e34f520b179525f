"""What is not part of cvkit works in it from tables alone: no other file is touched.

All of it runs in one process of its own, since flags read the tables when they are imported.
"""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cvkit.data.synthetic.samples import WRITERS

HERE = Path(__file__).parent
RUN = """
import json, sys
import toys.backbone, toys.decoder, toys.detector
if {task!r}:
    import toys.brightness
from cvkit.cli import run
for words in json.loads(sys.stdin.read()):
    code = run(words)
    print("CODE", code, flush=True)
    if code:
        break
"""
QUICK = ("--epochs", "1", "--batch-size", "2", "--workers", "0", "--device", "cpu", "--quiet")


def run_all(commands, folder, task=False):
    """Run commands one after the other; return what each printed on stdout."""
    done = subprocess.run(
        [sys.executable, "-c", RUN.format(task=task)],
        input=json.dumps([[str(word) for word in words] for words in commands]),
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])])},
    )
    parts = done.stdout.split("CODE ")
    assert len(parts) == len(commands) + 1, done.stdout + done.stderr
    assert [part.split()[0] for part in parts[1:]] == ["0"] * len(commands), done.stderr
    return [part.split("\n", 1)[-1] for part in parts[:-1]]


def verbs(task, data, images, flags, run):
    """Train, evaluate and predict."""
    model = ("--weights", f"runs/{run}-001")
    few = ("--workers", "0", "--device", "cpu", "--quiet", "--json")
    return [
        (task, "train", "--data", data, *flags, *QUICK),
        (task, "eval", "--data", data, *model, *few),
        (task, "predict", images, *model, "--out", f"out-{run}", *few),
    ]


@pytest.mark.slow
def test_a_backbone_serves_all_tasks_and_architectures_are_one_row(tmp_path):
    for task in ("segment", "detect", "instance"):
        WRITERS[task](tmp_path / task, {"train": 4, "val": 2}, seed=1, size_hw=(64, 64))
    WRITERS["classify"](tmp_path / "classify", {"train": 10, "val": 5}, seed=1, size_hw=(32, 32))
    WRITERS["video"](tmp_path / "video", {"train": 7, "val": 7}, seed=1, size_hw=(32, 32))
    toy = ("--backbone", "toy")
    small = (*toy, "--channels", "16", "--min-size", "64", "--roi-samples", "16")
    images = {
        task: tmp_path / task / "images" / "val" for task in ("segment", "detect", "instance")
    }
    commands = [
        *verbs(
            "segment", "segment", images["segment"], ("--arch", "coarse", *toy), "segment-coarse"
        ),
        *verbs("segment", "segment", images["segment"], ("--arch", "unet", *toy), "segment-unet"),
        *verbs(
            "detect",
            "detect",
            images["detect"],
            ("--arch", "points", *toy, "--min-size", "64", "--freeze-backbone"),
            "detect-points",
        ),
        *verbs("detect", "detect", images["detect"], small, "detect-faster-rcnn"),
        *verbs("instance", "instance", images["instance"], small, "instance-mask-rcnn"),
        *verbs(
            "video",
            "video",
            tmp_path / "video" / "val",
            ("--arch", "conv-lstm", *toy, "--frames", "4", "--image-size", "32"),
            "video-conv-lstm",
        ),
        *verbs(
            "video",
            "video",
            tmp_path / "video" / "val",
            ("--arch", "cnn-lstm", *toy, "--frames", "4", "--image-size", "32"),
            "video-cnn-lstm",
        ),
        *verbs("classify", "classify", tmp_path / "classify" / "val", toy, "classify-toy"),
    ]
    answers = run_all(commands, tmp_path)
    metrics = [json.loads(answer)["metrics"] for answer in answers[1::3]]
    assert [next(iter(each)) for each in metrics] == [
        "miou",
        "miou",
        "AP",
        "AP",
        "mask",
        "video_top1",
        "video_top1",
        "top1",
    ]
    counts = [json.loads(answer)["counts"] for answer in answers[2::3]]
    assert all(count["predicted"] and not count["failed"] for count in counts)


@pytest.mark.slow
def test_a_task_from_images_to_one_number_has_all_verbs(tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (("train", 24), ("val", 6)):
        rows = []
        (tmp_path / split).mkdir()
        for number in range(count):
            level = int(rng.integers(20, 235))
            noise = rng.integers(-15, 16, (40, 40, 3))
            pixels = np.clip(level + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / split / f"{number}.png")
            rows.append((f"{split}/{number}.png", pixels.mean() / 255))
        with (tmp_path / f"{split}.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows([("path", "value"), *rows])
    train, *rest = verbs(
        "brightness",
        ".",
        "val",
        ("--augment", "none", "--lr", "0.1", "--optimizer", "adam"),
        "brightness-mean",
    )
    train = [word if word != "1" else "40" for word in train]
    scored = ("brightness", "eval", "--predictions", "val.csv", "--truth", ".", "--json", "--quiet")
    listed = ("models", "brightness", "--json")
    helped = [("brightness", "--help"), ("brightness", "train", "--help"), ("--help",)]
    commands = [train, *rest, scored, listed, *helped]
    _, evaluated, predicted, files, models, *pages = run_all(commands, tmp_path, task=True)
    assert all("says how bright an image is" in page for page in pages)
    assert json.loads(evaluated)["metrics"]["closeness"] > 0.95
    assert json.loads(predicted)["counts"]["predicted"] == 6
    assert json.loads(files)["metrics"]["closeness"] == 1.0
    assert [row["about"] for row in json.loads(models)["archs"]] == ["means of channels"]
