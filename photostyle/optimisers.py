"""The loop: a generator of Steps. It knows no files and prints nothing."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from photostyle.config import Recipe
from photostyle.errors import ComputationError
from photostyle.lbfgs import LBFGS
from photostyle.losses.term import Terms
from photostyle.scene import Stage

# The released code's pixel range. L-BFGS's first step is as long as one of its levels a pixel: the released step of one
# level over the whole picture is lost in a float32 pixel (not there: its variable had the mean colour taken off).
RELEASED_RANGE = 256.0
LAST_RATE = 0.1  # of the learning rate, reached by a half cosine: the drawn filters' noise dies out
STAGE_RATE = 0.5  # of the stage before: a finer stage starts nearer its end and is not to be shaken off it
# A second-moment memory of 100 steps, the length of a stage; torch's 0.999 outlasts the run.
BETAS = (0.9, 0.99)


@dataclass(frozen=True)
class Step:
    """One evaluation: the terms as they were at the picture before it, and the picture after it."""

    stage: Stage
    iteration: int  # 1 ... stage.iterations
    losses: dict[str, float]  # weighted terms by name; they add up to what is optimised
    image: Tensor  # (3, H, W) in [0, 1], detached; valid until the next step
    seconds: float  # since the stage began

    @property
    def total(self) -> float:
        """The optimised value."""
        return sum(self.losses.values())


class Diverged(ComputationError):
    """A term became infinite or not a number; `image` is the last good picture."""

    def __init__(self, message: str, image: Tensor) -> None:
        super().__init__(message)
        self.image = image


def optimise(
    start: Tensor, objective: Callable[[Tensor], Terms], stage: Stage, recipe: Recipe
) -> Iterator[Step]:
    """Minimise the sum of the objective's terms from a start (3, H, W) in [0, 1]; yields one Step per evaluation.

    Raises Diverged with the last good picture when a term is not finite.
    """
    scale = RELEASED_RANGE if recipe.optimiser == "lbfgs" else 1.0
    # Fused Adam trusts equal layouts: the leaf must be contiguous.
    leaf = (start.detach() * scale).contiguous().clone().requires_grad_()
    move = _adam(leaf, stage, recipe) if recipe.optimiser == "adam" else _lbfgs(leaf, recipe)
    average = _Average(recipe.averaging)
    good, began = start.detach().clone(), time.perf_counter()
    for iteration in range(1, stage.iterations + 1):
        losses = _evaluate(leaf, objective, scale)
        move(iteration)
        if not all(math.isfinite(value) for value in losses.values()) or not leaf.isfinite().all():
            worst = [name for name, value in losses.items() if not math.isfinite(value)] or ["the step"]
            raise Diverged(
                f"{', '.join(worst)} is not finite at evaluation {iteration} of stage {stage.number + 1} "
                f"({stage.width}x{stage.height}); lower --learning-rate or the term's weight",
                good,
            )
        good = average(leaf.detach() / scale).clamp(0, 1)
        yield Step(stage, iteration, losses, good, time.perf_counter() - began)


def _evaluate(leaf: Tensor, objective: Callable[[Tensor], Terms], scale: float) -> dict[str, float]:
    """The terms' values at the leaf, and the gradient of their sum in it."""
    leaf.grad = None
    terms = objective(leaf if scale == 1 else leaf / scale)
    torch.stack(list(terms.values())).sum().backward()
    # One transfer for all terms: each .item() would wait for the device.
    values = torch.stack([term.detach() for term in terms.values()]).tolist()
    return dict(zip(terms, values, strict=True))


def _adam(leaf: Tensor, stage: Stage, recipe: Recipe) -> Callable[[int], None]:
    """A step of Adam at its own rate, clamped to [0, 1]."""
    optimiser = torch.optim.Adam([leaf], lr=recipe.learning_rate, betas=BETAS)

    def move(iteration: int) -> None:
        fade = LAST_RATE + (1 - LAST_RATE) * (1 + math.cos(math.pi * iteration / stage.iterations)) / 2
        optimiser.param_groups[0]["lr"] = recipe.learning_rate * STAGE_RATE**stage.number * fade
        optimiser.step()
        with torch.no_grad():
            leaf.clamp_(0, 1)

    return move


def _lbfgs(leaf: Tensor, recipe: Recipe) -> Callable[[int], None]:
    """A step of L-BFGS; what leaves the range comes back by itself, as in the released code."""
    steps = LBFGS(recipe.history)

    def move(_: int) -> None:
        assert leaf.grad is not None
        with torch.no_grad():
            steps.step(leaf, leaf.grad)

    return move


class _Average:
    """Exponential average of the iterates, corrected for its start (Kingma & Ba 2015, section 3)."""

    def __init__(self, past: float) -> None:
        self.past, self.weight, self.value = past, 0.0, torch.zeros(())

    def __call__(self, image: Tensor) -> Tensor:
        if not self.past:
            return image.clone()
        self.value = self.past * self.value.to(image) + (1 - self.past) * image
        self.weight = self.past * self.weight + (1 - self.past)
        return self.value / self.weight
