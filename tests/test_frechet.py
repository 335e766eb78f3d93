"""The Fréchet distance against closed forms and scipy's matrix root; FID is refused without published weights."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from vgg import narrow_vgg

from photostyle.errors import PhotostyleError
from photostyle.feedforward.frechet import (
    Gaussian,
    distance_between,
    encoder_features,
    frechet_distance,
    inception_features,
)
from photostyle.losses.encoders import Encoder
from photostyle.networks.network import random_network


def spread(size: int, rank: int, seed: int) -> np.ndarray:
    factor = np.random.default_rng(seed).normal(size=(size, rank))
    return factor @ factor.T


def test_covariances_that_commute_have_a_closed_form() -> None:
    # diag(a²), diag(b²): the roots are a and b, so d² = |μ - ν|² + |a - b|².
    a, b = np.array([1.0, 2.0, 0.5]), np.array([0.0, 3.0, 0.25])
    first = Gaussian(np.array([1.0, 0.0, 2.0]), np.diag(a**2))
    second = Gaussian(np.array([0.0, 0.0, 4.0]), np.diag(b**2))
    assert frechet_distance(first, second) == pytest.approx(5.0 + np.square(a - b).sum(), rel=1e-12)


def test_it_agrees_with_the_matrix_root_of_scipy() -> None:
    first, second = (
        Gaussian(np.random.default_rng(n).normal(size=6), spread(6, 9, 10 + n)) for n in range(2)
    )
    root = sqrtm(first.covariance @ second.covariance).real
    expected = np.square(first.mean - second.mean).sum()
    expected += np.trace(first.covariance + second.covariance - 2 * root)
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("rank", [2, 8])
def test_it_is_a_distance(rank: int) -> None:
    first, second = (Gaussian(np.random.default_rng(n).normal(size=5), spread(5, rank, n)) for n in (1, 2))
    # sqrt of the rounding of float64 sums of some hundred: the root of a zero eigenvalue keeps half the digits.
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(first, second) == pytest.approx(frechet_distance(second, first), rel=1e-6)
    assert frechet_distance(first, second) > 0


def test_it_finds_the_distance_of_the_distributions_it_sees_samples_of() -> None:
    random = torch.Generator().manual_seed(3)
    first = torch.randn(20_000, 3, generator=random)
    second = 2 * torch.randn(20_000, 3, generator=random) + torch.tensor([1.0, 0.0, 0.0])
    # |1|² + 3 (2 - 1)² = 4; a standard error of the mean of 20 000 is 0.014 at deviation 2.
    assert distance_between(first, second) == pytest.approx(4.0, abs=0.1)


def test_one_picture_is_no_distribution() -> None:
    with pytest.raises(PhotostyleError, match="1 pictures"):
        Gaussian.of(torch.zeros(1, 4))


def test_fid_is_refused_with_random_weights_and_of_other_networks() -> None:
    with pytest.raises(PhotostyleError, match="random"):
        inception_features(random_network("squeezenet1_1"), [])


def test_a_vggs_features_are_means_over_the_picture() -> None:
    encoder = Encoder(narrow_vgg(), layers=("relu2_1",))
    batch = torch.rand(3, 3, 20, 24, generator=torch.Generator().manual_seed(1))
    found = encoder_features(encoder, "relu2_1", [batch[:2], batch[2:]])
    expected = torch.stack([encoder(each)["relu2_1"].mean((1, 2)) for each in batch])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
