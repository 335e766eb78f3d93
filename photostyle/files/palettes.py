"""The colours of a mask: which there are, how many pixels each has, and which are too rare to be regions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from photostyle.files.legends import Colour, hex_name
from photostyle.files.profiles import Array

# Grid points along a mask's long side: what fills 3×3 of them is no edge, though its mask was enlarged. An edge of a
# mask that was drawn with 160 pixels is less wide.
WINDOW = 100
PALETTE_SIZE = 256  # colours of an 8-bit label map or a palette: a mask of more has stray ones
# Levels per channel: JPEG of quality 30 moves the flat colours of the published masks by less.
LIKE_COLOURS = 16
MOST_NAMED = 5  # colours that a line names


@dataclass(frozen=True)
class Palette:
    """The N different colours of a mask.

    colours: (N, 3) of 0…255, in the order of #rrggbb. counts: (N,), how many pixels that are not erased each has.
    index: (H, W), which of them each pixel has. erased: (H, W) bool, None where no pixel is.
    """

    colours: Array
    counts: Array
    index: Array
    erased: Array | None = None


def palette_of(pixels: Array, erased: Array | None = None) -> Palette:
    """The palette of (H, W, 3) uint8, by a table of all 2^24 colours: sorting twelve million pixels takes seconds."""
    red, green, blue = (pixels[..., channel].astype(np.int32) for channel in range(3))
    numbers = red << 16 | green << 8 | blue
    seen = np.zeros(1 << 24, bool)  # a byte each: to look through it takes a twentieth of what counts would
    seen[numbers] = True
    present = np.flatnonzero(seen)
    positions = np.empty(1 << 24, np.int32)  # of the colours that are there, the only ones that are read
    positions[present] = np.arange(len(present))
    index = positions[numbers]
    colours = np.stack([present >> 16, present >> 8 & 255, present & 255], axis=1)
    painted = index.ravel() if erased is None else index[~erased]
    return Palette(colours, np.bincount(painted, minlength=len(colours)), index, erased)


def positions_of(palette: Palette, colours: Sequence[Colour]) -> Array:
    """(N,) int16: where each colour of the palette stands among these, −1 where it does not."""
    positions = np.full(len(palette.colours), -1, np.int16)
    for k, colour in enumerate(colours):
        positions[(palette.colours == colour).all(1)] = k
    return positions


def tuples(colours: Array) -> list[Colour]:
    """(N, 3) as a list of colours."""
    return [(red, green, blue) for red, green, blue in colours.tolist()]


def filling(palette: Palette) -> Array:
    """(N,) bool: which colours fill a window of 3×3 grid points, one each WINDOW of the mask's long side."""
    step = max(1, max(palette.index.shape) // WINDOW)
    index = palette.index[::step, ::step]
    rows = (index[:, 1:-1] == index[:, :-2]) & (index[:, 1:-1] == index[:, 2:])
    middle = index[1:-1, 1:-1]
    same = (middle == index[:-2, 1:-1]) & (middle == index[2:, 1:-1])
    whole = rows[:-2] & rows[1:-1] & rows[2:] & same
    filling = np.bincount(middle[whole], minlength=len(palette.colours)) > 0
    return filling & (palette.counts > 0)


def rare_colours(palette: Palette, labels: Sequence[Colour]) -> str:
    """A note of the colours that are too rare for a region and no soft edge's: somebody may have painted them.

    An edge has the mixtures of two labels, to a level, and of three in the one pixel where three meet. Of no more
    colours than a palette: a mask of more has stray ones. labels: one or more.
    """
    rare = palette.colours[(positions_of(palette, labels) < 0) & (palette.counts > 1)].astype(np.float64)
    if len(palette.colours) > PALETTE_SIZE or not len(rare):
        return ""
    ends = np.array(labels, np.float64)
    for k, start in enumerate(ends):
        ways = ends[k:] - start
        along = (rare - start) @ ways.T / np.maximum((ways**2).sum(1), 1)
        mixtures = start + along.clip(0, 1)[..., None] * ways
        rare = rare[(np.abs(rare[:, None] - mixtures).max(-1) > 1).all(1)]
    colours = tuples(rare.astype(int))
    if not colours:
        return ""
    share = palette.counts[positions_of(palette, colours) >= 0].sum() / palette.counts.sum()
    names = ", ".join(map(hex_name, colours[:MOST_NAMED])) + " …" * (len(colours) > MOST_NAMED)
    return f"{names} cover {share:.2%} of it, too little for a region, and join what is nearest"
