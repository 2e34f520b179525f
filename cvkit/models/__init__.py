"""Networks: shared backbones and layers, and the heads of each task."""
