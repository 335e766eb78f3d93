"""A photo in a style: mixtures, strength, sizes, and what photorealistic means."""

from pathlib import Path

import pytest
import torch

from photostyle.errors import PhotostyleError
from photostyle.feedforward import packaged
from photostyle.feedforward.model import StyleModel
from photostyle.feedforward.settings import ModelSettings
from photostyle.feedforward.stylise import STYLE_SIDE, Manner, mixed_style, smooth_by_matting, stylise
from photostyle.imaging.filters import resize, size_of
from photostyle.imaging.matting import matting_laplacian


@pytest.fixture(scope="module")
def model() -> StyleModel:
    torch.manual_seed(0)
    return StyleModel(ModelSettings(channels=4, blocks=1, dimension=8, style_network="small")).eval()


@pytest.fixture(scope="module")
def photo(coffee) -> torch.Tensor:
    return resize(coffee, 60, 91)


@pytest.fixture(scope="module")
def styles(chelsea, coffee) -> list[torch.Tensor]:
    return [resize(chelsea, 40, 55), resize(coffee.flip(0), 48, 64)]


def test_it_is_the_model_of_the_photo_and_the_style(model, photo, styles):
    with torch.no_grad():
        expected = model(photo[None], model.style(styles[0][None]))[0]
    # float32: a network of six layers, summed in other orders in tiles
    torch.testing.assert_close(stylise(model, photo, styles[:1]), expected)
    torch.testing.assert_close(stylise(model, photo, styles[:1], tile=32), expected, atol=1e-4, rtol=0)


def test_a_mixture_lies_in_z_and_a_weight_of_nothing_leaves_a_style_out(model, photo, styles):
    z = [mixed_style(model, [each]).z for each in styles]
    mixed = mixed_style(model, styles, (3, 1)).z
    torch.testing.assert_close(mixed, 0.75 * z[0] + 0.25 * z[1])
    torch.testing.assert_close(
        stylise(model, photo, styles, Manner(weights=(2, 0))), stylise(model, photo, styles[:1])
    )


def test_strength_blends_with_the_photo(model, photo, styles):
    full = stylise(model, photo, styles)
    assert torch.equal(stylise(model, photo, styles, Manner(strength=0)), photo)
    half = stylise(model, photo, styles, Manner(strength=0.5))
    torch.testing.assert_close(half, (photo + full) / 2)


@pytest.mark.parametrize("photorealistic", [False, True])
def test_a_smaller_size_comes_back_at_the_photos_own(model, photo, styles, photorealistic):
    manner = Manner(size=32, photorealistic=photorealistic)
    assert manner.size_for(photo) == (21, 32)
    assert stylise(model, photo, styles, manner).shape == photo.shape


def test_photorealistic_works_at_512_pixels_where_nothing_else_is_said():
    large = torch.empty(3, 1000, 1400)
    assert Manner().size_for(large) == (1000, 1400)
    assert Manner(photorealistic=True).size_for(large) == (366, 512)
    assert Manner(photorealistic=True, size=350).size_for(large) == (250, 350)


def test_a_large_style_is_reduced_to_what_models_are_trained_on(model, monkeypatch):
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(
        model, "style", lambda pictures: seen.append(size_of(pictures)) or torch.nn.Identity()
    )
    monkeypatch.setattr("photostyle.feedforward.stylise.mix", lambda styles, weights: styles)
    mixed_style(model, [torch.rand(3, 300, 600), torch.rand(3, 100, 80)])
    assert seen == [(128, STYLE_SIDE), (100, 80)]


def test_smoothing_by_matting_solves_its_equations(photo):
    small = resize(photo, 20, 24)
    painted = torch.rand(3, 20, 24, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.3
    laplacian = torch.from_numpy(matting_laplacian(small.permute(1, 2, 0).double().numpy()).toarray())
    weight = 10.0
    system = weight * laplacian + torch.eye(20 * 24, dtype=torch.float64)
    expected = torch.linalg.solve(system, painted.flatten(1).T.double()).T.view(3, 20, 24)
    found = smooth_by_matting(small, painted, weight, steps=200)
    torch.testing.assert_close(found, expected.float(), atol=1e-4, rtol=0)


def test_smoothing_by_matting_keeps_an_affine_recolouring_and_takes_noise_away(photo):
    recoloured = 0.2 + 0.5 * photo[[2, 0, 1]]  # the ridge of the Laplacian costs 0.6 levels of 255 at most
    torch.testing.assert_close(smooth_by_matting(photo, recoloured), recoloured, atol=4e-3, rtol=0)
    noise = 0.1 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))
    smooth = smooth_by_matting(photo, recoloured + noise)
    assert (smooth - recoloured).square().mean() < 0.1 * noise.square().mean()


def test_smoothing_has_converged_after_its_steps(photo):
    noisy = (photo + 0.1 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    further = smooth_by_matting(photo, noisy, steps=300)
    assert (smooth_by_matting(photo, noisy) - further).abs().max() < 1 / 255


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strength": 1.5}, "--strength is 1.5"),
        ({"strength": float("nan")}, "--strength is nan"),
        ({"size": 8}, "--size is 8; it must be at least 32"),
    ],
)
def test_numbers_that_are_none_are_refused(change, message):
    with pytest.raises(PhotostyleError, match=message):
        Manner(**change)


def test_without_styles_there_is_nothing_to_do(model, photo):
    with pytest.raises(PhotostyleError, match="no style"):
        stylise(model, photo, [])


def test_the_packaged_model_is_the_first_file_of_its_folder(tmp_path, monkeypatch, model):
    monkeypatch.setattr(packaged.resources, "files", lambda package: tmp_path)
    with pytest.raises(PhotostyleError, match=r"no model comes with this installation; give one .* --model"):
        packaged.packaged_model()
    (tmp_path / "models").mkdir()
    with pytest.raises(PhotostyleError, match="no model comes"):
        packaged.packaged_model()
    for name in ("b.safetensors", "a.safetensors", "README.md"):
        (tmp_path / "models" / name).touch()
    assert packaged.packaged_model() == Path(tmp_path / "models" / "a.safetensors")
