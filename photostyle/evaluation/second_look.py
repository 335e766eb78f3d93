"""A second look at a finished picture: how far it may go for its signs not to speak against it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from photostyle.evaluation.comparison import Comparison, comparison_within
from photostyle.evaluation.doubt import DOUBTFUL, WEIGHED, doubt, reason
from photostyle.evaluation.scores import DRIFT_SIDE
from photostyle.evaluation.signs import Signs, find_signs
from photostyle.regions.guidance import Guidance

# What is held back is to be sure and not barely beyond doubt: of the 200 judged pictures of experiment 013 those with
# less doubt are good (66 %), usable (30) or bad (4), those above DOUBTFUL good (6 %), usable (16) or bad (78).
SETTLED = 0.4
SHARES = tuple(
    tenths / 10 for tenths in range(9, 0, -1)
)  # of its way; the eye hardly tells finer steps apart
NOTHING = Signs(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)  # speaks against a picture without a reference to compare it to


@dataclass(frozen=True)
class SecondLook:
    """What was seen of a picture, and the share of its way that it may go: 1 where nothing speaks against it."""

    share: float
    signs: Signs

    def __str__(self) -> str:
        """For people, of a picture that is held back."""
        why = WEIGHED[reason(self.signs)].reason
        return f"held back to {self.share:.1f} of its way: {why} (doubt {doubt(self.signs):.1f})"


def look_again(
    picture: Tensor, photo: Tensor, references: Sequence[Tensor], guidance: Guidance, held: Tensor
) -> SecondLook:
    """How far the held regions of a picture (3, H, W) may go between it and its photo, sRGB in [0, 1].

    references: (3, h, w) each, which the guidance is of; held: (K,) bool, the regions that may go less far. The largest
    of SHARES at which there is no more doubt than SETTLED, where there is more than DOUBTFUL at first; else 1. Of
    several references the one that allows most counts.
    """
    looks = [
        comparison_within(picture, photo, reference, guidance.content, masks, DRIFT_SIDE)
        for reference, masks in zip(references, guidance.styles, strict=True)
        if bool((guidance.content.amax((1, 2)) * masks.amax((1, 2)) > 0).any())
    ]
    signs = _least(looks) if looks else NOTHING
    if doubt(signs) <= DOUBTFUL:
        return SecondLook(1.0, signs)
    for share in SHARES:
        if doubt(_least([_part_of_the_way(look, held, share) for look in looks])) <= SETTLED:
            break
    return SecondLook(share, signs)


def _least(looks: Sequence[Comparison]) -> Signs:
    return min(map(find_signs, looks), key=doubt)


def _part_of_the_way(look: Comparison, held: Tensor, share: float) -> Comparison:
    """As if the held regions of its result had gone that share of their way: rendering is linear in the strength."""
    strength = torch.where(held, share, 1.0).to(look.content)
    rest = (1 - look.content_masks.sum(0)).clamp(min=0)
    way = torch.einsum("k,khw->hw", strength, look.content_masks) + strength.mean() * rest
    return look.with_result(torch.lerp(look.content, look.result, way))
