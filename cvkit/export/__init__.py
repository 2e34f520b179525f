"""Trained networks as files of other programs: written, compared with the network, and run."""
