"""What comes after the optimisation: how far to go in each region, and the picture at the photo's own size."""

from torch import Tensor

from photostyle.config import Recipe
from photostyle.files.masks import MaskSet
from photostyle.imaging.rendering import render
from photostyle.regions.strength import region_strengths, strength_map


def strengths_of(recipe: Recipe, photo: Tensor, regions: MaskSet) -> float | Tensor:
    """How far to go at each pixel of a photo (3, H, W) whose mask has these regions: one number or (H, W)."""
    by_region = region_strengths(recipe.region_strength)
    return strength_map(photo, regions, recipe.strength, by_region, recipe.feather)


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
