"""What a run may start from, and all there is to the preset `instant`: regions recoloured, borders feathered."""

from collections.abc import Iterator

import torch
from torch import Tensor

from photostyle.imaging.filters import (
    IMAGENET_MEAN,
    STRIP,
    apply_affine_maps,
    box_mean,
    fit_within,
    local_affine_maps,
    resize,
)
from photostyle.imaging.rendering import enlarged_strips

FEATHER_SIDE = 256  # long side at which masks are fitted to the photo's edges, in pixels
# Ridge of the feather in squared image units: edges well above a step of 0.02 (five 8-bit levels) are followed.
FEATHER_RIDGE = 4e-4
NOISE = 1e-4 / 256  # std of the released start: randn * 1e-4 around the mean colour, on its 256 scale


def feather(photo: Tensor, masks: Tensor, radius: int) -> Tensor:
    """Let hard region borders follow the photo's edges. photo (3, H, W), masks (K, H, W) -> (K, H, W).

    The fast guided filter (He & Sun, arXiv 1505.00996): maps fitted on a small copy, applied to the photo itself,
    so the cost hardly grows with the photo. radius is in pixels of that copy (256 px). The sum of a pixel is kept.
    """
    if radius == 0 or len(masks) == 1:
        return masks
    soft = torch.empty_like(masks)
    for rows, strip in feathered_strips(photo, masks, radius):
        soft[:, rows] = strip
    return soft


def feathered_strips(photo: Tensor, masks: Tensor, radius: int) -> Iterator[tuple[slice, Tensor]]:
    """`feather` some rows at a time, for who has no room for all: which rows, and (K, rows, W)."""
    height, width = photo.shape[-2:]
    if radius == 0 or len(masks) == 1:
        for top in range(0, height, STRIP):
            yield (rows := slice(top, top + STRIP)), masks[:, rows]
        return
    small = fit_within(height, width, FEATHER_SIDE)
    maps = local_affine_maps(resize(photo, *small), resize(masks, *small), radius, FEATHER_RIDGE)
    maps = box_mean(maps.flatten(0, 1), radius).unflatten(0, (len(masks), 4))
    for top, wide in enlarged_strips(maps, height, width):
        rows = slice(top, top + wide.shape[-2])
        soft = apply_affine_maps(wide, photo[:, rows]).clamp_(0, 1)
        yield rows, soft * (masks[:, rows].sum(0) / soft.sum(0).clamp(min=1e-6))


def recoloured(photo: Tensor, masks: Tensor, maps: Tensor, radius: int) -> Tensor:
    """`recolour` with borders feathered by so many pixels. (3, H, W), (K, H, W), (K, 3, 4) -> (3, H, W).

    In strips of rows: whole, the soft masks and what comes out on the way are several times the picture.
    """
    result = torch.empty_like(photo)
    for rows, soft in feathered_strips(photo, masks, radius):
        result[:, rows] = recolour(photo[:, rows], soft, maps)
    return result


def recolour(photo: Tensor, masks: Tensor, maps: Tensor) -> Tensor:
    """Each region through its colour map, blended by the masks; what no region covers stays as it is.

    photo (3, H, W), masks (K, H, W), maps (K, 3, 4) -> (3, H, W), clamped to [0, 1].
    """
    result = photo * (1 - masks.sum(0))
    for mask, colour_map in zip(masks, maps, strict=True):
        mapped = torch.einsum("ck,khw->chw", colour_map[:, :3], photo)
        result += mask * mapped.add_(colour_map[:, 3, None, None])
    return result.clamp_(0, 1)


def noise(photo: Tensor, seed: int) -> Tensor:
    """The released start: Gaussian noise around the mean colour (neuralstyle_seg.lua: randn * 1e-4). (3, H, W).

    The mean colour is ImageNet's, which a zero of the released code's variable stands for.
    """
    # Drawn on the CPU: one seed gives one picture on every device.
    drawn = torch.randn(photo.shape, generator=torch.Generator().manual_seed(seed)) * NOISE
    return (drawn.to(photo) + photo.new_tensor(IMAGENET_MEAN)[:, None, None]).clamp(0, 1)
