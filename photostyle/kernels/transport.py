"""Optimal transport of one-dimensional distributions through histograms; see `losses.sliced`, which has it in torch."""

from typing import Any

import numpy as np

from photostyle.kernels.compiler import Kernel

Array = np.ndarray[Any, Any]


@Kernel
def within(value: Any, quantiles: Array, cell: Any) -> Any:
    """The number nearest to a value that the quantile function may have between the knots of a cell."""
    return min(max(value, quantiles[cell]), quantiles[cell + 1])


@Kernel
def reached(value: Any, quantiles: Array, start: Any, end: Any, first: Any, last: Any) -> Any:
    """The number nearest to a value that the function's mean over ranks may be: between its lower and its upper sum.

    start, end: ranks in steps of the knots, in the cells first and last.
    """
    f4 = np.float32
    if first == last:
        return within(value, quantiles, first)
    before, after = f4(first + 1) - start, end - f4(last)
    lower = before * quantiles[first] + after * quantiles[last]
    upper = before * quantiles[first + 1] + after * quantiles[last + 1]
    for cell in range(first + 1, last):
        lower += quantiles[cell]
        upper += quantiles[cell + 1]
    return min(max(value, lower / (end - start)), upper / (end - start))


@Kernel
def goal_lines(
    mass: Array, centre: Array, quantiles: Array, low: Any, width: Any, share: Any, line: Array
) -> None:
    """How a value's distance from its goal depends on its place in the histogram: v - T(v) = a + b place, in each bin.

    mass, centre: weight in each bin and that times the place inside. A bin's mean goes to where `reached` says, and its
    values are spread no further than its edges go. Written to line (bins, 2).
    """
    f4 = np.float32
    one, zero, half = f4(1), f4(0), f4(0.5)
    before, stretch = np.int32(quantiles.shape[0] - 2), f4(quantiles.shape[0] - 1)
    rank, start, first = zero, zero, np.int32(0)
    left = within(low, quantiles, first)
    for b in range(mass.shape[0]):
        above = rank + mass[b] * share
        end = min(above, one) * stretch
        last = min(np.int32(end), before)
        right = within(low + width * f4(b + 1), quantiles, last)
        if mass[b] > zero:
            at = centre[b] / mass[b]
            mean = reached(low + width * (f4(b) + at), quantiles, start, end, first, last)
            slope = min((mean - left) / max(at, f4(1e-6)), (right - mean) / max(one - at, f4(1e-6)))
            slope = max(slope, zero)
            line[b, 0] = low - (mean - slope * at) + slope * f4(b)
            line[b, 1] = width - slope
        else:
            # No pixel of those that are ranked is here.
            line[b, 0] = low - within(low + width * (f4(b) + half), quantiles, last)
            line[b, 1] = width
        rank, left, start, first = above, right, end, last


@Kernel
def fill(places: Array, weights: Array, step: int, mass: Array, centre: Array) -> Any:
    """A histogram of every so many places, in bins of length 1: mass, and mass times the place inside. -> all mass."""
    f4 = np.float32
    last, total = np.int32(mass.shape[0] - 1), f4(0)
    mass[:] = f4(0)
    centre[:] = f4(0)
    for i in range(0, places.shape[0], step):
        place, weight = places[i], weights[i]
        b = max(min(np.int32(place), last), np.int32(0))
        mass[b] += weight
        centre[b] += weight * (place - f4(b))
        total += weight
    return total


