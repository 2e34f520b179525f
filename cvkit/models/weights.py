"""Sources of weights: trained models by name, and published backbones."""

import contextlib
import os
import re
import socket
import time
import urllib.error
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

from cvkit import catalog, published
from cvkit.catalog import closest, nearest
from cvkit.early import local_rank
from cvkit.errors import ModelFileError, UsageError
from cvkit.model_files import fits, read_header, unverified
from cvkit.models.convert import TRAINING_ONLY, modern_names
from cvkit.models.layouts.detectors import takes_bgr
from cvkit.models.layouts.encoders import encoder_of
from cvkit.models.layouts.names import COMPUTED
from cvkit.models.state_files import read_state_file
from cvkit.published import weight_shelves
from cvkit.storage import cache_folder, cache_trouble, machine_errors, passing_folder, sha256
from cvkit.texts import counted


def find_model(
    name: str,
    task: str | None = None,
    flag: str = "--weights",
    names: Sequence[str] = (),
) -> Path:
    """Return the model file that `--weights` (or another flag) names.

    A run folder stands for its `best.safetensors`, else (`--keep last`) its `last.safetensors`; a
    bare name for a file in `weights/`.

    Args:
        name: path or bare name.
        task: whose published models an error message lists.
        flag: for messages.
        names: published names, for hints.

    Raises:
        ModelFileError: nothing of that name exists.
    """
    path = Path(name)
    shelves = (shelf / f"{name}.safetensors" for shelf in weight_shelves())
    kept = (path / f"{which}.safetensors" for which in ("best", "last"))
    candidates = [*kept, path, *shelves]
    found = next((p for p in candidates if _is_file(p)), None)
    if found is None:
        why = "is not a regular file" if os.path.exists(path) else "does not exist"
        hint = "give a run folder, a .safetensors file or the name of a file in weights/"
        if path.is_dir():
            why = "contains neither best.safetensors nor last.safetensors"
            if (path / "ckpt").is_dir():
                why, hint = "has no finished epoch", f"continue with: --resume {path}"
                raise ModelFileError(f"{flag} {name} {why}", code="model.missing", hint=hint)
        if task is not None and (families := published.families(task)):
            hint += f", or a published model, such as {', '.join(families)}"
        near = None if path.is_dir() else closest(name, [*names, *_models_beside(path)])
        hint = f"did you mean {near}?" if near else hint
        raise ModelFileError(f"{flag} {name} {why}", code="model.missing", hint=hint)
    return found


def _is_file(path: Path) -> bool:
    """Return whether there is a file; False if permission is denied."""
    try:
        return path.is_file()
    except PermissionError:
        return False


def _models_beside(path: Path) -> list[str]:
    """Return the model files, run folders and models in `weights/` that a name may refer to."""
    runs = [kept.parent for kept in path.parent.glob("*/*.safetensors")]
    files = path.parent.glob("*.safetensors")
    return [str(found) for found in (*runs, *files)] + [model.stem for model in shipped_models()]


def require_source(source: str, backbone: str | None, families: Sequence[str]) -> None:
    """Check `--pretrained` as far as possible without a download and without data.

    Args:
        source: the flag.
        backbone: key of `catalog.BACKBONES`, as far as it is known.
        families: first parts of published names.

    Raises:
        UsageError: the version is not published; the hint gives the nearest name.
        ModelFileError: no such file or run folder.
    """
    family, _, version = source.partition(":")
    entry = catalog.BACKBONES.get(backbone or "")
    every = {v for each in catalog.BACKBONES.values() for v in each.versions}
    versions = entry.versions if entry and entry.builder and family == "imagenet" else sorted(every)
    if family not in families:
        names = [*families, *(f"imagenet:{each}" for each in versions)]
        find_model(source, flag="--pretrained", names=names)
    elif version and version not in versions:
        of = f" for --backbone {backbone}" if entry else ""
        raise UsageError(
            f"--pretrained {source} is not published{of}",
            code="pretrained.unknown",
            hint=nearest(source, [family, *(f"{family}:{each}" for each in versions)]),
        )


