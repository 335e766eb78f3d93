"""The loop: a generator of Steps. It knows no files and prints nothing."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from photostyle.config import Recipe
from photostyle.errors import ComputationError
from photostyle.losses.term import Terms
from photostyle.scene import Stage

# The released code's pixel range. L-BFGS's first step is as long as one of its levels a pixel: the released step of one
# level over the whole picture is lost in a float32 pixel (not there: its variable had the mean colour taken off).
RELEASED_RANGE = 256.0
# torch's L-BFGS drops a pair of gradients whose y.s is under 1e-10, an absolute bound that losses averaged over the
# picture stay below (it would not move), squares gradients in float32, where summed losses overflow, and takes the
# bare gradient for a step while it has no pair. So its objective is scaled by a power of two, which is exact, until
# the first gradient is, in the mean, this many levels a pixel: a step that is safe.
FIRST_GRADIENT = 1.0
# Of the first gradient: below it refused pairs are rounding at a minimum, not negative curvature.
CONVERGED = 1e-2
PATIENCE = 2  # refused pairs of gradients in a row before L-BFGS starts afresh
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
    """Minimise the sum of the objective's terms from a start (3, H, W) in [0, 1]; yields one Step an evaluation.

    Raises Diverged with the last good picture when a term is not finite.
    """
    scale = RELEASED_RANGE if recipe.optimiser == "lbfgs" else 1.0
    # L-BFGS flattens by view and fused Adam trusts equal layouts: the leaf must be contiguous.
    leaf = (start.detach() * scale).contiguous().clone().requires_grad_()
    optimiser = _optimiser(leaf, recipe)
    average, gain = _Average(recipe.averaging), _Gain()
    good, began = start.detach().clone(), time.perf_counter()
    for iteration in range(1, stage.iterations + 1):
        _set_rate(optimiser, gain, recipe, stage, iteration)
        losses = _evaluate_and_step(optimiser, leaf, objective, scale, gain)
        if not all(math.isfinite(value) for value in losses.values()) or not leaf.isfinite().all():
            worst = [name for name, value in losses.items() if not math.isfinite(value)] or ["the step"]
            raise Diverged(
                f"{', '.join(worst)} is not finite at evaluation {iteration} of stage {stage.number + 1} "
                f"({stage.width}x{stage.height}); lower --learning-rate or the term's weight",
                good,
            )
        if recipe.optimiser == "adam":
            with torch.no_grad():
                leaf.clamp_(0, 1)
        good = average(leaf.detach() / scale).clamp(0, 1)
        yield Step(stage, iteration, losses, good, time.perf_counter() - began)


def _optimiser(leaf: Tensor, recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimiser == "adam":
        return torch.optim.Adam([leaf], lr=recipe.learning_rate, betas=BETAS)
    # One evaluation a call, as the released code has it; tolerances that never stop it (tolFun -1, tolX 0).
    return torch.optim.LBFGS(
        [leaf], lr=1, max_iter=1, history_size=recipe.history, tolerance_grad=-1, tolerance_change=-1
    )


def _set_rate(
    optimiser: torch.optim.Optimizer, gain: "_Gain", recipe: Recipe, stage: Stage, iteration: int
) -> None:
    if recipe.optimiser == "lbfgs":
        # torch divides the first step by the gradient's L1 norm, so this is that step's.
        fresh = _forget_stale_curvature(optimiser)
        if fresh:
            gain.renew()
        pixels = optimiser.param_groups[0]["params"][0].numel()
        optimiser.param_groups[0]["lr"] = pixels * FIRST_GRADIENT if fresh else 1
    else:
        fade = LAST_RATE + (1 - LAST_RATE) * (1 + math.cos(math.pi * iteration / stage.iterations)) / 2
        optimiser.param_groups[0]["lr"] = recipe.learning_rate * STAGE_RATE**stage.number * fade


def _forget_stale_curvature(optimiser: torch.optim.Optimizer) -> bool:
    """Restart L-BFGS where it has long refused its gradients' differences; True where its next step is a first one.

    Where curvature is negative (a flat start) every pair is refused, and steps of an outdated length crawl along. At a
    minimum, where rounding makes pairs useless, it is left in peace.
    """
    state = optimiser.state[optimiser.param_groups[0]["params"][0]]
    scale = state.get("H_diag")  # a new tensor whenever a pair is taken
    state["refused"] = state.get("refused", 0) + 1 if scale is state.get("last_scale") else 0
    state["last_scale"] = scale
    if state["refused"] >= PATIENCE and state["prev_flat_grad"].abs().mean() > CONVERGED * FIRST_GRADIENT:
        state.clear()
    return "prev_flat_grad" not in state


def _evaluate_and_step(
    optimiser: torch.optim.Optimizer,
    leaf: Tensor,
    objective: Callable[[Tensor], Terms],
    scale: float,
    gain: "_Gain",
) -> dict[str, float]:
    terms: dict[str, Tensor] = {}

    def closure() -> Tensor:
        optimiser.zero_grad()
        terms.update(objective(leaf if scale == 1 else leaf / scale))
        total = torch.stack(list(terms.values())).sum()
        total.backward()
        return gain(total, leaf)

    optimiser.step(closure)  # type: ignore[arg-type]
    # One transfer for all terms: each .item() would wait for the device.
    values = torch.stack([term.detach() for term in terms.values()]).tolist()
    return dict(zip(terms, values, strict=True))


class _Gain:
    """Scales L-BFGS's objective by the power of two that gives a first gradient the mean size FIRST_GRADIENT."""

    def __init__(self) -> None:
        self.factor: float | None = 1.0

    def renew(self) -> None:
        """The next gradient is a first one."""
        self.factor = None

    def __call__(self, total: Tensor, leaf: Tensor) -> Tensor:
        assert leaf.grad is not None
        if self.factor is None:
            size = leaf.grad.double().abs().mean().item()
            usable = 0 < size < math.inf
            self.factor = 2.0 ** round(math.log2(FIRST_GRADIENT / size)) if usable else 1.0
        if self.factor != 1:
            leaf.grad.mul_(self.factor)
        return total * self.factor


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
