"""Outputs: files and drawings."""
