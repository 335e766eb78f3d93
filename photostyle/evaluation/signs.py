"""Signs by which the eye rejects a picture that other scores praise: six numbers, each 0 for the untouched photo.

The scores ask how much of the reference came over; a face turned orange takes more of an orange suit's colours than a
face left alone. These ask what the photo had that a picture one keeps still has: light above dark, one colour for one
thing, hues, warm skin, neutral greys. Differences are in CIELAB under D65 (ΔE*ab), at a long side of 256 px, so a
picture has the same signs at any size. `doubt` weighs them.
"""

from dataclasses import asdict, dataclass, field
from itertools import combinations_with_replacement

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from photostyle.evaluation.comparison import LOWER, Comparison
from photostyle.evaluation.scores import DRIFT_RIDGE, DRIFT_SIDE, at_drift_size
from photostyle.evaluation.sides import Side, lab
from photostyle.imaging.filters import affine_residual, apply_affine_maps, area_average, fit_within, size_of
from photostyle.imaging.lightness import JND
from photostyle.regions.colour import monge_kantorovich, region_moments

# Along the long side: some 600 points, a third of a million couples; parts of a face are one point.
POINTS = 28
STAIN_RADIUS = 16  # px of 256, as `drift16`
DEGREE = 3  # of the smooth map of colours: an S-curve needs three
# Coordinates of the map, about [-1, 1]: half of L*'s range, and a chroma that photographs seldom exceed.
HALF_LIGHTNESS, USUAL_CHROMA = 50.0, 40.0
RIDGE = 1e-9  # of the map's regression, per pixel: far above float64's rounding, so that grey photos have a map too
COLOURED = 12.0  # a*b* chroma from which a thing has a hue: five JND
# Hue (degrees), chroma and L* within which the skin and fur of experiment 013's photographs lie. So do wood and sand,
# and that they turn green is no better.
SKIN_HUE, SKIN_CHROMA, SKIN_LIGHTNESS = (20.0, 80.0), (10.0, 50.0), (25.0, 92.0)
NEUTRAL_SHARE = 0.1  # of the pixels: photographs have as many that are nearly grey, and few have none

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Signs:
    """What speaks against one result: 0 is nothing, and less is better."""

    inverted: float = field(metadata=LOWER)
    """0 to 1, share of the couples of points of one region whose order of lightness was turned round"""
    residue: float = field(metadata=LOWER)
    """ΔE that no smooth map of the photo's colours explains, region by region"""
    stain: float = field(metadata=LOWER)
    """ΔE of drift within 16 px at 256 px beyond that of the photo and of the closed-form colour map"""
    turned: float = field(metadata=LOWER)
    """degrees by which the hues of coloured things turned"""
    greened: float = field(metadata=LOWER)
    """ΔE of green on skin, fur and what has their colour, as a mean over the picture"""
    tinted: float = field(metadata=LOWER)
    """ΔE of chroma that the most neutral tenth of the picture gained"""

    def as_dict(self) -> dict[str, float]:
        """The six numbers by name."""
        return asdict(self)


def find_signs(compared: Comparison) -> Signs:
    """All signs of a result."""
    return Signs(
        inverted=inverted(compared),
        residue=residue(compared),
        stain=stain(compared),
        turned=turned(compared),
        greened=greened(compared),
        tinted=tinted(compared),
    )


def inverted(compared: Comparison) -> float:
    """Share of couples of points of one region whose lightness changed its order, 0 to 1.

    Both pictures are reduced by area to POINTS; couples that differ in the photo by more than JND count, by how much of
    both their points is of the same region. Between regions the order is the reference's to choose: a sky at night is
    darker than the town. (Kendall's τ, 1938, of the photo's L* and the result's, is 1 − 2 of it.)
    """
    masks, before = compared.photo.once(_point_masks), compared.photo.once(_point_lightness)
    after = compared.ours.once(_point_lightness)
    counted = masks.T @ masks
    apart = before[:, None] - before
    counted *= np.abs(apart) > JND
    turned_round = apart * (after[:, None] - after) < 0
    return _mean(turned_round, counted)


def residue(compared: Comparison) -> float:
    """How much of the result no smooth map of colours explains: mean ΔE, ≥ 0.

    The map is a polynomial of DEGREE in the photo's L*, a*, b*, with an offset for each region, by least squares. What
    is left is one colour sent to many, wherever they lie: a wall of two colours, a face half orange. That of the photo
    itself is 0.
    """
    basis, ours = compared.photo.once(_colour_basis), compared.ours.once(small_lab).reshape(3, -1)
    gram = basis @ basis.T + RIDGE * basis.shape[1] * np.eye(len(basis))
    left = ours - np.linalg.solve(gram, basis @ ours.T).T @ basis
    return float(np.sqrt((left**2).sum(0)).mean())


def stain(compared: Comparison) -> float:
    """Drift of colour and lightness beyond what photo and closed form have there: mean ΔE, ≥ 0.

    The drift at a pixel is the root of `affine_residual` of L*, a*, b* on the photo's RGB within STAIN_RADIUS at
    256 px, as `scores.drift` takes it of a*, b*. The photo itself has some, because CIELAB is no affine function of
    RGB, and so has the photo under the Monge-Kantorovich map of the whole picture: the larger one is taken off.
    """
    ours = _drift(compared.photo, compared.ours.once(small_lab))
    allowed = compared.photo.once(_allowed_drift, compared.reference)
    return float(np.maximum(ours - allowed, 0).mean())


