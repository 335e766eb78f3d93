"""Colour transfers that take a second, region by region: what a slow method has to beat.

A third one, the Monge-Kantorovich map, is the library's own (`colour.region_colour_maps`, preset `instant`). All take
content (3, H, W) and style (3, h, w), sRGB in [0, 1], and masks (K, H, W) and (K, h, w): region k of one is to look
like region k of the other. Regions are blended by the content's masks, and what no region covers keeps the colours of
the photo.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.exposure import match_histograms
from torch import Tensor

from photostyle.errors import PhotostyleError
from photostyle.evaluation.scores import HALF_LEVEL
from photostyle.regions.colour import region_moments

Array = NDArray[np.float64]
Transfer = Callable[[Array, Array, Array, Array], Array]

# Reinhard et al. 2001: RGB to LMS (eq. 4), and log LMS to lαβ (eq. 6): achromatic, yellow-blue, red-green.
LMS = np.array([[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]])
OPPONENT = np.diag(np.sqrt([1 / 3, 1 / 6, 1 / 2])) @ np.array([[1, 1, 1], [1, 1, -2], [1, -1, 0]])

# A spread below that of rounding to 8 bits at white says nothing, so this stands for it.
LEAST_SPREAD = np.log10(1 + HALF_LEVEL)
LARGEST_POWER = 300.0  # of ten: float64 ends at 308, and the difference of two infinities is no number


def reinhard(content: Tensor, style: Tensor, content_masks: Tensor, style_masks: Tensor) -> Tensor:
    """Means and standard deviations of every region in lαβ (Reinhard et al., IEEE CG&A 21(5), 2001). -> (3, H, W).

    On each axis x' = mean_s + (x - mean_c) sd_s / sd_c (eqs. 10 and 11), weighted by the masks. The matrices are
    applied to the values as they stand in the file, as is customary, and undone by their exact inverses, of which the
    paper prints four digits (eqs. 8 and 9). L, M and S below half an 8-bit level count as half a level, because zero
    has no logarithm (eq. 5). Colours outside [0, 1] are clipped. Raises PhotostyleError where shapes disagree or a
    region is empty in either picture.
    """
    return _by_region(_ruderman_statistics, content, style, content_masks, style_masks)


def histogram_matching(content: Tensor, style: Tensor, content_masks: Tensor, style_masks: Tensor) -> Tensor:
    """The histogram of every region and channel becomes the style's (scikit-image's match_histograms). -> (3, H, W).

    Each of R, G and B by itself: x' = F_s^-1(F_c(x)) with F the cumulative histograms (Gonzalez & Woods, Digital Image
    Processing, section 3.3). Every pixel that a soft mask touches counts fully, in both pictures. Errors as for
    `reinhard`.
    """
    return _by_region(_histograms, content, style, content_masks, style_masks)


def to_ruderman(colours: Array) -> Array:
    """RGB (3, n) in [0, 1] -> lαβ (3, n), in powers of ten (Ruderman et al., JOSA A 15(8), 1998)."""
    opponent: Array = OPPONENT @ np.log10(np.maximum(LMS @ colours, HALF_LEVEL))
    return opponent


def from_ruderman(opponent: Array) -> Array:
    """The inverse of `to_ruderman`, not clipped. (3, n) -> (3, n)."""
    powers = np.minimum(np.linalg.solve(OPPONENT, opponent), LARGEST_POWER)
    colours: Array = np.linalg.solve(LMS, 10**powers)
    return colours


def _ruderman_statistics(ours: Array, weights: Array, theirs: Array, their_weights: Array) -> Array:
    source, target = to_ruderman(ours), to_ruderman(theirs)
    (mean, spread), (their_mean, their_spread) = _moments(source, weights), _moments(target, their_weights)
    return from_ruderman(their_mean + (source - mean) * (their_spread / spread))


def _moments(values: Array, weights: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of each axis, (3, 1) both."""
    mean, covariance = region_moments(torch.from_numpy(values), torch.from_numpy(weights))
    spread = np.maximum(np.sqrt(np.diag(covariance)), LEAST_SPREAD)
    return mean[:, None], spread[:, None]


def _histograms(ours: Array, weights: Array, theirs: Array, their_weights: Array) -> Array:
    matched: Array = match_histograms(ours, theirs, channel_axis=0)
    return matched


def _by_region(
    transfer: Transfer, content: Tensor, style: Tensor, content_masks: Tensor, style_masks: Tensor
) -> Tensor:
    """Apply the transfer to the colours (3, n) and weights (n,) of each region, and blend the results by the masks."""
    _check(content, style, content_masks, style_masks)
    photo, reference = _array(content), _array(style)
    regions, references = _array(content_masks), _array(style_masks)
    result = photo * (1 - regions.sum(0))
    for mask, their_mask in zip(regions, references, strict=True):
        inside, there = mask > 0, their_mask > 0
        changed = transfer(photo[:, inside], mask[inside], reference[:, there], their_mask[there])
        result[:, inside] += mask[inside] * changed.clip(0, 1)
    return torch.from_numpy(result.clip(0, 1)).to(content)


def _check(content: Tensor, style: Tensor, content_masks: Tensor, style_masks: Tensor) -> None:
    shapes = [tuple(each.shape) for each in (content, content_masks, style, style_masks)]
    if shapes[0][1:] != shapes[1][1:] or shapes[2][1:] != shapes[3][1:] or shapes[1][0] != shapes[3][0]:
        raise PhotostyleError(
            f"content {shapes[0]} has masks {shapes[1]} and style {shapes[2]} has masks {shapes[3]}; "
            "give masks of their picture's size, as many for one as for the other"
        )
    for name, masks in (("content", content_masks), ("style", style_masks)):
        if empty := [k for k, mask in enumerate(masks) if not bool((mask > 0).any())]:
            raise PhotostyleError(f"region {empty[0]} of the {name} is empty; leave it out on both sides")


def _array(tensor: Tensor) -> Array:
    array: Array = tensor.detach().cpu().double().numpy()
    return array
