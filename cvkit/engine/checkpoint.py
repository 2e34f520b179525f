"""Model files and resume states: safetensors and JSON, checked by hash, never half-written.

A resume state is a folder `RUN/ckpt/step-NNNNNNNNNN/` of tensor files, `state.json` and
`MANIFEST.json`. The manifest lists the SHA-256 of every file and is written last, so a folder
without a matching manifest is incomplete. `RUN/ckpt/last` contains the name of the newest one.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from cvkit.engine.finite import require_finite
from cvkit.errors import DataError, MachineError, ModelFileError
from cvkit.model_files import fits, write_sealed
from cvkit.storage import fsync_folder, machine_errors, sha256, write_file
from cvkit.texts import read_json, shown

FORMAT_VERSION = 1
"""Format version of resume states."""
KEEP = 2


def _on_cpu(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: t.detach().cpu().contiguous() for name, t in tensors.items()}


def load_exactly(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Load a state dict that must have exactly the model's names.

    Torch's own strict loading accepts missing counters of batch norms.

    Raises:
        RuntimeError: a name is missing or unknown, or a shape or a type differs.
    """
    state = model.state_dict()
    different = sorted(state.keys() ^ tensors.keys())
    if different:
        raise RuntimeError(f"{len(different)} names differ, such as {different[0]}")
    for name, wanted in state.items():
        found = tensors[name]
        if found.shape == wanted.shape and not fits(found, wanted):  # torch tells of shapes
            raise RuntimeError(f"{name} has type {found.dtype} instead of {wanted.dtype}")
    model.load_state_dict(tensors)


def save_model(path: Path, tensors: dict[str, Tensor], header: dict) -> None:
    """Write a model file: tensors, and a JSON header with everything needed to use them.

    Raises:
        TrainingDiverged: a tensor is not finite.
        MachineError: the disk refused.
    """
    require_finite(tensors, str(path.name))
    write_sealed(path, _on_cpu(tensors), header)


def save_state(run: Path, step: int, tensors: dict[str, dict[str, Tensor]], state: dict) -> Path:
    """Write the resume state of a step and return its folder; keep only one older state.

    Args:
        run: the run folder.
        step: optimizer steps done.
        tensors: named groups of tensors, each of which becomes a file.
        state: everything else, as JSON.

    Raises:
        TrainingDiverged: a tensor is not finite.
        MachineError: the disk refused; existing states are untouched.
    """
    for name, group in tensors.items():
        require_finite(group, f"step {step} ({name})")
    root = run / "ckpt"
    target, temporary = root / f"step-{step:010d}", root / f".tmp-{step}-{os.getpid()}"
    files = {f"{name}.safetensors": save_tensors(_on_cpu(group)) for name, group in tensors.items()}
    files["state.json"] = json.dumps(state, allow_nan=False).encode()
    with machine_errors(root):
        root.mkdir(exist_ok=True)
        for stale in root.glob(".tmp-*"):
            shutil.rmtree(stale)
        _require_space(root, sum(map(len, files.values())))
        try:
            temporary.mkdir()
            for name, content in files.items():
                _write_and_sync(temporary / name, content)
            manifest = {
                "format_version": FORMAT_VERSION,
                "step": step,
                "files": {
                    name: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
                    for name, content in files.items()
                },
            }
            _write_and_sync(temporary / "MANIFEST.json", json.dumps(manifest).encode())
            fsync_folder(temporary)
            if target.exists():  # already saved at this step: same content, or damaged
                shutil.rmtree(target)
            os.replace(temporary, target)
            fsync_folder(root)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    write_file(root / "last", target.name)
    reason = _damage(target)
    if reason:
        raise MachineError(
            f"{target} does not read back as it was written: {reason}", code="machine.readback"
        )
    with machine_errors(root):
        for old in _states(root)[KEEP:]:
            shutil.rmtree(old)
    return target


