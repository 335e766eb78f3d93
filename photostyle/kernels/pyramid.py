"""Halving a picture and its transpose; see `imaging.filters.halve` and `losses.curvature`."""

from typing import Any

import numpy as np

from photostyle.kernels.compiler import Kernel

Array = np.ndarray[Any, Any]


@Kernel
def halve(image: Array, out: Array) -> None:
    """Means of 2x2 blocks: (C, H, W) -> out (C, H // 2, W // 2)."""
    for c in range(out.shape[0]):
        for y in range(out.shape[1]):
            above, below, o = image[c, 2 * y], image[c, 2 * y + 1], out[c, y]
            for i in range(out.shape[2]):
                o[i] = np.float32(0.25) * (above[2 * i] + above[2 * i + 1] + below[2 * i] + below[2 * i + 1])


@Kernel
def add_doubled(small: Array, total: Array) -> None:
    """Adds a quarter of each pixel to its block: (C, h, w), total (C, H, W)."""
    for c in range(small.shape[0]):
        for y in range(small.shape[1]):
            row = small[c, y]
            for k in range(2):
                o = total[c, 2 * y + k]
                for i in range(small.shape[2]):
                    quarter = np.float32(0.25) * row[i]
                    o[2 * i] += quarter
                    o[2 * i + 1] += quarter
