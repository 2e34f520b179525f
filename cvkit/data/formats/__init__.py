"""Dataset formats: one module per format."""
