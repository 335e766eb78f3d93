"""What an ImageNet network sees: the right layer, on ImageNet's own scale, averaged over the right pixels."""

import numpy as np
import pytest
import timm
import torch
from sklearn.decomposition import PCA

from photostyle.errors import PhotostyleError
from photostyle.networks.lite import INSTALL, weights_file
from segmentation import deep
from segmentation.confidence import likeness
from segmentation.deep import averaged, load_network, principal, see, standardised
from segmentation.superpixels import describe

NAME = "tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights under other names, in the order of timm's, as the package has them."""
    torch.manual_seed(0)
    state = timm.create_model(NAME, pretrained=False).state_dict()
    for name, value in state.items():
        if "bn" in name and value.is_floating_point():
            value.uniform_(0.5, 1.5)
    file = tmp_path_factory.mktemp("weights") / "lite0.pth"
    torch.save({f"tensor {number}": value for number, value in enumerate(state.values())}, file)
    return file, state


def test_it_is_the_last_block_of_stride_16(weights):
    """Against timm's own way to features."""
    file, state = weights
    whole = timm.create_model(NAME, pretrained=False, features_only=True, out_indices=(3,)).eval()
    whole.load_state_dict({key: value for key, value in state.items() if key in whole.state_dict()})
    network = load_network(file)
    batch = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        (expected,) = whole(batch)
        found = network(batch)
    assert found.shape == (1, deep.CHANNELS, 4, 6)
    torch.testing.assert_close(found * network.deviation + network.mean, expected, rtol=1e-4, atol=1e-4)


def test_the_scale_is_that_of_the_batch_normalisations(weights):
    """What three normalised maps of mean b and deviation w add up to, drawn: mean Σ b, variance Σ w²."""
    network = load_network(weights[0])
    drawn = np.random.default_rng(0).standard_normal((3, 20_000))
    state = weights[1]
    parts = [
        (state[f"blocks.4.{k}.bn3.weight"][0].item(), state[f"blocks.4.{k}.bn3.bias"][0].item())
        for k in range(3)
    ]
    total = sum(w * z + b for (w, b), z in zip(parts, drawn, strict=True))
    assert network.mean[0].item() == pytest.approx(total.mean(), abs=0.05)
    assert network.deviation[0].item() == pytest.approx(total.std(), rel=0.03)


def test_another_file_is_refused_in_one_line(tmp_path):
    file = tmp_path / "other.pth"
    torch.save({"weight": torch.zeros(3)}, file)
    with pytest.raises(PhotostyleError, match="is no efficientnet_lite0") as caught:
        load_network(file)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_the_global_random_state_is_left_alone(weights):
    before = torch.get_rng_state()
    load_network(weights[0])
    assert torch.equal(before, torch.get_rng_state())


def test_superpixels_have_the_mean_of_their_pixels(coffee):
    superpixels = describe(coffee)
    values = np.random.default_rng(0).random((superpixels.index.size, 2))
    found = averaged(values, superpixels)
    for number in (0, 7, len(found) - 1):
        inside = (superpixels.index == number).ravel()
        np.testing.assert_allclose(found[number], values[inside].mean(0))


@pytest.mark.slow
def test_any_shape_of_photo_is_seen(weights):
    network = load_network(weights[0])
    for size in ((20, 20), (32, 300)):
        photo = torch.rand(3, *size, generator=torch.Generator().manual_seed(0))
        superpixels = describe(photo)
        found = see(network, photo, superpixels)
        assert found.shape == (len(superpixels.pixels), deep.CHANNELS) and np.isfinite(found).all()


def test_features_are_standardised_over_all_pictures_by_their_shares():
    random = np.random.default_rng(0)
    seen = [random.random((30, 5)) * 3, random.random((50, 5)) + 2]
    shares = [each / each.sum() for each in (random.random(30), random.random(50))]
    every, weight = np.concatenate(standardised(seen, shares)), np.concatenate(shares) / 2
    np.testing.assert_allclose(weight @ every, 0, atol=1e-12)
    np.testing.assert_allclose(weight @ every**2, 1)


def test_principal_components_are_those_of_scikit_learn():
    random = np.random.default_rng(0)
    mixed = random.standard_normal((40, 20)) @ random.standard_normal((20, 20))
    shares = [np.full(25, 1 / 25), np.full(15, 1 / 15)]
    # Of equal weights: both pictures as one.
    whole = [np.full(40, 1 / 40)]
    (found,) = principal(standardised([mixed], whole), whole)
    expected = PCA(deep.COMPONENTS, whiten=True).fit((mixed - mixed.mean(0)) / mixed.std(0))
    scores = expected.transform((mixed - mixed.mean(0)) / mixed.std(0))
    scores *= (expected.singular_values_ / expected.singular_values_[0]) ** deep.SPREAD
    ratio = np.abs(found / scores)
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-6)
    parts = principal(standardised([mixed[:25], mixed[25:]], shares), shares)
    assert [each.shape for each in parts] == [(25, deep.COMPONENTS), (15, deep.COMPONENTS)]


def test_flat_features_have_no_components():
    (found,) = principal([np.zeros((12, 10))], [np.full(12, 1 / 12)])
    np.testing.assert_array_equal(found, 0)


@pytest.mark.slow
def test_the_real_network_knows_a_cat_from_a_cup(chelsea, coffee):
    file = weights_file()
    if file is None:
        pytest.skip(f"no weights: {INSTALL}")
    network = load_network(file)

    def whole(photo):
        superpixels = describe(photo)
        return superpixels.pixels @ see(network, photo, superpixels) / superpixels.pixels.sum()

    darker = whole(0.5 * chelsea.flip(2))
    alike = likeness(np.stack([whole(chelsea)]), np.stack([darker, whole(coffee)]))[0]
    assert alike[0] > 0.95 and alike[1] < 0.75
