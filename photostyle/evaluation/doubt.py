"""One number for how likely a picture is to be thrown away, weighed from its signs, and a sentence for who made it.

The weights were fitted to verdicts by eye: experiment 013 (unrelated-photographs) has the pictures' signs, the verdicts
and how far they agree on photographs that nothing was fitted to; a test fits them anew.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from photostyle.evaluation.signs import Signs


@dataclass(frozen=True)
class Weighed:
    """What one sign says: weight · (log(1 + sign / unit) − log(1 + usual / unit)) in log-odds of a bad picture."""

    unit: (
        float  # of the sign, from which it is seen: below it counts in proportion, far above by its logarithm
    )
    usual: float  # its median over the good pictures of experiment 013
    weight: float  # fitted there, none allowed below 0
    reason: str
    remedy: str


LESS = "--strength 0.6, --boldness 0 or --masks none"  # the closed form stains least, and at 0.6 it is mostly good
OTHER = "--strength 0.6 or another reference"  # the closed form has these as well
# Units: JND for the mean of a picture; 1 ΔE where few pixels make the mean; 10 degrees, as far as hues of one name lie.
WEIGHED = {
    "inverted": Weighed(0.02, 0.0119, 0.43, "light and dark changed places", LESS),
    "residue": Weighed(2.3, 0.9598, 0.88, "one colour became several", LESS),
    "stain": Weighed(1.0, 0.0005, 0.52, "stains in flat areas", LESS),
    "turned": Weighed(10.0, 15.83, 0.59, "colours turned into others", OTHER),
    "greened": Weighed(1.0, 0.0003, 1.44, "skin or fur turned green", OTHER),
    "tinted": Weighed(2.3, 0.5755, 0.45, "one colour lies over everything", OTHER),
}
USUAL = -1.87  # log-odds of a picture whose signs are all usual
# Above it a picture is doubtful: 0.92 of the bad pictures of experiment 013 and 0.09 of the good ones, each doubted by
# weights fitted to other photographs.
DOUBTFUL = 0.6


def doubt(signs: Signs) -> float:
    """How likely a person would throw the picture away, 0 to 1, as far as its signs tell. The photo itself: 0.05."""
    return 1 / (1 + math.exp(-USUAL - sum(contributions(signs).values())))


def contributions(signs: Signs) -> Mapping[str, float]:
    """What each sign adds to the log-odds, against a good picture's usual."""
    return {
        name: each.weight * (math.log1p(value / each.unit) - math.log1p(each.usual / each.unit))
        for name, value in signs.as_dict().items()
        for each in (WEIGHED[name],)
    }


def reason(signs: Signs) -> str:
    """The name of the sign that speaks most against the picture."""
    added = contributions(signs)
    return max(added, key=lambda name: added[name])


def advice(signs: Signs) -> str | None:
    """For a doubtful picture one line that says so, why, and what to try; None for another."""
    found = doubt(signs)
    if found <= DOUBTFUL:
        return None
    most = WEIGHED[reason(signs)]
    return f"doubtful: {most.reason} (doubt {found:.1f}); try {most.remedy}"
