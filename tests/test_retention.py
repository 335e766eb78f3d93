"""How much of one distribution another keeps: SciPy's divergence, its bounds, and the likeliest classes in both."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from photostyle.errors import PhotostyleError
from photostyle.recognition.retention import jensen_shannon, retention


def drawn(seed: int, classes: int, sharpness: float) -> torch.Tensor:
    logits = np.random.default_rng(seed).normal(0, sharpness, classes)
    return torch.from_numpy(logits).softmax(0)


@given(st.integers(0, 2**16), st.integers(1, 1000), st.floats(0, 50))
def test_the_divergence_is_scipys(seed, classes, sharpness):
    p, q = (drawn(seed + number, classes, sharpness) for number in (0, 1))
    found = jensen_shannon(p, q)
    # SciPy gives the root, to which a rounding of 1e-15 in the square is 3e-8.
    with np.errstate(invalid="ignore"):
        expected = np.nan_to_num(jensenshannon(p.numpy(), q.numpy(), base=2)) ** 2
    assert found == pytest.approx(expected, abs=1e-12)
    assert 0 <= found <= 1 and found == pytest.approx(jensen_shannon(q, p), abs=1e-15)


def test_the_same_keeps_all_and_what_shares_nothing_keeps_nothing():
    p = torch.tensor([0.5, 0.3, 0.2, 0.0])
    same = retention(p, p)
    assert (same.kept, same.divergence, same.overlap, same.same) == (1, 0, 1, True)
    apart = retention(*torch.tensor([[0.5, 0.5, 0, 0], [0, 0, 0.9, 0.1]], dtype=torch.float64))
    assert (apart.kept, apart.divergence, apart.same) == (pytest.approx(0), pytest.approx(1), False)


def test_half_of_the_mass_moved_away():
    """p = (1, 0), q = (½, ½): H(¾, ¼) − ½ bits = 0.3113 by hand."""
    found = retention(torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.5]))
    assert found.divergence == pytest.approx(2 - 0.75 * np.log2(3) - 0.5)


def test_the_five_likeliest_are_counted_whatever_their_order():
    content = torch.tensor([9.0, 8, 7, 6, 5, 4, 3, 2, 1, 0]) / 45
    other = torch.tensor([5.0, 6, 7, 0, 1, 9, 8, 2, 3, 4]) / 45  # its five: 5, 6, 2, 1, 0
    found = retention(content, other)
    assert (found.shared, found.of, found.overlap, found.same) == (3, 5, 0.6, False)


def test_of_fewer_classes_than_five_all_count():
    found = retention(torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.1, 0.2, 0.7]))
    assert (found.shared, found.of) == (3, 3)


def test_distributions_of_two_networks_are_refused():
    with pytest.raises(PhotostyleError, match=r"\(3,\) and \(4,\) classes; give two of one network"):
        retention(torch.full((3,), 1 / 3), torch.full((4,), 1 / 4))
