"""Sliced Wasserstein distance of patches against its definition."""

from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from plans import holding_the_plan
from torch import Tensor

from photostyle.imaging.filters import resize
from photostyle.losses.patches import PatchStyle, unit_filters
from photostyle.losses.sliced import BINS
from photostyle.regions.mixture import Anchor, alone


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_unit_filters_have_unit_length_and_every_direction():
    filters = unit_filters(2000, 5, torch.Generator().manual_seed(0))
    assert filters.shape == (2000, 3, 5, 5)
    torch.testing.assert_close(filters.flatten(1).norm(dim=1), torch.ones(2000))
    # Isotropic: E w w^T = I / 75, each entry within five standard errors (1 / 75 / sqrt(2000) off the diagonal).
    second = filters.flatten(1).T @ filters.flatten(1) / 2000
    assert (second - torch.eye(75) / 75).abs().max() < 5 * 2**0.5 / 75 / 2000**0.5


# --- the distance ----------------------------------------------------------------------------------------------


def compare(
    style: Tensor, style_masks: Tensor | None = None, content_masks: Tensor | None = None, **settings
):
    """A PatchStyle of small settings; regions default to the whole picture."""
    whole = torch.ones(1, *style.shape[1:]).to(style)
    given = {"patch_size": 5, "levels": 2, "bank": 16, "seed": 1, **settings}
    return PatchStyle(
        alone(style, whole if style_masks is None else style_masks),
        whole if content_masks is None else content_masks,
        **given,
    )


def everything(style: PatchStyle) -> list[Tensor]:
    """Every filter of every level, so that nothing is left to a draw."""
    return [torch.arange(len(level.filters)) for level in style.levels]


def distance(style: PatchStyle, image: Tensor) -> float:
    return style(image, everything(style)).item()


@pytest.fixture(scope="module")
def photo(coffee: Tensor) -> Tensor:
    return resize(coffee, 64, 96)


@pytest.fixture(scope="module")
def other(chelsea: Tensor) -> Tensor:
    return resize(chelsea, 64, 96)


def exact_distance(image: Tensor, style: Tensor, filters: Tensor) -> float:
    """The mean over filters of W2^2 between all patches of two pictures of equal size, by sorting."""
    total = 0.0
    for weights in filters.numpy():
        ours, theirs = (
            np.einsum("ykcij,cij->yk", _patches(p.numpy(), weights.shape[-1]), weights).ravel()
            for p in (image, style)
        )
        total += float(np.mean((np.sort(ours) - np.sort(theirs)) ** 2))
    return total / len(filters)


def _patches(image: np.ndarray, side: int) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(image, (side, side), (1, 2)).transpose(1, 2, 0, 3, 4)


def test_the_distance_is_the_sorted_one_of_all_patches():
    image, style = uniform(3, 40, 40), uniform(3, 40, 40, seed=1) ** 2
    measured = compare(style, levels=1)
    exact = exact_distance(image, style, measured.levels[0].filters)
    # 1296 patches over 2048 bins: a goal is off by the spacing of neighbours, 1e-3 of the range, in both directions.
    assert distance(measured, image) == pytest.approx(exact, rel=0.01)


def test_the_gradient_is_that_of_the_whole_distance_although_the_goal_is_held_fixed():
    image, style = uniform(3, 40, 40), uniform(3, 40, 40, seed=1) ** 2
    measured = compare(style, levels=1)
    image.requires_grad_()
    measured(image, everything(measured)).backward()
    assert image.grad is not None
    direction = image.grad / image.grad.norm()
    filters, step = measured.levels[0].filters, 1e-2
    ahead, behind = (exact_distance(image.detach() + s * direction, style, filters) for s in (step, -step))
    # Differences of the exact distance, re-sorted at each end; the envelope theorem makes its derivative that of the
    # frozen plan. What is left is the bins' error of the goals, as in the test before.
    assert (ahead - behind) / (2 * step) == pytest.approx(image.grad.norm().item(), rel=0.03)


