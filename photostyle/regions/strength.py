"""How far to go, region by region: `--strength` and what `--region-strength` says of some of the photo's regions."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from photostyle.errors import PhotostyleError
from photostyle.files.masks import MaskSet
from photostyle.regions.canvas import feathered_strips


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
    photo: Tensor, regions: MaskSet, strength: float, strengths: Mapping[str, float], radius: int
) -> float | Tensor:
    """The strength of every pixel, (H, W) in [0, 1], or one number where no region has its own.

    photo (3, H, W), regions: of its mask, at its size. strengths: of regions by name; the others, and what no region
    covers, have `strength`. Borders are as soft as the canvas's, by `canvas.feather` with that radius, so that a change
    of strength makes no seam. A region named by its colour may be written without the #, which begins a comment in a
    shell.
    Raises PhotostyleError for a name that the photo's mask does not have.
    """
    if not strengths:
        return strength
    named = [row_of(name, regions.names, "--region-strength") for name in strengths]
    if len(set(named)) < len(named):
        raise PhotostyleError("--region-strength names a colour with and without its #; give it one strength")
    own = regions.masks[named].to(photo)
    masks = torch.cat((own, (1 - own.sum(0, keepdim=True)).clamp(min=0)))
    values = photo.new_tensor([*strengths.values(), strength])
    result = torch.empty_like(photo[0])
    for rows, soft in feathered_strips(photo, masks, radius):
        result[rows] = torch.einsum("k,khw->hw", values, soft).clamp_(0, 1)
    return result


def row_of(name: str, names: tuple[str, ...], option: str) -> int:
    """Which of the photo's regions an option names, a colour with or without its #. Raises PhotostyleError."""
    for spelling in (name, f"#{name}"):
        if spelling in names:
            return names.index(spelling)
    raise PhotostyleError(
        f"{option} names {name}, which is no region of the photo; there are: {', '.join(names)}"
    )
