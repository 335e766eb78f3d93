"""The baselines against the papers' definitions written down again, and what every colour transfer must do."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.exposure import match_histograms
from torch import Tensor

from experiments.baselines import (
    LEAST_SPREAD,
    LMS,
    OPPONENT,
    from_ruderman,
    histogram_matching,
    reinhard,
    to_ruderman,
)
from photostyle.errors import PhotostyleError
from photostyle.imaging.filters import resize

TRANSFERS = (reinhard, histogram_matching)
FLOAT32 = 2e-6  # rounding of a result that is handed back in float32, a few digits of slack for powers of ten


@pytest.fixture
def photo(coffee: Tensor) -> Tensor:
    return resize(coffee, 48, 72)


@pytest.fixture
def reference(chelsea: Tensor) -> Tensor:
    return resize(chelsea, 40, 60)


def whole(picture: Tensor) -> Tensor:
    return torch.ones(1, *picture.shape[1:])


def columns(picture: Tensor, *cuts: float) -> Tensor:
    """Hard masks: the picture cut from top to bottom at parts of its width."""
    width = picture.shape[-1]
    edges = [0, *(round(cut * width) for cut in cuts), width]
    masks = torch.zeros(len(edges) - 1, *picture.shape[1:])
    for mask, left, right in zip(masks, edges, edges[1:], strict=False):
        mask[:, left:right] = 1
    return masks


def soft(picture: Tensor) -> Tensor:
    """Two regions that fade into each other from left to right."""
    ramp = torch.linspace(0, 1, picture.shape[-1]).expand(picture.shape[1:])
    return torch.stack((ramp, 1 - ramp))


def textbook_reinhard(content: np.ndarray, style: np.ndarray) -> np.ndarray:
    """Pixel lists (n, 3), through XYZ and with the paper's printed inverses: eqs. 2, 3, 5, 6, 10, 11, 8 and 9."""
    to_xyz = np.array([[0.5141, 0.3239, 0.1604], [0.2651, 0.6702, 0.0641], [0.0241, 0.1228, 0.8444]])
    to_lms = np.array([[0.3897, 0.6890, -0.0787], [-0.2298, 1.1834, 0.0464], [0, 0, 1]])
    back = np.array([[4.4679, -3.5873, 0.1193], [-1.2186, 2.3809, -0.1624], [0.0497, -0.2439, 1.2045]])

    def opponent(colours: np.ndarray) -> np.ndarray:
        long, medium, short = (np.log10(axis) for axis in to_lms @ to_xyz @ colours.T)
        return np.stack(
            [
                (long + medium + short) / 3**0.5,
                (long + medium - 2 * short) / 6**0.5,
                (long - medium) / 2**0.5,
            ]
        )

    ours, theirs = opponent(content), opponent(style)
    for axis, target in zip(ours, theirs, strict=True):
        axis[:] = (axis - axis.mean()) * (target.std() / axis.std()) + target.mean()
    first, second, third = 3**0.5 / 3 * ours[0], 6**0.5 / 6 * ours[1], 2**0.5 / 2 * ours[2]
    logarithms = np.stack([first + second + third, first + second - third, first - 2 * second])
    return (back @ 10**logarithms).T


def pixels(picture: Tensor, inside: Tensor) -> np.ndarray:
    """(n, 3)"""
    return picture[:, inside].T.double().numpy()


# Reinhard


def test_reinhard_is_the_paper_s_by_region(photo, reference):
    # Away from black and white: neither the guard of the logarithm nor clipping acts.
    photo, reference = 0.2 + 0.3 * photo, 0.2 + 0.3 * reference
    masks, their_masks = columns(photo, 0.4), columns(reference, 0.7)
    result = reinhard(photo, reference, masks, their_masks)
    for mask, their_mask in zip(masks > 0, their_masks > 0, strict=True):
        expected = textbook_reinhard(pixels(photo, mask), pixels(reference, their_mask))
        # The paper's matrices disagree with each other in the third digit: 0.1228 in eq. 2, 0.1288 in eq. 4.
        np.testing.assert_allclose(pixels(result, mask), expected, atol=0.01)


