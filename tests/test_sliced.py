"""One-dimensional transport against sorting, and the distance of regions against scipy's."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance
from torch import Tensor

from photostyle.kernels import compiler
from photostyle.losses import sliced
from photostyle.losses.sliced import (
    BINS,
    FINE_BINS,
    KNOTS,
    MANY,
    Samples,
    SlicedRegions,
    goals_of,
    quantile_function,
    transport,
)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def evenly(count: int) -> Tensor:
    return torch.ones(count, dtype=torch.float64)


def sorted_goal(values: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Exact one-dimensional transport: the value of rank i goes to the target's quantile (i + 1/2) / n (Hazen's)."""
    ranks = (values.argsort().argsort() + 0.5) / len(values)
    return np.quantile(target, ranks, method="hazen")


def span_of_the_bin(values: np.ndarray, target: np.ndarray) -> np.ndarray:
    """By how much the target's quantile function rises over the mass of each value's bin.

    Ranks inside a bin are not told apart, and nothing else is approximate: value and goal are monotone, so both the
    exact goal and ours lie between the quantiles at the bin's two edges.
    """
    counts, edges = np.histogram(values, BINS)
    cdf = np.concatenate(([0], counts.cumsum())) / len(values)
    bins = np.clip(np.digitize(values, edges) - 1, 0, BINS - 1)
    # One bin more on either side: a value on an edge may round into the neighbour.
    low, high = cdf[np.maximum(bins - 1, 0)], cdf[np.minimum(bins + 2, BINS)]
    return np.quantile(target, high, method="hazen") - np.quantile(target, low, method="hazen")


def goals(samples: Sequence[Samples], regions: int) -> list[Tensor | None]:
    """Those of samples that have been seen through all directions."""

    def seen(some: slice) -> list[Samples]:
        return [Samples(each.projections[some], each.weights, each.mixture) for each in samples]

    return goals_of(seen, len(samples[0].projections), regions)


# --- quantiles and transport -----------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 7, 500, 5000])
def test_quantiles_of_equal_weights_are_hazens(count: int):
    values = normal(3, count)
    expected = np.quantile(values.numpy(), np.linspace(0, 1, KNOTS), axis=1, method="hazen").T
    np.testing.assert_allclose(quantile_function(values, evenly(count)).numpy(), expected, rtol=0, atol=1e-9)


def test_the_quantiles_of_one_value_are_that_value():
    assert (quantile_function(torch.full((2, 1), 0.7), torch.ones(1)) == 0.7).all()


def test_quantiles_are_symmetric_and_ascend():
    values, weights = normal(2, 300), uniform(300, seed=1)
    quantiles = quantile_function(values, weights)
    torch.testing.assert_close(quantile_function(-values, weights), -quantiles.flip(1))
    assert (quantiles.diff(dim=1) >= 0).all()


def test_weights_are_repetitions_of_pixels():
    values = normal(2, 400)
    counts = torch.randint(1, 5, (400,), generator=torch.Generator().manual_seed(1))
    repeated = values.repeat_interleave(counts, dim=1)
    weighted = quantile_function(values, counts.double())
    written_out = quantile_function(repeated, evenly(repeated.shape[1]))
    # Between two neighbours the weighted function rises all the way, the repeated one in the middle part only.
    gaps = values.sort(1).values.diff(dim=1).amax(1, keepdim=True)
    assert ((weighted - written_out).abs() <= gaps + 1e-12).all()
    # The transport knows masses only: there they are the same thing.
    target = quantile_function(uniform(2, 900, seed=2), evenly(900))
    goals = transport(values, counts.double(), target).repeat_interleave(counts, dim=1)
    torch.testing.assert_close(goals, transport(repeated, evenly(repeated.shape[1]), target))


