"""Means over square windows by running sums; see `imaging.filters.box_mean`, which has them in torch."""

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
