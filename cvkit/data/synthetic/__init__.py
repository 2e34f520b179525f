"""The built-in samples: drawn, not photographed."""
