"""Config to stages: which sizes, how many evaluations, with or without photorealism. Pure and printable."""

from dataclasses import dataclass

from photostyle.config import Config
from photostyle.filters import fit_within


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
    """
    sides = _long_sides(config, max(height, width))
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


def _long_sides(config: Config, photo_side: int) -> list[int]:
    last = min(config.size, photo_side)
    sides, side = [], config.coarsest
    while side < last:
        sides.append(side)
        side *= 2
    return [*sides, last]
