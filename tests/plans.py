"""A transport plan held fixed, for the gradients of what is compared by sliced Wasserstein."""

from collections.abc import Callable

import pytest
from torch import Tensor

from photostyle.losses import sliced


def holding_the_plan(
    monkeypatch: pytest.MonkeyPatch, distance: Callable[[Tensor], Tensor], at: Tensor
) -> Callable[[Tensor], Tensor]:
    """The distance as a function of the image alone: every goal is what it is at the given place."""
    goals: list[Tensor] = []
    transport = sliced.transport

    def record(*arguments: Tensor) -> Tensor:
        goals.append(transport(*arguments))
        return goals[-1]

    monkeypatch.setattr(sliced, "transport", record)
    distance(at)
    plan = tuple(goals)
    assert plan

    def replayed(image: Tensor) -> Tensor:
        order = iter(plan)
        monkeypatch.setattr(sliced, "transport", lambda *_: next(order))
        return distance(image)

    return replayed
