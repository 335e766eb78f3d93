"""Four ways of telling a residual block a style. Each changes what the block's convolutions take.

All stand in one place, after a normalisation and before a convolution (`generator.ResidualBlock`), so that they can be
compared. A convolution carries what is constant over the picture on to the next, so a shift of its input by a style
has an effect only where no instance normalisation follows it before anything bends: there it would be subtracted.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from photostyle.errors import ComputationError
from photostyle.feedforward.style import Style

InjectionName = Literal["concat", "inject", "film", "patch"]
INJECTIONS: tuple[InjectionName, ...] = get_args(InjectionName)

PATCH = 3  # cells a side of a patch, as in Li & Wand (CVPR 2016) and Chen & Schmidt (2016): 12 pixels of the picture
COLOURS = 3  # channels of a style's map that are its picture's colours, behind the features
# Similarities that are held at a time: 64 MB of float32.
SIMILARITIES = 1 << 24


class Injection(nn.Module, ABC):
    """Style into features. (B, C, h, w), Style -> (B, outputs, h, w).

    convolutions: how many of a block's two convolutions take it: both, or the first alone.
    outputs: channels of what the convolution takes.
    """

    convolutions: ClassVar[int] = 2

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.channels, self.outputs = channels, outputs

    @abstractmethod
    def forward(self, features: Tensor, style: Style) -> Tensor:
        """The features, as the style has them."""


class Concat(Injection):
    """z at every cell, concatenated with the features: [F; z]."""

    def __init__(self, channels: int, dimension: int) -> None:
        super().__init__(channels, channels + dimension)

    def forward(self, features: Tensor, style: Style) -> Tensor:
        tiled = _vector(style)[:, :, None, None].expand(-1, -1, *features.shape[-2:])
        return torch.cat((features, tiled), 1)


class Inject(Injection):
    """F' = F + Conv1x1(z): a shift of each channel."""

    def __init__(self, channels: int, dimension: int) -> None:
        super().__init__(channels, channels)
        self.shift = nn.Conv2d(dimension, channels, 1)

    def forward(self, features: Tensor, style: Style) -> Tensor:
        shift: Tensor = self.shift(_vector(style)[:, :, None, None])
        return features + shift


class Film(Injection):
    """F' = gamma(z) F + beta(z), both linear: feature-wise linear modulation (Perez et al., AAAI 2018).

    The biases start at 1 and 0, around which a style's own scales and shifts lie.
    """

    def __init__(self, channels: int, dimension: int) -> None:
        super().__init__(channels, channels)
        self.gamma, self.beta = nn.Linear(dimension, channels), nn.Linear(dimension, channels)
        nn.init.ones_(self.gamma.bias)
        nn.init.zeros_(self.beta.bias)

    def forward(self, features: Tensor, style: Style) -> Tensor:
        gamma, beta = (layer(_vector(style))[:, :, None, None] for layer in (self.gamma, self.beta))
        modulated: Tensor = gamma * features + beta
        return modulated


class Patch(Injection):
    """F' = F + Conv1x1(S), where S is F made of the style's patches: at each cell the nearest one, overlaps averaged.

    Nearest by cosine, exactly, over all patches that lie whole in the maps of `Style.maps` (Style-Swap, Chen & Schmidt
    2016, without its transposed convolution). A map has C features, in which is compared, and three colours, which are
    taken along: the instance normalisations before it leave little of a picture's colour in the features.
    Only a block's first convolution takes it: it costs more than the block.
    """

    convolutions = 1

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)
        self.merge = nn.Conv2d(channels + COLOURS, channels, 1)

    def forward(self, features: Tensor, style: Style) -> Tensor:
        pairs = ((each, tuple(maps[index] for maps in style.maps)) for index, each in enumerate(features))
        swapped = torch.stack([swap(each, maps) for each, maps in pairs])
        merged: Tensor = self.merge(swapped)
        return features + merged


