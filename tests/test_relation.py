"""How related regions are to their references, and how far they go where nobody says."""

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance_nd
from torch import Tensor

from photostyle.files.masks import MaskSet, whole_picture
from photostyle.imaging.filters import resize, size_of
from photostyle.regions.guidance import ORPHAN, pair_regions
from photostyle.regions.relation import BEARABLE, Dial, Relation, dial, relation, sliced


def related(photo: Tensor, reference: Tensor, masks: tuple[MaskSet, MaskSet] | None = None) -> Relation:
    ours, theirs = masks or (whole_picture(*size_of(photo)), whole_picture(*size_of(reference)))
    return relation(photo, [reference], pair_regions(photo, ours, reference, theirs))


def halves(picture: Tensor, names: tuple[str, str]) -> MaskSet:
    height, width = size_of(picture)
    masks = torch.zeros(2, height, width)
    masks[0, : height // 2], masks[1, height // 2 :] = 1, 1
    return MaskSet(masks, names, ((255, 0, 0), (0, 0, 255)), True, "", ())


@pytest.fixture
def photos(coffee: Tensor, chelsea: Tensor) -> tuple[Tensor, Tensor]:
    return resize(coffee, 60, 90), resize(chelsea, 60, 90)


def test_a_picture_is_its_own_kin_and_strangers_are_none(photos: tuple[Tensor, Tensor]):
    coffee, chelsea = photos
    own = related(coffee, coffee)
    assert own.distance.item() < 0.01 and own.kinship.item() > 0.95
    assert related(coffee, chelsea).kinship.item() == 0
    # Its own light a little lower: still the same place.
    assert 0.3 < related(coffee, 0.9 * coffee).kinship.item() < 1


def test_names_make_kin_of_anything(photos: tuple[Tensor, Tensor]):
    coffee, chelsea = photos
    masks = halves(coffee, ("top", "bottom")), halves(chelsea, ("top", "bottom"))
    assert related(coffee, chelsea, masks).kinship.tolist() == [1, 1]
    orphaned = related(coffee, chelsea, (masks[0], halves(chelsea, ("top", "else")))).kinship.tolist()
    assert orphaned[0] == 1 and ORPHAN <= orphaned[1] < 1


def test_the_distance_is_in_delta_e():
    """Between flat greys it is the difference of L*, by hand."""
    dark, light = torch.full((3, 20, 20), 0.2), torch.full((3, 20, 20), 0.6)
    lightness = [116 * (((each + 0.055) / 1.055) ** 2.4) ** (1 / 3) - 16 for each in (0.2, 0.6)]
    assert related(dark, light).distance.item() == pytest.approx(lightness[1] - lightness[0], rel=1e-3)


def test_sliced_distances_are_those_of_the_plane():
    """A shift is as long as it is; and between blobs it is below the distance in space, which is a linear program's."""
    generator = np.random.default_rng(0)
    points, axes = generator.normal(size=(200, 3)), generator.normal(size=(3, 400))
    axes /= np.linalg.norm(axes, axis=0)
    ones, shift = np.ones(200), np.array([3.0, -2.0, 1.0])
    moved = sliced(points @ axes, ones, (points + shift) @ axes, ones)
    assert moved == pytest.approx(np.linalg.norm(shift), rel=0.1)
    assert sliced(points @ axes, ones, points @ axes, ones) == 0
    # Weights are as good as copies.
    twice = np.concatenate((points, points[:100]))
    weights = np.concatenate((np.full(100, 2.0), np.ones(100)))
    assert sliced(points @ axes, weights, twice @ axes, np.ones(300)) < 0.05
    assert wasserstein_distance_nd(points[:40], points[:40] + shift) == pytest.approx(np.linalg.norm(shift))


def of(kinship: float, distance: float) -> Relation:
    return Relation(("a",), torch.tensor([kinship]).double(), torch.tensor([distance]).double())


def test_kin_go_all_of_the_way_and_strangers_as_far_as_they_bear():
    assert dial(of(1, 80), None, None, {}).full
    far = dial(of(0, 3 * BEARABLE), None, None, {})
    assert far.closed and far.strength.item() == pytest.approx(1 / 3)
    near = dial(of(0, BEARABLE / 2), None, None, {})
    assert near.strength.item() == 1 and not near.uniform
    strengths = [dial(of(kin, 90), None, None, {}).strength.item() for kin in (0, 0.25, 0.5, 0.75, 1)]
    assert strengths == sorted(strengths)


def test_what_is_asked_for_is_done():
    asked = dial(of(0, 90), 1.0, None, {})
    assert asked.full
    assert dial(of(1, 90), 0.25, 0.5, {}).strength.item() == 0.5
    assert dial(of(1, 90), None, None, {"a": 0.3}).strength.item() == pytest.approx(0.3)
    assert dial(of(0, 90), None, 0.8, {"a": 0.3}).boldness.item() == 0


def test_it_says_so_in_a_line():
    names = ("sky", "land", "face")
    shown = Dial(names, torch.tensor([1.0, 0.5, 0.0]).double(), torch.tensor([1.0, 0.8, 0.25]).double())
    assert str(shown) == "sky: full; land: half, strength 0.80; face: closed form, strength 0.25"
    assert not shown.full and not shown.closed


def test_what_is_hardly_kin_is_none(photos: tuple[Tensor, Tensor]):
    """A solve that nobody sees is not worth its seconds."""
    coffee, _ = photos
    kinships = [
        related(coffee, (coffee * gain).clamp(0, 1)).kinship.item() for gain in np.linspace(0.2, 1, 9)
    ]
    assert kinships == sorted(kinships)
    assert not [each for each in kinships if 0 < each < 0.1]


def test_a_grey_photo_s_rounding_is_no_likeness(photos: tuple[Tensor, Tensor]):
    """Stored as RGB it has half a level of chroma, which a map could stretch to any reference's."""
    coffee, chelsea = photos
    grey = coffee.mean(0, keepdim=True).expand(3, -1, -1)
    grain = torch.rand(3, 60, 90, generator=torch.Generator().manual_seed(3)) - 0.5
    for levels in (0.0, 1.0, 2.0):
        photo = (grey + levels / 255 * grain).clamp(0, 1)
        assert related(photo, chelsea).kinship.item() == related(grey, chelsea).kinship.item()


def test_a_single_colour_is_nobody_s_kin(photos: tuple[Tensor, Tensor]):
    coffee, _ = photos
    calm = 0.5 + 0.02 * (coffee - 0.5)
    assert related(calm, torch.full((3, 60, 90), 0.5)).kinship.item() == 0
