"""Average the weights of several models of one network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from cvkit import catalog, storage
from cvkit.commands.printing import print_json
from cvkit.console import Cell, Reporter, number, print_line, table
from cvkit.errors import ModelFileError, UsageError
from cvkit.options.described import differs
from cvkit.options.tools import WeightsAverage

if TYPE_CHECKING:
    from torch import Tensor

    Model = tuple[dict[str, Tensor], dict[str, Any]]

GREEDY_ONLY = ("data", "split", "batch_size", "workers")
"""Flags that only `--method greedy` uses."""


def average_weights(options: WeightsAverage) -> int:
    """Write a model with the mean of the weights of several models."""
    from cvkit.engine.checkpoint import save_model
    from cvkit.model_files import PROVEN, read_model
    from cvkit.models.averaging import averaged, require_alike
    from cvkit.models.weights import find_model

    report = Reporter(options.quiet)
    _require_sense(options)
    paths = [find_model(str(file)) for file in options.files]
    models = [read_model(path) for path in paths]
    require_alike(paths, models)
    _require_weights(paths[0], models[0][1])
    kept, values = list(range(len(models))), dict[int, float | None]()
    if options.method == "greedy":
        kept, values = _greedy(options, paths, models, report)
    tensors = averaged([models[index][0] for index in kept])
    first = models[kept[0]][1]
    left = {"metrics", "training", PROVEN}  # of one model, not of their mean
    header = {name: value for name, value in first.items() if name not in left}
    used = [str(paths[index]) for index in kept]
    header["averaged"] = {"method": options.method, "models": used}
    with storage.machine_errors(options.out):
        options.out.parent.mkdir(parents=True, exist_ok=True)
    save_model(options.out, tensors, header)
    report.say(f"mean of {len(used)} of {len(paths)} models")
    if options.json:
        measured = {str(paths[index]): value for index, value in values.items()}
        about = {"command": "weights average", "out": str(options.out), "method": options.method}
        print_json(about | {"averaged": used, "measured": measured})
    else:
        print_line(options.out)
    return 0


def _require_sense(options: WeightsAverage) -> None:
    """Check the flags; reads no model.

    Raises:
        UsageError: names the first that cannot work or has no effect.
    """
    if len(options.files) < 2:
        raise UsageError(
            "an average needs two models or more", code="average.few", hint="give several FILES"
        )
    if options.out.suffix != ".safetensors":
        raise UsageError(
            f"--out {options.out} does not end in .safetensors",
            code="out.suffix",
            hint="add the suffix",
        )
    if options.out.exists() and not options.overwrite:
        raise UsageError(
            f"--out {options.out} exists", code="out.exists", hint="add --overwrite to replace it"
        )
    if options.method == "greedy" and options.data is None:
        raise UsageError(
            "--method greedy needs --data to choose the models by",
            code="average.data",
            hint="give a dataset that is used for no other choice",
        )
    for name in GREEDY_ONLY if options.method == "uniform" else ():
        if differs(options, name):
            flag = name.replace("_", "-")
            raise UsageError(f"--{flag} has no effect with --method uniform", code=f"{flag}.idle")


def _require_weights(path: Path, header: dict[str, Any]) -> None:
    """Check that a model consists of weights, and of nothing that is computed from them.

    Raises:
        ModelFileError: it keeps its examples, or what was fitted after the last step.
    """
    task, arch = header.get("task", ""), header.get("network", {}).get("arch", "")
    entry = catalog.ARCHS.get(task, {}).get(arch)
    fitted = any(getattr(entry, name, False) for name in ("gradient_free", "takes_crops"))
    if entry is None or fitted:
        raise ModelFileError(
            f"{path}: a model of {task} with --arch {arch} cannot be averaged",
            code="average.unsupported",
            hint="it is not made of trained weights alone",
        )


def _greedy(
    options: WeightsAverage, paths: list[Path], models: list[Model], report: Reporter
) -> tuple[list[int], dict[int, float | None]]:
    """Return the places of the models to average, and the metric of each model alone.

    From the best model on, each one is added if the metric of the average does not fall.
    """
    from cvkit.models.averaging import averaged

    measure = _measuring(options, models[0][1], report)
    values = {index: measure(*model) for index, model in enumerate(models)}
    order = sorted(values, key=lambda index: _rank(values[index]), reverse=True)
    kept, best = order[:1], _rank(values[order[0]])
    rows: list[list[Cell]] = [[str(paths[kept[0]]), number(values[kept[0]]), number(best), "yes"]]
    for index in order[1:]:
        value = measure(averaged([models[each][0] for each in (*kept, index)]), models[0][1])
        better = _rank(value) >= best
        if better:
            kept, best = [*kept, index], _rank(value)
        rows.append(
            [str(paths[index]), number(values[index]), number(value), "yes" if better else "no"]
        )
    report.show(table("greedy average", ["model", "alone", "average with it", "kept"], rows))
    return kept, values


def _rank(value: float | None) -> float:
    return -1.0 if value is None else value


def _measuring(
    options: WeightsAverage, header: dict[str, Any], report: Reporter
) -> Callable[[dict[str, Tensor], dict[str, Any]], float | None]:
    """Return what measures the deciding metric of tensors with a header on `--data`."""
    from cvkit.commands.evaluate import measure_model
    from cvkit.commands.gates import read_gates
    from cvkit.engine.checkpoint import save_model
    from cvkit.options.tree import task_options

    kind = header["task"]
    best = catalog.resolve(catalog.TASKS[kind]).best
    flags: dict[str, Any] = {"data": options.data, "split": options.split, "files": False}
    flags |= {"workers": options.workers, "quiet": True}
    flags |= {} if options.batch_size is None else {"batch_size": options.batch_size}
    quiet = Reporter(quiet=True)

    def measure(tensors: dict[str, Tensor], header: dict[str, Any]) -> float | None:
        with TemporaryDirectory() as folder:
            path = Path(folder, "average.safetensors")
            save_model(path, tensors, header)
            asked = task_options(kind, "eval")(weights=str(path), **flags)
            measured = measure_model(asked, kind, quiet, read_gates(asked, kind))
        assert measured is not None, "one process evaluates"
        value: float | None = measured.content["metrics"][best]
        return value

    return measure
