"""Models and weights that torchvision publishes: found by name, recognised by content, listed."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torchvision

from cvkit import catalog, published
from cvkit.errors import UsageError
from cvkit.models import weights
from cvkit.storage import sha256


def published_model(
    task: str, name: str, offline: bool, say: Callable[[str], None]
) -> tuple[str, Path] | None:
    """Return builder and verified file of a published model; None if there is no such name.

    Raises:
        ModelFileError: missing and not available, or damaged.
        UsageError: a version of a published model that does not exist.
    """
    known = published.published_models(task)
    if name.partition(":")[0] not in published.families(task):
        return None
    if name not in known:
        raise UsageError(
            f"--weights {name} is not published",
            code="weights.unknown",
            hint=catalog.nearest(name, known, published.published_text(task)),
        )
    return known[name].builder, weights.fetched(_entry(known[name]), offline, say)


def _entry(model: published.Published) -> Any:
    return torchvision.models.get_model_weights(model.builder)[model.version]


def recognised(path: Path, builders: Iterable[str]) -> tuple[str, Any] | None:
    """Return builder and entry of the published file that has the same hash as a file.

    Args:
        path: of a file that exists.
        builders: torchvision functions whose weights are considered.

    Raises:
        ModelFileError: the file has a published name and another content.
    """
    entries = [
        (builder, entry)
        for builder in builders
        for entry in torchvision.models.get_model_weights(builder).__members__.values()
    ]
    for builder, entry in entries:
        if path.name == _file_name(entry):
            weights.verified(path)
            return builder, entry
    digest = sha256(path)
    return next((pair for pair in entries if digest.startswith(_hash_prefix(pair[1]))), None)


def statistics(builder: str, entry: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and standard deviation of pixels in [0, 1] that published weights expect."""
    if builder in catalog.BUILDERS and catalog.BACKBONES[catalog.BUILDERS[builder]].centred:
        return (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    preset = entry.transforms()
    return tuple(preset.mean), tuple(preset.std)


def _file_name(entry: Any) -> str:
    return entry.url.rpartition("/")[2]


def _hash_prefix(entry: Any) -> str:
    """Return the first digits of the SHA-256 of a published file, which its name ends in."""
    return _file_name(entry).rpartition("-")[2].partition(".")[0]


def list_published() -> list[dict[str, Any]]:
    """Return each published file once: its names for `--weights`, and its path if it is downloaded.

    `version` is its name for `--pretrained`; for complete models, which have no such name, it is
    the first of `weights`.
    """
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for task, models in published.PUBLISHED.items():
        for name, model in models.items():
            entry = _entry(model)
            if (task, entry.url) in rows:
                rows[task, entry.url]["weights"].append(name)
                continue
            backbone = catalog.BUILDERS.get(model.builder, model.builder)
            version = name
            if model.builder in catalog.BUILDERS:
                version = f"imagenet:{entry.name.rpartition('_')[2].lower()}"
            rows[task, entry.url] = {
                "task": task,
                "backbone": backbone,
                "version": version,
                "weights": [name],
                "url": entry.url,
                "megabytes": entry.meta["_file_size"],
                "path": _cached(entry),
            }
    return list(rows.values())


def _cached(entry: Any) -> str | None:
    file = _file_name(entry)
    return next((str(f / file) for f in weights.cache_folders() if (f / file).is_file()), None)
