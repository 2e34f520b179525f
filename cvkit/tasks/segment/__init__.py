"""Semantic segmentation: a class per pixel."""
