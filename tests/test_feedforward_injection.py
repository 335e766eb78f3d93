"""The four injections: what each does to features, against its formula and by brute force."""

import math

import pytest
import torch
import torch.nn.functional as F

from photostyle.errors import ComputationError, PhotostyleError
from photostyle.feedforward.injection import (
    COLOURS,
    INJECTIONS,
    PATCH,
    Film,
    Inject,
    Patch,
    make_injection,
    nearest_patches,
    swap,
)
from photostyle.feedforward.style import Style, mix

CHANNELS, DIMENSION = 3, 4


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def style_for(name: str, batch: int = 2) -> Style:
    if name == "patch":
        return Style(maps=(drawn(batch, CHANNELS + COLOURS, 5, 6, seed=1),))
    return Style(z=drawn(batch, DIMENSION, seed=1))


def made(name: str):
    torch.manual_seed(0)
    return make_injection(name, CHANNELS, DIMENSION).double()


@pytest.mark.parametrize("name", INJECTIONS)
def test_its_output_has_as_many_channels_as_it_says_and_the_features_size(name):
    injection, features = made(name), drawn(2, CHANNELS, 6, 7)
    out = injection(features, style_for(name))
    assert out.shape == (2, injection.outputs, 6, 7)


@pytest.mark.parametrize("name", INJECTIONS)
def test_each_picture_of_a_batch_has_its_own_style(name):
    injection, features, style = made(name), drawn(2, CHANNELS, 6, 7), style_for(name)
    alone = [
        injection(
            features[[i]],
            Style(None if style.z is None else style.z[[i]], tuple(m[[i]] for m in style.maps)),
        )
        for i in range(2)
    ]
    torch.testing.assert_close(injection(features, style), torch.cat(alone))


@pytest.mark.parametrize("name", INJECTIONS)
def test_gradients_reach_features_style_and_weights(name):
    injection, features = made(name), drawn(1, CHANNELS, 3, 4).requires_grad_()
    style = style_for(name, batch=1)
    told = (*style.maps, *(() if style.z is None else (style.z,)))
    for each in told:
        each.requires_grad_()

    def function(features, *told):
        again = Style(maps=told) if name == "patch" else Style(z=told[0])
        return injection(features, again)

    assert torch.autograd.gradcheck(function, (features, *told))
    function(features, *told).square().sum().backward()
    assert all(each.grad is not None and each.grad.any() for each in injection.parameters())


def test_inject_is_a_shift_of_each_channel_by_a_linear_map_of_z():
    injection, features, style = made("inject"), drawn(2, CHANNELS, 4, 5), style_for("inject")
    assert isinstance(injection, Inject) and style.z is not None
    shift = style.z @ injection.shift.weight[:, :, 0, 0].T + injection.shift.bias
    torch.testing.assert_close(
        injection(features, style) - features, shift[:, :, None, None].expand_as(features)
    )


def test_film_scales_and_shifts_and_with_gamma_1_and_beta_0_does_nothing():
    injection, features, style = made("film"), drawn(2, CHANNELS, 4, 5), style_for("film")
    assert isinstance(injection, Film) and style.z is not None
    gamma, beta = injection.gamma(style.z), injection.beta(style.z)
    expected = torch.stack(
        [features[b, c] * gamma[b, c] + beta[b, c] for b in range(2) for c in range(CHANNELS)]
    )
    torch.testing.assert_close(injection(features, style), expected.view_as(features))
    with torch.no_grad():
        for layer in (injection.gamma, injection.beta):
            layer.weight.zero_()
    assert torch.equal(injection(features, style), features), "the biases start at 1 and 0"


def test_concat_has_the_features_first_and_z_at_every_cell_behind_them():
    features, style = drawn(2, CHANNELS, 4, 5), style_for("concat")
    out = made("concat")(features, style)
    assert style.z is not None
    assert torch.equal(out[:, :CHANNELS], features)
    assert torch.equal(out[:, CHANNELS:], style.z[:, :, None, None].expand(-1, -1, 4, 5))


