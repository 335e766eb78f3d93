"""In which order pictures come: batch k of an epoch is a pure function of (seed, epoch, k).

So resuming replays nothing. The numbers of a batch (crops, flips) are drawn the same way, from a generator of its own,
on the CPU: they do not depend on how many processes read pictures, nor on the device.
"""

import numpy as np
import torch


def epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """The pictures 0 … count-1 in the epoch's order: (count,) int64."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def batches(count: int, size: int, seed: int, epoch: int, begin: int = 0) -> list[list[int]]:
    """The epoch's batches from the `begin`-th on: indices of `size` pictures each, fewer in the last."""
    order = epoch_order(count, seed, epoch)
    return [order[first : first + size].tolist() for first in range(begin * size, count, size)]


def generator_of(seed: int, epoch: int, batch: int) -> torch.Generator:
    """The random numbers that a batch draws for itself."""
    state = np.random.SeedSequence([seed, epoch, batch]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))