def swap(features: Tensor, maps: tuple[Tensor, ...], at_once: int = SIMILARITIES) -> Tensor:
    """Features made of the nearest patches of maps. (C, h, w), several (C', H, W) -> (C', h, w); C' >= C.

    The first C channels of the maps are compared. Cells take part in up to 9 patches, of which they get the mean.
    Gradients reach the maps' values that were taken; which were is a constant. at_once: similarities in memory.
    """
    with torch.no_grad():
        nearest = nearest_patches(features, tuple(each[: len(features)] for each in maps), at_once)
    height, width = features.shape[-2:]
    # Where a patch has its middle in the concatenated maps, by its number; and what lies one row below that.
    middles = torch.cat([part for part, _ in _middles(maps)]).to(nearest.device)[nearest]
    strides = torch.cat([part for _, part in _middles(maps)]).to(nearest.device)[nearest]
    values = torch.cat([each.flatten(1) for each in maps], 1)
    total = values.new_zeros(len(values), height, width)
    times = values.new_zeros(height, width)
    reach = PATCH // 2
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            here, there = _moved(dy, height), _moved(dx, width)
            # The cell at (y, x) as part of the patch around (y - dy, x - dx).
            around = _moved(-dy, height), _moved(-dx, width)
            places = middles[around] + dy * strides[around] + dx
            total[:, here, there] += values[:, places]
            times[here, there] += 1
    return total / times


def nearest_patches(features: Tensor, maps: tuple[Tensor, ...], at_once: int = SIMILARITIES) -> Tensor:
    """The number of the nearest patch around each cell, by cosine. (C, h, w), several (C, H, W) -> (h, w), int64.

    Patches of all maps are numbered on, row by row, those that lie whole inside. At the border the features' own
    patches are completed by reflection. Of equally near ones the first is taken.
    Raises ComputationError where a map is smaller than a patch.
    """
    for each in maps:
        if min(each.shape[-2:]) < PATCH:
            raise ComputationError(
                f"a style's map of {each.shape[-1]}x{each.shape[-2]} cells has no patch of {PATCH}x{PATCH}: "
                "use a larger style picture"
            )
    height, width = features.shape[-2:]
    filters = torch.cat([_unit_patches(each) for each in maps])
    padded = F.pad(features[None], (PATCH // 2,) * 4, mode="reflect")
    rows = max(1, at_once // (len(filters) * width))
    found = []
    for top in range(0, height, rows):
        strip = padded[:, :, top : min(top + rows, height) + PATCH - 1]
        # A cell's own length divides all of its similarities alike, and is left out.
        found.append(F.conv2d(strip, filters)[0].argmax(0))
    return torch.cat(found)


def _unit_patches(features: Tensor) -> Tensor:
    """Every whole patch, scaled to length 1. (C, H, W) -> (count, C, PATCH, PATCH)."""
    patches = features.unfold(1, PATCH, 1).unfold(2, PATCH, 1).flatten(1, 2).transpose(0, 1)
    lengths = patches.flatten(1).norm(dim=1)
    unit: Tensor = patches / lengths.clamp_min(torch.finfo(features.dtype).tiny)[:, None, None, None]
    return unit


def _middles(maps: tuple[Tensor, ...]) -> list[tuple[Tensor, Tensor]]:
    """For each map: where the middles of its patches lie among the cells of all, and the cells of a row, for each."""
    reach, start, parts = PATCH // 2, 0, []
    for each in maps:
        height, width = each.shape[-2:]
        cells = torch.arange(start, start + height * width).view(height, width)
        middles = cells[reach : height - reach, reach : width - reach].flatten()
        parts.append((middles, torch.full_like(middles, width)))
        start += height * width
    return parts


def _moved(step: int, size: int) -> slice:
    """Of a side, the cells from which going back by `step` stays inside."""
    return slice(max(0, step), size + min(0, step))


def _vector(style: Style) -> Tensor:
    if style.z is None:
        raise ValueError("the style has no z; make it with the same model")
    return style.z


def make_injection(name: InjectionName, channels: int, dimension: int) -> Injection:
    """The injection of this name for features of so many channels and z of so many numbers."""
    if name == "patch":
        return Patch(channels)
    kinds: dict[str, type[Concat] | type[Inject] | type[Film]] = {
        "concat": Concat,
        "inject": Inject,
        "film": Film,
    }
    return kinds[name](channels, dimension)
