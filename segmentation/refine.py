"""Regions that follow the photograph: hard or blurred borders become soft ones along hair, leaves and roofs.

Far from every border a pixel stays in its region. In a band around the borders the closed-form matting Laplacian of the
photo decides (Levin, Lischinski & Weiss, TPAMI 2008), with a weak prior towards the given masks. The prior is zero at a
border, where the masks are least reliable, and grows with the distance from it.

The numbers below were chosen by eye, on ten published photos of 700 px whose painted masks were roughened (waves of
6 px, blocks of 16 px, 5 px too wide, blurred as segmenters blur), and on composites of known hair.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import csr_array
from torch import Tensor

from photostyle.imaging.filters import apply_affine_maps, local_affine_maps, resize
from photostyle.imaging.matting import matting_laplacian
from photostyle.imaging.rendering import MAP_RIDGE, enlarged_strips
from segmentation.screened import solve_screened

# Half the width of the band as a share of the long side: 10 pixels of 700. Pixels left wrong with 0.011, 0.014, 0.018:
# 0.74, 0.66, 0.71 % of the waves, 0.84, 0.77, 0.77 % of the blocks, 0.52, 0.58, 0.64 % of masks that were not
# roughened.
BAND = 0.014
NARROWEST = 2.0  # pixels: a border that is drawn or computed is off by one or two at any size
# Weight of the prior where it is largest. With a tenth of it more of the untouched masks is wrong (0.64 in place of
# 0.58 %), with ten times as much more of the roughened ones (blocks 0.97 in place of 0.77 %).
PRIOR = 1e-2
# Ridge of the Laplacian in squared image units. With 1e-7 (published), this and 1e-4: error of the hair 0.63, 0.68,
# 0.79 thousand pixels, of the blocks 0.84, 0.77, 0.74 % wrong.
LAPLACIAN_RIDGE = 1e-5
# A share under this part of the pixel's largest is haze and goes to the others. With 0, 0.05, 0.1, 0.2: error of the
# waves 1.28, 1.09, 0.99, 0.87 %, of the hair 0.70, 0.66, 0.68, 0.77 thousand pixels.
HAZE = 0.1
KEPT = 0.5  # a region that would keep less than half of its area was too fine, and is held as given

# Larger photos are reduced: per megapixel the Laplacian takes 4 s, and 0.5 GB while it is built.
PIXELS = 1_000_000
# So are photos with more pixels in bands: as many take 3 s for eight regions, and a megapixel has about as many.
UNKNOWNS = 150_000
SMALLEST = 5  # pixels per side: below, a 3x3 window is all border
# Of the regression by which masks are enlarged: the smallest windows. Radius 2 blurs by a third more.
MAP_RADIUS = 1

Array = NDArray[np.float64]


def refine_masks(photo: Tensor, masks: Tensor, *, say: Callable[[str], None] = lambda _: None) -> Tensor:
    """Let the borders of regions follow the photo. photo (3, H, W) in [0, 1], masks (K, H, W) -> (K, H, W), soft.

    masks: hard labels or probabilities. The sum of each pixel is kept, and a pixel of sum 0 stays in no region. A
    single region has no border and is returned as it is, and so are the masks of a photo under 5 pixels per side. say:
    is told where the photo was reduced and where a region was kept as given. Raises ComputationError where the system
    cannot be solved.
    """
    if len(masks) == 1 or min(photo.shape[-2:]) < SMALLEST or not masks.any():
        return masks
    shares, weight = _reduced(masks)
    size = weight.shape
    small = resize(photo, *size)
    soft = torch.from_numpy(_matte(small, shares, weight, say)).to(masks)
    if size != photo.shape[-2:]:
        say(f"regions were refined at {size[1]}x{size[0]} and carried to {photo.shape[-1]}x{photo.shape[-2]}")
        soft = _enlarge(photo, small, soft)
    return soft.mul_(masks.sum(0))


def _reduced(masks: Tensor) -> tuple[Array, Array]:
    """Shares (K, h, w) that sum to 1 and the weight (h, w) of each pixel's prior, at a size that takes seconds."""
    height, width = masks.shape[-2:]
    pixels = float(PIXELS)
    while True:
        scale = min(1.0, (pixels / (height * width)) ** 0.5)
        size = max(SMALLEST, round(height * scale)), max(SMALLEST, round(width * scale))
        # One region at a time: for ten of 12 megapixels the work space would be as large as they are.
        shares = _covering(torch.cat([resize(mask[None], *size) for mask in masks]).double().cpu().numpy())
        weight = prior_weight(shares)
        unknown = int(np.isfinite(weight).sum())
        if unknown <= UNKNOWNS:
            return shares, weight
        # A band is a share of the picture and shrinks with it. Without 0.95, rounding could keep the size for ever.
        pixels = 0.95 * size[0] * size[1] * UNKNOWNS / unknown


