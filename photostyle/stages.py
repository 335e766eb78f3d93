"""Recipe to stages: which sizes, how many evaluations, with or without photorealism. Pure and printable."""

from photostyle.config import Recipe
from photostyle.errors import PhotostyleError
from photostyle.imaging.filters import fit_within
from photostyle.scene import LEAST_SIDE, Stage


def schedule(recipe: Recipe, height: int, width: int) -> tuple[Stage, ...]:
    """The stages for a photo of the given size, coarse to fine; none where no iterations are asked for.

    Long sides are coarsest * 2^k below --size, then --size, all capped at the photo's own. A first pass without
    photorealism precedes the first stage where --first-pass asks for one (the released code's stage one).
    Stages whose short side would be under LEAST_SIDE are passed over; raises PhotostyleError where the last is.
    With --squeeze there is one stage, of that height and width.
    """
    squeezed = bool(recipe.squeeze)
    if squeezed:
        height, width = recipe.squeeze
    sides = [max(height, width)] if squeezed else _long_sides(recipe, height, width)
    plan = [
        (side, recipe.evaluations[min(index, len(recipe.evaluations) - 1)], True)
        for index, side in enumerate(sides)
    ]
    if recipe.first_pass:
        plan.insert(0, (sides[0], recipe.first_pass, False))
    return tuple(
        Stage(number, side, *fit_within(height, width, side), iterations, photorealism, squeezed)
        for number, (side, iterations, photorealism) in enumerate(entry for entry in plan if entry[1])
    )


def _long_sides(recipe: Recipe, height: int, width: int) -> list[int]:
    shorter, longer = sorted((height, width))
    least, last = -(-LEAST_SIDE * longer // shorter), min(recipe.size, longer)
    if last < least:
        raise PhotostyleError(
            f"--size {recipe.size} leaves a {width}x{height} photo under {LEAST_SIDE} pixels on its short side; "
            f"use --size {least} or more"
        )
    sides, side = [], recipe.coarsest
    while side < last:
        sides.append(side)
        side *= 2
    return [*(side for side in sides if side >= least), last]
