"""How far to go, region by region: `--strength` and what `--region-strength` says of some of the photo's regions."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from photostyle.errors import PhotostyleError
from photostyle.imaging.lightness import lightness
from photostyle.regions.canvas import feathered_strips

# L* above which a pixel is no shadow. Judged on experiment 013: with 15 the grain of a dark suit shows.
SHADOW = 30.0


def region_strengths(entries: Iterable[str]) -> dict[str, float]:
    """`--region-strength` as numbers by region name. Raises PhotostyleError for what is no NAME=STRENGTH."""
    strengths: dict[str, float] = {}
    for entry in entries:
        name, _, number = entry.rpartition("=")  # of a name with = in it the last counts
        try:
            strength = float(number)
        except ValueError:
            strength = -1.0
        if not name or not 0 <= strength <= 1:
            raise PhotostyleError(
                f"--region-strength has {entry!r}; give NAME=STRENGTH with a strength between 0 and 1, as in sky=0.5"
            )
        if name in strengths:
            raise PhotostyleError(f"--region-strength names {name} twice; give it one strength")
        strengths[name] = strength
    return strengths


def strength_map(
    photo: Tensor, masks: Tensor, strength: Tensor, boldness: Tensor, radius: int
) -> float | Tensor:
    """The strength of every pixel, (H, W) in [0, 1], or one number where all have the same.

    photo (3, H, W), masks (K, H, W), strength and boldness (K,) in [0, 1]. Borders are as soft as the canvas's, by
    `canvas.feather` with that radius, so that a change of strength makes no seam. What no region covers has their mean.
    As far as a region is not bold its shadows stay the photo's: a black that the reference has not would be a veil.
    """
    if bool((boldness == 1).all() and (strength == strength[0]).all()):
        return float(strength[0])
    result = torch.empty_like(photo[0])
    shares = masks.mean((1, 2), dtype=torch.float64).cpu()
    means = [float((each * shares).sum() / shares.sum()) for each in (strength * boldness, strength)]
    full, whole = (strength * boldness).to(photo), strength.to(photo)
    for rows, soft in feathered_strips(photo, masks, radius):
        rest = (1 - soft.sum(0)).clamp_(min=0)
        bold = torch.einsum("k,khw->hw", full, soft).add_(rest, alpha=means[0])
        held = torch.einsum("k,khw->hw", whole, soft).add_(rest, alpha=means[1]).sub_(bold)
        result[rows] = bold.add_(held.mul_(off_black(photo[:, rows]))).clamp_(0, 1)
    return result


def off_black(photo: Tensor) -> Tensor:
    """0 at black, 1 from SHADOW on, smooth and monotone between. (3, H, W) -> (H, W)."""
    light = (lightness(photo) / SHADOW).clamp(0, 1)
    return light.square() * (3 - 2 * light)


def named_regions(entries: Iterable[str], names: Sequence[str]) -> dict[str, float]:
    """`--region-strength` by the names of the photo's regions.

    A region named by its colour may be written without the #, which begins a comment in a shell. Raises PhotostyleError
    for a name that the photo's mask does not have, and for one that is given twice.
    """
    given = region_strengths(entries)
    named = {names[row_of(entry, names, "--region-strength")]: each for entry, each in given.items()}
    if len(named) < len(given):
        raise PhotostyleError("--region-strength names a colour with and without its #; give it one strength")
    return named


def row_of(name: str, names: Sequence[str], option: str) -> int:
    """Which of the photo's regions an option names, a colour with or without its #. Raises PhotostyleError."""
    for spelling in (name, f"#{name}"):
        if spelling in names:
            return names.index(spelling)
    raise PhotostyleError(
        f"{option} names {name}, which is no region of the photo; there are: {', '.join(names)}"
    )
