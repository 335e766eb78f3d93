"""The signs against a picture: none for what a photographer does to a whole picture, more the more is spoilt."""

import time

import numpy as np
import pytest
import torch
from skimage.color import lab2rgb, rgb2lab
from torch import Tensor

from photostyle.evaluation import signs
from photostyle.evaluation.comparison import Comparison
from photostyle.evaluation.signs import find_signs
from photostyle.imaging.filters import area_average
from photostyle.regions.colour import region_colour_maps


@pytest.fixture(scope="module")
def photo(coffee: Tensor) -> Tensor:
    return area_average(coffee, 171, 256)


@pytest.fixture(scope="module")
def style(chelsea: Tensor) -> Tensor:
    return area_average(chelsea, 170, 256)


def whole(image: Tensor) -> Tensor:
    return torch.ones(1, *image.shape[1:])


def beside(result: Tensor, content: Tensor, style: Tensor) -> Comparison:
    """Both pictures as one region."""
    return Comparison(result, content, style, whole(content), whole(style))


def halves(image: Tensor) -> Tensor:
    """A left and a right region."""
    masks = torch.zeros(2, *image.shape[1:])
    masks[0, :, : image.shape[2] // 2] = masks[1, :, image.shape[2] // 2 :] = 1
    return masks


def in_lab(image: Tensor, change) -> Tensor:
    """The picture with its CIELAB, (3, H, W), changed by a function."""
    lab = rgb2lab(image.permute(1, 2, 0).double().numpy()).transpose(2, 0, 1)
    return torch.from_numpy(lab2rgb(change(lab).transpose(1, 2, 0))).permute(2, 0, 1).float()


def from_lab(lightness: np.ndarray, a: np.ndarray, b: np.ndarray) -> Tensor:
    return torch.from_numpy(lab2rgb(np.stack((lightness, a, b), -1))).permute(2, 0, 1).float()


# Silence


def test_the_photo_itself_has_no_sign(photo: Tensor, style: Tensor) -> None:
    found = find_signs(beside(photo, photo, style)).as_dict()
    assert found.pop("residue") < 1e-3  # what the regression's ridge leaves
    assert not any(found.values()), found


@pytest.mark.parametrize("gamma", [0.8, 1.25])
def test_a_curve_of_brightness_has_hardly_a_sign(photo: Tensor, style: Tensor, gamma: float) -> None:
    found = find_signs(beside(photo**gamma, photo, style))
    assert found.inverted < 0.002 and found.residue < 0.5 and found.stain < 0.5 and found.greened < 0.05


def test_the_closed_form_does_not_drift_from_itself(photo: Tensor, style: Tensor) -> None:
    colour_map = region_colour_maps(photo, whole(photo), style, whole(style))[0]
    mapped = torch.einsum("ck,khw->chw", colour_map[:, :3], photo) + colour_map[:, 3, None, None]
    assert signs.stain(beside(mapped.clamp(0, 1), photo, style)) < 1e-4


@pytest.mark.parametrize("flat", [0.0, 0.5, 1.0])
def test_pictures_of_one_colour_are_no_trouble(flat: float, photo: Tensor, style: Tensor) -> None:
    single = torch.full_like(photo, flat)
    for result, content in ((single, photo), (photo, single), (single, single)):
        assert all(np.isfinite(list(find_signs(beside(result, content, style)).as_dict().values())))


# More of it


def stained(image: Tensor, chroma: float) -> Tensor:
    """A stain of that chroma over a third of the picture, without an edge of its own."""
    y, x = np.mgrid[: image.shape[1], : image.shape[2]]
    distance = np.hypot(y - image.shape[1] / 2, x - image.shape[2] / 2) / (0.3 * image.shape[2])
    amount = np.clip(1 - distance**2, 0, 1) ** 2

    def change(lab: np.ndarray) -> np.ndarray:
        lab[1] -= chroma * amount
        return lab

    return in_lab(image, change)


def rotated(image: Tensor, degrees: float) -> Tensor:
    """Every hue turned by so much, at lightness and chroma that sRGB has."""

    def change(lab: np.ndarray) -> np.ndarray:
        lab[1:] *= 0.3
        cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        return np.stack((lab[0], cos * lab[1] - sin * lab[2], sin * lab[1] + cos * lab[2]))

    return in_lab(image, change)


def veiled(image: Tensor, share: float) -> Tensor:
    return image * (1 - share) + share * torch.tensor([1.0, 0.4, 0.0])[:, None, None]


def shaded(image: Tensor, depth: float) -> Tensor:
    """Darker from left to right."""
    return image * (1 - depth * torch.linspace(0, 1, image.shape[2]))


def green(image: Tensor, share: float) -> Tensor:
    return image * (1 - share) + share * torch.tensor([0.2, 0.6, 0.2])[:, None, None]


@pytest.mark.parametrize(
    ("name", "spoil", "amounts"),
    [
        ("residue", stained, (10, 20, 40)),
        ("stain", stained, (10, 20, 40)),
        ("inverted", shaded, (0.3, 0.6, 0.9)),
        ("turned", rotated, (15, 40, 90)),
        ("greened", green, (0.4, 0.6, 0.8)),
        ("tinted", veiled, (0.1, 0.3, 0.6)),
    ],
)
def test_more_of_it_is_a_larger_number(name: str, spoil, amounts, photo: Tensor, style: Tensor) -> None:
    if name == "greened":  # of this photo's colours most are redder than any skin
        photo, style = style, photo
    found = [getattr(signs, name)(beside(spoil(photo, each), photo, style)) for each in amounts]
    before = getattr(signs, name)(beside(photo, photo, style))
    assert before < found[0] < found[1] < found[2], found


# What they are


def test_inverted_is_kendall_s_share_of_discordant_couples() -> None:
    random = np.random.default_rng(3)
    before, after = (torch.from_numpy(random.random((28, 14))).float().expand(3, -1, -1) for _ in range(2))
    lightness = [rgb2lab(each.permute(1, 2, 0).double().numpy())[..., 0].ravel() for each in (before, after)]
    counted = wrong = 0
    for one in range(28 * 14):
        for other in range(one):
            apart, now = (each[one] - each[other] for each in lightness)
            counted += abs(apart) > 2.3
            wrong += abs(apart) > 2.3 and apart * now < 0
    assert signs.inverted(beside(after, before, before)) == pytest.approx(wrong / counted, rel=1e-9)


def test_regions_may_change_places_in_lightness(photo: Tensor) -> None:
    content = 0.4 * photo + 0.3
    masks = halves(content)
    night = content - 0.25 * masks[0] + 0.25 * masks[1]
    apart, together = Comparison(night, content, photo, masks, masks), beside(night, content, photo)
    assert signs.inverted(apart) < 0.01 < 0.1 < signs.inverted(together)


def test_the_residue_is_that_of_a_cubic_regression(photo: Tensor, style: Tensor) -> None:
    result = stained(photo, 30)
    own, ours = (rgb2lab(each.permute(1, 2, 0).double().numpy()).reshape(-1, 3) for each in (photo, result))
    x, y, z = (own / (50, 40, 40) - (1, 0, 0)).T
    powers = [(i, j, k) for i in range(4) for j in range(4 - i) for k in range(4 - i - j)]
    basis = np.stack([x**i * y**j * z**k for i, j, k in powers], 1)
    left = ours - basis @ np.linalg.lstsq(basis, ours, rcond=None)[0]
    expected = np.sqrt((left**2).sum(1)).mean()
    assert signs.residue(beside(result, photo, style)) == pytest.approx(expected, rel=1e-3)


def test_one_colour_sent_to_two_is_half_their_distance() -> None:
    content = torch.full((3, 60, 80), 0.5)
    ends = np.where(np.arange(80) < 40, 10.0, -10.0) * np.ones((60, 1))
    result = from_lab(np.full((60, 80), 55.0), ends, np.zeros((60, 80)))
    assert signs.residue(beside(result, content, content)) == pytest.approx(10, rel=1e-3)
    # Unless the two are two regions.
    masks = halves(content)
    assert signs.residue(Comparison(result, content, content, masks, masks)) < 0.01


def test_a_turn_of_all_hues_is_its_angle(photo: Tensor, style: Tensor) -> None:
    pale = rotated(photo, 0)
    assert signs.turned(beside(rotated(photo, 40), pale, style)) == pytest.approx(40, abs=1)
    assert signs.turned(beside(photo.mean(0, keepdim=True).expand(3, -1, -1), photo, style)) < 90


def test_green_counts_on_skin_and_nowhere_else() -> None:
    lightness, zeros = np.full((60, 80), 60.0), np.zeros((60, 80))
    left = np.arange(80) < 20
    content = from_lab(lightness, np.where(left, 15.0, -20.0) + zeros, np.where(left, 20.0, -10.0) + zeros)
    result = from_lab(lightness, np.where(left, -12.0, -30.0) + zeros, np.where(left, 20.0, -10.0) + zeros)
    compared = beside(result, content, content)
    assert signs.greened(compared) == pytest.approx(12 / 4, rel=1e-3)


def test_a_veil_is_the_chroma_of_the_most_neutral_tenth() -> None:
    lightness, zeros = np.full((60, 80), 60.0), np.zeros((60, 80))
    content = from_lab(lightness, zeros, zeros)
    result = from_lab(lightness, zeros, 25.0 + zeros)
    assert signs.tinted(beside(result, content, content)) == pytest.approx(25, rel=1e-3)
    assert signs.tinted(beside(content, result, content)) == 0


def test_signs_are_those_of_a_small_copy(coffee: Tensor, photo: Tensor, style: Tensor) -> None:
    large = find_signs(beside(stained(coffee, 30), coffee, style)).as_dict()
    small = find_signs(beside(area_average(stained(coffee, 30), 171, 256), photo, style)).as_dict()
    assert large == pytest.approx(small, rel=0.02, abs=0.02)


def test_what_is_known_of_the_photo_serves_the_next_result(photo: Tensor, style: Tensor) -> None:
    first = beside(photo, photo, style)
    find_signs(first)
    other = first.with_result(stained(photo, 20))
    assert find_signs(other) == find_signs(beside(stained(photo, 20), photo, style))


@pytest.mark.slow
def test_they_take_a_fraction_of_a_second_at_the_size_of_scores(coffee: Tensor, chelsea: Tensor) -> None:
    content, reference = area_average(coffee, 683, 1024), area_average(chelsea, 681, 1024)
    find_signs(beside(content, content, reference))  # compiled
    began = time.perf_counter()
    find_signs(beside(content, content, reference))
    assert time.perf_counter() - began < 3