def turned(compared: Comparison) -> float:
    """By how much the hues of coloured things turned: mean angle in CIELAB's a*b* plane in degrees, 0 to 180.

    Pixels of more chroma than COLOURED in the photo count, by the smaller chroma of photo and result: what lost its
    colour has not turned.
    """
    own, ours = compared.photo.once(small_lab), compared.ours.once(small_lab)
    chroma = np.hypot(*own[1:])
    angle = np.arctan2(own[1] * ours[2] - own[2] * ours[1], own[1] * ours[1] + own[2] * ours[2])
    weight = np.minimum(chroma, np.hypot(*ours[1:])) * (chroma > COLOURED)
    return _mean(np.abs(np.degrees(angle)), weight)


def greened(compared: Comparison) -> float:
    """Green on skin and fur: −a* of the result where it is positive, mean over the picture, ≥ 0.

    No light turns warm skin green; red, pale or blue it may be. Skin is whatever has its colour in the photo.
    """
    own, ours = compared.photo.once(small_lab), compared.ours.once(small_lab)
    return float((np.maximum(-ours[1], 0) * _warm(own)).mean())


def tinted(compared: Comparison) -> float:
    """How much colour was laid over everything: the chroma below which NEUTRAL_SHARE lie, less the photo's, in ΔE, ≥ 0.

    White clouds, grey stone, black cloth keep a picture from being all one orange.
    """
    own, ours = (
        float(np.quantile(np.hypot(*side.once(small_lab)[1:]), NEUTRAL_SHARE))
        for side in (compared.photo, compared.ours)
    )
    return max(ours - own, 0.0)


def small_lab(side: Side) -> Array:
    """The picture in CIELAB, by area to a long side of 256 px: (3, h, w)."""
    return lab(side.once(at_drift_size))


def _point_lightness(side: Side) -> Array:
    """L* of POINTS along the long side: (points,)."""
    lightness: Array = lab(_points(side.picture))[0].ravel()
    return lightness


def _point_masks(side: Side) -> Array:
    """How much of each point is of which region: (K, points)."""
    masks: Array = _points(side.masks).flatten(1).numpy()
    return masks


def _points(stack: Tensor) -> Tensor:
    return area_average(stack.detach().cpu().double(), *fit_within(*size_of(stack), POINTS))


def _colour_basis(side: Side) -> Array:
    """The monomials of the photo's colours and its regions but the last, for each pixel: (20 + K − 1, n)."""
    own = side.once(small_lab)
    colours = own.reshape(3, -1) / np.array([[HALF_LIGHTNESS], [USUAL_CHROMA], [USUAL_CHROMA]])
    colours[0] -= 1
    monomials = [
        np.prod(colours[list(powers)], axis=0)
        for degree in range(DEGREE + 1)
        for powers in combinations_with_replacement(range(3), degree)
    ]
    # Where the regions cover the picture the last one is the constant less the others.
    regions = _reduced(side.masks[:-1], own).reshape(-1, colours.shape[1])
    basis: Array = np.concatenate((np.stack(monomials), regions))
    return basis


def _reduced(masks: Tensor, like: Array) -> Array:
    """Masks (K, H, W) by area to the size of a small picture."""
    small: Array = area_average(masks.detach().cpu().double(), *like.shape[1:]).numpy()
    return small


def _drift(photo: Side, picture: Array) -> Array:
    """What no affine map of the photo's colours explains around each pixel, in ΔE: (h, w)."""
    target = torch.from_numpy(picture).float()
    radius = max(
        1, round(STAIN_RADIUS * min(1, max(picture.shape) / DRIFT_SIDE))
    )  # the same area of a smaller picture
    left: Array = affine_residual(photo.once(at_drift_size), target, radius, DRIFT_RIDGE).sqrt().numpy()
    return left


def _allowed_drift(photo: Side, reference: Side) -> Array:
    """The larger drift of the photo and of the photo recoloured as a whole."""
    own, style = photo.once(at_drift_size), reference.once(at_drift_size)
    source, target = (region_moments(each, torch.ones(size_of(each))) for each in (own, style))
    colour_map = torch.from_numpy(monge_kantorovich(source, target)).float()
    recoloured = apply_affine_maps(colour_map[..., None, None].expand(-1, -1, *size_of(own)), own)
    drifts = (_drift(photo, each) for each in (photo.once(small_lab), lab(recoloured.clamp(0, 1))))
    larger: Array = np.maximum(*drifts)
    return larger


def _warm(picture: Array) -> NDArray[np.bool_]:
    lightness, a, b = picture
    measured = np.degrees(np.arctan2(b, a)), np.hypot(a, b), lightness
    bounds = SKIN_HUE, SKIN_CHROMA, SKIN_LIGHTNESS
    inside = [(each > low) & (each < high) for each, (low, high) in zip(measured, bounds, strict=True)]
    coloured: NDArray[np.bool_] = np.all(inside, axis=0)
    return coloured


def _mean(values: Array | NDArray[np.bool_], weights: Array) -> float:
    """Weighted mean; 0 where nothing counts."""
    total = float(weights.sum())
    return float((values * weights).sum()) / total if total > 0 else 0.0