def cache_folders() -> list[Path]:
    """Return the folders that may contain published weights; downloads go to the first."""
    folders = [Path(chosen)] if (chosen := os.environ.get("CVKIT_WEIGHTS")) else []
    with contextlib.suppress(UsageError):  # there is no home folder
        folders.append(cache_folder("weights"))
    return [*folders, *weight_shelves(), Path(torch.hub.get_dir()) / "checkpoints"]


def download_folder() -> tuple[Path, str]:
    """Return the download folder, and why it is temporary, or ""."""
    if chosen := os.environ.get("CVKIT_WEIGHTS"):
        return Path(chosen), ""
    if trouble := cache_trouble("weights"):
        return passing_folder("weights"), trouble
    return cache_folder("weights"), ""


def load_pretrained(
    backbone: nn.Module, name: str, source: str, *, offline: bool, say: Callable[[str], None]
) -> str:
    """Load backbone weights in place and return a line that describes them.

    Args:
        backbone: a `cvkit.models.backbones.Backbone` (or historic complete network).
        name: its key in `catalog.BACKBONES`.
        source: `imagenet`, `imagenet:v1`, `imagenet:v2`, a file (a state dict as .pth or
            safetensors with names of torchvision or another project, see
            `cvkit.models.layouts.encoders`, or a model of cvkit), or a run folder.
        offline: do not download.
        say: gets the URL and size before a download.

    Raises:
        ModelFileError: missing, damaged, or not made for this backbone.
        UsageError: nothing is published for this backbone.
    """
    if source.split(":")[0] == "imagenet":
        path = _published(name, source.partition(":")[2] or "v1", offline, say)
    else:
        path = find_model(source, flag="--pretrained")
        if note := unverified(path):
            say(f"warning: {note}")
    file = read_state_file(path)
    if takes_bgr(file.about):
        raise ModelFileError(
            f"{path} was trained on BGR images, or with the strides of Caffe, as its configuration "
            "says; --pretrained cannot use it",
            code="pretrained.pixels",
            hint="import the whole network (cvkit weights import), and train with --weights",
        )
    encoder = encoder_of(file)
    tensors = modern_names(encoder.tensors)
    wanted = backbone.state_dict()
    # Training-only heads score the classes of the file, not those of the new data.
    wanted = {k: v for k, v in wanted.items() if not re.match(TRAINING_ONLY, k)}
    if isinstance(backbone, VisionTransformer):
        tensors = _with_positions_of(backbone, tensors)
    missing = [key for key in wanted if key not in tensors]
    wrong = [k for k in wanted if k in tensors and not fits(tensors[k], wanted[k])]
    # Old checkpoints lack batch norm's counter, which has no effect on the result.
    missing = [key for key in missing if not key.endswith(("num_batches_tracked", *COMPUTED))]
    if missing or wrong:
        raise ModelFileError(
            f"{path} does not fit --backbone {name}: "
            f"{counted(len(missing), 'tensor')} missing, "
            f"{len(wrong)} of another shape or type, such as {(missing + wrong)[0]}",
            code="pretrained.mismatch",
            hint="choose the backbone that the file was made for; weights of first layers for "
            "small images (--stem small) and for large ones do not fit each other",
        )
    backbone.load_state_dict({k: tensors[k] for k in wanted if k in tensors}, strict=False)
    about = f"; {encoder.about}" if encoder.about else ""
    return f"backbone weights: {source} ({path.name}, {counted(len(wanted), 'tensor')}{about})"


def has_small_stem(source: str) -> bool:
    """Return whether `--pretrained` is a cvkit model with first layers for small images."""
    if source.split(":")[0] == "imagenet":
        return False
    path = find_model(source, flag="--pretrained")
    if path.suffix != ".safetensors":
        return False
    try:
        return read_header(path).get("network", {}).get("small") is True
    except ModelFileError:
        return False  # defects of the file are reported when it is read


