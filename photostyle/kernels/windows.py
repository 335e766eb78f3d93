"""Sums over square windows; see `losses.structure`."""

from typing import Any

import numpy as np

from photostyle.kernels.compiler import Kernel

Array = np.ndarray[Any, Any]


@Kernel
def window_sums(padded: Array, side: int, out: Array, first: int, end: int) -> None:
    """Sum over each window of side x side pixels that lies inside: (C, H, W) -> rows of out (C, H - side + 1, ...)."""
    lines = np.empty(padded.shape[2], np.float32)
    width = out.shape[2]
    for c in range(padded.shape[0]):
        for y in range(first, end):
            lines[:] = padded[c, y]
            for j in range(1, side):
                row = padded[c, y + j]
                for i in range(lines.shape[0]):
                    lines[i] += row[i]
            o = out[c, y]
            for i in range(width):
                o[i] = lines[i]
            for j in range(1, side):
                for i in range(width):
                    o[i] += lines[i + j]
