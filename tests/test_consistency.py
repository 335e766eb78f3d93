"""Consistency: smooth maps of colour cost nothing, stains cost, and the model is the term's own second derivative."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from photostyle.config import Recipe
from photostyle.imaging.filters import resize, size_of
from photostyle.imaging.opponent import from_opponent
from photostyle.losses.consistency import REACH, Consistency, smooth_maps, spread_out
from photostyle.presets import recipe
from photostyle.scene import Restraint, Scene, Stage

LUMA = 0.3


def stage_of(picture: Tensor) -> Stage:
    height, width = size_of(picture)
    return Stage(0, max(height, width), height, width, 1, True)


def term(photo: Tensor, masks: Tensor | None = None, **settings: Any) -> Consistency:
    """With a weight of 1 unless settings say otherwise, and a white reference, which leaves nothing of the photo."""
    chosen = recipe(
        **{"consistency_weight": 1.0, "consistency_bold": 1.0, "consistency_luma": LUMA, **settings}
    )
    return Consistency(chosen, stage_of(photo), Scene.of(photo, torch.ones_like(photo), masks, masks), None)


def halves(height: int, width: int) -> Tensor:
    masks = torch.zeros(2, height, width)
    masks[0, :, : width // 2], masks[1, :, width // 2 :] = 1, 1
    return masks


@pytest.fixture
def photo(coffee: Tensor) -> Tensor:
    return resize(coffee, 48, 64)


def stained(photo: Tensor, strength: float) -> Tensor:
    """A soft red spot where the photo has no reason for one."""
    y, x = np.mgrid[0 : photo.shape[1], 0 : photo.shape[2]]
    spot = np.exp(-((y - 14) ** 2 + (x - 40) ** 2) / (2 * 5.0**2))
    return photo + strength * torch.tensor((1.0, -0.5, -0.5))[:, None, None] * torch.from_numpy(spot).float()


@pytest.mark.parametrize("masks", [None, halves(48, 64)], ids=["whole", "two regions"])
def test_smooth_maps_of_colour_are_free_and_stains_cost_more_the_stronger(
    photo: Tensor, masks: Tensor | None
):
    of = term(photo, masks)
    constant = torch.full_like(photo, 0.5)
    # Not affine in CIELAB, so nearly free.
    curve, stain = of(0.2 + 0.6 * photo**1.3).item(), of(stained(photo, 0.1)).item()
    assert of(constant).item() < (1 / 255) ** 2 / 10
    assert curve < stain / 10
    costs = [of(stained(photo, strength)).item() for strength in (0.0, 0.05, 0.1, 0.2)]
    assert costs == sorted(costs) and costs[-1] > 3 * costs[-2]


def test_each_region_has_a_map_of_its_own(photo: Tensor):
    """Two colour maps side by side are a stain to the whole picture and none to two regions."""
    masks = halves(48, 64)
    split = masks[0] * photo + masks[1] * (1 - photo)
    assert term(photo, masks)(split).item() < term(photo)(split).item() / 10


def test_it_is_what_least_squares_leaves(photo: Tensor):
    """Against numpy's solver on the same columns, at a size that is not halved."""
    ours, image = term(photo), stained(photo, 0.2)
    basis = smooth_maps(photo, torch.ones(48, 64)).double().numpy()
    axes = from_opponent(torch.eye(3)[:, :, None]).squeeze(-1).double().numpy()
    opponent = np.linalg.inv(axes.T) @ image.double().flatten(1).numpy()
    fitted = basis @ np.linalg.lstsq(basis, opponent.T, rcond=None)[0]
    squares = np.square(opponent.T - fitted).sum(0) / (48 * 64)
    assert ours(image).item() == pytest.approx(LUMA * squares[0] + squares[1:].sum(), rel=1e-3)


def test_the_basis_is_orthonormal_and_holds_the_colours_themselves(photo: Tensor):
    mask = torch.rand(48, 64, generator=torch.Generator().manual_seed(0))
    basis = smooth_maps(photo, mask)
    torch.testing.assert_close(basis.T @ basis, torch.eye(basis.shape[1]), atol=1e-3, rtol=0)
    assert 10 < basis.shape[1] < 80


def test_bumps_stand_apart_and_leave_no_colour_alone():
    generator = torch.Generator().manual_seed(1)
    colours = 60 * torch.rand(500, 3, generator=generator, dtype=torch.float64)
    chosen = spread_out(colours, torch.ones(500).double())
    between = torch.cdist(chosen, chosen) + torch.eye(len(chosen)) * 1e9
    assert between.min() > REACH
    assert torch.cdist(colours, chosen).amin(1).max() <= REACH or len(chosen) == 24


def test_its_curvature_is_its_second_derivative(photo: Tensor):
    """On 96 x 128 pixels halved from 192 x 256: through a level of the pyramid, two regions."""
    large = resize(photo, 96, 160)
    of = term(large, halves(96, 160))
    image = stained(resize(photo, 96, 160), 0.1).double().float()
    direction = torch.randn(large.shape, generator=torch.Generator().manual_seed(2))
    total = torch.zeros_like(direction)
    of.curvature(image).add(direction, total)
    moved = from_opponent(direction)
    # A quadratic: its second difference along a direction is exact but for rounding.
    second = of(image + moved) - 2 * of(image) + of(image - moved)
    assert (direction * total).sum().item() == pytest.approx(second.item(), rel=1e-3)


def test_the_gradient_is_right(photo: Tensor):
    small = resize(photo, 12, 16).double()
    of = term(small.float())
    for each in of.residuals:
        each.root, each.scales, each.basis = each.root.double(), each.scales.double(), each.basis.double()
    assert torch.autograd.gradcheck(of, (stained(small, 0.1).requires_grad_(),))


def test_it_holds_a_region_the_more_the_less_bold_it_is(photo: Tensor):
    def cost(boldness: float) -> float:
        maps = torch.cat((torch.eye(3), torch.zeros(3, 1)), 1)[None]
        restraint = Restraint(torch.tensor([boldness]).double(), maps, 0)
        scene = replace(Scene.of(photo, photo), restraint=restraint)
        chosen: Recipe = recipe(consistency_weight=10.0, consistency_bold=0.1)
        return Consistency(chosen, stage_of(photo), scene, None)(stained(photo, 0.1)).item()

    assert cost(0.0) == pytest.approx(10 * cost(1.0), rel=1e-4)
    assert cost(0.5) == pytest.approx(5.5 * cost(1.0), rel=1e-4)


def test_a_strip_is_not_halved_to_nothing():
    strip = torch.rand(3, 32, 5000, generator=torch.Generator().manual_seed(0))
    own = term(strip)
    assert torch.isfinite(own(strip)).all()
    assert own.curvature(strip).diagonal().shape == strip.shape
