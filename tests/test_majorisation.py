"""Majorise-minimise: its equations against a direct solve, its steps against what they promise and against Adam."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from photostyle import recipe
from photostyle.imaging.filters import resize
from photostyle.imaging.opponent import to_opponent
from photostyle.kernels import compiler
from photostyle.losses.curvature import Curvature
from photostyle.losses.encoders import Features
from photostyle.losses.photorealism import Photorealism
from photostyle.losses.term import Term
from photostyle.losses.variation import Variation
from photostyle.majorisation import MajoriseMinimise, conjugate_gradients, product
from photostyle.objective import Objective
from photostyle.optimisers import Step, optimise
from photostyle.scene import Scene, Stage

SIZE = 12, 16
STAGE = Stage(0, 16, *SIZE, 40, True)


def noise(*size: int, seed: int = 0) -> Tensor:
    return torch.rand(3, *size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def photographs(coffee: Tensor, chelsea: Tensor) -> Scene:
    return Scene.of(resize(coffee, 64, 96), resize(chelsea, 64, 96))


class Spring(Curvature):
    """Pulls every number to itself."""

    def add(self, direction: Tensor, total: Tensor) -> None:
        total += 0.01 * direction

    def diagonal(self) -> Tensor:
        return torch.full((3, 1, 1), 0.01, dtype=torch.float64)


@pytest.mark.slow
def test_enough_conjugate_gradients_solve_the_equations():
    term = Photorealism(recipe("patches"), STAGE, Scene.of(noise(*SIZE), noise(*SIZE, seed=1)), None)
    models, right = [term.curvature(noise(*SIZE)), Spring()], noise(*SIZE, seed=2) - 0.5
    count = right.numel()
    matrix = np.stack(
        [product(models, each.view(right.shape)).numpy().ravel() for each in torch.eye(count).double()], 1
    )
    exact = np.linalg.solve(matrix, right.numpy().ravel())
    found = conjugate_gradients(models, right, 400)
    np.testing.assert_allclose(found.numpy().ravel(), exact, rtol=0, atol=1e-6 * np.abs(exact).max())


def test_every_conjugate_gradient_comes_nearer():
    term = Photorealism(recipe("patches"), STAGE, Scene.of(noise(*SIZE), noise(*SIZE, seed=1)), None)
    models, right = [term.curvature(noise(*SIZE)), Spring()], noise(*SIZE, seed=2) - 0.5

    def model(steps: int) -> float:
        change = conjugate_gradients(models, right, steps)
        return float((change * product(models, change)).sum() / 2 - (right * change).sum())

    values = [model(steps) for steps in range(12)]
    assert all(later < earlier for earlier, later in pairwise(values))


def test_where_nothing_pulls_nothing_moves():
    assert not conjugate_gradients([], torch.zeros(3, 4, 4), 3).any()
    assert not conjugate_gradients([Spring()], torch.zeros(3, 4, 4, dtype=torch.float64), 3).any()


def test_a_quadratic_objective_is_minimised_in_a_few_steps():
    """Variation with a spring to a picture: the minimum is the solution of one linear system."""
    target, weight = noise(*SIZE, seed=3), 0.05

    class Near(Term):
        name = "near"

        def __init__(self) -> None:
            pass

        def __call__(self, image: Tensor) -> Tensor:
            return 0.005 * (image - target).square().sum()

        def curvature(self, image: Tensor) -> Curvature:
            return Spring()

    scene = Scene.of(noise(*SIZE), noise(*SIZE, seed=1))
    settings = recipe("patches", variation_weight=weight, energies="sum")
    objective = Objective(settings, STAGE, scene, terms=[Variation])
    objective.members.append(type(objective.members[0])(Near(), Near().parts()))
    solver = MajoriseMinimise(noise(*SIZE), objective, 60)
    for iteration in range(1, 61):
        solver.step(iteration)
    leaf = solver.image.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(Variation(settings, STAGE, scene, None)(leaf) + Near()(leaf), leaf)
    inside = (solver.image > 0) & (solver.image < 1)
    assert inside.float().mean() > 0.9
    assert gradient[inside].abs().max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"texture_weight": 0.0}, {"patch_weight": 0.0}])
def test_the_objective_falls_to_below_what_adam_reaches_in_three_times_the_steps(
    photographs: Scene, settings: dict[str, float]
):
    """On the mean over many draws, so that the drawn directions of a step do not decide."""
    stage = Stage(0, 96, 64, 96, 30, True)

    def reached(optimiser: str, steps: int) -> float:
        chosen = recipe("patches", optimiser=optimiser, **settings)
        at = Stage(0, 96, 64, 96, steps, True)
        image = photographs.content
        for step in optimise(image, Objective(chosen, at, photographs), at, chosen):
            image = step.image
        return value(image)

    judge = Objective(recipe("patches", optimiser="adam", **settings), stage, photographs)

    def value(image: Tensor) -> float:
        with torch.no_grad():
            return float(np.mean([sum(each.item() for each in judge(image).values()) for _ in range(10)]))

    before, ours, adam = value(photographs.content), reached("mm", 30), reached("adam", 90)
    assert ours < 0.8 * before
    # A twentieth of what there was to gain, which is what the draws of the judge leave open.
    assert ours < adam + 0.05 * (before - adam)


def test_a_function_without_a_model_is_minimised_by_its_gradient():
    target = noise(8, 8, seed=5).float()
    weights = 1 + 30 * noise(8, 8, seed=6).float()
    solver = MajoriseMinimise(
        torch.full((3, 8, 8), 0.5), lambda x: {"far": (weights * (x - target).square()).sum()}, 80
    )
    values = [solver.step(iteration)["far"].item() for iteration in range(1, 81)]
    assert values[-1] < 1e-3 * values[0]


@pytest.mark.slow
def test_a_term_without_a_model_stands_beside_those_with_one(photographs: Scene):
    class Warmth(Term):
        name = "warmth"

        def __init__(self, chosen: object, stage: Stage, scene: Scene, encoder: Features | None) -> None:
            pass

        def __call__(self, image: Tensor) -> Tensor:
            return 0.05 * (1 - (image[0] - image[2]).mean()).square()

    chosen, stage = recipe("patches"), Stage(0, 96, 64, 96, 12, True)

    def warmth(terms: tuple[type[Term], ...]) -> float:
        image = photographs.content
        for step in optimise(image, Objective(chosen, stage, photographs, terms=terms), stage, chosen):
            image = step.image
            assert list(step.losses)[-1] == terms[-1].name
        return float((image[0] - image[2]).mean())

    from photostyle.config import TERMS

    assert warmth((*TERMS, Warmth)) > warmth(TERMS) + 0.02


def test_the_same_seed_gives_the_same_picture(photographs: Scene):
    chosen, stage = recipe("patches"), Stage(0, 96, 64, 96, 6, True)

    def solved() -> Tensor:
        steps = optimise(photographs.content, Objective(chosen, stage, photographs), stage, chosen)
        return [step.image for step in steps][-1]

    assert torch.equal(solved(), solved())


def test_the_steps_stay_in_the_range(photographs: Scene):
    chosen, stage = recipe("patches", photorealism_weight=0.0), Stage(0, 96, 64, 96, 8, True)
    for step in optimise(photographs.content, Objective(chosen, stage, photographs), stage, chosen):
        assert step.image.min() >= 0 and step.image.max() <= 1
        assert to_opponent(step.image).isfinite().all()


def test_without_kernels_the_same_is_solved(photographs: Scene, monkeypatch: pytest.MonkeyPatch):
    """Two steps, before rounding has decided which bin a pixel is in."""
    chosen, stage = recipe("patches"), Stage(0, 96, 64, 96, 2, True)

    def solved() -> list[Step]:
        return list(optimise(photographs.content, Objective(chosen, stage, photographs), stage, chosen))

    compiled = solved()
    monkeypatch.setattr(compiler, "available", lambda: False)
    for ours, plain in zip(compiled, solved(), strict=True):
        assert ours.total == pytest.approx(plain.total, rel=1e-3)
        # Quantiles and ranks are of histograms with other edges: goals differ by up to a bin, a 2048th of the range.
        assert (ours.image - plain.image).abs().mean() < 1e-3


def test_what_nothing_weighs_stays_as_it_is(photographs: Scene):
    """Texture sees grey alone: chroma has neither a weight nor, but for rounding, a gradient."""
    chosen = recipe(
        "patches",
        patch_weight=0.0,
        structure_weight=0.0,
        photorealism_weight=0.0,
        photorealism_coarse=(0.0,),
        consistency_weight=0.0,
    )
    stage = Stage(0, 96, 64, 96, 10, True)
    start = 0.2 + 0.6 * photographs.content
    *_, last = optimise(start, Objective(chosen, stage, photographs), stage, chosen)
    moved = to_opponent(last.image - start)
    assert moved[0].abs().mean() > 1e-3
    inside = ((last.image > 0) & (last.image < 1)).all(0)
    assert moved[1:, inside].abs().max() < 1e-3


def test_the_terms_are_told_in_the_objective_s_order(photographs: Scene):
    chosen, stage = recipe("patches", variation_weight=0.1), Stage(0, 96, 64, 96, 1, True)
    objective = Objective(chosen, stage, photographs)
    (step,) = optimise(photographs.content, objective, stage, chosen)
    assert list(step.losses) == list(objective.parts)
