"""A picture's class probabilities, as a network's published accuracy was measured or at the picture's own size."""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from photostyle.errors import PhotostyleError
from photostyle.imaging.filters import size_of
from photostyle.networks.network import Network

Size = Literal["crop", "own"] | int


class Guess(NamedTuple):
    """A class with its probability, 0 to 1."""

    name: str
    probability: float


def recognise(picture: Tensor, network: Network, size: Size = "crop") -> Tensor:
    """The softmax of the network's logits: (3, H, W), sRGB in [0, 1] → (classes,), float64, of sum 1, on the CPU.

    size: what of the picture is shown to the network, see `as_seen`. It computes on the device of its parameters.
    Raises PhotostyleError for random weights, whose answers are chance, and for a size that the network cannot take.
    """
    if network.source == "random":
        raise PhotostyleError(
            f"{network.name} has random weights and recognises nothing; give it trained ones"
        )
    device = next(network.module.parameters()).device
    mean, deviation = (
        torch.tensor(each, device=device)[:, None, None] for each in (network.mean, network.deviation)
    )
    with torch.inference_mode():
        seen = as_seen(picture.to(device, torch.float32), network, size)
        logits: Tensor = network.module(((seen - mean) / deviation)[None])[0]
    return logits.double().softmax(0).cpu().clone()


def as_seen(picture: Tensor, network: Network, size: Size = "crop") -> Tensor:
    """What of a picture (3, H, W) is shown to the network, (3, h, w).

    "crop": as its accuracy was measured, the short side resized to `network.resize` and the central square of
    `network.size`. "own": the picture as it is. A number: the whole picture, its short side resized to so many pixels.
    """
    height, width = size_of(picture)
    if size == "own":
        _refuse(network, height, width)
        return picture
    if size == "crop":
        resized = _short_side(picture, network.resize, network)
        top, left = (_middle(side, network.size) for side in size_of(resized))
        return resized[:, top : top + network.size, left : left + network.size]
    resized = _short_side(picture, size, network)
    _refuse(network, *size_of(resized))
    return resized


def likeliest(probabilities: Tensor, classes: tuple[str, ...], count: int = 5) -> list[Guess]:
    """The classes of the highest probabilities, the likeliest first; of equal ones the first in order."""
    order = probabilities.argsort(descending=True, stable=True)[:count].tolist()
    return [Guess(classes[index], probabilities[index].item()) for index in order]


def _short_side(picture: Tensor, short: int, network: Network) -> Tensor:
    """As torchvision.transforms resizes: the long side rounded down, antialiased; kept within [0, 1]."""
    height, width = size_of(picture)
    sides = (int(short * side / min(height, width)) for side in (height, width))
    resized = F.interpolate(picture[None], size=tuple(sides), mode=network.interpolation, antialias=True)
    return resized[0].clamp(0, 1)


def _middle(side: int, cut: int) -> int:
    """Where a cut from the centre begins."""
    return round((side - cut) / 2)


def _refuse(network: Network, height: int, width: int) -> None:
    """Raise PhotostyleError where the network cannot take a picture of that size."""
    size = f"{width}x{height}"
    if network.fixed and (height, width) != (network.size, network.size):
        raise PhotostyleError(
            f"{network.name} takes pictures of {network.size}x{network.size} alone, not of {size}; use --size crop, or "
            "a network that ends in an adaptive pool, as vgg16"
        )
    if min(height, width) < network.smallest:
        raise PhotostyleError(
            f"{network.name} needs at least {network.smallest} pixels a side, this is {size}; use --size crop"
        )
