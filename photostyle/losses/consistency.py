"""Consistency: colours that are equal in a region of the photo are equal in the result (ours).

A stain is one colour of the photo sent to many. So what no smooth map of a region's colours explains costs. Such a map
is affine in CIELAB with radial bumps beside it, and may drift linearly across the picture, as light does. It is fitted
on a small copy, because stains are slow: what is fast is the photorealism term's. What the closed form leaves of the
photo as it was is no stain.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from photostyle.bounds import Share
from photostyle.imaging.filters import halve, size_of
from photostyle.imaging.lightness import lab
from photostyle.imaging.opponent import to_opponent
from photostyle.losses.curvature import Curvature, add_through_pyramid, pyramid_diagonal
from photostyle.losses.encoders import Features
from photostyle.losses.term import Term
from photostyle.scene import Scene, Stage

SIDE = 128  # pixels: the photo is halved until its long side is at most that, or its short one is a pixel
# ΔE: standard deviation of a bump and the least distance of two. Colours that far apart are treated independently.
REACH = 15.0
BUMPS = 24  # of a region at most: twelve photographs have 5 to 24 colours that far apart
# Of the greatest eigenvalue of a basis's Gram matrix: directions with less are linear combinations of the others, but
# for rounding.
LEAST_EIGENVALUE = 1e-5
CHROMA = 100.0  # CIELAB units, so that colours are of the order of the bumps


@dataclass(frozen=True)
class ConsistencySettings:
    """Settings of the consistency term."""

    consistency_weight: float = 40.0
    """consistency: what no smooth map of a region's colours explains, in proportion to how far it is held back"""
    # Of the published pairs' means 0.006 takes 12 % off drift16 and puts 2 % on colour; twice that, 17 % and 3 %.
    consistency_bold: Share = 0.006
    """share of that weight where a region is entirely bold; between, in proportion"""
    consistency_luma: Share = 0.3
    """share of the consistency's weight that brightness has, 0 to 1: light may fall otherwise, hues may not stain"""


class Consistency(Term):
    """Mean squared residual of an image's change after the best smooth map of each region's colours is taken off."""

    name = "consistency"
    weights = ("consistency_weight",)

    def __init__(
        self, recipe: ConsistencySettings, stage: Stage, scene: Scene, encoder: Features | None
    ) -> None:
        photo, masks, self.halvings = scene.content, scene.content_masks, 0
        while max(size_of(photo)) > SIDE and min(size_of(photo)) > 1:
            photo, masks, self.halvings = halve(photo), halve(masks), self.halvings + 1
        self.kept = halve(scene.kept, self.halvings)
        bold = torch.ones(len(masks)) if scene.restraint is None else scene.restraint.boldness
        weights = recipe.consistency_weight * (1 - bold + recipe.consistency_bold * bold)
        shares = torch.tensor((recipe.consistency_luma, 1.0, 1.0))
        self.residuals = [
            Residual(photo, mask, shares.to(photo) * float(weight) / photo[0].numel())
            for weight, mask in zip(weights, masks, strict=True)
            if weight > 0 and mask.any()
        ]

    def __call__(self, image: Tensor) -> Tensor:
        picture = to_opponent(halve(image, self.halvings) - self.kept)
        return torch.stack([picture.sum() * 0, *(each.energy(picture) for each in self.residuals)]).sum()

    def curvature(self, image: Tensor) -> Curvature:
        return ConsistencyCurvature(self.residuals, self.halvings, image)


