"""The models above the terms: against second derivatives by autograd, and above the terms themselves."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd.functional import hvp

from photostyle import recipe
from photostyle.imaging.filters import LUMA, halve, luma
from photostyle.imaging.opponent import AXES, from_opponent, to_opponent
from photostyle.losses.consistency import Consistency
from photostyle.losses.curvature import Curvature, add_through_pyramid, pyramid_diagonal
from photostyle.losses.patches import PatchCurvature, Patches, PatchStyle
from photostyle.losses.photorealism import Photorealism
from photostyle.losses.structure import StructureCurvature, structure_loss
from photostyle.losses.term import Term
from photostyle.losses.texture import Texture, moduli
from photostyle.losses.variation import Variation
from photostyle.regions.mixture import alone
from photostyle.scene import Scene, Stage

SIZE = 40, 48


def picture(seed: int, *size: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Smooth noise in [0, 1]: (3, *size), SIZE where none is given."""
    height, width = size or SIZE
    noise = torch.rand(1, 3, height // 4, width // 4, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.interpolate(noise, size=(height, width), mode="bilinear")[0]
    return (
        smooth + 0.1 * torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed + 1))
    ).to(dtype) / 1.1


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene.of(picture(0), picture(10))


STAGE = Stage(0, 48, *SIZE, 1, True)


def made(kind: type[Term], scene: Scene, **settings: object) -> Term:
    return kind(recipe("patches", **settings), STAGE, scene, None)


def times(curvature: Curvature, direction: Tensor) -> Tensor:
    total = torch.zeros_like(direction)
    curvature.add(direction, total)
    return total


def dense(curvature: Curvature, *size: int) -> Tensor:
    """The matrix itself, column by column."""
    count = 3 * size[0] * size[1]
    return torch.stack(
        [times(curvature, each.view(3, *size)).flatten() for each in torch.eye(count).double()], 1
    )


def second_derivative(term: Callable[[Tensor], Tensor], image: Tensor, direction: Tensor) -> Tensor:
    """Of the term times a direction, both in opponent coordinates, by autograd."""
    return to_opponent(hvp(term, image, from_opponent(direction))[1])


def test_the_axes_are_a_rotation_of_the_colours():
    torch.testing.assert_close(AXES @ AXES.T, torch.eye(3))
    image = picture(3)
    torch.testing.assert_close(from_opponent(to_opponent(image)), image, rtol=0, atol=1e-6)
    torch.testing.assert_close(to_opponent(torch.ones(3, 1, 1))[:, 0, 0], torch.tensor([3**0.5, 0, 0]))


@pytest.mark.parametrize("kind", [Photorealism, Variation])
def test_a_quadratic_term_s_curvature_is_its_second_derivative(scene: Scene, kind: type[Term]):
    term = made(kind, scene, variation_weight=1.0, photorealism_epsilon=1e-3)
    image, direction = picture(20), torch.randn(3, *SIZE, generator=torch.Generator().manual_seed(1)).double()
    curvature = term.curvature(image)
    assert curvature is not None
    if kind is Variation:
        exact = second_derivative(term, image, direction)
    else:
        # An energy's backward pass is written by hand, so that the gradient is differenced: it is linear in the image.
        def gradient(at: Tensor) -> Tensor:
            leaf = at.clone().requires_grad_()
            (found,) = torch.autograd.grad(term(leaf), leaf)
            return to_opponent(found)

        exact = gradient(image + from_opponent(direction)) - gradient(image)
    # The weights are kept in float32.
    torch.testing.assert_close(
        times(curvature, direction), exact, rtol=0, atol=1e-6 * exact.abs().max().item()
    )


