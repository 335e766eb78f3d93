"""Strength region by region: exact inside, soft at borders, and no name is guessed."""

import pytest
import torch
from skimage.color import rgb2lab
from torch import Tensor

from photostyle.config import Recipe
from photostyle.errors import PhotostyleError
from photostyle.files.masks import MaskSet
from photostyle.finish import strengths_of
from photostyle.imaging.filters import resize
from photostyle.regions.canvas import feather
from photostyle.regions.relation import Relation, dial
from photostyle.regions.strength import SHADOW, named_regions, off_black, region_strengths

HEIGHT, WIDTH = 48, 72


def recipe(*strengths: str, **settings) -> Recipe:
    return Recipe(region_strength=strengths, **settings)


def strengths(settings: Recipe, photo: Tensor, regions: MaskSet, kinship: float = 1.0) -> float | Tensor:
    """Of regions that are all as related to their references, which are not far."""
    count = len(regions.names)
    related = Relation(regions.names, torch.full((count,), kinship).double(), torch.zeros(count).double())
    by_region = named_regions(settings.region_strength, regions.names)
    how = dial(related, settings.boldness, settings.strength, by_region)
    return strengths_of(settings, photo, regions.masks, how)


@pytest.fixture
def photo(coffee: Tensor) -> Tensor:
    return resize(coffee, HEIGHT, WIDTH)


@pytest.fixture
def regions() -> MaskSet:
    """Sky, a wall, and a strip on the right that is in no region."""
    masks = torch.zeros(2, HEIGHT, WIDTH)
    masks[0, :20, :60], masks[1, 20:, :60] = 1, 1
    return MaskSet(masks, ("sky", "#0000ff"), ((0, 0, 0), (0, 0, 255)), True, "", ())


def test_hard_regions_have_their_own_strength_and_all_else_their_mean(
    photo: Tensor, regions: MaskSet
) -> None:
    found = strengths(recipe("sky=0.25", strength=0.5, feather=0), photo, regions)
    expected = torch.full((HEIGHT, WIDTH), 0.5)
    expected[:20, :60] = 0.25
    expected[:, 60:] = (20 * 0.25 + 28 * 0.5) / 48
    torch.testing.assert_close(found, expected)


def test_without_strengths_of_regions_it_is_one_number(photo: Tensor, regions: MaskSet) -> None:
    assert strengths(recipe(strength=0.3), photo, regions) == 0.3


@pytest.mark.parametrize("radius", [0, 2, 8])
def test_the_same_strength_everywhere_is_that_strength(photo: Tensor, regions: MaskSet, radius: int) -> None:
    found = strengths(recipe("sky=0.5", "#0000ff=0.5", strength=0.5, feather=radius), photo, regions)
    assert found == 0.5


@pytest.mark.parametrize("radius", [1, 8])
def test_borders_are_those_of_the_canvas(photo: Tensor, regions: MaskSet, radius: int) -> None:
    """Where regions cover the picture, the strength is the sum over the soft regions that the canvas blends."""
    masks = torch.cat((regions.masks, 1 - regions.masks.sum(0, keepdim=True)))
    full = MaskSet(masks, ("sky", "wall", "rest"), ((0, 0, 0),) * 3, True, "", ())
    found = strengths(recipe("sky=0.1", "wall=0.6", "rest=0.9", feather=radius), photo, full)
    soft = feather(photo, masks, radius)
    torch.testing.assert_close(found, 0.1 * soft[0] + 0.6 * soft[1] + 0.9 * soft[2])
    assert len(found.unique()) > 100  # it is no step


def test_soft_masks_blend_even_without_feather(photo: Tensor) -> None:
    ramp = torch.linspace(0, 1, WIDTH).expand(1, HEIGHT, WIDTH)
    regions = MaskSet(torch.cat((ramp, 1 - ramp)), ("sky", "land"), ((0, 0, 0),) * 2, True, "", ())
    found = strengths(recipe("sky=0", feather=0), photo, regions)
    torch.testing.assert_close(found, 1 - ramp[0])


def test_a_colour_may_lack_its_hash(photo: Tensor, regions: MaskSet) -> None:
    one, other = (
        strengths(recipe(f"{name}=0.5", feather=0), photo, regions) for name in ("0000ff", "#0000ff")
    )
    assert torch.equal(one, other) and one.min() == pytest.approx(0.5)
    with pytest.raises(PhotostyleError, match="with and without its #"):
        strengths(recipe("0000ff=0.5", "#0000ff=0.2"), photo, regions)


def test_an_unknown_name_is_refused_with_those_there_are(photo: Tensor, regions: MaskSet) -> None:
    with pytest.raises(
        PhotostyleError,
        match=r"^--region-strength names sea, which is no region of the photo; there are: sky, #0000ff$",
    ):
        strengths(recipe("sea=0.5"), photo, regions)


def test_names_with_spaces_and_equals_signs_are_read() -> None:
    assert region_strengths(("old wall=0.5", "a=b=1", "c=.25")) == {
        "old wall": 0.5,
        "a=b": 1,
        "c": 0.25,
    }


@pytest.mark.parametrize("entry", ["sky", "sky=", "=0.5", "sky=1.5", "sky=-0.1", "sky=nan", "sky=half", ""])
def test_what_is_no_strength_is_refused(entry: str) -> None:
    with pytest.raises(PhotostyleError, match="give NAME=STRENGTH with a strength between 0 and 1"):
        region_strengths((entry,))


def test_one_region_has_one_strength() -> None:
    with pytest.raises(PhotostyleError, match="names sky twice"):
        region_strengths(("sky=0.5", "sky=0.6"))


def test_shadows_of_strangers_stay_and_those_of_kin_do_not(regions: MaskSet) -> None:
    """Where nothing relates the pictures, black stays black and light goes as far as asked for, in order."""
    ramp = torch.linspace(0, 1, WIDTH).expand(3, HEIGHT, WIDTH)
    found = strengths(recipe(strength=0.8, feather=0), ramp, regions, kinship=0.0)
    assert found[0, 0] == 0 and found[0, -1] == pytest.approx(0.8)
    # A veil over it: what was darker stays darker.
    veiled = ramp[0] + found * (0.3 + 0.7 * ramp[0] - ramp[0])
    assert (veiled[0].diff() > 0).all()
    half = strengths(recipe(strength=0.8, feather=0), ramp, regions, kinship=0.5)
    assert half[0, 0] == pytest.approx(0.4) and half[0, -1] == pytest.approx(0.8)


def test_what_is_off_black_is_a_matter_of_lightness(photo: Tensor) -> None:
    lightness = torch.from_numpy(rgb2lab(photo.permute(1, 2, 0).double().numpy())[..., 0])
    share = off_black(photo)
    assert (share[lightness > SHADOW + 0.01] == 1).all() and off_black(torch.zeros(3, 1, 1)).item() == 0
    order = lightness.flatten().argsort()
    assert (share.flatten()[order].diff() > -1e-4).all()
