"""Images that are made by following gradients: adversarial ones, dreams and styles."""
