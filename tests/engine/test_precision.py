"""Training in 16 bits: every task can, and what is not multiplied keeps its 32."""

import json

import pytest
import torch
from torch import nn

from cvkit import catalog
from cvkit.engine.runtime import make_fabric


@pytest.mark.parametrize("task", catalog.TASKS)
def test_every_task_trains_in_bf16(cvkit, data_of, flags_of, run_of, tmp_path, task):
    flags = flags_of(task, data=data_of(task), epochs=1, precision="bf16", out=tmp_path)
    done = cvkit(task, "train", *flags)
    assert done.code == 0, done.err
    (run,) = tmp_path.iterdir()
    in_32, in_16 = (
        json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])["loss"]
        for folder in (run_of(task), run)
    )
    assert in_16 != in_32
    assert in_16 == pytest.approx(in_32, rel=0.2)


class Box(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, 1))

    def forward(self, box, matrix):
        return box * self.weight, matrix @ self.weight


@pytest.mark.parametrize(("precision", "wanted"), [("fp32", 1e-6), ("bf16", 1e-2)])
def test_coordinates_keep_32_bits_in_every_precision(precision, wanted):
    model = make_fabric(torch.device("cpu"), 1, precision).setup(Box())
    box = torch.tensor([[937.3, 1021.7]])
    same, product = model(box, torch.full((1, 1), 1 / 3))
    assert torch.equal(same, box)
    error = abs(float(product) - 1 / 3)
    assert error < wanted and (error > 1e-4) == (precision == "bf16")
