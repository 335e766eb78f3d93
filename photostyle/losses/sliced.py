"""Sliced Wasserstein distance between what matched regions of two pictures look like through random directions.

Along one direction the optimal transport between two distributions is the monotone map that carries quantile to
quantile (Rabin et al., "Wasserstein Barycenter and its Application to Texture Mixing", SSVM 2011). What is projected,
patches or responses of filters, is the caller's business.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Generic, Literal, Protocol, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from photostyle.bounds import AtLeast, Between
from photostyle.files.checkpoints import State
from photostyle.imaging.filters import halve
from photostyle.kernels import transport as kernels
from photostyle.kernels.compiler import in_parts, usable
from photostyle.regions.mixture import Anchor, Reference, mixed_samples

# Of the histogram that ranks projections: one bin is 1/2048 of their range, less than an 8-bit level.
BINS = 2048
KNOTS = 2048  # of a style region's stored quantile function
# A pixel that belongs less than this to a region says nothing about it at that level.
LEAST_WEIGHT = 0.05
# Pixels of a region whose ranks are enough for a histogram: the goals of all others are read from it. From every fourth
# of 217,000 pixels residuals differ by 0.4 %.
RANKED = 50_000
AT_ONCE = 16  # directions of a bank through which a reference is looked at together
FINE_BINS = 8192  # of the histogram that a style region's quantiles are read from: a quarter of a rank's bin
MANY = 4 * FINE_BINS  # values from which that is done: four to a bin


@dataclass(frozen=True)
class SlicedSettings:
    """What the terms that compare distributions share."""

    patch_levels: Annotated[int, AtLeast(1)] = 5
    """most pyramid levels of patches and texture, each half the one before"""
    # Each filter takes the same time and memory at every pixel: 4096 of them are 40 times the default's.
    patch_bank: Annotated[int, Between(1, 4096)] = 96
    """random filters of each level, and directions along which texture is seen"""
    optimiser: Literal["mm", "adam", "lbfgs"] = "mm"
    """majorise-minimise (fewest seconds), Adam (clamped to [0, 1] after each step) or L-BFGS without line search, as
    released"""
    seed: Annotated[int, Between(0, 2**32 - 1)] = 612
    """seed of every random draw (neuralstyle_seg.lua: 612)"""


class Drawing:
    """Other directions at every call; under L-BFGS, which compares gradients of successive steps, always the same.

    They are drawn on the CPU, so that a seed means the same everywhere, and indexed with on the device.
    """

    def __init__(
        self,
        recipe: SlicedSettings,
        draw: Callable[[torch.Generator], list[Tensor]],
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self._draw, self._device = draw, device
        self._generator = torch.Generator().manual_seed(seed)
        self._fixed = self._drawn() if recipe.optimiser == "lbfgs" else None

    def __call__(self) -> list[Tensor]:
        return self._drawn() if self._fixed is None else self._fixed

    def state(self) -> dict[str, State]:
        """Where the generator is."""
        return {"generator": self._generator.get_state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put the generator where `state` found it."""
        self._generator.set_state(state["generator"].cpu())

    def _drawn(self) -> list[Tensor]:
        return [each.to(self._device, non_blocking=True) for each in self._draw(self._generator)]


@dataclass(frozen=True, eq=False)
class Samples:
    """A reference seen through all directions: projections (R, h w), weights of its pixels in each region (K, h, w)."""

    projections: Tensor
    weights: Tensor
    mixture: Tensor  # (K,) in [0, 1]: the reference's own weight in each region's mixture


@dataclass(frozen=True, eq=False)
class Kept:
    """What the regions hold on to: the anchor through directions (`Samples` of it), and how bold each region is."""

    seen: Callable[[slice], Samples]
    boldness: Sequence[float]


def goals_of(
    seen: Callable[[slice], Sequence[Samples]], directions: int, regions: int, kept: Kept | None = None
) -> list[Tensor | None]:
    """The quantile functions (R, KNOTS) that each of K regions is to reach; None where no reference has pixels.

    seen: the references through some of the R directions. A few are looked through at a time: all responses of a bank
    to a reference at 2048 px would take a gigabyte. Where a region is not entirely bold its goal lies on the shortest
    way from what it keeps to the references: in one dimension quantiles move along straight lines (McCann, "A Convexity
    Principle for Interacting Gases", Advances in Mathematics 128, 1997).
    """
    parts = []
    for first in range(0, directions, AT_ONCE):
        some = slice(first, first + AT_ONCE)
        references, own = seen(some), None if kept is None else [kept.seen(some)]
        goals = [_goal(references, region) for region in range(regions)]
        if own is not None and kept is not None:
            goals = [_between(_goal(own, k), goal, kept.boldness[k]) for k, goal in enumerate(goals)]
        parts.append(goals)
    return [
        None if each[0] is None else torch.cat([goal for goal in each if goal is not None])
        for each in zip(*parts, strict=True)
    ]


