"""Several references as one: mixtures of their distributions, in everything that is compared."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from vgg import narrow_vgg

from photostyle.config import Config
from photostyle.errors import PhotostyleError
from photostyle.imaging.filters import resize
from photostyle.losses.encoders import Encoder
from photostyle.losses.gram import gram_loss, region_grams
from photostyle.losses.patches import PatchStyle
from photostyle.losses.sliced import quantile_function
from photostyle.objective import Objective
from photostyle.regions.colour import (
    colour_map_between,
    mixture_colour_maps,
    region_colour_maps,
    region_moments,
)
from photostyle.regions.guidance import carry_masks
from photostyle.regions.mixture import Reference, alone, mixed_moments, mixed_samples
from photostyle.scene import Scene, Stage

LAYERS = ("relu1_1", "relu2_1")
STAGE = Stage(number=0, long_side=60, height=40, width=60, iterations=10, photorealism=True)


def halves(height: int, width: int) -> Tensor:
    masks = torch.zeros(2, height, width)
    masks[0, :, : width // 3], masks[1, :, width // 3 :] = 1, 1
    return masks


@pytest.fixture
def photo(coffee: Tensor) -> Tensor:
    return resize(coffee, 40, 60)


@pytest.fixture
def pictures(coffee: Tensor, chelsea: Tensor) -> tuple[Tensor, Tensor]:
    """Two references of other sizes than the photo's and each other's."""
    return resize(chelsea, 36, 54), resize(coffee[:, :300, 200:], 45, 60).flip(0)


def references(
    pictures: tuple[Tensor, Tensor], weights: tuple[tuple[float, float], ...]
) -> tuple[Reference, ...]:
    """Two regions each; weights: of each reference by region."""
    pairs = zip(pictures, weights, strict=True)
    return tuple(
        Reference(each, halves(*each.shape[1:]) * (torch.tensor(row) > 0)[:, None, None], torch.tensor(row))
        for each, row in pairs
    )


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(narrow_vgg(count=3), layers=LAYERS)


def terms(
    photo: Tensor, given: tuple[Reference, ...], encoder: Encoder | None, **weights
) -> dict[str, float]:
    settings = {
        "patch_weight": 0.0,
        "texture_weight": 0.0,
        "structure_weight": 0.0,
        "photorealism_weight": 0.0,
        "consistency_weight": 0.0,
    } | weights
    config = Config(
        Path("p"), (Path("s"),), style_layers=LAYERS, photorealism_coarse=(), patch_draws=96, **settings
    )
    objective = Objective(config, STAGE, Scene(photo, halves(40, 60), given), encoder)
    return {name: value.item() for name, value in objective(1 - photo).items()}


# Moments and samples


def test_moments_of_a_mixture_are_those_of_its_weighted_samples() -> None:
    generator = np.random.default_rng(0)
    samples = [generator.normal(k, 1 + k, (3, 50 + 30 * k)) for k in range(3)]
    weights = (0.2, 0.5, 0.3)
    parts = [(w, (each.mean(1), np.cov(each, ddof=0))) for w, each in zip(weights, samples, strict=True)]
    mean, covariance = mixed_moments(parts)
    every = np.concatenate(samples, 1)
    each_weight = np.concatenate(
        [np.full(s.shape[1], w / s.shape[1]) for w, s in zip(weights, samples, strict=True)]
    )
    np.testing.assert_allclose(mean, np.average(every, axis=1, weights=each_weight), atol=1e-12)
    np.testing.assert_allclose(covariance, np.cov(every, aweights=each_weight, ddof=0), atol=1e-12)


def test_one_part_is_itself_to_the_last_bit() -> None:
    values, weights = torch.rand(4, 30), torch.rand(30)
    assert all(
        ours is given
        for ours, given in zip(mixed_samples([(1.0, values, weights)]), (values, weights), strict=True)
    )
    moments = (np.random.default_rng(0).normal(size=3), np.random.default_rng(1).normal(size=(3, 3)))
    for ours, given in zip(mixed_moments([(1.0, moments)]), moments, strict=True):
        np.testing.assert_array_equal(ours, given)


def test_the_share_of_samples_below_any_value_is_the_mixture_of_the_parts_shares() -> None:
    generator = torch.Generator().manual_seed(0)
    parts = [
        (share, torch.randn(2, count, generator=generator) + k, torch.rand(count, generator=generator))
        for k, (share, count) in enumerate(((0.25, 400), (0.75, 31)))
    ]
    values, weights = mixed_samples(parts)
    for threshold in (-1.0, 0.2, 0.8, 2.0):
        expected = sum(share * (own * (of < threshold)).sum(1) / own.sum() for share, of, own in parts)
        torch.testing.assert_close((weights * (values < threshold)).sum(1), expected)


# What is compared


def test_colours_go_to_the_moments_of_the_mixture(photo: Tensor, pictures: tuple[Tensor, Tensor]) -> None:
    given = references(pictures, ((0.3, 1.0), (0.7, 0.0)))
    maps = mixture_colour_maps(photo, halves(40, 60), given)
    moments = [region_moments(each.image, each.masks[0]) for each in given]
    target = mixed_moments([(0.3, moments[0]), (0.7, moments[1])])
    ours = region_moments(photo, halves(40, 60)[0])
    np.testing.assert_allclose(maps[0].numpy(), colour_map_between(ours, target), atol=1e-5)
    # The second region is the first reference's alone.
    one = region_colour_maps(photo, halves(40, 60), pictures[0], halves(36, 54))
    torch.testing.assert_close(maps[1], one[1])


def test_gram_targets_are_the_weighted_sum_of_the_references(
    photo: Tensor, pictures: tuple[Tensor, Tensor], encoder: Encoder
) -> None:
    given = references(pictures, ((0.3, 1.0), (0.7, 0.0)))
    ours, features = carry_masks(halves(40, 60), encoder.plan), encoder(1 - photo)
    result = terms(photo, given, encoder, gram_weight=1.0)
    for layer in LAYERS:
        grams = [
            region_grams(encoder(each.image)[layer], carry_masks(each.masks, encoder.plan)[layer])
            for each in given
        ]
        target = torch.stack((0.3 * grams[0][0] + 0.7 * grams[1][0], grams[0][1]))
        reached = region_grams(features[layer], ours[layer])
        loss = gram_loss(reached, target, ours[layer].mean((1, 2)), True)
        assert result[f"gram {layer}"] == pytest.approx(loss.item(), rel=1e-5)


def test_patches_go_to_the_quantiles_of_the_mixture(photo: Tensor, pictures: tuple[Tensor, Tensor]) -> None:
    """Against weights counted out by hand: 0.25 and 0.75 of two pictures, pixel by pixel."""
    given = tuple(
        Reference(each, torch.ones(1, *each.shape[1:]), torch.tensor([weight]))
        for each, weight in zip(pictures, (0.25, 0.75), strict=True)
    )
    style = PatchStyle(given, torch.ones(1, 40, 60), patch_size=5, levels=1, bank=8, seed=1)
    (level,) = style.levels
    (region,) = level.regions.regions
    projected = [
        torch.nn.functional.conv2d(each[None], level.filters)[0].flatten(1).double() for each in pictures
    ]
    weights = [
        torch.full((p.shape[1],), w / p.shape[1]) for p, w in zip(projected, (0.25, 0.75), strict=True)
    ]
    expected = quantile_function(torch.cat(projected, 1), torch.cat(weights).double())
    torch.testing.assert_close(region.goals.double(), expected, rtol=0, atol=1e-4)
    assert region.share == 1


@pytest.mark.parametrize("weights", [{"patch_weight": 1.0}, {"texture_weight": 1.0}, {"gram_weight": 1.0}])
def test_regions_of_different_references_are_compared_with_those_alone(
    photo: Tensor, pictures: tuple[Tensor, Tensor], encoder: Encoder, weights: dict
) -> None:
    """The objective is a sum over regions: what each gives alone adds up to both."""
    used = encoder if "gram_weight" in weights else None
    split = sum(terms(photo, references(pictures, ((1.0, 0.0), (0.0, 1.0))), used, **weights).values())
    straight = [
        sum(terms(photo, alone(each, halves(*each.shape[1:])), used, **weights).values()) for each in pictures
    ]
    crossed = sum(terms(photo, references(pictures, ((0.0, 1.0), (1.0, 0.0))), used, **weights).values())
    assert split + crossed == pytest.approx(sum(straight), rel=1e-4)
    assert abs(split - straight[0]) > 0.01 * straight[0] and abs(split - straight[1]) > 0.01 * straight[1]


@pytest.mark.parametrize("weights", [{"patch_weight": 1.0}, {"texture_weight": 1.0}, {"gram_weight": 1.0}])
def test_a_picture_mixed_with_itself_is_itself(
    photo: Tensor, pictures: tuple[Tensor, Tensor], encoder: Encoder, weights: dict
) -> None:
    used = encoder if "gram_weight" in weights else None
    twice = references((pictures[0], pictures[0]), ((0.4, 0.4), (0.6, 0.6)))
    once = terms(photo, alone(pictures[0], halves(36, 54)), used, **weights)
    # Quantiles between fewer values: 0.0015 was seen.
    assert terms(photo, twice, used, **weights) == pytest.approx(once, rel=5e-3)


@pytest.mark.parametrize("weights", [{"patch_weight": 1.0}, {"texture_weight": 1.0}, {"gram_weight": 1.0}])
def test_the_order_of_references_changes_nothing(
    photo: Tensor, pictures: tuple[Tensor, Tensor], encoder: Encoder, weights: dict
) -> None:
    used = encoder if "gram_weight" in weights else None
    given = references(pictures, ((0.4, 1.0), (0.6, 0.0)))
    one, other = (terms(photo, each, used, **weights) for each in (given, given[::-1]))
    assert one == pytest.approx(other, rel=1e-5)


def test_what_needs_one_reference_says_so_where_there_are_two(
    photo: Tensor, pictures: tuple[Tensor, Tensor]
) -> None:
    scene = Scene(photo, halves(40, 60), references(pictures, ((0.5, 0.5), (0.5, 0.5))))
    for name in ("style", "style_masks"):
        with pytest.raises(PhotostyleError, match="2 references where one is expected; give one"):
            getattr(scene, name)
