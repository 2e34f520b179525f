"""Explanations of results: maps of what a score depends on, and numbers that judge the maps."""
