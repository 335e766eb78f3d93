"""Responses of 5x5 filters over three channels, and their gradient; see `losses.patches`, which has them in torch."""

from typing import Any

import numpy as np

from photostyle.kernels.compiler import Kernel

Array = np.ndarray[Any, Any]

SIDE = 5  # of the filters: written out below, because a loop of known length keeps its sums in registers


@Kernel
def responses(image: Array, filters: Array, out: Array, first: int, end: int) -> None:
    """Correlation with each filter inside the image: (3, H, W), (J, 3, 5, 5) -> rows first to end of out (J, h, w)."""
    width = out.shape[2]
    line = np.empty(width, np.float32)
    for y in range(first, end):
        for j in range(filters.shape[0]):
            line[:] = np.float32(0)
            for c in range(3):
                for k in range(5):
                    row = image[c, y + k]
                    f = filters[j, c, k]
                    f0, f1, f2, f3, f4 = f[0], f[1], f[2], f[3], f[4]
                    for i in range(width):
                        line[i] += (
                            f0 * row[i]
                            + f1 * row[i + 1]
                            + f2 * row[i + 2]
                            + f3 * row[i + 3]
                            + f4 * row[i + 4]
                        )
            out[j, y] = line


@Kernel
def responses_gradient(gradient: Array, filters: Array, out: Array, first: int, end: int) -> None:
    """Adds the gradient in the image, given that in its responses (J, h, w), to rows first to end of out (3, H, W)."""
    h, w = gradient.shape[1:]
    width = out.shape[2]
    padded = np.zeros(w + 8, np.float32)
    lines = np.empty((3, width), np.float32)
    for y in range(first, end):
        lines[:] = np.float32(0)
        for k in range(5):
            if y - k < 0 or y - k >= h:
                continue
            for j in range(gradient.shape[0]):
                padded[4 : 4 + w] = gradient[j, y - k]
                for c in range(3):
                    line = lines[c]
                    f = filters[j, c, k]
                    f0, f1, f2, f3, f4 = f[0], f[1], f[2], f[3], f[4]
                    for i in range(width):
                        line[i] += (
                            f4 * padded[i]
                            + f3 * padded[i + 1]
                            + f2 * padded[i + 2]
                            + f1 * padded[i + 3]
                            + f0 * padded[i + 4]
                        )
        for c in range(3):
            o, line = out[c, y], lines[c]
            for i in range(width):
                o[i] += line[i]
