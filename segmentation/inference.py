"""A photo through a segmenter: how probable each group is in each pixel.

The picture is brought to the size that the network was made for, whole or in overlapping windows. The probabilities of
the classes are summed into groups at the network's own resolution and then enlarged: 14 maps in place of 150.
"""

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from photostyle.errors import ComputationError, PhotostyleError
from photostyle.imaging.filters import resize, size_of
from segmentation.groups import GROUPS, matrix
from segmentation.networks import Segmenter

# A long side of more short sides than this is cut into windows: mmsegmentation's Resize(scale=(2048, 512)).
LONGEST = 4


def group_probabilities(segmenter: Segmenter, photo: Tensor, *, window: bool = False) -> Tensor:
    """How probable each group is in each pixel. (3, H, W), sRGB in [0, 1] → (G, H, W), in the order of GROUPS.

    Float32 on the photo's device; the sum over the groups is 1 in every pixel, up to rounding, less the probability of
    what the network has in no group.
    window: use windows although the picture would do as a whole. That is slower, takes less memory, and is how the
    ConvNeXt results of mmsegmentation were computed.
    Raises ComputationError where the network gives NaN.
    """
    height, width = size_of(photo)
    rows, columns = segmenter.squeezed or _working_size(height, width, segmenter.size)
    small = resize(photo.to(segmenter.device, torch.float32), rows, columns)
    padded = _padded(
        _normalised(small, segmenter), segmenter.stride, segmenter.size if segmenter.fixed else 1
    )
    windowed = window or segmenter.fixed or max(rows, columns) > LONGEST * segmenter.size
    windowed &= segmenter.squeezed is None
    with torch.inference_mode():
        side = _rounded_up(segmenter.size, segmenter.stride) if windowed else None
        maps = resize(_blended(segmenter, padded, side), *size_of(padded))[:, :rows, :columns]
    if not bool(maps.isfinite().all()):
        raise ComputationError(f"{segmenter.name} gives NaN for this photo: its weights are damaged")
    # A copy, because a tensor of inference mode cannot be part of a gradient.
    return resize(maps.clone(), height, width).to(photo.device)


def _working_size(height: int, width: int, size: int) -> tuple[int, int]:
    """The short side becomes `size`, unless that would enlarge the long side beyond LONGEST times `size`.

    As in mmsegmentation's test pipelines, but those also shrink a panorama to that length; here it is cut into windows.
    """
    scale = min(size / min(height, width), max(1, LONGEST * size / max(height, width)))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _normalised(image: Tensor, segmenter: Segmenter) -> Tensor:
    mean, std = (image.new_tensor(values)[:, None, None] for values in (segmenter.mean, segmenter.std))
    return (image - mean) / std


def _padded(image: Tensor, stride: int, least: int) -> Tensor:
    """The picture padded at the right and the bottom, both sides at least `least` and multiples of the stride.

    The padding is mirrored where the picture is large enough for that; else its last row and column are repeated.
    """
    height, width = size_of(image)
    below, right = (_rounded_up(max(side, least), stride) - side for side in (height, width))
    enough = below < height and right < width
    return functional.pad(image[None], (0, right, 0, below), mode="reflect" if enough else "replicate")[0]


def _rounded_up(side: int, stride: int) -> int:
    return -(-side // stride) * stride


def _blended(segmenter: Segmenter, image: Tensor, side: int | None) -> Tensor:
    """Group probabilities of a padded picture at the network's own resolution, blended over windows of this side.

    None: the whole picture is the window. Where windows overlap, each counts by how far inside it a pixel is, because
    at the edge of a window the network sees least of what surrounds a pixel.
    """
    if side is None:
        return _groups(segmenter, image[None])
    height, width = size_of(image)
    tall, wide = min(side, height), min(side, width)
    corners = product(_starts(height, tall, segmenter.stride), _starts(width, wide, segmenter.stride))
    parts = {
        (top, left): _groups(segmenter, image[None, :, top : top + tall, left : left + wide])
        for top, left in corners
    }
    rows, columns = size_of(parts[0, 0])
    cell = tall // rows  # a window starts at a multiple of the stride, thus on a cell of the output
    ramp = _ramp(rows).to(image)[:, None] * _ramp(columns).to(image)
    total = image.new_zeros(len(GROUPS), height // cell, width // cell)
    weight = torch.zeros_like(total[0])
    for (top, left), part in parts.items():
        place = np.s_[..., top // cell : top // cell + rows, left // cell : left // cell + columns]
        total[place] += ramp * part
        weight[place] += ramp
    return total / weight


def _starts(length: int, window: int, stride: int) -> list[int]:
    """Where windows begin along a side: two thirds of a window apart, in whole strides, the last one at the end.

    The two thirds are the strides 341 of 512 and 426 of 640 in mmsegmentation's test_cfg(mode="slide") of ConvNeXt.
    """
    step = max(1, 2 * window // 3 // stride) * stride
    return [*range(0, length - window, step), length - window]


def _ramp(length: int) -> Tensor:
    """How far each cell's centre is from the nearer end, in cells. (length,)."""
    rising = torch.arange(length) + 0.5
    return torch.minimum(rising, rising.flip(0))


def _groups(segmenter: Segmenter, batch: Tensor) -> Tensor:
    """One window through the network, its classes summed. (1, 3, h, w) → (G, h / cell, w / cell)."""
    classes = _logits(segmenter.network, batch)[0].float().softmax(0)
    sums = matrix(segmenter.vocabulary, batch.device, segmenter.classes)
    if len(classes) != sums.shape[1]:
        raise PhotostyleError(
            f"{segmenter.name} gives {len(classes)} classes and {sums.shape[1]} are named: name each, in its order"
        )
    return torch.einsum("gc,chw->ghw", sums, classes)


def _logits(network: Any, batch: Tensor) -> Tensor:
    """(1, 3, h, w) → (1, classes, h / cell, w / cell).

    An smp head is a convolution, an upsampling and an activation. After the convolution alone, the 150 maps are 16
    times smaller.
    """
    head = getattr(network, "segmentation_head", None)
    if isinstance(head, nn.Sequential) and len(head) == 3:
        logits: Tensor = head[0](network.decoder(network.encoder(batch)))
        return logits
    output: Tensor | Mapping[str, Tensor] = network(batch)
    return output["out"] if isinstance(output, Mapping) else output