@Kernel
def residuals(
    values: Array,
    where: Array,
    weights: Array,
    asked: Array,
    targets: Array,
    scale: float,
    bins: int,
    step: int,
    out: Array,
    sums: Array,
    first: int,
    end: int,
) -> None:
    """How far each value is from where the transport to the target carries it, row by row.

    values (R, N); where (n,), int32: a region's pixels; weights, asked (n,); targets (R, KNOTS): quantile functions.
    step: every so many pixels are ranked. For rows from first to end adds 2 scale asked (v - T(v)) to out (R, N) and
    scale sum asked (v - T(v))^2 to sums (R,). Values that are not finite give NaN.
    """
    f4 = np.float32
    one, zero = f4(1), f4(0)
    n, last, double = where.shape[0], np.int32(bins - 1), f4(2 * scale)
    mass, centre = np.empty(bins, np.float32), np.empty(bins, np.float32)
    line = np.empty((bins, 2), np.float32)
    seen = np.empty(n, np.float32)
    for r in range(first, end):
        row, quantiles, into = values[r], targets[r], out[r]
        for i in range(n):
            seen[i] = row[where[i]]
        low, high, check = seen[0], seen[0], zero
        for i in range(n):
            low = min(low, seen[i])
            high = max(high, seen[i])
            check += seen[i]
        if not np.isfinite(check):
            # An index made of a NaN would be any number.
            for i in range(n):
                into[where[i]] = np.nan
            sums[r] = np.nan
            continue
        width = max((high - low) / f4(bins), f4(1e-12))
        inverse = one / width
        for i in range(n):
            seen[i] = (seen[i] - low) * inverse
        total = fill(seen, weights, step, mass, centre)
        goal_lines(mass, centre, quantiles, low, width, one / total, line)
        squares = zero
        for i in range(n):
            place = seen[i]
            b = max(min(np.int32(place), last), np.int32(0))
            distance = line[b, 0] + line[b, 1] * place
            pull = asked[i] * distance
            squares += pull * distance
            seen[i] = double * pull
        for i in range(n):
            into[where[i]] += seen[i]
        sums[r] += f4(scale) * squares


@Kernel
def quantiles(values: Array, weights: Array, bins: int, out: Array, first: int, end: int) -> None:
    """Weighted quantiles at even steps of [0, 1], from a histogram. values (R, n), weights (n,) -> out (R, KNOTS).

    Each bin's mass is spread evenly over it.     Values have to be finite. Rows from first to end.
    """
    f4 = np.float32
    n, knots = values.shape[1], out.shape[1]
    last = np.int32(bins - 1)
    mass = np.empty(bins, np.float64)
    for r in range(first, end):
        row = values[r]
        low, high = row[0], row[0]
        for i in range(n):
            low = min(low, row[i])
            high = max(high, row[i])
        width = max((high - low) / f4(bins), f4(1e-12))
        inverse = f4(1) / width
        mass[:] = 0.0
        for i in range(n):
            b = max(min(np.int32((row[i] - low) * inverse), last), np.int32(0))
            mass[b] += weights[i]
        total = 0.0
        for each in range(bins):
            total += mass[each]
        below, at = 0.0, 0
        for k in range(knots):
            rank = total * k / (knots - 1)
            while at < bins - 1 and below + mass[at] < rank:
                below += mass[at]
                at += 1
            inside = (rank - below) / mass[at] if mass[at] > 0 else 0.0
            out[r, k] = low + width * f4(at + min(max(inside, 0.0), 1.0))


@Kernel
def sorted_quantiles(values: Array, order: Array, weights: Array, out: Array, first: int, end: int) -> None:
    """Weighted quantiles at even steps of [0, 1], linear between values. (R, n) and their order -> out (R, KNOTS).

    A value stands at the middle of its own mass. Rows from first to end.
    """
    n, knots = values.shape[1], out.shape[1]
    total = 0.0
    for i in range(n):
        total += weights[i]
    for r in range(first, end):
        row, ranked = values[r], order[r]
        upper, weight = 0, weights[ranked[0]]
        low, high = 0.0, 0.5 * weight
        below = 1.0 * weight
        for k in range(knots):
            rank = total * k / (knots - 1)
            while upper < n - 1 and high < rank:
                upper += 1
                weight = weights[ranked[upper]]
                low, high = high, below + 0.5 * weight
                below += weight
            if upper == 0:
                out[r, k] = row[ranked[0]]
                continue
            left, right = row[ranked[upper - 1]], row[ranked[upper]]
            share = min(max((rank - low) / max(high - low, 1e-12), 0.0), 1.0)
            out[r, k] = left + np.float32(share) * (right - left)
