"""Compiled window means and regressions, each against the same in torch's float64."""

import pytest
import torch
from torch import Tensor

from photostyle.imaging.filters import affine_residual, box_mean, local_affine_maps
from photostyle.kernels.boxes import STRIP

pytest.importorskip("numba")

# Two strips and a bit, so that sums start anew within the picture.
SIZE = (2 * STRIP + 9, 43)
HALF_LAST = 2.0**-24  # rounding to float32, relative


def noise(channels: int, seed: int = 0, size: tuple[int, int] = SIZE) -> Tensor:
    return torch.rand(channels, *size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("radius", [0, 1, 2, 3, 16, 60])
@pytest.mark.parametrize("size", [SIZE, (1, 1), (3, 200), (STRIP, 5)])
def test_box_means_are_torchs_in_float64(radius: int, size: tuple[int, int]) -> None:
    image = noise(2, size=size)
    # Rounded once; sums of thousands of float64 numbers below 1 add nothing to that.
    torch.testing.assert_close(
        box_mean(image, radius).double(), box_mean(image.double(), radius), rtol=0, atol=HALF_LAST
    )


def test_box_means_keep_a_gradient() -> None:
    image = noise(1).requires_grad_()
    box_mean(image, 2).sum().backward()
    assert image.grad is not None and image.grad.abs().sum() > 0


@pytest.mark.parametrize("radius", [1, 2, 5, 16, 60])
@pytest.mark.parametrize("ridge", ["number", "one per pixel"])
def test_maps_are_torchs_in_float64(radius: int, ridge: str) -> None:
    guide, target = noise(3), noise(2, seed=1)
    ridges = 1e-4 if ridge == "number" else (1e-4 + noise(1, seed=2)[0].double() * 1e-3)
    expected = local_affine_maps(guide.double(), target.double(), radius, ridges)
    maps = local_affine_maps(guide, target, radius, ridges)
    # Slopes are below 100, half the inverse root of the ridge, and rounded once.
    assert maps.dtype == torch.float32 and expected.abs().max() < 100
    torch.testing.assert_close(maps.double(), expected, rtol=HALF_LAST, atol=1e-9)


@pytest.mark.parametrize(("radius", "ridge"), [(1, 1e-8), (4, 1e-4), (16, 1e-4)])
@pytest.mark.parametrize("kind", ["noise", "grey", "bright"])
def test_residuals_are_torchs_in_float64(radius: int, ridge: float, kind: str) -> None:
    guide = noise(1).expand(3, *SIZE) if kind == "grey" else noise(3)
    guide = 0.99 + guide / 100 if kind == "bright" else guide
    target = noise(2, seed=1)
    expected = affine_residual(guide.double(), target.double(), radius, ridge)
    # A covariance is off by 1e-16, which is 1e-8 of the least ridge; a slope is 1e4 at most where a corner of four
    # grey pixels is left to it.
    torch.testing.assert_close(affine_residual(guide, target, radius, ridge), expected, rtol=1e-6, atol=1e-10)


def test_the_number_of_threads_changes_no_bit() -> None:
    guide, target, before = noise(3), noise(3, seed=1), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            maps = local_affine_maps(guide, target, 16, 1e-4)
            found.append((maps, box_mean(maps.flatten(0, 1), 16), affine_residual(guide, target, 4, 1e-4)))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


def test_what_is_not_a_number_stays_so_and_harms_nothing_else() -> None:
    image = noise(3)
    image[1, 7, 9] = torch.nan
    assert box_mean(image, 3)[1, 7, 9].isnan() and box_mean(image, 3)[[0, 2]].isfinite().all()
    assert local_affine_maps(image, noise(1), 3, 1e-4)[0, :, 7, 9].isnan().all()
    assert affine_residual(image, noise(1), 3, 1e-4)[7, 9].isnan()