def _between(own: Tensor | None, goal: Tensor | None, boldness: float) -> Tensor | None:
    """A quantile function on the way from one to another; the other where there is no such way."""
    return goal if own is None or goal is None or boldness == 1 else torch.lerp(own, goal, boldness)


def _goal(references: Sequence[Samples], region: int) -> Tensor | None:
    parts = []
    for each in references:
        there, theirs = _support(each.weights[region])
        if len(there):
            parts.append((float(each.mixture[region]), each.projections[:, there], theirs))
    return quantile_function(*mixed_samples(parts)) if parts else None


@dataclass(frozen=True, eq=False)
class _Region:
    """A region of the picture that has a goal. n pixels of h w."""

    where: Tensor  # (n,) int32: flat indices
    weights: Tensor  # (n,): how much each counts in the region
    asked: Tensor  # (n,): how much its distance from the goal counts
    goals: Tensor  # (R, KNOTS)
    share: float
    total: float  # of the weights


class SlicedRegions:
    """Mean over drawn directions of sum_k share_k W2^2(region k of the picture, region k of the references).

    weights (K, h, w): how much each pixel counts in each region. goals, shares: K of each, as `goals_of` gives them.
    care (K, h, w) in [0, 1]: how much the distance of each pixel from its goal counts. It does not move the goals: a
    pixel of little care keeps its rank among the others. A region without pixels, in the picture or in all references,
    is left out.
    """

    def __init__(
        self,
        weights: Tensor,
        goals: Sequence[Tensor | None],
        shares: Sequence[float],
        care: Tensor | None = None,
    ) -> None:
        self.size = weights.shape[1:]
        self.regions: list[_Region] = []
        for region, (ours, goal, share) in enumerate(zip(weights, goals, shares, strict=True)):
            where, here = _support(ours)
            asked = here if care is None else here * care[region].flatten()[where]
            if len(where) and goal is not None:
                self.regions.append(_Region(where.int(), here, asked, goal, share, float(here.sum())))

    def __call__(self, projections: Tensor, drawn: Tensor) -> Tensor:
        """projections (D, h w) of the picture through the directions drawn (D,) -> scalar."""
        if projections.shape != (len(drawn), self.size.numel()):
            # Kernels do not look where they read.
            raise ValueError(
                f"projections {tuple(projections.shape)}; expected {(len(drawn), self.size.numel())}"
            )
        if usable(projections):
            return _Distance.apply(projections, self, drawn)  # type: ignore[no-any-return]
        total = projections.new_zeros(())
        for each in self.regions:
            values = projections[:, each.where]
            with torch.no_grad():
                # The transport plan is optimal, so to first order the distance does not see it move (envelope theorem).
                goal = transport(values, each.weights, each.goals[drawn])
            total = total + each.share * ((values - goal).square() @ each.asked).mean() / each.total
        return total

    def curvature(self) -> Tensor:
        """Half of what the distance's second derivative is in each pixel's projection, at most: (h, w).

        With goals held fixed the distance is sum_i c_i mean_d (p_d,i - goal_d,i)^2: c is returned.
        """
        curvature = torch.zeros(self.size.numel())
        for each in self.regions:
            curvature.index_add_(0, each.where.cpu(), each.asked.cpu().float() * each.share / each.total)
        return curvature.view(self.size)


