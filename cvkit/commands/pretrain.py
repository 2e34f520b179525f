"""Pretrain a backbone on images without labels."""

from cvkit.commands.train import train
from cvkit.options.pretrain import Pretrain


def pretrain(options: Pretrain) -> int:
    """Train in a new run folder, or continue a run, as `train` of the tasks does."""
    return train(options, "pretrain")
