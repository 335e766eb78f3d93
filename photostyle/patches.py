"""Style without a network: the distributions of small patches, region by region, compared by sliced Wasserstein.

A patch distribution is seen through random unit filters; along each, the optimal transport between two
one-dimensional distributions is the monotone map that carries quantile to quantile (Elnekave & Weiss, "Generating
Natural Images with Direct Patch Distributions Matching", ECCV 2022; regions and soft weights are ours).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from photostyle.filters import halve
from photostyle.mixture import Reference, mixed_samples
from photostyle.schedule import LEAST_SIDE

BINS = 2048  # of the histogram that ranks projections: a bin is 1/2048 of their range, below an 8-bit level
KNOTS = 2048  # of a style region's stored quantile function
LEAST_WEIGHT = 0.05  # a pixel with less of a region than this says nothing about it at that level

# Luma and two opponent axes, orthonormal but for the chroma's gain: photographs vary less along chroma.
CHROMA_GAIN = 2.0
OPPONENT = torch.tensor(
    [
        [1 / 3**0.5, 1 / 3**0.5, 1 / 3**0.5],
        [CHROMA_GAIN / 2**0.5, -CHROMA_GAIN / 2**0.5, 0],
        [CHROMA_GAIN / 6**0.5, CHROMA_GAIN / 6**0.5, -2 * CHROMA_GAIN / 6**0.5],
    ]
)


class PatchStyle:
    """Sliced Wasserstein-2 distance between the patches of matched regions, over pyramid levels.

    references give the targets once, several as the mixture of their patches; content_masks (K, H, W) tell where they
    apply. The smallest picture decides how many levels there are.
    Calling it with an image (3, H, W) gives sum_levels sum_k share_k W2^2 (a scalar), averaged over the drawn filters.
    """

    def __init__(
        self,
        references: Sequence[Reference],
        content_masks: Tensor,
        *,
        patch_size: int,
        levels: int,
        bank: int,
        seed: int,
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        pictures = (content_masks, *(each.image for each in references))
        usable = min(levels, *(_usable_levels(picture, patch_size) for picture in pictures))
        self.levels = [
            _Level(
                [
                    Reference(halve(each.image, level), halve(each.masks, level), each.weights)
                    for each in references
                ],
                halve(content_masks, level),
                filter_bank(bank, patch_size, generator).to(content_masks),
            )
            for level in range(usable)
        ]

    def __call__(self, image: Tensor, drawn: Sequence[Tensor]) -> Tensor:
        total: Tensor = image.new_zeros(())
        for level, indices in zip(self.levels, drawn, strict=True):
            total = total + level.distance(image, indices)
            image = halve(image)
        return total

    def draw(self, count: int, generator: torch.Generator) -> list[Tensor]:
        """Which filters of each level's bank to look through next: as many that see colours as see patches."""
        return [_draw(len(level.filters), count, generator) for level in self.levels]


