"""Style without a network: the distributions of small patches, region by region, compared by sliced Wasserstein.

A patch distribution is seen through random unit filters, each of which gives one projection (Elnekave & Weiss,
"Generating Natural Images with Direct Patch Distributions Matching", ECCV 2022; regions and soft weights are ours).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from photostyle.bounds import AtLeast
from photostyle.imaging.filters import halve
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
from photostyle.scene import LEAST_SIDE, Scene, Stage

# Luma and two opponent axes, orthonormal but for the chroma's gain: photographs vary less along chroma.
CHROMA_GAIN = 2.0
OPPONENT = torch.tensor(
    [
        [1 / 3**0.5, 1 / 3**0.5, 1 / 3**0.5],
        [CHROMA_GAIN / 2**0.5, -CHROMA_GAIN / 2**0.5, 0],
        [CHROMA_GAIN / 6**0.5, CHROMA_GAIN / 6**0.5, -2 * CHROMA_GAIN / 6**0.5],
    ]
)


@dataclass(frozen=True)
class PatchSettings(SlicedSettings):
    """Settings of the patch term."""

    patch_weight: float = 1.0
    """style by patch distributions per region (sliced Wasserstein); training-free"""
    patch_size: Annotated[int, AtLeast(2)] = 5
    """side of the patches in pixels"""
    patch_draws: Annotated[int, AtLeast(1)] = 24
    """filters of patches drawn from the bank at each step"""


class Patches(Term):
    """Distance of the regions' patch distributions from the references'."""

    name = "patches"
    weights = ("patch_weight",)
    before: ClassVar[Mapping[str, Any] | None] = {}

    def __init__(self, recipe: PatchSettings, stage: Stage, scene: Scene, encoder: Features | None) -> None:
        seed = recipe.seed + stage.number
        self.weight = recipe.patch_weight
        self.style = PatchStyle(
            scene.references,
            scene.content_masks,
            patch_size=recipe.patch_size,
            levels=recipe.patch_levels,
            bank=recipe.patch_bank,
            seed=seed,
        )
        self.draw = drawing(recipe, lambda generator: self.style.draw(recipe.patch_draws, generator), seed)

    def __call__(self, image: Tensor) -> Tensor:
        return self.weight * self.style(image, self.draw())


class PatchStyle(SlicedPyramid["_Level"]):
    """Sliced Wasserstein-2 distance between the patches of matched regions, over pyramid levels.

    references give the targets once, several as the mixture of their patches; content_masks (K, H, W) tell where they
    apply. The smallest picture decides how many levels there are.
    Calling it with an image (3, H, W) gives sum_levels sum_k share_k W2^2 (a scalar), averaged over the drawn filters.
    """

    def __init__(
        self,
        references: Sequence[Reference],
        content_masks: Tensor,
        *,
        patch_size: int,
        levels: int,
        bank: int,
        seed: int,
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        pictures = (content_masks, *(each.image for each in references))
        usable = min(levels, usable_levels(pictures, max(LEAST_SIDE, patch_size)))
        self.levels = [
            _Level(
                halved(references, level),
                halve(content_masks, level),
                filter_bank(bank, patch_size, generator).to(content_masks),
            )
            for level in range(usable)
        ]

    def draw(self, count: int, generator: torch.Generator) -> list[Tensor]:
        """Which filters of each level's bank to look through next: as many that see colours as see patches."""
        return [_draw(len(level.filters), count, generator) for level in self.levels]


def filter_bank(count: int, patch_size: int, generator: torch.Generator) -> Tensor:
    """Half the filters see a pixel's colour, half a whole patch, both in an opponent space: (count, 3, k, k).

    In 75 dimensions a random direction sees mostly contrast: a hue that occurs nowhere in the reference costs next to
    nothing along any of them (measured: green and magenta buildings). Looking at colours alone, with chroma amplified
    to the strength of luma, closes that gap.
    """
    patches = unit_filters(count - count // 2, patch_size, generator)
    colours = torch.zeros(count // 2, 3, patch_size, patch_size)
    colours[:, :, patch_size // 2, patch_size // 2] = unit_filters(count // 2, 1, generator)[:, :, 0, 0]
    return torch.einsum("ncyx,cd->ndyx", torch.cat((colours, patches)), OPPONENT).contiguous()


def unit_filters(count: int, patch_size: int, generator: torch.Generator) -> Tensor:
    """Directions drawn evenly from the unit sphere of patches: (count, 3, k, k), float32."""
    filters = torch.randn(count, 3, patch_size, patch_size, generator=generator)
    lengths: Tensor = filters.flatten(1).norm(dim=1)
    return filters / lengths[:, None, None, None]


class _Level:
    """One pyramid level: its filter bank and the quantile functions its regions are to reach."""

    def __init__(self, references: Sequence[Reference], content_masks: Tensor, filters: Tensor) -> None:
        self.filters = filters.contiguous(memory_format=torch.channels_last)
        patch = filters.shape[-1]
        samples = [
            Samples(self._project(each.image, self.filters), _centres(each.masks, patch), each.weights)
            for each in references
        ]
        shares = (content_masks.sum((1, 2)) / content_masks.sum()).tolist()
        self.regions = SlicedRegions(_centres(content_masks, patch), samples, shares)

    @staticmethod
    def _project(image: Tensor, filters: Tensor) -> Tensor:
        batch = image[None].contiguous(memory_format=torch.channels_last)
        return F.conv2d(batch, filters)[0].flatten(1)

    def distance(self, image: Tensor, drawn: Tensor) -> Tensor:
        return self.regions(self._project(image, self.filters[drawn]), drawn)


def _draw(bank: int, count: int, generator: torch.Generator) -> Tensor:
    colours = torch.randperm(bank // 2, generator=generator)[: count // 2]
    patches = bank // 2 + torch.randperm(bank - bank // 2, generator=generator)[: count - count // 2]
    return torch.cat((colours, patches))


def _centres(masks: Tensor, patch: int) -> Tensor:
    """How much of each region every patch belongs to: by its centre pixel. (K, h, w) -> (K, h-k+1, w-k+1)."""
    before, after = patch // 2, (patch - 1) // 2
    return masks[:, before : masks.shape[1] - after, before : masks.shape[2] - after]
