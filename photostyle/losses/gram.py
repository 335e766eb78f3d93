"""Style by Gram matrices, one per region and layer: the augmented style loss of Luan et al. 2017, eq. 3."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from photostyle.losses.encoders import Features
from photostyle.losses.features import FeatureSettings
from photostyle.losses.term import Term, given
from photostyle.regions.guidance import carry_masks
from photostyle.scene import Scene, Stage


@dataclass(frozen=True)
class GramSettings(FeatureSettings):
    """Settings of the Gram term."""

    gram_weight: float = 0.0
    """style by Gram matrices per region (Luan et al. 2017, eq. 3); needs VGG weights"""
    style_layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    """the layers of the Gram term"""


class Gram(Term):
    """Distance of the regions' Gram matrices from the references', layer by layer; each layer is reported."""

    name = "gram"
    weights = ("gram_weight",)
    compares_features = True
    before: ClassVar[Mapping[str, Any] | None] = {}

    def __init__(self, recipe: GramSettings, stage: Stage, scene: Scene, encoder: Features | None) -> None:
        self.weight = recipe.gram_weight
        self.released = recipe.feature_scale == "released"
        self.encoder = given(encoder, self)
        self.masks = carry_masks(scene.content_masks, self.encoder.plan)
        with torch.no_grad():
            self.targets = self._targets(scene, recipe.style_layers)
        self.shares = {layer: self.masks[layer].mean((1, 2)) for layer in self.targets}

    def __call__(self, image: Tensor) -> Tensor:
        return torch.stack([self.at(layer, image) for layer in self.targets]).sum()

    def at(self, layer: str, image: Tensor) -> Tensor:
        """The weighted term of one layer."""
        grams = self._grams(self.encoder(image)[layer], self.masks[layer])
        return self.weight * gram_loss(grams, self.targets[layer], self.shares[layer], not self.released)

    def parts(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        return {f"{self.name} {layer}": partial(self.at, layer) for layer in self.targets}

    @classmethod
    def layers(cls, recipe: GramSettings) -> tuple[str, ...]:
        return recipe.style_layers

    def _targets(self, scene: Scene, layers: tuple[str, ...]) -> dict[str, Tensor]:
        """For each layer the regions' Gram matrices (K, C, C): of a mixture, the mixture of those of its parts."""
        targets: dict[str, Tensor] = {}
        for each in scene.references:
            features, masks = self.encoder(each.image), carry_masks(each.masks, self.encoder.plan)
            for layer in layers:
                grams = self._grams(features[layer], masks[layer])
                part = each.weights.to(grams)[:, None, None] * grams
                targets[layer] = targets[layer] + part if layer in targets else part
        return targets

    def _grams(self, features: Tensor, masks: Tensor) -> Tensor:
        return region_grams(features, masks, squared_masks=self.released)


def region_grams(features: Tensor, masks: Tensor, squared_masks: bool = False) -> Tensor:
    """One Gram matrix per region, normalised by the region's area. (C, h, w), (K, h, w) -> (K, C, C).

    G_k = F diag(m_k) F^T / (C sum m_k). squared_masks has m_k^2 above the line, as the released code does by
    multiplying features with masks (neuralstyle_seg.lua: StyleLossWithSeg); the same for masks of 0 and 1.
    """
    flat = features.flatten(1)
    grams = []
    for mask in masks.flatten(1):
        weight = mask.square() if squared_masks else mask
        # An empty region has no pixels to compare: its Gram is zero and its share of the loss too.
        grams.append((flat * weight) @ flat.T / (len(flat) * mask.sum().clamp(min=1e-6)))
    return torch.stack(grams)


def gram_loss(grams: Tensor, targets: Tensor, shares: Tensor, relative: bool) -> Tensor:
    """Augmented style loss at one layer: Luan et al. 2017, eq. 3. (K, C, C) twice, (K,) -> scalar.

    sum_k share_k mean_ij (G_k - T_k)^2, share_k being the region's mean mask in the content (released code; the paper
    weighs regions alike). relative: each region's squared distance over ||T_k||^2.
    """
    distances = (grams - targets).square().mean((1, 2))
    if relative:
        distances = distances / targets.square().mean((1, 2)).clamp(min=1e-12)
    return (shares * distances).sum()
