"""What no input may do to a picture's numbers: properties of the whole transfer, on small pictures."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from skimage import data
from skimage.transform import resize

from photostyle import configure, transfer
from photostyle.losses.weights import locate

SIDE = (48, 64)
LEVEL = 1 / 255


@cache
def coffee(height: int = SIDE[0], width: int = SIDE[1]) -> np.ndarray:
    return (255 * resize(data.coffee(), (height, width), anti_aliasing=True)).round().astype(np.uint8)


def flat(*colour: int) -> np.ndarray:
    return np.full((*SIDE, 3), colour, np.uint8)


def two_colours() -> np.ndarray:
    picture = flat(30, 90, 200)
    picture[:, 35:] = 240, 200, 60
    return picture


PICTURES = {
    "photo": coffee(),
    "black": flat(0, 0, 0),
    "white": flat(255, 255, 255),
    "flat": flat(90, 140, 60),
    "two colours": two_colours(),
}

# Two stages, then the photo's own size; and what no photograph is.
OWN = {
    "larger": coffee(96, 144),
    "noise": np.random.default_rng(0).integers(0, 256, (*SIDE, 3), np.uint8),
}


def made(photo: np.ndarray, style: np.ndarray, preset: str = "patches", **settings: Any) -> torch.Tensor:
    few = {} if preset == "instant" else {"iterations": (3,)}
    settings = {"masks": "none", "size": 64, "device": "cpu", "download": False, **few, **settings}
    return transfer(configure(preset, content=photo, style=style, **settings)).image


def levels_apart(one: torch.Tensor, other: torch.Tensor) -> tuple[float, float]:
    """Mean and greatest difference of two pictures in 8-bit levels."""
    apart = (255 * one).round() - (255 * other).round()
    return apart.abs().mean().item(), apart.abs().max().item()


def as_image(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1) / 255


@pytest.mark.parametrize("reference", PICTURES)
@pytest.mark.parametrize("photo", PICTURES)
def test_every_number_is_in_range(photo: str, reference: str) -> None:
    image = made(PICTURES[photo], PICTURES[reference], boldness=1.0)
    assert image.isfinite().all() and 0 <= image.min() and image.max() <= 1


def one_pixel() -> np.ndarray:
    labels = np.zeros(SIDE, int)
    labels[20, 30] = 1
    return labels


def blocks() -> np.ndarray:
    """256 regions."""
    return np.arange(16 * 16).reshape(16, 16).repeat(3, 0).repeat(4, 1)


@pytest.mark.parametrize("regions", [one_pixel, pytest.param(blocks, marks=pytest.mark.slow)])
def test_a_region_of_one_pixel_and_hundreds_of_regions(regions: Callable[[], np.ndarray]) -> None:
    labels = regions()
    image = made(coffee(), coffee()[::-1].copy(), masks=[labels, labels])
    assert image.isfinite().all()


@pytest.mark.parametrize("preset", ["patches", "best", "instant"])
@pytest.mark.parametrize("iterations", [pytest.param(None, marks=pytest.mark.slow), (1,), (3,)])
@pytest.mark.parametrize("picture", ["photo", "flat", "two colours", "larger", "noise"])
def test_the_same_picture_twice_is_left_as_it_is(
    picture: str, iterations: tuple[int, ...] | None, preset: str
) -> None:
    """Also where what was solved is enlarged twice."""
    if preset == "instant" and iterations:
        pytest.skip("instant evaluates nothing")
    photo = (PICTURES | OWN)[picture]
    settings: dict[str, Any] = {} if preset == "instant" else {"iterations": iterations or ()}
    mean, most = levels_apart(made(photo, photo, preset, **settings), as_image(photo))
    assert mean <= 0.5 and most <= 8


@pytest.mark.shared
@pytest.mark.parametrize("iterations", [(), (3,)])
def test_the_same_picture_twice_through_a_network(iterations: tuple[int, ...], shared: Any) -> None:
    weights = shared / "encoders" / "slim_vgg19.safetensors"
    if not weights.is_file() or locate(weights, "vgg19", False) is None:
        pytest.skip("no VGG weights")
    photo = coffee(64, 96)
    image = made(photo, photo, "photoreal", weights=weights, size=96, iterations=iterations)
    mean, most = levels_apart(image, as_image(photo))
    assert mean <= 0.5 and most <= 8


def test_labels_are_names_and_not_numbers() -> None:
    labels = np.zeros(SIDE, int)
    labels[:, 20:], labels[:, 45:] = 1, 2
    renamed = np.array([7, 3, 5])[labels]
    style = coffee()[:, ::-1].copy()
    one = made(coffee(), style, masks=[labels, labels], boldness=1.0)
    other = made(coffee(), style, masks=[renamed, renamed], boldness=1.0)
    # Regions are summed in another order: float32 over 12 evaluations, far below a level.
    assert (one - other).abs().max() < LEVEL / 2


def test_how_often_a_reference_shows_its_colours_does_not_matter() -> None:
    style = PICTURES["two colours"]
    one = made(coffee(), style, "instant", boldness=1.0)
    tiled = made(coffee(), np.tile(style, (2, 2, 1)), "instant", boldness=1.0)
    assert (one - tiled).abs().max() < LEVEL / 2


def test_the_same_call_twice_and_on_two_threads() -> None:
    photo, style, before = coffee(), coffee()[::-1, :, ::-1].copy(), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one, again = made(photo, style), made(photo, style)
        torch.set_num_threads(2)
        two = made(photo, style)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(one, again)
    assert levels_apart(one, two)[0] <= 1


@pytest.mark.situation("colours that neither photo nor reference has")
@pytest.mark.slow
@pytest.mark.parametrize("preset", ["patches", "best", "instant"])
def test_grey_stays_grey_at_full_length(preset: str) -> None:
    """Through 24 filters a step chroma comes out of nothing: 32 levels of it, were there no end to it."""
    settings = {} if preset == "instant" else {"iterations": ()}
    grey = coffee(96, 144)[..., 1:2].repeat(3, 2)
    image = made(grey, grey[::-1].copy() // 2, preset, boldness=1.0, size=144, **settings)
    assert (image.amax(0) - image.amin(0)).max() <= 4 * LEVEL


@pytest.mark.situation("colours that neither photo nor reference has")
@pytest.mark.parametrize(
    ("photo", "preset"),
    [(photo, preset) for photo in ("grey", "coloured") for preset in ("patches", "best", "instant")],
)
def test_a_grey_reference_makes_a_grey_picture(photo: str, preset: str) -> None:
    grey = coffee()[..., 1:2].repeat(3, 2)
    image = made(grey if photo == "grey" else coffee(), grey[::-1].copy(), preset, boldness=1.0, strength=1.0)
    spread = image.amax(0) - image.amin(0)
    assert spread.max() <= 4.5 * LEVEL


@pytest.mark.slow
def test_a_region_with_a_grey_reference_is_grey_and_the_other_is_not() -> None:
    labels = np.zeros(SIDE, int)
    labels[:, SIDE[1] // 2 :] = 1
    style = coffee()[::-1].copy()
    style[labels == 1] = style[labels == 1][:, 1:2]
    settings: dict[str, Any] = {"boldness": 1.0, "iterations": (), "feather": 0}
    image = made(coffee(), style, masks=[labels, labels], **settings)
    spread = image.amax(0) - image.amin(0)
    # The pixels at the border are both regions' where masks are reduced.
    assert spread[:, SIDE[1] // 2 + 2 :].max() <= 4.5 * LEVEL < 20 * LEVEL < spread[:, : SIDE[1] // 2].max()


def test_chroma_is_taken_off_once_and_a_picture_rendered_anew_is_the_same() -> None:
    labels = np.zeros(SIDE, int)
    labels[:, 33:] = 1  # reduced by half, the border runs through pixels
    grey = coffee()[::-1, :, 1:2].repeat(3, 2)
    config = configure(
        "patches", content=coffee(), style=grey, masks=[labels, labels], size=32, iterations=(3,), boldness=1.0,
        device="cpu", download=False,
    )  # fmt: skip
    once = transfer(config)
    assert torch.equal(transfer(config, solved=once.solved).image, once.image)
