"""Every flag that all trainings have does in each task what it says."""

import contextlib
import copy
import shutil

import pytest
import torch
import torchvision
from effect_parts import (
    BOXES,
    TASKS,
    Row,
    cases,
    fit,
    refusal,
    require_effect,
)

from cvkit.commands import train as command
from cvkit.engine import lr_range, processes, ranks, runtime
from cvkit.models import compiled

MOBILE = {"segment": {"arch": "fcn-32s"}, "video": {"arch": "single-frame", "image_size": "32"}}
MOBILE = {task: {"backbone": "mobilenet_v3_small"} | MOBILE.get(task, {}) for task in TASKS}
MOBILE["classify"] = {"arch": "mobilenet_v3_small"}
"""Networks that published weights of images fit."""
SGD = {"optimizer": "sgd", "lr": 0.01, "momentum": 0.0, "clip_grad": 0.0, "schedule": "constant"}
"""Plain gradient descent, whose first step shows what the gradient is."""


def start(at, **more):
    return at.begun(**more).start


def seen(at, **more):
    return at.begun(**more).seen


def loss(at, **more):
    return at.begun(**more).loss


def normalised(at, **more):
    """Mean and deviation that inputs are normalised with."""
    made = at.begun(**more).job.task.preprocessing
    return made.mean, made.std


def after(at, **more):
    return at.begun(**more).after


def rates(at, **more):
    return at.begun(**more).done.rates


def steps(at, **more):
    return len(rates(at, **more))


def epochs(at, **more):
    return at.begun(**more).done.epochs


def saves(at, **more):
    return at.begun(**more).done.saves


def files(at, **more):
    return at.begun(**more).done.files


def place(at, **more):
    return at.begun(**more).done.run.parent


def train_keys(at, **more):
    return at.begun(**more).keys[0]


def val_keys(at, **more):
    return at.begun(**more).keys[1]


@contextlib.contextmanager
def translated():
    """Yield the graphs that torch's compiler finds; they run as they are, not as C++."""
    found = []

    def translate(graph, inputs):
        found.append(graph)
        return graph.forward

    torch._dynamo.reset()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "BACKEND", translate)
        patch.setattr(compiled, "has_compiler", lambda: True)
        yield found


def graphs(at, **more):
    """The number of functions that are compiled in a training."""
    made = at.begun(**more)
    if not hasattr(made, "graphs"):
        with translated() as found:
            made.done  # noqa: B018  # trains
        made.graphs = len(found)
    return made.graphs


def uncompiled(at, **more):
    """The weights after the last step where a compiler changes no bits."""
    graphs(at, **more)
    return after(at, **more)


def without(number):
    """Return what writes the key of a validation sample into a list of samples to leave out."""
    return lambda at: at.write(f"without{number}.txt", at.begun().keys[1][number] + "\n")


def body_changes(at, **more):
    """Which layers of the body or first layers differ at the end from the beginning."""
    made = at.begun(**more)
    return [name for name, value in made.start.items() if not torch.equal(value, made.after[name])]


def memory(at, **more):
    """The order of the weights of the convolutions in memory."""
    model = at.begun(**more).job.model
    return [w.stride() for w in model.parameters() if w.ndim > 3 and min(w.shape[1:]) > 1]


def stored(at, **more):
    """How many bytes of activations the first batch keeps for its gradients."""
    made, sizes = at.begun(**more), {}
    model = copy.deepcopy(made.job.model).train()
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def pack(tensor):
        kept = tensor.untyped_storage()
        sizes[kept.data_ptr()] = kept  # held, so that no other one gets its place
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        terms = made.job.task.loss(model, made.batch)
    assert all(term.isfinite() for term in terms.values())
    return sum(kept.nbytes() for place, kept in sizes.items() if place not in weights)


