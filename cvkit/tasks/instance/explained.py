"""Explanations of instance segmentation: those of detection; the region is the object's mask."""

from cvkit.tasks.detect.explained import Explained as Explained
