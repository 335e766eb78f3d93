"""What comes after the optimisation: how far to go where, what keeps its colour, and the picture at its own size."""

from torch import Tensor

from photostyle.config import Recipe
from photostyle.imaging.filters import area_average, resize, size_of
from photostyle.imaging.protection import Parts, protect
from photostyle.imaging.rendering import render
from photostyle.regions.canvas import recoloured
from photostyle.regions.colour import without_foreign_chroma
from photostyle.regions.relation import Dial
from photostyle.regions.strength import strength_map
from photostyle.scene import Scene, reduced

# Of a mask: a pixel that is more another region's may have that one's colours.
INSIDE = 0.5


def within_chroma(recipe: Recipe, scene: Scene, solved: Tensor) -> Tensor:
    """What was solved, (3, h, w), without chroma that nothing has which it was made from, seen as large as it is.

    That is photo and references; within a region its references and, where the solve starts at the closed form, what
    that makes of the photo, else the photo.
    """
    size, side = size_of(solved), max(size_of(solved))
    photo, masks = resize(scene.content, *size), area_average(scene.content_masks, *size)
    references = [reduced(each, side) for each in scene.references]
    image, own = without_foreign_chroma(solved, [photo, *(each.image for each in references)]), photo
    if recipe.start == "colour" and scene.restraint is not None:
        own = recoloured(photo, masks, scene.restraint.maps.to(photo), recipe.feather)
    for region, mask in enumerate(masks):
        seen = [own[:, mask > INSIDE]]
        seen += [
            each.image[:, each.masks[region] > INSIDE] for each in references if each.weights[region] > 0
        ]
        if all(each.numel() for each in seen):
            image = without_foreign_chroma(image, seen, mask)
    return image


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
