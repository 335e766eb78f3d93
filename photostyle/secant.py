"""The curvature of terms that offer none, learnt from how their gradient changed between the last places.

L-BFGS in its direct form: Byrd, Nocedal & Schnabel, "Representations of Quasi-Newton Matrices and Their Use in Limited
Memory Methods" (Mathematical Programming 63, 1994), eq. 3.5.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from photostyle.imaging.filters import add_doubled, halve
from photostyle.losses.curvature import Curvature

MEMORY = 8  # changes of the gradient that are remembered
# The cosine between a change of place and that of the gradient from which it is believed: in float32 the sums over a
# picture's pixels have this error.
LEAST_TURN = 1e-4
# Where the terms rise by more than the model said it is made stiffer, else slowly less so (Levenberg 1944, Marquardt
# 1963), but never less than what was found. Measured: without it Gram matrices are overshot, and edges tear.
STIFFER, LOOSER = 2.0, 0.7
STIFFEST = 1e3
# Of the image's range, at each pixel: the longest step that these terms would take by themselves.
LONGEST = 0.1


BANDS = 5  # octaves that have a stiffness of their own; the last one has all that is coarser


class Secant(Curvature):
    """Along the last changes of place it has the changes of the gradient, and elsewhere the stiffness of the latest.

    That is taken by channel and by octave, because a network's features are stiff where pictures are fine and soft
    where a whole sky changes its colour.

    place, gradient: (3, H, W), in opponent coordinates; value: of the terms there.
    """

    def __init__(self, place: Tensor, gradient: Tensor, value: float) -> None:
        self._last = place, gradient, value
        self._pairs: deque[tuple[Tensor, Tensor]] = deque(maxlen=MEMORY)
        self._caution, self._found = 1.0, place.new_zeros(BANDS, 3, 1, 1)
        self._stiffness = self._found
        self._basis, self._middle = place.new_zeros(0, place.numel()), place.new_zeros(0, 0)

    def learn(self, place: Tensor, gradient: Tensor, value: float) -> None:
        """The gradient and value at another place. Where the gradient has not grown along the way no pair is kept."""
        moved, turned = place - self._last[0], gradient - self._last[1]
        self._adapt(moved, value)
        self._last = place, gradient, value
        length, turn = float(moved.norm()), float(turned.norm())
        if length > 0:
            # What is stiffer than the whole has its turn from other octaves, in which the place changed more.
            self._found = stiffness_by_band(moved, turned).clamp(max=turn / length)
        if float((moved * turned).sum()) > LEAST_TURN * length * turn:
            self._pairs.append((moved, turned))
        least = float(gradient.norm()) / gradient.numel() ** 0.5 / LONGEST
        self._stiffness = (self._caution * self._found).clamp(min=max(least, torch.finfo(place.dtype).tiny))
        if self._pairs:
            self._basis, self._middle = self._compact()

    def state(self) -> dict[str, Any]:
        """All that it has learnt."""
        return {
            "last": self._last,
            "pairs": list(self._pairs),
            "caution": self._caution,
            "found": self._found,
            "stiffness": self._stiffness,
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> "Secant":
        """The one that `state` was of."""
        secant = cls(*state["last"])
        secant._pairs.extend(state["pairs"])
        secant._caution, secant._found = state["caution"], state["found"]
        secant._stiffness = state["stiffness"]
        if secant._pairs:
            secant._basis, secant._middle = secant._compact()
        return secant

    def add(self, direction: Tensor, total: Tensor) -> None:
        total += self._elsewhere(direction)
        total -= (self._basis.T @ (self._middle @ (self._basis @ direction.flatten()))).view(direction.shape)

    def diagonal(self) -> Tensor:
        # Three of four numbers of a picture are of its finest octave.
        return self._stiffness[0]

    def _elsewhere(self, direction: Tensor) -> Tensor:
        """The direction with every octave times its stiffness."""
        return from_bands([s * band for s, band in zip(self._stiffness, bands(direction), strict=True)])

    def _adapt(self, moved: Tensor, value: float) -> None:
        """Compare the terms' value after a step with what the model said of it."""
        if not self._pairs:
            return
        bent = torch.zeros_like(moved)
        self.add(moved, bent)
        expected = self._last[2] + float(((self._last[1] + bent / 2) * moved).sum())
        self._caution *= STIFFER if value > expected else LOOSER
        self._caution = min(max(self._caution, 1.0), STIFFEST)

    def _compact(self) -> tuple[Tensor, Tensor]:
        """W (2m, n) and M (2m, 2m) of stiffness - W^T M W; M through float64, being the inverse of a poor matrix."""
        moved = torch.stack([each.flatten() for each, _ in self._pairs])
        turned = torch.stack([each.flatten() for _, each in self._pairs])
        elsewhere = torch.stack([self._elsewhere(each).flatten() for each, _ in self._pairs])
        squares, products = (moved @ elsewhere.T).double(), (moved @ turned.T).double()
        lower, diagonal = products.tril(-1), products.diagonal().diag()
        upper_rows = torch.cat((squares, lower), 1)
        lower_rows = torch.cat((lower.T, -diagonal), 1)
        inverse = torch.linalg.inv(torch.cat((upper_rows, lower_rows)))
        return torch.cat((elsewhere, turned)), inverse.to(moved)


def bands(image: Tensor) -> list[Tensor]:
    """An image in octaves, orthogonal to each other: Haar's. (C, H, W) -> BANDS, each half the one before.

    What a halving drops, an odd last row or column, is of the finer octave.
    """
    octaves = []
    for _ in range(BANDS - 1):
        if min(image.shape[-2:]) < 2:
            octaves.append(image)
            image = image.new_zeros(len(image), 0, 0)
            continue
        small = halve(image)
        rest = image.clone()
        add_doubled(-4 * small, rest)
        octaves.append(rest)
        image = small
    return [*octaves, image]


def from_bands(octaves: list[Tensor]) -> Tensor:
    """The image again."""
    image = octaves[-1]
    for octave in reversed(octaves[:-1]):
        whole = octave.clone()
        if image.numel():
            add_doubled(4 * image, whole)
        image = whole
    return image


def stiffness_by_band(moved: Tensor, turned: Tensor) -> Tensor:
    """|change of the gradient| / |change of place| in each octave and channel: (BANDS, 3, 1, 1)."""
    pairs = zip(bands(moved), bands(turned), strict=True)
    tiny = torch.finfo(moved.dtype).tiny
    ratios = [b.flatten(1).norm(dim=1) / a.flatten(1).norm(dim=1).clamp(min=tiny) for a, b in pairs]
    return torch.stack(ratios)[:, :, None, None]