def test_the_matrices_are_the_paper_s_product_and_undo_each_other():
    to_xyz = np.array([[0.5141, 0.3239, 0.1604], [0.2651, 0.6702, 0.0641], [0.0241, 0.1228, 0.8444]])
    to_lms = np.array([[0.3897, 0.6890, -0.0787], [-0.2298, 1.1834, 0.0464], [0, 0, 1]])
    difference = np.abs(to_lms @ to_xyz - LMS)
    # All but the number that the paper prints in two ways.
    assert difference[2, 1] == pytest.approx(0.006) and np.delete(difference, 7).max() < 6e-4
    np.testing.assert_allclose(OPPONENT @ OPPONENT.T, np.eye(3), atol=1e-15)
    colours = np.random.default_rng(0).uniform(0.02, 1, (3, 500))
    np.testing.assert_allclose(from_ruderman(to_ruderman(colours)), colours, rtol=1e-12)


def test_grey_has_neither_yellow_nor_red():
    _, yellow, red = to_ruderman(np.linspace(0.01, 1, 50) * np.ones((3, 1)))
    # The rows of the matrix sum to 1 within 0.0027, the printed digits' error: log10(1.0027) = 0.0012.
    assert np.abs(yellow).max() < 0.0012 and np.abs(red).max() < 0.0012


def test_reinhard_reaches_means_and_deviations(photo, reference):
    photo, reference = 0.3 + 0.2 * photo, 0.3 + 0.2 * reference
    masks, their_masks = soft(photo)[:1], soft(reference)[1:]
    masks[masks < 0.5], their_masks[their_masks < 0.5] = 0, 0
    result = reinhard(photo, reference, (masks > 0).float(), their_masks)
    assert result.min() > 0 and result.max() < 1, "nothing is clipped, or the moments could not be reached"
    reached = to_ruderman(pixels(result, masks[0] > 0).T)
    target = to_ruderman(pixels(reference, their_masks[0] > 0).T)
    weights = their_masks[0][their_masks[0] > 0].double().numpy()
    np.testing.assert_allclose(reached.mean(1), np.average(target, axis=1, weights=weights), atol=1e-5)
    variances = np.diag(np.cov(target, ddof=0, aweights=weights))
    np.testing.assert_allclose(reached.std(1), np.sqrt(variances), rtol=1e-4)


def test_black_white_and_flat_pictures_stay_numbers():
    flat = [torch.full((3, 8, 8), level) for level in (0.0, 0.5, 1.0)]
    noisy = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)).round()
    for content in (*flat, noisy):
        for style in (*flat, noisy):
            for transfer in TRANSFERS:
                result = transfer(content, style, whole(content), whole(style))
                assert bool(torch.isfinite(result).all())


def test_a_flat_region_takes_the_mean_and_its_rounding_is_not_blown_up():
    # Grey steps of one 8-bit level at white: the spread is just above the least, so it scales by the ratio.
    style = torch.rand(3, 20, 20, generator=torch.Generator().manual_seed(1)) * 0.5 + 0.25
    flat = torch.full((3, 8, 8), 0.4)
    flat[:, 0, 0] += 1e-6
    result = reinhard(flat, style, whole(flat), whole(style))
    mean = from_ruderman(to_ruderman(style.flatten(1).double().numpy()).mean(1, keepdims=True))
    # The step of 1e-6 is 1e-6 / (0.4 ln 10) in log10, at most 1 / LEAST_SPREAD larger afterwards.
    np.testing.assert_allclose(result.flatten(1), np.broadcast_to(mean, (3, 64)), atol=2e-6 / LEAST_SPREAD)


# Histograms


def test_one_region_is_scikit_image_s_matching(photo, reference):
    expected = match_histograms(photo.numpy(), reference.numpy(), channel_axis=0)
    result = histogram_matching(photo, reference, whole(photo), whole(reference))
    np.testing.assert_allclose(result, expected, atol=FLOAT32)


