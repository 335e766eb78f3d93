"""Style by Gram matrices, one per region and layer: the augmented style loss of Luan et al. 2017, eq. 3."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from photostyle.errors import PhotostyleError
from photostyle.losses.encoders import Features
from photostyle.losses.features import FeatureSettings
from photostyle.losses.term import Term, given
from photostyle.regions.guidance import carry_masks
from photostyle.regions.mixture import Anchor
from photostyle.scene import Scene, Stage


@dataclass(frozen=True)
class GramSettings(FeatureSettings):
    """Settings of the Gram term."""

    gram_weight: float = 0.0
    """style by Gram matrices per region (Luan et al. 2017, eq. 3); needs VGG weights"""
    style_layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    """the layers of the Gram term"""
    style_layer_weights: tuple[float, ...] = ()
    """weights of these layers, one each; default: 1 each"""
    gram_over: Literal["region", "positions", "picture"] = "region"
    """what Gram matrices are divided by: channels times the region's area, as in the released code; the area alone
    (Gatys et al. in Keras); or channels times the picture's area, whatever the region's, all regions weighing alike"""


class Gram(Term):
    """Distance of the regions' Gram matrices from the references', layer by layer; each layer is reported."""

    name = "gram"
    weights = ("gram_weight",)
    compares_features = True
    before: ClassVar[Mapping[str, Any] | None] = {}

    def __init__(self, recipe: GramSettings, stage: Stage, scene: Scene, encoder: Features | None) -> None:
        self.weight = recipe.gram_weight
        self.released = recipe.feature_scale == "released"
        self.over, self.soft = recipe.gram_over, recipe.soft_regions
        self.encoder = given(encoder, self)
        masks = self._carried(scene.content_masks)
        with torch.no_grad():
            self.targets = self._targets(scene, recipe.style_layers)
        self.regions = {
            layer: supports(masks[layer], self.released, self.over == "picture") for layer in self.targets
        }
        weights = recipe.style_layer_weights or (1.0,) * len(recipe.style_layers)
        self.factors = {
            layer: weight * self._factors(self.targets[layer], masks[layer])
            for layer, weight in zip(recipe.style_layers, weights, strict=True)
        }

    def __call__(self, image: Tensor) -> Tensor:
        return torch.stack([self.at(layer, image) for layer in self.targets]).sum()

    def at(self, layer: str, image: Tensor) -> Tensor:
        """The weighted term of one layer."""
        features, target = self.encoder(image)[layer], self.targets[layer]
        return self.weight * gram_distance(features, self.regions[layer], target, self.factors[layer])

    def parts(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        return {f"{self.name} {layer}": partial(self.at, layer) for layer in self.targets}

    @classmethod
    def layers(cls, recipe: GramSettings) -> tuple[str, ...]:
        return recipe.style_layers

    @classmethod
    def check(cls, recipe: GramSettings) -> None:
        layers, weights = recipe.style_layers, recipe.style_layer_weights
        if weights and (len(weights) != len(layers) or min(weights) < 0 or not math.isfinite(sum(weights))):
            raise PhotostyleError(
                f"--style-layer-weights is {weights} for {len(layers)} style layers; give one number of 0 or more each"
            )

    def _carried(self, masks: Tensor) -> dict[str, Tensor]:
        return carry_masks(masks, self.encoder.plan, self.soft)

    def _grams(self, features: Tensor, masks: Tensor) -> Tensor:
        return region_grams(features, masks, self.released, self.over == "picture")

    def _factors(self, targets: Tensor, masks: Tensor) -> Tensor:
        """What each region's mean squared distance is multiplied by, (K,)."""
        shares = torch.ones_like(masks[:, 0, 0]) if self.over == "picture" else masks.mean((1, 2))
        if not self.released:
            return scales(targets, shares, relative=True)
        # A matrix that is not divided by its channels C is C times as large.
        return shares * (targets.shape[-1] ** 2 if self.over == "positions" else 1)

    def _targets(self, scene: Scene, layers: tuple[str, ...]) -> dict[str, Tensor]:
        """For each layer the regions' Gram matrices (K, C, C): of a mixture, the mixture of those of its parts."""
        targets: dict[str, Tensor] = {}
        for each in scene.references:
            features, masks = self.encoder(each.image), self._carried(each.masks)
            for layer in layers:
                grams = self._grams(features[layer], masks[layer])
                part = each.weights.to(grams)[:, None, None] * grams
                targets[layer] = targets[layer] + part if layer in targets else part
        return targets if scene.anchor is None else self._held(scene.anchor, targets)

    def _held(self, anchor: Anchor, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The targets on the way from what the regions keep: each Gram matrix is a mean, and means mix."""
        features, masks = self.encoder(anchor.image), self._carried(anchor.masks)
        return {
            layer: torch.lerp(
                self._grams(features[layer], masks[layer]),
                target,
                anchor.boldness.to(target)[:, None, None],
            )
            for layer, target in targets.items()
        }


@dataclass(frozen=True, eq=False)
class Support:
    """Where a region is: its pixels in a flat picture (n,), None for all of them, and their shares (n, 1) of its area.

    Outside nothing is computed: the regions of a picture together cost little more than the picture.
    """

    pixels: Tensor | None
    shares: Tensor

    @classmethod
    def of(cls, mask: Tensor, squared: bool, whole: bool = False) -> "Support":
        """Of a mask (h, w); squared: shares m^2 / sum m in place of m / sum m. whole: of the picture's area, h w."""
        flat = mask.flatten()
        # An empty region has no pixels to compare: its Gram is zero and its share of the loss too.
        area = len(flat) if whole else flat.sum().clamp(min=1e-6)
        shares = (flat.square() if squared else flat) / area
        pixels = flat.nonzero().flatten()
        if len(pixels) == len(flat):
            return cls(None, shares[:, None])
        return cls(pixels, shares[pixels, None])

    def take(self, rows: Tensor) -> Tensor:
        """The region's rows of a picture's (h w, C)."""
        return rows if self.pixels is None else rows.index_select(0, self.pixels)

    def gram(self, rows: Tensor) -> Tensor:
        """The Gram matrix (C, C) of the region in a picture's features (h w, C)."""
        own = self.take(rows)
        return own.T @ (own * (self.shares / rows.shape[1]))

    def add(self, rows: Tensor, total: Tensor) -> None:
        """Add the region's rows (n, C) to a picture's (h w, C)."""
        if self.pixels is None:
            total += rows
        else:
            total.index_add_(0, self.pixels, rows)


def supports(masks: Tensor, squared_masks: bool = False, whole: bool = False) -> tuple[Support, ...]:
    """Where the regions (K, h, w) are; squared_masks and whole as in `region_grams`."""
    return tuple(Support.of(mask, squared_masks, whole) for mask in masks)


def _rows(features: Tensor) -> Tensor:
    """Features (C, h, w) as (h w, C), without a copy where the channels of a pixel lie side by side."""
    return features.permute(1, 2, 0).flatten(0, 1)


def region_grams(features: Tensor, masks: Tensor, squared_masks: bool = False, whole: bool = False) -> Tensor:
    """One Gram matrix per region, normalised by the region's area. (C, h, w), (K, h, w) -> (K, C, C).

    G_k = F diag(m_k) F^T / (C sum m_k). squared_masks has m_k^2 above the line, as the released code does by
    multiplying features with masks (neuralstyle_seg.lua: StyleLossWithSeg); the same for masks of 0 and 1. whole has
    C h w below it, so that a matrix grows with its region's share of the picture.
    """
    rows = _rows(features)
    return torch.stack([region.gram(rows) for region in supports(masks, squared_masks, whole)])


def gram_loss(grams: Tensor, targets: Tensor, shares: Tensor, relative: bool) -> Tensor:
    """Augmented style loss at one layer: Luan et al. 2017, eq. 3. (K, C, C) twice, (K,) -> scalar.

    sum_k share_k mean_ij (G_k - T_k)^2, share_k being the region's mean mask in the content (released code; the paper
    weighs regions alike). relative: each region's squared distance over ||T_k||^2.
    """
    distances = (grams - targets).square().mean((1, 2))
    return (scales(targets, shares, relative) * distances).sum()


def scales(targets: Tensor, shares: Tensor, relative: bool) -> Tensor:
    """What `gram_loss` multiplies each region's mean squared distance by. (K, C, C), (K,) -> (K,)."""
    return shares / targets.square().mean((1, 2)).clamp(min=1e-12) if relative else shares


def gram_distance(features: Tensor, regions: Sequence[Support], targets: Tensor, factors: Tensor) -> Tensor:
    """`gram_loss` of `region_grams`, as it is computed at every evaluation. (C, h, w), K, (K, C, C), (K,) -> scalar.

    regions, factors: from `supports` and `scales`, which do not change while a picture is optimised. targets: Gram
    matrices, so symmetric; only the features get a gradient.
    """
    distance: Tensor = _Distance.apply(features, regions, targets, factors)
    return distance


class _Distance(Function):
    """The loss and its gradient by hand, with one product for each region on the way there and one on the way back.

    With D_k = G_k - T_k, symmetric, the gradient in the features, pixels as rows, is
    4 s_k / C^3 diag(m_k / sum m_k) F D_k for the factor s_k: half of what a product costs that is differentiated
    factor by factor.
    """

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, regions: Sequence[Support], targets: Tensor, factors: Tensor
    ) -> Tensor:
        rows, channels = _rows(features), len(features)
        weighed, differences = [], []
        for region, target in zip(regions, targets, strict=True):
            own = region.take(rows)
            weighed.append(own * (region.shares / channels))
            differences.append(torch.addmm(target, own.T, weighed[-1], beta=-1))
        factors = factors / channels**2
        ctx.save_for_backward(factors, *weighed, *differences)
        ctx.regions, ctx.shape = regions, features.shape
        squares = torch.stack([each.flatten().dot(each.flatten()) for each in differences])
        return (factors * squares).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        channels, height, width = ctx.shape
        factors, *saved = ctx.saved_tensors
        weighed, differences = saved[: len(ctx.regions)], saved[len(ctx.regions) :]
        total = factors.new_zeros(height * width, channels)
        for region, rows, difference, factor in zip(
            ctx.regions, weighed, differences, 4 * gradient * factors, strict=True
        ):
            region.add(rows @ (factor * difference), total)
        return total.T.unflatten(1, (height, width)), None, None, None
