"""Grey and two axes of opponent colours: the axes on which what the terms weigh falls apart.

Photographs vary most along grey, and its variation is hardly correlated with that of the other two: Buchsbaum &
Gottschalk, "Trichromacy, opponent colours coding and optimum colour information transmission" (Proc. R. Soc. B, 1983).
"""

import torch
from torch import Tensor

# Orthonormal rows: (R + G + B) / sqrt 3, (R - G) / sqrt 2, (R + G - 2 B) / sqrt 6.
AXES = torch.tensor(
    [
        [1 / 3**0.5, 1 / 3**0.5, 1 / 3**0.5],
        [1 / 2**0.5, -1 / 2**0.5, 0],
        [1 / 6**0.5, 1 / 6**0.5, -2 / 6**0.5],
    ]
)


def to_opponent(image: Tensor) -> Tensor:
    """From R, G and B to the opponent axes: a rotation. (3, H, W) -> (3, H, W)."""
    return (AXES.to(image) @ image.flatten(1)).view(image.shape)


def from_opponent(image: Tensor) -> Tensor:
    """The way back. (3, H, W) -> (3, H, W)."""
    return (AXES.to(image).T @ image.flatten(1)).view(image.shape)
