"""The first canvas: regions recoloured and blended along the photo's edges, or another start that was asked for."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from photostyle.files.images import write_image
from photostyle.imaging.filters import (
    IMAGENET_MEAN,
    STRIP,
    apply_affine_maps,
    box_mean,
    local_affine_maps,
    resize,
)
from photostyle.pipeline import transfer
from photostyle.presets import configure
from photostyle.regions.canvas import FEATHER_RIDGE, NOISE, feather, noise, recolour, recoloured
from photostyle.regions.colour import region_colour_maps

EDGE = 30  # column of the step in `step_photo`


@pytest.fixture
def photo(coffee: Tensor) -> Tensor:
    return resize(coffee, 64, 96)


@pytest.fixture
def step_photo() -> Tensor:
    """Dark left and bright right of column EDGE, with the grain of a camera."""
    photo = torch.full((3, 40, 60), 0.2)
    photo[:, :, EDGE:] = 0.8
    return photo + 0.01 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))


def halves(height: int, width: int, column: int) -> Tensor:
    masks = torch.zeros(2, height, width)
    masks[0, :, :column], masks[1, :, column:] = 1, 1
    return masks


def random_regions(height: int, width: int, seed: int, labels: int = 4) -> Tensor:
    """Three regions of 8x8 blocks; where a fourth label falls, none."""
    generator = torch.Generator().manual_seed(seed)
    blocks = torch.randint(0, labels, (-(-height // 8), -(-width // 8)), generator=generator)
    painted = blocks.repeat_interleave(8, 0).repeat_interleave(8, 1)[:height, :width]
    return torch.stack([(painted == k).float() for k in range(3)])


def affine(slopes: list[list[float]], offset: list[float]) -> Tensor:
    return torch.cat((torch.tensor(slopes), torch.tensor(offset)[:, None]), 1)


TINT = affine([[0.5, 0.1, 0.0], [0.0, 0.6, 0.1], [0.1, 0.0, 0.4]], [0.2, 0.1, 0.0])
SHADE = affine([[0.3, 0.0, 0.0], [0.0, 0.3, 0.0], [0.0, 0.0, 0.5]], [0.0, 0.2, 0.3])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("radius", [1, 4, 8])
def test_feathering_keeps_the_sum_of_every_pixel_and_the_range(photo: Tensor, radius: int, seed: int):
    masks = random_regions(64, 96, seed)
    soft = feather(photo, masks, radius)
    torch.testing.assert_close(soft.sum(0), masks.sum(0), rtol=0, atol=1e-5)  # sums of float32 near 1
    assert soft.min() >= 0
    assert not torch.equal(soft, masks)


def test_the_sum_is_kept_where_the_masks_are_fitted_on_a_smaller_copy(coffee: Tensor):
    masks = random_regions(400, 600, 0)
    torch.testing.assert_close(feather(coffee, masks, 8).sum(0), masks.sum(0), rtol=0, atol=1e-5)


def test_at_the_fitting_size_feathering_is_the_guided_filter(photo: Tensor):
    masks = random_regions(64, 96, 0, labels=3)
    # He, Sun & Tang (ECCV 2010), eq. 16: the maps of all windows that hold a pixel, averaged.
    maps = local_affine_maps(photo, masks, 5, FEATHER_RIDGE)
    mean = box_mean(maps.flatten(0, 1), 5).unflatten(0, maps.shape[:2])
    soft = apply_affine_maps(mean, photo).clamp(0, 1)
    torch.testing.assert_close(feather(photo, masks, 5), soft / soft.sum(0), rtol=0, atol=1e-5)


def test_a_border_drawn_beside_an_edge_moves_onto_the_edge(step_photo: Tensor):
    soft = feather(step_photo, halves(40, 60, EDGE - 4), 8)[0]
    # The one step of more than a tenth is the photo's, not the mask's four pixels before.
    steps = (soft[:, :-1] - soft[:, 1:]).mean(0)
    assert steps.argmax().item() == EDGE - 1
    assert steps[EDGE - 1] > 0.3 and steps[: EDGE - 1].max() < 0.1
    # And nothing of the left region is left on the right of it.
    assert soft[:, EDGE:].max() < 0.05


def test_where_there_is_no_edge_a_border_fades_over_the_radius(step_photo: Tensor):
    flat = torch.full_like(step_photo, 0.5)
    soft = feather(flat, halves(40, 60, 30), 4)[0, 20]
    # A box of 9 pixels twice: a ramp from 8 pixels before to 8 after, and no value skipped.
    assert (soft[:22] == pytest.approx(torch.ones(22))) and soft[38:].max() < 1e-6
    assert (soft[:-1] - soft[1:]).max() <= 1 / 9 + 1e-6


def test_radius_zero_and_a_single_region_stay_hard(photo: Tensor):
    masks = random_regions(64, 96, 0)
    assert torch.equal(feather(photo, masks, 0), masks)
    assert torch.equal(feather(photo, masks[:1], 8), masks[:1])


def test_each_region_goes_through_its_own_map_and_the_rest_stays(photo: Tensor):
    masks = random_regions(64, 96, 1)
    maps = torch.stack((TINT, SHADE, torch.eye(3, 4)))
    result = recolour(photo, masks, maps)
    for y, x in [(0, 0), (10, 50), (33, 7), (63, 95), (40, 80), (20, 20)]:
        held = masks[:, y, x].nonzero()
        expected = photo[:, y, x]
        if len(held):
            expected = maps[held[0, 0], :, :3] @ expected + maps[held[0, 0], :, 3]
        torch.testing.assert_close(result[:, y, x], expected.clamp(0, 1))
    outside = masks.sum(0) == 0
    assert outside.any() and torch.equal(result[:, outside], photo[:, outside])


def test_regions_with_one_map_have_no_seam_between_them(photo: Tensor):
    masks = feather(photo, random_regions(64, 96, 2, labels=3), 8)
    seamless = recolour(photo, torch.ones(1, 64, 96), TINT[None])
    torch.testing.assert_close(recolour(photo, masks, TINT.expand(3, -1, -1)), seamless, rtol=0, atol=1e-5)


def test_a_feathered_border_in_a_flat_sky_shows_no_step():
    sky = torch.full((3, 40, 60), 0.6)
    masks = halves(40, 60, 30)
    maps = torch.stack((TINT, SHADE))
    hard, soft = (recolour(sky, feather(sky, masks, radius), maps) for radius in (0, 8))
    jump, ramp = ((p[:, :, 1:] - p[:, :, :-1]).abs().max().item() for p in (hard, soft))
    # Two boxes of 17 pixels: the steepest place of a triangle's integral is a 17th.
    assert jump > 0.1 and ramp == pytest.approx(jump / 17, rel=1e-3)


def test_recolouring_stays_in_range(photo: Tensor):
    result = recolour(photo, torch.ones(1, 64, 96), 5 * torch.eye(3, 4)[None])
    torch.testing.assert_close(result, (5 * photo).clamp(0, 1))
    assert result.max() == 1


def test_noise_is_the_seeds_and_no_photos(photo: Tensor):
    assert torch.equal(noise(photo, 1), noise(photo, 1)) and not torch.equal(noise(photo, 1), noise(photo, 2))
    assert torch.equal(noise(photo, 1), noise(1 - photo, 1))
    mean = torch.tensor(IMAGENET_MEAN)[:, None, None]
    # 18 432 draws fix a standard deviation to 0.5 %; at means near 0.5 float32 rounds to 3e-8 of 4e-7.
    assert (noise(photo, 1) - mean).std().item() == pytest.approx(NOISE, rel=0.05)


def test_instant_is_the_canvas_itself_at_the_photos_size(coffee: Tensor, chelsea: Tensor, tmp_path: Path):
    for name, picture in (("photo", coffee[:, :60, :80]), ("style", chelsea[:, 100:150, 100:170])):
        write_image(tmp_path / f"{name}.png", picture)
    settings = configure(
        "instant", content=tmp_path / "photo.png", style=tmp_path / "style.png", boldness=1.0, device="cpu"
    )
    result = transfer(settings)
    photo, style = result.photo.pixels, result.reference.pixels
    maps = region_colour_maps(photo, torch.ones(1, 60, 80), style, torch.ones(1, 50, 70))
    assert result.trace == []
    assert torch.equal(result.image, recolour(photo, torch.ones(1, 60, 80), maps))


@pytest.mark.parametrize("radius", [0, 8])
def test_strips_of_rows_are_the_whole_picture(coffee: Tensor, radius: int) -> None:
    photo = resize(coffee, 2 * STRIP + 9, 120)
    masks, maps = random_regions(*photo.shape[1:], seed=4), torch.stack((TINT, TINT / 2, 1 - TINT))
    soft = feather(photo, masks, radius)
    if radius:  # as it was when the whole picture was in memory at once
        small = resize(photo, 256, round(256 * 120 / photo.shape[1]))
        fitted = local_affine_maps(small, resize(masks, *small.shape[1:]), radius, FEATHER_RIDGE)
        wide = resize(box_mean(fitted.flatten(0, 1), radius), *photo.shape[1:]).unflatten(0, (3, 4))
        whole = apply_affine_maps(wide, photo).clamp(0, 1)
        whole = whole * (masks.sum(0) / whole.sum(0).clamp(min=1e-6))
        torch.testing.assert_close(soft, whole, atol=1e-5, rtol=0)
    assert torch.equal(recoloured(photo, masks, maps, radius), recolour(photo, soft, maps))
