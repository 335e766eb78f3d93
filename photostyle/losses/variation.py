"""Total variation: the released code's smoothness of neighbouring pixels, of which the paper has nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from photostyle.imaging.filters import IMAGENET_MEAN
from photostyle.losses.curvature import Curvature
from photostyle.losses.encoders import Features
from photostyle.losses.energies import EnergySettings, pixels
from photostyle.losses.term import Term
from photostyle.scene import Scene, Stage


@dataclass(frozen=True)
class VariationSettings(EnergySettings):
    """Settings of the variation term."""

    variation_weight: float = 0.0
    """total variation"""
    variation_of: Literal["channels", "sum"] = "channels"
    """total variation of each channel, as in the released code, or of their sum, which is blind to hue (a defect of the
    source slides' notebooks)"""


class Variation(Term):
    """Squared differences of neighbouring pixels."""

    name = "variation"
    weights = ("variation_weight",)
    before: ClassVar[Mapping[str, Any] | None] = {}

    def __init__(
        self, recipe: VariationSettings, stage: Stage, scene: Scene, encoder: Features | None
    ) -> None:
        self.weight = recipe.variation_weight / pixels(recipe, scene.content)
        self.of = recipe.variation_of

    def __call__(self, image: Tensor) -> Tensor:
        return self.weight * (variation_loss if self.of == "channels" else summed_variation)(image)

    def curvature(self, image: Tensor) -> Curvature | None:
        return VariationCurvature(self.weight, image) if self.of == "channels" else None


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


def summed_variation(image: Tensor) -> Tensor:
    """Total variation of the channels' sum, as one kernel over all of them has it. (3, H, W) -> scalar.

    1/2 sum_ij (sum_c x_ij - x_i,j+1)^2 + (sum_c x_ij - x_i+1,j)^2, beyond the right and lower border ImageNet's mean
    colour: the notebooks of the source slides, which pad a picture of mean 0 with zeros. A change of hue that keeps
    the sum costs nothing.
    """
    grey = F.pad(image.sum(0) - sum(IMAGENET_MEAN), (0, 1, 0, 1))
    corner = grey[:-1, :-1]
    return 0.5 * ((grey[:-1, 1:] - corner).square().sum() + (grey[1:, :-1] - corner).square().sum())
