"""Every term: its equation in loops, its gradient against finite differences, and a property that tells it apart."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from photostyle.imaging.filters import halve, resize
from photostyle.imaging.matting import EPSILON, MattingOperator, matting_laplacian
from photostyle.losses.content import content_loss
from photostyle.losses.gram import gram_distance, gram_loss, region_grams, scales, supports
from photostyle.losses.photorealism import photorealism_loss
from photostyle.losses.structure import FLAT, structure_loss
from photostyle.losses.variation import variation_loss


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Uniform on [0, 1], float64: gradients are checked by differences of 1e-6."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def variable(*shape: int, seed: int = 0) -> Tensor:
    return noise(*shape, seed=seed).requires_grad_()


# --- content ---------------------------------------------------------------------------------------------------


def test_content_is_the_mean_squared_feature_distance():
    ours, theirs = noise(2, 3, 4), noise(2, 3, 4, seed=1)
    total = sum((float(ours[i]) - float(theirs[i])) ** 2 for i in np.ndindex(2, 3, 4))
    assert content_loss(ours, theirs, relative=False).item() == pytest.approx(total / 24)
    square = sum(float(theirs[i]) ** 2 for i in np.ndindex(2, 3, 4))
    assert content_loss(ours, theirs, relative=True).item() == pytest.approx(total / square)


def test_relative_content_does_not_depend_on_the_encoders_scale():
    ours, theirs = noise(4, 5, 6), noise(4, 5, 6, seed=1)
    once, scaled = (content_loss(s * ours, s * theirs, relative=True).item() for s in (1, 57))
    assert scaled == pytest.approx(once)
    assert content_loss(theirs, theirs, relative=True).item() == 0
    # Features of nothing are exactly as far from the target as the target is long.
    assert content_loss(torch.zeros_like(theirs), theirs, relative=True).item() == pytest.approx(1)


@pytest.mark.parametrize("relative", [True, False])
def test_the_content_gradient(relative: bool):
    target = noise(2, 3, 4, seed=1)
    assert gradcheck(lambda x: content_loss(x, target, relative), variable(2, 3, 4))


# --- Gram ------------------------------------------------------------------------------------------------------


def loops_gram(features: np.ndarray, mask: np.ndarray, power: int) -> np.ndarray:
    channels = len(features)
    gram = np.zeros((channels, channels))
    for i, j in np.ndindex(channels, channels):
        for y, x in np.ndindex(mask.shape):
            gram[i, j] += features[i, y, x] * features[j, y, x] * mask[y, x] ** power
    return gram / (channels * mask.sum())


@pytest.mark.parametrize("squared", [False, True])
def test_region_grams_are_their_definition_in_loops(squared: bool):
    features, masks = noise(3, 4, 5) - 0.5, noise(2, 4, 5, seed=1)
    grams = region_grams(features, masks, squared)
    for gram, mask in zip(grams.numpy(), masks.numpy(), strict=True):
        np.testing.assert_allclose(gram, loops_gram(features.numpy(), mask, 1 + squared), rtol=1e-12)


def test_squared_masks_are_masked_features():
    # The released code multiplies features with the mask and then takes their Gram matrix.
    features, mask = noise(3, 4, 5), noise(1, 4, 5, seed=1)
    masked = (features * mask).flatten(1)
    released = masked @ masked.T / (features.numel() * mask.mean())
    torch.testing.assert_close(region_grams(features, mask, squared_masks=True)[0], released)


def test_hard_masks_need_no_squaring_and_soft_ones_do():
    features, soft = noise(3, 4, 5), noise(2, 4, 5, seed=1)
    hard = (soft > 0.5).double()
    assert torch.equal(region_grams(features, hard), region_grams(features, hard, squared_masks=True))
    assert not torch.allclose(region_grams(features, soft), region_grams(features, soft, squared_masks=True))


def test_a_region_twice_as_large_with_the_same_pixels_has_the_same_gram():
    features, masks = noise(3, 4, 5), noise(2, 4, 5, seed=1)
    doubled = region_grams(torch.cat((features, features), 2), torch.cat((masks, masks), 2))
    torch.testing.assert_close(doubled, region_grams(features, masks))


def test_what_lies_outside_a_region_is_not_in_its_gram():
    features, mask = noise(3, 4, 5), torch.zeros(1, 4, 5, dtype=torch.float64)
    mask[:, :, :3] = 1
    elsewhere = features.clone()
    elsewhere[:, :, 3:] += 7
    assert torch.equal(region_grams(features, mask), region_grams(elsewhere, mask))


def test_an_empty_region_has_no_gram_no_share_and_no_gradient():
    features, masks = variable(3, 4, 5), torch.stack((noise(4, 5), torch.zeros(4, 5, dtype=torch.float64)))
    grams = region_grams(features, masks)
    assert not grams[1].any()
    loss = gram_loss(grams, region_grams(noise(3, 6, 6, seed=2), noise(2, 6, 6)), masks.mean((1, 2)), True)
    alone = gram_loss(
        grams[:1], region_grams(noise(3, 6, 6, seed=2), noise(2, 6, 6)[:1]), masks[:1].mean((1, 2)), True
    )
    assert loss.item() == alone.item()
    loss.backward()
    assert features.grad is not None and features.grad.isfinite().all()


@pytest.mark.parametrize("relative", [True, False])
def test_the_gram_loss_is_its_equation_in_loops(relative: bool):
    grams, targets, shares = noise(2, 3, 3), noise(2, 3, 3, seed=1), torch.tensor([0.3, 0.5]).double()
    total = 0.0
    for k in range(2):
        distance = sum((grams[k, i, j] - targets[k, i, j]).item() ** 2 for i, j in np.ndindex(3, 3))
        norm = sum(targets[k, i, j].item() ** 2 for i, j in np.ndindex(3, 3)) if relative else 9
        total += shares[k].item() * distance / norm
    assert gram_loss(grams, targets, shares, relative).item() == pytest.approx(total)


def test_the_gram_loss_is_zero_at_the_target_and_blind_to_where_pixels_are():
    features = noise(3, 4, 5)
    mirrored, whole = features.flip(2), torch.ones(1, 4, 5, dtype=torch.float64)
    target = region_grams(features, whole)
    loss = gram_loss(region_grams(mirrored, whole), target, torch.ones(1).double(), relative=True)
    assert loss.item() == pytest.approx(0, abs=1e-28)  # rounding, squared


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("relative", [True, False])
def test_the_gram_gradient_is_exact_also_at_soft_borders(squared: bool, relative: bool):
    masks, targets = noise(2, 3, 4, seed=1), noise(2, 2, 2, seed=2)
    shares = masks.mean((1, 2))

    def loss(features: Tensor) -> Tensor:
        return gram_loss(region_grams(features, masks, squared), targets, shares, relative)

    assert gradcheck(loss, variable(2, 3, 4))


def one_by_one(features: Tensor, masks: Tensor, squared: bool) -> Tensor:
    """The equation as it is printed: each region over the whole picture, differentiated by torch."""
    flat, grams = features.flatten(1), []
    for mask in masks.flatten(1):
        grams.append((flat * mask ** (1 + squared)) @ flat.T / (len(flat) * mask.sum().clamp(min=1e-6)))
    return torch.stack(grams)


def three_regions() -> Tensor:
    """A hard one, one with a soft border over it, and an empty one: (3, 9, 7)."""
    masks = torch.zeros(3, 9, 7, dtype=torch.float64)
    masks[0, :, :3], masks[1, :, 3:] = 1, 1
    masks[0, :, 2], masks[1, :, 2] = 0.7, 0.3
    return masks


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_loss_of_an_evaluation_is_that_of_whole_grams(
    squared: bool, relative: bool, layout: torch.memory_format
):
    masks, exact = three_regions(), variable(6, 9, 7)
    targets, shares = one_by_one(noise(6, 9, 7, seed=2), masks, squared), masks.mean((1, 2))
    loss = gram_loss(one_by_one(exact, masks, squared), targets, shares, relative)
    loss.backward()
    features = exact.detach().float()[None].contiguous(memory_format=layout)[0].requires_grad_()
    torch.testing.assert_close(
        region_grams(features, masks.float(), squared).double(),
        one_by_one(exact, masks, squared),
        rtol=1e-5,
        atol=1e-7,
    )
    factors = scales(targets, shares, relative).float()
    found = gram_distance(features, supports(masks.float(), squared), targets.float(), factors)
    found.backward()
    assert found.item() == pytest.approx(loss.item(), rel=1e-5)
    assert exact.grad is not None and features.grad is not None
    torch.testing.assert_close(
        features.grad.double(), exact.grad, rtol=1e-4, atol=1e-6 * exact.grad.abs().max()
    )


def test_the_gradient_over_supports_is_exact():
    masks = three_regions()
    regions, targets = supports(masks), region_grams(noise(2, 9, 7, seed=2), masks)
    assert [None if each.pixels is None else len(each.pixels) for each in regions] == [27, 45, 0]
    for each in (regions, supports(masks + 0.1)):
        assert gradcheck(lambda x, each=each: gram_distance(x, each, targets, noise(3)), variable(2, 9, 7))


# --- structure -------------------------------------------------------------------------------------------------


def loops_structure(image: np.ndarray, photo: np.ndarray, window: int) -> float:
    """1 - the mean over windows inside the picture of (cov + FLAT) / sqrt((var a + FLAT) (var b + FLAT))."""
    ours = 0.2126 * image[0] + 0.7152 * image[1] + 0.0722 * image[2]
    scores = []
    for y, x in np.ndindex(ours.shape[0] - window + 1, ours.shape[1] - window + 1):
        a, b = (p[y : y + window, x : x + window].ravel() for p in (ours, photo))
        (aa, ab), (_, bb) = np.cov(a, b, ddof=0)
        scores.append((ab + FLAT) / np.sqrt((aa + FLAT) * (bb + FLAT)))
    return 1 - float(np.mean(scores))


@pytest.mark.parametrize("window", [3, 7])
def test_structure_is_its_equation_in_loops(window: int):
    image, photo = noise(3, 9, 11), noise(9, 11, seed=1)
    assert structure_loss(image, photo, window).item() == pytest.approx(
        loops_structure(image.numpy(), photo.numpy(), window), rel=1e-9
    )


@pytest.mark.parametrize(("gain", "offset"), [(0.3, 0.5), (2.0, -0.4), (1.0, 0.2)])
def test_gain_and_offset_of_light_cost_nothing_beyond_the_flat_constant(gain: float, offset: float):
    photo = noise(12, 13)
    loss = structure_loss((gain * photo + offset).expand(3, -1, -1), photo, 7).item()
    least = min(photo[y : y + 7, x : x + 7].var(correction=0).item() for y, x in np.ndindex(6, 7))
    # 1 - c <= 1 - c^2 = F v (1 - g)^2 / ((g^2 v + F) (v + F)) <= F (1 - g)^2 / (g^2 v) for variance v, constant F.
    assert -1e-12 <= loss <= FLAT * (1 - gain) ** 2 / (gain**2 * least) + 1e-12


def test_structure_lies_between_agreement_and_its_opposite():
    photo = noise(12, 13)
    same, inverted = (structure_loss(p.expand(3, -1, -1), photo, 7).item() for p in (photo, 1 - photo))
    assert same == pytest.approx(0, abs=1e-12)
    # A correlation of -1 but for FLAT against window variances near 1/12.
    assert inverted == pytest.approx(2, abs=0.01)


def test_flat_windows_agree_with_flat_ones_and_with_nothing_else():
    flat = torch.full((12, 13), 0.6, dtype=torch.float64)
    # In float64 a flat window's variance is 1e-16 at most, next to FLAT = 1.5e-5.
    assert structure_loss((flat / 2).expand(3, -1, -1), flat, 7).item() == pytest.approx(0, abs=1e-9)
    grain = noise(3, 12, 13)
    expected = loops_structure(grain.numpy(), flat.numpy(), 7)
    assert structure_loss(grain, flat, 7).item() == pytest.approx(expected, abs=1e-9) and expected > 0.9


def test_the_structure_gradient():
    photo = noise(6, 7, seed=1)
    assert gradcheck(lambda x: structure_loss(x, photo, 3), variable(3, 6, 7))


# --- variation -------------------------------------------------------------------------------------------------


def checkerboard(height: int, width: int) -> Tensor:
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return ((y + x) % 2).double()


def test_the_variation_of_a_checkerboard_is_known():
    # Every difference is 1: two for each of the 4 x 6 pixels with a right and a lower neighbour, in three channels.
    assert variation_loss(checkerboard(5, 7).expand(3, -1, -1)).item() == 0.5 * 3 * 2 * 4 * 6


def test_each_channel_counts_by_itself():
    # A port sums the channels first: opposite checkerboards in red and green are then a constant grey.
    board = checkerboard(5, 7)
    image = torch.stack((board, 1 - board, torch.full_like(board, 0.5)))
    assert variation_loss(image).item() == 0.5 * 2 * 2 * 4 * 6


def test_variation_is_its_equation_in_loops_and_zero_for_a_constant():
    image = noise(3, 4, 6)
    total = sum(
        (image[c, i, j] - image[c, i, j + 1]).item() ** 2 + (image[c, i, j] - image[c, i + 1, j]).item() ** 2
        for c, i, j in np.ndindex(3, 3, 5)
    )
    assert variation_loss(image).item() == pytest.approx(total / 2)
    assert variation_loss(torch.full((3, 4, 6), 0.3)).item() == 0


def test_the_variation_gradient():
    assert gradcheck(variation_loss, variable(3, 4, 5))


# --- photorealism ----------------------------------------------------------------------------------------------


def scales_of(photo: Tensor, weights: tuple[float, ...]) -> list[tuple[float, MattingOperator]]:
    """In float64, from the matrix."""
    photos = [halve(photo, k) for k in range(len(weights))]
    matrices = [matting_laplacian(each.permute(1, 2, 0).numpy()) for each in photos]
    operators = [
        MattingOperator(matrix, *each.shape[1:], dtype=torch.float64)
        for matrix, each in zip(matrices, photos, strict=True)
    ]
    return list(zip(weights, operators, strict=True))


def test_photorealism_at_several_scales_is_the_sum_of_the_matrices_quadratic_forms():
    photo, image, weights = noise(3, 24, 32), noise(3, 24, 32, seed=1), (0.5, 2.0, 3.0)
    total = 0.0
    for level, weight in enumerate(weights):
        side = 2**level
        small, ours = (
            p.numpy().reshape(3, 24 // side, side, 32 // side, side).mean((2, 4)) for p in (photo, image)
        )
        matrix = matting_laplacian(small.transpose(1, 2, 0))
        total += weight * sum(channel.ravel() @ (matrix @ channel.ravel()) for channel in ours)
    # Both sides use one matrix of each scale; the sums differ in order only.
    assert photorealism_loss(image, scales_of(photo, weights)).item() == pytest.approx(total, rel=1e-9)


def test_brightness_has_its_share_of_the_coarse_energies_alone():
    photo, image = noise(3, 24, 32), noise(3, 24, 32, seed=1)
    scales = scales_of(photo, (0.5, 2.0))
    small = image.numpy().reshape(3, 12, 2, 16, 2).mean((2, 4)).reshape(3, -1)
    matrix = matting_laplacian(halve(photo, 1).permute(1, 2, 0).numpy())
    # Another basis of the same axes: grey, red against green, yellow against blue, each of length one.
    axes = np.array([[1, 1, 1], [1, -1, 0], [1, 1, -2]]) / np.sqrt([[3], [2], [6]])
    grey, *chroma = (axis @ small for axis in axes)
    energies = [0.3 * (grey @ (matrix @ grey)), *(each @ (matrix @ each) for each in chroma)]
    own = photorealism_loss(image, scales[:1]).item()
    assert photorealism_loss(image, scales, 0.3).item() == pytest.approx(own + 2 * sum(energies), rel=1e-9)
    assert photorealism_loss(image, scales, 1).item() == photorealism_loss(image, scales).item()


def test_light_that_falls_otherwise_costs_nothing_where_brightness_has_no_share():
    photo = noise(3, 24, 32)
    light = photo + 0.2 * noise(1, 24, 32, seed=1)  # the same change in all three channels
    (_, fine), coarse = scales_of(photo, (1.0, 1.0))
    untouched = photorealism_loss(photo, [(0.0, fine), coarse], 0).item()
    assert photorealism_loss(light, [(0.0, fine), coarse], 0).item() == pytest.approx(untouched, rel=1e-9)
    assert photorealism_loss(light, [(0.0, fine), coarse], 0.1).item() > 10 * untouched


def test_an_affine_recolouring_is_photorealistic_at_every_scale():
    photo = noise(3, 24, 32)
    slopes = torch.tensor([[0.5, 0.2, 0.0], [-0.1, 0.8, 0.1], [0.0, 0.3, 0.4]], dtype=torch.float64)
    image = torch.einsum("ij,jhw->ihw", slopes, photo) + 0.1
    windows = sum((24 // s - 2) * (32 // s - 2) for s in (1, 2, 4))
    # Levin's bound: a window pays at most epsilon |a|^2 a channel. Averaging commutes with an affine map.
    bound = windows * EPSILON * slopes.square().sum().item()
    assert -1e-10 <= photorealism_loss(image, scales_of(photo, (1, 1, 1))).item() <= bound + 1e-10


def test_coarser_scales_see_the_slow_drift_that_one_scale_does_not(coffee: Tensor):
    photo = resize(coffee, 64, 96).double()
    drift, grain = photo.clone(), photo.clone()
    # A stain of red and cyan with a period of 64 pixels, and white noise of the same variance.
    drift[0] += 0.1 * torch.sin(2 * torch.pi * torch.arange(96) / 64)
    grain[0] += 0.1 / 2**0.5 * torch.randn(64, 96, generator=torch.Generator().manual_seed(0)).double()
    operators = [operator for _, operator in scales_of(photo, (1.0, 1.0, 1.0, 1.0))]

    def price_of_drift(level: int) -> float:
        only = [(float(k == level), operator) for k, operator in enumerate(operators)]
        return (photorealism_loss(drift, only) / photorealism_loss(grain, only)).item()

    # Measured 0.004, 0.06, 0.8, 9. A halving makes the drift's curvature steeper fourfold in energy a pixel, and
    # averages three quarters of the grain's variance away: 16 times dearer by comparison at every scale.
    assert price_of_drift(0) < 0.01
    assert price_of_drift(3) > 1


def test_the_photorealism_gradient_through_the_scales():
    photo = noise(3, 8, 10)
    operators = scales_of(photo, (0.5, 2.0))
    assert gradcheck(lambda x: photorealism_loss(x, operators, 0.3), variable(3, 8, 10, seed=1))
