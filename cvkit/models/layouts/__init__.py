"""How other projects name the tensors of networks that cvkit has, and what they expect of pixels."""