def _covering(masks: Array) -> Array:
    """Shares of sum 1 in every pixel: a pixel that no region covers takes those of the nearest one that is covered."""
    coverage = masks.sum(0)
    if not coverage.all():
        nearest = ndimage.distance_transform_edt(coverage == 0, return_distances=False, return_indices=True)
        masks, coverage = masks[:, *nearest], coverage[tuple(nearest)]
    shares: Array = masks / coverage
    return shares


def prior_weight(shares: Array) -> Array:
    """(h, w): infinite where the region of a pixel is beyond doubt, else PRIOR (depth / thickness)^2.

    depth: distance to the border of the region with the largest share. thickness: the largest depth that the region
    has nearby, at most half the band. So a mast is held along its middle as firmly as a house inside its walls.
    """
    labels = shares.argmax(0)
    band = max(NARROWEST, BAND * max(labels.shape))
    nearby = 2 * int(np.ceil(band)) + 1
    depth, thickness = np.full(labels.shape, band + 1), np.full(labels.shape, band)
    for region in np.unique(labels):
        inside = labels == region
        if inside.all():
            break
        inner = np.where(inside, ndimage.distance_transform_edt(inside) - 0.5, 0)
        depth[inside] = inner[inside]
        thickness[inside] = ndimage.maximum_filter(inner, nearby)[inside]
    prior = PRIOR * np.minimum(depth / np.minimum(thickness, band), 1) ** 2
    certain = (depth > band) & (_cleared(shares).max(0) == 1)
    return np.where(certain, np.inf, prior)


def _cleared(shares: Array) -> Array:
    """The shares without haze and without what a solution has outside [0, 1], again of sum 1."""
    clear = (shares - HAZE * shares.max(0)).clip(0)
    cleared: Array = clear / clear.sum(0)
    return cleared


def _matte(photo: Tensor, shares: Array, weight: Array, say: Callable[[str], None]) -> Array:
    """Soft regions (K, h, w) of a photo of their size. A region that would vanish is held and the rest solved again."""
    pixels = photo.permute(1, 2, 0).double().cpu().numpy()
    laplacian = matting_laplacian(pixels, LAPLACIAN_RIDGE)
    alphas = _solve(laplacian, pixels, shares, weight)
    labels = shares.argmax(0)
    lost = alphas.sum((1, 2)) < KEPT * np.bincount(labels.ravel(), minlength=len(shares))
    held = lost[labels]
    if not held.any():
        return alphas
    for region in np.flatnonzero(lost):
        say(f"region {region + 1} of {len(shares)} is too fine to be refined: its pixels were kept")
    return _solve(laplacian, pixels, shares, np.where(held, np.inf, weight))


def _solve(laplacian: csr_array, photo: NDArray[np.float64], shares: Array, weight: Array) -> Array:
    alphas = solve_screened(laplacian, photo, weight.ravel(), shares.reshape(len(shares), -1).T)
    return _cleared(alphas.T.reshape(shares.shape))


def _enlarge(photo: Tensor, small: Tensor, soft: Tensor) -> Tensor:
    """Soft regions (K, h, w) of the reduced photo at its own size, by affine maps from its colours to each share.

    Colours are enlarged in the same way, see `rendering.enlarge`. It is done in strips of rows, because
    ten regions of 12 megapixels are half a gigabyte.
    """
    result = soft.new_empty(len(soft), *photo.shape[-2:])
    maps = torch.stack([local_affine_maps(small, alpha[None], MAP_RADIUS, MAP_RIDGE)[0] for alpha in soft])
    for top, wide in enlarged_strips(maps, *photo.shape[-2:]):
        rows = slice(top, top + wide.shape[-2])
        strip = apply_affine_maps(wide, photo[:, rows])
        strip.sub_(HAZE * strip.amax(0)).clamp_(min=0)  # _cleared
        result[:, rows] = strip.div_(strip.sum(0))
    return result
