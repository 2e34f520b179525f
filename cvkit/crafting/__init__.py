"""Images that are made by following gradients: adversarial ones and dreams."""