class Residual:
    """What is left of a picture (3, h, w) in opponent coordinates without the smooth maps of one region's colours.

    photo (3, h, w), sRGB; mask (h, w): the weight of each pixel; scales (3,): of each channel's squared residual.
    """

    def __init__(self, photo: Tensor, mask: Tensor, scales: Tensor) -> None:
        self.root, self.scales = mask.sqrt().flatten(), scales[:, None]
        self.basis = smooth_maps(photo, mask)

    def energy(self, picture: Tensor) -> Tensor:
        """Sum of the scaled squares: a scalar."""
        return (self.scales * self._left(picture).square()).sum()

    def product(self, direction: Tensor) -> Tensor:
        """The energy's second derivative times a direction. (3, h, w) -> (3, h, w)."""
        return (2 * self.scales * self.root * self._left(direction)).view_as(direction)

    def diagonal(self) -> Tensor:
        """Of the second derivative, (3, h w): what the maps take off it is a J-th of a pixel's square in the mean."""
        taken: Tensor = 1 - self.basis.square().sum(1)
        return 2 * self.scales * self.root.square() * taken.clamp(min=0)

    def _left(self, picture: Tensor) -> Tensor:
        seen = picture.flatten(1) * self.root
        # A projection, so that what is left has no part in the basis.
        return seen - (seen @ self.basis) @ self.basis.T


class ConsistencyCurvature(Curvature):
    """The second derivative itself: the term is quadratic. It acts on one level of the pyramid."""

    def __init__(self, residuals: list[Residual], halvings: int, image: Tensor) -> None:
        self.residuals, self.halvings, self.image = residuals, halvings, image

    def add(self, direction: Tensor, total: Tensor) -> None:
        add_through_pyramid(direction, [_nothing] * self.halvings + [self._add], total)

    def diagonal(self) -> Tensor:
        levels, picture = [], self.image
        for _ in range(self.halvings):
            levels.append(torch.zeros_like(picture))
            picture = halve(picture)
        own = torch.zeros_like(picture)
        for each in self.residuals:
            own += each.diagonal().view_as(own)
        return pyramid_diagonal([*levels, own])

    def _add(self, direction: Tensor, total: Tensor) -> None:
        for each in self.residuals:
            total += each.product(direction)


def _nothing(direction: Tensor, total: Tensor) -> None:
    pass


def smooth_maps(photo: Tensor, mask: Tensor) -> Tensor:
    """An orthonormal basis of the smooth functions of a region's colours, times the root of its mask. -> (h w, J).

    photo (3, h, w), sRGB in [0, 1]; mask (h, w). A constant and bumps around spread_out colours, each by itself and
    times both coordinates; and CIELAB itself.
    """
    colours, weight = lab(photo).flatten(1).T, mask.flatten().double()
    bumps = torch.exp(-torch.cdist(colours, spread_out(colours, weight)).square() / (2 * REACH**2))
    own = torch.cat((torch.ones_like(bumps[:, :1]), bumps), 1)
    x, y = _coordinates(*size_of(photo))
    columns = torch.cat((own, own * x.to(own), own * y.to(own), colours / CHROMA), 1) * weight.sqrt()[:, None]
    values, vectors = torch.linalg.eigh(columns.T @ columns)
    kept = values > LEAST_EIGENVALUE * values.max()
    basis: Tensor = columns @ (vectors[:, kept] * values[kept].rsqrt())
    return basis.to(photo)


def spread_out(colours: Tensor, weight: Tensor) -> Tensor:
    """At most BUMPS colours, REACH apart or more: the nearest to their mean, then the farthest from those before.

    colours (n, 3), weight (n,): how much each counts; what counts less than half of the most is passed over.
    """
    inside = colours[weight >= weight.max() / 2]
    first = (inside - inside.mean(0)).square().sum(1).argmin()
    chosen = [inside[first]]
    distance = (inside - chosen[0]).norm(dim=1)
    while len(chosen) < BUMPS and float(distance.max()) > REACH:
        chosen.append(inside[distance.argmax()])
        distance = torch.minimum(distance, (inside - chosen[-1]).norm(dim=1))
    return torch.stack(chosen)


def _coordinates(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Across and down, -1 to 1, of each pixel: (h w, 1) twice."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    return x.reshape(-1, 1), y.reshape(-1, 1)
