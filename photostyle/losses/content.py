"""Content: what is seen in the photo, as features of a network (Luan et al. 2017, eq. 1)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from photostyle.losses.encoders import Features
from photostyle.losses.features import FeatureSettings
from photostyle.losses.term import Term, given
from photostyle.scene import Scene, Stage


@dataclass(frozen=True)
class ContentSettings(FeatureSettings):
    """Settings of the content term."""

    content_weight: float = 0.0
    """content: squared distance of the content layer's features"""
    content_layer: str = "relu4_2"
    """the layer of the content term"""


class Content(Term):
    """Distance of one layer's features from the photo's."""

    name = "content"
    weights = ("content_weight",)
    compares_features = True
    before: ClassVar[Mapping[str, Any] | None] = {}

    def __init__(self, recipe: ContentSettings, stage: Stage, scene: Scene, encoder: Features | None) -> None:
        self.weight, self.layer = recipe.content_weight, recipe.content_layer
        self.relative = recipe.feature_scale == "relative"
        self.encoder = given(encoder, self)
        with torch.no_grad():
            self.target = self.encoder(scene.content)[self.layer]

    def __call__(self, image: Tensor) -> Tensor:
        return self.weight * content_loss(self.encoder(image)[self.layer], self.target, self.relative)

    @classmethod
    def layers(cls, recipe: ContentSettings) -> tuple[str, ...]:
        return (recipe.content_layer,)


def content_loss(features: Tensor, target: Tensor, relative: bool) -> Tensor:
    """Mean squared feature distance. (C, h, w) twice -> scalar.

    Luan et al. 2017, eq. 1 with the released normalisation (the mean over C h w); relative: over the target's own
    mean square, so that the weight does not depend on the encoder's scale.
    """
    distance = (features - target).square().mean()
    return distance / target.square().mean() if relative else distance
