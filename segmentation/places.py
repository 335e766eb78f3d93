"""Names for regions of which only the place is known: words that a person can type, the same in all pictures."""

from collections.abc import Sequence

import numpy as np

from segmentation.superpixels import Array, Labels

# Down, across, and out from the centre: for so many regions, in their order.
WORDS: tuple[dict[int, tuple[str, ...]], ...] = (
    {2: ("top", "bottom"), 3: ("top", "middle", "bottom")},
    {2: ("left", "right"), 3: ("left", "centre", "right")},
    {2: ("centre", "around")},
)
# Least distance between the places of two regions whose words differ, in halves of the picture's side: a quarter of
# the side. A band of a third and the other two thirds lie twice as far apart.
APART = 0.5


def place_names(labels: Sequence[Labels]) -> tuple[str, ...]:
    """A name for each of K regions, from the label maps (h, w) of all pictures, in each of which every region is.

    "top" and "bottom", "left", "centre" and "right", … where every picture has the regions in that order and clearly
    apart; else "r1", "r2", … by number. One region alone is "all", as a picture without masks has it.
    """
    count = 1 + max(int(each.max()) for each in labels)
    if count == 1:
        return ("all",)
    places = [_places(each, count) for each in labels]
    for axis, words in enumerate(WORDS):
        order = places[0][axis].argsort()
        if count in words and all((np.diff(each[axis][order]) >= APART).all() for each in places):
            return tuple(words[count][rank] for rank in order.argsort())
    return tuple(f"r{number}" for number in range(1, count + 1))


def _places(labels: Labels, count: int) -> Array:
    """(3, K): of each region the mean row and column, −1 to 1, and the mean distance from the centre, 0 to 2."""
    height, width = labels.shape
    y = np.linspace(-1, 1, height)[:, None] + np.zeros(labels.shape)
    x = np.linspace(-1, 1, width) + np.zeros(labels.shape)
    sizes = np.bincount(labels.ravel(), minlength=count)
    of = (y, x, 2 * np.maximum(abs(x), abs(y)))
    return np.stack([np.bincount(labels.ravel(), each.ravel(), count) / sizes for each in of])
