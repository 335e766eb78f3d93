"""Weighted quantiles through histograms; see `evaluation.scores`, which has them in NumPy."""

from typing import Any

import numpy as np

from photostyle.kernels.compiler import Kernel

Array = np.ndarray[Any, Any]


@Kernel
def quantiles_of_rows(
    samples: Array, places: Array, weights: Array, ranks: Array, bins: int, out: Array, first: int, end: int
) -> None:
    """Quantiles of rows first to end at the given ranks, rising from 0 to 1: each bin's mass lies evenly in it.

    samples (P, n); places (m,), int32: the pixels that count, with weights (m,) -> out (P, ranks). A row that holds
    something not finite becomes NaN.
    """
    m, last = len(places), np.int32(bins - 1)
    mass, seen = np.empty(bins), np.empty(m, np.float32)
    for r in range(first, end):
        for i in range(m):
            seen[i] = samples[r, places[i]]
        low, high, check = seen[0], seen[0], np.float32(0)
        for i in range(m):
            low, high = min(low, seen[i]), max(high, seen[i])
            check += seen[i] * np.float32(0)
        if check != 0:
            # An index made of a NaN would be any number.
            out[r] = np.nan
            continue
        # With this least width, float32's least normal number, a constant row keeps its value.
        width = max((high - low) / np.float32(bins), np.float32(1.1754944e-38))
        mass[:] = 0.0
        for i in range(m):
            place = np.int32((seen[i] - low) / width)
            mass[max(min(place, last), np.int32(0))] += weights[i]
        total = 0.0
        for b in range(bins):
            total += mass[b]
        below, b = 0.0, 0
        for k in range(len(ranks)):
            while b < bins - 1 and below + mass[b] <= ranks[k] * total:
                below += mass[b]
                b += 1
            inside = (ranks[k] * total - below) / mass[b] if mass[b] > 0 else 0.0
            out[r, k] = low + width * (b + min(inside, 1.0))
