"""What comes after the optimisation: how far to go where, what keeps its colour, and the picture at its own size."""

from torch import Tensor

from photostyle.config import Recipe
from photostyle.imaging.protection import Parts, protect
from photostyle.imaging.rendering import render
from photostyle.regions.relation import Dial
from photostyle.regions.strength import strength_map


def strengths_of(recipe: Recipe, photo: Tensor, masks: Tensor, how: Dial) -> float | Tensor:
    """How far to go at each pixel of a photo (3, H, W) with regions (K, H, W): one number or (H, W)."""
    return strength_map(photo, masks, how.strength, how.boldness, recipe.feather)


def rendered(
    recipe: Recipe, photo: Tensor, solved: Tensor, strength: float | Tensor, parts: Parts | None = None
) -> Tensor:
    """The picture to write, as configured. photo (3, H, W), solved (3, h, w) -> (3, H, W).

    strength: one or (H, W), see `strengths_of`; parts: what keeps its own colour in the photo.
    """
    picture = render(
        photo,
        solved,
        strength=strength,
        smooth_radius=recipe.smooth_radius,
        smooth_edge=recipe.smooth_edge,
        preserve_luminance=recipe.preserve_luminance,
        enlarging=recipe.enlarging,
    )
    if parts is None:
        return picture
    return protect(photo, picture.clone() if picture is solved else picture, parts)
