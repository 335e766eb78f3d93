"""How related a region is to what it takes its style from, and how far it goes where nobody says.

Two regions of one name show the same thing, and the one may take everything from the other. Two pictures that nobody
made for each other share no more than their colours can tell: then the closed-form colour map is as far as a
photograph bears to go, and not all of the way if that is long.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from photostyle.imaging.filters import area_average, fit_within, size_of
from photostyle.imaging.lightness import JND, lab
from photostyle.regions.colour import monge_kantorovich
from photostyle.regions.guidance import Guidance, colour_statistics, wasserstein
from photostyle.regions.mixture import mixed_moments, weighted_moments

# ΔE that the colours of a region may move in the mean where nothing says that it is related to its reference. Judged on
# the unrelated photographs of experiment 013: at 40 faces turn grey under a night sky.
BEARABLE = 30.0
# ΔE from which, and shares of the reference's spread from which, colours by themselves say nothing of kinship: the
# published pairs, all related, and the unrelated ones of experiment 013 lie alike above both.
FAR, UNREACHED = 40.0, 0.4
LEAST_KINSHIP = 0.1  # less is not to be seen, and costs a solve
LAB_RIDGE = (100 * 2 / 255) ** 2  # colour.RIDGE, of L*'s hundred units
SIDE = 128  # pixels: long side of the copies whose distributions are compared
# Directions and quantiles through which two distributions are compared: with twice of each, distances of the published
# pairs differ by 1 %.
DIRECTIONS, QUANTILES = 32, 64
NAMES = (
    (0.125, "closed form"),
    (0.375, "a quarter"),
    (0.625, "half"),
    (0.875, "three quarters"),
    (1.0, "full"),
)

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Relation:
    """What is known of K regions and their references.

    names: of the content's regions. kinship: (K,) in [0, 1], 0: nothing says that they show alike. distance: (K,), ΔE
    between their colours as Gaussians in CIELAB.
    """

    names: tuple[str, ...]
    kinship: Tensor
    distance: Tensor


@dataclass(frozen=True, eq=False)
class Dial:
    """How far K regions go: boldness and strength, (K,) float64 in [0, 1] each, by name."""

    names: tuple[str, ...]
    boldness: Tensor
    strength: Tensor

    @property
    def full(self) -> bool:
        """Whether nothing is held back."""
        return bool((self.boldness == 1).all() and (self.strength == 1).all())

    @property
    def uniform(self) -> bool:
        """Whether every pixel goes as far."""
        return bool((self.boldness == 1).all() and (self.strength == self.strength[0]).all())

    @property
    def closed(self) -> bool:
        """Whether every region stays at the closed form."""
        return bool((self.boldness == 0).all())

    def held_back(self, held: Tensor, share: float) -> "Dial":
        """The same with that share of their strength for the regions that are held, (K,) bool."""
        return replace(self, strength=torch.where(held, share * self.strength, self.strength))

    @property
    def words(self) -> dict[str, str]:
        """For people, by region: "full", "half, strength 0.70"."""
        said = {}
        for name, bold, strong in zip(
            self.names, self.boldness.tolist(), self.strength.tolist(), strict=True
        ):
            word = next(word for most, word in NAMES if bold <= most)
            shown = f"{strong:.2f}"
            said[name] = word if shown == "1.00" else f"{word}, strength {shown}"
        return said

    def __str__(self) -> str:
        """One line for people: "sky: full; face: half, strength 0.70"."""
        return "; ".join(f"{name}: {words}" for name, words in self.words.items())


def relation(photo: Tensor, references: Sequence[Tensor], guidance: Guidance) -> Relation:
    """How the regions of a photo (3, H, W) are related to those of its references (3, h, w), sRGB in [0, 1].

    Kinship is the trust in a pair's names, and for what that lacks of 1 the evidence of the colours: how near they are
    and how much of the reference's distribution the closed form reaches.
    """
    trusts = {pair.name: pair.trust for pair in guidance.pairs}
    own = colour_statistics(photo, guidance.content)
    theirs = [
        colour_statistics(image, masks) for image, masks in zip(references, guidance.styles, strict=True)
    ]
    seen = _Samples(photo, references, guidance)
    kinship, distances = [], []
    for k, name in enumerate(guidance.names):
        parts = [
            (float(weights[k]), each[k])
            for weights, each in zip(guidance.weights, theirs, strict=True)
            if weights[k] > 0
        ]
        distance = wasserstein(own[k], mixed_moments(parts))
        trust = trusts[name]
        likeness = 0.0 if trust == 1 else max(0.0, 1 - distance / FAR) * seen.reached(k)
        kin = trust + (1 - trust) * likeness
        kinship.append(kin if kin >= LEAST_KINSHIP else 0.0)
        distances.append(distance)
    return Relation(guidance.names, _vector(kinship), _vector(distances))


def dial(
    related: Relation, boldness: float | None, strength: float | None, by_region: Mapping[str, float]
) -> Dial:
    """How far each region goes. boldness, strength: as asked for; None: by the evidence. by_region: strengths by name.

    A region of little kinship takes so much of the closed form that its colours move by BEARABLE in the mean.
    """
    bold = related.kinship if boldness is None else torch.full_like(related.kinship, boldness)
    borne = (BEARABLE / related.distance.clamp(min=BEARABLE)).clamp(max=1)
    strong = bold + (1 - bold) * borne if strength is None else torch.full_like(bold, strength)
    named = zip(related.names, strong.tolist(), strict=True)
    strong = _vector([by_region.get(name, each) for name, each in named])
    return Dial(related.names, bold, strong)


def _vector(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


class _Samples:
    """Colours of regions in CIELAB with weights, from small copies."""

    def __init__(self, photo: Tensor, references: Sequence[Tensor], guidance: Guidance) -> None:
        self.own = _colours(photo, guidance.content)
        self.theirs = [
            _colours(image, masks) for image, masks in zip(references, guidance.styles, strict=True)
        ]
        self.mixture = guidance.weights.numpy()
        angles = np.random.default_rng(0).standard_normal((3, DIRECTIONS))
        self.directions = angles / np.linalg.norm(angles, axis=0)

    def reached(self, region: int) -> float:
        """How much of the reference's spread the closed form in CIELAB reaches: 1 all of it, 0 UNREACHED is left."""
        colours, weights = self.own[0], self.own[1][region]
        target = [
            (each, masks[region] * share[region] / max(masks[region].sum(), 1e-12))
            for (each, masks), share in zip(self.theirs, self.mixture, strict=True)
            if share[region] > 0
        ]
        other, others = np.concatenate([c for c, _ in target]), np.concatenate([w for _, w in target])
        source, goal = weighted_moments(colours.T, weights), weighted_moments(other.T, others)
        if np.trace(goal[1]) < JND**2:
            return 0.0  # anything reaches a single colour
        slopes = monge_kantorovich(source, goal, LAB_RIDGE)
        mapped = colours @ slopes[:, :3].T + slopes[:, 3]
        left = sliced(mapped @ self.directions, weights, other @ self.directions, others)
        spread = np.sqrt(max(np.trace(goal[1]), 1.0))
        return float(max(0.0, 1 - left / spread / UNREACHED))


def sliced(one: Array, weights: Array, other: Array, others: Array) -> float:
    """Root of 3 times the mean squared Wasserstein-2 distance of projections (n, R), (m, R) with weights (n,), (m,).

    Three times, so that distributions in three dimensions that differ by a shift are that shift apart.
    """
    steps = (np.arange(QUANTILES) + 0.5) / QUANTILES
    apart = [
        _quantiles(a, weights, steps) - _quantiles(b, others, steps)
        for a, b in zip(one.T, other.T, strict=True)
    ]
    return float(np.sqrt(3 * np.mean(np.square(apart))))


def _quantiles(values: Array, weights: Array, steps: Array) -> Array:
    order = values.argsort()
    ranks = weights[order].cumsum() - weights[order] / 2
    quantiles: Array = np.interp(steps, ranks / weights.sum(), values[order])
    return quantiles


def _colours(image: Tensor, masks: Tensor) -> tuple[Array, Array]:
    """CIELAB colours (n, 3) and the regions' weights (K, n) of a small copy."""
    size = fit_within(*size_of(image), SIDE)
    colours = lab(area_average(image, *size).cpu()).flatten(1).T.numpy()
    return colours, area_average(masks, *size).flatten(1).double().cpu().numpy()
