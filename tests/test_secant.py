"""What is learnt from gradients: the secant equation, positive definiteness, and caution."""

import pytest
import torch

from photostyle.majorisation import product
from photostyle.secant import BANDS, LOOSER, MEMORY, STIFFER, Secant, bands, from_bands, stiffness_by_band


def test_the_learnt_model_meets_the_last_change_and_stays_above_zero():
    """The secant equation B s = y, whatever was learnt before, and s . B s > 0 in every direction."""
    generator = torch.Generator().manual_seed(0)
    half = torch.randn(60, 60, generator=generator).double()
    matrix = half @ half.T / 60 + 0.1 * torch.eye(60)

    def value(place: torch.Tensor) -> float:
        return float(place.flatten() @ matrix @ place.flatten()) / 2

    place = torch.zeros(3, 4, 5).double()
    secant = Secant(place, place, 0.0)
    for _ in range(2 * MEMORY):
        moved = torch.randn(60, generator=generator).double()
        before, place = place, place + moved.view(3, 4, 5)
        secant.learn(place, (matrix @ place.flatten()).view(3, 4, 5), value(place))
        found = product([secant], place - before)
        torch.testing.assert_close(found.flatten(), matrix @ moved)
    columns = torch.stack(
        [product([secant], each.view(3, 4, 5)).flatten() for each in torch.eye(60).double()]
    )
    torch.testing.assert_close(columns, columns.T)
    assert torch.linalg.eigvalsh(columns).min() > 0


def stiffness(secant: Secant) -> float:
    """Where nothing was learnt: along an alternation that no test moves in."""
    side = torch.tensor((1.0, -1.0)).repeat(6).view(3, 2, 2)
    return float((side * product([secant], side)).sum() / side.square().sum())


def test_nothing_is_learnt_where_a_gradient_falls_along_the_way():
    place = torch.zeros(3, 2, 2)
    secant = Secant(place, place, 0.0)
    secant.learn(place + 1, place + 4, 24.0)
    secant.learn(place + 2, place + 3, 60.0)
    # Four along the way it has gone, as before; the gradient of 3 asks for a stiffness of 30 elsewhere.
    torch.testing.assert_close(product([secant], place + 1), place + 4)
    assert stiffness(secant) >= 30 - 1e-3


def test_a_gradient_that_never_changes_is_not_followed_for_ever():
    place, gradient = torch.zeros(3, 2, 2), torch.full((3, 2, 2), 0.5)
    secant = Secant(place, gradient, 0.0)
    secant.learn(place + 0.01, gradient, -0.06)
    # A tenth of the range: 0.5 / 0.1.
    torch.testing.assert_close(product([secant], place + 1), place + 5)


def test_a_rise_that_was_not_expected_makes_it_stiffer_and_falls_make_it_looser_again():
    generator = torch.Generator().manual_seed(1)
    place = torch.zeros(3, 2, 2)
    secant = Secant(place, place, 0.0)
    found = []
    for value in (0.0, 10.0, 20.0, -1e3, -2e3):
        place = place + 1e-3 * torch.rand(3, 2, 2, generator=generator)
        secant.learn(place, 4 * place, value)
        found.append(float(secant.diagonal().mean()))
    # The first step is compared with nothing.
    expected = torch.tensor((1, STIFFER, STIFFER**2, STIFFER**2 * LOOSER, STIFFER**2 * LOOSER**2))
    torch.testing.assert_close(torch.tensor(found), 4 * expected)


@pytest.mark.parametrize("size", [(32, 48), (33, 47), (5, 3), (1, 1)])
def test_octaves_add_up_again_and_are_orthogonal(size: tuple[int, int]):
    image = torch.rand(3, *size, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    octaves = bands(image)
    assert len(octaves) == BANDS
    torch.testing.assert_close(from_bands(octaves), image)
    alone = [
        from_bands([each if k == number else 0 * each for k, each in enumerate(octaves)])
        for number in range(BANDS)
    ]
    squares = sum(each.square().sum() for each in alone)
    assert squares.item() == pytest.approx(image.square().sum().item())


def test_each_octave_has_its_own_stiffness():
    generator = torch.Generator().manual_seed(3)
    moved = torch.randn(3, 32, 48, generator=generator, dtype=torch.float64)
    stiffness = torch.tensor([16.0, 8.0, 4.0, 2.0, 1.0])
    turned = from_bands([s * each for s, each in zip(stiffness, bands(moved), strict=True)])
    found = stiffness_by_band(moved, turned)
    torch.testing.assert_close(found[:, :, 0, 0], stiffness[:, None].expand(BANDS, 3).double())