def together(at, **more):
    """Which processes are asked to train together, and what Fabric is asked for."""
    asked = []

    class Asked(Exception):
        pass

    def fabric(**own):
        asked.append((own["devices"], own["num_nodes"], own["strategy"]))
        raise Asked

    @contextlib.contextmanager
    def joined(started, stop, device):
        asked.append(sorted(started.children))
        yield ranks.Ranks(started.layout, stop)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Asked):
        for name, value in {"MASTER_ADDR": "127.0.0.1", "NODE_RANK": "0"}.items():
            patch.setenv(name, value)
        patch.setattr(processes, "cores", lambda: 8)
        patch.setattr(processes, "start_process", lambda *_: None)
        patch.setattr(ranks, "joined", joined)
        patch.setattr(runtime, "Fabric", fabric)
        at.begun(**more, seed=78).job  # noqa: B018, made by no other test
    return asked


def decoders(at, **more):
    """How many processes read the samples of the first batch."""
    from cvkit.engine import loader

    counts, make = [], loader.DataLoader
    with pytest.MonkeyPatch.context() as patch:

        def watched(*own, num_workers, **further):
            counts.append(num_workers)
            return make(*own, num_workers=num_workers, **further)

        patch.setattr(loader, "DataLoader", watched)
        made = at.begun(**more, seed=77)
        made.batch  # noqa: B018
    return counts


def device(at, **more):
    return refusal(lambda: at.begun(**more).job)


def network_use(at, **more):
    """What is said where the published weights of a backbone are not here."""

    def nothing(url, *_, **__):
        raise OSError("asked the network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CVKIT_WEIGHTS", str(at.root / "none"))
        patch.setenv("TORCH_HOME", str(at.root / "none"))
        patch.setattr(torch.hub, "download_url_to_file", nothing)
        return refusal(lambda: at.begun(**more).job)


def checked(at, **more):
    """Whether the network was checked before its training."""
    calls = []

    def checking(*_):
        calls.append(1)
        return []

    fit(at.task, at.options(**more), **{"cvkit.engine.checks.run_checks": checking})
    return calls


