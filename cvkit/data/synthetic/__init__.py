"""The built-in synthetic samples."""
