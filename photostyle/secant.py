"""The curvature of terms that offer none, learnt from how their gradient changed between the last places.

L-BFGS in its direct form: Byrd, Nocedal & Schnabel, "Representations of Quasi-Newton Matrices and Their Use in Limited
Memory Methods" (Mathematical Programming 63, 1994), eq. 3.5.
"""

from collections import deque

import torch
from torch import Tensor

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


class Secant(Curvature):
    """Along the last changes of place it has the changes of the gradient, and elsewhere the stiffness of the latest.

    place, gradient: (3, H, W), in opponent coordinates; value: of the terms there.
    """

    def __init__(self, place: Tensor, gradient: Tensor, value: float) -> None:
        self._last = place, gradient, value
        self._pairs: deque[tuple[Tensor, Tensor]] = deque(maxlen=MEMORY)
        self._found, self._caution, self._stiffness = 0.0, 1.0, 0.0
        self._basis, self._middle = place.new_zeros(0, place.numel()), place.new_zeros(0, 0)

    def learn(self, place: Tensor, gradient: Tensor, value: float) -> None:
        """The gradient and value at another place. Where the gradient has not grown along the way no pair is kept."""
        moved, turned = place - self._last[0], gradient - self._last[1]
        self._adapt(moved, value)
        self._last = place, gradient, value
        length, turn = float(moved.norm()), float(turned.norm())
        if length > 0:
            self._found = turn / length
        if float((moved * turned).sum()) > LEAST_TURN * length * turn:
            self._pairs.append((moved.flatten(), turned.flatten()))
        least = float(gradient.norm()) / gradient.numel() ** 0.5 / LONGEST
        self._stiffness = max(self._caution * self._found, least, torch.finfo(place.dtype).tiny)
        if self._pairs:
            self._basis, self._middle = self._compact()

    def add(self, direction: Tensor, total: Tensor) -> None:
        total.add_(direction, alpha=self._stiffness)
        total -= (self._basis.T @ (self._middle @ (self._basis @ direction.flatten()))).view(direction.shape)

    def diagonal(self) -> Tensor:
        return self._last[0].new_full((1, 1, 1), self._stiffness)

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
        moved, turned = (torch.stack(each) for each in zip(*self._pairs, strict=True))
        squares, products = (moved @ moved.T).double(), (moved @ turned.T).double()
        lower, diagonal = products.tril(-1), products.diagonal().diag()
        upper_rows = torch.cat((self._stiffness * squares, lower), 1)
        lower_rows = torch.cat((lower.T, -diagonal), 1)
        inverse = torch.linalg.inv(torch.cat((upper_rows, lower_rows)))
        return torch.cat((self._stiffness * moved, turned)), inverse.to(moved)
