"""What the effects of flags are measured by; each training and model is made once."""

import copy
import itertools
import json
from dataclasses import dataclass, field
from functools import cached_property
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cvkit import catalog
from cvkit.commands.train import run_training
from cvkit.commands.training_job import TrainingJob
from cvkit.console import Reporter
from cvkit.data.synthetic.samples import WRITERS
from cvkit.engine.evaluate import Measured
from cvkit.engine.loader import load
from cvkit.engine.runtime import StopSignal
from cvkit.engine.sampler import batch_plan
from cvkit.engine.train import Trainer
from cvkit.errors import CvkitError
from cvkit.options.job import with_given
from cvkit.options.tree import OPTIONS

TASKS = tuple(catalog.TASKS)
BOXES = ("detect", "instance")
COUNTS = {
    "classify": {"train": 6, "val": 6},
    "segment": {"train": 4, "val": 2},
    "detect": {"train": 4, "val": 2},
    "instance": {"train": 4, "val": 2},
    "video": {"train": 7, "val": 7},
}
_BOXES = {"backbone": "toy", "channels": 16, "min_size": "32", "roi_samples": 16}
SMALL = {
    "classify": {"arch": "lenet", "image_size": "32"},
    "segment": {"arch": "fcn-32s", "backbone": "toy", "image_size": "32x32"},
    "detect": _BOXES,
    "instance": _BOXES,
    "video": {"arch": "r3d-small", "frames": 4, "image_size": "16"},
}
"""Options of the smallest network of each task."""
COMMON = {"workers": 0, "batch_size": 2, "epochs": 1, "precision": "fp32", "warmup_epochs": 0.0}


@dataclass(frozen=True)
class Row:
    """That a flag has an effect, or none.

    Attributes:
        flag: name of the option.
        values: two or more; a callable gets the `Places` of the task.
        measure: of the `Made` of a value; all differ, or with `same` all are equal.
        tasks: whose command has the flag.
        base: further options, by name.
        same: the flag must not change what is measured.
    """

    flag: str
    values: tuple
    measure: object
    tasks: tuple[str, ...] = TASKS
    base: dict = field(default_factory=dict)
    same: bool = False


def cases(rows):
    """Return the parameters of a test of all rows, one for each task."""
    pairs = [(task, row) for row in rows for task in row.tasks]
    return pytest.mark.parametrize(
        ("task", "row"), pairs, ids=[f"{task}-{row.flag}" for task, row in pairs]
    )


def equal(one, other):
    """Return whether two measurements are the same to the last bit."""
    if isinstance(one, torch.Tensor):
        same_kind = isinstance(other, torch.Tensor) and one.dtype == other.dtype
        return same_kind and torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and np.array_equal(one, other, equal_nan=True)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


def require_effect(row, found):
    """Check the measurements of a row's values against each other."""
    for (a, one), (b, other) in itertools.combinations(zip(row.values, found, strict=True), 2):
        if equal(one, other) != row.same:
            change = "changes" if row.same else "does not change"
            pytest.fail(f"--{row.flag} {a} or {b} {change} {row.measure.__name__}", pytrace=False)


