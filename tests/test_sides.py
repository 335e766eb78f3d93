"""CIELAB against skimage's, and what is kept of a picture that is compared more than once."""

import numpy as np
import torch
from skimage.color import rgb2lab
from torch import Tensor

from photostyle.evaluation import sides
from photostyle.evaluation.artefacts import find_artefacts
from photostyle.evaluation.comparison import Comparison
from photostyle.evaluation.scores import score
from photostyle.evaluation.sides import Side, lab, reduced_lab, thin_lab
from photostyle.imaging.filters import area_average


def test_lab_is_that_of_skimage() -> None:
    # Every 17th level of each channel, so both ends; and the darkest ones, where the cube root is a line.
    levels = torch.cat((torch.arange(0, 256, 17), torch.arange(1, 12))) / 255
    colours = torch.cartesian_prod(levels, levels, levels).T[:, None].double()
    expected = rgb2lab(colours.numpy(), channel_axis=0)
    # The same formula in float64: a root of 1 to 15 digits, times 500.
    np.testing.assert_allclose(lab(colours), expected, rtol=0, atol=1e-11)


def test_a_thing_is_derived_once_for_each_argument(coffee: Tensor) -> None:
    calls = []

    def derive(side: Side, power: int) -> int:
        calls.append(power)
        return 2**power

    side = Side(coffee, torch.ones(1, *coffee.shape[1:]))
    assert [side.once(derive, power) for power in (1, 2, 1, 2)] == [2, 4, 2, 4]
    assert calls == [1, 2]


def test_a_small_picture_is_converted_once(coffee: Tensor, monkeypatch) -> None:
    masks = torch.ones(1, *coffee.shape[1:])
    small = Side(coffee, masks)
    assert small.once(reduced_lab) is small.once(thin_lab)
    monkeypatch.setattr(sides, "MOST_PIXELS", coffee[0].numel() // 2)
    large = Side(coffee, masks)
    np.testing.assert_array_equal(large.once(thin_lab), lab(coffee[:, ::2, ::2]))
    assert large.once(reduced_lab).shape == coffee.shape


def test_another_result_of_the_pair_scores_as_if_alone(coffee: Tensor, chelsea: Tensor) -> None:
    photo, style = area_average(coffee, 80, 120), area_average(chelsea, 70, 90)
    masks = [torch.rand(2, *each.shape[1:]) for each in (photo, style)]
    first = Comparison(photo * 0.9, photo, style, *masks)
    score(first), find_artefacts(first)
    second, alone = first.with_result(photo * 0.5), Comparison(photo * 0.5, photo, style, *masks)
    assert second.photo is first.photo and second.ours is not first.ours
    assert score(second) == score(alone) and find_artefacts(second) == find_artefacts(alone)
