"""What comes in: files, decoding, transforms, datasets and the built-in samples."""
