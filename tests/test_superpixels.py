"""What is said of a superpixel means the same in another light."""

import numpy as np
import pytest
import torch
from scipy.ndimage import sobel
from skimage.segmentation import find_boundaries
from torch import Tensor

from segmentation.superpixels import SIDE, WEIGHTS, describe

NAMES = list(WEIGHTS)


def feature(picture, name):
    return picture.features[:, NAMES.index(name)] / WEIGHTS[name]


def ramp(height: int = 96, width: int = 128) -> Tensor:
    """A calm sky over grains of sand; the horizon is in the middle."""
    rows = torch.linspace(0.5, 0.8, height)[:, None].expand(height, width)
    image = torch.stack((rows * 0.7, rows * 0.85, rows))
    sand = 0.35 + 0.15 * torch.rand(3, height // 2, width, generator=torch.Generator().manual_seed(5))
    image[:, height // 2 :] = sand
    return image


def test_the_superpixels_cover_the_picture_once(coffee):
    picture = describe(coffee)
    assert max(picture.index.shape) == SIDE
    np.testing.assert_array_equal(np.bincount(picture.index.ravel()), picture.pixels)
    assert (picture.pixels > 0).all()
    assert picture.features.shape == (len(picture.pixels), len(WEIGHTS))


def test_their_borders_lie_on_the_edges_of_the_photograph(coffee):
    small = torch.nn.functional.interpolate(coffee[None], describe(coffee).index.shape, mode="area")[0]
    luma = small.mean(0).double().numpy()
    edges = np.hypot(sobel(luma, 0), sobel(luma, 1))
    borders = find_boundaries(describe(coffee).index)
    strongest = edges > np.quantile(edges, 0.95)
    # A grid of as many borders would hit the strongest edges as often as it covers the picture.
    assert borders[strongest].mean() > 1.3 * borders.mean()


def test_colour_and_texture_are_standardised_within_the_picture(coffee):
    picture = describe(coffee)
    share = picture.pixels / picture.pixels.sum()
    for name in ("lightness", "fine texture", "coarse texture", "far from the top", "far from the edges"):
        values = feature(picture, name)
        assert values @ share == pytest.approx(0, abs=1e-9)
        assert (values**2) @ share == pytest.approx(1, abs=1e-9)
    chroma = (feature(picture, "a") ** 2 + feature(picture, "b") ** 2) @ share
    assert chroma == pytest.approx(2, abs=1e-9)


def test_another_exposure_changes_little(coffee):
    """Half the light in linear terms is nearly an affine change of L*: the relative lightness stays."""
    bright, dark = describe(coffee), describe(0.7 * coffee)
    a = feature(bright, "lightness")[bright.index].ravel()
    b = feature(dark, "lightness")[dark.index].ravel()
    assert np.corrcoef(a, b)[0, 1] > 0.97


def test_a_flat_picture_is_not_blown_up():
    picture = describe(torch.full((3, 64, 80), 0.5))
    flat = np.delete(
        picture.features, [NAMES.index(n) for n in ("height", "far from the top", "far from the edges")], 1
    )
    assert np.abs(flat).max() < 1e-6


def test_height_runs_from_minus_to_plus_root_three():
    picture = describe(ramp())
    height = feature(picture, "height")
    top, bottom = np.unique(picture.index[0]), np.unique(picture.index[-1])
    # Superpixels are not points: their centres lie about 4 of 96 rows inside.
    assert np.all(height[top] < -1.4) and np.all(height[bottom] > 1.4)


def test_a_calm_sky_is_near_the_top_all_the_way_down():
    picture = describe(ramp())
    far, height = feature(picture, "far from the top"), feature(picture, "height")
    lowest_sky = far[(height > -0.4) & (height < -0.15)]
    highest_land = far[(height > 0.15) & (height < 0.4)]
    assert lowest_sky.max() < highest_land.min()


def test_an_object_in_the_middle_is_far_from_the_edges_and_its_backdrop_near():
    image = torch.full((3, 96, 128), 0.9)
    image[:, 30:66, 44:84] = torch.tensor((0.5, 0.1, 0.1))[:, None, None]
    picture = describe(image)
    far = feature(picture, "far from the edges")[picture.index]
    assert far[36:60, 50:78].min() > np.quantile(far[:24], 0.99)


def test_neighbours_touch_and_share_as_many_sides_as_there_are():
    picture = describe(ramp())
    sides = (picture.index[:, 1:] != picture.index[:, :-1]).sum() + (
        picture.index[1:] != picture.index[:-1]
    ).sum()
    assert picture.lengths.sum() == sides
    assert (picture.neighbours[:, 0] < picture.neighbours[:, 1]).all()
    one, other = picture.neighbours[0]
    near = np.argwhere(picture.index == one)[:, None] - np.argwhere(picture.index == other)[None]
    assert np.abs(near).sum(-1).min() == 1