def test_gradcheck_with_the_plan_held_fixed(monkeypatch: pytest.MonkeyPatch):
    image, style = uniform(3, 16, 18), uniform(3, 16, 18, seed=1)
    soft = uniform(2, 16, 18, seed=2)
    measured = compare(style, soft / 2, soft / 2, levels=1, bank=4, patch_size=3)
    replayed = holding_the_plan(monkeypatch, lambda x: measured(x, everything(measured)), image)
    assert torch.autograd.gradcheck(replayed, image.requires_grad_())


def test_identical_pictures_are_as_near_as_the_bins_can_tell(photo: Tensor, other: Tensor):
    own = compare(photo)
    # A goal is off by about a bin, a 2048th of the widest projection's range, at each of two levels.
    widest = max(
        (p.amax(1) - p.amin(1)).max().item()
        for p in (F.conv2d(photo[None], level.filters)[0].flatten(1) for level in own.levels)
    )
    assert distance(own, photo) <= 2 * (2 * widest / BINS) ** 2
    assert distance(own, photo) < 1e-3 * distance(compare(other), photo)


def test_it_does_not_matter_in_which_order_regions_come(photo: Tensor, other: Tensor):
    generator = torch.Generator().manual_seed(3)
    ours, theirs = (F.softmax(3 * torch.randn(3, 64, 96, generator=generator), 0) for _ in range(2))
    order = [2, 0, 1]
    forward, permuted = compare(other, theirs, ours), compare(other, theirs[order], ours[order])
    # Only the order of three additions differs.
    assert distance(permuted, photo) == pytest.approx(distance(forward, photo), rel=1e-5)


def inset(height: int, width: int, *columns: tuple[int, int], margin: int = 12) -> Tensor:
    """One region: the given columns, as far from their ends as two levels of 5x5 patches see (2 + 2 * 2, and even)."""
    mask = torch.zeros(1, height, width)
    for left, right in columns:
        mask[:, margin : height - margin, left + margin : right - margin] = 1
    return mask


def test_the_area_of_the_style_region_does_not_matter(photo: Tensor, other: Tensor):
    once = compare(other, inset(64, 96, (0, 96)), torch.ones(1, 64, 96))
    twice = compare(torch.cat((other, other), 2), inset(64, 192, (0, 96), (96, 192)), torch.ones(1, 64, 96))
    # The same pixels twice: the same distribution. Hazen's quantiles shift by up to half a pixel's mass of 2880.
    assert distance(twice, photo) == pytest.approx(distance(once, photo), rel=1e-3)


def test_what_lies_outside_a_region_does_not_matter(photo: Tensor, other: Tensor):
    mask = inset(64, 96, (0, 96))
    noisy_style, noisy_photo = other.clone(), photo.clone()
    for picture in (noisy_style, noisy_photo):
        picture[:, :6] = uniform(3, 6, 96).float()
        picture[:, :, -6:] = uniform(3, 64, 6).float()
    clean, noisy = compare(other, mask, mask), compare(noisy_style, mask, mask)
    assert distance(noisy, noisy_photo) == pytest.approx(distance(clean, photo), rel=1e-6)
    outside = noisy_photo.requires_grad_()
    noisy(outside, everything(noisy)).backward()
    assert outside.grad is not None and not outside.grad[:, :6].any() and outside.grad[:, 20:40].any()


def test_a_region_shared_by_two_masks_weighs_as_one(photo: Tensor, other: Tensor):
    # Shares and distances are linear in the mask: halves of a mask, twice, are the mask.
    half = torch.full((2, 64, 96), 0.5)
    split, whole = compare(other, half, half), compare(other)
    assert distance(split, photo) == pytest.approx(distance(whole, photo), rel=1e-5)


def test_regions_weigh_by_their_share_of_the_content(photo: Tensor, other: Tensor):
    ours, styles = torch.zeros(2, 64, 96), torch.ones(2, 64, 96)
    ours[0, :, :72], ours[1, :, 72:] = 1, 1
    both = distance(compare(other, styles, ours, levels=1), photo)
    left, right = (distance(compare(other, styles[:1], ours[k : k + 1], levels=1), photo) for k in (0, 1))
    assert both == pytest.approx(0.75 * left + 0.25 * right, rel=1e-5)