@pytest.mark.parametrize("count", [50, 3000])
@pytest.mark.parametrize("kind", ["normal", "skewed", "two humps"])
def test_transport_is_sorting_up_to_the_bins(count: int, kind: str):
    values = {
        "normal": normal(1, count),
        "skewed": normal(1, count).exp(),
        "two humps": normal(1, count) + 20 * (uniform(1, count, seed=5) > 0.3),
    }[kind]
    target = uniform(1, 800, seed=3) ** 2
    goal = transport(values, evenly(count), quantile_function(target, evenly(800)))[0].numpy()
    exact = sorted_goal(values[0].numpy(), target[0].numpy())
    # Beside the bins the stored function: 2048 knots on 800 values leave at most the rise between two knots.
    knots = np.diff(np.quantile(target[0].numpy(), np.linspace(0, 1, KNOTS), method="hazen")).max()
    bound = span_of_the_bin(values[0].numpy(), target[0].numpy()) + knots
    assert (np.abs(goal - exact) <= bound + 1e-9).all()
    assert bound.mean() < 0.05  # of a target of width 1: the bound says something


def test_the_moved_mass_is_scipys_wasserstein_distance():
    values, weights, target = normal(1, 4000), uniform(4000, seed=1) + 0.1, 0.3 * normal(1, 3000, seed=2) + 2
    goal = transport(values, weights, quantile_function(target, evenly(3000)))
    ours = ((values - goal).abs()[0] @ weights / weights.sum()).item()
    theirs = wasserstein_distance(values[0].numpy(), target[0].numpy(), u_weights=weights.numpy())
    # The goals themselves are a distribution near the target: by the triangle inequality no more than that is lost.
    slack = wasserstein_distance(goal[0].numpy(), target[0].numpy(), u_weights=weights.numpy())
    assert abs(ours - theirs) <= slack + 1e-9
    assert slack < 0.01 * theirs


def test_transport_keeps_the_order():
    values = normal(1, 2000)
    goal = transport(values, uniform(2000, seed=1), quantile_function(normal(1, 500, seed=2), evenly(500)))
    assert (goal[0, values[0].argsort()].diff() >= -1e-12).all()


def test_equal_values_stay_equal():
    # A sky of one colour: a sort would spread it over the target as grain.
    values = normal(2, 1000)
    values[:, 100:700] = 0.25
    goal = transport(values, evenly(1000), quantile_function(uniform(2, 1000, seed=1), evenly(1000)))
    assert (goal[:, 100:700] == goal[:, 100:101]).all()
    # It goes to somewhere within the quantiles that its mass takes up.
    below = (values < 0.25).double().mean(1)
    assert (goal[:, 100] >= below - 0.01).all() and (goal[:, 100] <= below + 0.6 + 0.01).all()


def test_a_region_of_one_value_has_a_finite_goal_inside_the_target():
    target = uniform(2, 100)
    goal = transport(torch.full((2, 50), 0.7).double(), evenly(50), quantile_function(target, evenly(100)))
    assert goal.isfinite().all()
    assert (goal >= target.amin(1, keepdim=True)).all() and (goal <= target.amax(1, keepdim=True)).all()


def test_transport_to_the_own_distribution_moves_nothing_beyond_a_bin():
    values = uniform(2, 6000)
    moved = (transport(values, evenly(6000), quantile_function(values, evenly(6000))) - values).abs()
    # 3 values a bin and a knot: a goal lies within the bin, or the gap to the next knot.
    assert moved.max() < 4 / BINS


def test_inside_a_bin_the_map_keeps_the_order_and_stops_within_a_knot():
    values = torch.linspace(0, 1, 20_000, dtype=torch.float64)[None]
    goal = transport(values, evenly(20_000), quantile_function(2 * values + 1, evenly(20_000)))
    # The function rises by 2 / KNOTS from knot to knot, and any value in that span has reached its goal.
    assert (goal - (2 * values + 1)).abs().max() < 2.1 / KNOTS
    assert (goal.diff(dim=1) >= -1e-12).all()