def brute_force(features: torch.Tensor, maps: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Style-Swap by loops: every patch compared with every other, in the order of its definition."""
    channels, height, width = features.shape
    padded = F.pad(features[None], (1, 1, 1, 1), mode="reflect")[0]
    patches = [
        each[:, y : y + PATCH, x : x + PATCH]
        for each in maps
        for y in range(each.shape[1] - PATCH + 1)
        for x in range(each.shape[2] - PATCH + 1)
    ]
    total = torch.zeros(len(maps[0]), height + 2, width + 2, dtype=features.dtype)
    times = torch.zeros(height + 2, width + 2, dtype=features.dtype)
    for y in range(height):
        for x in range(width):
            own = padded[:, y : y + PATCH, x : x + PATCH].flatten()
            cosines = [F.cosine_similarity(own, each[:channels].flatten(), dim=0) for each in patches]
            total[:, y : y + PATCH, x : x + PATCH] += patches[int(torch.stack(cosines).argmax())]
            times[y : y + PATCH, x : x + PATCH] += 1
    return (total / times)[:, 1:-1, 1:-1]


def swap_pair() -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    maps = (drawn(CHANNELS + COLOURS, 5, 6, seed=1), drawn(CHANNELS + COLOURS, 4, 3, seed=2))
    return drawn(CHANNELS, 6, 7), maps


def test_the_swap_is_that_of_its_definition_over_the_patches_of_several_maps():
    features, maps = swap_pair()
    torch.testing.assert_close(swap(features, maps), brute_force(features, maps))


@pytest.mark.parametrize("at_once", [1, 100, 1000])
def test_how_much_is_compared_at_once_changes_nothing(at_once):
    features, maps = swap_pair()
    assert torch.equal(swap(features, maps, at_once), swap(features, maps))


def test_scaling_the_features_or_the_style_changes_no_match():
    features, (first, second) = swap_pair()
    nearest = nearest_patches(features, (first[:CHANNELS], second[:CHANNELS]))
    scaled = nearest_patches(7 * features, (0.1 * first[:CHANNELS], 3 * second[:CHANNELS]))
    assert torch.equal(scaled, nearest)


def test_where_a_patch_lies_changes_nothing():
    features, (first, second) = swap_pair()
    expected = swap(features, (first, second))
    torch.testing.assert_close(swap(features, (second, first)), expected)
    # Two columns of overlap, and the parts have each patch of the whole, in another order.
    parts = first[..., 2:], first[..., :4]
    torch.testing.assert_close(swap(features, (second, *parts)), expected)


def test_a_map_swapped_with_itself_is_itself_inside():
    features = drawn(CHANNELS, 7, 8)
    itself = swap(features, (features,))
    # A cell is in patches around its neighbours; two cells from the border all of those lie whole inside.
    torch.testing.assert_close(itself[:, 2:-2, 2:-2], features[:, 2:-2, 2:-2])


def test_the_gradient_of_the_swap_is_how_often_each_value_was_taken():
    features, (first, _) = swap_pair()
    first.requires_grad_()
    swapped = swap(features, (first,))
    (gradient,) = torch.autograd.grad(swapped.sum(), first)
    # Each cell of the result is a mean of taken values: in all, one for each cell and channel.
    assert math.isclose(gradient.sum().item(), swapped.numel(), rel_tol=1e-12)


def test_patch_adds_a_linear_map_of_the_swap():
    injection, features, style = made("patch"), drawn(1, CHANNELS, 6, 7), style_for("patch", 1)
    assert isinstance(injection, Patch)
    swapped = swap(features[0], (style.maps[0][0],))
    weight, bias = injection.merge.weight[:, :, 0, 0], injection.merge.bias
    added = torch.einsum("oc,chw->ohw", weight, swapped) + bias[:, None, None]
    torch.testing.assert_close(injection(features, style)[0], features[0] + added)


def test_a_style_without_one_whole_patch_is_refused():
    with pytest.raises(ComputationError, match="2x5 cells has no patch of 3x3"):
        nearest_patches(drawn(2, 5, 5), (drawn(2, 5, 2),))


def test_styles_mix_by_their_weights_in_z_and_pool_their_patches():
    z = [drawn(1, DIMENSION, seed=seed) for seed in range(2)]
    mixed = mix([Style(z=each) for each in z], (3, 1))
    assert mixed.z is not None
    torch.testing.assert_close(mixed.z, 0.75 * z[0] + 0.25 * z[1])
    maps = [drawn(1, 6, 4, size, seed=size) for size in (4, 5)]
    assert mix([Style(maps=(each,)) for each in maps]).maps == tuple(maps)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ((1,), "2 styles have 1 weights"),
        ((0, 0), "do not mix"),
        ((-1, 2), "do not mix"),
        ((math.nan, 1), "mix"),
    ],
)
def test_weights_that_mix_nothing_are_refused(weights, message):
    with pytest.raises(PhotostyleError, match=message):
        mix([Style(z=drawn(1, 2)), Style(z=drawn(1, 2))], weights)


def test_patches_take_no_weights():
    styles = [Style(maps=(drawn(1, 6, 4, 4),))] * 2
    with pytest.raises(PhotostyleError, match="takes the nearest patch"):
        mix(styles, (1, 2))
    assert len(mix(styles, (2, 2)).maps) == 2
