"""Means over square windows, and affine regression in them, by running sums; see `imaging.filters` for both in torch.

For the regression are summed, in this order: the guide's channels (0-2), their products 00, 01, 02, 11, 12, 22 (3-8),
and for each channel of the target, from 9 on, itself, its square and its products with the guide (5 sums). All sums are
in float64, because a covariance is a difference of nearly equal numbers.
"""

from typing import Any

import numpy as np

from photostyle.kernels.compiler import Kernel

Array = np.ndarray[Any, Any]

# Rows after which sums start anew, wherever threads share the work: rounding does not add up over a large picture, and
# the number of threads changes no bit. With windows of 33 rows a quarter more rows are read.
STRIP = 128


def strips(rows: int) -> int:
    """How many strips of STRIP rows there are, the last one shorter."""
    return -(-rows // STRIP)


@Kernel
def box_means(image: Array, radius: int, out: Array, first: int, end: int) -> None:
    """Mean over each window of 2r+1 pixels' side, clipped to the picture. (C, H, W) -> strips first to end of out.

    Strips are counted through all channels. Sums are in float64.
    """
    height = image.shape[1]
    each = -(-height // STRIP)
    for index in range(first, end):
        top = index % each * STRIP
        _strip_means(image[index // each], radius, top, min(top + STRIP, height), out[index // each])


@Kernel
def _strip_means(channel: Array, radius: int, top: int, bottom: int, out: Array) -> None:
    """Rows top to bottom of the means of a channel (H, W)."""
    height, width = channel.shape
    columns, sums = np.zeros(width), np.empty(width)
    start = max(0, top - radius)
    for line in range(start, bottom + radius):
        if line < height:
            for x in range(width):
                columns[x] += channel[line, x]
        gone = line - 2 * radius - 1
        if gone >= start:
            for x in range(width):
                columns[x] -= channel[gone, x]
        y = line - radius
        if y >= top:
            sums_across(columns, radius, sums)
            rows = min(height, y + radius + 1) - max(0, y - radius)
            for x in range(width):
                out[y, x] = sums[x] / (rows * (min(width, x + radius + 1) - max(0, x - radius)))


@Kernel
def sums_across(values: Array, radius: int, out: Array) -> None:
    """Sum of 2r+1 neighbours, clipped to the row. (W,) -> out (W,). A running sum from 7 on: fewer are added up."""
    width = len(values)
    if radius <= 2:
        for x in range(width):
            out[x] = values[x]
        for step in range(1, radius + 1):
            for x in range(width - step):
                out[x] += values[x + step]
            for x in range(step, width):
                out[x] += values[x - step]
        return
    total = 0.0
    for x in range(min(radius, width)):
        total += values[x]
    for x in range(width):
        if x + radius < width:
            total += values[x + radius]
        if x > radius:
            total -= values[x - radius - 1]
        out[x] = total


@Kernel
def affine_regression(
    guide: Array,
    target: Array,
    centre: Array,
    radius: int,
    ridges: Array,
    maps: Array,
    residuals: Array,
    first: int,
    end: int,
) -> None:
    """Maps (C, 4, H, W) or residuals (H, W) of strips first to end; an empty one of the two is not asked for.

    guide (3, H, W), target (C, H, W); centre (3 + C,): taken off each channel, so that squares stay small; ridges: one
    row (1, W) for all or one for each (H, W).
    """
    height, width = guide.shape[1:]
    count = 9 + 5 * len(target)
    columns, sums = np.empty((count, width)), np.empty((count, width))
    for strip in range(first, end):
        top, bottom = strip * STRIP, min((strip + 1) * STRIP, height)
        start = max(0, top - radius)
        columns[:] = 0.0
        for line in range(start, bottom + radius):
            if line < height:
                _add_line(guide, target, centre, line, 1.0, columns)
            if line - 2 * radius - 1 >= start:
                _add_line(guide, target, centre, line - 2 * radius - 1, -1.0, columns)
            y = line - radius
            if y < top:
                continue
            for k in range(count):
                sums_across(columns[k], radius, sums[k])
            rows = min(height, y + radius + 1) - max(0, y - radius)
            for x in range(width):
                share = 1.0 / (rows * (min(width, x + radius + 1) - max(0, x - radius)))
                for k in range(count):
                    sums[k, x] *= share
            ridge = ridges[y if len(ridges) > 1 else 0]
            if maps.size:
                _fit_line(sums, ridge, centre, maps[:, :, y], residuals[0])
            else:
                _fit_line(sums, ridge, centre, maps[:, :, 0], residuals[y])


@Kernel
def _add_line(guide: Array, target: Array, centre: Array, y: int, sign: float, columns: Array) -> None:
    """One row of the pictures added to the sums of each column, or with sign -1 taken off them."""
    for x in range(guide.shape[2]):
        r, g, b = guide[0, y, x] - centre[0], guide[1, y, x] - centre[1], guide[2, y, x] - centre[2]
        columns[0, x] += sign * r
        columns[1, x] += sign * g
        columns[2, x] += sign * b
        columns[3, x] += sign * r * r
        columns[4, x] += sign * r * g
        columns[5, x] += sign * r * b
        columns[6, x] += sign * g * g
        columns[7, x] += sign * g * b
        columns[8, x] += sign * b * b
    for c in range(len(target)):
        k = 9 + 5 * c
        for x in range(guide.shape[2]):
            t = target[c, y, x] - centre[3 + c]
            columns[k, x] += sign * t
            columns[k + 1, x] += sign * t * t
            columns[k + 2, x] += sign * t * (guide[0, y, x] - centre[0])
            columns[k + 3, x] += sign * t * (guide[1, y, x] - centre[1])
            columns[k + 4, x] += sign * t * (guide[2, y, x] - centre[2])


@Kernel
def _fit_line(means: Array, ridge: Array, centre: Array, maps: Array, residuals: Array) -> None:
    """A row of maps (C, 4, W) or residuals (W,) from the windows' means (9 + 5 C, W)."""
    for x in range(means.shape[1]):
        r, g, b = means[0, x], means[1, x], means[2, x]
        # L D L^T of covariance and ridge, which is positive definite: as exact without pivots as with them.
        d0 = means[3, x] - r * r + ridge[x]
        a01, a02 = means[4, x] - r * g, means[5, x] - r * b
        l10, l20 = a01 / d0, a02 / d0
        d1 = means[6, x] - g * g + ridge[x] - l10 * a01
        a12 = means[7, x] - g * b - l20 * a01
        l21 = a12 / d1
        d2 = means[8, x] - b * b + ridge[x] - l20 * a02 - l21 * a12
        left = 0.0
        for c in range(maps.shape[0]):
            k = 9 + 5 * c
            t = means[k, x]
            c0, c1, c2 = means[k + 2, x] - t * r, means[k + 3, x] - t * g, means[k + 4, x] - t * b
            z1 = c1 - l10 * c0
            s2 = (c2 - l20 * c0 - l21 * z1) / d2
            s1 = z1 / d1 - l21 * s2
            s0 = c0 / d0 - l10 * s1 - l20 * s2
            if maps.shape[2]:
                maps[c, 0, x], maps[c, 1, x], maps[c, 2, x] = s0, s1, s2
                maps[c, 3, x] = (
                    t + centre[3 + c] - s0 * (r + centre[0]) - s1 * (g + centre[1]) - s2 * (b + centre[2])
                )
            left += means[k + 1, x] - t * t - (c0 * s0 + c1 * s1 + c2 * s2)
        if len(residuals):
            residuals[x] = left
