"""Texture without a network: how strong contrast of every kind is and what kinds go together, region by region.

A filter's response averages to nothing over a texture; its modulus does not. So, at every level of a pyramid, grey is
filtered, rectified and pooled, and the joint distribution of the pooled moduli is compared by sliced Wasserstein: the
second order of a scattering transform (Bruna & Mallat, "Invariant Scattering Convolution Networks", TPAMI 2013) and
the correlations of magnitudes of Portilla & Simoncelli ("A Parametric Texture Model Based on Joint Statistics of
Complex Wavelet Coefficients", IJCV 2000), as distributions. The weighing by activity is ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from photostyle.imaging.filters import box_mean, halve
from photostyle.losses.encoders import Features
from photostyle.losses.sliced import (
    Samples,
    SlicedPyramid,
    SlicedRegions,
    SlicedSettings,
    drawing,
    halved,
    usable_levels,
)
from photostyle.losses.term import Term
from photostyle.regions.mixture import Reference
from photostyle.scene import Scene, Stage

# Random zero-mean 3x3 filters, whose space has 8 dimensions; 8 filters are not enough, 32 gain little.
FILTERS = 16
SIDE = 3  # pixels of a filter; 5 are no better, the pyramid sees to larger ones
POOL = 2  # pixels on a side of the mean that makes one modulus of neighbouring responses
# In image units: sqrt(r^2 + BEND^2) - BEND is smooth where the modulus is not, and hardly sees 8-bit noise.
BEND = 0.01
LEAST_TEXTURE_SIDE = (
    32  # pixels of the shorter side of a level: on fewer, moduli are of objects and not of texture
)
# Contrast at which a window counts half: six 8-bit levels.
FAINT = 6 / 255
WINDOW_RADIUS = 2  # pixels of the 5x5 window in which activity is measured
# Directions for each step and level: twelve make the same picture, as long as each step draws others.
DRAWS = 6
# Where all steps share them: enough to span the moduli.
FIXED_DRAWS = 2 * FILTERS


@dataclass(frozen=True)
class TextureSettings(SlicedSettings):
    """Settings of the texture term."""

    texture_weight: float = 2.0
    """style by the strength of filter responses per region (sliced Wasserstein), where the photo is not blank;
    training-free"""


class Texture(Term):
    """Distance of the regions' textures from the references'."""

    name = "texture"
    weights = ("texture_weight",)

    def __init__(self, recipe: TextureSettings, stage: Stage, scene: Scene, encoder: Features | None) -> None:
        seed = recipe.seed + stage.number
        self.weight = recipe.texture_weight
        self.style = TextureStyle(
            scene.references,
            scene.content,
            scene.content_masks,
            levels=recipe.patch_levels,
            bank=recipe.patch_bank,
            seed=seed,
        )
        count = DRAWS if recipe.optimiser == "adam" else FIXED_DRAWS
        self.draw = drawing(recipe, lambda generator: self.style.draw(count, generator), seed)

    def __call__(self, image: Tensor) -> Tensor:
        return self.weight * self.style(image, self.draw())


class TextureStyle(SlicedPyramid["_Level"]):
    """Sliced Wasserstein-2 distance between the textures of matched regions, over pyramid levels.

    references give the targets, several as a mixture; content (3, H, W) and content_masks (K, H, W) tell where they
    apply: a pixel follows as far as the photo around it is active, so that a blank wall is not given texture, and its
    window lies inside the region.
    Calling it with an image (3, H, W) gives sum_levels sum_k share_k W2^2 (a scalar), averaged over the drawn
    directions.
    """

    def __init__(
        self,
        references: Sequence[Reference],
        content: Tensor,
        content_masks: Tensor,
        *,
        levels: int,
        bank: int,
        seed: int,
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        pictures = (content, *(each.image for each in references))
        usable = min(levels, usable_levels(pictures, LEAST_TEXTURE_SIDE))
        self.levels = [
            _Level(
                halved(references, level),
                halve(content, level),
                halve(content_masks, level),
                directions(bank, generator),
                zero_mean_filters(generator),
            )
            for level in range(usable)
        ]

    def draw(self, count: int, generator: torch.Generator) -> list[Tensor]:
        """Which directions of each level's bank to look along next."""
        return [torch.randperm(len(each.directions), generator=generator)[:count] for each in self.levels]


