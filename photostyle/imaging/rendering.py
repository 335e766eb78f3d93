"""From the small picture that was solved to one of the photo's own size, through local affine maps of colour.

A photorealistic result is, nearly everywhere, a locally affine function of the photo's colours. So the solved picture
is read as maps (three slopes and an offset for each channel at each pixel), the maps are enlarged, and the photo
itself goes through them. Its own detail comes back at any size.
"""

from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from photostyle.imaging.filters import (
    STRIP,
    apply_affine_maps,
    box_mean,
    local_affine_maps,
    resize,
    unchanged,
)
from photostyle.imaging.lightness import keep_lightness

# In pixels of the solved picture. Wide windows have enough contrast to find the slopes of calm areas too. The narrow
# ones (25 pixels for the 4 unknowns of a map) add what the wide ones leave.
MAP_RADII = (16, 2)
MAP_RIDGE = 1e-4  # squared image units: slopes are trusted where a window varies by more than 0.01
AFFINE_RIDGE = 1e-3  # on the normal matrix's colour diagonal: the released smoothing kernel


def enlarged(
    photo: Tensor, solved: Tensor, how: Literal["maps", "pixels"], small: Tensor | None = None
) -> Tensor:
    """A solved picture (3, h, w) at the photo's size (3, H, W): by `enlarge`, or its own pixels, resampled.

    A painting is no locally affine function of the photo's colours: what its strokes are would be lost in maps.
    """
    return enlarge(photo, solved, small) if how == "maps" else resampled(solved, *photo.shape[-2:])


def resampled(image: Tensor, height: int, width: int) -> Tensor:
    """A picture (C, h, w) at another size: bicubic, antialiased where it shrinks, clamped to [0, 1]."""
    wide = F.interpolate(
        image[None], size=(height, width), mode="bicubic", antialias=True, align_corners=False
    )
    return wide[0].clamp_(0, 1).contiguous()


def enlarge(photo: Tensor, solved: Tensor, small: Tensor | None = None) -> Tensor:
    """Carry a solved picture to the photo's size: joint upsampling of affine maps. (3, H, W), (3, h, w) -> (3, H, W).

    small: the photo that it was solved on, (3, h, w), which is another than `photo` reduced where that was reduced too.
    Maps by the guided filter's regression (He, Sun & Tang 2010) at the solved size, enlarged bilinearly as in "Fast
    Guided Filter" (He & Sun, arXiv 1505.00996), applied to the photo; clamped to [0, 1].
    """
    maps = _maps(resize(photo, *solved.shape[-2:]) if small is None else small, solved)
    result = torch.empty_like(photo)
    for top, strip in enlarged_strips(maps, *photo.shape[-2:]):
        rows = slice(top, top + strip.shape[-2])
        result[:, rows] = apply_affine_maps(strip, photo[:, rows]).clamp_(0, 1)
    return result


def render(
    photo: Tensor,
    solved: Tensor,
    *,
    strength: float | Tensor,
    smooth_radius: int,
    smooth_edge: float,
    preserve_luminance: bool = False,
    enlarging: Literal["maps", "pixels"] = "maps",
) -> Tensor:
    """The picture to write: the solved one (3, h, w) at the photo's size, smoothed if asked, at the given strength.

    Where the solved picture has the photo's size its pixels are used as they are, else see `enlarged`. The strength,
    one or one per pixel (H, W), blends maps, C + s (A - I) [C; 1]; as A [C; 1] is the result, that is
    C + s (result - C). preserve_luminance comes last, so that the picture that is written has the photo's L*: see
    `lightness.keep_lightness`.
    """
    if smooth_radius:
        small = resize(photo, *solved.shape[-2:])
        solved = smooth_local_affine(small, solved, smooth_radius, smooth_edge)
    result = solved if solved.shape == photo.shape else enlarged(photo, solved, enlarging)
    if isinstance(strength, Tensor) or strength != 1:
        result = _blended(photo, result, strength, solved)
    return keep_lightness(photo, result) if preserve_luminance else result