def tried(at, **more):
    """The files of a run that may only try learning rates."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lr_range, "STEPS", 3)
        patch.setattr("cvkit.output.curves.write_lr_curve", lambda *_: None)
        patch.setattr(command, "run_training", lambda options, *_: fit(at.task, options).outcome)
        out = at.root / f"tried-{at.task}-{more['find_lr']}"
        assert command.train(at.options(out=out, quiet=True, **more), at.task) == 0
    return sorted(path.name for path in next(out.iterdir()).iterdir())


def torch_file(at):
    """The weights of another network of images."""

    def make(path):
        torch.manual_seed(1)
        torch.save(torchvision.models.mobilenet_v3_small().state_dict(), path)

    return str(at.once("mobile.pth", make))


def model(at):
    """A model of the same network that was trained for longer."""
    return str(at.begun(epochs=2, seed=3).done.run / "last.safetensors")


def resumable(at):
    """A run of two epochs that has had one."""

    def make(path):
        run = at.begun(seed=4, keep_states=True, epochs=2).done.run
        shutil.copytree(run, path)

    return at.once("resumable", make)


def first_layer(at):
    """The first layer with weights that the freezing of a part is tried with."""
    return next(iter(at.begun().start)).rpartition(".")[0]


def pipeline(at):
    text = "transform:\n  __class_fullname__: VerticalFlip\n  p: 1.0\n"
    return str(at.write("flip.yaml", "__version__: '2.0.8'\n" + text))


SPLITS = ("train", "val")
ROWS = [
    Row("data", (lambda at: str(at.data()), lambda at: str(at.data(6))), seen),
    Row("train_split", SPLITS, train_keys),
    Row("exclude", (None, without(0), without(1)), val_keys),
    Row("val_split", SPLITS, val_keys),
    Row("augment", ("none", "light", "strong", pipeline), seen),
    Row("augment", ("none", "light", "lecture"), seen, ("classify", "segment", "video")),
    Row("normalize", ("imagenet", "data"), loss),
    Row("normalize", ("auto", "imagenet"), normalised, same=True),
    Row("weights", (None, model), start),
    Row("pretrained", (None, torch_file), start),
    Row("freeze_backbone", (False, True), body_changes),
    Row("freeze", ("", first_layer), body_changes),
    Row("unfreeze_at", (0, 2), body_changes, base={"freeze": first_layer, "epochs": 2}),
    Row("init", ("auto", "xavier", "kaiming", "normal"), start),
    Row("epochs", (1, 2), steps),
    Row("batch_size", (2, 4), steps),
    Row("accumulate", (1, 2), steps),
    Row("accumulate", (1, 2), after, base=SGD),
    Row(
        "optimizer",
        ("adamw", "adam", "sgd", "lars", "rmsprop", "adagrad"),
        after,
        base={"lr": 0.01},
    ),
    Row("optimizer", ("adam", "amsgrad"), after, base={"lr": 0.01, "epochs": 2}),
    Row("lr", (None, 0.5), rates),
    Row("momentum", (0.0, 0.5), after, base=SGD),
    Row("weight_decay", (None, 0.5), after),
    Row("l1", (0.0, 0.1), after, base=SGD),
    Row("l2", (0.0, 0.1), after, base=SGD),
    Row(
        "schedule",
        ("poly", "cosine", "linear", "step", "step:1@0.5", "inverse-sqrt", "constant"),
        rates,
        base={"lr": 0.01, "warmup_epochs": 0.5, "epochs": 2},
    ),
    Row("warmup_epochs", (0.0, 1.0), rates),
    Row("clip_grad", (0.0, 0.01), after, base=SGD),
    Row("ema", (0.0, 0.5), after),
    Row("patience", (0, 1), epochs, base={"epochs": 3}),
    Row("seed", (0, 1), start),
    Row("seed", (0, 1), train_keys, same=True),
    Row("seed", (0, 1), seen),
    Row("check", (False, True), checked),
    Row("find_lr", (False, True), tried),
    Row("out", (lambda at: at.root / "one", lambda at: at.root / "two"), place),
    Row("keep", ("best", "last"), files),
    Row("save_minutes", (5.0, 0.0), saves),
    Row("keep_states", (False, True), files),
    Row("report", (False, True), files),
    Row("log", ("", "csv"), files),
    Row("resume", (None, resumable), steps, base={"epochs": 3, "seed": 4}),
    Row("devices", (1, 2), together),
    Row("nodes", (1, 2), together),
    Row("channels_last", ("off", "on"), memory),
    Row("channels_last", ("on", "auto"), memory, same=True),
    Row("checkpoint_gradients", (False, True), stored),
    Row("checkpoint_gradients", (False, True), after, same=True, base={"epochs": 2, "ema": 0.5}),
    Row("compile", (False, True), graphs, base={"epochs": 2, "ema": 0.5}),
    Row("compile", (False, True), uncompiled, same=True, base={"epochs": 2, "ema": 0.5}),
    Row("device", ("cpu", "cuda:99"), device),
    Row("device", ("cpu", "auto"), start, same=True),
    Row("precision", ("fp32", "bf16"), after),
    Row("workers", (0, 1), decoders),
    Row("workers", (0, 1), seen, same=True),
    Row("offline", (False, True), network_use, base={"pretrained": "imagenet"}),
]
ROWS += [
    Row("label_smoothing", (0.0, 0.2), loss, tasks=tuple(t for t in TASKS if t not in BOXES)),
    Row(
        "label_smoothing",
        (0.0, 0.2),
        lambda at, **more: refusal(lambda: at.begun(**more).job),
        tasks=BOXES,
    ),
]

PUBLISHED = ("pretrained", "offline", "freeze_backbone")
"""Flags that are tried with a network of images."""


@cases(ROWS)
def test_a_training_does_what_its_flag_says(places, task, row):
    at = places(task)
    base = row.base | (MOBILE[task] if row.flag in PUBLISHED else {})
    require_effect(row, [row.measure(at, **base | {row.flag: value}) for value in row.values])