def test_regions_take_their_own_style_and_not_their_neighbours(photo: Tensor):
    # The photo against itself, regions in their places and swapped.
    regions = torch.zeros(2, 64, 96)
    regions[0, :, :40], regions[1, :, 40:] = 1, 1
    right = distance(compare(photo, regions, regions), photo)
    wrong = distance(compare(photo, regions.flip(0), regions), photo)
    assert right < 1e-3 * wrong


def test_a_hue_that_the_reference_lacks_is_seen(photo: Tensor):
    # The same luma, opposite chroma: what a bank that mostly sees contrast would let pass.
    grey = photo.mean(0, keepdim=True)
    opposite = (2 * grey - photo).clamp(0, 1)
    greyer = (grey + 0.5 * (photo - grey)).clamp(0, 1)
    own = compare(photo)
    assert distance(own, photo) < distance(own, greyer) < distance(own, opposite)


def test_descending_brings_the_patches_nearer(photo: Tensor, other: Tensor):
    measured, image = compare(other), photo.clone()
    course = []
    for _ in range(6):
        image.requires_grad_()
        loss = measured(image, everything(measured))
        course.append(loss.item())
        (gradient,) = torch.autograd.grad(loss, image)
        # The loss is a mean over 64 x 96 pixels, so a pixel's gradient is as many times smaller than its own error.
        image = (image - 0.05 * 64 * 96 * gradient).detach()
    assert all(later < earlier for earlier, later in pairwise(course))
    assert course[-1] < course[0] / 2


def test_a_picture_has_only_the_levels_that_hold_patches(photo: Tensor):
    assert [len(compare(photo, levels=n).levels) for n in (1, 2, 9)] == [1, 2, 3]  # 64, 32 and 16 pixels high
    small = torch.ones(1, 20, 30)
    assert len(compare(photo, None, small, levels=9).levels) == 1  # the content decides too


def test_a_draw_is_the_generators_and_within_the_bank(photo: Tensor):
    style = compare(photo, bank=17)
    one, same, another = (style.draw(6, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one, another, strict=True))
    for indices in one:
        assert len(set(indices.tolist())) == 6 and 0 <= indices.min() and indices.max() < 17
    for indices in style.draw(17, torch.Generator()):
        assert sorted(indices.tolist()) == list(range(17))


def test_draws_average_to_the_whole_bank(photo: Tensor, other: Tensor):
    style, generator = compare(other, levels=1), torch.Generator().manual_seed(0)
    singles = torch.stack([style(photo, [torch.tensor([k])]) for k in range(16)])
    assert distance(style, photo) == pytest.approx(singles.mean().item(), rel=1e-5)
    drawn = torch.stack([style(photo, style.draw(4, generator)) for _ in range(200)])
    # Two of eight from each half: the mean of 200 draws has a standard error under s / 2 / sqrt(200), s over filters.
    assert abs(drawn.mean() - singles.mean()) < 4 * singles.std() / 2 / 200**0.5


def test_the_bank_is_the_seeds(photo: Tensor):
    one, same, other = (compare(photo, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.levels[0].filters, same.levels[0].filters)
    assert not torch.equal(one.levels[0].filters, other.levels[0].filters)
    assert not torch.equal(one.levels[0].filters, one.levels[1].filters)


# --- held back -------------------------------------------------------------------------------------------------


def test_the_goal_moves_from_what_a_region_keeps_to_the_reference(coffee: Tensor, chelsea: Tensor):
    """At 0 the anchor has nothing to pay, at 1 the reference; in one dimension the distances add up along the way."""
    kept, other = resize(coffee, 40, 60), resize(chelsea, 40, 60)
    whole = torch.ones(1, 40, 60)

    def cost(boldness: float, image: Tensor) -> float:
        anchor = Anchor(kept, whole, torch.tensor([boldness]).double())
        style = PatchStyle(alone(other, whole), whole, anchor, patch_size=5, levels=2, bank=16, seed=1)
        return distance(style, image) ** 0.5

    apart = cost(1.0, kept)
    assert cost(0.0, kept) < 0.02 * apart and cost(1.0, other) < 0.02 * apart
    for boldness in (0.25, 0.5):
        assert cost(boldness, kept) == pytest.approx(boldness * apart, rel=0.03)
        assert cost(boldness, other) == pytest.approx((1 - boldness) * apart, rel=0.03)
