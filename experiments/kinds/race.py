"""Ours on an objective of the source slides: how soon it has the total at which theirs ended."""

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from experiments.kinds.defects import SlidesObjective
from photostyle import recipe, solve
from photostyle.imaging.filters import size_of
from photostyle.regions.canvas import recolour
from photostyle.regions.colour import region_colour_maps
from photostyle.scene import Scene, Stage

COARSE = (4, 2)  # what the sides are divided by before the full size, as 128, 256, 512 in the presets


@dataclass(frozen=True)
class Strategy:
    """One of our ways to minimise an objective."""

    optimiser: Literal["adam", "lbfgs"]
    recoloured: bool  # from the photo recoloured region by region, else from the photo
    coarse: bool  # at a quarter and half of the size first


STRATEGIES = {
    "L-BFGS": Strategy("lbfgs", recoloured=False, coarse=False),
    "coarse to fine, L-BFGS": Strategy("lbfgs", recoloured=False, coarse=True),
    "recoloured, coarse to fine, L-BFGS": Strategy("lbfgs", recoloured=True, coarse=True),
    "recoloured, coarse to fine, Adam": Strategy("adam", recoloured=True, coarse=True),
}


def race(
    strategy: Strategy, objective: SlidesObjective, evaluations: int, targets: Mapping[str, float]
) -> tuple[Tensor, dict[str, Any]]:
    """So many evaluations at each size -> the last picture; seconds until its clamped total is at most each target.

    Everything is counted but the objective at full size, which both sides have; None: never reached.
    """
    began, reached = time.perf_counter(), dict.fromkeys(targets)
    goals = list(_objectives(strategy, objective))
    stages = [(_stage(number, goal.scene, evaluations), goal.scene) for number, goal in enumerate(goals)]
    canvas = objective.scene.content
    for step in solve(
        objective.scene,
        recipe("patches", optimiser=strategy.optimiser),
        lambda stage, scene: goals[stage.number],
        start=_recoloured if strategy.recoloured else lambda scene: scene.content,
        stages=stages,
    ):
        canvas = step.image
        # L-BFGS is not clamped and only its clamped picture counts; asked where the total before allows it.
        hopeful = step.total <= max(targets.values()) or step.iteration == evaluations
        if goals[step.stage.number] is objective and hopeful and None in reached.values():
            _note(reached, targets, total(objective, canvas), time.perf_counter() - began)
    return canvas, {"seconds": time.perf_counter() - began, "reached": reached}


def _stage(number: int, scene: Scene, evaluations: int) -> Stage:
    height, width = size_of(scene.content)
    return Stage(number, max(height, width), height, width, evaluations, photorealism=True)


def _note(
    reached: dict[str, float | None], targets: Mapping[str, float], value: float, seconds: float
) -> None:
    for name, target in targets.items():
        if reached[name] is None and value <= target:
            reached[name] = seconds


def _objectives(strategy: Strategy, objective: SlidesObjective) -> Iterator[SlidesObjective]:
    height, width = size_of(objective.scene.content)
    for divisor in COARSE if strategy.coarse else ():
        yield objective.at(math.ceil(height / divisor), math.ceil(width / divisor))
    yield objective


def _recoloured(scene: Scene) -> Tensor:
    maps = region_colour_maps(scene.content, scene.content_masks, scene.style, scene.style_masks)
    return recolour(scene.content, scene.content_masks, maps)


@torch.no_grad()
def total(objective: SlidesObjective, image: Tensor) -> float:
    """The objective's value, all terms together."""
    return float(sum(objective(image).values()))
