"""Parts of a photo that keep their own colour under another picture's light: skin, and whatever is named.

What became of such a part is read off the result as three numbers and a line: how its lightness runs, and how its
chroma was scaled and its hue turned on the whole. Kept within bounds they make one smooth map of the photo's own
colours, so that there are no stains in it, its hue is the photo's nearly, and what was lighter stays lighter.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from photostyle.imaging.filters import apply_affine_maps, fit_within, resize, size_of
from photostyle.imaging.lightness import from_lab, to_lab
from photostyle.imaging.rendering import enlarged_strips

SIDE = 256  # long side at which a part's map is fitted: two lines need no more
# Degrees of CIELAB hue that the light may turn it. Five are promised on the whole; two are for soft borders, where the
# result shines through: it turned the mean of four portraits by up to 1.3 more.
TURN = 3.0
# Of chroma, of the slope of lightness, and of the way to black and to white: by eye, on portraits under night skies,
# sunsets and other portraits. Beyond them a face is sunburnt or ashen, and hair is a hole.
CHROMA = (0.8, 1.2)
CONTRAST = (0.6, 1.4)
ROOM = 0.7


@dataclass(frozen=True, eq=False)
class Parts:
    """Which pixels belong to which part, at any size of the photo.

    maps: (K, 4, h, w), affine maps of the photo's colours to the weights in [0, 1] of K parts, see `canvas.feather`.
    shares: of the photo, by the parts' names, in their order.
    """

    maps: Tensor
    shares: dict[str, float]

    def weights(self, photo: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Rows of a photo (3, H, W) at any size, and the weights (K, rows, W) there."""
        for top, strip in enlarged_strips(self.maps.to(photo), *size_of(photo)):
            rows = slice(top, top + strip.shape[-2])
            yield rows, apply_affine_maps(strip, photo[:, rows]).clamp_(0, 1)


@dataclass(frozen=True)
class Light:
    """What the light does to a part: L* by a line within bounds, chroma times `chroma`, hue plus `turn` (radians)."""

    slope: float
    start: float
    chroma: float
    turn: float

    def __call__(self, photo: Tensor) -> Tensor:
        """The photo's colours under this light: (3, ...), sRGB in [0, 1] -> the same."""
        lightness, a, b = to_lab(photo)
        # Both bounds rise with L*, so that the order stays: neither black nor white come nearer than ROOM allows.
        lit = (self.start + self.slope * lightness).clamp(min=ROOM * lightness)
        lit = torch.minimum(lit, 100 - ROOM * (100 - lightness))
        colour = torch.polar(a.new_tensor(self.chroma), a.new_tensor(self.turn)) * torch.complex(a, b)
        return from_lab(torch.stack((lit, colour.real, colour.imag))).to(photo.dtype)


def light_on(photo: Tensor, result: Tensor, weight: Tensor) -> Light:
    """The light on a part of the photo, read off the result. (3, h, w) twice, weight (h, w) of a positive sum.

    Lightness by the regression line's slope and the median of what it leaves, so that hair gone black does not darken
    the face; colour by the complex least squares c of c z = z', z = a* + i b*.
    """
    (before, *colour), (after, *tinted) = to_lab(photo), to_lab(result)
    share = (weight / weight.sum()).double()
    mean, lit = (share * before).sum(), (share * after).sum()
    variance = (share * (before - mean).square()).sum()
    # Added to both, a hundredth of a unit squared says that a part of one lightness has the slope 1.
    slope = ((share * (before - mean) * (after - lit)).sum() + 0.01) / (variance + 0.01)
    slope = slope.clamp(*CONTRAST)
    z, w = torch.complex(*colour), torch.complex(*tinted)
    product = (share * w * z.conj()).sum() + 0.01
    factor = product / ((share * z.abs().square()).sum() + 0.01)
    turn = torch.rad2deg(factor.angle()).clamp(-TURN, TURN).deg2rad()
    left, order = (after - slope * before).flatten().sort()
    start = left[torch.searchsorted(share.flatten()[order].cumsum(0), 0.5)]
    return Light(float(slope), float(start), float(factor.abs().clamp(*CHROMA)), float(turn))


def protect(photo: Tensor, result: Tensor, parts: Parts) -> Tensor:
    """The protected parts of a result in the photo's own colours, written over it. (3, H, W) twice -> the result.

    Parts come one after the other; a pixel that is half in a part is half of each.
    """
    size = fit_within(*size_of(photo), SIDE)
    small, seen = resize(photo, *size), resize(result, *size)
    weights = torch.cat([weight for _, weight in parts.weights(small)], 1)
    lights = [light_on(small, seen, weight) if weight.any() else None for weight in weights]
    for rows, strip in parts.weights(photo):
        for light, weight in zip(lights, strip, strict=True):
            inside = weight > 0
            if light is not None and inside.any():
                own, here = photo[:, rows][:, inside], result[:, rows]
                here[:, inside] += weight[inside] * (light(own) - here[:, inside])
    return result
