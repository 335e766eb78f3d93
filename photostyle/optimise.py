"""The loop: a generator of Steps. It knows no files and prints nothing."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from photostyle.config import Config
from photostyle.errors import ComputationError
from photostyle.schedule import Stage

# The released code's pixel range. L-BFGS's first step has unit L1 norm in the variable's own scale.
RELEASED_RANGE = 256.0
# torch's L-BFGS drops a pair of gradients whose y.s is under 1e-10, an absolute bound that losses averaged over the
# picture stay below: it would not move. A power of two is exact, so where the bound plays no part no bit changes.
LBFGS_GAIN = 2.0**30
LAST_RATE = 0.1  # of the learning rate, reached by a half cosine: the drawn filters' noise dies out
STAGE_RATE = 0.5  # of the stage before: a finer stage starts nearer its end and is not to be shaken off it
BETAS = (
    0.9,
    0.99,
)  # a second-moment memory of 100 steps, the length of a stage; torch's 0.999 outlasts the run


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


Objective = Callable[[Tensor], dict[str, Tensor]]


def optimise(start: Tensor, objective: Objective, stage: Stage, config: Config) -> Iterator[Step]:
    """Minimise the sum of the objective's terms from a start (3, H, W) in [0, 1]; yields one Step an evaluation.

    Raises Diverged with the last good picture when a term is not finite.
    """
    scale = RELEASED_RANGE if config.optimiser == "lbfgs" else 1.0
    # L-BFGS flattens by view and fused Adam trusts equal layouts: the leaf must be contiguous.
    leaf = (start.detach() * scale).contiguous().clone().requires_grad_()
    optimiser = _optimiser(leaf, config)
    average = _Average(config.averaging)
    good, began = start.detach().clone(), time.perf_counter()
    for iteration in range(1, stage.iterations + 1):
        _set_rate(optimiser, config, stage, iteration)
        losses = _evaluate_and_step(optimiser, leaf, objective, scale)
        if not all(math.isfinite(value) for value in losses.values()) or not leaf.isfinite().all():
            worst = [name for name, value in losses.items() if not math.isfinite(value)] or ["the step"]
            raise Diverged(
                f"{', '.join(worst)} is not finite at evaluation {iteration} of stage {stage.number + 1} "
                f"({stage.width}x{stage.height}); lower --learning-rate or the term's weight",
                good,
            )
        if config.optimiser == "adam":
            with torch.no_grad():
                leaf.clamp_(0, 1)
        good = average(leaf.detach() / scale).clamp(0, 1)
        yield Step(stage, iteration, losses, good, time.perf_counter() - began)


def _optimiser(leaf: Tensor, config: Config) -> torch.optim.Optimizer:
    if config.optimiser == "adam":
        return torch.optim.Adam([leaf], lr=config.learning_rate, betas=BETAS)
    # One evaluation a call, as the released code has it; tolerances that never stop it (tolFun -1, tolX 0).
    return torch.optim.LBFGS(
        [leaf], lr=1, max_iter=1, history_size=config.history, tolerance_grad=-1, tolerance_change=-1
    )


def _set_rate(optimiser: torch.optim.Optimizer, config: Config, stage: Stage, iteration: int) -> None:
    if config.optimiser == "adam":
        fade = LAST_RATE + (1 - LAST_RATE) * (1 + math.cos(math.pi * iteration / stage.iterations)) / 2
        optimiser.param_groups[0]["lr"] = config.learning_rate * STAGE_RATE**stage.number * fade


def _evaluate_and_step(
    optimiser: torch.optim.Optimizer, leaf: Tensor, objective: Objective, scale: float
) -> dict[str, float]:
    terms: dict[str, Tensor] = {}

    def closure() -> Tensor:
        optimiser.zero_grad()
        terms.update(objective(leaf if scale == 1 else leaf / scale))
        total = torch.stack(list(terms.values())).sum()
        if isinstance(optimiser, torch.optim.LBFGS):
            total = total * LBFGS_GAIN
        total.backward()
        return total

    optimiser.step(closure)  # type: ignore[arg-type]
    # One transfer for all terms: each .item() would wait for the device.
    values = torch.stack([term.detach() for term in terms.values()]).tolist()
    return dict(zip(terms, values, strict=True))


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
