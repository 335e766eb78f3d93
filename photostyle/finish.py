"""What comes after the optimisation: how far to go in each region, and the picture at the photo's own size."""

from torch import Tensor

from photostyle.config import Recipe
from photostyle.imaging.rendering import render
from photostyle.regions.relation import Dial
from photostyle.regions.strength import strength_map


def strengths_of(recipe: Recipe, photo: Tensor, masks: Tensor, how: Dial) -> float | Tensor:
    """How far to go at each pixel of a photo (3, H, W) with regions (K, H, W): one number or (H, W)."""
    return strength_map(photo, masks, how.strength, how.boldness, recipe.feather)


def rendered(recipe: Recipe, photo: Tensor, solved: Tensor, strength: float | Tensor) -> Tensor:
    """The picture to write, as configured. photo (3, H, W), solved (3, h, w), strength: one or (H, W) -> (3, H, W)."""
    return render(
        photo,
        solved,
        strength=strength,
        smooth_radius=recipe.smooth_radius,
        smooth_edge=recipe.smooth_edge,
        preserve_luminance=recipe.preserve_luminance,
    )
