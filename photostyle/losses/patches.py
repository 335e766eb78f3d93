"""Style without a network: the distributions of small patches, region by region, compared by sliced Wasserstein.

A patch distribution is seen through random unit filters, each of which gives one projection (Elnekave & Weiss,
"Generating Natural Images with Direct Patch Distributions Matching", ECCV 2022; regions and soft weights are ours).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from photostyle.bounds import AtLeast
from photostyle.files.checkpoints import State
from photostyle.imaging.filters import halve, size_of
from photostyle.imaging.opponent import AXES
from photostyle.kernels import patches as kernels
from photostyle.kernels.compiler import in_parts, usable
from photostyle.losses.curvature import Curvature, add_through_pyramid, pyramid_diagonal
from photostyle.losses.encoders import Features
from photostyle.losses.sliced import (
    Drawing,
    Kept,
    Samples,
    SlicedPyramid,
    SlicedRegions,
    SlicedSettings,
    goals_of,
    halved,
    halved_anchor,
    usable_levels,
)
from photostyle.losses.term import Term
from photostyle.regions.mixture import Anchor, Reference
from photostyle.scene import LEAST_SIDE, Scene, Stage

# Photographs vary less along chroma.
CHROMA_GAIN = 2.0
GAINS = torch.tensor((1.0, CHROMA_GAIN, CHROMA_GAIN))
# Grey and two opponent axes, orthonormal but for the chroma's gain.
OPPONENT = GAINS[:, None] * AXES


@dataclass(frozen=True)
class PatchSettings(SlicedSettings):
    """Settings of the patch term."""

    patch_weight: float = 1.0
    """style by patch distributions per region (sliced Wasserstein); training-free"""
    patch_size: Annotated[int, AtLeast(2)] = 5
    """side of the patches in pixels"""
    patch_draws: Annotated[int, AtLeast(1)] = 12
    """filters of patches drawn from the bank at each step"""


class Patches(Term):
    """Distance of the regions' patch distributions from the references'."""

    name = "patches"
    weights = ("patch_weight",)
    before: ClassVar[Mapping[str, Any] | None] = {}
    drawn = True

    def __init__(self, recipe: PatchSettings, stage: Stage, scene: Scene, encoder: Features | None) -> None:
        seed = recipe.seed + stage.number
        self.weight = recipe.patch_weight
        self.style = PatchStyle(
            scene.references,
            scene.content_masks,
            scene.anchor,
            patch_size=recipe.patch_size,
            levels=recipe.patch_levels,
            bank=recipe.patch_bank,
            seed=seed,
        )
        self.draw = Drawing(
            recipe,
            lambda generator: self.style.draw(recipe.patch_draws, generator),
            seed,
            scene.content.device,
        )
        self._curvature = PatchCurvature(self.style, self.weight, scene.content)

    def __call__(self, image: Tensor) -> Tensor:
        return self.weight * self.style(image, self.draw())

    def state(self) -> dict[str, State]:
        return self.draw.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        self.draw.restore(state)

    def curvature(self, image: Tensor) -> Curvature:
        return self._curvature


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
        anchor: Anchor | None = None,
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
                halved_anchor(anchor, level),
                filter_bank(bank, patch_size, generator).to(content_masks),
            )
            for level in range(usable)
        ]

    def draw(self, count: int, generator: torch.Generator) -> list[Tensor]:
        """Which filters of each level's bank to look through next: as many that see colours as see patches."""
        return [_draw(len(level.filters), count, generator) for level in self.levels]


