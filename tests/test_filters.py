"""Resizing, area averages, box means and local affine regression, each against an independent computation."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import uniform_filter
from torch import Tensor

from photostyle.imaging.filters import (
    CELLS_AT_ONCE,
    apply_affine_maps,
    area_average,
    box_mean,
    fit_within,
    halve,
    invert_symmetric,
    local_affine_maps,
    luma,
    resize,
    unchanged,
)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def ridge_regression(guide: np.ndarray, target: np.ndarray, radius: int, ridge: np.ndarray) -> np.ndarray:
    """(4, H, W): in each window clipped to the picture, lstsq on centred colours with the ridge as three more rows."""
    maps = np.zeros((4, *guide.shape[1:]))
    for y, x in np.ndindex(guide.shape[1:]):
        window = (slice(max(0, y - radius), y + radius + 1), slice(max(0, x - radius), x + radius + 1))
        colours, values = guide[:, *window].reshape(3, -1).T, target[window].ravel()
        rows = np.vstack((colours - colours.mean(0), np.sqrt(len(values) * ridge[y, x]) * np.eye(3)))
        slopes = np.linalg.lstsq(rows, np.append(values - values.mean(), np.zeros(3)), rcond=None)[0]
        maps[:, y, x] = (*slopes, values.mean() - slopes @ colours.mean(0))
    return maps


def test_luma_of_the_primaries_is_rec_709_and_of_white_is_one():
    primaries = torch.eye(3)[:, None]  # one row of three pixels: red, green, blue
    assert luma(primaries).flatten().tolist() == pytest.approx([0.2126, 0.7152, 0.0722])
    assert luma(torch.ones(3, 1, 1)).item() == pytest.approx(1)


@pytest.mark.parametrize("size", [(20, 30), (33, 47), (7, 5), (80, 45), (160, 240)])
def test_resizing_is_the_antialiased_triangle_filter_of_pillow(coffee: Tensor, size: tuple[int, int]):
    photo = coffee[:, :80, :120]
    for ours, channel in zip(resize(photo, *size), photo, strict=True):
        theirs = Image.fromarray(channel.numpy()).resize(size[::-1], Image.Resampling.BILINEAR)
        # Two separable passes of float32 weights on each side.
        np.testing.assert_allclose(ours.numpy(), np.asarray(theirs), rtol=0, atol=1e-5)


@given(size=st.tuples(st.integers(1, 40), st.integers(1, 40)), seed=st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_resizing_keeps_the_range_and_a_constant(size: tuple[int, int], seed: int):
    image = noise(3, 17, 23, seed=seed)
    image[0] = 0.3
    scaled = resize(image, *size)
    assert scaled.shape == (3, *size)
    # A convex combination up to the rounding of its weights.
    assert scaled.min() >= image.min() - 1e-6 and scaled.max() <= image.max() + 1e-6
    torch.testing.assert_close(scaled[0], torch.full(size, 0.3), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("size", "long_side", "expected"),
    [
        ((400, 600), 300, (200, 300)),
        ((600, 400), 300, (300, 200)),
        ((400, 600), 600, (400, 600)),
        ((400, 600), 4000, (400, 600)),  # never enlarged
        ((1, 1000), 100, (1, 100)),  # never below one pixel
    ],
)
def test_fitting_keeps_the_aspect_and_enlarges_nothing(size, long_side, expected):
    assert fit_within(*size, long_side) == expected


def test_halving_averages_blocks_and_drops_an_odd_last_row_and_column():
    image = noise(3, 9, 11)
    blocks = image[:, :8, :10].reshape(3, 4, 2, 5, 2).mean((2, 4))
    torch.testing.assert_close(halve(image), blocks)
    torch.testing.assert_close(halve(image, 2), blocks[:, :, :4].reshape(3, 2, 2, 2, 2).mean((2, 4)))
    assert halve(image, 0) is image


def area_average_by_loops(line: np.ndarray, cells: int) -> np.ndarray:
    """One row of pixels onto equal cells: each cell gets the part of a pixel inside it."""
    width = len(line) / cells
    means = np.zeros(cells)
    for cell in range(cells):
        for pixel, value in enumerate(line):
            inside = min((cell + 1) * width, pixel + 1) - max(cell * width, pixel)
            means[cell] += value * max(inside, 0) / width
    return means


@pytest.mark.parametrize(
    ("size", "cells"),
    [
        ((7, 9), (4, 5)),
        ((10, 6), (3, 6)),
        ((5, 4), (8, 9)),
        ((3, 3), (1, 1)),
        ((6, 50), (3, CELLS_AT_ONCE + 1)),
        ((10, 7), (2 * CELLS_AT_ONCE + 5, 8)),
    ],
)
def test_the_area_average_is_exact(size, cells):
    mask = np.random.default_rng(0).random(size)
    rows = np.stack([area_average_by_loops(line, cells[1]) for line in mask])
    expected = np.stack([area_average_by_loops(line, cells[0]) for line in rows.T]).T
    found = area_average(torch.from_numpy(mask)[None], *cells)[0]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_a_region_keeps_its_share_at_any_size():
    masks = torch.rand(3, 37, 53, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for size in ((10, 14), (37, 20), (80, 60)):
        torch.testing.assert_close(area_average(masks, *size).mean((1, 2)), masks.mean((1, 2)))


def test_what_is_unchanged_is_a_share_of_the_variance():
    photo = noise(3, 40, 50)
    assert unchanged(photo, photo) == 1
    assert unchanged(photo, 1 - photo) == 0 == unchanged(torch.full((3, 4, 4), 0.5), torch.ones(3, 4, 4))
    off = photo + 0.1 * noise(3, 40, 50, seed=1)
    lost = np.square((off - photo).double().numpy()).sum() / (
        photo.double().numpy().var((1, 2)).sum() * photo[0].numel()
    )
    assert 0.9 < unchanged(photo, off) < 1
    assert unchanged(photo, off) == pytest.approx(1 - lost, rel=1e-9)


def test_the_area_average_at_the_same_size_is_the_same_tensor():
    masks = torch.rand(2, 8, 9)
    assert area_average(masks, 8, 9) is masks


@pytest.mark.parametrize("radius", [0, 1, 3, 8, 40])
def test_the_box_mean_is_over_the_part_of_the_window_inside(radius: int):
    image = noise(2, 13, 17).double()
    # Zeros outside, divided by how much of the window is inside: another road to the clipped mean.
    inside = uniform_filter(np.ones((13, 17)), 2 * radius + 1, mode="constant")
    expected = [uniform_filter(c.numpy(), 2 * radius + 1, mode="constant") / inside for c in image]
    np.testing.assert_allclose(box_mean(image, radius).numpy(), expected, rtol=1e-10)


def test_symmetric_inverses_are_lapacks():
    factors = torch.randn(3, 5, 40, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    matrices = torch.einsum("ikn,jkn->ijn", factors, factors)
    expected = np.linalg.inv(matrices.permute(2, 0, 1).numpy()).transpose(1, 2, 0)
    # Rounding grows with the condition number, below 1e3 for products of 3x5 Gaussian factors at this seed.
    np.testing.assert_allclose(invert_symmetric(matrices).numpy(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("radius", [1, 2])
@pytest.mark.parametrize("ridge", ["number", "one per pixel"])
def test_local_maps_are_the_ridge_regression_of_every_window(radius: int, ridge: str):
    guide, target = noise(3, 8, 9).double(), noise(2, 8, 9, seed=1).double()
    weights = (
        noise(8, 9, seed=2).double() * 1e-2 + 1e-3 if ridge != "number" else torch.full((8, 9), 2e-3).double()
    )
    maps = local_affine_maps(guide, target, radius, 2e-3 if ridge == "number" else weights)
    for ours, channel in zip(maps.numpy(), target.numpy(), strict=True):
        expected = ridge_regression(guide.numpy(), channel, radius, weights.numpy())
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-9)


def test_a_flat_window_maps_to_its_mean_and_nothing_is_infinite():
    maps = local_affine_maps(torch.full((3, 6, 7), 0.4), noise(1, 6, 7), 1, 1e-4)
    # Slopes are a covariance of rounding errors, 1e-17, over the ridge.
    assert maps[:, :3].abs().max() < 1e-10
    torch.testing.assert_close(maps[:, 3], box_mean(noise(1, 6, 7), 1))


def test_an_affine_target_comes_back_but_for_the_ridge():
    guide = noise(3, 20, 24).double()
    slopes, offset = torch.tensor([0.5, -0.2, 0.9], dtype=torch.float64), 0.1
    target = torch.einsum("k,khw->hw", slopes, guide)[None] + offset
    ridge = 1e-6
    result = apply_affine_maps(local_affine_maps(guide, target, 2, ridge), guide)
    # The fit is slopes - ridge (S + ridge)^-1 slopes. 25 (at a corner 9) uniform colours have covariances with an
    # eigenvalue of 0.01 at the very least, and a pixel is within sqrt(3) of its window's mean.
    assert (result - target).abs().max() <= ridge / 0.01 * slopes.norm() * 3**0.5


def test_a_map_of_each_pixel_is_applied_to_that_pixel():
    maps, image = noise(2, 4, 3, 5), noise(3, 3, 5, seed=1)
    for c, y, x in np.ndindex(2, 3, 5):
        expected = maps[c, :3, y, x] @ image[:, y, x] + maps[c, 3, y, x]
        torch.testing.assert_close(apply_affine_maps(maps, image)[c, y, x], expected)
