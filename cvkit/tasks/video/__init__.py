"""Video classification: one class per clip."""
