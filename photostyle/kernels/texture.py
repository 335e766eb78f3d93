"""Pooled smooth moduli of filter responses, and their gradient; see `losses.texture`, which has them in torch."""

from typing import Any

import numpy as np

from photostyle.kernels.compiler import Kernel

Array = np.ndarray[Any, Any]


@Kernel
def moduli(grey: Array, filters: Array, bend: float, out: Array, first: int, end: int) -> None:
    """sqrt(r^2 + bend^2) - bend of 3x3 responses r, pooled 2x2: grey (H, W), filters (J, 3, 3) -> out (J, h, w).

    Rows of `out` from first to end.
    """
    f4 = np.float32
    w = out.shape[2]
    b, bb = f4(bend), f4(bend * bend)
    above, below = np.empty(2 * w, np.float32), np.empty(2 * w, np.float32)
    for y in range(first, end):
        for j in range(filters.shape[0]):
            f = filters[j]
            f00, f01, f02 = f[0, 0], f[0, 1], f[0, 2]
            f10, f11, f12 = f[1, 0], f[1, 1], f[1, 2]
            f20, f21, f22 = f[2, 0], f[2, 1], f[2, 2]
            for k in range(2):
                into = below if k else above
                p, q, s = grey[2 * y + k], grey[2 * y + k + 1], grey[2 * y + k + 2]
                for i in range(2 * w):
                    t = f00 * p[i] + f01 * p[i + 1] + f02 * p[i + 2]
                    t += f10 * q[i] + f11 * q[i + 1] + f12 * q[i + 2]
                    t += f20 * s[i] + f21 * s[i + 1] + f22 * s[i + 2]
                    into[i] = np.sqrt(t * t + bb) - b
            o = out[j, y]
            for i in range(w):
                o[i] = f4(0.25) * (above[2 * i] + above[2 * i + 1] + below[2 * i] + below[2 * i + 1])


@Kernel
def moduli_gradient(grey: Array, filters: Array, bend: float, gradient: Array, out: Array) -> None:
    """Adds to out (H, W) the gradient in grey (H, W), given that in the moduli: gradient (J, h, w)."""
    f4 = np.float32
    h, w = gradient.shape[1:]
    bb = f4(bend * bend)
    pull, spread = np.empty(2 * w, np.float32), np.empty(2 * w, np.float32)
    for y in range(h):
        for j in range(filters.shape[0]):
            f = filters[j]
            f00, f01, f02 = f[0, 0], f[0, 1], f[0, 2]
            f10, f11, f12 = f[1, 0], f[1, 1], f[1, 2]
            f20, f21, f22 = f[2, 0], f[2, 1], f[2, 2]
            for i in range(w):
                t = f4(0.25) * gradient[j, y, i]
                spread[2 * i] = t
                spread[2 * i + 1] = t
            for k in range(2):
                p, q, s = grey[2 * y + k], grey[2 * y + k + 1], grey[2 * y + k + 2]
                for i in range(2 * w):
                    t = f00 * p[i] + f01 * p[i + 1] + f02 * p[i + 2]
                    t += f10 * q[i] + f11 * q[i + 1] + f12 * q[i + 2]
                    t += f20 * s[i] + f21 * s[i + 1] + f22 * s[i + 2]
                    pull[i] = spread[i] * t / np.sqrt(t * t + bb)
                for a in range(3):
                    o = out[2 * y + k + a]
                    f0, f1, f2 = f[a, 0], f[a, 1], f[a, 2]
                    for i in range(2 * w):
                        o[i] += f0 * pull[i]
                    for i in range(2 * w):
                        o[i + 1] += f1 * pull[i]
                    for i in range(2 * w):
                        o[i + 2] += f2 * pull[i]
