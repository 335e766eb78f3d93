"""The photo's lightness under another picture's colours, checked against scikit-image's CIELAB."""

import numpy as np
import pytest
import torch
from skimage.color import lab2xyz, rgb2lab, rgb2xyz
from skimage.color.colorconv import rgb_from_xyz
from torch import Tensor

from photostyle.imaging import lightness
from photostyle.imaging.lightness import encode_light, keep_lightness, linear_light

# Of float32, through the slope of L* at black (903 a unit of luminance): measured 0.0016.
ROUNDED = 0.005


def lab(image: Tensor) -> np.ndarray:
    return rgb2lab(image.double().numpy(), channel_axis=0)


def noise(seed: int, height: int = 60, width: int = 80) -> Tensor:
    """Colours of the whole cube, a third of them on its faces, edges and corners."""
    image = torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))
    image[:, ::3] = (2 * image[:, ::3] - 0.5).clamp(0, 1)
    return image


def chroma_and_hue(image: Tensor) -> tuple[np.ndarray, np.ndarray]:
    _, a, b = lab(image)
    return np.hypot(a, b), np.arctan2(b, a)


def in_gamut(lightness: np.ndarray, chroma: np.ndarray, hue: np.ndarray) -> np.ndarray:
    """Whether sRGB has a colour, by scikit-image's way from CIELAB to linear RGB."""
    colour = np.stack((lightness, chroma * np.cos(hue), chroma * np.sin(hue)), -1)
    linear = lab2xyz(colour) @ rgb_from_xyz.T
    return ((linear >= 0) & (linear <= 1)).all(-1)


@pytest.mark.parametrize("seed", range(3))
def test_the_lightness_is_the_photos_in_every_pixel(seed: int) -> None:
    photo, picture = noise(seed), noise(seed + 100)
    kept = keep_lightness(photo, picture)
    assert np.abs(lab(kept)[0] - lab(photo)[0]).max() < ROUNDED
    assert kept.min() >= 0 and kept.max() <= 1 and kept.dtype == photo.dtype


def test_the_hue_is_the_pictures_and_the_chroma_no_more_than_its() -> None:
    photo, picture = noise(0), noise(100)
    (ours, hue), (theirs, asked) = chroma_and_hue(keep_lightness(photo, picture)), chroma_and_hue(picture)
    # The arc between the two hues in units of CIELAB. scikit-image's white differs from its matrix's own in the fifth
    # digit, which is most of the 0.017 measured.
    arc = np.abs(np.angle(np.exp(1j * (hue - asked)))) * ours
    assert arc.max() < 0.03
    assert (ours - theirs).max() < 0.03


@pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB")  # of colours far outside the gamut
def test_chroma_is_given_up_only_where_srgb_ends_and_no_further() -> None:
    photo, picture = noise(1), noise(101)
    (ours, hue), (theirs, _) = chroma_and_hue(keep_lightness(photo, picture)), chroma_and_hue(picture)
    light = lab(photo)[0]
    kept = np.abs(ours - theirs) < 0.03
    assert 0.2 < kept.mean() < 0.8  # both cases are tested
    # What was kept is a colour of sRGB, and a little more chroma than was left elsewhere is none: a tenth, since the
    # white points differ and the bisection leaves 0.002.
    sure = (theirs > 1) & (light > 1) & (light < 99)
    assert in_gamut(light, ours - 0.1, hue)[kept & sure].all()
    assert not in_gamut(light, ours + 0.1, hue)[~kept & sure].any()


def test_a_picture_of_the_photos_own_lightness_stays_as_it_is(coffee: Tensor) -> None:
    for image in (noise(2), coffee):
        torch.testing.assert_close(keep_lightness(image, image), image, rtol=0, atol=2e-5)


def test_a_grey_picture_leaves_the_photo_in_grey_and_a_grey_photo_gives_its_light(coffee: Tensor) -> None:
    grey = torch.linspace(0, 1, 80).expand(3, 60, 80)
    made = keep_lightness(noise(3), grey)
    assert (made - made.mean(0)).abs().max() < 1e-5
    assert np.abs(lab(keep_lightness(grey, noise(3)))[0] - lab(grey)[0]).max() < ROUNDED


def test_black_and_white_have_no_colour_to_take() -> None:
    for value in (0.0, 1.0):
        flat = torch.full((3, 60, 80), value)
        # The gamut's ROUNDING leaves black a twelfth of an 8-bit level of blue.
        torch.testing.assert_close(keep_lightness(flat, noise(4)), flat, rtol=0, atol=5e-4)


def test_strips_are_a_matter_of_memory_only(monkeypatch: pytest.MonkeyPatch) -> None:
    photo, picture = noise(5), noise(105)
    whole = keep_lightness(photo, picture)
    monkeypatch.setattr(lightness, "STRIP", 7)
    # A power's last bit depends on whether its pixel is in a full vector or in the rest of the strip, and may move the
    # bisection by its last step: 2^-16 of the way out of the gamut, through the slope of sRGB's curve at black, 12.92.
    torch.testing.assert_close(keep_lightness(photo, picture), whole, rtol=0, atol=2 * 12.92 / 2**16)


def test_light_is_srgbs_curve_there_and_back() -> None:
    """Against scikit-image, whose XYZ of grey is the light itself in Y; and the inverse undoes it."""
    values = torch.linspace(0, 1, 1001, dtype=torch.float64)
    expected = rgb2xyz(np.repeat(values.numpy()[None], 3, 0), channel_axis=0)[1]
    np.testing.assert_allclose(linear_light(values).numpy(), expected, atol=1e-12)
    # The standard's two thresholds are rounded: between them the curves miss each other by 3e-8.
    torch.testing.assert_close(encode_light(linear_light(values)), values, rtol=0, atol=1e-7)
