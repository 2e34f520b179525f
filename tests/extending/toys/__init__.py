"""A backbone, a decoder, a one-stage detector and a task that are not part of cvkit."""

from cvkit.backbone_table import BACKBONES, BackboneEntry

# Before the table of classifiers is made of it.
BACKBONES["toy"] = BackboneEntry(target="toys.backbone:Toy", about="five small stages")