def zero_mean_filters(generator: torch.Generator) -> Tensor:
    """Random filters that see contrast and not brightness: (FILTERS, 1, SIDE, SIDE) of unit length, float32."""
    filters = torch.randn(FILTERS, 1, SIDE, SIDE, generator=generator)
    filters -= filters.mean((2, 3), keepdim=True)
    lengths: Tensor = filters.flatten(1).norm(dim=1)
    return filters / lengths[:, None, None, None]


def directions(count: int, generator: torch.Generator) -> Tensor:
    """Directions drawn evenly from the unit sphere of moduli: (count, FILTERS), float32."""
    return F.normalize(torch.randn(count, FILTERS, generator=generator))


def moduli(image: Tensor, filters: Tensor) -> Tensor:
    """Pooled smooth moduli of grey's responses: (3, H, W) -> (FILTERS, (H-2) // 2, (W-2) // 2), at least 0.

    Grey is the length of a colour along the grey axis, (R + G + B) / sqrt 3, as for the patches.
    """
    grey = image.sum(0, keepdim=True) / 3**0.5
    responses = F.conv2d(grey[None], filters)
    return F.avg_pool2d((responses.square() + BEND**2).sqrt() - BEND, POOL)[0]


def activity(image: Tensor) -> Tensor:
    """How much there is in the window around each pixel: var / (var + FAINT^2) of grey. (3, H, W) -> (H, W), 0 to 1."""
    grey = image.mean(0, keepdim=True)
    grey = grey - grey.mean()  # a variance is a difference: the smaller the numbers, the more digits are left
    variance = box_mean(grey.square(), WINDOW_RADIUS) - box_mean(grey, WINDOW_RADIUS).square()
    variance = variance.clamp(min=0)[0]
    return variance / (variance + FAINT**2)


def inside(masks: Tensor) -> Tensor:
    """The least value of each mask in the window around a pixel, so that no region's border counts as its texture.

    (K, H, W) -> the same.
    """
    return -F.max_pool2d(-masks[None], 2 * WINDOW_RADIUS + 1, 1, WINDOW_RADIUS)[0]


class _Level:
    """One pyramid level: its filters and what the moduli of its regions are to be like."""

    def __init__(
        self,
        references: Sequence[Reference],
        content: Tensor,
        content_masks: Tensor,
        directions: Tensor,
        filters: Tensor,
    ) -> None:
        self.directions, self.filters = directions.to(content), filters.to(content)
        samples = [
            Samples(
                self._project(each.image, self.directions),
                _pooled(each.masks),
                each.weights,
            )
            for each in references
        ]
        masks, care = _pooled(content_masks), _pooled(inside(content_masks) * activity(content))
        shares = (content_masks.sum((1, 2)) / content_masks.sum()).tolist()
        self.regions = SlicedRegions(masks, samples, shares, care)

    def _project(self, image: Tensor, directions: Tensor) -> Tensor:
        return directions @ moduli(image, self.filters).flatten(1)

    def distance(self, image: Tensor, drawn: Tensor) -> Tensor:
        return self.regions(self._project(image, self.directions[drawn]), drawn)


def _pooled(masks: Tensor) -> Tensor:
    """Masks on the moduli's grid. (K, H, W) -> (K, (H-2) // 2, (W-2) // 2)."""
    margin = SIDE // 2
    inner = masks[:, margin : masks.shape[1] - margin, margin : masks.shape[2] - margin]
    return F.avg_pool2d(inner[None], POOL)[0]
