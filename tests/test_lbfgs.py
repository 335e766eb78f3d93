"""L-BFGS against torch's own, on functions whose curvature is known."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from photostyle.lbfgs import CONVERGED, LBFGS, REFUSALS


def bowl(x: Tensor) -> Tensor:
    """Curvatures from 1 to 100, not along the axes."""
    turn = torch.linalg.qr(torch.randn(12, 12, dtype=x.dtype, generator=torch.Generator().manual_seed(1)))[0]
    return (torch.logspace(0, 2, 12, dtype=x.dtype) * (turn @ x).square()).sum() / 2


def rosenbrock(x: Tensor) -> Tensor:
    return (100 * (x[1:] - x[:-1].square()).square() + (1 - x[:-1]).square()).sum() / 1000


def start(seed: int = 0) -> Tensor:
    return torch.randn(
        12, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    ).requires_grad_()


def walk(function: Callable[[Tensor], Tensor], steps: int, history: int) -> tuple[list[Tensor], float]:
    """The places passed through, and the power of two by which gradients were scaled."""
    x, method, seen = start(), LBFGS(history), []
    for _ in range(steps):
        (gradient,) = torch.autograd.grad(function(x), x)
        x = x.detach()
        method.step(x, gradient)
        seen.append(x.clone())
        x.requires_grad_()
    assert method.gain is not None
    return seen, method.gain


@pytest.mark.parametrize("function", [bowl, rosenbrock])
@pytest.mark.parametrize("history", [1, 3, 20])
def test_it_goes_where_torch_s_goes(function: Callable[[Tensor], Tensor], history: int) -> None:
    ours, gain = walk(function, 15, history)
    x = start()
    never = {"tolerance_grad": -1, "tolerance_change": -1}  # a tolerance that ends it
    theirs = torch.optim.LBFGS([x], lr=x.numel(), max_iter=1, history_size=history, **never)

    def closure() -> Tensor:
        theirs.zero_grad()
        value = gain * function(x)
        value.backward()
        return value

    for place in ours:
        theirs.step(closure)
        theirs.param_groups[0]["lr"] = 1
        # Rounding grows with the steps along the steep directions: 15 steps lose 8 of 16 digits at most here.
        torch.testing.assert_close(place, x.detach(), rtol=1e-7, atol=1e-8)


def test_with_pairs_enough_for_every_curvature_it_finds_the_minimum() -> None:
    seen, _ = walk(bowl, 40, 20)
    assert seen[-1].norm() < 1e-6 * start().norm()


@pytest.mark.parametrize("size", [1e-30, 1e-3, 1.0, 1e30])
def test_the_unit_of_the_function_is_no_matter(size: float) -> None:
    plain, _ = walk(bowl, 8, 5)
    scaled, _ = walk(lambda x: size * bowl(x), 8, 5)
    # The gain is a power of two, so what is left of the unit is a factor below the root of two in the first step.
    assert abs(torch.log10(scaled[-1].norm() / plain[-1].norm())) < 1.5


def test_a_variable_of_any_shape_is_moved_in_place() -> None:
    x = torch.zeros(3, 4, 5)
    LBFGS(2).step(x, torch.ones(3, 4, 5))
    assert x.shape == (3, 4, 5) and (x < 0).all()


def test_a_gradient_of_zeros_gives_no_step() -> None:
    method, x = LBFGS(2), torch.ones(3)
    for _ in range(4):
        method.step(x, torch.zeros(3))
    assert torch.equal(x, torch.ones(3))


def test_where_every_pair_is_refused_it_starts_afresh() -> None:
    """On a hill (negative curvature) the gradient grows with the step, and so must the steps."""
    x, method, lengths = torch.full((4,), 1e-3, dtype=torch.float64), LBFGS(5), []
    for _ in range(2 * REFUSALS + 3):
        before = x.clone()
        method.step(x, -before)
        lengths.append(float((x - before).norm() / before.norm()))
    assert method.refused <= REFUSALS
    assert lengths[REFUSALS + 1] != pytest.approx(lengths[REFUSALS])


def test_at_a_minimum_refused_pairs_are_rounding_and_it_is_left_in_peace() -> None:
    method, x = LBFGS(3), torch.zeros(4, dtype=torch.float64)
    method.step(x, torch.ones_like(x))
    for _ in range(3 * REFUSALS):
        method.step(x, torch.full_like(x, CONVERGED / 2))
    assert method.refused > REFUSALS
