"""Parts under another picture's light, checked in scikit-image's CIELAB: hue and order of lightness are the photo's."""

import numpy as np
import pytest
import torch
from skimage.color import lab2rgb, rgb2lab
from torch import Tensor

from photostyle.imaging.lightness import from_lab, to_lab
from photostyle.imaging.protection import CHROMA, CONTRAST, ROOM, TURN, Light, Parts, light_on, protect

# The white points of scikit-image and of its matrix differ in the fifth digit: 0.017 in a* and b* was measured.
ROUNDED = 0.03
COLOURFUL = 8  # of chroma: there ROUNDED is 0.2 degrees of hue


def noise(seed: int, height: int = 40, width: int = 60) -> Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


def violent(photo: Tensor, seed: int) -> Tensor:
    """The photo through a random affine map: channels are swapped, turned over, clipped."""
    drawn = torch.Generator().manual_seed(seed)
    slopes, offset = torch.randn(3, 3, generator=drawn), torch.rand(3, generator=drawn)
    return (torch.einsum("ck,khw->chw", slopes, photo - 0.5) + offset[:, None, None]).clamp(0, 1)


def parts(weight: Tensor) -> Parts:
    """One part with these weights (h, w), whatever the colours."""
    return Parts(torch.stack((*torch.zeros(3, *weight.shape), weight))[None], {"part": float(weight.mean())})


def whole(photo: Tensor) -> Parts:
    return parts(torch.ones(photo.shape[1:]))


def skimage_lab(image: Tensor) -> np.ndarray:
    return rgb2lab(image.double().numpy(), channel_axis=0)


def turned(before: Tensor, after: Tensor) -> np.ndarray:
    """Degrees between the hues of the pixels that have one in both."""
    (_, *ab), (_, *cd) = skimage_lab(before), skimage_lab(after)
    z, w = ab[0] + 1j * ab[1], cd[0] + 1j * cd[1]
    return np.abs(np.degrees(np.angle(w * z.conj())))[(np.abs(z) > COLOURFUL) & (np.abs(w) > COLOURFUL)]


@pytest.mark.parametrize("seed", range(6))
def test_the_hue_is_the_photos_within_five_degrees_in_every_pixel(seed: int) -> None:
    photo = noise(seed)
    result = violent(photo, seed + 50)
    protected = protect(photo, result.clone(), whole(photo))
    assert turned(photo, protected).max() < TURN + 0.3 < 5
    assert np.percentile(turned(photo, result), 90) > 10  # there was something to keep


@pytest.mark.parametrize("seed", range(6))
def test_what_was_lighter_stays_lighter_and_hair_does_not_go_black(seed: int) -> None:
    photo = noise(seed)
    before = skimage_lab(photo)[0].ravel()
    after = skimage_lab(protect(photo, violent(photo, seed + 50), whole(photo)))[0].ravel()
    order = np.argsort(before)
    assert np.diff(after[order]).min() > -ROUNDED
    assert (after >= ROOM * before - ROUNDED).all() and (after <= 100 - ROOM * (100 - before) + ROUNDED).all()


@pytest.mark.parametrize("result", [0.0, 1.0], ids=["black", "white"])
def test_neither_night_nor_snow_leaves_a_hole(result: float) -> None:
    photo = noise(1)
    protected = protect(photo, torch.full_like(photo, result), whole(photo))
    assert np.corrcoef(skimage_lab(photo)[0].ravel(), skimage_lab(protected)[0].ravel())[0, 1] > 0.99


@pytest.mark.parametrize("photo", [noise(0), noise(0).round(decimals=1), torch.full((3, 40, 60), 0.4)])
def test_a_result_that_is_the_photo_stays_it(photo: Tensor) -> None:
    assert light_on(photo, photo, torch.ones(photo.shape[1:])) == Light(
        *(pytest.approx(value, abs=1e-9) for value in (1, 0, 1, 0))
    )
    torch.testing.assert_close(protect(photo, photo.clone(), whole(photo)), photo, rtol=0, atol=1e-5)


def test_outside_nothing_changes_and_half_in_is_half_of_each() -> None:
    photo, result = noise(2), noise(3)
    weight = torch.zeros(40, 60)
    weight[10:20, :30], weight[20:30, :30] = 1, 0.5
    protected = protect(photo, result.clone(), parts(weight))
    assert torch.equal(protected[:, weight == 0], result[:, weight == 0])
    own = light_on(photo, result, weight)(photo)
    torch.testing.assert_close(protected[:, weight == 1], own[:, weight == 1])
    torch.testing.assert_close(
        protected[:, weight == 0.5], (own[:, weight == 0.5] + result[:, weight == 0.5]) / 2
    )


def test_the_light_is_numpys_least_squares_within_its_bounds() -> None:
    photo, weight = noise(4), noise(5)[0]
    slopes = torch.tensor([[0.9, 0, 0], [0.05, 0.95, 0.02], [0, 0.05, 0.9]])
    result = torch.einsum("ck,khw->chw", slopes, photo) + 0.03
    light = light_on(photo, result, weight)
    (before, a, b), (after, c, d) = (skimage_lab(each).reshape(3, -1) for each in (photo, result))
    root = weight.double().sqrt().numpy().ravel()
    slope, _ = np.polyfit(before, after, 1, w=root)
    left = after - slope * before
    below = np.array([root[left <= value].dot(root[left <= value]) for value in left]) / root.dot(root)
    start = left[below >= 0.5].min()
    factor = np.linalg.lstsq(((a + 1j * b) * root)[:, None], (c + 1j * d) * root, rcond=None)[0][0]
    assert CONTRAST[0] < slope < CONTRAST[1] and CHROMA[0] < abs(factor) < CHROMA[1]
    # The hundredths that keep an even part from dividing by zero, beside variances of hundreds.
    assert (light.slope, light.start) == pytest.approx((slope, start), abs=0.02)
    assert (light.chroma, light.turn) == pytest.approx((abs(factor), np.angle(factor)), abs=1e-4)


def test_a_part_is_as_protected_at_any_size() -> None:
    """Its map is one of colours: a photo of twice the size gets the same one."""
    small = noise(6)
    large = small.repeat_interleave(2, 1).repeat_interleave(2, 2)
    pictures = [protect(each, violent(each, 7), whole(small)) for each in (small, large)]
    torch.testing.assert_close(pictures[1][:, ::2, ::2], pictures[0], rtol=0, atol=1 / 255)


def test_lab_and_back_is_scikit_images() -> None:
    photo = noise(8).double()
    torch.testing.assert_close(from_lab(to_lab(photo)), photo, rtol=0, atol=1e-9)
    np.testing.assert_allclose(to_lab(photo), skimage_lab(photo), atol=ROUNDED)
    some = torch.tensor([[50.0, 50, 50], [20, -10, 0], [15, 30, -20]], dtype=torch.float64)
    np.testing.assert_allclose(from_lab(some).numpy().T, lab2rgb(some.numpy().T), atol=1e-4)
