"""How other projects name the tensors of networks that cvkit has, and what pixels they take."""
