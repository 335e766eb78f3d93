"""The loop on functions whose minimum is known."""

import itertools
import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from photostyle import lbfgs
from photostyle.config import Recipe
from photostyle.errors import ComputationError
from photostyle.optimisers import LAST_RATE, Diverged, Step, optimise
from photostyle.scene import Stage

HEIGHT, WIDTH = 4, 5
Terms = dict[str, Tensor]


def recipe(**settings) -> Recipe:
    return Recipe(**settings)


def stage(iterations: int) -> Stage:
    return Stage(0, WIDTH, HEIGHT, WIDTH, iterations, True)


def run(
    objective: Callable[[Tensor], Terms], iterations: int, start: Tensor | None = None, **settings
) -> list[Step]:
    start = torch.full((3, HEIGHT, WIDTH), 0.5) if start is None else start
    return list(optimise(start, objective, stage(iterations), recipe(**settings)))


def picture(seed: int = 0) -> Tensor:
    return torch.rand(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))


class Quadratic:
    """sum_i c_i (x_i - m_i)^2 / 2 and its evaluations, counted. Curvatures c from 1 to `condition`."""

    def __init__(self, minimum: Tensor, condition: float = 1.0) -> None:
        self.minimum, self.calls = minimum, 0
        self.curvature = torch.logspace(0, math.log10(condition), minimum.numel()).view(minimum.shape)

    def __call__(self, image: Tensor) -> Terms:
        self.calls += 1
        return {"bowl": (self.curvature * (image - self.minimum).square()).sum() / 2}


# --- Adam ------------------------------------------------------------------------------------------------------


def test_adam_finds_the_minimum():
    target = picture()
    steps = run(Quadratic(target), 300, optimiser="adam", learning_rate=0.03)
    # The last steps are at a tenth of the rate: the iterate is within one of them.
    assert (steps[-1].image - target).abs().max() < 0.003


def test_adam_stops_at_the_range_when_the_minimum_lies_outside():
    target = 3 * picture() - 1
    for step in (steps := run(Quadratic(target), 300, optimiser="adam")):
        assert step.image.min() >= 0 and step.image.max() <= 1
    assert (steps[-1].image - target.clamp(0, 1)).abs().max() < 0.003


def test_adam_never_evaluates_a_picture_out_of_range():
    seen, bowl = [], Quadratic(3 * picture() - 1)

    def objective(image: Tensor) -> Terms:
        seen.append(image.detach().clone())
        return bowl(image)

    run(objective, 60, optimiser="adam", learning_rate=0.1)
    assert all(image.min() >= 0 and image.max() <= 1 for image in seen)
    assert seen[-1].min() == 0 and seen[-1].max() == 1


def test_adams_rate_falls_to_a_tenth_over_a_half_cosine():
    # Under a constant gradient every step of Adam has the length of its rate (Kingma & Ba 2015, section 2.1).
    steps = run(lambda x: {"slope": x.sum()}, 20, optimiser="adam", learning_rate=0.01)
    images = [0.5, *(step.image.mean().item() for step in steps)]
    for number, (before, after) in enumerate(pairwise(images), 1):
        fade = LAST_RATE + (1 - LAST_RATE) * (1 + math.cos(math.pi * number / 20)) / 2
        assert before - after == pytest.approx(0.01 * fade, rel=1e-3)  # differences of float32 near 0.5
    assert images[-2] - images[-1] == pytest.approx(0.001, rel=1e-3)


# --- L-BFGS ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_lbfgs_needs_few_steps_for_a_quadratic(scale: float):
    # A loss averaged over a photo is small; torch's L-BFGS on its own would not move for the second scale.
    target, bowl = picture(), Quadratic(picture(), condition=10.0)
    steps = run(lambda x: {"bowl": scale * bowl(x)["bowl"]}, 40, optimiser="lbfgs")
    assert (steps[-1].image - target).abs().max() < 1e-3
    assert steps[-1].total < 1e-6 * steps[0].total


