"""Networks that classify clips: NCTHW frames to logits."""
