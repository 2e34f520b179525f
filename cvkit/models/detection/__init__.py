"""Detectors: networks that return boxes with a class and a score."""