def test_lbfgs_does_not_care_for_the_objective_s_scale():
    # Both are powers of two apart, so the scaling leaves the same float32 numbers; 2^60 squared would overflow them.
    images = [
        run(
            lambda x, scale=scale: {"bowl": scale * Quadratic(picture(), condition=10.0)(x)["bowl"]},
            8,
            optimiser="lbfgs",
        )
        for scale in (2.0**-60, 1.0, 2.0**60)
    ]
    for steps in images:
        assert torch.equal(steps[-1].image, images[0][-1].image)


def test_lbfgs_leaves_a_flat_start_where_curvature_is_negative(monkeypatch: pytest.MonkeyPatch):
    # Two wells, a fifth of the range either side of a ridge, and a start beside the ridge: near it every pair of
    # gradients is refused, as near the released grey start.
    start = 0.5 + 1e-4 * (picture() - 0.5)

    def wells(image: Tensor) -> dict[str, Tensor]:
        return {"wells": ((image - 0.5).square() - 0.04).square().sum()}

    def last() -> float:
        return run(wells, 60, start, optimiser="lbfgs")[-1].total / wells(start)["wells"].item()

    assert last() < 1e-6
    monkeypatch.setattr(lbfgs, "REFUSALS", 1000)
    assert last() > 0.1  # what forgetting is for


def test_the_first_step_of_lbfgs_is_one_level_of_256_a_pixel_in_the_mean():
    start = torch.full((3, HEIGHT, WIDTH), 0.5)
    (step,) = run(Quadratic(picture(), condition=10.0), 1, start, optimiser="lbfgs")
    # Differences of float32 numbers near 128, 8e-6 each, on 60 pixels.
    assert 256 * (step.image - start).abs().mean().item() == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("optimiser", ["adam", "lbfgs"])
def test_a_step_is_exactly_one_evaluation(optimiser: str):
    bowl = Quadratic(picture(), condition=10.0)
    for count, step in enumerate(
        optimise(picture(1), bowl, stage(15), recipe(optimiser=optimiser, history=3)), 1
    ):
        assert bowl.calls == count == step.iteration
    assert bowl.calls == 15


@pytest.mark.parametrize("optimiser", ["adam", "lbfgs"])
def test_a_permuted_start_gives_what_a_contiguous_one_does(optimiser: str):
    start = picture(1).permute(1, 2, 0).contiguous().permute(2, 0, 1)
    assert not start.is_contiguous()
    permuted, plain = (
        run(Quadratic(picture()), 5, s, optimiser=optimiser) for s in (start, start.contiguous())
    )
    assert all(torch.equal(a.image, b.image) for a, b in zip(permuted, plain, strict=True))


def test_lbfgs_results_are_in_range_though_its_iterates_need_not_be():
    steps = run(Quadratic(3 * picture() - 1), 30, optimiser="lbfgs")
    assert all(step.image.min() >= 0 and step.image.max() <= 1 for step in steps)
    # Its optimum outside [0, 1] is reached: nothing pulls the variable back, as in the released code.
    assert steps[-1].total < 1e-6 * steps[0].total


# --- what a step says ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimiser", ["adam", "lbfgs"])
def test_the_total_is_the_sum_of_the_terms_at_the_picture_before(optimiser: str):
    def objective(image: Tensor) -> Terms:
        return {"near": (image - 0.2).square().sum(), "level": 0.1 * image.mean(), "rough": image.std()}

    start = picture(1)
    steps = run(objective, 6, start, optimiser=optimiser)
    for before, step in zip([start, *(s.image for s in steps)], steps, strict=False):
        expected = {name: value.item() for name, value in objective(before).items()}
        assert list(step.losses) == ["near", "level", "rough"]
        # Between steps L-BFGS holds the picture on 0..256: a rounding apart.
        assert step.losses == pytest.approx(expected, rel=1e-5)
        assert step.total == sum(step.losses.values())


