"""How much of what a network sees in the photo it still sees in the result."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from photostyle.errors import PhotostyleError

LIKELIEST = 5  # ImageNet is judged by five guesses (Russakovsky et al., IJCV 2015)


@dataclass(frozen=True)
class Retention:
    """What of a photo's class distribution another picture keeps.

    kept: 1 − divergence: 1 for the same distribution, 0 where no class has a share in both.
    divergence: Jensen-Shannon divergence of the two distributions (Lin, IEEE Trans. Inf. Theory 1991) in bits, 0 to 1.
    shared, of: how many of the photo's `of` likeliest classes are among the other's. same: whether the first is.
    """

    kept: float
    divergence: float
    shared: int
    of: int
    same: bool

    @property
    def overlap(self) -> float:
        """The part of the photo's likeliest classes that are among the other's, 0 to 1."""
        return self.shared / self.of


def retention(content: Tensor, other: Tensor) -> Retention:
    """Of two distributions (classes,), float64, of one network: the photo's and its result's, or any other's."""
    if content.ndim != 1 or content.shape != other.shape:
        raise PhotostyleError(
            f"distributions of {tuple(content.shape)} and {tuple(other.shape)} classes; give two of one network"
        )
    divergence = jensen_shannon(content, other)
    count = min(LIKELIEST, len(content))
    ours, theirs = (set(_order(each)[:count]) for each in (content, other))
    return Retention(
        kept=1 - divergence,
        divergence=divergence,
        shared=len(ours & theirs),
        of=count,
        same=_order(content)[0] == _order(other)[0],
    )


def jensen_shannon(p: Tensor, q: Tensor) -> float:
    """The entropy of the mean of two distributions less the mean of their entropies, in bits: 0 to 1."""
    mean = (p.double() + q.double()) / 2
    bits = (_entropy(mean) - (_entropy(p) + _entropy(q)) / 2) / math.log(2)
    return min(1.0, max(0.0, bits))  # rounding can leave it a little outside


def _entropy(p: Tensor) -> float:
    """In nats."""
    entropy: float = torch.special.entr(p.double()).sum().item()
    return entropy


def _order(probabilities: Tensor) -> list[int]:
    order: list[int] = probabilities.argsort(descending=True, stable=True).tolist()
    return order