def _blended(photo: Tensor, result: Tensor, strength: float | Tensor, solved: Tensor) -> Tensor:
    """C + s (result - C), written over the result where that is not the solved picture, which is its owner's."""
    blended = torch.empty_like(result) if result is solved else result
    for top in range(0, photo.shape[1], STRIP):
        rows = slice(top, top + STRIP)
        share = strength[rows] if isinstance(strength, Tensor) else strength
        own = photo[:, rows]
        blended[:, rows] = (own + share * (result[:, rows] - own)).clamp_(0, 1)
    return blended


def smooth_local_affine(photo: Tensor, result: Tensor, radius: int, edge: float) -> Tensor:
    """The released post-filter: each pixel's affine map averaged with those of similar neighbours. (3, H, W) twice.

    Maps by least squares over clipped 3x3 windows with 1e-3 on the colour diagonal of the normal matrix, smoothed by a
    joint bilateral filter of the photo: sigma radius / 3 in space, `edge` (image units) in the root mean square of
    colour. Released with 15 and 0.01 (gen_all.py of Luan et al.; its script's own defaults are 7 and 0.05).
    """
    ones = torch.ones_like(photo[:1])
    pixels = F.avg_pool2d(ones[None], 3, 1, 1, divisor_override=1)[0, 0]
    maps = local_affine_maps(photo, result, 1, AFFINE_RIDGE / pixels).flatten(0, 1)
    total, weights = torch.zeros_like(maps), torch.zeros_like(ones)
    down, across = (min(radius, side - 1) for side in photo.shape[-2:])
    for dy in range(-down, down + 1):
        for dx in range(-across, across + 1):
            here, there = _overlap(dy, dx, *photo.shape[-2:])
            colour = (photo[here] - photo[there]).square().mean(0, keepdim=True)
            space = (dy * dy + dx * dx) / (2 * (radius / 3) ** 2)
            weight = torch.exp(-colour / (2 * edge * edge) - space)
            total[here] += weight * maps[there]
            weights[here] += weight
    return apply_affine_maps((total / weights).unflatten(0, (3, 4)), photo).clamp_(0, 1)


def _maps(small: Tensor, solved: Tensor) -> Tensor:
    """Affine maps (3, 4, h, w) from the reduced photo to the solved picture, smooth enough to be enlarged.

    What the ridge pulls slopes to is as much of the identity as there is left of the photo: grain that was not touched
    stays.
    """
    kept = unchanged(small, solved)
    total, rest = torch.zeros(3, 4, *solved.shape[-2:]).to(solved), solved - kept * small
    for radius in MAP_RADII:
        maps = local_affine_maps(small, rest, radius, MAP_RIDGE)
        maps = box_mean(maps.flatten(0, 1), radius).unflatten(0, (3, 4))
        total, rest = total + maps, rest - apply_affine_maps(maps, small)
    total.diagonal(dim1=0, dim2=1).add_(kept)
    return total


def _overlap(dy: int, dx: int, height: int, width: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where (y, x) and (y+dy, x+dx) both lie inside the picture: slices for the one and for the other."""

    def cut(step: int, size: int) -> tuple[slice, slice]:
        return slice(max(0, -step), size - max(0, step)), slice(max(0, step), size - max(0, -step))

    (rows, far_rows), (columns, far_columns) = cut(dy, height), cut(dx, width)
    return (slice(None), rows, columns), (slice(None), far_rows, far_columns)


def enlarged_strips(maps: Tensor, height: int, width: int) -> Iterator[tuple[int, Tensor]]:
    """Rows of the maps at (height, width), STRIP at a time: bilinear with pixel centres aligned, as torch resizes."""
    flat = maps.flatten(0, 1)
    for top in range(0, height, STRIP):
        rows = torch.arange(top, min(top + STRIP, height), device=maps.device)
        source = ((rows + 0.5) * flat.shape[1] / height - 0.5).clamp(0, flat.shape[1] - 1)
        above = source.long()
        below = (above + 1).clamp(max=flat.shape[1] - 1)
        mixed = torch.lerp(flat[:, above], flat[:, below], (source - above).to(flat)[:, None])
        wide = F.interpolate(mixed[None], size=(len(rows), width), mode="bilinear", align_corners=False)[0]
        yield top, wide.unflatten(0, maps.shape[:2])
