"""What a generator is told of a style: a vector z, or the patches of the style picture itself."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from photostyle.errors import PhotostyleError


@dataclass(frozen=True, eq=False)
class Style:
    """One style for each content of a batch.

    z: (B, d), of length alpha (`encoder.StyleEncoder`); None for a model that takes patches.
    maps: feature maps (B, C, h, w) of style pictures, whose patches are all to choose from; none where there is a z.
    """

    z: Tensor | None = None
    maps: tuple[Tensor, ...] = ()


def mix(styles: Sequence[Style], weights: Sequence[float] = ()) -> Style:
    """Several styles as one: the weighted mean of their z (weights are scaled to a sum of 1), or all of their patches.

    As Ghiasi et al. (BMVC 2017, section 4.3) go from style to style; the mean is not scaled back to length alpha, so
    that two opposite styles give none rather than one at random. weights: none, for equal ones.
    Raises PhotostyleError where the weights do not fit: of patches, the nearest is taken whatever a weight says.
    """
    shares = list(weights) or [1.0] * len(styles)
    if len(shares) != len(styles):
        raise PhotostyleError(
            f"{len(styles)} styles have {len(shares)} weights; give one weight for each style, or none"
        )
    if not all(0 <= each < math.inf for each in shares) or not sum(shares):
        raise PhotostyleError(
            f"style weights {shares} do not mix; give numbers of 0 or more, one of them above 0"
        )
    if styles[0].z is None:
        if len(set(shares)) > 1:
            raise PhotostyleError(
                "a model of injection patch takes the nearest patch of all styles, and no style weights: leave them out"
            )
        return Style(maps=tuple(each for style in styles for each in style.maps))
    z = torch.stack([style.z for style in styles if style.z is not None])
    part = z.new_tensor(shares) / sum(shares)
    return Style(z=torch.einsum("s,sbd->bd", part, z))