def test_each_region_and_channel_gets_the_style_s_quantiles(photo, reference):
    masks, their_masks = columns(photo, 0.5), columns(reference, 0.25)
    result = histogram_matching(photo, reference, masks, their_masks)
    for mask, their_mask in zip(masks > 0, their_masks > 0, strict=True):
        ours, theirs = pixels(result, mask), pixels(reference, their_mask)
        levels = np.linspace(0.05, 0.95, 19)
        # Two empirical distributions of n and m distinct values agree to a step of the coarser one in rank.
        step = 2 / min(len(ours), len(theirs))
        for channel in range(3):
            quantiles = np.quantile(ours[:, channel], levels)
            assert (np.quantile(theirs[:, channel], levels - step) <= quantiles + FLOAT32).all()
            assert (np.quantile(theirs[:, channel], levels + step) >= quantiles - FLOAT32).all()


# What both must do


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_the_own_style_changes_nothing(transfer, photo):
    for masks in (whole(photo), columns(photo, 0.3, 0.6), soft(photo)):
        result = transfer(photo, photo, masks, masks)
        # Half an 8-bit level stands for zero in the logarithm: darker pixels may rise by it.
        assert float((result - photo).abs().max()) <= (1 / 510 if transfer is reinhard else FLOAT32)


@pytest.mark.parametrize("transfer", TRANSFERS)
@given(order=st.permutations(range(3)))
@settings(max_examples=6, deadline=None)
def test_the_order_of_regions_does_not_matter(transfer, order):
    generator = torch.Generator().manual_seed(3)
    content, style = torch.rand(3, 12, 18, generator=generator), torch.rand(3, 10, 15, generator=generator)
    masks, their_masks = columns(content, 0.3, 0.6), columns(style, 0.5, 0.8)
    expected = transfer(content, style, masks, their_masks)
    permuted = transfer(content, style, masks[list(order)], their_masks[list(order)])
    torch.testing.assert_close(permuted, expected, rtol=0, atol=FLOAT32)


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_a_region_does_not_see_the_others(transfer, photo, reference):
    masks, their_masks = columns(photo, 0.5), columns(reference, 0.5)
    other = torch.where(their_masks[1] > 0, 1 - reference, reference)
    one, two = (transfer(photo, style, masks, their_masks) for style in (reference, other))
    left = masks[0] > 0
    assert torch.equal(one[:, left], two[:, left]) and not torch.equal(one[:, ~left], two[:, ~left])


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_regions_are_blended_and_what_none_covers_keeps_the_photo(transfer, photo, reference):
    masks = columns(photo, 0.5)[:1]
    half = transfer(photo, reference, 0.5 * masks, whole(reference))
    full = transfer(photo, reference, masks, whole(reference))
    torch.testing.assert_close(half, (photo + full) / 2, rtol=0, atol=FLOAT32)
    outside = masks[0] == 0
    torch.testing.assert_close(full[:, outside], photo[:, outside], rtol=0, atol=FLOAT32)


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_the_result_is_a_picture_like_the_photo(transfer, photo, reference):
    result = transfer(photo, reference, soft(photo), soft(reference))
    assert (result.shape, result.dtype) == (photo.shape, photo.dtype)
    assert 0 <= float(result.min()) and float(result.max()) <= 1
    assert float((result - photo).abs().mean()) > 0.05, "the two photographs differ, and so must the result"


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_masks_that_do_not_fit_are_one_line(transfer, photo, reference):
    empty = torch.cat((whole(photo), torch.zeros_like(whole(photo))))
    for masks, their_masks, said in (
        (whole(reference), whole(reference), "masks of their picture's size"),
        (columns(photo, 0.5), whole(reference), "as many for one"),
        (empty, columns(reference, 0.5), "region 1 of the content is empty"),
    ):
        with pytest.raises(PhotostyleError, match=said) as error:
            transfer(photo, reference, masks, their_masks)
        assert "\n" not in str(error.value)
