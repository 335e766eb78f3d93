"""What scores and artefacts are taken of, a result beside its photo and its reference, and which way is better."""

from dataclasses import dataclass, field, fields, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from photostyle.errors import PhotostyleError
from photostyle.evaluation.sides import Side
from photostyle.imaging.filters import area_average, fit_within, size_of

# Long side in pixels that pictures of a command are scored at: twice the default --size, half again the published 700.
# At 24 MP the scores took 75 s and 5.3 GB; their windows are some pixels wide and see there what nobody looks at.
SCORED_SIDE = 1024

LEAST_SHARE = 0.01  # of either picture: a smaller region has too few pixels for statistics of its own

# Metadata of the fields of `scores.Scores` and `artefacts.Artefacts`: an arrow for the better end.
LOWER, HIGHER = {"better": "↓"}, {"better": "↑"}

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Comparison:
    """A result, the photo that it was made from, the reference that it is to look like, and their regions.

    result, content: (3, H, W), style: (3, h, w), sRGB in [0, 1].
    content_masks: (K, H, W), style_masks: (K, h, w); region k of one is to look like region k of the other.
    weights: (K,), each region's weight in a score, see `region_weights`.
    ours, photo, reference: the three with their regions, which keep what scores derive from them.
    Raises PhotostyleError where sizes disagree or no region is in both pictures.
    """

    result: Tensor
    content: Tensor
    style: Tensor
    content_masks: Tensor
    style_masks: Tensor
    weights: Array = field(init=False)
    ours: Side = field(init=False, repr=False)
    photo: Side = field(init=False, repr=False)
    reference: Side = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.result.shape != self.content.shape:
            raise PhotostyleError(
                f"the result is {_size(self.result)} but the content {_size(self.content)}: score equal sizes"
            )
        ours, theirs = (self.content, self.content_masks), (self.style, self.style_masks)
        for name, (picture, masks) in (("content", ours), ("style", theirs)):
            if masks.shape[1:] != picture.shape[1:]:
                raise PhotostyleError(
                    f"the {name} masks are {_size(masks)} but the {name} {_size(picture)}: resize them"
                )
        if len(self.content_masks) != len(self.style_masks):
            raise PhotostyleError(
                f"{len(self.content_masks)} content regions but {len(self.style_masks)} style regions: "
                "pair them first"
            )
        # The dataclass is frozen to everyone else.
        object.__setattr__(self, "weights", region_weights(self.content_masks, self.style_masks))
        object.__setattr__(self, "ours", Side(self.result, self.content_masks))
        object.__setattr__(self, "photo", Side(self.content, self.content_masks))
        object.__setattr__(self, "reference", Side(self.style, self.style_masks))

    def with_result(self, result: Tensor) -> "Comparison":
        """Another result of the same pair; what was derived from photo and reference is kept."""
        other = replace(self, result=result)
        object.__setattr__(other, "photo", self.photo)
        object.__setattr__(other, "reference", self.reference)
        return other


def comparison_within(
    result: Tensor,
    content: Tensor,
    style: Tensor,
    content_masks: Tensor,
    style_masks: Tensor,
    side: int = SCORED_SIDE,
) -> Comparison:
    """A comparison of copies with that long side, by area; pictures that are no larger stay as they are."""
    pictures = (result, content, style, content_masks, style_masks)
    return Comparison(*(area_average(each, *fit_within(*size_of(each), side)) for each in pictures))


def region_weights(content_masks: Tensor, style_masks: Tensor) -> Array:
    """Weight of each region in a score: its share of the content, 0 where it is not counted. They sum to 1.

    Masks (K, H, W) and (K, h, w) -> (K,). The regions above 1 % of both pictures are counted; where there is none
    (masks that cover only small things), every region that both pictures have. Raises PhotostyleError where there
    is no such region either.
    """
    ours, theirs = (
        masks.mean((1, 2)).detach().cpu().double().numpy() for masks in (content_masks, style_masks)
    )
    smaller = np.minimum(ours, theirs)
    counted = smaller > (LEAST_SHARE if smaller.max() > LEAST_SHARE else 0)
    if not counted.any():
        raise PhotostyleError(
            f"none of the {len(ours)} regions has pixels in both content and style masks; draw one in both"
        )
    shares: Array = np.where(counted, ours, 0)
    shares /= shares.sum()
    return shares


def directions(scores: type) -> dict[str, str]:
    """Which way each number of `Scores` or `Artefacts` is better, ↓ or ↑, by its name."""
    return {each.name: each.metadata["better"] for each in fields(scores) if "better" in each.metadata}


def _size(picture: Tensor) -> str:
    return f"{picture.shape[-1]}x{picture.shape[-2]}"
