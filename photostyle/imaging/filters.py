"""Linear filters on images: resizing, box means, local affine regression (the core of the guided filter).

Everything here is a function of tensors, on any device, and knows nothing of style transfer.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from photostyle.kernels import boxes, pyramid
from photostyle.kernels.compiler import in_parts, usable

# Rec. 709 luma of the gamma-encoded values, as ITU-R BT.709-6 item 3.2 defines it.
LUMA = (0.2126, 0.7152, 0.0722)

# ImageNet's channel means and deviations for sRGB in [0, 1], with which torchvision, timm and mmsegmentation train.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)

# Rows of a picture that are worked on together where a whole one would take too much memory.
STRIP = 256

# Cells of an area average that are computed together: 12 MP onto 700 px take 0.1 s, all cells at once 1.1 s.
CELLS_AT_ONCE = 32


def luma(image: Tensor) -> Tensor:
    """Rec. 709 luma of sRGB values. (3, H, W) -> (H, W), same range."""
    return torch.einsum("c,chw->hw", image.new_tensor(LUMA), image)


def resize(image: Tensor, height: int, width: int) -> Tensor:
    """Resize (C, H, W) to (C, height, width): triangle filter, antialiased when shrinking.

    A convex combination of pixels, so the range of the values is kept.
    """
    if image.shape[-2:] == (height, width):
        return image
    scaled = F.interpolate(
        image[None], size=(height, width), mode="bilinear", antialias=True, align_corners=False
    )
    return scaled[0].contiguous()


def area_average(image: Tensor, height: int, width: int) -> Tensor:
    """The exact mean over each cell of an even grid: (C, H, W) -> (C, height, width), smaller or larger.

    As exact on masks as on pictures: a region keeps its share of the picture.
    """
    if image.shape[-2:] == (height, width):
        return image
    across = [image[..., inside] @ part.T for inside, part in _cells(image.shape[-1], width, image)]
    lines = torch.cat(across, -1)
    return torch.cat([part @ lines[:, inside] for inside, part in _cells(image.shape[-2], height, image)], -2)


def _cells(pixels: int, cells: int, like: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """A side cut into equal cells: the pixels in some of the cells, and the part of each cell that each pixel fills.

    Yields CELLS_AT_ONCE cells at a time, as a slice of pixels and (cells, pixels). In one matrix of all cells by all
    pixels nearly every part would be zero.
    """
    edges = torch.arange(cells + 1, dtype=torch.float64) * pixels / cells
    for first in range(0, cells, CELLS_AT_ONCE):
        borders = edges[first : first + CELLS_AT_ONCE + 1]
        inside = slice(int(borders[0]), math.ceil(borders[-1]))
        left = torch.arange(inside.start, inside.stop, dtype=torch.float64)
        overlap = torch.minimum(borders[1:, None], left + 1) - torch.maximum(borders[:-1, None], left)
        yield inside, (overlap.clamp(min=0) * cells / pixels).to(like)


def unchanged(photo: Tensor, picture: Tensor) -> float:
    """The share of a photo's variance that a picture of it has as it was, 0 to 1. (3, H, W) twice.

    1 - |picture - photo|^2 / |photo - its mean|^2, never below 0: the coefficient of determination of the photo taken
    as the picture's prediction, in the photo's variance. A photo of one colour has nothing to keep: 0.
    """
    own = photo.double()
    variance = (own - own.mean((1, 2), keepdim=True)).square().sum()
    return (
        float((1 - (picture.double() - own).square().sum() / variance).clamp(min=0)) if variance > 0 else 0.0
    )


def size_of(image: Tensor) -> tuple[int, int]:
    """(height, width) of (..., H, W)."""
    return image.shape[-2], image.shape[-1]


def fit_within(height: int, width: int, long_side: int) -> tuple[int, int]:
    """The size of the same aspect with this long side: never larger than the original, no side below 1."""
    longest = max(height, width)
    if longest <= long_side:
        return height, width
    return max(1, round(height * long_side / longest)), max(1, round(width * long_side / longest))


def halve(image: Tensor, times: int = 1) -> Tensor:
    """Average 2x2 blocks `times` times; an odd last row or column is dropped. Once: (C, H, W) -> (C, H/2, W/2)."""
    for _ in range(times):
        compiled = image.ndim == 3 and usable(image)
        image = _Halved.apply(image) if compiled else F.avg_pool2d(image, 2)
    return image


class _Halved(torch.autograd.Function):
    """The same, compiled, with the gradient that goes back to each pixel: a quarter."""

    @staticmethod
    def forward(ctx: Any, image: Tensor) -> Tensor:
        ctx.size = image.shape
        small = torch.empty(len(image), image.shape[1] // 2, image.shape[2] // 2)
        pyramid.halve(image.detach().contiguous().numpy(), small.numpy())
        return small

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        gradient = torch.zeros(ctx.size)
        add_doubled(gradients[0], gradient)
        return gradient


def add_doubled(small: Tensor, total: Tensor) -> None:
    """The transpose of `halve`, in place: adds a quarter of each pixel to its block. (C, h, w), total (C, H, W)."""
    if usable(small, total) and total.is_contiguous():
        pyramid.add_doubled(small.detach().contiguous().numpy(), total.detach().numpy())
        return
    blocks = total[:, : 2 * small.shape[1], : 2 * small.shape[2]].unflatten(2, (-1, 2)).unflatten(1, (-1, 2))
    blocks += 0.25 * small[:, :, None, :, None]


def box_mean(image: Tensor, radius: int) -> Tensor:
    """Mean over the (2r+1)x(2r+1) window clipped to the picture. (C, H, W) -> (C, H, W).

    The number of a window's pixels is a product, so the clipped means are exact. Where there is no gradient to take,
    compiled running sums in float64, else two one-dimensional passes.
    """
    if usable(image) and not _differentiable(image):
        given, means = image.detach().contiguous().numpy(), np.empty(image.shape, np.float32)
        in_parts(
            lambda first, end: boxes.box_means(given, radius, means, first, end),
            boxes.strips(image.shape[1]) * len(image),
        )
        return torch.from_numpy(means)
    size = 2 * radius + 1
    rows = F.avg_pool2d(image[None], (size, 1), 1, (radius, 0), count_include_pad=False)
    return F.avg_pool2d(rows, (1, size), 1, (0, radius), count_include_pad=False)[0]


def invert_symmetric(matrix: Tensor) -> Tensor:
    """Inverse of symmetric 3x3 matrices by the adjugate. (3, 3, ...) -> (3, 3, ...).

    On hundreds of thousands of tiny systems this is ten times as fast as LAPACK in batches.
    """
    a, b, c = matrix[0, 0], matrix[0, 1], matrix[0, 2]
    d, e, f = matrix[1, 1], matrix[1, 2], matrix[2, 2]
    m00, m01, m02 = d * f - e * e, c * e - b * f, b * e - c * d
    m11, m12, m22 = a * f - c * c, b * c - a * e, a * d - b * b
    determinant = a * m00 + b * m01 + c * m02
    rows = (torch.stack((m00, m01, m02)), torch.stack((m01, m11, m12)), torch.stack((m02, m12, m22)))
    return torch.stack(rows) / determinant


def local_affine_maps(guide: Tensor, target: Tensor, radius: int, ridge: float | Tensor) -> Tensor:
    """Least-squares affine map of the guide's colours to the target in the window around each pixel.

    guide (3, H, W), target (C, H, W) -> (C, 4, H, W): three slopes and an offset,
    argmin over a, b of mean_window (target - a.guide - b)^2 + ridge |a|^2: He, Sun & Tang, "Guided Image
    Filtering" (ECCV 2010), eq. 14-15. ridge is in squared image units, one number or one per pixel (H, W).
    Computed in float64, because a covariance is a difference of nearly equal numbers, and returned in the guide's type.
    """
    if usable(guide, target) and not _differentiable(guide, target):
        maps = np.empty((len(target), 4, *guide.shape[1:]), np.float32)
        _regress(guide, target, radius, ridge, maps, np.empty((1, 0)))
        return torch.from_numpy(maps)
    g, t = guide.double(), target.double()
    mean_g, mean_t = box_mean(g, radius), box_mean(t, radius)
    covariance = _box_products(g, g, radius) - mean_g[:, None] * mean_g[None]
    covariance.diagonal(dim1=0, dim2=1).add_(torch.as_tensor(ridge).to(g)[..., None])
    cross = _box_products(t, g, radius) - mean_t[:, None] * mean_g[None]
    slopes = torch.einsum("cjhw,jkhw->ckhw", cross, invert_symmetric(covariance))
    offset = mean_t - torch.einsum("ckhw,khw->chw", slopes, mean_g)
    return torch.cat((slopes, offset[:, None]), 1).to(guide.dtype)


def affine_residual(guide: Tensor, target: Tensor, radius: int, ridge: float) -> Tensor:
    """What the best affine map of the guide's colours leaves of the target in the window around each pixel.

    guide (3, H, W), target (C, H, W) -> (H, W) in float64, summed over the target's channels: min over a, b of
    mean_window (t - a . g - b)^2 + ridge |a|^2 = var(t) - c^T (S + ridge)^-1 c, with S the covariance of the guide and
    c that of guide and target: Levin et al. 2008, eq. 3, for windows of any size, clipped at the border. ridge is in
    squared units of the guide.
    """
    if usable(guide, target) and not _differentiable(guide, target):
        left = np.empty(guide.shape[1:])
        _regress(guide, target, radius, ridge, np.empty((len(target), 4, 1, 0), np.float32), left)
        return torch.from_numpy(left).clamp_(min=0)
    guide, target = guide.double(), target.double()
    g = guide - guide.mean((1, 2), keepdim=True)
    t = target - target.mean((1, 2), keepdim=True)
    mean_g, mean_t = box_mean(g, radius), box_mean(t, radius)
    s = _box_products(g, g, radius) - mean_g[:, None] * mean_g[None]
    s += ridge * torch.eye(3, dtype=g.dtype, device=g.device)[:, :, None, None]
    c = _box_products(g, t, radius) - mean_g[:, None] * mean_t[None]
    # A pivoted solve: the S of a grey photo is singular but for a ridge of 1e-8, where an adjugate has no digits left.
    a = torch.linalg.solve(s.permute(2, 3, 0, 1), c.permute(2, 3, 0, 1)).permute(2, 3, 0, 1)
    variance = box_mean(t * t, radius) - mean_t * mean_t
    explained: Tensor = (c * a).sum((0, 1))
    # What is below zero is rounding.
    return (variance.sum(0) - explained).clamp(min=0)


def _box_products(a: Tensor, b: Tensor, radius: int) -> Tensor:
    """Window means of all products of channels. (A, H, W), (B, H, W) -> (A, B, H, W)."""
    products = (a[:, None] * b[None]).flatten(0, 1)
    return box_mean(products, radius).reshape(len(a), len(b), *a.shape[1:])


def _regress(
    guide: Tensor, target: Tensor, radius: int, ridge: float | Tensor, maps: np.ndarray, left: np.ndarray
) -> None:
    """The compiled regression into maps or residuals, whichever of the two is not empty."""
    g, t = (each.detach().contiguous() for each in (guide, target))
    centre = torch.cat([each.mean((1, 2), dtype=torch.float64) for each in (g, t)]).numpy()
    height, width = size_of(guide)
    rows = height if isinstance(ridge, Tensor) and ridge.ndim else 1
    ridges = torch.as_tensor(ridge).double().expand(rows, width).contiguous().numpy()
    ours, theirs = g.numpy(), t.numpy()
    in_parts(
        lambda *strips: boxes.affine_regression(ours, theirs, centre, radius, ridges, maps, left, *strips),
        boxes.strips(height),
    )


def _differentiable(*images: Tensor) -> bool:
    return torch.is_grad_enabled() and any(image.requires_grad for image in images)


def apply_affine_maps(maps: Tensor, image: Tensor) -> Tensor:
    """Each pixel through its own affine map. maps (C, 4, H, W), image (3, H, W) -> (C, H, W)."""
    return torch.einsum("ckhw,khw->chw", maps[:, :3], image) + maps[:, 3]