class _Distance(torch.autograd.Function):
    """The distance and, in the same passes over the pixels, its gradient with the goals held fixed."""

    @staticmethod
    def forward(ctx: Any, projections: Tensor, regions: SlicedRegions, drawn: Tensor) -> Tensor:
        values = projections.contiguous()
        gradient, sums = torch.zeros_like(values), torch.zeros(len(values))
        for each in regions.regions:
            arrays = [t.numpy() for t in (values, each.where, each.weights, each.asked, each.goals[drawn])]
            scale = each.share / each.total / len(values)
            step = max(1, len(each.where) // RANKED)
            rest = scale, BINS, step, gradient.numpy(), sums.numpy()
            in_parts(partial(kernels.residuals, *arrays, *rest), len(values))
        ctx.save_for_backward(gradient)
        return sums.sum()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradients[0] * gradient, None, None


class Level(Protocol):
    """One level of a pyramid: the distance of an image of its size along the drawn directions of its bank."""

    def distance(self, image: Tensor, drawn: Tensor) -> Tensor: ...


Levels = TypeVar("Levels", bound=Level)


class SlicedPyramid(Generic[Levels]):
    """The sum of its levels' distances, fine to coarse, each level half the one before."""

    levels: Sequence[Levels]

    def __call__(self, image: Tensor, drawn: Sequence[Tensor]) -> Tensor:
        """image (3, H, W), directions drawn at each level -> scalar."""
        # Where no level is left there still is a gradient, of zeros.
        total: Tensor = 0 * image.sum()
        for level, indices in zip(self.levels, drawn, strict=True):
            total = total + level.distance(image, indices)
            image = halve(image)
        return total


def halved(references: Iterable[Reference], level: int) -> list[Reference]:
    """The references as they are at a level of the pyramid: images and masks halved so many times."""
    return [Reference(halve(r.image, level), halve(r.masks, level), r.weights) for r in references]


def halved_anchor(anchor: Anchor | None, level: int) -> Anchor | None:
    """The same of what regions hold on to."""
    return (
        None
        if anchor is None
        else Anchor(halve(anchor.image, level), halve(anchor.masks, level), anchor.boldness)
    )


def usable_levels(pictures: Iterable[Tensor], least: int) -> int:
    """Levels whose shorter side, in the smallest of the pictures (C, H, W), has at least so many pixels."""
    shorter, levels = min(side for picture in pictures for side in picture.shape[-2:]), 0
    while shorter >> levels >= least:
        levels += 1
    return levels


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
    at = low + width * torch.arange(BINS + 1, device=values.device)
    edges = at.clamp(*_bounds(quantiles, cdf))
    left, right = edges[:, :-1], edges[:, 1:]
    # A bin's values stand for the target between its edges: its mean goes to the target's there, and they are spread
    # linearly and no further than the edges go, so that order is kept from bin to bin.
    mean = (at[:, :-1] + width * centre).clamp(*_mean_bounds(quantiles, cdf))
    slope = torch.minimum(
        (mean - left) / centre.clamp(min=1e-6), (right - mean) / (1 - centre).clamp(min=1e-6)
    ).clamp(min=0)
    return (mean - slope * centre).gather(1, bins) + slope.gather(1, bins) * within


def _bounds(quantiles: Tensor, ranks: Tensor) -> tuple[Tensor, Tensor]:
    """The knots on either side of ranks in [0, 1]: (R, KNOTS), (R, m) -> (R, m) twice."""
    cells = (ranks.clamp(0, 1) * (quantiles.shape[1] - 1)).long().clamp(max=quantiles.shape[1] - 2)
    return quantiles.gather(1, cells), quantiles.gather(1, cells + 1)


def _mean_bounds(quantiles: Tensor, ranks: Tensor) -> tuple[Tensor, Tensor]:
    """What the means of a quantile function over successive ranks (R, m + 1) are between: (R, m) twice.

    Riemann's lower and upper sums over its knots. They are far apart only where it jumps between two knots.
    """
    places = ranks.double().clamp(0, 1) * (quantiles.shape[1] - 1)
    cells = places.long().clamp(max=quantiles.shape[1] - 2)
    lengths = places.diff(dim=1)
    bounds = []
    for heights, nearest in zip(
        (quantiles[:, :-1], quantiles[:, 1:]), _bounds(quantiles, ranks), strict=True
    ):
        sums = F.pad(heights.double().cumsum(1), (1, 0))
        reached = sums.gather(1, cells) + (places - cells) * heights.double().gather(1, cells)
        mean = reached.diff(dim=1) / lengths.clamp(min=1e-12)
        alone = cells[:, :-1] == cells[:, 1:]
        bounds.append(torch.where(alone, nearest[:, :-1], mean.to(quantiles)))
    return bounds[0], bounds[1]


def quantile_function(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted quantiles of each row at KNOTS even steps of [0, 1]. values (R, n), weights (n,) -> (R, KNOTS)."""
    if usable(values, weights):
        return _compiled_quantiles(values, weights)
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


def _compiled_quantiles(values: Tensor, weights: Tensor) -> Tensor:
    """The same by kernels. Where values are many, one bin of a histogram holds several, and no sort is needed."""
    # Ranked as the pictures are that are to reach it; the ends are those of all values.
    lowest, highest = values.amin(1), values.amax(1)
    step = max(1, values.shape[1] // RANKED)
    values, weights = values[:, ::step].contiguous(), weights[::step].contiguous()
    found = torch.empty(len(values), KNOTS)
    arrays = values.numpy(), weights.numpy(), found.numpy()

    def work(first: int, end: int) -> None:
        rows, weight, out = arrays
        if values.shape[1] >= MANY:
            kernels.quantiles(rows, weight, FINE_BINS, out, first, end)
            return
        order = np.argsort(rows[first:end], axis=1)
        kernels.sorted_quantiles(rows[first:end], order, weight, out[first:end], 0, end - first)

    in_parts(work, len(values))
    found[:, 0], found[:, -1] = lowest, highest
    return found


def _support(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Flat indices of the pixels that a region has a say in, and how much. (h, w) -> (n,), (n,)."""
    flat = weights.flatten()
    where = (flat > LEAST_WEIGHT).nonzero()[:, 0]
    return where, flat[where]


def _histogram(bins: Tensor, weights: Tensor) -> Tensor:
    """Weight in each of the BINS bins, row by row. (R, n) twice -> (R, BINS)."""
    rows = torch.arange(len(bins), device=bins.device)[:, None] * BINS
    mass = weights.new_zeros(len(bins) * BINS)
    # Flat, because only the one-dimensional scatter has a deterministic form on CUDA.
    mass.scatter_add_(0, (bins + rows).flatten(), weights.flatten())
    return mass.view(len(bins), BINS)
