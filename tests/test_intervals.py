"""Intervals against resamples drawn one by one, against all resamples of few values, and as they were recorded."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from experiments.framework import read_result
from experiments.intervals import RESAMPLES, bootstrap, ratio_interval, wins
from photostyle.errors import PhotostyleError

OURS = np.random.default_rng(0).gamma(4, 0.1, 25)
THEIRS = OURS + np.random.default_rng(1).normal(0.2, 0.05, 25)


def tolerance(standard_error: float) -> float:
    """Five standard deviations of the difference of two 2.5 % quantiles, each of RESAMPLES nearly normal draws.

    A quantile at p has the standard deviation sqrt(p (1 - p) / n) / density there.
    """
    density = stats.norm.pdf(stats.norm.ppf(0.025)) / standard_error
    return 5 * np.sqrt(2) * np.sqrt(0.025 * 0.975 / RESAMPLES) / density


def resampled(statistic, *columns: np.ndarray, together: bool = True) -> np.ndarray:
    """The statistic of RESAMPLES resamples, drawn one by one with other random numbers."""
    random, count = np.random.default_rng(2), len(columns[0])
    found = []
    for _ in range(RESAMPLES):
        rows = random.integers(0, count, count)
        found.append(statistic(*(c[rows if together else random.integers(0, count, count)] for c in columns)))
    return np.array(found)


def ratio(one: np.ndarray, other: np.ndarray) -> float:
    return one.mean() / other.mean()


def test_the_interval_of_a_mean_holds_95_per_cent_of_the_resamples():
    means = resampled(np.mean, OURS)
    assert tolerance(means.std()) < 0.2 * means.std()
    expected = np.percentile(means, (2.5, 97.5))
    np.testing.assert_allclose(bootstrap(OURS), expected, rtol=0, atol=tolerance(means.std()))


@pytest.mark.slow
def test_the_interval_of_a_ratio_draws_pairs_together():
    ratios = resampled(ratio, OURS, THEIRS)
    expected = np.percentile(ratios, (2.5, 97.5))
    np.testing.assert_allclose(ratio_interval(OURS, THEIRS), expected, rtol=0, atol=tolerance(ratios.std()))
    # Each drawn by itself would be told apart: these two rise and fall together.
    assert resampled(ratio, OURS, THEIRS, together=False).std() > 2 * ratios.std()


def test_of_three_values_all_resamples_are_known():
    values = np.array([1.0, 2.0, 6.0])
    means = sorted(np.mean(each) for each in itertools.product(values, repeat=3))
    # 27 resamples as likely: 2.5 % lies within the first, which is 1, and 97.5 % within the last, 6.
    assert bootstrap(values) == (means[0], means[-1]) == (1, 6)


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=12), st.integers(0, 99))
def test_an_interval_lies_within_the_values_and_depends_on_the_seed_alone(values, seed):
    low, high = bootstrap(values, seed)
    assert min(values) - 1e-9 <= low <= high + 1e-9 and high <= max(values) + 1e-9
    assert bootstrap(values, seed) == (low, high)


def test_it_moves_and_scales_with_the_values():
    low, high = bootstrap(OURS)
    np.testing.assert_allclose(bootstrap(3 * OURS + 1), (3 * low + 1, 3 * high + 1), rtol=1e-12)


def test_a_constant_ratio_has_no_width():
    np.testing.assert_allclose(ratio_interval(0.25 * THEIRS, THEIRS), (0.25, 0.25), rtol=1e-12)


def test_wins_are_counted_by_what_is_better_and_ties_for_nobody():
    ours, theirs = [1.0, 2.0, 3.0, 4.0], [2.0, 2.0, 2.0, 2.0]
    assert (wins(ours, theirs, True), wins(ours, theirs, False)) == (2, 1)
    assert wins(ours, theirs, True) + wins(theirs, ours, True) == 3


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [([], [], "0 and 0 values"), ([1.0], [1.0, 2.0], "1 and 2 values"), ([np.nan], [1.0], "not a finite")],
)
def test_values_that_say_nothing_are_refused(ours, theirs, said):
    for function in (ratio_interval, lambda one, other: wins(one, other, True)):
        with pytest.raises(PhotostyleError, match=said):
            function(ours, theirs)


def test_the_recorded_intervals_come_out_again(root):
    figures = read_result(root / "experiments/006-masks")["figures"]
    gains = {kind: [pair[kind]["gain"] for pair in figures["pairs"].values()] for kind in figures["means"]}
    for kind, mean in figures["means"].items():
        np.testing.assert_allclose(
            ratio_interval(gains[kind], gains["painted"]), mean["interval"], rtol=1e-12
        )
