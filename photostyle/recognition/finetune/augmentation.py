"""From pictures as they are kept to what a network takes: resized, cut out, mirrored, normalised; on any device."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

# Of small pictures the border is repeated by this part of a side and the cut taken anywhere: 4 of 32 pixels, as in He
# et al. (CVPR 2016), section 4.2, whose border is zeros.
BORDER = 8


@dataclass(frozen=True)
class Preparation:
    """How pictures become input. size, resize: as of `Data`. mean, deviation: of the network."""

    size: int
    resize: int
    flip: bool
    shift: bool
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def __call__(self, pictures: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(B, 3, S, S) uint8 → (B, 3, size, size), normalised.

        generator: of the numbers to cut and mirror by, on the CPU; None: from the middle, as they are.
        """
        pixels = scaled(pictures.float() / 255, self.resize)
        if generator is not None:
            # Drawn in any case, so that one option does not change what another does.
            places = torch.rand(len(pixels), 2, generator=generator)
            mirrored = torch.rand(len(pixels), generator=generator) < 0.5
            pixels = self._shifted(pixels, places) if self.shift else centred(pixels, self.size)
            if self.flip:
                pixels = torch.where(mirrored.to(pixels.device)[:, None, None, None], pixels.flip(-1), pixels)
        else:
            pixels = centred(pixels, self.size)
        mean, deviation = (pixels.new_tensor(each)[:, None, None] for each in (self.mean, self.deviation))
        return (pixels - mean) / deviation

    def _shifted(self, pixels: Tensor, places: Tensor) -> Tensor:
        """places: (B, 2) in [0, 1), from the top and the left."""
        if self.resize == self.size:
            border = self.size // BORDER
            pixels = F.pad(pixels, (border,) * 4, mode="replicate")
        room = pixels.shape[-1] - self.size
        corners = (places * (room + 1)).long().to(pixels.device)
        return cut_out(pixels, corners, self.size)


def scaled(pixels: Tensor, side: int) -> Tensor:
    """(B, 3, S, S) → (B, 3, side, side): a triangle filter, antialiased when shrinking."""
    if pixels.shape[-1] == side:
        return pixels
    smaller = side < pixels.shape[-1]
    return F.interpolate(pixels, (side, side), mode="bilinear", align_corners=False, antialias=smaller)


def centred(pixels: Tensor, side: int) -> Tensor:
    """The middle of pictures: (B, 3, S, S) → (B, 3, side, side)."""
    first = (pixels.shape[-1] - side) // 2
    return pixels[..., first : first + side, first : first + side]


def cut_out(pixels: Tensor, corners: Tensor, side: int) -> Tensor:
    """From each picture a square of its own: (B, 3, S, S), corners (B, 2) top and left → (B, 3, side, side)."""
    along = torch.arange(side, device=pixels.device)
    rows, columns = (corners[:, axis, None] + along for axis in (0, 1))
    batch = torch.arange(len(pixels), device=pixels.device)[:, None, None]
    # Indexed dimensions come first: (B, side, side, 3).
    return pixels[batch, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()
