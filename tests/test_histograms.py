"""Compiled quantiles against those of NumPy's histogram, and against sorting."""

import numpy as np
import pytest

from photostyle.evaluation import scores

pytest.importorskip("numba")

RANDOM = np.random.default_rng(3)
ROWS = {
    "noise": RANDOM.random((4, 5000)),
    "heavy tails": RANDOM.standard_cauchy((4, 5000)),
    "few levels": RANDOM.integers(0, 5, (4, 5000)) / 255,
    "constant": np.full((4, 5000), 0.3),
    "one pixel": np.full((4, 1), 0.3),
}


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("masks", ["hard", "soft"])
def test_compiled_quantiles_are_numpys(kind: str, masks: str) -> None:
    samples = ROWS[kind].astype(np.float32)
    weights = np.random.default_rng(1).random(samples.shape[1]).astype(np.float32)
    weights = (weights > 0.5).astype(np.float32) if masks == "hard" and kind != "one pixel" else weights
    inside = weights > 0
    expected = scores._numpy_quantiles(samples[:, inside], weights[inside])
    # Where a value lies on the border of two bins, rounding may take it into the other: one bin's width.
    bins = np.ptp(samples[:, inside], axis=1, keepdims=True) / scores.BINS
    found = scores._quantiles(samples, weights)
    assert (np.abs(found - expected) <= bins + np.abs(expected) * 1e-6).all()
    if kind != "few levels":  # quarters of a range lie on borders
        assert np.abs(found - expected).mean() <= 0.02 * bins.mean() + np.abs(expected).mean() * 1e-6


def test_compiled_quantiles_are_those_of_sorting_to_a_bin() -> None:
    samples = np.random.default_rng(0).random((2, 100_000)).astype(np.float32)
    found = scores._quantiles(samples, np.ones(100_000, np.float32))
    expected = np.quantile(samples, scores.QUANTILES, axis=1).T
    # Off by a bin, and by the gap between two values: of so many the largest is about ln(n) / n.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1 / scores.BINS + 2e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_row_that_is_not_finite_becomes_nan_and_the_others_stay(bad: float) -> None:
    samples = ROWS["noise"].astype(np.float32)
    samples[1, 7] = bad
    found = scores._quantiles(samples, np.ones(5000, np.float32))
    assert np.isnan(found[1]).all() and np.isfinite(found[[0, 2, 3]]).all()
