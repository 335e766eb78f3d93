"""One picture with its regions, as scores and artefacts look at it: in CIELAB, thinned or reduced, each made once."""

import math
from collections.abc import Callable, Hashable
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from photostyle.imaging import lightness
from photostyle.imaging.filters import area_average, fit_within

SIDE = 700  # px: the long side of the published pictures, at which lengths and thresholds were looked at
MOST_PIXELS = 1_000_000  # of a thinned picture: 5000 between neighbouring ones of 200 quantiles

Array = NDArray[np.float64]
Made = TypeVar("Made")
More = ParamSpec("More")


class Side:
    """A picture (3, H, W) of a comparison and its regions (K, H, W), and what was derived from them."""

    def __init__(self, picture: Tensor, masks: Tensor) -> None:
        self.picture, self.masks = picture, masks
        self._made: dict[Hashable, Any] = {}

    def once(
        self, derive: Callable[Concatenate["Side", More], Made], *more: More.args, **named: More.kwargs
    ) -> Made:
        """derive(side, *more), kept: the photo and the reference of many results need no second look."""
        key = (derive, *more, *named.items())
        if key not in self._made:
            self._made[key] = derive(self, *more, **named)
        made: Made = self._made[key]
        return made


def lab(image: Tensor) -> Array:
    """CIELAB, see `lightness.lab`. (3, H, W) sRGB in [0, 1] -> (3, H, W)."""
    converted: Array = lightness.lab(image.detach().cpu()).numpy()
    return converted


def whole_lab(side: Side) -> Array:
    """The picture in CIELAB."""
    return lab(side.picture)


def reduced_lab(side: Side) -> Array:
    """The picture in CIELAB, by area to a long side of SIDE; a smaller one as it is."""
    small = _reduced(side.picture)
    return side.once(whole_lab) if small is side.picture else lab(small)


def reduced_masks(side: Side) -> NDArray[np.float32]:
    """The regions at the size of `reduced_lab`."""
    masks: NDArray[np.float32] = _reduced(side.masks).cpu().numpy()
    return masks


def thinned(stack: Tensor) -> Tensor:
    """Every n-th row and column, so that MOST_PIXELS are left and none is an average. (C, H, W) -> on the CPU."""
    step = _step(stack)
    return stack[:, ::step, ::step].detach().cpu()


def thin_lab(side: Side) -> Array:
    """The `thinned` picture in CIELAB."""
    return side.once(whole_lab) if _step(side.picture) == 1 else lab(thinned(side.picture))


def _step(stack: Tensor) -> int:
    return math.ceil(math.sqrt(stack[0].numel() / MOST_PIXELS))


def _reduced(stack: Tensor) -> Tensor:
    return area_average(stack, *fit_within(stack.shape[1], stack.shape[2], SIDE))