class Made:
    """A training in parts, each of them made when it is measured first."""

    def __init__(self, task, options):
        self.task, self.options = task, options

    @cached_property
    def job(self):
        job = TrainingJob(self.options, self.task, Reporter(quiet=True))
        with job.joined(StopSignal()):
            job.prepare()
        return job

    @cached_property
    def start(self):
        """The weights before the first step."""
        return {name: value.clone() for name, value in self.job.model.state_dict().items()}

    @cached_property
    def plan(self):
        return batch_plan(len(self.job.data[0]), 0, self.job.settings, 0, 1)

    @cached_property
    def batch(self):
        with load(self.job.data[0], self.plan[:1], self.job.workers) as loaded:
            return next(loaded)[0]

    @cached_property
    def seen(self):
        """What the first step sees."""
        batch = self.batch
        objects = [
            sample.boxes and (sample.boxes.boxes, sample.boxes.labels) for sample in batch.samples
        ]
        regions = [sample.proposals for sample in batch.samples]
        return [batch.images, batch.masks, batch.labels, objects, regions]

    @cached_property
    def keys(self):
        """The samples of training, of validation, and of training as validation sees them."""
        return [[data.key(i) for i in range(len(data))] for data in self.job.data]

    @cached_property
    def judged(self):
        """What validation sees first."""
        sample = self.job.data[1].read(0)
        return sample.image

    @cached_property
    def loss(self):
        """The terms of the loss of the first batch, before the first step."""
        model = copy.deepcopy(self.job.model).train()
        torch.manual_seed(0)
        return {name: term.detach() for name, term in self.job.task.loss(model, self.batch).items()}

    @cached_property
    def done(self):
        """What a training did: `fit` of the options."""
        return fit(self.task, self.options)

    @cached_property
    def after(self):
        """The weights that are measured after the last step."""
        return self.done.state


def fit(task, options, **patches):
    """Train; return what was seen of it. Nothing is validated: every epoch is as good as any."""
    seen = SimpleNamespace(rates=[], losses=[], saves=0, epochs=0, trainer=None, checked=0)
    step, save, init = Trainer._step, Trainer.save, Trainer.__init__

    def watched_init(self, **own):
        init(self, **own)
        seen.trainer = self

    def watched_step(self, batches):
        terms = step(self, batches)
        seen.rates.append(self.optimizer.param_groups[0]["lr"])
        seen.losses.append({name: value.item() for name, value in terms.items()})
        return terms

    def watched_save(self, measured=None):
        seen.saves += 1
        save(self, measured)

    def measured(self, network):
        seen.epochs += 1
        return Measured({self.task.best: 0.5}, 1.0, 0.5)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "__init__", watched_init)
        patch.setattr(Trainer, "_step", watched_step)
        patch.setattr(Trainer, "save", watched_save)
        patch.setattr(Trainer, "measure", measured)
        patch.setattr("cvkit.output.curves.write_curves", lambda *_: None)
        for name, value in patches.items():
            patch.setattr(name, value)
        seen.outcome = run_training(options, task, Reporter(quiet=True), StopSignal())
    seen.run = seen.outcome.run
    seen.files = sorted(path.name for path in seen.run.iterdir())
    if seen.trainer:
        state = seen.trainer.saves.measured.state_dict()
        seen.state = {name: value.clone() for name, value in state.items()}
    return seen


class Places:
    """Small data, models and files of a task."""

    def __init__(self, task, root, made):
        self.task, self.root, self._made = task, root, made

    def data(self, seed=5):
        """A dataset; another one for another seed."""
        key = ("data", self.task, seed)
        if key not in self._made:
            folder = self.root / f"{self.task}-{seed}"
            WRITERS[self.task](folder, COUNTS[self.task], seed, (32, 32))
            self._made[key] = folder
        return self._made[key]

    def options(self, **more):
        """Options of a training of the smallest network, and further ones."""
        base = SMALL[self.task] | COMMON | {"data": str(self.data()), "out": self.root / "runs"}
        chosen = base | {n: v(self) if callable(v) else v for n, v in more.items()}
        made = OPTIONS[self.task]["train"](**{n: v for n, v in chosen.items() if v is not ...})
        return with_given(made, chosen)

    def begun(self, **more):
        """A training; the same one for the same options."""
        options = self.options(**more)
        key = ("begun", self.task, repr(options))
        if key not in self._made:
            self._made[key] = Made(self.task, options)
        return self._made[key]

    def write(self, name, content):
        """Return the path of a text file."""
        path = self.root / f"{self.task}-{name}"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    def once(self, name, make):
        """Return what a function makes of a path, made once."""
        key = ("once", self.task, name)
        if key not in self._made:
            path = self.root / f"{self.task}-{name}"
            self._made[key] = make(path) or path
        return self._made[key]


def refusal(call):
    """Return the message with which something is refused; empty if it is not."""
    try:
        call()
    except CvkitError as error:
        return str(error)
    return ""
