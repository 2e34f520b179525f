"""On a GPU: the same command gives the same bits, and fp32 gives the CPU's numbers."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cvkit import catalog
from cvkit.data.synthetic.samples import WRITERS

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")

SMALL = {
    "classify": ("--arch", "resnet18", "--image-size", 64),
    "segment": ("--arch", "deeplab", "--backbone", "resnet18", "--image-size", "64x64"),
    "detect": ("--backbone", "resnet18", "--roi", "pool"),
    "instance": ("--backbone", "resnet18"),
    "video": ("--arch", "r3d-small", "--image-size", 32, "--frames", 4),
}
SHIPPED = {
    "classify": "shapes",
    "segment": "scenes",
    "detect": "boxes",
    "instance": "masks",
    "video": "motions",
}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    found = {}
    for task, write in WRITERS.items():
        found[task] = tmp_path_factory.mktemp(task)
        write(found[task], {"train": 12, "val": 4}, 3, (96, 96))
    return found


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("task", catalog.TASKS)
def test_two_trainings_end_in_the_same_bits(cvkit, places, tmp_path, task, precision):
    ends = []
    for name in ("a", "b"):
        done = cvkit(
            *(task, "train", "--data", places[task], "--out", tmp_path / name, *SMALL[task]),
            *("--epochs", 2, "--batch-size", 4, "--device", "cuda", "--precision", precision),
        )
        assert done.code == 0, done.err
        ends.append(load_file(next((tmp_path / name).iterdir()) / "best.safetensors"))
    one, two = ends
    assert not [name for name in one if not torch.equal(one[name], two[name])]


@pytest.mark.parametrize("task", catalog.TASKS)
def test_fp32_gives_the_numbers_of_a_cpu(cvkit, places, tmp_path, task):
    scores = []
    for device in ("cpu", "cuda"):
        done = cvkit(
            *(task, "predict", places[task], "--weights", SHIPPED[task], "--device", device),
            *("--precision", "fp32", "--out", tmp_path / device),
        )
        assert done.code == 0, done.err
        lines = (tmp_path / device / "predictions.jsonl").read_text().splitlines()
        scores.append([score for line in lines for score in json.loads(line)["scores"]])
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-4)


@pytest.mark.parametrize("optimizer", catalog.OPTIMIZERS)
def test_every_optimizer_steps(cvkit, places, tmp_path, optimizer):
    done = cvkit(
        *("segment", "train", "--data", places["segment"], "--out", tmp_path, "--device", "cuda"),
        *("--epochs", 1, "--optimizer", optimizer, "--backbone", "mobilenet_v3_small"),
        *("--image-size", "64x64"),
    )
    assert done.code == 0, done.err
