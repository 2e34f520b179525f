"""Metrics; each states its rule."""
