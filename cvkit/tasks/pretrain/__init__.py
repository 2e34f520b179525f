"""Pretraining on images without labels."""
