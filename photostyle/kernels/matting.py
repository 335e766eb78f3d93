"""The matting Laplacian as a symmetric stencil: 13 of its 25 numbers a pixel; see `imaging.matting`."""

from typing import Any

import numpy as np

from photostyle.kernels.compiler import Kernel

Array = np.ndarray[Any, Any]


@Kernel
def half_stencil(image: Array, epsilon: float, out: Array) -> None:
    """Adds the Laplacian of image (3, H, W), float64, to out (13, H + 4, W + 4), float32 of zeros.

    Entry [k, y + 2, x + 2] couples pixel (y, x) with the k-th of itself and its later neighbours: (0, 0), (0, 1),
    (0, 2), then (1, -2) ... (1, 2), (2, -2) ... (2, 2).
    """
    height, width = image.shape[1:]
    p, q = np.empty((9, 3)), np.empty((9, 3))
    for y in range(height - 2):
        for x in range(width - 2):
            for c in range(3):
                mean = 0.0
                for k in range(9):
                    p[k, c] = image[c, y + k // 3, x + k % 3]
                    mean += p[k, c]
                mean /= 9
                # Centred before squaring, as in `imaging.matting`.
                for k in range(9):
                    p[k, c] -= mean
            a = b = c2 = d = e = f = 0.0
            for k in range(9):
                a += p[k, 0] * p[k, 0]
                b += p[k, 0] * p[k, 1]
                c2 += p[k, 0] * p[k, 2]
                d += p[k, 1] * p[k, 1]
                e += p[k, 1] * p[k, 2]
                f += p[k, 2] * p[k, 2]
            a, d, f = (a + epsilon) / 9, (d + epsilon) / 9, (f + epsilon) / 9
            b, c2, e = b / 9, c2 / 9, e / 9
            m00, m01, m02 = d * f - e * e, c2 * e - b * f, b * e - c2 * d
            m11, m12, m22 = a * f - c2 * c2, b * c2 - a * e, a * d - b * b
            scale = 1 / (a * m00 + b * m01 + c2 * m02)
            for k in range(9):
                q[k, 0] = (m00 * p[k, 0] + m01 * p[k, 1] + m02 * p[k, 2]) * scale
                q[k, 1] = (m01 * p[k, 0] + m11 * p[k, 1] + m12 * p[k, 2]) * scale
                q[k, 2] = (m02 * p[k, 0] + m12 * p[k, 1] + m22 * p[k, 2]) * scale
            for i in range(9):
                for j in range(i, 9):
                    value = -(1 + p[i, 0] * q[j, 0] + p[i, 1] * q[j, 1] + p[i, 2] * q[j, 2]) / 9
                    if i == j:
                        value += 1
                    dy, dx = j // 3 - i // 3, j % 3 - i % 3
                    k = dx if dy == 0 else 5 * dy + dx
                    out[k, y + i // 3 + 2, x + i % 3 + 2] += value


@Kernel
def product(stencil: Array, padded: Array, scales: Array, out: Array, first: int, end: int) -> None:
    """Adds scales[c] L x to rows first to end of out (C, H, W).

    stencil (13, H + 4, W + 4) as `half_stencil` makes it; padded: x (C, H, W) with two zeros on every side.
    """
    width = out.shape[2]
    for y in range(first, end):
        a0, a1, a2 = stencil[0, y + 2], stencil[1, y + 2], stencil[2, y + 2]
        b0, b1, b2 = stencil[3, y + 2], stencil[4, y + 2], stencil[5, y + 2]
        b3, b4 = stencil[6, y + 2], stencil[7, y + 2]
        c0, c1, c2 = stencil[8, y + 2], stencil[9, y + 2], stencil[10, y + 2]
        c3, c4 = stencil[11, y + 2], stencil[12, y + 2]
        # A pixel is coupled with its earlier neighbours by their numbers: the matrix is symmetric.
        u0, u1, u2 = stencil[3, y + 1], stencil[4, y + 1], stencil[5, y + 1]
        u3, u4 = stencil[6, y + 1], stencil[7, y + 1]
        v0, v1, v2 = stencil[8, y], stencil[9, y], stencil[10, y]
        v3, v4 = stencil[11, y], stencil[12, y]
        for c in range(out.shape[0]):
            x0, x1, x2, x3, x4 = (
                padded[c, y],
                padded[c, y + 1],
                padded[c, y + 2],
                padded[c, y + 3],
                padded[c, y + 4],
            )
            o, scale = out[c, y], scales[c]
            for i in range(width):
                t = a0[i + 2] * x2[i + 2] + a1[i + 2] * x2[i + 3] + a2[i + 2] * x2[i + 4]
                t += a1[i + 1] * x2[i + 1] + a2[i] * x2[i]
                t += b0[i + 2] * x3[i] + b1[i + 2] * x3[i + 1] + b2[i + 2] * x3[i + 2]
                t += b3[i + 2] * x3[i + 3] + b4[i + 2] * x3[i + 4]
                t += c0[i + 2] * x4[i] + c1[i + 2] * x4[i + 1] + c2[i + 2] * x4[i + 2]
                t += c3[i + 2] * x4[i + 3] + c4[i + 2] * x4[i + 4]
                t += u0[i + 4] * x1[i + 4] + u1[i + 3] * x1[i + 3] + u2[i + 2] * x1[i + 2]
                t += u3[i + 1] * x1[i + 1] + u4[i] * x1[i]
                t += v0[i + 4] * x0[i + 4] + v1[i + 3] * x0[i + 3] + v2[i + 2] * x0[i + 2]
                t += v3[i + 1] * x0[i + 1] + v4[i] * x0[i]
                o[i] += scale * t
