"""Texture without a network: how strong contrast of every kind is and what kinds go together, region by region.

A filter's response averages to nothing over a texture; its modulus does not. So, at every level of a pyramid, grey is
filtered, rectified and pooled, and the joint distribution of the pooled moduli is compared by sliced Wasserstein: the
second order of a scattering transform (Bruna & Mallat, "Invariant Scattering Convolution Networks", TPAMI 2013) and
the correlations of magnitudes of Portilla & Simoncelli ("A Parametric Texture Model Based on Joint Statistics of
Complex Wavelet Coefficients", IJCV 2000), as distributions. The weighing by activity is ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from photostyle.files.checkpoints import State
from photostyle.imaging.filters import box_mean, halve, size_of
from photostyle.kernels import texture as kernels
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
from photostyle.scene import Scene, Stage

# Random zero-mean 3x3 filters, whose space has 8 dimensions; 8 filters are not enough, 32 gain little.
FILTERS = 16
SIDE = 3  # pixels of a filter; 5 are no better, the pyramid sees to larger ones
POOL = 2  # pixels on a side of the mean that makes one modulus of neighbouring responses
# In image units: sqrt(r^2 + BEND^2) - BEND is smooth where the modulus is not, and hardly sees 8-bit noise.
BEND = 0.01
# Pixels of the shorter side of a level: on fewer, moduli are of objects and not of texture.
LEAST_TEXTURE_SIDE = 32
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

    texture_weight: float = 1.9
    """style by the strength of filter responses per region (sliced Wasserstein), where the photo is not blank;
    training-free"""


class Texture(Term):
    """Distance of the regions' textures from the references'."""

    name = "texture"
    weights = ("texture_weight",)
    drawn = True

    def __init__(self, recipe: TextureSettings, stage: Stage, scene: Scene, encoder: Features | None) -> None:
        seed = recipe.seed + stage.number
        self.weight = recipe.texture_weight
        self.style = TextureStyle(
            scene.references,
            scene.content,
            scene.content_masks,
            scene.anchor,
            levels=recipe.patch_levels,
            bank=recipe.patch_bank,
            seed=seed,
        )
        count = FIXED_DRAWS if recipe.optimiser == "lbfgs" else DRAWS
        self.draw = Drawing(
            recipe, lambda generator: self.style.draw(count, generator), seed, scene.content.device
        )
        self._curvature = TextureCurvature(self.style, self.weight, scene)

    def __call__(self, image: Tensor) -> Tensor:
        return self.weight * self.style(image, self.draw())

    def state(self) -> dict[str, State]:
        return self.draw.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        self.draw.restore(state)

    def curvature(self, image: Tensor) -> Curvature:
        return self._curvature


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
        anchor: Anchor | None = None,
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
                halved_anchor(anchor, level),
                directions(bank, generator),
                zero_mean_filters(generator),
            )
            for level in range(usable)
        ]

    def draw(self, count: int, generator: torch.Generator) -> list[Tensor]:
        """Which directions of each level's bank to look along next."""
        return [torch.randperm(len(each.directions), generator=generator)[:count] for each in self.levels]


class TextureCurvature(Curvature):
    """The Gauss-Newton model's bound, with goals held fixed and on the grey axis, where the term acts.

    A direction drawn evenly sees a sixteenth of the squared change of the moduli; a modulus changes by no more than its
    response, and the mean of four of them squared is at most that of their squares. The mean response of random
    zero-mean 3x3 filters of unit length to a frequency has at most the energy 9/8, since a ninth of each was the mean.
    So the second derivative in a response is at most 2 (9/8) c / 4, with `SlicedRegions.curvature` c of its pool.
    """

    def __init__(self, style: TextureStyle, weight: float, scene: Scene) -> None:
        photo = scene.content
        self.levels = [
            2 * (9 / 8) * weight * level.curvature(*size_of(halve(photo, number))).to(photo)
            for number, level in enumerate(style.levels)
        ]

    def add(self, direction: Tensor, total: Tensor) -> None:
        levels = [partial(self._add, level) for level in self.levels]
        add_through_pyramid(direction[:1], levels, total[:1])

    def diagonal(self) -> Tensor:
        grey = pyramid_diagonal([each[None] for each in self.levels])
        if not self.levels:
            return grey
        return torch.cat((grey, torch.zeros_like(grey), torch.zeros_like(grey)))

    @staticmethod
    def _add(level: Tensor, direction: Tensor, total: Tensor) -> None:
        total += level * direction


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
    grey = image.sum(0) / 3**0.5
    if usable(grey, filters):
        return _Moduli.apply(grey, filters)  # type: ignore[no-any-return]
    found = F.conv2d(grey[None, None], filters)
    return F.avg_pool2d((found.square() + BEND**2).sqrt() - BEND, POOL)[0]


