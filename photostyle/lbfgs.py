"""L-BFGS without a line search, as the released code uses it: one gradient, one step.

Liu & Nocedal, "On the limited memory BFGS method for large scale optimization" (1989), with a step of length 1; the
first one is as long as the gradient allows.
"""

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

# A pair of gradients is taken from this product of step and change on: an absolute bound, as in torch.optim.LBFGS.
LEAST_CURVATURE = 1e-10
# The gradient is scaled by a power of two, which is exact, until the first one is, in the mean, this large in each
# entry: a safe step then, above LEAST_CURVATURE though a loss is averaged over the picture, and far from overflow
# though it is summed.
FIRST_GRADIENT = 1.0
# Of the first gradient: below it refused pairs are rounding at a minimum, not negative curvature.
CONVERGED = 1e-2
REFUSALS = 2  # refused pairs in a row before it starts afresh


class LBFGS:
    """Steps from gradients. It starts afresh where curvature is negative (a flat start) and every pair is refused.

    history: the pairs of steps and changes of the gradient that are remembered.
    """

    def __init__(self, history: int) -> None:
        self.history = history
        self._start_afresh()

    def _start_afresh(self) -> None:
        self.steps: deque[Tensor] = deque(maxlen=self.history)
        self.changes: deque[Tensor] = deque(maxlen=self.history)
        self.curvatures: deque[Tensor] = deque(maxlen=self.history)  # 1 / (step . change)
        self.scale: float | Tensor = (
            1.0  # of the identity that stands for the inverse Hessian before any pair
        )
        self.gain: float | None = None
        self.last: tuple[Tensor, Tensor] | None = (
            None  # the step before and the gradient that it was made from
        )
        self.refused = 0

    def state(self) -> dict[str, Any]:
        """All that the next step depends on beside the variable and its gradient."""
        return {
            "pairs": [list(self.steps), list(self.changes), list(self.curvatures)],
            "scale": self.scale,
            "gain": self.gain,
            "last": self.last,
            "refused": self.refused,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Be where `state` found one with the same history."""
        for own, found in zip((self.steps, self.changes, self.curvatures), state["pairs"], strict=True):
            own.clear()
            own.extend(found)
        self.scale, self.gain, self.last = state["scale"], state["gain"], state["last"]
        self.refused = state["refused"]

    def step(self, variable: Tensor, gradient: Tensor) -> None:
        """Move the variable, in place, by the gradient at it; both have the same shape."""
        if self._crawls():
            self._start_afresh()
        if self.gain is None:
            self.gain = _gain(gradient)
        scaled = (gradient if self.gain == 1 else gradient * self.gain).flatten()
        if self.last is None:
            direction, length = -scaled, float(_first_length(scaled))
        else:
            before, earlier = self.last
            self._remember(before, scaled - earlier)
            direction, length = self._direction(scaled), 1.0
        self.last = direction * length, scaled.clone()
        variable.add_(direction.view_as(variable), alpha=length)

    def _remember(self, step: Tensor, change: Tensor) -> None:
        product = change.dot(step)
        if not product > LEAST_CURVATURE:
            self.refused += 1
            return
        self.refused = 0
        self.steps.append(step)
        self.changes.append(change)
        self.curvatures.append(1.0 / product)
        self.scale = product / change.dot(change)

    def _direction(self, gradient: Tensor) -> Tensor:
        """The inverse Hessian of the remembered pairs times the gradient, downhill: Nocedal's two loops."""
        direction, parts = gradient.neg(), list[Tensor]()
        pairs = list(zip(self.steps, self.changes, self.curvatures, strict=True))
        for step, change, curvature in reversed(pairs):
            parts.append(step.dot(direction) * curvature)
            direction.add_(change, alpha=-parts[-1])  # type: ignore[arg-type]
        direction = torch.mul(direction, self.scale)
        for (step, change, curvature), part in zip(pairs, reversed(parts), strict=True):
            direction.add_(step, alpha=part - change.dot(direction) * curvature)  # type: ignore[arg-type]
        return direction

    def _crawls(self) -> bool:
        """Whether its steps are of an outdated length: pairs were refused for long, and not at a minimum."""
        if self.refused < REFUSALS or self.last is None:
            return False
        return bool(self.last[1].abs().mean() > CONVERGED * FIRST_GRADIENT)


def _first_length(gradient: Tensor) -> Tensor:
    """So that the step is in the mean FIRST_GRADIENT in each entry, or the gradient itself where that is shorter."""
    return torch.clamp(1 / gradient.abs().sum(), max=1.0) * (gradient.numel() * FIRST_GRADIENT)


def _gain(gradient: Tensor) -> float:
    size = gradient.double().abs().mean().item()
    usable = 0 < size < math.inf
    return 2.0 ** round(math.log2(FIRST_GRADIENT / size)) if usable else 1.0
