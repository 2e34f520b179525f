"""Sanity checks of data, loss and network, before hours are spent on training.

After A. Karpathy, A Recipe for Training Neural Networks (2019), and the courses CS231n and
DL4CV. Everything works on copies: the model, the data and the random decisions of the run are not
    changed.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from cvkit.console import Advance
from cvkit.engine import optim
from cvkit.engine.freezing import rest_statistics
from cvkit.engine.loader import load, only_batch
from cvkit.engine.progress import Settings
from cvkit.engine.sampler import STEP_SEED, batch_plan
from cvkit.ops.seeds import key_seed
from cvkit.structures import Batch
from cvkit.tasks.contract import Checkable, Dataset
from cvkit.texts import counted

SAMPLES = 8
"""Maximum number of training samples for the checks; the batch size if that is smaller."""
BASELINE_STEPS = 60


@dataclass(frozen=True)
class Check:
    """One check: whether it passed, what was found, and what a failure means."""

    name: str
    passed: bool
    found: str
    meaning: str


def run_checks(
    task: Checkable,
    model: nn.Module,
    data: Dataset,
    settings: Settings,
    fabric: Fabric,
    workers: int,
    advance: Advance,
) -> list[Check]:
    """Return the result of each check.

    Args:
        task: the problem; label smoothing and mixing are left out.
        model: as training gets it; not changed.
        data: training samples.
        settings: of the run; its optimizer and peak learning rate are used.
        fabric: the device.
        workers: decoding processes.
        advance: called with the number of checks done.
    """
    task = task.unregularised()
    model = _quiet_copy(fabric.to_device(copy.deepcopy(model)))
    batch = _first_batch(data, settings, workers).to(fabric.device)
    bench = _Bench(task, model, batch, settings)
    checks = []
    for check in (
        _initial_loss,
        _gradients,
        _independence,
        _update_ratio,
        _overfit,
        _input_matters,
    ):
        checks.append(check(bench))
        advance(len(checks), check.__name__.strip("_").replace("_", " "))
    return checks


def _quiet_copy(model: nn.Module) -> nn.Module:
    """Switch off everything random in a forward pass."""
    for layer in model.modules():
        if isinstance(layer, nn.Dropout | nn.Dropout2d | StochasticDepth):
            layer.p = 0.0
    return model


def _first_batch(data: Dataset, settings: Settings, workers: int) -> Batch:
    keys = batch_plan(len(data), 0, settings, 0, 1)[0][: max(2, min(SAMPLES, settings.batch_size))]
    with load(data, [keys], workers) as loaded:
        return only_batch(next(loaded))


class _Bench:
    """The subject of the checks; `losses` are those of the overfitting check."""

    def __init__(self, task: Checkable, model: nn.Module, batch: Batch, settings: Settings) -> None:
        self.task, self.model, self.batch, self.settings = task, model, batch, settings
        self.losses: list[float] = []

    def copy(self) -> nn.Module:
        """Return a fresh copy of the model in training mode."""
        model = copy.deepcopy(self.model).train()
        rest_statistics(model)
        return model

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the loss, without penalties on the weights."""
        return optim.total(self.task.loss(model, batch))

    def fit(
        self, model: nn.Module, batch: Batch, steps: int, until: Callable[[float], bool]
    ) -> list[float]:
        """Train a copy on the one batch and return its losses."""
        made = self.settings
        optimizer = optim.make_optimizer(model, made.optimizer, made.lr, 0.0, made.momentum)
        losses: list[float] = []
        for step in range(steps):
            torch.manual_seed(key_seed(STEP_SEED, made.seed, step))
            optimizer.zero_grad()
            loss = self.loss(model, batch)
            losses.append(loss.item())
            if until(losses[-1]):
                break
            loss.backward()
            if made.clip_grad:
                nn.utils.clip_grad_norm_(model.parameters(), made.clip_grad)
            optimizer.step()
        return losses


