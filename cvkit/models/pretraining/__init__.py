"""Networks that learn from images without labels: a backbone, and what it is trained by."""
