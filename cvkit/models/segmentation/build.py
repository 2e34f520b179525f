"""Builds segmentation networks from names and numbers."""

from typing import Any

from torch import nn

from cvkit import catalog
from cvkit.arch_facts import Form, Segmenter
from cvkit.backbone_table import BackboneEntry
from cvkit.errors import UsageError
from cvkit.models.specs import SegmenterSpec


def build_segmenter(spec: SegmenterSpec, num_classes: int) -> nn.Module:
    """Return a freshly initialised network with `num_classes` channels of logits.

    Raises:
        UsageError: a name is unknown, or these parts cannot be combined.
    """
    head = catalog.known_entry(catalog.SEGMENTERS, spec.arch, "arch")
    body = catalog.known_entry(catalog.BACKBONES, spec.backbone, "backbone")
    form = _known_form(head, spec)
    arguments: dict[str, Any] = dict(head.arguments)
    if spec.deconv:
        if "deconv" not in head.flags:
            raise UsageError(
                f"--deconv has no effect with --arch {spec.arch}",
                code="deconv.unsupported",
                hint=catalog.owners_of("segment", "deconv"),
            )
        arguments["deconv"] = True
    if spec.rates is not None:
        arguments["rates"] = tuple(spec.rates)
    if body.whole:
        return _whole_network(spec, body, num_classes, arguments)
    stride = _choose_stride(head, body, spec.output_stride)
    if not body.target:
        raise UsageError(
            f"--backbone {spec.backbone} has no maps at several strides, which --arch {spec.arch} "
            "needs",
            code="backbone.unsupported",
        )
    changes: dict[str, Any] = {}
    if spec.positions is not None:
        changes["positions"] = tuple(spec.positions)
    if spec.deep_stem:
        changes["deep_stem"] = True
    if form is not None and form.full_dilation:
        changes["full_dilation"] = True
    features = catalog.resolve(body.target)(body.builder, output_stride=stride, **changes)
    aux_level = body.aux_level if spec.aux and head.aux_weight else None
    decoder = catalog.resolve(head.target if form is None else form.target)
    return decoder(features, num_classes, aux_level, **arguments)


def _known_form(arch: Segmenter, spec: SegmenterSpec) -> Form | None:
    """Return the form of an architecture that a spec names; None for cvkit's.

    Raises:
        UsageError: there is no such form.
    """
    return catalog.known_entry(dict(arch.forms), spec.form, "form") if spec.form else None


def _choose_stride(arch: Segmenter, backbone: BackboneEntry, wanted: int | None) -> int:
    """Return the output stride of a backbone: as requested, or the architecture's if possible.

    Raises:
        UsageError: this backbone does not support the requested stride.
    """
    possible = backbone.output_strides
    if wanted is None:
        return min(possible, key=lambda stride: (abs(stride - arch.output_stride), stride))
    if wanted not in possible:
        raise UsageError(
            f"--output-stride {wanted} is not available with this backbone",
            code="output_stride.unsupported",
            hint=f"it has {', '.join(map(str, possible))}",
        )
    return wanted


def _whole_network(
    spec: SegmenterSpec, body: BackboneEntry, num_classes: int, arguments: dict[str, Any]
) -> nn.Module:
    if spec.arch not in body.whole:
        raise UsageError(
            f"--backbone {spec.backbone} is a complete network and cannot be used with --arch "
            f"{spec.arch}",
            code="backbone.unsupported",
            hint=f"use it with {', '.join(body.whole)}",
        )
    arguments.pop("deconv", None)  # the historic FCN always upsamples in this way
    network = catalog.resolve(body.target)
    return network(num_classes, **arguments, **dict(body.arguments))