def test_a_window_s_correlation_lies_below_its_model():
    """Where edges agree: the model has all of the second derivative, and what a gain would not feel besides."""
    photo = picture(1)
    image, grey = (0.6 * photo + 0.2), luma(photo)
    curvature = StructureCurvature(image, grey, 7, 0.5)
    for seed in range(5):
        direction = torch.randn(3, *SIZE, generator=torch.Generator().manual_seed(seed)).double()

        def along(length: float, direction: Tensor = direction) -> float:
            moved = image + length * from_opponent(direction)
            return 0.5 * structure_loss(moved, grey, 7).item()

        step = 1e-4
        second = (along(step) - 2 * along(0) + along(-step)) / step**2
        model = (direction * times(curvature, direction)).sum().item()
        # Noise has no gain to speak of in 49 pixels: what is left out of the model is a 49th and the second term.
        assert second <= model * (1 + 1e-3)
        assert second > 0.8 * model


def test_structure_does_not_weigh_chroma():
    photo = picture(1)
    curvature = StructureCurvature(photo, luma(photo), 7, 1.0)
    grey_axis = to_opponent(photo.new_tensor(LUMA)[:, None, None])[:, 0, 0]
    across = torch.linalg.cross(grey_axis, photo.new_tensor((0.3, 0.5, -0.8)))
    direction = (
        across[:, None, None] * torch.randn(1, *SIZE, generator=torch.Generator().manual_seed(2)).double()
    )
    assert times(curvature, direction).abs().max() < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "regions"), [(0, 1), (1, 2)])
def test_patches_lie_below_their_model_on_average_over_the_filters(seed: int, regions: int):
    """With so many filters that the mean is the expectation: every change of a picture costs at most what it says."""
    size = 32, 32  # the least for two levels
    content, style = picture(seed, *size), picture(seed + 50, *size) ** 2
    masks = (
        torch.rand(2, *size, generator=torch.Generator().manual_seed(seed)).double() if regions == 2 else None
    )
    masks = torch.ones(1, *size).double() if masks is None else masks / masks.sum(0)
    measured = PatchStyle(alone(style, masks), masks, patch_size=5, levels=2, bank=400, seed=seed)
    everything = [torch.arange(400)] * 2
    curvature = PatchCurvature(measured, 1.0, content)
    leaf = content.clone().requires_grad_()
    value = measured(leaf, everything)
    (gradient,) = torch.autograd.grad(value, leaf)
    changes = [
        picture(seed + 90, *size) - 0.5,
        torch.randn(3, *size, generator=torch.Generator().manual_seed(3)).double(),
    ]
    for change in (*changes, torch.tensor((1.0, -1.0, 0.0)).double()[:, None, None].expand(3, *size)):
        for length in (1e-3, 0.3):
            moved, axes = content + length * change, to_opponent(length * change)
            model = value + (gradient * length * change).sum() + (axes * times(curvature, axes)).sum() / 2
            # The bank's 200 directions of colours see an axis as the sphere does to within 3 / sqrt(200) of a third.
            slack = 0.21 * (axes * times(curvature, axes)).sum() / 2
            assert measured(moved, everything) <= model + slack + 1e-5


@pytest.mark.slow
def test_the_patches_model_is_no_looser_than_it_must_be():
    """Along a change that keeps all ranks, where the transport does not give way, it is met."""
    size = 16, SIZE[1]  # every row is the same
    content = torch.linspace(0, 1, size[1]).expand(3, *size).double().clone()
    whole = torch.ones(1, *size).double()
    measured = PatchStyle(alone(content**2, whole), whole, patch_size=5, levels=1, bank=2000, seed=0)
    everything = [torch.arange(2000)]
    leaf = content.clone().requires_grad_()
    value = measured(leaf, everything)
    (gradient,) = torch.autograd.grad(value, leaf)
    change = torch.full_like(content, 0.1)
    axes = to_opponent(change)
    model = (axes * times(PatchCurvature(measured, 1.0, content), axes)).sum() / 2
    # A patch of one colour is seen through the sum of 25 random weights, whose square is 25/75: a third, as by pixels.
    # The model gives the border's pixels, which are the centre of no patch, as much as the others.
    model *= (size[0] - 4) * (size[1] - 4) / (size[0] * size[1])
    rest = measured(content + change, everything) - value - (gradient * change).sum()
    assert rest.item() == pytest.approx(model.item(), rel=0.1)


