"""One look for a set of photographs: one closed-form map of colour from the statistics of all of them together.

What `instant` finds for a photograph, found for the set: equal colours of two photographs come out equal. With masks
there is a map for each name of a region.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from photostyle.config import Recipe
from photostyle.errors import PhotostyleError
from photostyle.files.images import Picture
from photostyle.finish import rendered, strengths_of
from photostyle.imaging.filters import area_average, fit_within, resize, size_of
from photostyle.regions.canvas import recoloured
from photostyle.regions.colour import calmed, colour_map_between, region_moments
from photostyle.regions.guidance import Guidance, colour_statistics, wasserstein
from photostyle.regions.mixture import Moments, mixed_moments
from photostyle.regions.relation import Dial, Relation, dial
from photostyle.solver import COLOUR_SIDE


@dataclass(frozen=True, eq=False)
class Region:
    """What one photograph says of one region: its share of the photograph, the trust in its pair, and the moments of
    its own colours and of its reference's, in sRGB and in CIELAB."""

    share: float
    trust: float
    own: Moments
    goal: Moments
    own_lab: Moments
    goal_lab: Moments


@dataclass(frozen=True)
class Look:
    """A look: for each region its map (3, 4) as nested lists, how bold that is, and the strength, by name.

    of: SHA-256 of what it follows from. All of it is JSON types, for records.
    """

    of: str
    maps: dict[str, list[list[float]]]
    boldness: dict[str, float]
    strength: dict[str, float]


def regions_of(photo: Picture, references: Sequence[Picture], guidance: Guidance) -> dict[str, Region]:
    """The statistics of a photograph's regions by name, from copies of COLOUR_SIDE as `solver.colour_maps` takes."""
    size = fit_within(*size_of(photo.pixels), COLOUR_SIDE)
    small, masks = resize(photo.pixels, *size), area_average(guidance.content, *size)
    shares, trusts = masks.mean((1, 2)).tolist(), {pair.name: pair.trust for pair in guidance.pairs}
    labs = colour_statistics(photo.pixels, guidance.content)
    goals = [_goals(each.pixels, own) for each, own in zip(references, guidance.styles, strict=True)]
    found = {}
    for k, name in enumerate(guidance.names):
        parts = [(float(w[k]), goal[k]) for w, goal in zip(guidance.weights, goals, strict=True) if w[k] > 0]
        found[name] = Region(
            shares[k],
            trusts[name],
            region_moments(small, masks[k]),
            mixed_moments([(weight, plain) for weight, (plain, _) in parts]),
            labs[k],
            mixed_moments([(weight, lab) for weight, (_, lab) in parts]),
        )
    return found


def pooled(photographs: Iterable[Mapping[str, Region]], recipe: Recipe, of: str) -> Look:
    """The look of a set from the statistics of its photographs, each of which counts the same whatever its size.

    A region is bold as far as its name says that both show the same, as of a single photograph; colours by themselves
    say nothing of a whole set. of: see `Look`. Raises PhotostyleError where there is no photograph.
    """
    regions: dict[str, list[Region]] = {}
    for each in photographs:
        for name, region in each.items():
            regions.setdefault(name, []).append(region)
    if not regions:
        raise PhotostyleError("no photograph can be read, so there is no look for them")
    names, several = tuple(sorted(regions)), {name: _united(regions[name]) for name in sorted(regions)}
    related = Relation(
        names,
        torch.tensor([several[name].trust for name in names], dtype=torch.float64),
        torch.tensor(
            [wasserstein(each.own_lab, each.goal_lab) for each in several.values()], dtype=torch.float64
        ),
    )
    how = dial(related, recipe.boldness, recipe.strength, {})
    maps = {}
    for name, bold in zip(names, how.boldness.tolist(), strict=True):
        region = several[name]
        maps[name] = calmed(colour_map_between(region.own, region.goal), region.own[0], bold).tolist()
    by_name = [dict(zip(names, each.tolist(), strict=True)) for each in (how.boldness, how.strength)]
    return Look(of, maps, *by_name)


def dial_of(look: Look, names: Sequence[str]) -> Dial:
    """How far the regions of one photograph go. Raises PhotostyleError for one that the look does not have."""
    if missing := [name for name in names if name not in look.maps]:
        raise PhotostyleError(f"the look of the set has no region {missing[0]}; begin it anew")
    columns = [
        torch.tensor([each[name] for name in names], dtype=torch.float64)
        for each in (look.boldness, look.strength)
    ]
    return Dial(tuple(names), *columns)


def looked(photo: Tensor, guidance: Guidance, look: Look, recipe: Recipe) -> Tensor:
    """A photograph (3, H, W) in the look of its set, as `instant` finishes one: region by region, borders feathered."""
    how = dial_of(look, guidance.names)
    maps = torch.tensor([look.maps[name] for name in guidance.names], dtype=torch.float64).to(photo)
    canvas = recoloured(photo, guidance.content, maps, recipe.feather)
    return rendered(recipe, photo, canvas, strengths_of(recipe, photo, guidance.content, how))


def identity(recipe: Recipe, inputs: Sequence[Sequence[str]]) -> str:
    """What a look follows from, as a SHA-256: the settings, and the hashes of each photograph with its masks and
    references, in any order."""
    entries: dict[str, Any] = {"settings": recipe_of(recipe), "inputs": sorted(map(list, inputs))}
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()


def recipe_of(recipe: Recipe) -> dict[str, Any]:
    """The settings that a look depends on."""
    return {
        "boldness": recipe.boldness,
        "strength": recipe.strength,
        "style_weights": list(recipe.style_weights),
    }


def _goals(image: Tensor, masks: Tensor) -> list[tuple[Moments, Moments]]:
    """Of each region of a reference its moments in sRGB and in CIELAB; 0 where it gives none."""
    size = fit_within(*size_of(image), COLOUR_SIDE)
    small, reduced = resize(image, *size), area_average(masks, *size)
    nothing = np.zeros(3), np.zeros((3, 3))
    plain = [region_moments(small, mask) if mask.sum() > 0 else nothing for mask in reduced]
    return list(zip(plain, colour_statistics(image, masks), strict=True))


def _united(parts: Sequence[Region]) -> Region:
    """A region of several photographs as one: each in the measure of its share."""
    total = sum(each.share for each in parts)
    weights = [each.share / total for each in parts]

    def mixed(name: str) -> Moments:
        return mixed_moments([(w, getattr(each, name)) for w, each in zip(weights, parts, strict=True)])

    trust = sum(w * each.trust for w, each in zip(weights, parts, strict=True))
    return Region(total, trust, mixed("own"), mixed("goal"), mixed("own_lab"), mixed("goal_lab"))
