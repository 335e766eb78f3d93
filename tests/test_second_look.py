"""The second look: what is doubted goes less far, as far as nobody said how far it has to go."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from photostyle import configure, transfer
from photostyle.config import Config
from photostyle.evaluation.comparison import comparison_within
from photostyle.evaluation.doubt import DOUBTFUL, doubt
from photostyle.evaluation.second_look import SETTLED, SHARES, look_again
from photostyle.evaluation.signs import find_signs
from photostyle.files.arrays import mask_set_of
from photostyle.imaging.filters import area_average
from photostyle.imaging.rendering import render
from photostyle.regions.guidance import Guidance
from photostyle.result import Result


@pytest.fixture(scope="module")
def cat(chelsea: Tensor) -> Tensor:
    """(3, 60, 90)."""
    return area_average(chelsea, 60, 90)


@pytest.fixture(scope="module")
def green(cat: Tensor) -> Tensor:
    """A reference after which fur turns green."""
    return cat.mean(0) * torch.tensor([0.2, 1.0, 0.2])[:, None, None]


@pytest.fixture(scope="module")
def make(cat: Tensor, green: Tensor) -> Callable[..., Config]:
    given = {"content": cat, "style": green, "device": "cpu"}
    return lambda preset="instant", **settings: configure(preset, **{**given, **settings})


@pytest.fixture(scope="module")
def held(make: Callable[..., Config]) -> Result:
    return transfer(make())


@pytest.fixture(scope="module")
def free(make: Callable[..., Config]) -> Result:
    return transfer(make(second_look=False))


def doubt_of(picture: Tensor, of: Result) -> float:
    pictures = picture, of.photo.pixels, of.reference.pixels
    return doubt(find_signs(comparison_within(*pictures, of.guidance.content, of.guidance.style)))


def halves(picture: Tensor) -> Any:
    """Left and right, as painted."""
    index = np.zeros(picture.shape[1:], np.uint8)
    index[:, index.shape[1] // 2 :] = 1
    return mask_set_of(index)


def test_what_is_doubted_is_held_back_until_it_is_not(held: Result, free: Result) -> None:
    assert doubt_of(free.image, free) > DOUBTFUL
    assert (
        doubt_of(held.image, held) <= SETTLED + 0.01
    )  # the picture is rendered, what was judged was blended
    share = float(held.how.strength[0] / free.how.strength[0])
    assert min(abs(share - each) for each in SHARES) < 1e-9
    further = free.photo.pixels + (share + 0.1) * (free.image - free.photo.pixels)
    assert doubt_of(further, free) > SETTLED
    (said,) = set(held.notes) - set(free.notes)
    assert said.startswith(f"held back to {share:.1f} of its way: skin or fur turned green (doubt ")


def test_it_is_the_picture_of_that_strength(held: Result, make: Callable[..., Config]) -> None:
    asked = transfer(make(strength=float(held.how.strength[0])))
    torch.testing.assert_close(asked.image, held.image, rtol=0, atol=1e-6)


@pytest.mark.parametrize("asked", [{"strength": 1.0}, {"boldness": 1.0}, {"boldness": 0.5}])
def test_what_was_asked_for_is_made(make: Callable[..., Config], asked: dict[str, float]) -> None:
    small = {"preset": "patches", "size": 32, "coarsest": 32, "iterations": (1,)}
    one, two = (transfer(make(**small, **asked, second_look=each)) for each in (True, False))
    assert torch.equal(one.image, two.image)


def test_a_closed_form_that_was_asked_for_has_a_second_look(
    held: Result, make: Callable[..., Config]
) -> None:
    assert torch.equal(transfer(make(boldness=0.0)).image, held.image)


def test_painted_regions_go_as_far_as_they_were_to(
    make: Callable[..., Config], cat: Tensor, green: Tensor
) -> None:
    result = transfer(make(masks=(halves(cat), halves(green))))
    assert doubt_of(result.image, result) > DOUBTFUL
    assert result.how.full


def test_a_strength_by_name_is_kept(make: Callable[..., Config], cat: Tensor, green: Tensor) -> None:
    masks = halves(cat), halves(green)
    unsure = tuple(replace(each, confidence=(0.0, 0.0)) for each in masks)
    name = unsure[0].names[0]
    result = transfer(make(masks=unsure, region_strength=(f"{name}=0.9",)))
    strength = dict(zip(result.how.names, result.how.strength.tolist(), strict=True))
    assert strength.pop(name) == 0.9
    assert all(each < 0.4 for each in strength.values())


def whole(picture: Tensor) -> Guidance:
    one = torch.ones(1, *picture.shape[1:])
    return Guidance(one, (one,), torch.ones(1, 1), ("all",), ((255, 255, 255),), (), ())


def test_a_picture_that_nothing_speaks_against_goes_all_of_its_way(coffee: Tensor) -> None:
    photo = area_average(coffee, 64, 96)
    darker = 0.8 * photo
    seen = look_again(darker, photo, [darker], whole(photo), torch.ones(1, dtype=torch.bool))
    assert seen.share == 1


def test_of_several_references_the_one_that_allows_most_counts(cat: Tensor, green: Tensor) -> None:
    ones, every = torch.ones(1, *cat.shape[1:]), torch.ones(1, dtype=torch.bool)
    both = replace(whole(cat), styles=(ones, ones), weights=torch.full((2, 1), 0.5))
    picture = render(cat, torch.lerp(cat, green, 0.5), strength=1.0, smooth_radius=0, smooth_edge=0.01)
    alone = [look_again(picture, cat, [each], whole(cat), every).share for each in (cat, green)]
    assert look_again(picture, cat, [cat, green], both, every).share == max(alone)


def test_a_reference_without_any_of_the_regions_says_nothing(cat: Tensor, green: Tensor) -> None:
    ones, every = torch.ones(1, *cat.shape[1:]), torch.ones(1, dtype=torch.bool)
    picture, none = torch.lerp(cat, green, 0.5), torch.zeros_like(ones)
    both = replace(whole(cat), styles=(none, ones), weights=torch.tensor([[0.0], [1.0]]))
    alone = look_again(picture, cat, [green], whole(cat), every)
    assert look_again(picture, cat, [cat, green], both, every) == alone
    assert look_again(picture, cat, [cat], replace(both, styles=(none,)), every).share == 1


@pytest.mark.parametrize("size", [(1, 40), (16, 16), (3, 200)])
def test_a_picture_of_any_shape_can_be_looked_at(size: tuple[int, int], tmp_path: Path) -> None:
    photo = torch.rand(3, *size, generator=torch.Generator().manual_seed(612))
    seen = look_again(1 - photo, photo, [1 - photo], whole(photo), torch.ones(1, dtype=torch.bool))
    assert 0 < seen.share <= 1
