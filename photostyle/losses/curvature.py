"""How a term bends: quadratic models above it, for the solver that minimises them in place of the term.

A model of a term f at a picture z is f(z) + g . d + d . H d / 2 for a change d, with the term's gradient g. Where it
lies above the term, what lowers the model lowers the term (Hunter & Lange, "A Tutorial on MM Algorithms", The American
Statistician 58(1), 2004). A curvature is that H. All of it is in opponent coordinates (`imaging.opponent`), where what
the terms here weigh is diagonal in the channels or nearly so.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from photostyle.imaging.filters import add_doubled, halve

Add = Callable[[Tensor, Tensor], None]  # adds a product with a direction (3, H, W) to a total of its size


class Curvature(ABC):
    """A symmetric positive semi-definite matrix H over pictures (3, H, W) in opponent coordinates."""

    @abstractmethod
    def add(self, direction: Tensor, total: Tensor) -> None:
        """Adds H times a direction to a total, in place. (3, H, W) twice."""

    @abstractmethod
    def diagonal(self) -> Tensor:
        """The diagonal of H or what is near it, broadcast to (3, H, W): it conditions the solver's equations."""


def add_through_pyramid(direction: Tensor, levels: Sequence[Add], total: Tensor) -> None:
    """Adds sum_l D_l^T H_l D_l direction: D_l averages 2x2 blocks l times, levels add the products with H_l."""
    levels_left = list(levels)
    if not levels_left:
        return
    levels_left[0](direction, total)
    if len(levels_left) == 1:
        return
    small = halve(direction)
    below = small.new_zeros(small.shape)
    add_through_pyramid(small, levels_left[1:], below)
    add_doubled(below, total)


def pyramid_diagonal(levels: Sequence[Tensor]) -> Tensor:
    """The diagonal of what `add_through_pyramid` adds, given those of the levels: (C, H >> l, W >> l) each.

    A pixel is a 4^l-th of its block's mean, so it has a 16^l-th of the level's entry. Without levels it is 0.
    """
    if len(levels) < 2:
        return levels[0] if levels else torch.zeros(())
    diagonal = levels[0].clone()
    below = pyramid_diagonal(levels[1:])
    height, width = 2 * below.shape[1], 2 * below.shape[2]
    wide = F.interpolate(below[None], size=(height, width), mode="nearest")[0]
    diagonal[:, :height, :width] += wide / 16
    return diagonal