@pytest.mark.parametrize("kind", ["two colours", "gaps", "many"])
def test_a_distribution_with_jumps_is_not_moved_to_itself(kind: str):
    """A mean read at the edges of a jump would be a twelfth of it off: 14 levels in a picture of two colours."""
    values = {
        "two colours": (uniform(2, 3000) > 0.45).double(),
        "gaps": normal(2, 9000)
        + 20 * (uniform(2, 9000, seed=1) > 0.3)
        + 500 * (uniform(2, 9000, seed=2) > 0.999),
        "many": normal(2, MANY + 9) ** 3,
    }[kind]
    weights = uniform(values.shape[1], seed=3) + 0.05
    width = (values.amax(1) - values.amin(1))[:, None] / BINS
    moved = (transport(values, weights, quantile_function(values, weights)) - values).abs()
    # But for its place in its bin a value stays; one in a hundred beside a knot may share a bin with another cell.
    assert (moved <= 2 * width).double().mean() > 0.99
    assert moved.square().mean() < (width.square()).mean()


# --- regions ---------------------------------------------------------------------------------------------------


def test_a_region_s_distance_is_that_of_its_sorted_values():
    values, target, drawn = normal(3, 1600), 2 * normal(3, 1600, seed=1) + 1, torch.tensor([2, 0])
    whole = torch.ones(1, 40, 40, dtype=torch.float64)
    regions = SlicedRegions(whole, goals([Samples(target, whole, torch.ones(1))], 1), [0.5])
    exact = (values.sort(1).values - target.sort(1).values).square().mean(1)
    # A goal is off by about a bin and by the spacing of neighbours, 1e-3 of the range.
    assert regions(values[drawn], drawn).item() == pytest.approx(0.5 * exact[drawn].mean().item(), rel=0.01)


def test_a_region_without_pixels_on_either_side_is_left_out():
    values, weights = normal(2, 16), torch.ones(3, 4, 4, dtype=torch.float64)
    weights[1] = 0
    theirs = weights[[0, 0, 1]]  # the third region is missing there, the second here
    samples = [Samples(normal(2, 16, seed=1), theirs, torch.ones(3))]
    both, drawn = SlicedRegions(weights, goals(samples, 3), [0.2, 0.3, 0.5]), torch.arange(2)
    alone = goals([Samples(samples[0].projections, theirs[:1], torch.ones(1))], 1)
    first = SlicedRegions(weights[:1], alone, [0.2])
    assert len(both.regions) == 1
    assert both(values, drawn) == first(values, drawn) > 0


def test_where_no_region_is_left_the_distance_is_zero():
    nothing = torch.zeros(1, 4, 4, dtype=torch.float64)
    regions = SlicedRegions(nothing, goals([Samples(normal(2, 16), nothing, torch.ones(1))], 1), [1.0])
    assert regions(normal(2, 16), torch.arange(2)) == 0


def test_what_is_not_asked_for_keeps_its_rank():
    """Goals are of all pixels; the loss is of those asked: 1/n sum care (u - T(u))^2."""
    values, target, whole = normal(2, 900), 2 * normal(2, 900, seed=1) + 1, torch.ones(1, 30, 30).double()
    care = uniform(1, 30, 30, seed=2)
    care[:, :, :15] = 0
    regions = SlicedRegions(whole, goals([Samples(target, whole, torch.ones(1))], 1), [1.0], care)
    goal = target.sort(1).values.gather(1, values.argsort(1).argsort(1))
    exact = (care.flatten() * (values - goal).square()).mean()
    leaf = values.clone().requires_grad_()
    distance = regions(leaf, torch.arange(2))
    assert distance.item() == pytest.approx(exact.item(), rel=0.01)
    (gradient,) = torch.autograd.grad(distance, leaf)
    assert not gradient.view(2, 30, 30)[:, :, :15].any() and gradient.view(2, 30, 30)[:, :, 15:].any()


# --- the same by kernels ---------------------------------------------------------------------------------------


