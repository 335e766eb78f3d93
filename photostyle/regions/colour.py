"""The Monge-Kantorovich colour map: the closed-form optimal transport between two colour Gaussians.

The map is where the optimisation starts, what the preset `instant` gives, and the baseline of every result.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from photostyle.imaging.opponent import AXES
from photostyle.regions.mixture import Moments, Reference, alone, mixed_moments

# Added to both covariances: (2/255)^2, below which the variation of an 8-bit picture is noise. It bounds the gain of a
# flat region (a clipped sky) and hardly changes ordinary ones.
RIDGE = (2 / 255) ** 2
# (0.5/255)^2: chroma that varies by less than rounding to 8 bits makes is none.
ROUNDING = (0.5 / 255) ** 2
# What a map may stretch colours by where nothing says that a region is related to its reference: a cat's fur, all of
# one hue, goes every colour of a forest else. Judged on the unrelated photographs of experiment 013: at 2 fur is green.
GAIN = 1.5
# In levels of chroma: what differs by less from a picture's mean is rounding, or what JPEG leaves of a grey.
NO_CHROMA = 2 / 255


def without_foreign_chroma(image: Tensor, pictures: Sequence[Tensor], part: float | Tensor = 1.0) -> Tensor:
    """An image (3, H, W) without chroma along directions in which none of the pictures (3, ...) has any.

    part: how much of it is taken off, one number or one per pixel (H, W), 0 to 1. A grey photo with a grey reference
    stays grey, whatever an optimisation through a few filters makes of it. In ordinary pictures chroma has both
    directions, and nothing is changed.
    """
    chroma = AXES[1:].to(image)
    seen = torch.cat([chroma @ each.to(image).flatten(1) for each in pictures], 1)
    mean = seen.mean(1, keepdim=True)
    _, axes = torch.linalg.eigh((seen - mean) @ (seen - mean).T)
    foreign = axes.T[(axes.T @ (seen - mean)).abs().amax(1) < NO_CHROMA]
    if not len(foreign):
        return image
    strange = foreign.T @ (foreign @ (chroma @ image.flatten(1) - mean))
    left: Tensor = image - part * (chroma.T @ strange).view(image.shape)
    return left.clamp(0, 1)


def region_moments(image: Tensor, mask: Tensor) -> Moments:
    """Weighted mean (3,) and covariance (3, 3) of the colours of a region, float64.

    image (3, H, W), mask (H, W) with a positive sum.
    """
    weight = (mask / mask.sum()).double().flatten()
    colours = image.double().flatten(1)
    mean = colours @ weight
    centred = colours - mean[:, None]
    return mean.cpu().numpy(), ((centred * weight) @ centred.T).cpu().numpy()


def monge_kantorovich(
    source: Moments, target: Moments, ridge: float = RIDGE, target_ridge: np.ndarray | None = None
) -> np.ndarray:
    """The affine map that carries one Gaussian onto another at the least squared cost. Moments -> (3, 4).

    ridge: added to both covariances, in the squared unit of the colours; target_ridge (3, 3): to the target's instead.

    T = C^-1/2 (C^1/2 S C^1/2)^1/2 C^-1/2, offset so that the means meet:
    Pitie & Kokaram, "The Linear Monge-Kantorovitch Linear Colour Mapping" (CVMP 2007), eq. 8.
    """
    (mean_c, cov_c), (mean_s, cov_s) = source, target
    identity = ridge * np.eye(3)
    root = symmetric_root(cov_c + identity)
    inverse_root = np.linalg.inv(root)
    wanted = cov_s + (identity if target_ridge is None else target_ridge)
    slopes = inverse_root @ symmetric_root(root @ wanted @ root) @ inverse_root
    return np.column_stack((slopes, mean_s - slopes @ mean_c))


def without_absent_chroma(covariance: np.ndarray) -> np.ndarray:
    """RIDGE times the identity (3, 3), but for the chroma that a covariance of RGB has not: a grey stays grey.

    A direction of chroma of variance s has its s / (s + ROUNDING), so that of equal distributions the map still is the
    identity to a fraction of a level.
    """
    grey, chroma = AXES.numpy()[:1].astype(float), AXES.numpy()[1:].astype(float)
    values, vectors = np.linalg.eigh(chroma @ covariance @ chroma.T)
    seen = np.maximum(values, 0) / (np.maximum(values, 0) + ROUNDING)
    axes = vectors.T @ chroma
    ridge: np.ndarray = RIDGE * (grey.T @ grey + (axes.T * seen) @ axes)
    return ridge


def colour_map_between(source: Moments, goal: Moments) -> np.ndarray:
    """The map of one region's colours to its goal, (3, 4): `monge_kantorovich`, which invents no chroma."""
    return monge_kantorovich(source, goal, target_ridge=without_absent_chroma(goal[1]))


def region_colour_maps(content: Tensor, content_masks: Tensor, style: Tensor, style_masks: Tensor) -> Tensor:
    """One Monge-Kantorovich map per region. Images (3, H, W), masks (K, H, W) -> (K, 3, 4) on the content's device."""
    return mixture_colour_maps(content, content_masks, alone(style, style_masks))


def mixture_colour_maps(
    content: Tensor, content_masks: Tensor, references: Sequence[Reference], boldness: Tensor | None = None
) -> Tensor:
    """The same with several references: onto the mean and covariance of each region's mixture.

    boldness: (K,) in [0, 1], how far each map may stretch colours, see `calmed`; None: as far as it does.
    """
    maps = []
    for region, mask in enumerate(content_masks):
        target = [
            (float(each.weights[region]), region_moments(each.image, each.masks[region]))
            for each in references
            if each.weights[region] > 0
        ]
        source = region_moments(content, mask)
        goal = mixed_moments(target)
        colour_map = colour_map_between(source, goal)
        bold = 1.0 if boldness is None else float(boldness[region])
        maps.append(colour_map if bold == 1 else calmed(colour_map, source[0], bold))
    return torch.from_numpy(np.stack(maps)).to(content)


def calmed(colour_map: np.ndarray, mean: np.ndarray, boldness: float) -> np.ndarray:
    """A map (3, 4) that stretches no direction by much more than GAIN and takes the mean (3,) where it was taken.

    A gain g above GAIN becomes GAIN (g / GAIN)^boldness: itself at 1, GAIN at 0.
    """
    gains, axes = np.linalg.eigh((colour_map[:, :3] + colour_map[:, :3].T) / 2)
    slopes = (
        axes * np.where(gains > GAIN, GAIN * (np.maximum(gains, GAIN) / GAIN) ** boldness, gains)
    ) @ axes.T
    return np.column_stack((slopes, colour_map @ np.append(mean, 1) - slopes @ mean))


def symmetric_root(matrix: np.ndarray) -> np.ndarray:
    """The square root of a symmetric matrix; eigenvalues that rounding left below 0 count as 0. (n, n) -> (n, n)."""
    values, vectors = np.linalg.eigh(matrix)
    root: np.ndarray = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return root
