"""Content: what is seen in the photo, as features of a network (Luan et al. 2017, eq. 1)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
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
    """content: squared distance of the content layers' features"""
    content_layers: tuple[str, ...] = ("relu4_2",)
    """the layers of the content term"""


class Content(Term):
    """Distance of some layers' features from the photo's; of several each is reported."""

    name = "content"
    weights = ("content_weight",)
    compares_features = True
    before: ClassVar[Mapping[str, Any] | None] = {}

    def __init__(self, recipe: ContentSettings, stage: Stage, scene: Scene, encoder: Features | None) -> None:
        self.weight, self.relative = recipe.content_weight, recipe.feature_scale == "relative"
        self.encoder = given(encoder, self)
        with torch.no_grad():
            features = self.encoder(scene.content)
            self.targets = {layer: features[layer] for layer in recipe.content_layers}

    def __call__(self, image: Tensor) -> Tensor:
        return torch.stack([self.at(layer, image) for layer in self.targets]).sum()

    def at(self, layer: str, image: Tensor) -> Tensor:
        """The weighted term of one layer."""
        return self.weight * content_loss(self.encoder(image)[layer], self.targets[layer], self.relative)

    def parts(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        if len(self.targets) == 1:
            return super().parts()
        return {f"{self.name} {layer}": partial(self.at, layer) for layer in self.targets}

    @classmethod
    def layers(cls, recipe: ContentSettings) -> tuple[str, ...]:
        return recipe.content_layers


def content_loss(features: Tensor, target: Tensor, relative: bool) -> Tensor:
    """Mean squared feature distance. (C, h, w) twice -> scalar.

    Luan et al. 2017, eq. 1 with the released normalisation (the mean over C h w); relative: over the target's own
    mean square, so that the weight does not depend on the encoder's scale.
    """
    distance = (features - target).square().mean()
    return distance / target.square().mean() if relative else distance
