"""The loop: a generator of Steps. It knows no files and prints nothing."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from photostyle.config import Recipe
from photostyle.errors import ComputationError
from photostyle.files.checkpoints import State
from photostyle.lbfgs import LBFGS
from photostyle.losses.term import Terms
from photostyle.majorisation import MajoriseMinimise
from photostyle.objective import Objective
from photostyle.scene import Stage

# The released code's pixel range. L-BFGS's first step is as long as one of its levels a pixel: the released step of one
# level over the whole picture is lost in a float32 pixel (not there: its variable had the mean colour taken off).
RELEASED_RANGE = 256.0
LAST_RATE = 0.1  # of the learning rate, reached by a half cosine: the drawn filters' noise dies out
STAGE_RATE = 0.5  # of the stage before: a finer stage starts nearer its end and is not to be shaken off it
# Against a divergence; majorise-minimise has no rate.
REMEDIES = {"mm": "lower the term's weight, or try --optimiser adam"} | dict.fromkeys(
    ("adam", "lbfgs"), "lower --learning-rate or the term's weight"
)


@dataclass(frozen=True)
class Step:
    """One evaluation: the terms as they were at the picture before it, and the picture after it."""

    stage: Stage
    iteration: int  # 1 ... stage.iterations
    losses: dict[str, float]  # weighted terms by name; they add up to what is optimised
    image: Tensor  # (3, H, W) in [0, 1], detached; valid until the next step
    seconds: float  # since the stage began
    state: Callable[
        [], dict[str, State]
    ]  # what `solve` goes on from after it; to be asked before the next step

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
    start: Tensor,
    objective: Callable[[Tensor], Terms],
    stage: Stage,
    recipe: Recipe,
    state: Mapping[str, Any] | None = None,
) -> Iterator[Step]:
    """Minimise the sum of the objective's terms from a start (3, H, W) in [0, 1]; yields one Step per evaluation.

    state: `Step.state` of an earlier optimisation of the same, which goes on after that step; start is its image then.
    Raises Diverged with the last good picture when a term is not finite.
    """
    parts = _Parts(
        _minimiser(start, objective, stage, recipe),
        _Lowest() if recipe.keep == "lowest" else _Average(recipe.averaging),
        objective if isinstance(objective, Objective) else None,
    )
    minimiser, done, began = parts.minimiser, 0, time.perf_counter()
    if state is not None:
        parts.restore(state)
        done, began = state["iteration"], began - state["seconds"]
    good = start.detach().clone()
    for iteration in range(done + 1, stage.iterations + 1):
        before = minimiser.image
        values = minimiser.step(iteration)
        # One transfer for all of it: each .item() would wait for the device.
        whole = minimiser.image.isfinite().all().to(minimiser.image)
        *numbers, finite = torch.stack([*values.values(), whole]).tolist()
        losses = dict(zip(values, numbers, strict=True))
        if not finite or not all(math.isfinite(value) for value in numbers):
            worst = [name for name, value in losses.items() if not math.isfinite(value)] or ["the step"]
            raise Diverged(
                f"{', '.join(worst)} is not finite at evaluation {iteration} of stage {stage.number + 1} "
                f"({stage.width}x{stage.height}); {REMEDIES[recipe.optimiser]}",
                good,
            )
        good = parts.kept(before, sum(numbers), minimiser.image).clamp(0, 1)
        yield _step(stage, iteration, losses, good, time.perf_counter() - began, parts)


def _step(
    stage: Stage, iteration: int, losses: dict[str, float], image: Tensor, seconds: float, parts: "_Parts"
) -> Step:
    def state() -> dict[str, State]:
        where = {"stage": stage.number, "iteration": iteration, "seconds": seconds, "image": image}
        return where | parts.state()

    return Step(stage, iteration, losses, image, seconds, state)


class Minimiser(Protocol):
    """One way of going down: `image` (3, H, W) is where it is after a step; the step returns the terms before it."""

    @property
    def image(self) -> Tensor: ...

    def step(self, iteration: int) -> Terms: ...

    def state(self) -> dict[str, Any]: ...

    def restore(self, state: Mapping[str, Any]) -> None: ...


def _minimiser(
    start: Tensor, objective: Callable[[Tensor], Terms], stage: Stage, recipe: Recipe
) -> Minimiser:
    if recipe.optimiser == "mm":
        return MajoriseMinimise(start, objective, stage.iterations)
    return (_Adam if recipe.optimiser == "adam" else _LBFGS)(start, objective, stage, recipe)


class _GradientSteps:
    """What Adam and L-BFGS share: a gradient of all terms at the picture, then a step by it alone."""

    scale = 1.0  # of the variable that is optimised, over the image

    def __init__(
        self, start: Tensor, objective: Callable[[Tensor], Terms], stage: Stage, recipe: Recipe
    ) -> None:
        # Contiguous: fused steps trust equal layouts.
        self.leaf = (start.detach() * self.scale).contiguous().clone().requires_grad_()
        self.objective, self.stage, self.recipe = objective, stage, recipe

    @property
    def image(self) -> Tensor:
        return self.leaf.detach() / self.scale

    def state(self) -> dict[str, Any]:
        return {"leaf": self.leaf}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.leaf = state["leaf"].clone().requires_grad_()

    def step(self, iteration: int) -> Terms:
        terms = self.objective(self.leaf if self.scale == 1 else self.leaf / self.scale)
        (gradient,) = torch.autograd.grad(torch.stack(list(terms.values())).sum(), self.leaf)
        with torch.no_grad():
            self.move(gradient, iteration)
        return {name: value.detach() for name, value in terms.items()}

    def move(self, gradient: Tensor, iteration: int) -> None:
        raise NotImplementedError


class _Adam(_GradientSteps):
    """Kingma & Ba, "Adam: A Method for Stochastic Optimization" (ICLR 2015), algorithm 1, clamped to [0, 1].

    Written out, because torch's imports its compiler, which takes two seconds.
    """

    def __init__(
        self, start: Tensor, objective: Callable[[Tensor], Terms], stage: Stage, recipe: Recipe
    ) -> None:
        super().__init__(start, objective, stage, recipe)
        self.mean, self.square = torch.zeros_like(start), torch.zeros_like(start)

    def state(self) -> dict[str, Any]:
        return super().state() | {"mean": self.mean, "square": self.square}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self.mean, self.square = state["mean"].clone(), state["square"].clone()

    def move(self, gradient: Tensor, iteration: int) -> None:
        first, second = self.recipe.moments
        if self.recipe.weight_decay:
            gradient = gradient + self.recipe.weight_decay * self.leaf
        self.mean.lerp_(gradient, 1 - first)
        self.square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        root = (self.square / (1 - second**iteration)).sqrt_().add_(self.recipe.adam_epsilon)
        rate = self._rate(iteration)
        self.leaf.addcdiv_(self.mean, root, value=-rate / (1 - first**iteration)).clamp_(0, 1)

    def _rate(self, iteration: int) -> float:
        rate = self.recipe.learning_rate
        if not self.recipe.rate_decay:
            return rate
        fade = LAST_RATE + (1 - LAST_RATE) * (1 + math.cos(math.pi * iteration / self.stage.iterations)) / 2
        return rate * STAGE_RATE**self.stage.number * fade


class _LBFGS(_GradientSteps):
    """Steps of L-BFGS; what leaves the range comes back by itself, as in the released code."""

    scale = RELEASED_RANGE

    def __init__(
        self, start: Tensor, objective: Callable[[Tensor], Terms], stage: Stage, recipe: Recipe
    ) -> None:
        super().__init__(start, objective, stage, recipe)
        self.steps = LBFGS(recipe.history)

    def state(self) -> dict[str, Any]:
        return super().state() | {"steps": self.steps.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self.steps.restore(state["steps"])

    def move(self, gradient: Tensor, iteration: int) -> None:
        self.steps.step(self.leaf, gradient)


class _Kept(Protocol):
    """Which picture is the result so far, from that before a step with its loss and that after it."""

    def __call__(self, before: Tensor, loss: float, after: Tensor) -> Tensor: ...

    def state(self) -> dict[str, Any]: ...

    def restore(self, state: Mapping[str, Any]) -> None: ...


class _Lowest:
    """The picture of the lowest loss. It is the one that the loss is of: the step's own result has none yet."""

    def __init__(self) -> None:
        self.loss, self.image = math.inf, torch.zeros(())

    def __call__(self, before: Tensor, loss: float, after: Tensor) -> Tensor:
        if loss < self.loss:
            self.loss, self.image = loss, before.clone()
        return self.image

    def state(self) -> dict[str, Any]:
        return {"loss": self.loss, "image": self.image}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.loss, self.image = state["loss"], state["image"]


class _Average:
    """Exponential average of the iterates, corrected for its start (Kingma & Ba 2015, section 3)."""

    def __init__(self, past: float) -> None:
        self.past, self.weight, self.value = past, 0.0, torch.zeros(())

    def __call__(self, before: Tensor, loss: float, after: Tensor) -> Tensor:
        if not self.past:
            return after.clone()
        self.value = self.past * self.value.to(after) + (1 - self.past) * after
        self.weight = self.past * self.weight + (1 - self.past)
        return self.value / self.weight

    def state(self) -> dict[str, Any]:
        return {"weight": self.weight, "value": self.value}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.weight, self.value = state["weight"], state["value"]


@dataclass(frozen=True)
class _Parts:
    """All of an optimisation that has a state. An objective that is not ours is a function of the image alone."""

    minimiser: Minimiser
    kept: _Kept
    objective: Objective | None

    def state(self) -> dict[str, State]:
        objective = {} if self.objective is None else self.objective.state()
        return {"minimiser": self.minimiser.state(), "kept": self.kept.state(), "objective": objective}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.minimiser.restore(state["minimiser"])
        self.kept.restore(state["kept"])
        if self.objective is not None:
            self.objective.restore(state["objective"])
