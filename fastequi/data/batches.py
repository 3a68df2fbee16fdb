"""Batches of an epoch: an order that depends on the seed and the epoch alone.

A run that resumes at epoch k needs no state of a random generator.
"""

from collections.abc import Sequence

import numpy as np


def epoch_order(n_frames: int, seed: int, epoch: int) -> list[int]:
    """Frames 0..n-1 in the order of this epoch."""
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch])))
    return generator.permutation(n_frames).tolist()


def batches(order: Sequence[int], batch_size: int) -> list[list[int]]:
    """An order cut into batches; the last may be shorter."""
    return [list(order[k : k + batch_size]) for k in range(0, len(order), batch_size)]