def _require_space(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        raise MachineError(
            f"cannot save to {folder}: {size / 2**20:.0f} MiB needed, {free / 2**20:.0f} MiB free",
            code="machine.disk_full",
            hint="free some space, then continue with --resume",
        )


def _write_and_sync(path: Path, content: bytes) -> None:
    with open(path, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _states(root: Path) -> list[Path]:
    """Return the state folders, newest first."""
    found = (p for p in root.glob("step-*") if re.fullmatch(r"step-\d+", p.name))
    return sorted(found, key=lambda p: int(p.name[5:]), reverse=True)


def _damage(folder: Path) -> str:
    """Return why a state folder cannot be used; "" if it is complete and intact."""
    try:
        manifest = json.loads((folder / "MANIFEST.json").read_text())
        if manifest["format_version"] != FORMAT_VERSION or manifest["step"] != int(folder.name[5:]):
            return "MANIFEST.json has another format or belongs to another step"
        if {path.name for path in folder.iterdir()} != {*manifest["files"], "MANIFEST.json"}:
            return "its files are not those that MANIFEST.json lists"
        for name, entry in manifest["files"].items():
            path = folder / name
            if path.stat().st_size != entry["size"] or sha256(path) != entry["sha256"]:
                return f"{name} does not match MANIFEST.json"
    except OSError as error:
        return f"{Path(error.filename or folder).name}: {error.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return "MANIFEST.json is damaged"
    return ""


def damage_of_states(run: Path) -> dict[Path, str]:
    """Return why each resume state of a run cannot be used, newest first; "" for a usable one."""
    return {
        folder: f"{folder} is damaged: {reason}" if (reason := _damage(folder)) else ""
        for folder in _states(run / "ckpt")
    }


def has_states(run: Path) -> bool:
    """Return whether a run folder has resume states, intact or not."""
    return (run / "ckpt").is_dir()


def remove_states(run: Path) -> None:
    """Remove the resume states of a run; what a crash leaves is removed when the run is resumed."""
    with machine_errors(run):
        temporary = run / f".ckpt.{os.getpid()}.tmp"
        os.replace(run / "ckpt", temporary)  # all at once: half a state would look like damage
        shutil.rmtree(temporary)


def load_state(run: Path, data: dict) -> tuple[dict[str, dict[str, Tensor]], dict, list[str]]:
    """Return the newest intact resume state of a run.

    Args:
        run: the run folder.
        data: fingerprint of the dataset, which must equal that of the state.

    Returns:
        Groups of tensors, the JSON state, and why newer states were skipped.

    Raises:
        ModelFileError: there is no intact state (lists what was rejected and why), or the dataset
            is another one than in training.
    """
    root, rejected = run / "ckpt", list[str]()
    states = _states(root)
    pointer = root / "last"
    if pointer.is_file():
        named = root / pointer.read_text(errors="replace").strip()
        states.sort(key=lambda p: p != named)  # first the one that `last` names, then the newest
    for folder in states:
        reason = _damage(folder)
        if not reason:
            tensors = {
                path.stem: load_tensors(path.read_bytes()) for path in folder.glob("*.safetensors")
            }
            state = json.loads((folder / "state.json").read_text())
            if "data" not in state:
                raise ModelFileError(f"{folder} does not say its data", code="resume.mismatch")
            require_same_data(run, state["data"], data)
            return tensors, state, rejected
        rejected.append(f"{folder.name}: {reason}")
    raise ModelFileError(
        f"{run} has no save to resume from" + (f": {'; '.join(rejected)}" if rejected else ""),
        code="resume.nothing",
        hint="start a new run",
    )


def require_same_flags(run: Path, then: Mapping[str, object], now: Mapping[str, object]) -> None:
    """Check that the configuration of a run says what the run was trained with.

    Flags that only one of two versions of cvkit knows are not compared.

    Raises:
        ModelFileError: names the first flag that differs.
    """
    for name in sorted(then.keys() & now.keys()):
        if then[name] != now[name]:
            raise ModelFileError(
                f"{run / 'config.yaml'}: {name} is {shown(now[name])}, but the run was trained "
                f"with {shown(then[name])}",
                code="resume.changed",
                hint="restore it; to train on with other settings, start a new run from this "
                "one's model with --weights",
            )


def flags_of(run: Path) -> dict[str, Any]:
    """Return the flags that a run was begun with; of older versions, none are known."""
    try:
        about = read_json(run / "environment.json")
    except DataError:  # removed by the user, or damaged
        return {}
    flags = about.get("flags") if isinstance(about, dict) else None
    return flags if isinstance(flags, dict) else {}


def require_same_data(run: Path, then: dict, now: dict) -> None:
    """Check that a dataset is the one of a run, even if it has moved.

    Raises:
        ModelFileError: it has other files.
    """
    if then.get("fingerprint_rule") != now.get("fingerprint_rule"):
        raise ModelFileError(
            f"{run} was started by another version of cvkit, which described data differently",
            code="resume.data",
            hint="finish the run with that version, or start a new one",
        )
    if {**then, "name": ""} != {**now, "name": ""}:
        raise ModelFileError(
            f"the dataset is not the one that {run} was trained on",
            code="resume.data",
            hint="restore its files and labels, or start a new run; if the dataset has moved, "
            "give its new folder with --data",
        )
