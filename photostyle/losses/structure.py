"""Structure: edges stay where the photo has them, whatever the light does (ours)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from photostyle.bounds import AtLeast
from photostyle.imaging.filters import luma
from photostyle.losses.encoders import Features
from photostyle.losses.term import Term
from photostyle.scene import Scene, Stage

# Keeps the local correlation defined in calm windows: four 8-bit levels, as much as JPEG's blocks and noise vary there.
# With one level the borders of blocks in a clear sky became edges to keep, and colours changed along them.
FLAT = (4 / 255) ** 2


@dataclass(frozen=True)
class StructureSettings:
    """Settings of the structure term."""

    structure_weight: float = 0.04
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


def structure_loss(image: Tensor, photo_luma: Tensor, window: int) -> Tensor:
    """1 - mean zero-normalised cross-correlation of luma in k x k windows. (3, H, W), (H, W) -> scalar in [0, 2].

    Invariant to any gain > 0 and offset of each window, so light may change and edges may not.
    """
    ours, theirs = luma(image), photo_luma
    stack = torch.stack((ours, theirs, ours * ours, theirs * theirs, ours * theirs))
    rows = F.avg_pool2d(stack[None], (window, 1), 1)
    mean_a, mean_b, aa, bb, ab = F.avg_pool2d(rows, (1, window), 1)[0]
    variance_a = (aa - mean_a * mean_a).clamp(min=0) + FLAT
    variance_b = (bb - mean_b * mean_b).clamp(min=0) + FLAT
    # FLAT above the line too: a window that is flat in both pictures agrees perfectly.
    correlation: Tensor = (ab - mean_a * mean_b + FLAT) * (variance_a * variance_b).rsqrt()
    return 1 - correlation.mean()
