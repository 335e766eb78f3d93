"""Structure: edges stay where the photo has them, whatever the light does (ours)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from photostyle.bounds import AtLeast
from photostyle.imaging.filters import LUMA, luma, size_of
from photostyle.imaging.opponent import to_opponent
from photostyle.kernels import windows as kernels
from photostyle.kernels.compiler import in_parts, usable
from photostyle.losses.curvature import Curvature
from photostyle.losses.encoders import Features
from photostyle.losses.term import Term
from photostyle.scene import Scene, Stage

# Keeps the local correlation defined in calm windows: four 8-bit levels, as much as JPEG's blocks and noise vary there.
# With one level the borders of blocks in a clear sky became edges to keep, and colours changed along them.
FLAT = (4 / 255) ** 2


@dataclass(frozen=True)
class StructureSettings:
    """Settings of the structure term."""

    structure_weight: float = 0.043
    """structure: 1 - local correlation of the luma with the photo's"""
    structure_window: Annotated[int, AtLeast(3)] = 7
    """side of the correlation's window in pixels"""


class Structure(Term):
    """What the luma's local correlation with the photo's lacks."""

    name = "structure"
    weights = ("structure_weight",)
    before: ClassVar[Mapping[str, Any] | None] = {}

    def __init__(
        self, recipe: StructureSettings, stage: Stage, scene: Scene, encoder: Features | None
    ) -> None:
        self.weight, self.photo = recipe.structure_weight, luma(scene.content)
        self.window = min(recipe.structure_window, *self.photo.shape)

    def __call__(self, image: Tensor) -> Tensor:
        return self.weight * structure_loss(image, self.photo, self.window)

    def curvature(self, image: Tensor) -> Curvature:
        return StructureCurvature(image, self.photo, self.window, self.weight)


class StructureCurvature(Curvature):
    """The Gauss-Newton model: in each window the correlation falls with what of a change is no gain or offset.

    1 - r of two windows that agree but for a small change d of one is var(d) / (2 var) to second order, so the second
    derivative there is r / var times the projection that takes a window's mean off, with r >= 0. That a gain does not
    change the correlation is left out, so the model lies above.
    """

    def __init__(self, image: Tensor, photo_luma: Tensor, window: int, weight: float) -> None:
        self.window, self.luma = window, to_opponent(image.new_tensor(LUMA)[:, None, None])
        _, variance_a, _, correlation = _moments(luma(image), photo_luma, window)
        self.stiffness = correlation.clamp(min=0) / variance_a
        self.spread = full_sums(self.stiffness, window)
        self.scale = weight / (window**2 * self.stiffness.numel())

    def add(self, direction: Tensor, total: Tensor) -> None:
        ours = (self.luma * direction).sum(0)
        mean = window_sums(ours[None], self.window)[0] / self.window**2
        change = ours * self.spread - full_sums(self.stiffness * mean, self.window)
        total += self.luma * (self.scale * change)

    def diagonal(self) -> Tensor:
        return self.luma.square() * (self.scale * self.spread)


def structure_loss(image: Tensor, photo_luma: Tensor, window: int) -> Tensor:
    """1 - mean zero-normalised cross-correlation of luma in k x k windows. (3, H, W), (H, W) -> scalar in [0, 2].

    Invariant to any gain > 0 and offset of each window, so light may change and edges may not.
    """
    return _Structure.apply(luma(image), photo_luma, window)  # type: ignore[no-any-return]


def window_sums(stack: Tensor, window: int) -> Tensor:
    """Sum over each window inside. (C, H, W) -> (C, H - window + 1, W - window + 1)."""
    if usable(stack):
        padded = stack.contiguous()
        height, width = (side - window + 1 for side in size_of(stack))
        sums = torch.empty(len(stack), height, width)
        in_parts(partial(kernels.window_sums, padded.numpy(), window, sums.numpy()), height)
        return sums
    rows = F.avg_pool2d(stack[None], (window, 1), 1, divisor_override=1)
    return F.avg_pool2d(rows, (1, window), 1, divisor_override=1)[0]


def full_sums(values: Tensor, window: int) -> Tensor:
    """The transpose: every window's value to each of its pixels. (h, w) -> (h + window - 1, w + window - 1)."""
    margin = window - 1
    return window_sums(F.pad(values, (margin, margin, margin, margin))[None], window)[0]


def _moments(ours: Tensor, theirs: Tensor, window: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean and variance of ours, 1 / sqrt of the product of both variances, and the correlation, in each window."""
    stack = torch.stack((ours, theirs, ours * ours, theirs * theirs, ours * theirs))
    mean_a, mean_b, aa, bb, ab = window_sums(stack, window) / window**2
    variance_a = (aa - mean_a * mean_a).clamp(min=0) + FLAT
    variance_b = (bb - mean_b * mean_b).clamp(min=0) + FLAT
    scale = (variance_a * variance_b).rsqrt()
    # FLAT above the line too: a window that is flat in both pictures agrees perfectly.
    return mean_a, variance_a, scale, (ab - mean_a * mean_b + FLAT) * scale


class _Structure(torch.autograd.Function):
    """1 - mean correlation of ours with theirs (H, W), and its gradient in ours by four window sums.

    In one window of n pixels r = c s, s = 1 / sqrt(a b), has the derivative ((y - mean y) s - (x - mean x) r / a) / n
    in x, where the variance a is not cut off.
    """

    @staticmethod
    def forward(ctx: Any, ours: Tensor, theirs: Tensor, window: int) -> Tensor:
        mean, variance, scale, correlation = _moments(ours, theirs, window)
        ctx.save_for_backward(ours, theirs, mean, variance, scale, correlation)
        ctx.window = window
        return 1 - correlation.mean()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        ours, theirs, mean, variance, scale, correlation = ctx.saved_tensors
        window = ctx.window
        pull, mean_b = correlation / variance, window_sums(theirs[None], window)[0] / window**2
        change = ours * full_sums(pull, window) - theirs * full_sums(scale, window)
        change += full_sums(scale * mean_b - pull * mean, window)
        return gradients[0] * change / (window**2 * correlation.numel()), None, None