def test_steps_carry_their_stage_count_and_time(monkeypatch: pytest.MonkeyPatch):
    where, clock = stage(4), itertools.count(0.5)
    # A real clock may stand still for longer than a step so small takes.
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    steps = list(optimise(picture(), Quadratic(picture(1)), where, recipe()))
    assert [step.iteration for step in steps] == [1, 2, 3, 4]
    assert all(step.stage is where for step in steps)
    assert all(a.seconds < b.seconds for a, b in pairwise(steps)) and steps[0].seconds > 0


def test_a_steps_image_is_not_overwritten_and_the_start_is_not_touched():
    start = picture(1)
    kept, copies = [], []
    for step in optimise(start, Quadratic(picture()), stage(6), recipe()):
        kept.append(step.image)
        copies.append(step.image.clone())
        assert step.image.shape == (3, HEIGHT, WIDTH) and not step.image.requires_grad
    assert all(torch.equal(image, copy) for image, copy in zip(kept, copies, strict=True))
    assert len({image.data_ptr() for image in kept}) == 6
    assert torch.equal(start, picture(1)) and start.grad is None


def test_changing_a_steps_image_does_not_change_the_run():
    disturbed = []
    for step in optimise(picture(1), Quadratic(picture()), stage(6), recipe()):
        disturbed.append(step.image.clone())
        step.image.zero_()
    calm = run(Quadratic(picture()), 6, picture(1))
    assert all(torch.equal(a, b.image) for a, b in zip(disturbed, calm, strict=True))


def test_zero_iterations_are_no_steps():
    bowl = Quadratic(picture())
    assert run(bowl, 0) == [] and bowl.calls == 0


def test_averaging_is_the_corrected_exponential_mean_of_the_iterates():
    past, start = 0.8, picture(1)
    iterates = [step.image.double().numpy() for step in run(Quadratic(picture()), 12, start)]
    averaged = [step.image.numpy() for step in run(Quadratic(picture()), 12, start, averaging=past)]
    for count, ours in enumerate(averaged, 1):
        weights = np.array([past ** (count - k) for k in range(1, count + 1)])
        expected = np.average(iterates[:count], axis=0, weights=weights)
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5)


# --- divergence ------------------------------------------------------------------------------------------------


def failing(at: int, value: float) -> Callable[[Tensor], Terms]:
    """A bowl beside a term that turns bad at one evaluation."""
    bowl = Quadratic(picture())

    def objective(image: Tensor) -> Terms:
        terms = bowl(image)
        return {**terms, "patches": image.sum() * (value if bowl.calls == at else 0.0)}

    return objective


@pytest.mark.parametrize("optimiser", ["adam", "lbfgs"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_term_that_is_not_finite_ends_the_run_with_the_last_good_picture(optimiser: str, value: float):
    seen = []
    with pytest.raises(Diverged) as caught:
        for step in optimise(picture(1), failing(4, value), stage(9), recipe(optimiser=optimiser)):
            seen.append(step.image.clone())
    assert len(seen) == 3
    assert torch.equal(caught.value.image, seen[-1]) and caught.value.image.isfinite().all()
    # One line: which term, where, what to do.
    message = str(caught.value)
    assert "patches is not finite at evaluation 4 of stage 1 (5x4)" in message and "lower" in message
    assert "bowl" not in message and "\n" not in message


def test_diverging_at_once_gives_the_start_back():
    with pytest.raises(Diverged) as caught:
        run(failing(1, math.nan), 3, picture(1))
    assert torch.equal(caught.value.image, picture(1))
    assert isinstance(caught.value, ComputationError)


def test_a_gradient_that_is_not_finite_is_found_too():
    # sqrt at 0: the value is 0, its slope infinite, and 0 * inf makes the step NaN.
    def objective(image: Tensor) -> Terms:
        return {"root": (image * 0).sqrt().sum()}

    with pytest.raises(Diverged, match="the step is not finite at evaluation 1"):
        run(objective, 3)
