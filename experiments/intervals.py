"""How sure a mean over pairs is, and who wins: bootstrap intervals and counts of pairs."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from photostyle.errors import PhotostyleError

RESAMPLES = 10_000  # the ends of a 95 % interval then move by about 3 % of a standard error between seeds
CONFIDENCE = 0.95
SEED = 612  # fixed, so that a recorded interval comes out again

Values = Sequence[float] | NDArray[np.float64]


def bootstrap(values: Values, seed: int = SEED) -> tuple[float, float]:
    """95 % interval of the mean of n values, one per pair, pairs being resampled with replacement.

    The percentile interval of Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapter 13. It says how much
    the mean depends on which pairs were taken, not how a run depends on its seed. Raises PhotostyleError for no
    values and for values that are not finite.
    """
    return _interval(_samples(values), np.mean, seed)


def ratio_interval(ours: Values, theirs: Values, seed: int = SEED) -> tuple[float, float]:
    """95 % interval of mean(ours) / mean(theirs), n values each, the two values of a pair being drawn together.

    Errors as for `bootstrap`, and where the two are not of equal length.
    """
    return _interval(_samples(ours, theirs), lambda one, other, axis: one.mean(axis) / other.mean(axis), seed)


def wins(ours: Values, theirs: Values, higher_is_better: bool) -> int:
    """On how many pairs ours is better than theirs; equal values count for neither. Errors as for `ratio_interval`."""
    one, other = _samples(ours, theirs)
    return int(((one > other) if higher_is_better else (one < other)).sum())


def _interval(
    samples: list[NDArray[np.float64]], statistic: Callable[..., NDArray[np.float64]], seed: int
) -> tuple[float, float]:
    if len(samples[0]) == 1:  # every resample of one pair is that pair, and scipy asks for two
        only = float(statistic(*samples, axis=0))
        return only, only
    interval = stats.bootstrap(
        samples,
        statistic,
        n_resamples=RESAMPLES,
        vectorized=True,
        paired=len(samples) > 1,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def _samples(*columns: Values) -> list[NDArray[np.float64]]:
    arrays = [np.asarray(column, np.float64) for column in columns]
    counts = {len(each) for each in arrays}
    if len(counts) > 1 or 0 in counts:
        found = " and ".join(str(len(each)) for each in arrays)
        raise PhotostyleError(f"there are {found} values; give one for every pair, of at least one pair")
    if not all(np.isfinite(each).all() for each in arrays):
        raise PhotostyleError("a score is not a finite number; leave out the pair or run it again")
    return arrays
