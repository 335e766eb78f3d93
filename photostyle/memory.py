"""How much memory a run needs: estimated from sizes before the work begins, and refused where there is less.

An estimate is of the most that is held at once, in bytes. The coefficients were measured; a slow test holds the
estimate to measured peaks.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from photostyle.config import Recipe
from photostyle.errors import NotEnoughMemory
from photostyle.imaging.filters import fit_within

MIB, GB = 1024**2, 1e9

# Of a picture's pixel, in bytes. A picture is three float32, a mask one; what is written stands beside the result as
# 3 samples of 8 bits and as Pillow's 4. Strips of rows and other small things: measured at 24 and 100 MP.
PICTURE, MASK, WRITTEN = 12, 4, 7
STRIPS = 3

# The process with its libraries and what scoring takes of them, before there are pictures: what is left over below.
PROCESS = 900 * MIB
# Of a pixel of the photo at the last stage, one region: the terms without a network, what they draw and its gradients,
# their curvatures and the solver's pictures. `patches` of a photo of 700, 1024 and 2048 px at 512, 1024 and 2048 px:
# 878, 1143 and 2262 MiB in all.
TERMS = 560
# Of a pixel of the references at the last stage: what some filters of a bank see in them, sorted without numba.
# With it no more than the photo takes afterwards: 2284 MiB where photo and reference have 2048 px.
STYLE = 500
# Of such a pixel and one more region: its masks at every layer, its samples of patches.
REGION = 60
# Of such a pixel, with a VGG-19 of full width to conv5_1: its blocks have 64, 128, 256, 512 and 512 channels on 1,
# 1/4, 1/16, 1/64 and 1/256 of the pixels and 2, 2, 4, 4 and 1 layers, so 290 values a layer of convolutions and as
# many rectified, in float32, and half as much again for gradients.
NETWORK = 290 * 2 * 4 * 3 // 2

LEAST_SIZE = 32  # as --size has it


@dataclass(frozen=True)
class Work:
    """What a run is of: pixels (height, width) of the photo and of each reference, regions, and whether VGG is used.

    libraries: bytes of the process without pictures; on a card, whose memory holds none of it, 0. mapped: whether
    strength differs from pixel to pixel. protected: whether part of the photo keeps its colour. solves: whether
    anything is minimised.
    """

    photo: tuple[int, int]
    references: tuple[tuple[int, int], ...]
    regions: int
    network: bool = False
    libraries: int = PROCESS
    mapped: bool = False
    protected: bool = False
    solves: bool = True


def estimate(recipe: Recipe, work: Work, size: int | None = None) -> int:
    """Bytes that a run holds at its peak, libraries included. size: another --size than the recipe's."""
    read = _held(work.photo, work) + sum(_held(each, work) for each in work.references)
    return work.libraries + read + max(_solving(recipe, work, size or recipe.size), _finishing(recipe, work))


def check_memory(recipe: Recipe, work: Work, free: int | None) -> None:
    """Refuse a run that needs more than is free. free: bytes, with those that the process has; None: not known.

    Raises NotEnoughMemory with both numbers and what would fit.
    """
    needed = estimate(recipe, work)
    if free is None or needed <= free:
        return
    height, width = work.photo
    size = _fitting(recipe, work, free)
    raise NotEnoughMemory(
        f"a {width}x{height} photo at --size {min(recipe.size, max(work.photo))} needs about {needed / GB:.1f} GB of "
        f"memory and {free / GB:.1f} GB are free: {_remedy(recipe, work, size)}",
        size,
    )


def smaller_sizes(size: int) -> Iterable[int]:
    """Sizes below one, down to the least that --size takes, in steps of nearly half an octave."""
    while (size := size * 3 // 4 // 8 * 8) >= LEAST_SIZE:
        yield size


def _held(size: tuple[int, int], work: Work) -> int:
    """A picture with its masks: one region alone is no more than a number."""
    return _pixels(size) * (PICTURE + (MASK * work.regions if work.regions > 1 else 0))


def _solving(recipe: Recipe, work: Work, size: int) -> int:
    if not work.solves or (not any(recipe.evaluations) and not recipe.first_pass):
        return 0
    sizes = [tuple(recipe.squeeze) or fit_within(*each, size) for each in (work.photo, *work.references)]
    pixels, *others = map(_pixels, sizes)
    theirs = sum(others)
    each_region = REGION * (work.regions - 1)
    network = NETWORK * work.network
    # What a reference is to look like is found before the first evaluation.
    return max(pixels * (TERMS + each_region + network), theirs * (STYLE + network))


def _finishing(recipe: Recipe, work: Work) -> int:
    """The result with what it is made of: where nothing is solved, also the canvas that is then blended."""
    blended = recipe.preserve_luminance or recipe.strength not in (None, 1) or work.mapped or work.protected
    maps = MASK * work.mapped
    return _pixels(work.photo) * (PICTURE * (1 + blended) + maps + WRITTEN + STRIPS)


def _fitting(recipe: Recipe, work: Work, free: int) -> int | None:
    """The largest of the smaller sizes that fits."""
    sizes = smaller_sizes(min(recipe.size, max(work.photo)))
    return next((size for size in sizes if estimate(recipe, work, size) <= free), None)


def _remedy(recipe: Recipe, work: Work, size: int | None) -> str:
    if size is None:
        return "use a smaller photo, smaller references or fewer regions"
    return f"use --size {size}, which needs {estimate(recipe, work, size) / GB:.1f}, or --fit"


def _pixels(size: tuple[int, ...]) -> int:
    return math.prod(size)
