"""Which regions of two pictures are sure to belong together, and that the others are united."""

import numpy as np
import pytest

from segmentation.confidence import DOUBT, MIDDLE, confidences, likeness, united

EYE = np.eye(6)
NUMBERS = np.array([0, 0, 1, 1, 2, 2])  # three regions of two superpixels each
SHARES = np.full(6, 1 / 6)


def profile(*kinds: int) -> np.ndarray:
    """Deep features of three regions: the same kind of thing, the same direction."""
    return EYE[list(kinds)][NUMBERS]


def test_the_same_thing_is_likely_at_any_strength_and_its_opposite_is_not():
    one = np.array([[1.0, 2.0, 0.0]])
    found = likeness(one, np.stack([3 * one[0], -one[0], [0, 0, 1.0], [0, 0, 0]]))[0]
    assert found[0] > 0.99 and found[1] < 0.01
    assert found[2] < DOUBT and found[3] < DOUBT


def test_half_is_where_the_cosine_is_the_regression_s_middle():
    angle = np.arccos(MIDDLE)
    found = likeness(np.array([[1.0, 0.0]]), np.array([[np.cos(angle), np.sin(angle)]]))
    assert found.item() == pytest.approx(0.5)


def test_regions_of_the_same_things_are_sure_and_swapped_ones_are_not():
    same = confidences([NUMBERS] * 2, [SHARES] * 2, [profile(0, 1, 2), profile(0, 1, 2)])
    assert (same > 0.99).all()
    swapped = confidences([NUMBERS] * 2, [SHARES] * 2, [profile(0, 1, 2), profile(1, 0, 2)])
    assert (swapped[:2] == 0).all() and swapped[2] > 0.99


def test_of_several_references_the_least_counts():
    seen = [profile(0, 1, 2), profile(0, 1, 2), profile(0, 1, 3)]
    sure = confidences([NUMBERS] * 3, [SHARES] * 3, seen)
    assert (sure[:2] > 0.99).all() and sure[2] < DOUBT


def test_a_superpixel_counts_by_its_share():
    shares = np.array([0.9, 0.1, 0.25, 0.25, 0.25, 0.25])
    seen = profile(0, 1, 2)
    other = seen.copy()
    other[1] = EYE[5]  # a tenth of the first region is something else
    assert confidences([NUMBERS] * 2, [shares] * 2, [seen, other])[0] > 0.95


def test_one_picture_needs_no_partner():
    np.testing.assert_array_equal(confidences([NUMBERS], [SHARES], [profile(0, 1, 2)]), 1)


def test_doubtful_regions_are_one_rest_and_what_is_sure_stays():
    seen = [profile(0, 1, 2), profile(0, 3, 4)]
    labels, sure = united([NUMBERS] * 2, [SHARES] * 2, seen)
    for each in labels:
        np.testing.assert_array_equal(each, [0, 0, 1, 1, 1, 1])
    assert sure[0] > 0.99 and sure[1] < DOUBT


def test_where_nothing_is_sure_the_picture_is_one_region():
    labels, sure = united([NUMBERS] * 2, [SHARES] * 2, [profile(0, 1, 2), profile(3, 4, 5)])
    assert all((each == 0).all() for each in labels) and len(sure) == 1


def test_sure_regions_stay_apart():
    labels, sure = united([NUMBERS] * 2, [SHARES] * 2, [profile(0, 1, 2)] * 2)
    np.testing.assert_array_equal(labels[0], NUMBERS)
    assert len(sure) == 3
