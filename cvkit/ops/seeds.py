"""Randomness as a function of its key, so that no generator's state must be stored."""

import numpy as np


def key_seed(*key: int) -> int:
    """Return a 32-bit seed that depends on every part of the key, such as (seed, epoch, index)."""
    return int(np.random.SeedSequence(key).generate_state(1)[0])


def permutation(count: int, *key: int) -> np.ndarray:
    """Return a random order of `count` numbers that depends on the key alone."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key))).permutation(count)
