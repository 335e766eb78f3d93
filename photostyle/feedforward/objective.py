"""What a many-style network is trained on: content, style and smoothness of a batch, to each picture its own style.

y = G(x_c, e(x_s)) minimises λ_c L_content(y, x_c) + λ_s L_Gram(y, x_s) + λ_TV TV(y), the mean over the batch. The terms
are those of `photostyle.losses`, picture by picture; only their sums over a batch are computed at once. L_Gram is the
mean over its layers, Gatys et al.'s w_l = 1/5: as a sum it outweighs content twenty to one, and the photo is lost.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from photostyle.bounds import AtLeast
from photostyle.losses.encoders import Encoder

# A target's mean square below which a distance is not divided by less: `losses.gram.scales` has the same.
LEAST_SQUARE = 1e-12

Weight = Annotated[float, AtLeast(0)]  # of a term
Grams = Mapping[str, Tensor]  # by layer, (B, C, C)


@dataclass(frozen=True)
class ObjectiveSettings:
    """The weights of the three terms and where content and style are compared."""

    content_weight: Weight = 1.0
    """λ_c, of the features' distance from the photo's (the document's number)"""
    style_weight: Weight = 5.0
    """λ_s, of the Gram matrices' distance from the style's (the document's number)"""
    variation_weight: Weight = 1e-5
    """λ_TV, of squared differences of neighbouring pixels, summed over a picture (the document's number)"""
    content_layer: str = "relu4_2"
    """the layer of the content term; the document names none, this is Gatys et al.'s"""
    style_layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    """the layers of the style term; the document names none, these are Gatys et al.'s"""
    feature_scale: Literal["relative", "released"] = "relative"
    """distances over the target's own square, so that the weights fit any VGG; or plain means, in its own units"""

    def layers(self) -> tuple[str, ...]:
        """All that the encoder has to give."""
        return tuple(dict.fromkeys((*self.style_layers, self.content_layer)))


class BatchObjective:
    """The terms of a batch. encoder: gives `settings.layers()`; it is frozen, gradients reach the pictures alone.

    Features may be computed in bfloat16 (autocast); Gram matrices and distances are always float32, since a mean over
    65536 pixels has more digits than bfloat16.
    """

    def __init__(self, settings: ObjectiveSettings, encoder: Encoder) -> None:
        self.settings, self.encoder = settings, encoder
        self.relative = settings.feature_scale == "relative"

    @torch.no_grad()
    def style_targets(self, styles: Tensor) -> dict[str, Tensor]:
        """The Gram matrices of styles (B, 3, h, w) by layer: they need not have the contents' size."""
        features = self.encoder(styles)
        return {layer: batch_grams(features[layer]) for layer in self.settings.style_layers}

    def per_picture(self, pictures: Tensor, contents: Tensor, targets: Grams) -> dict[str, Tensor]:
        """The three terms (B,) without their weights. pictures, contents: (B, 3, H, W) in [0, 1]."""
        with torch.no_grad():
            wanted = self.encoder(contents)[self.settings.content_layer]
        features = self.encoder(_precise(pictures))
        content = content_losses(features[self.settings.content_layer], wanted, self.relative)
        style = torch.stack(
            [
                gram_losses(batch_grams(features[layer]), targets[layer], self.relative)
                for layer in self.settings.style_layers
            ]
        )
        return {"content": content, "style": style.mean(0), "variation": variation_losses(pictures)}

    def __call__(self, pictures: Tensor, contents: Tensor, targets: Grams) -> dict[str, Tensor]:
        """Weighted scalars by name, each a mean over the batch; their sum is what is minimised."""
        weights = {
            "content": self.settings.content_weight,
            "style": self.settings.style_weight,
            "variation": self.settings.variation_weight,
        }
        terms = self.per_picture(pictures, contents, targets)
        return {name: weights[name] * term.mean() for name, term in terms.items()}


def batch_grams(features: Tensor) -> Tensor:
    """G = F Fᵀ / (C h w) of each picture: `losses.gram.region_grams` of a batch. (B, C, h, w) -> (B, C, C), float32."""
    channels, height, width = features.shape[1:]
    with torch.autocast(features.device.type, enabled=False):
        rows = _precise(features).permute(0, 2, 3, 1).flatten(1, 2)
        return rows.mT @ rows / (channels * height * width)


def gram_losses(grams: Tensor, targets: Tensor, relative: bool) -> Tensor:
    """The mean squared distance of each picture's Gram matrix; relative: over the target's. (B, C, C) twice -> (B,)."""
    return _over((grams - targets).square().mean((1, 2)), targets, relative)


def content_losses(features: Tensor, targets: Tensor, relative: bool) -> Tensor:
    """The mean squared distance of each picture's features; relative: over the target's. (B, C, h, w) twice -> (B,)."""
    targets = _precise(targets)
    return _over((_precise(features) - targets).square().mean((1, 2, 3)), targets, relative)


def variation_losses(pictures: Tensor) -> Tensor:
    """Half the squared differences of neighbouring pixels, summed over each picture: `losses.variation` of a batch.

    (B, 3, H, W) -> (B,)
    """
    pictures = _precise(pictures)
    corner = pictures[..., :-1, :-1]
    across, down = pictures[..., :-1, 1:] - corner, pictures[..., 1:, :-1] - corner
    return 0.5 * (across.square().sum((1, 2, 3)) + down.square().sum((1, 2, 3)))


def _over(distances: Tensor, targets: Tensor, relative: bool) -> Tensor:
    if not relative:
        return distances
    return distances / targets.square().flatten(1).mean(1).clamp(min=LEAST_SQUARE)


def _precise(x: Tensor) -> Tensor:
    """What autocast computed in 16 bits, in 32; anything else as it is."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
