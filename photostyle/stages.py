"""Config to stages: which sizes, how many evaluations, with or without photorealism. Pure and printable."""

from dataclasses import dataclass

from photostyle.config import Config
from photostyle.errors import PhotostyleError
from photostyle.imaging.filters import fit_within

# pixels: on a shorter side too few patches and windows fit for a distribution or a Laplacian to mean anything
LEAST_SIDE = 16


@dataclass(frozen=True)
class Stage:
    """One optimisation at one size."""

    number: int
    long_side: int  # pixels; the style picture gets the same
    height: int
    width: int
    iterations: int
    photorealism: bool


def schedule(config: Config, height: int, width: int) -> tuple[Stage, ...]:
    """The stages for a photo of the given size, coarse to fine; none where no iterations are asked for.

    Long sides are coarsest * 2^k below --size, then --size, all capped at the photo's own. A first pass without
    photorealism precedes the first stage where --first-pass asks for one (the released code's stage one).
    Stages whose short side would be under LEAST_SIDE are passed over; raises PhotostyleError where the last is.
    """
    sides = _long_sides(config, height, width)
    plan = [
        (side, config.iterations[min(index, len(config.iterations) - 1)], True)
        for index, side in enumerate(sides)
    ]
    if config.first_pass:
        plan.insert(0, (sides[0], config.first_pass, False))
    return tuple(
        Stage(number, side, *fit_within(height, width, side), iterations, photorealism)
        for number, (side, iterations, photorealism) in enumerate(entry for entry in plan if entry[1])
    )


def _long_sides(config: Config, height: int, width: int) -> list[int]:
    shorter, longer = sorted((height, width))
    least, last = -(-LEAST_SIDE * longer // shorter), min(config.size, longer)
    if last < least:
        raise PhotostyleError(
            f"--size {config.size} leaves a {width}x{height} photo under {LEAST_SIDE} pixels on its short side; "
            f"use --size {least} or more"
        )
    sides, side = [], config.coarsest
    while side < last:
        sides.append(side)
        side *= 2
    return [*(side for side in sides if side >= least), last]