def _initial_loss(bench: _Bench) -> Check:
    model = bench.copy()
    with torch.no_grad():
        torch.manual_seed(bench.settings.seed)
        found = bench.loss(model, bench.batch).item()
        torch.manual_seed(bench.settings.seed)
        wanted = float(bench.task.uniform_loss(model, bench.batch))
    return Check(
        "initial loss",
        abs(found - wanted) < max(0.25, 0.1 * wanted),
        f"{found:.3f}; {wanted:.3f} if all classes score equally",
        "the last layer is too confident: check the initialisation, a second softmax, and the "
        "number of classes",
    )


def _gradients(bench: _Bench) -> Check:
    model = bench.copy()
    bench.loss(model, bench.batch).backward()
    dead, loud = [], []
    for name, parameter in model.named_parameters():
        gradient = parameter.grad
        reached = gradient is not None and gradient.isfinite().all() and bool(gradient.any())
        if parameter.requires_grad and not reached:
            dead.append(name)
        if not parameter.requires_grad and gradient is not None:
            loud.append(name)
    training = sum(p.requires_grad for p in model.parameters())
    found = f"{counted(training, 'tensor')} to be trained"
    if dead or loud:
        found = f"{len(dead)} without gradient, {len(loud)} frozen with one: {(dead + loud)[0]}"
    return Check(
        "gradients reach every weight",
        not dead and not loud,
        found,
        "a part of the network is cut off from the loss",
    )


def _independence(bench: _Bench) -> Check:
    model = bench.copy().eval()
    inputs, outputs = bench.task.probe(model, bench.batch)
    (gradient,) = torch.autograd.grad(outputs[0].float().sum(), inputs, materialize_grads=True)
    leak = gradient[1:].abs().max().item() if len(inputs) > 1 else 0.0
    return Check(
        "samples are independent",
        leak == 0.0 and bool(gradient[0].any()),
        f"gradient of one output to other inputs: {leak:g}",
        "samples of a batch affect each other: a wrong view or reshape",
    )


def _update_ratio(bench: _Bench) -> Check:
    model = bench.copy()
    weights = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    ratios: list[Tensor] = []
    before: list[Tensor] = []

    def measure(_: float) -> bool:
        if before:
            ratios[:] = [
                (w.detach() - old).norm() / old.norm().clamp(min=1e-12)
                for w, old in zip(weights, before, strict=True)
            ]
        before[:] = [w.detach().clone() for w in weights]
        return False

    bench.fit(model, bench.batch, 11, measure)
    ratio = torch.stack(ratios).median().item()
    return Check(
        "size of the updates",
        1e-4 <= ratio <= 3e-2,
        f"median {ratio:.1e} of the weights at the peak rate {bench.settings.lr:g}",
        "outside 1e-4 to 3e-2 the learning rate is too low or too high",
    )


def _overfit(bench: _Bench) -> Check:
    model = bench.copy()
    limit, share, steps = bench.task.overfit_goal
    first = [0.0]

    def low_enough(loss: float) -> bool:
        first[0] = first[0] or loss
        return loss < limit * first[0]

    bench.losses = bench.fit(model, bench.batch, steps, low_enough)
    best = min(bench.losses)
    return Check(
        "one batch can be learned",
        best < share * bench.losses[0],
        f"loss {bench.losses[0]:.3f} -> {best:.3f} in {counted(len(bench.losses), 'step')}",
        "labels do not match the images, weights do not change, or the learning rate is wrong",
    )


def _input_matters(bench: _Bench) -> Check:
    model = bench.copy()
    steps = min(BASELINE_STEPS, len(bench.losses))
    unseen = min(bench.fit(model, bench.batch.blacked_out(), steps, lambda _: False))
    seen = min(bench.losses[:steps])
    return Check(
        "the input matters",
        seen < 0.8 * unseen,
        f"loss {seen:.3f}, {unseen:.3f} with black images, after {counted(steps, 'step')}",
        "the network does not see the images, or all labels of the batch are equal",
    )
