"""The settings that a search varies, how far, and why these."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from photostyle.config import Recipe
from photostyle.errors import PhotostyleError
from photostyle.settings import KINDS

DIGITS = 4  # significant ones of a value that is tried: best.toml is read by people, and says exactly what was tried


@dataclass(frozen=True)
class Dimension:
    """A setting that is varied from low to high; where it is a list of numbers, a factor on all of them."""

    field: str
    low: float
    high: float
    log: bool
    reason: str  # what the ends do: (style, edge) at 128 px on one pair, everything else as in the preset

    def default(self, recipe: Recipe) -> float:
        """The value that changes nothing."""
        value = getattr(recipe, self.field)
        return 1.0 if isinstance(value, tuple) else value


# Measured before the presets compared textures.
# Pairs that come with the packages: C china from rocket with the demonstration's masks, A astronaut from hopper, and
# flower from coffee. patch_weight stays 1: only ratios of weights matter, so one of them is the unit. Left out are
# * iterations, stages, patch_levels, structure_window: they would not carry to other sizes;
# * feather, averaging: they moved no score by more than 0.01; patch_draws: it decides time and noise;
# * strength, variation_weight: on two pairs or more another dimension gave more of both scores;
# * photorealism_luma: neither score sees the dark clouds that less of it puts into a clear sky;
# * learning_rate: only Adam has one, and the presets that are searched do not run it;
# * texture_weight: fourfold it costs more edge than it gains style (experiment 010);
# * patch_size: it could move what is optimised onto what is scored (7x7).
SPACE = (
    Dimension("structure_weight", 2e-3, 2, True, "the main trade: C (.07, .48) to (.25, .85)"),
    Dimension("photorealism_weight", 0.02, 25, True, "under 0.1 nothing changes; A (.14, .75) to (.21, .89)"),
    # Never less than the preset's: neither score sees the stains that it keeps away. C with 0.02 of it and a high
    # structure weight: drift16 at 512 px .26 from .18, an orange cloud in the sky, and the best distance of 40 trials.
    Dimension("photorealism_coarse", 1, 10, True, "a factor; 10: C (.10, .51) from (.08, .63)"),
    Dimension("photorealism_epsilon", 1e-7, 1e-3, True, "the released 1e-7: A (.15, .73); 1e-3: (.14, .78)"),
    Dimension("gram_weight", 5e-3, 0.5, True, "A with a quarter-width VGG-19: (.45, .77) to (.16, .62)"),
    Dimension("content_weight", 5e-4, 0.5, True, "the same: (.28, .72) to (.46, .82)"),
)


def space_of(recipe: Recipe, space: Iterable[Dimension] = SPACE) -> tuple[Dimension, ...]:
    """The dimensions whose term the configuration has: a weight of 0 has no ratio to vary.

    Raises PhotostyleError where the configuration itself lies outside a range.
    """
    kept = []
    for dimension in space:
        value = getattr(recipe, dimension.field)
        if not (any(value) if isinstance(value, tuple) else value):
            continue
        if not dimension.low <= dimension.default(recipe) <= dimension.high:
            raise PhotostyleError(
                f"{dimension.field} is {value}, but a search looks from {dimension.low:g} to {dimension.high:g}; "
                "start inside"
            )
        kept.append(dimension)
    return tuple(kept)


def default_values(recipe: Recipe, space: Iterable[Dimension]) -> dict[str, float]:
    """The point of the space that is the configuration itself."""
    return {dimension.field: dimension.default(recipe) for dimension in space}


def settings_of(values: Mapping[str, float], recipe: Recipe) -> dict[str, Any]:
    """A point of the space as settings of Recipe, rounded to what a file shows."""
    settings: dict[str, Any] = {}
    for name, value in values.items():
        before = getattr(recipe, name)
        if isinstance(before, tuple):
            settings[name] = tuple(_rounded(value * each) for each in before)
        else:
            settings[name] = round(value) if KINDS[name] is int else _rounded(value)
    return settings


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
