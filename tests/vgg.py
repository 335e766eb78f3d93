"""VGG weights as narrow as they come: torchvision's keys, random values, a few kilobytes."""

import torch
from torch import Tensor

from photostyle.losses.weights import convolutions


def narrow_vgg(
    architecture: str = "vgg19", width: int = 4, *, count: int | None = None, seed: int = 612
) -> dict[str, Tensor]:
    """The first `count` convolutions (all by default), He-initialised: signals keep their size down the layers."""
    generator, channels, state = torch.Generator().manual_seed(seed), 3, {}
    for position in list(convolutions(architecture).values())[:count]:
        scale = (2 / (9 * channels)) ** 0.5
        state[f"features.{position}.weight"] = scale * torch.randn(width, channels, 3, 3, generator=generator)
        state[f"features.{position}.bias"] = 0.1 * torch.randn(width, generator=generator)
        channels = width
    return state
