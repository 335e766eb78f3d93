"""Total variation: the released code's smoothness of neighbouring pixels, of which the paper has nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from photostyle.losses.curvature import Curvature
from photostyle.losses.encoders import Features
from photostyle.losses.energies import EnergySettings, pixels
from photostyle.losses.term import Term
from photostyle.scene import Scene, Stage


@dataclass(frozen=True)
class VariationSettings(EnergySettings):
    """Settings of the variation term."""

    variation_weight: float = 0.0
    """total variation of all three channels"""


class Variation(Term):
    """Squared differences of neighbouring pixels."""

    name = "variation"
    weights = ("variation_weight",)
    before: ClassVar[Mapping[str, Any] | None] = {}

    def __init__(
        self, recipe: VariationSettings, stage: Stage, scene: Scene, encoder: Features | None
    ) -> None:
        self.weight = recipe.variation_weight / pixels(recipe, scene.content)

    def __call__(self, image: Tensor) -> Tensor:
        return self.weight * variation_loss(image)

    def curvature(self, image: Tensor) -> Curvature:
        return VariationCurvature(self.weight, image)


class VariationCurvature(Curvature):
    """The second derivative itself: the term is quadratic, and a rotation of the channels does not change it."""

    def __init__(self, weight: float, image: Tensor) -> None:
        self.weight = weight
        # A pixel is part of four differences; at the borders of fewer.
        self.bound = torch.full_like(image, 4 * weight)

    def add(self, direction: Tensor, total: Tensor) -> None:
        corner = direction[:, :-1, :-1]
        across, down = direction[:, :-1, 1:] - corner, direction[:, 1:, :-1] - corner
        total[:, :-1, 1:] += self.weight * across
        total[:, 1:, :-1] += self.weight * down
        total[:, :-1, :-1] -= self.weight * (across + down)

    def diagonal(self) -> Tensor:
        return self.bound


def variation_loss(image: Tensor) -> Tensor:
    """Total variation, summed over pixels and all three channels. (3, H, W) -> scalar.

    1/2 sum_c sum_{i<H-1, j<W-1} (x_ij - x_i,j+1)^2 + (x_ij - x_i+1,j)^2: TVLoss of neuralstyle_seg.lua; the paper
    has no such term.
    """
    corner = image[:, :-1, :-1]
    across, down = image[:, :-1, 1:] - corner, image[:, 1:, :-1] - corner
    return 0.5 * (across.square().sum() + down.square().sum())
