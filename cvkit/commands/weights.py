"""Trained weights: list, verify, import."""

from pathlib import Path
from typing import Any

from cvkit import storage
from cvkit.commands.printing import print_json
from cvkit.console import Reporter, print_line, print_table
from cvkit.errors import CvkitError, GateFailed, ModelFileError, UsageError
from cvkit.options.tools import WeightsImport, WeightsList, WeightsProve, WeightsVerify
from cvkit.texts import counted


def list_weights(options: WeightsList) -> int:
    """List shipped models, and published weights with their paths or URLs."""
    from cvkit.model_files import read_header
    from cvkit.models.published import list_published
    from cvkit.models.weights import shipped_models

    shipped = []
    for path in shipped_models():
        header = read_header(path)
        shipped.append(
            {
                "name": path.stem,
                "path": str(path),
                "task": header["task"],
                "arch": header["network"]["arch"],
                "classes": len(header["classes"]),
                "metrics": header.get("metrics", {}),
                "bytes": path.stat().st_size,
            }
        )
    published = list_published()
    if options.json:
        print_json({"command": "weights list", "shipped": shipped, "published": published})
        return 0
    rows = [
        [m["name"], m["task"], m["arch"], str(m["classes"]), f"{m['bytes'] / 2**20:.1f}", m["path"]]
        for m in shipped
    ]
    print_table("models", ["name", "task", "arch", "classes", "MB", "file"], rows)
    print()
    rows = [
        [
            *(p["task"], p["weights"]),
            "" if p["version"] in p["weights"] else p["version"],
            *(f"{p['megabytes']:.0f}", p["path"] or "not downloaded"),
        ]
        for p in published
    ]
    columns = ["task", "--weights", "--pretrained", "MB", "file"]
    print_table("published", columns, rows)
    return 0


def verify_weights(options: WeightsVerify) -> int:
    """Check files against their hashes and report damaged ones."""
    from cvkit.models.published import list_published
    from cvkit.models.weights import shipped_models

    cached = [Path(p["path"]) for p in list_published() if p["path"]]
    files = options.files or [*shipped_models(), *cached]
    found = {path: reason for place in files for path, reason in _verified(place).items()}
    results = [{"path": str(path), "reason": reason} for path, reason in found.items()]
    damaged = [result for result in results if result["reason"]]
    if options.json and not damaged:
        print_json({"command": "weights verify", "files": results})
    if not options.json:
        for result in results:
            print_line(f"{'refused' if result['reason'] else 'intact':8} {result['path']}")
    if damaged:
        raise ModelFileError(
            "; ".join(result["reason"] for result in damaged), code="weights.damaged"
        )
    return 0


def _verified(place: Path) -> dict[Path, str]:
    """Return why each model in a place is damaged; "" if its hash is correct.

    Args:
        place: a file, or a folder with its files and resume states.

    Raises:
        ModelFileError: the folder has neither.
    """
    from cvkit.engine.checkpoint import damage_of_states

    if not place.is_dir():
        return {place: _refusal(place)}
    files = sorted(path for path in place.iterdir() if path.suffix in (".safetensors", ".pth"))
    found = {path: _refusal(path) for path in files} | damage_of_states(place)
    if not found:
        raise ModelFileError(
            f"{place} contains no model",
            code="weights.none",
            hint="give a run folder, or .safetensors and .pth files",
        )
    return found


def _refusal(path: Path) -> str:
    """Return why a file is damaged, as far as its hash shows; "" if it is intact."""
    from cvkit.model_files import read_model, unverified
    from cvkit.models.weights import verified

    try:
        if path.suffix == ".safetensors":
            read_model(path)
        elif path.is_file():
            verified(path)
        else:
            return f"{path} does not exist"
    except CvkitError as error:
        return str(error)
    return unverified(path)


def import_weights(options: WeightsImport) -> int:
    """Convert a state dict of torchvision or another project to a cvkit model."""
    from cvkit.engine.checkpoint import save_model
    from cvkit.model_files import BACKBONE
    from cvkit.tasks.foreign_import import said
    from cvkit.tasks.torchvision_import import earlier_model, imported_model

    report = Reporter(options.quiet)
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
    known = earlier_model(options)
    tensors, header, unused = (*known, []) if known else imported_model(options)
    with storage.machine_errors(options.out):
        options.out.parent.mkdir(parents=True, exist_ok=True)
    save_model(options.out, tensors, header)
    about = header.get("imported", {})
    for line in said(about):
        report.say(line)
    if "padding" in about:
        report.warn(f"assumed: {about['padding']}")
    if header["task"] == BACKBONE:
        report.say("a backbone without scores of classes: use it with --pretrained of train")
    if unused:
        count = counted(len(unused), "tensor")
        report.say(f"not imported, needed for training only: {count}, such as {unused[0]}")
    made: dict[str, Any] = {name: header.get(name) for name in ("task", "network", "preprocessing")}
    classes = counted(len(header.get("classes", ())), "class", "classes")
    report.say(f"{counted(len(tensors), 'tensor')}, {classes}")
    if options.json:
        print_json({"command": "weights import", "out": str(options.out), **made})
    else:
        print_line(options.out)
    return 0


LARGEST_FALL = 1e-3
"""Fall of a model's main metric in bf16 up to which the model may run in it."""


def prove_weights(options: WeightsProve) -> int:
    """Evaluate a model in fp32 and bf16, and note in its file whether it may run in bf16."""
    from cvkit.commands.evaluate import measure_model
    from cvkit.commands.gates import read_gates
    from cvkit.engine.checkpoint import save_model
    from cvkit.model_files import PROVEN, read_model
    from cvkit.models.weights import find_model
    from cvkit.options.tree import task_options
    from cvkit.tasks.naming import task_of
    from cvkit.tasks.trained import load_trained

    report = Reporter(options.quiet)
    path = find_model(str(options.file))
    kind = task_of(str(path))
    flags: dict[str, Any] = {"weights": str(path), "data": options.data, "split": options.split}
    flags |= {"workers": options.workers, "device": "cpu", "engine": "eager", "files": False}
    flags |= {} if options.batch_size is None else {"batch_size": options.batch_size}
    options_class = task_options(kind, "eval")
    found = {}
    for precision in ("fp32", "bf16"):
        asked = options_class(**flags, quiet=options.quiet, precision=precision)
        measured = measure_model(asked, kind, report, read_gates(asked, kind))
        if measured is None:  # the first process does the rest
            return 0
        found[precision] = measured.content
    metric = load_trained(str(path), asked, kind).task.best
    exact, rounded = (found[name]["metrics"][metric] for name in ("fp32", "bf16"))
    proof = {"metric": metric, "fp32": exact, "bf16": rounded}
    proof |= {"data": options.data, "split": options.split}
    proof |= {"samples": found["fp32"]["counts"]["evaluated"]}
    proven = None not in (exact, rounded) and exact - rounded <= LARGEST_FALL
    tensors, header = read_model(path)
    others = {name: value for name, value in header.items() if name != PROVEN}
    save_model(path, tensors, others | ({PROVEN: {"bf16": proof}} if proven else {}))
    sentence = f"{metric} {_number(exact)} in fp32, {_number(rounded)} in bf16"
    about = {"command": "weights prove", "path": str(path), "proven": proven, "bf16": proof}
    if not proven:
        raise GateFailed(
            f"{path} is not proven to run in bf16: {sentence}",
            code="precision.unproven",
            content=about,
        )
    report.say(f"{sentence}; --precision auto takes bf16 on CPUs that multiply in it")
    if options.json:
        print_json(about)
    else:
        print_line(path)
    return 0


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"
