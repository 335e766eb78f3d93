"""Regions have names of their places that a person can type, the same in all pictures."""

import re

import numpy as np
import pytest

from segmentation.places import place_names

ROWS, COLUMNS = np.arange(30)[:, None] + np.zeros((30, 40), int), np.arange(40) + np.zeros((30, 40), int)
BANDS = np.minimum(ROWS // 10, 2).astype(int)
SIDES = (COLUMNS >= 20).astype(int)
DISC = (np.hypot(ROWS - 15, COLUMNS - 20) < 9).astype(int)


@pytest.mark.parametrize(
    ("maps", "names"),
    [
        ([ROWS >= 15], ("top", "bottom")),
        ([ROWS < 15], ("bottom", "top")),  # the second is above the first
        ([BANDS], ("top", "middle", "bottom")),
        ([SIDES], ("left", "right")),
        ([np.minimum(COLUMNS // 13, 2)], ("left", "centre", "right")),
        ([DISC], ("around", "centre")),
        ([ROWS >= 10, ROWS >= 20], ("top", "bottom")),
        ([ROWS >= 15, ROWS < 15], ("r1", "r2")),  # the pictures do not agree
        ([ROWS >= 15, SIDES], ("r1", "r2")),
        ([(ROWS // 15) * 2 + COLUMNS // 20], ("r1", "r2", "r3", "r4")),
        ([np.zeros((30, 40), int)], ("all",)),
    ],
)
def test_a_name_says_where_a_region_lies(maps, names):
    assert place_names([np.asarray(each, int) for each in maps]) == names


def test_names_differ_and_need_no_quotes():
    random = np.random.default_rng(0)
    for count in range(2, 7):
        maps = [random.integers(0, count, (30, 40)) for _ in range(2)]
        names = place_names(maps)
        assert len(set(names)) == count and all(re.fullmatch("[a-z0-9-]+", name) for name in names)