class PatchCurvature(Curvature):
    """What lies above the patches' second derivative in expectation over the filters, with their goals held fixed.

    A filter drawn evenly from the unit sphere of its space sees a third of a pixel's square, alone or as one of the
    patch_size^2 pixels of as many patches, and chroma at CHROMA_GAIN. So, at a level, the distance has the second
    derivative 2 / 3 c diag(GAINS^2) in a pixel of the level, c being `SlicedRegions.curvature`.
    """

    def __init__(self, style: PatchStyle, weight: float, photo: Tensor) -> None:
        self.squares = GAINS.square().to(photo)[:, None, None]
        self.levels = [
            (2 / 3 * weight * level.curvature(*size_of(halve(photo, number)))).to(photo)
            for number, level in enumerate(style.levels)
        ]

    def add(self, direction: Tensor, total: Tensor) -> None:
        add_through_pyramid(direction, [partial(self._add, level) for level in self.levels], total)

    def diagonal(self) -> Tensor:
        return pyramid_diagonal([self.squares * each for each in self.levels])

    def _add(self, level: Tensor, direction: Tensor, total: Tensor) -> None:
        total += self.squares * level * direction


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

    def __init__(
        self, references: Sequence[Reference], content_masks: Tensor, anchor: Anchor | None, filters: Tensor
    ) -> None:
        self.filters = filters.contiguous(memory_format=torch.channels_last)
        self.patch = filters.shape[-1]
        theirs = [self._centres(each.masks) for each in references]

        def seen(some: slice) -> list[Samples]:
            return [
                Samples(responses(each.image, self.filters[some]), masks, each.weights)
                for each, masks in zip(references, theirs, strict=True)
            ]

        goals = goals_of(seen, len(filters), len(content_masks), self._kept(anchor))
        shares = (content_masks.sum((1, 2)) / content_masks.sum()).tolist()
        self.regions = SlicedRegions(self._centres(content_masks), goals, shares)

    def distance(self, image: Tensor, drawn: Tensor) -> Tensor:
        return self.regions(responses(image, self.filters[drawn]), drawn)

    def curvature(self, height: int, width: int) -> Tensor:
        """That of the regions for each pixel of a level; the border's is that of the nearest patch."""
        inner = self.regions.curvature()[None, None]
        before = self.patch // 2
        margins = (before, width - inner.shape[-1] - before, before, height - inner.shape[-2] - before)
        return F.pad(inner, margins, mode="replicate")[0, 0]

    def _kept(self, anchor: Anchor | None) -> Kept | None:
        if anchor is None:
            return None
        masks, one = self._centres(anchor.masks), torch.ones(len(anchor.masks))
        return Kept(
            lambda some: Samples(responses(anchor.image, self.filters[some]), masks, one),
            anchor.boldness.tolist(),
        )

    def _centres(self, masks: Tensor) -> Tensor:
        return _centres(masks, self.patch)


def responses(image: Tensor, filters: Tensor) -> Tensor:
    """Correlation with each filter inside the image, row by row. (3, H, W), (D, 3, k, k) -> (D, h w)."""
    if filters.shape[-1] == kernels.SIDE and usable(image, filters):
        return _Responses.apply(image, filters)  # type: ignore[no-any-return]
    batch = image[None].contiguous(memory_format=torch.channels_last)
    return F.conv2d(batch, filters.contiguous(memory_format=torch.channels_last))[0].flatten(1)


class _Responses(torch.autograd.Function):
    """Those of 5x5 filters. A filter that sees nothing but its centre's colour is a product of matrices."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, filters: Tensor) -> Tensor:
        filters = filters.contiguous()
        middle = kernels.SIDE // 2
        centres = filters[:, :, middle, middle]
        # How a bank begins: see `filter_bank`.
        colours = int((filters.flatten(1).count_nonzero(1) <= len(image)).long().cumprod(0).sum())
        height, width = (side - kernels.SIDE + 1 for side in size_of(image))
        found = torch.empty(len(filters), height, width)
        inner = image[:, middle : middle + height, middle : middle + width]
        torch.matmul(centres[:colours], inner.reshape(3, -1), out=found[:colours].flatten(1))
        arrays = image.contiguous().numpy(), filters[colours:].numpy(), found[colours:].numpy()
        in_parts(partial(kernels.responses, *arrays), height)
        ctx.save_for_backward(filters)
        ctx.colours, ctx.size = colours, size_of(image)
        return found.flatten(1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (filters,) = ctx.saved_tensors
        height, width = ctx.size
        middle = kernels.SIDE // 2
        gradient = gradients[0].unflatten(1, (height - 2 * middle, width - 2 * middle)).contiguous()
        result = torch.zeros(3, height, width)
        colours = filters[: ctx.colours, :, middle, middle].T @ gradient[: ctx.colours].flatten(1)
        result[:, middle : height - middle, middle : width - middle] = colours.view(3, *gradient.shape[1:])
        arrays = gradient[ctx.colours :].numpy(), filters[ctx.colours :].numpy(), result.numpy()
        in_parts(partial(kernels.responses_gradient, *arrays), height)
        return result, None


def _draw(bank: int, count: int, generator: torch.Generator) -> Tensor:
    colours = torch.randperm(bank // 2, generator=generator)[: count // 2]
    patches = bank // 2 + torch.randperm(bank - bank // 2, generator=generator)[: count - count // 2]
    return torch.cat((colours, patches))


def _centres(masks: Tensor, patch: int) -> Tensor:
    """How much of each region every patch belongs to: by its centre pixel. (K, h, w) -> (K, h-k+1, w-k+1)."""
    before, after = patch // 2, (patch - 1) // 2
    return masks[:, before : masks.shape[1] - after, before : masks.shape[2] - after]
