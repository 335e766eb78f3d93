"""What the terms share that are energies of pixels: whether they are means or sums over the picture."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor


@dataclass(frozen=True)
class EnergySettings:
    """The unit of energies."""

    energies: Literal["mean", "sum"] = "mean"
    """photorealism and variation per pixel, or summed over the picture as the released code does"""


def pixels(recipe: EnergySettings, photo: Tensor) -> int:
    """What an energy summed over a photo (3, H, W) is divided by."""
    return photo[0].numel() if recipe.energies == "mean" else 1
