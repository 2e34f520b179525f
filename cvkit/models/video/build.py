"""Builds video networks from names and numbers."""

import inspect
from dataclasses import asdict

from torch import nn

from cvkit import catalog
from cvkit.models.specs import ClipSpec


def build_clip_network(spec: ClipSpec, num_classes: int) -> nn.Module:
    """Return a freshly initialised video network; it uses the fields that it knows.

    Raises:
        UsageError: these parts cannot be combined.
    """
    entry = catalog.CLIP_NETWORKS[spec.arch]
    network = catalog.resolve(entry.target)
    known = inspect.signature(network).parameters
    given = {name: value for name, value in asdict(spec).items() if value is not None}
    taken = {name: value for name, value in given.items() if name in known}
    return network(num_classes=num_classes, **(taken | dict(entry.arguments)))
