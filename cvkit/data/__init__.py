"""Inputs: files, decoding, transforms, datasets and the built-in samples."""
