"""Trained weights: list, verify, import."""

from pathlib import Path
from typing import Any

from cvkit import storage
from cvkit.commands.printing import print_json
from cvkit.console import Reporter, print_line, print_table
from cvkit.errors import CvkitError, ModelFileError, UsageError
from cvkit.options.tools import WeightsImport, WeightsList, WeightsVerify
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
    """Convert a torchvision state dict to a cvkit model."""
    from cvkit.engine.checkpoint import save_model
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
    if unused:
        count = counted(len(unused), "tensor")
        report.say(f"not imported, needed for training only: {count}, such as {unused[0]}")
    about: dict[str, Any] = {
        name: header.get(name) for name in ("task", "network", "preprocessing")
    }
    classes = counted(len(header.get("classes", ())), "class", "classes")
    report.say(f"{counted(len(tensors), 'tensor')}, {classes}")
    if options.json:
        print_json({"command": "weights import", "out": str(options.out), **about})
    else:
        print_line(options.out)
    return 0