@pytest.mark.parametrize("kind", [Patches, Texture, Photorealism, Variation, Consistency])
def test_a_curvature_is_symmetric_and_weighs_nothing_below_zero(scene: Scene, kind: type[Term]):
    curvature = made(kind, scene, variation_weight=1.0).curvature(scene.content)
    assert curvature is not None
    generator = torch.Generator().manual_seed(4)
    for _ in range(5):
        a, b = (torch.randn(3, *SIZE, generator=generator).double() for _ in range(2))
        forth, back = (a * times(curvature, b)).sum(), (b * times(curvature, a)).sum()
        assert forth.item() == pytest.approx(back.item(), rel=1e-6, abs=1e-12)
        assert (a * times(curvature, a)).sum() >= 0


def test_a_drawn_term_s_curvature_is_the_same_everywhere(scene: Scene):
    for kind in (Patches, Texture):
        term = made(kind, scene)
        direction = picture(8)
        one, other = (term.curvature(image) for image in (scene.content, picture(9)))
        assert one is not None and other is not None and term.drawn
        torch.testing.assert_close(times(one, direction), times(other, direction))


def test_the_pyramid_s_sum_and_diagonal_are_those_of_its_matrices():
    size = (10, 13)  # odd, so that a halving drops pixels
    weights = [torch.rand(3, 10, 13).double(), torch.rand(3, 5, 6).double(), torch.rand(3, 2, 3).double()]

    class Diagonals(Curvature):
        def add(self, direction: Tensor, total: Tensor) -> None:
            levels = [lambda x, out, w=w: out.add_(w * x) for w in weights]
            add_through_pyramid(direction, levels, total)

        def diagonal(self) -> Tensor:
            return pyramid_diagonal(weights)

    columns = torch.eye(3 * 10 * 13).double().view(-1, 3, *size)
    halvings = [
        torch.stack([halve(each, times).flatten() for each in columns], 1)
        if times
        else torch.eye(390).double()
        for times in range(3)
    ]
    exact = sum(h.T @ torch.diag(w.flatten()) @ h for h, w in zip(halvings, weights, strict=True))
    found = dense(Diagonals(), *size)
    torch.testing.assert_close(found, exact)
    torch.testing.assert_close(Diagonals().diagonal().flatten(), found.diagonal())


def test_the_diagonal_of_photorealism_is_that_of_its_matrix():
    small = Scene.of(picture(0, 12, 16), picture(10, 12, 16))
    curvature = Photorealism(recipe("patches"), Stage(0, 16, 12, 16, 1, True), small, None).curvature(
        small.content
    )
    exact = dense(curvature, 12, 16).diagonal().view(3, 12, 16)
    # At coarse levels it leaves out what the pixels of a block have in common with each other.
    torch.testing.assert_close(curvature.diagonal().expand(3, 12, 16), exact, rtol=1e-5, atol=1e-8)


def test_the_texture_s_model_bounds_what_the_moduli_do():
    """Gauss-Newton: a change of grey moves the moduli, along all directions, by no more than the model says."""
    scene = Scene.of(picture(0), picture(10))
    settings = recipe("patches", texture_weight=1.0, patch_levels=1)
    term = Texture(settings, STAGE, scene, None)
    curvature = term.curvature(scene.content)
    (level,) = term.style.levels
    generator = torch.Generator().manual_seed(5)
    for _ in range(5):
        image = torch.rand(3, *SIZE, generator=generator).double()
        change = 1e-4 * torch.randn(1, *SIZE, generator=generator).double().expand(3, *SIZE)
        before, after = (moduli(each, level.filters) for each in (image, image + change))
        axes = to_opponent(change)
        # Mean over directions, a sixteenth; each pool by how much it is asked for; twice, as a derivative.
        asked = level.regions.curvature().double()
        moved = 2 * (asked * (after - before).square().mean(0)).sum()
        assert moved <= (axes * times(curvature, axes)).sum()