class _Moduli(torch.autograd.Function):
    """The same in one pass over grey, and in another its gradient, for which the responses are computed again."""

    @staticmethod
    def forward(ctx: Any, grey: Tensor, filters: Tensor) -> Tensor:
        height, width = ((side - SIDE + 1) // POOL for side in grey.shape)
        found = torch.empty(len(filters), height, width)
        arrays = grey.contiguous().numpy(), filters[:, 0].contiguous().numpy()
        in_parts(partial(kernels.moduli, *arrays, BEND, found.numpy()), height)
        ctx.save_for_backward(grey, filters)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        grey, filters = ctx.saved_tensors
        result = torch.zeros(grey.shape)
        arrays = grey.contiguous().numpy(), filters[:, 0].contiguous().numpy()
        kernels.moduli_gradient(*arrays, BEND, gradients[0].contiguous().numpy(), result.numpy())
        return result, None


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
        anchor: Anchor | None,
        directions: Tensor,
        filters: Tensor,
    ) -> None:
        self.directions, self.filters = directions.to(content), filters.to(content)
        found = [moduli(each.image, self.filters).flatten(1) for each in references]
        theirs = [_pooled(each.masks) for each in references]

        def seen(some: slice) -> list[Samples]:
            return [
                Samples(self.directions[some] @ each, masks, reference.weights)
                for each, masks, reference in zip(found, theirs, references, strict=True)
            ]

        masks, care = _pooled(content_masks), _pooled(inside(content_masks) * activity(content))
        shares = (content_masks.sum((1, 2)) / content_masks.sum()).tolist()
        goals = goals_of(seen, len(self.directions), len(masks), self._kept(anchor))
        self.regions = SlicedRegions(masks, goals, shares, care)

    def _kept(self, anchor: Anchor | None) -> Kept | None:
        if anchor is None:
            return None
        found, masks = moduli(anchor.image, self.filters).flatten(1), _pooled(anchor.masks)
        return Kept(
            lambda some: Samples(self.directions[some] @ found, masks, torch.ones(len(masks))),
            anchor.boldness.tolist(),
        )

    def _project(self, image: Tensor, directions: Tensor) -> Tensor:
        return directions @ moduli(image, self.filters).flatten(1)

    def distance(self, image: Tensor, drawn: Tensor) -> Tensor:
        return self.regions(self._project(image, self.directions[drawn]), drawn)

    def curvature(self, height: int, width: int) -> Tensor:
        """That of the regions for each pixel of a level: the most of the pools that a filter sees."""
        pools = self.regions.curvature()[None, None] / POOL**2
        inner = F.interpolate(pools, scale_factor=POOL, mode="nearest")
        margin = SIDE // 2
        after = height - inner.shape[-2] - margin, width - inner.shape[-1] - margin
        whole = F.pad(inner, (margin, after[1], margin, after[0]), mode="replicate")
        return F.max_pool2d(whole, SIDE, 1, margin)[0, 0]


def _pooled(masks: Tensor) -> Tensor:
    """Masks on the moduli's grid. (K, H, W) -> (K, (H-2) // 2, (W-2) // 2)."""
    margin = SIDE // 2
    inner = masks[:, margin : masks.shape[1] - margin, margin : masks.shape[2] - margin]
    return F.avg_pool2d(inner[None], POOL)[0]