def filter_bank(count: int, patch_size: int, generator: torch.Generator) -> Tensor:
    """Half the filters see a pixel's colour, half a whole patch, both in an opponent space: (count, 3, k, k).

    In 75 dimensions a random direction sees mostly contrast: a hue that occurs nowhere in the reference costs next to
    nothing along any of them (measured: green and magenta buildings). Looking at colours alone, with chroma amplified
    to the strength of luma, closes that gap.
    """
    patches = unit_filters(count - count // 2, patch_size, generator)
    colours = torch.zeros(count // 2, 3, patch_size, patch_size)
    colours[:, :, patch_size // 2, patch_size // 2] = unit_filters(count // 2, 1, generator)[:, :, 0, 0]
    return torch.einsum("ncyx,cd->ndyx", torch.cat((colours, patches)), OPPONENT).contiguous()


def unit_filters(count: int, patch_size: int, generator: torch.Generator) -> Tensor:
    """Directions drawn evenly from the unit sphere of patches: (count, 3, k, k), float32."""
    filters = torch.randn(count, 3, patch_size, patch_size, generator=generator)
    lengths: Tensor = filters.flatten(1).norm(dim=1)
    return filters / lengths[:, None, None, None]


def transport(values: Tensor, weights: Tensor, quantiles: Tensor) -> Tensor:
    """Where the optimal transport to the target carries each value, row by row.

    values (R, n), weights (n,), quantiles (R, KNOTS): the target's quantile function at even steps of [0, 1].
    Returns (R, n). The rank of a value is read from a weighted histogram: a fifth of the cost of a sort, and equal
    values stay equal, at the mean of what they stand for, where a sort would spread them arbitrarily over the target
    (grain in a flat sky).
    """
    low = values.amin(1, keepdim=True)
    width = ((values.amax(1, keepdim=True) - low) / BINS).clamp(min=1e-12)
    position = (values - low) / width
    bins = position.long().clamp(max=BINS - 1)
    within = position - bins
    mass = _histogram(bins, weights.expand_as(values))
    centre = _histogram(bins, weights * within) / mass.clamp(min=1e-12)
    cdf = F.pad(mass.cumsum(1), (1, 0)) / weights.sum()
    edges = _interpolate(quantiles, cdf)
    left, right = edges[:, :-1], edges[:, 1:]
    middle = _interpolate(quantiles, (cdf[:, 1:] + cdf[:, :-1]) / 2)
    # A bin's values stand for the target between its edges: they go to its mean (Simpson's rule), spread linearly and
    # no further than the edges, so that order is kept from bin to bin.
    mean = (left + 4 * middle + right) / 6
    slope = torch.minimum(
        (mean - left) / centre.clamp(min=1e-6), (right - mean) / (1 - centre).clamp(min=1e-6)
    )
    return (mean - slope * centre).gather(1, bins) + slope.gather(1, bins) * within


def quantile_function(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted quantiles of each row at KNOTS even steps of [0, 1]. values (R, n), weights (n,) -> (R, KNOTS)."""
    ordered, order = values.sort(dim=1)
    sorted_weights = weights[order]
    # A value stands at the middle of its own mass: symmetric, so reversing the axis reverses the function.
    ranks = (sorted_weights.cumsum(1) - sorted_weights / 2) / weights.sum()
    steps = torch.linspace(0, 1, KNOTS, dtype=values.dtype, device=values.device)
    upper = torch.searchsorted(ranks, steps.expand(len(values), -1).contiguous())
    upper = upper.clamp(1, max(1, values.shape[1] - 1)).clamp(max=values.shape[1] - 1)
    lower = (upper - 1).clamp(min=0)
    low, high = ranks.gather(1, lower), ranks.gather(1, upper)
    share = ((steps - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
    return torch.lerp(ordered.gather(1, lower), ordered.gather(1, upper), share)


class _Level:
    """One pyramid level: its filter bank and the quantile functions its regions are to reach."""

    def __init__(self, references: Sequence[Reference], content_masks: Tensor, filters: Tensor) -> None:
        self.filters = filters.contiguous(memory_format=torch.channels_last)
        patch = filters.shape[-1]
        projections = [self._project(each.image, self.filters) for each in references]
        self.regions: list[tuple[Tensor, Tensor, Tensor, float]] = []
        covered = float(content_masks.sum())
        for region, ours in enumerate(content_masks):
            where, weights = _support(ours, patch)
            parts = []
            for each, values in zip(references, projections, strict=True):
                there, their_weights = _support(each.masks[region], patch)
                if len(there):
                    parts.append((float(each.weights[region]), values[:, there], their_weights))
            if len(where) and parts:
                targets = quantile_function(*mixed_samples(parts))
                self.regions.append((where, weights, targets, float(ours.sum()) / covered))

    @staticmethod
    def _project(image: Tensor, filters: Tensor) -> Tensor:
        batch = image[None].contiguous(memory_format=torch.channels_last)
        return F.conv2d(batch, filters)[0].flatten(1)

    def distance(self, image: Tensor, drawn: Tensor) -> Tensor:
        projections = self._project(image, self.filters[drawn])
        total = image.new_zeros(())
        for where, weights, targets, share in self.regions:
            values = projections[:, where]
            with torch.no_grad():
                # The transport plan is optimal, so to first order the distance does not see it move (envelope theorem).
                goal = transport(values, weights, targets[drawn])
            total = total + share * ((values - goal).square() @ weights).mean() / weights.sum()
        return total


def _draw(bank: int, count: int, generator: torch.Generator) -> Tensor:
    colours = torch.randperm(bank // 2, generator=generator)[: count // 2]
    patches = bank // 2 + torch.randperm(bank - bank // 2, generator=generator)[: count - count // 2]
    return torch.cat((colours, patches))


def _histogram(bins: Tensor, weights: Tensor) -> Tensor:
    """Weight in each of the BINS bins, row by row. (R, n) twice -> (R, BINS)."""
    rows = torch.arange(len(bins), device=bins.device)[:, None] * BINS
    mass = weights.new_zeros(len(bins) * BINS)
    # Flat, because only the one-dimensional scatter has a deterministic form on CUDA.
    mass.scatter_add_(0, (bins + rows).flatten(), weights.flatten())
    return mass.view(len(bins), BINS)


def _interpolate(table: Tensor, at: Tensor) -> Tensor:
    """Read rows of a table spaced evenly over [0, 1] at given places, linearly. (R, n), (R, m) -> (R, m)."""
    position = at.clamp(0, 1) * (table.shape[1] - 1)
    lower = position.long().clamp(max=table.shape[1] - 2)
    return torch.lerp(table.gather(1, lower), table.gather(1, lower + 1), position - lower)


def _support(mask: Tensor, patch: int) -> tuple[Tensor, Tensor]:
    """Flat indices of the patches that a region has a say in, and how much: by the patch's centre pixel."""
    inner = mask[patch // 2 : mask.shape[0] - (patch - 1) // 2, patch // 2 : mask.shape[1] - (patch - 1) // 2]
    flat = inner.flatten()
    where = (flat > LEAST_WEIGHT).nonzero()[:, 0]
    return where, flat[where]


def _usable_levels(image: Tensor, patch_size: int) -> int:
    shorter, levels = min(image.shape[-2:]), 0
    while shorter >> levels >= max(LEAST_SIDE, patch_size):
        levels += 1
    return levels
