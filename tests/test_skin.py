"""Skin is found where there is a face, and nowhere else; other parts are those of the photo's mask."""

import pytest
import torch
from skimage import data
from torch import Tensor

from photostyle.errors import PhotostyleError
from photostyle.files.masks import MaskSet, whole_picture
from photostyle.imaging.filters import fit_within, resize, size_of
from photostyle.regions.faces import SIDE, find_faces, skin_coloured
from photostyle.regions.parts import check_protect, find_parts, notes_on
from photostyle.regions.skin import find_skin


def tensor(image) -> Tensor:
    return torch.from_numpy(image[..., :3].copy()).permute(2, 0, 1).float() / 255


@pytest.fixture(scope="module")
def astronaut() -> Tensor:
    """(3, 512, 512): a face from the front at (110, 224), an orange suit, a flag, a pale wall."""
    return tensor(data.astronaut())


@pytest.fixture(scope="module")
def weight(astronaut: Tensor) -> Tensor:
    """Skin as it is rendered, at the photo's size."""
    parts = find_parts(astronaut, whole_picture(512, 512), ("skin",), 8)
    assert parts is not None
    return torch.cat([rows for _, rows in parts.weights(astronaut)], 1)[0]


def test_an_astronauts_face_is_found_once(astronaut: Tensor) -> None:
    (face,) = find_faces(astronaut)
    assert (face.y * 512, face.x * 512) == pytest.approx((115, 224), abs=10)
    assert 60 < face.side * 512 < 120


@pytest.mark.parametrize(
    "y, x", [(120, 200), (95, 205), (120, 235), (146, 222), (165, 195), (30, 200), (80, 265)]
)
def test_skin_eyes_teeth_and_hair_are_in_it(weight: Tensor, y: int, x: int) -> None:
    assert weight[y - 1 : y + 2, x - 1 : x + 2].mean() > 0.8


@pytest.mark.parametrize(
    "y, x", [(60, 320), (100, 130), (300, 100), (300, 250), (430, 300), (100, 440), (200, 30), (490, 480)]
)
def test_suit_wall_flag_and_rocket_are_not(weight: Tensor, y: int, x: int) -> None:
    assert weight[y - 5 : y + 5, x - 5 : x + 5].mean() < 0.05


@pytest.mark.slow
def test_its_size_and_its_mirror_change_little(astronaut: Tensor) -> None:
    shares = []
    for photo in (astronaut, astronaut.flip(2), resize(astronaut, 384, 384)):
        skin = find_skin(photo)
        assert skin is not None
        shares.append(float(skin.mean()))
    assert 0.05 < min(shares) and max(shares) < 1.25 * min(shares) < 0.1


@pytest.mark.parametrize("name", ["coffee", "chelsea", "rocket", "color", "hubble_deep_field"])
def test_wood_fur_light_and_colour_wheels_are_no_skin(name: str) -> None:
    image = tensor(data.rocket() if name == "rocket" else getattr(data, name, data.coffee)())
    assert find_skin(image) is None


def test_fur_and_wood_have_its_colour(coffee: Tensor, chelsea: Tensor) -> None:
    """So it is the face that tells them apart."""
    assert min(skin_coloured(each).float().mean() for each in (coffee, chelsea)) > 0.4


def test_a_grey_photo_has_no_hue_to_keep(astronaut: Tensor) -> None:
    assert find_skin(astronaut.mean(0, keepdim=True).expand(3, -1, -1)) is None


@pytest.mark.parametrize("size", [(20, 30), (32, 32), (16, 400)])
def test_a_photo_too_small_for_a_face_has_none(astronaut: Tensor, size: tuple[int, int]) -> None:
    assert find_skin(resize(astronaut[:, 60:180, 170:280], *size)) is None


def test_no_file_is_fetched_for_it() -> None:
    import skimage

    assert skimage.data.lbp_frontal_face_cascade_filename().startswith(next(iter(skimage.__path__)))


# Parts by name


@pytest.fixture
def regions() -> MaskSet:
    masks = torch.zeros(3, 48, 72)
    masks[0, :20], masks[1, 20:, :40], masks[2, 20:, 40:] = 1, 1, 1
    return MaskSet(masks, ("sky", "#0000ff", "person"), ((0, 0, 0), (0, 0, 255), (9, 9, 9)), True, "", ())


def test_a_named_region_is_a_part(coffee: Tensor, regions: MaskSet) -> None:
    photo = resize(coffee, 48, 72)
    parts = find_parts(photo, regions, ("0000ff", "sky", "skin"), 0)
    assert parts is not None and parts.shares == pytest.approx(
        {"0000ff": 28 * 40 / (48 * 72), "sky": 20 / 48}
    )
    weights = torch.cat([rows for _, rows in parts.weights(photo)], 1)
    torch.testing.assert_close(weights, regions.masks[[1, 0]])
    assert notes_on(parts) == ()


def test_its_border_follows_the_photo(coffee: Tensor, regions: MaskSet) -> None:
    photo = resize(coffee, 48, 72)
    parts = find_parts(photo, regions, ("sky",), 8)
    assert parts is not None
    ((_, weights),) = parts.weights(photo)
    assert weights[0, :5].mean() > 0.9 and weights[0, -15:].mean() < 0.05 and len(weights.unique()) > 100


def test_nothing_named_or_found_is_no_part(coffee: Tensor, regions: MaskSet) -> None:
    for words in ((), ("none",), ("skin",)):
        assert find_parts(resize(coffee, 48, 72), regions, words, 8) is None


def test_an_unknown_name_is_refused_with_those_there_are(coffee: Tensor, regions: MaskSet) -> None:
    with pytest.raises(PhotostyleError, match=r"^--protect names sea, which is no .*: sky, #0000ff, person$"):
        find_parts(resize(coffee, 48, 72), regions, ("sea",), 8)


def test_of_people_in_the_mask_skin_is_theirs(astronaut: Tensor, weight: Tensor) -> None:
    person = torch.zeros(1, 512, 512)
    person[:, :120] = 1
    regions = MaskSet(person, ("person",), ((0, 0, 0),), True, "", ())
    parts = find_parts(astronaut, regions, ("skin",), 0)
    assert parts is not None and 0.4 < parts.shares["skin"] / float(weight.mean()) < 0.8
    assert "skin found" in notes_on(parts)[0]
    painted = MaskSet(person, ("skin",), ((0, 0, 0),), True, "", ())
    parts = find_parts(astronaut, painted, ("skin",), 0)
    assert parts is not None and parts.shares["skin"] == pytest.approx(120 / 512, abs=2e-3)


@pytest.mark.parametrize(
    "words, said", [(("none", "skin"), "give none by itself"), (("sky", "sky"), "names sky twice")]
)
def test_words_that_contradict_each_other_are_refused(words: tuple[str, ...], said: str) -> None:
    check_protect(("skin", "sky"))
    with pytest.raises(PhotostyleError, match=said):
        check_protect(words)


def test_faces_are_looked_for_in_a_small_copy(astronaut: Tensor) -> None:
    skin = find_skin(astronaut)
    assert skin is not None and size_of(skin) == fit_within(512, 512, SIDE)
