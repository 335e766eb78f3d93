"""Faults that were seen on photographs, as small pictures: equal things come out equal, and blank ones blank."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from photostyle.imaging.lightness import lab
from photostyle.presets import recipe
from photostyle.scene import Scene
from photostyle.solver import solve

SIZE = 64, 96
Y, X = (torch.from_numpy(each).float() for each in np.mgrid[0 : SIZE[0], 0 : SIZE[1]])


def grain(seed: int) -> Tensor:
    return 0.01 * torch.randn(3, *SIZE, generator=torch.Generator().manual_seed(seed))


def of(colour: tuple[float, float, float]) -> Tensor:
    return torch.tensor(colour)[:, None, None].expand(3, *SIZE)


def disc(y: float, x: float, radius: float) -> Tensor:
    """1 inside, with a soft edge."""
    return ((radius - ((Y - y) ** 2 + (X - x) ** 2).sqrt()).clamp(0, 1))[None]


def solved(photo: Tensor, reference: Tensor, **settings: Any) -> Tensor:
    """All of the way, as with masks that were painted."""
    chosen = recipe("patches", size=96, coarsest=96, iterations=(40,), **settings)
    *_, last = solve(Scene.of(photo.clamp(0, 1), reference.clamp(0, 1)), chosen)
    return last.image


def eyes() -> tuple[Tensor, Tensor, Callable[[Tensor], float]]:
    """Two brown eyes in a face; the reference has teal things and brown ones. How far apart the eyes come out, ΔE."""
    left, right = disc(24, 30, 6), disc(24, 66, 6)
    both = left + right
    photo = of((0.8, 0.6, 0.5)) * (1 - both) + of((0.35, 0.2, 0.1)) * both + 0.1 * (Y / 64 - 0.5) + grain(0)
    teal, brown = disc(20, 20, 9), disc(44, 70, 9)
    there = (
        of((0.7, 0.65, 0.6)) * (1 - teal - brown) + of((0.1, 0.5, 0.5)) * teal + of((0.4, 0.2, 0.1)) * brown
    )

    def apart(image: Tensor) -> float:
        colours = lab(image)
        means = [(colours * each).sum((1, 2)) / each.sum() for each in (left, right)]
        return float((means[0] - means[1]).norm())

    return photo, there + grain(1), apart


def sky() -> tuple[Tensor, Tensor, Callable[[Tensor], float]]:
    """A blank sky that darkens downwards; the reference's is orange and blue. How far hue strays within a row, ΔE."""
    photo = of((0.75, 0.77, 0.8)) - 0.15 * Y / 64 + grain(2)
    cloud = torch.sigmoid((X - 48 + 10 * torch.sin(Y / 6)) / 6)
    there = of((0.95, 0.6, 0.35)) * (1 - cloud) + of((0.45, 0.55, 0.8)) * cloud - 0.1 * Y / 64 + grain(3)

    def strays(image: Tensor) -> float:
        smooth = torch.nn.functional.avg_pool2d(image[None], 8)[0]
        return float(lab(smooth)[1:].std(2).mean())

    return photo, there, strays


@pytest.mark.slow  # by default test_consistency has what the term does
@pytest.mark.parametrize("fault", [eyes, sky], ids=["one eye teal, one brown", "tints in a blank sky"])
def test_equal_colours_come_out_more_alike_than_without_consistency(fault: Callable[[], Any]) -> None:
    photo, reference, measured = fault()
    without = measured(solved(photo, reference, consistency_weight=0.0))
    found = measured(solved(photo, reference))
    held = measured(solved(photo, reference, consistency_bold=1.0))
    # Seen: eyes 60, 19 and 22 ΔE apart; a sky that strays by 5.1, 3.5 and 1.9 ΔE.
    assert found < 0.8 * without and held < 0.5 * without