def _with_positions_of(net: VisionTransformer, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors whose position embeddings are interpolated to a network's image size."""
    name = "encoder.pos_embedding"
    if name not in tensors or tensors[name].shape == net.encoder.pos_embedding.shape:
        return tensors
    if tensors[name].ndim != 3:
        return tensors  # its shape is refused later
    return dict(interpolate_embeddings(net.image_size, net.patch_size, tensors))


def published_versions(builder: str) -> list[str]:
    """Return what `--pretrained` accepts for a torchvision builder, such as `imagenet:v1`."""
    names = torchvision.models.get_model_weights(builder).__members__ if builder else ()
    matches = (re.fullmatch(r"IMAGENET1K_(V\d+)", name) for name in names)
    return [f"imagenet:{match[1].lower()}" for match in matches if match]


def published_preset(backbone: str, version: str = "v1") -> Any:
    """Return torchvision's preset (sizes, interpolation, mean) of published weights."""
    table = torchvision.models.get_model_weights(catalog.BACKBONES[backbone].builder)
    return table[f"IMAGENET1K_{version.upper()}"].transforms()


def shipped_models() -> list[Path]:
    """Return the trained models in the folders named `weights`, each name once."""
    found: dict[str, Path] = {}
    for shelf in weight_shelves():
        for path in sorted(shelf.glob("*.safetensors")):
            found.setdefault(path.name, path)
    return list(found.values())


def _published(name: str, version: str, offline: bool, say: Callable[[str], None]) -> Path:
    """Return the verified file of torchvision's published weights, downloading if allowed."""
    builder = catalog.BACKBONES[name].builder
    versions = torchvision.models.get_model_weights(builder).__members__ if builder else {}
    if f"imagenet:{version}" not in published_versions(builder):
        known = ", ".join(published_versions(builder))
        raise UsageError(
            f"--pretrained imagenet:{version} is not published for --backbone {name}",
            code="pretrained.unknown",
            hint=f"published: {known}"
            if known
            else "no weights are published for it; train from scratch",
        )
    return fetched(versions[f"IMAGENET1K_{version.upper()}"], offline, say)


def fetched(entry: Any, offline: bool, say: Callable[[str], None]) -> Path:
    """Return the verified file of a member of torchvision's weights, downloading if allowed.

    Of several processes that work together, the first one of each machine downloads; the others
    wait for its file, and end with it if it fails.

    Args:
        entry: with `url` and `meta`.
        offline: do not download.
        say: gets the URL and size before a download.

    Raises:
        ModelFileError: missing and not available, or damaged.
    """
    file = entry.url.rpartition("/")[2]
    for folder in cache_folders():
        if (folder / file).is_file():
            return verified(folder / file)
    if offline:
        target = cache_folders()[0] / file
        raise ModelFileError(
            f"{target} does not exist, and --offline forbids downloading it",
            code="pretrained.offline",
            hint=f"download {entry.url} elsewhere and put it there",
        )
    folder, trouble = download_folder()
    target = folder / file
    while local_rank() and not trouble and not target.is_file():
        time.sleep(0.1)
    if target.is_file():
        return verified(target)
    why = f", for this run only: {trouble}" if trouble else ""
    say(f"downloading {entry.url} ({entry.meta['_file_size']:.0f} MB) to {target}{why}")
    with machine_errors(target):
        folder.mkdir(parents=True, exist_ok=True)
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(30)  # a connection that drops packets must not hang the command
    try:
        prefix = file.rpartition("-")[2].partition(".")[0]
        torch.hub.download_url_to_file(entry.url, str(target), hash_prefix=prefix, progress=False)
    except (urllib.error.URLError, OSError, RuntimeError) as error:
        target.unlink(missing_ok=True)
        raise ModelFileError(
            f"cannot download {entry.url}: {error}",
            code="pretrained.network",
            hint=f"put the file at {target}"
            if not trouble
            else "put the file into a folder and set CVKIT_WEIGHTS to it",
        ) from error
    finally:
        socket.setdefaulttimeout(before)
    return target


def verified(path: Path) -> Path:
    """Return the path of a file whose name ends in the first digits of its SHA-256.

    Raises:
        ModelFileError: the content has another hash, or the name has none.
    """
    wanted = path.stem.rpartition("-")[2]
    if not re.fullmatch("[0-9a-f]{8,64}", wanted):
        raise ModelFileError(
            f"{path} cannot be verified: its name does not end in a hash, as published names do",
            code="pretrained.name",
            hint="give a file with its published name, or a .safetensors file of cvkit",
        )
    found = sha256(path)
    if not found.startswith(wanted):
        raise ModelFileError(
            f"{path} is damaged: its SHA-256 begins with {found[:8]}, not {wanted}",
            code="pretrained.hash",
            hint="delete it and download it again",
        )
    return path
