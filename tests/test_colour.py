"""The Monge-Kantorovich map: moments arrive, at the least cost, and flat regions are not blown up."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from torch import Tensor

from photostyle.regions.colour import (
    GAIN,
    RIDGE,
    calmed,
    monge_kantorovich,
    region_colour_maps,
    region_moments,
    without_foreign_chroma,
)

Moments = tuple[np.ndarray, np.ndarray]


def random_moments(seed: int, spread: float = 0.2) -> Moments:
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(3, 3)) * spread * rng.uniform(0.05, 1, size=3)[:, None]
    return rng.random(3), factor @ factor.T


def ridged(covariance: np.ndarray) -> np.ndarray:
    return covariance + RIDGE * np.eye(3)


def transport_cost(slopes: np.ndarray, covariance: np.ndarray) -> float:
    """E |x - T x|^2 of a centred Gaussian x."""
    rest = np.eye(3) - slopes
    return float(np.trace(rest @ covariance @ rest.T))


pairs = st.tuples(st.integers(0, 10**6), st.integers(0, 10**6))


def test_moments_are_numpys_weighted_ones():
    image = torch.rand(3, 9, 11, generator=torch.Generator().manual_seed(0))
    mask = torch.rand(9, 11, generator=torch.Generator().manual_seed(1))
    mean, covariance = region_moments(image, mask)
    colours, weights = image.reshape(3, -1).double().numpy(), mask.flatten().double().numpy()
    # The weights are normalised in float32: seven digits.
    np.testing.assert_allclose(mean, np.average(colours, axis=1, weights=weights), rtol=1e-6)
    np.testing.assert_allclose(covariance, np.cov(colours, ddof=0, aweights=weights), rtol=1e-5, atol=1e-8)


@given(pairs)
@settings(max_examples=50, deadline=None)
def test_the_map_carries_the_moments_exactly(seeds):
    (mean_c, cov_c), (mean_s, cov_s) = random_moments(seeds[0]), random_moments(seeds[1])
    matrix = monge_kantorovich((mean_c, cov_c), (mean_s, cov_s))
    slopes, offset = matrix[:, :3], matrix[:, 3]
    np.testing.assert_allclose(slopes @ mean_c + offset, mean_s, atol=1e-10)
    # Both covariances carry the ridge. Condition numbers up to 1e5 under two square roots cost digits: 1e-9.
    np.testing.assert_allclose(slopes @ ridged(cov_c) @ slopes.T, ridged(cov_s), rtol=0, atol=1e-9)


@given(pairs)
@settings(max_examples=50, deadline=None)
def test_its_slopes_are_symmetric_and_positive_definite(seeds):
    slopes = monge_kantorovich(random_moments(seeds[0]), random_moments(seeds[1]))[:, :3]
    np.testing.assert_allclose(slopes, slopes.T, atol=1e-8 * np.abs(slopes).max())
    assert np.linalg.eigvalsh((slopes + slopes.T) / 2).min() > 0


@given(pairs)
@settings(max_examples=50, deadline=None)
def test_no_other_map_of_equal_moments_moves_colours_less(seeds):
    (mean_c, cov_c), (mean_s, cov_s) = random_moments(seeds[0]), random_moments(seeds[1])
    slopes = monge_kantorovich((mean_c, cov_c), (mean_s, cov_s))[:, :3]
    source, target = ridged(cov_c), ridged(cov_s)
    ours = transport_cost(slopes, source)
    # Cholesky factors, with every rotation between them, give all linear maps with these moments.
    rotation = np.linalg.qr(np.random.default_rng(seeds[0]).normal(size=(3, 3)))[0]
    for turn in (np.eye(3), rotation):
        other = np.linalg.cholesky(target) @ turn @ np.linalg.inv(np.linalg.cholesky(source))
        np.testing.assert_allclose(other @ source @ other.T, target, atol=1e-9)
        assert ours <= transport_cost(other, source) + 1e-9
    # And the least cost itself is known: the Bures distance (Dowson & Landau 1982).
    root = sqrtm(source).real
    bures = np.trace(source) + np.trace(target) - 2 * np.trace(sqrtm(root @ target @ root).real)
    assert ours == pytest.approx(bures, abs=1e-8)


def test_equal_moments_give_the_identity():
    moments = random_moments(5)
    np.testing.assert_allclose(monge_kantorovich(moments, moments), np.eye(3, 4), atol=1e-10)


def test_the_way_back_is_the_inverse():
    one, other = random_moments(1), random_moments(2)
    there, back = monge_kantorovich(one, other), monge_kantorovich(other, one)
    np.testing.assert_allclose(back[:, :3] @ there[:, :3], np.eye(3), atol=1e-9)


def test_a_flat_region_is_not_blown_up_beyond_what_the_ridge_allows():
    flat: Moments = (np.full(3, 0.5), np.zeros((3, 3)))
    _, covariance = textured = random_moments(3)
    slopes = monge_kantorovich(flat, textured)[:, :3]
    # From RIDGE I the map is the root of (S + RIDGE) / RIDGE.
    largest = np.sqrt(np.linalg.eigvalsh(covariance).max() / RIDGE + 1)
    assert np.linalg.norm(slopes, 2) == pytest.approx(largest)
    # And onto a flat region everything becomes its colour, within the ridge.
    assert np.linalg.norm(monge_kantorovich(textured, flat)[:, :3] @ covariance, 2) < np.sqrt(
        RIDGE * np.linalg.eigvalsh(covariance).max()
    )


def test_every_region_gets_the_map_between_its_own_pixels(coffee: Tensor, chelsea: Tensor):
    content, style = coffee[:, 100:140, 200:260], chelsea[:, 100:130, 150:190]
    ours, theirs = torch.zeros(2, 40, 60), torch.zeros(2, 30, 40)
    ours[0, :, :25], ours[1, :, 25:], theirs[0, :10], theirs[1, 10:] = 1, 1, 1, 1
    maps = region_colour_maps(content, ours, style, theirs)
    assert maps.shape == (2, 3, 4) and maps.dtype == torch.float32
    for k, (pixels, wanted) in enumerate(
        ((content[:, :, :25], style[:, :10]), (content[:, :, 25:], style[:, 10:]))
    ):
        mapped = torch.einsum("ck,kn->cn", maps[k, :, :3], pixels.flatten(1)) + maps[k, :, 3:]
        # Means arrive to float32 rounding; covariances differ by the ridge, which the map scales by its slopes.
        torch.testing.assert_close(mapped.mean(1), wanted.flatten(1).mean(1), rtol=0, atol=1e-5)
        slack = RIDGE * (1 + torch.linalg.matrix_norm(maps[k, :, :3], 2).item() ** 2)
        difference = torch.cov(mapped, correction=0) - torch.cov(wanted.flatten(1), correction=0)
        assert torch.linalg.matrix_norm(difference, 2) < slack + 1e-6


@pytest.mark.parametrize("boldness", [0.0, 0.3, 1.0])
def test_a_calmed_map_stretches_no_more_and_meets_the_mean(boldness: float) -> None:
    generator = np.random.default_rng(0)
    spreads = [np.cov(generator.normal(size=(3, 50)) * scale) for scale in (0.05, 0.3)]
    source, target = (generator.uniform(size=3), spreads[0]), (generator.uniform(size=3), spreads[1])
    stretching = monge_kantorovich(source, target)
    calm = calmed(stretching, source[0], boldness)
    before, after = (np.linalg.eigvalsh(each[:, :3]) for each in (stretching, calm))
    assert before.max() > 3
    np.testing.assert_allclose(after, np.where(before > GAIN, GAIN * (before / GAIN) ** boldness, before))
    np.testing.assert_allclose(calm @ np.append(source[0], 1), target[0])
    if boldness == 1:
        np.testing.assert_allclose(calm, stretching)


def test_a_map_that_stretches_nothing_is_calm() -> None:
    colour_map = np.column_stack((np.diag((0.5, 1.0, 1.4)), (0.1, 0.2, 0.3)))
    np.testing.assert_allclose(calmed(colour_map, np.ones(3) / 2, 0.0), colour_map)


def test_chroma_that_no_picture_has_is_taken_off_and_no_other() -> None:
    draws = torch.Generator().manual_seed(3)
    image = torch.rand(3, 8, 9, generator=draws)
    grey = torch.rand(1, 8, 9, generator=draws).expand(3, -1, -1)
    assert torch.equal(without_foreign_chroma(image, [grey, torch.rand(3, 4, 4, generator=draws)]), image)
    plain = without_foreign_chroma(image, [grey, grey / 2])
    torch.testing.assert_close(plain, image.mean(0).expand(3, -1, -1), rtol=0, atol=1e-6)
    # Red and grey: what is left of any colour is grey and that one direction of chroma, so green equals blue.
    red = grey.clone()
    red[0] = 1
    left = without_foreign_chroma(image * 0.5 + 0.25, [grey, red])
    torch.testing.assert_close(left[1], left[2], rtol=0, atol=1e-6)