@pytest.fixture
def without_kernels(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(compiler, "available", lambda: False)
    return monkeypatch


@pytest.mark.parametrize("count", [1, 2, 7, 500, 5000])
def test_compiled_quantiles_are_those_of_torch(count: int, without_kernels: pytest.MonkeyPatch):
    pytest.importorskip("numba")
    values, weights = normal(3, count), uniform(count, seed=1) + 0.05
    exact = quantile_function(values, weights)
    without_kernels.undo()
    compiled = quantile_function(values.float(), weights.float())
    # A value and the share between two of them in float32: some 1e-7 of the range, times the steepest gap.
    torch.testing.assert_close(compiled.double(), exact, rtol=0, atol=2e-5)


@pytest.mark.slow
def test_compiled_quantiles_of_many_values_are_within_a_bin():
    pytest.importorskip("numba")
    values, weights = normal(2, MANY + 7), uniform(MANY + 7, seed=1)
    exact = quantile_function(values, weights)
    bins = (values.amax(1) - values.amin(1))[:, None] / FINE_BINS
    # Half a bin, since a bin's mass is spread evenly over it; in the tails, where bins are empty, the gap there.
    gap = quantile_function(values, weights).diff(dim=1).clamp(min=0)
    gap = torch.maximum(torch.nn.functional.pad(gap, (1, 0)), torch.nn.functional.pad(gap, (0, 1)))
    assert ((quantile_function(values.float(), weights.float()) - exact).abs() <= bins + 2 * gap + 1e-6).all()


@pytest.mark.parametrize("asked", [None, "care"])
def test_the_compiled_distance_and_gradient_are_those_of_torch(
    asked: str | None, without_kernels: pytest.MonkeyPatch
):
    pytest.importorskip("numba")
    values, theirs, drawn = normal(4, 48 * 40), normal(6, 900, seed=1) * 2, torch.tensor([5, 0, 2, 3])
    masks = torch.stack((uniform(48, 40, seed=2), 1 - uniform(48, 40, seed=2)))
    care = None if asked is None else uniform(2, 48, 40, seed=3)
    samples = Samples(theirs, torch.ones(2, 30, 30).double(), torch.ones(2))

    def measured(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        reached = [goal.to(dtype) for goal in goals([samples], 2) if goal is not None]
        regions = SlicedRegions(
            masks.to(dtype), reached, [0.3, 0.7], None if care is None else care.to(dtype)
        )
        leaf = values.to(dtype).clone().requires_grad_()
        distance = regions(leaf, drawn)
        distance.backward()
        assert leaf.grad is not None
        return distance.detach(), leaf.grad

    exact, direction = measured(torch.float64)
    without_kernels.undo()
    compiled, found = measured(torch.float32)
    # 2048 bins: a value on an edge may fall into the neighbour in float32, where its goal is another by a bin's slope.
    assert compiled.item() == pytest.approx(exact.item(), rel=1e-4)
    assert (found.double() - direction).norm() < 1e-3 * direction.norm()


def test_compiled_values_that_are_not_finite_stay_so():
    pytest.importorskip("numba")
    values, whole = normal(2, 100).float(), torch.ones(1, 10, 10)
    regions = SlicedRegions(whole, [quantile_function(normal(2, 50), evenly(50)).float()], [1.0])
    for bad in (float("nan"), float("inf"), -float("inf")):
        spoilt = values.clone()
        spoilt[1, 7] = bad
        leaf = spoilt.requires_grad_()
        distance = regions(leaf, torch.arange(2))
        distance.backward()
        assert leaf.grad is not None
        assert not distance.isfinite() and leaf.grad[0].isfinite().all() and not leaf.grad[1].isfinite().any()


def test_the_number_of_threads_changes_no_bit():
    pytest.importorskip("numba")
    values, whole = normal(5, 3000).float(), torch.ones(1, 50, 60)
    regions = SlicedRegions(whole, [quantile_function(normal(5, 500), evenly(500)).float()], [1.0])
    found, before = [], torch.get_num_threads()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        leaf = values.clone().requires_grad_()
        regions(leaf, torch.arange(5)).backward()
        found.append(leaf.grad)
    torch.set_num_threads(before)
    assert found[0] is not None and all(torch.equal(found[0], each) for each in found[1:] if each is not None)


def test_goals_do_not_depend_on_how_many_directions_are_looked_through_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
):
    whole = torch.ones(2, 30, 30).double()
    whole[1] = 0
    samples = [Samples(normal(37, 900), whole, torch.ones(2))]
    together, missing = goals(samples, 2)
    monkeypatch.setattr(sliced, "AT_ONCE", 5)
    apart, gone = goals(samples, 2)
    assert missing is None and gone is None
    assert together is not None and apart is not None and torch.equal(together, apart)
    assert together.shape == (37, KNOTS)
