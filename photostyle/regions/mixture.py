"""What regions take their style from: one reference, or several in a mixture of their distributions.

Region k's target is sum_r weights_r,k p_r,k: p_r,k is the distribution of whatever is compared (colours, patches,
products of features) over region k of reference r, and the weights of a region sum to 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from photostyle.errors import PhotostyleError

Each = TypeVar("Each")
Moments = tuple[np.ndarray, np.ndarray]  # mean (3,), covariance (3, 3), float64


@dataclass(frozen=True, eq=False)
class Reference:
    """One picture among those that style is taken from.

    image: (3, h, w), sRGB in [0, 1]. masks: (K, h, w), its part for each content region, zero where it gives none.
    weights: (K,) float64 in [0, 1], its weight in each region's mixture: 1 where it is alone, 0 where it gives nothing.
    """

    image: Tensor
    masks: Tensor
    weights: Tensor


@dataclass(frozen=True, eq=False)
class Anchor:
    """The photo through the closed-form maps of its regions, near which a region stays as far as it is not bold.

    image: (3, H, W), sRGB in [0, 1]. masks: (K, H, W), the content's regions. boldness: (K,) float64 in [0, 1]: where
    a region's target lies on the way from the distribution that it has in this picture, 0, to the references', 1.
    """

    image: Tensor
    masks: Tensor
    boldness: Tensor


def only(references: Sequence[Each]) -> Each:
    """The one there is. Raises PhotostyleError where there are several: nothing takes the first of them silently."""
    if len(references) != 1:
        raise PhotostyleError(f"there are {len(references)} references where one is expected; give one")
    return references[0]


def alone(image: Tensor, masks: Tensor) -> tuple[Reference]:
    """One reference that gives every region. image (3, h, w), masks (K, h, w)."""
    return (Reference(image, masks, torch.ones(len(masks), dtype=torch.float64)),)


def weighted_moments(values: np.ndarray, weights: np.ndarray) -> Moments:
    """Mean and covariance of colours (3, n) with weights (n,). An empty region's are 0: it changes nothing anywhere."""
    total = max(weights.sum(), np.finfo(np.float64).tiny)
    mean = values @ weights / total
    centred = values - mean[:, None]
    return mean, (centred * weights) @ centred.T / total


def mixed_moments(parts: Sequence[tuple[float, Moments]]) -> Moments:
    """Mean and covariance of a mixture, whose weights sum to 1, from those of its parts.

    The covariance is that within the parts and that between their means: the law of total covariance.
    """
    mean = sum(weight * of for weight, (of, _) in parts)
    within = sum(weight * of for weight, (_, of) in parts)
    between = sum(weight * np.outer(of - mean, of - mean) for weight, (of, _) in parts)
    return np.asarray(mean), np.asarray(within + between)


def mixed_samples(parts: Sequence[tuple[float, Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Samples of a mixture: values (R, n) and weights (n,) of each part, with the part's own weight in front.

    Every part counts by its own weight, however many samples it has. A part alone stays as it is.
    """
    if len(parts) == 1:
        return parts[0][1:]
    weights = [share * each / each.sum() for share, _, each in parts]
    return torch.cat([values for _, values, _ in parts], 1), torch.cat(weights)
