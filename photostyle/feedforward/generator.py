"""The generator: a photo goes down to a quarter of its size, through residual blocks, and up (Johnson et al. 2016).

9x9, two 3x3 of stride 2, residual blocks, two upsamplings each with a 3x3, 9x9 to colours; every convolution pads by
reflection. Any size from 8 pixels a side on: where halving rounded up, upsampling drops the row that is too many.
"""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from photostyle.feedforward.injection import InjectionName, make_injection
from photostyle.feedforward.style import Style

DecoderNorm = Literal["instance", "none"]

OUTER = 9  # pixels a side of the first and the last convolution: Johnson et al. 2016, supplementary, table 1
INNER = 3  # of all others, there too
LEAST = 8  # pixels a side: at a quarter of it, reflection by one cell needs two


class Layer(nn.Module):
    """Upsampling if asked, a convolution, and if asked an instance normalisation and ReLU. (B, C, h, w).

    upsample: double the map first, by repetition: a transposed convolution leaves a chessboard.
    `tiles` works a picture off piece by piece by what stands here: kernel, stride, upsample and the parts.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        stride: int = 1,
        upsample: bool = False,
        norm: bool = True,
        activate: bool = True,
    ) -> None:
        super().__init__()
        self.kernel, self.stride, self.upsample, self.activate = kernel, stride, upsample, activate
        self.convolution = nn.Conv2d(inputs, outputs, kernel, stride)
        self.norm = nn.InstanceNorm2d(outputs, affine=True) if norm else None

    def forward(self, maps: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """size: rows and columns of the map after upsampling, twice the given one's or one less; None for twice."""
        if self.upsample:
            maps = F.interpolate(maps, scale_factor=2, mode="nearest")
            if size is not None:
                maps = maps[..., : size[0], : size[1]]
        maps = self.convolution(F.pad(maps, (self.kernel // 2,) * 4, mode="reflect"))
        if self.norm is not None:
            maps = self.norm(maps)
        return F.relu(maps) if self.activate else maps


class ResidualBlock(nn.Module):
    """F + conv(style(norm(relu(conv(style(norm(F))))))): what a style adds is not normalised away again in the block.

    Where the normalisation stands is open in Johnson et al.'s description; behind the convolutions, as in their code,
    it would subtract all that `concat` and `inject` shift. It has no scales of its own: the convolution has them.
    """

    def __init__(self, channels: int, injection: InjectionName, dimension: int) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm2d(channels)
        self.injections, self.convolutions = nn.ModuleList(), nn.ModuleList()
        for number in range(2):
            injected = make_injection(injection, channels, dimension)
            takes = number < injected.convolutions
            self.injections.append(injected if takes else _Plain())
            self.convolutions.append(nn.Conv2d(injected.outputs if takes else channels, channels, INNER))

    def forward(self, maps: Tensor, style: Style) -> Tensor:
        inner = F.relu(self._convolved(0, maps, style))
        return maps + self._convolved(1, inner, style)

    def _convolved(self, number: int, maps: Tensor, style: Style) -> Tensor:
        styled = self.injections[number](self.norm(maps), style)
        padded = F.pad(styled, (INNER // 2,) * 4, mode="reflect")
        convolved: Tensor = self.convolutions[number](padded)
        return convolved


class Generator(nn.Module):
    """Content and style to a picture. (B, 3, H, W), sRGB in [0, 1] -> (B, 3, H, W), in [0, 1] by a sigmoid.

    The scaled tanh that is usual here, (tanh(x) + 1) / 2, is the sigmoid of 2 x: the same pictures.

    channels: of the first layer; the residual blocks have four times as many (32 and 128 in Johnson et al. 2016).
    decoder_norm: "instance" as in Johnson et al.; with it every channel of the last map but one has one mean and one
    deviation, whatever the style, and colours can differ between styles but little. "none" leaves them to the style
    (Huang & Belongie, ICCV 2017, section 7.2, found the same of their decoder).
    """

    def __init__(
        self,
        channels: int,
        blocks: int,
        injection: InjectionName,
        dimension: int,
        decoder_norm: DecoderNorm = "instance",
    ) -> None:
        super().__init__()
        half, quarter, norm = 2 * channels, 4 * channels, decoder_norm == "instance"
        self.down = nn.ModuleList(
            (
                Layer(3, channels, OUTER),
                Layer(channels, half, INNER, stride=2),
                Layer(half, quarter, INNER, stride=2),
            )
        )
        self.blocks = nn.ModuleList(ResidualBlock(quarter, injection, dimension) for _ in range(blocks))
        self.up = nn.ModuleList(
            (
                Layer(quarter, half, INNER, upsample=True, norm=norm),
                Layer(half, channels, INNER, upsample=True, norm=norm),
                Layer(channels, 3, OUTER, norm=False, activate=False),
            )
        )

    def forward(self, contents: Tensor, style: Style) -> Tensor:
        sizes = []
        maps = contents
        for layer in self.down:
            sizes.append((maps.shape[-2], maps.shape[-1]))
            maps = layer(maps)
        maps = self.styled(maps, style)
        for layer, size in zip(self.up, (sizes[2], sizes[1], sizes[0]), strict=True):
            maps = layer(maps, size)
        return maps.sigmoid()

    def encoded(self, pictures: Tensor) -> Tensor:
        """The maps before any style: (B, 3, H, W) -> (B, 4 channels, h, w), a quarter of the size, rounded up."""
        for layer in self.down:
            pictures = layer(pictures)
        return pictures

    def styled(self, maps: Tensor, style: Style) -> Tensor:
        """The residual blocks. (B, 4 channels, h, w) -> the same."""
        for block in self.blocks:
            maps = block(maps, style)
        return maps


class _Plain(nn.Module):
    """In the place of an injection, where a convolution takes none."""

    def forward(self, maps: Tensor, style: Style) -> Tensor:
        return maps
