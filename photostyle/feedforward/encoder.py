"""The style encoder: from a picture to z, the vector that says what its style is.

h is a linear layer of the pooled features of a network, and z = alpha h / ||h||: a direction, whose length alpha is
learnt once for all styles.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from photostyle.errors import PhotostyleError
from photostyle.networks.network import random_network

StyleNetworkName = Literal["inception_v3", "small"]

# torchvision's names of Inception-v3's layers up to Mixed_6e, 768 channels (Szegedy et al., CVPR 2016).
INCEPTION_LAYERS = (
    "Conv2d_1a_3x3 Conv2d_2a_3x3 Conv2d_2b_3x3 maxpool1 Conv2d_3b_1x1 Conv2d_4a_3x3 maxpool2 "
    "Mixed_5b Mixed_5c Mixed_5d Mixed_6a Mixed_6b Mixed_6c Mixed_6d Mixed_6e"
).split()
INCEPTION_CHANNELS = 768
INCEPTION_LEAST = 75  # pixels a side: torchvision's own `min_size`

# Of the small network's convolutions, each halving the picture. Four 3x3 of stride 2 see 31 pixels, enough for strokes
# of pictures of 128 to 256 pixels; its 0.19 million parameters (Inception has 9) leave a small file to the generator.
SMALL_CHANNELS = (32, 64, 96, 128)


class StyleNetwork(nn.Module):
    """A network whose last feature map describes a style. (B, 3, h, w), sRGB in [0, 1] -> (B, channels, h', w').

    least: pixels of the shortest side that it takes.
    """

    def __init__(self, layers: nn.Module, channels: int, least: int) -> None:
        super().__init__()
        self.layers, self.channels, self.least = layers, channels, least

    def forward(self, pictures: Tensor) -> Tensor:
        maps: Tensor = self.layers(pictures * 2 - 1)  # both are for [-1, 1]
        return maps


class InceptionFeatures(StyleNetwork):
    """Inception-v3 down to Mixed_6e, 16 pixels a cell.

    network: torchvision's, of which the layers are taken over and made trainable. Its batch normalisations keep the
    statistics that they came with, in training too: those of small batches of styles are too noisy.
    """

    def __init__(self, network: nn.Module) -> None:
        layers = nn.Sequential()
        for name in INCEPTION_LAYERS:
            layers.add_module(name, network.get_submodule(name))
        super().__init__(layers.requires_grad_(True), INCEPTION_CHANNELS, INCEPTION_LEAST)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


class SmallFeatures(StyleNetwork):
    """Four convolutions of stride 2 with ReLU, for two CPU cores and small files.

    Nothing is normalised between them: a normalisation would take away what a style is made of.
    """

    def __init__(self, channels: Sequence[int] = SMALL_CHANNELS) -> None:
        layers = nn.Sequential()
        for inputs, outputs in pairwise((3, *channels)):
            layers.extend((nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.ReLU()))
        super().__init__(layers, channels[-1], least=2 ** len(channels))  # one cell of the last map


class StyleEncoder(nn.Module):
    """z = alpha h / ||h||_2, with h a linear layer of the network's features, averaged over the picture. (B, d).

    alpha starts at sqrt(d), where the numbers of z have mean square 1, and is learnt.
    """

    def __init__(self, network: StyleNetwork, dimension: int) -> None:
        super().__init__()
        self.network = network
        self.linear = nn.Linear(network.channels, dimension)
        self.alpha = nn.Parameter(torch.tensor(math.sqrt(dimension)))

    def features(self, pictures: Tensor) -> Tensor:
        """The network's features, averaged over each picture. (B, 3, h, w), sRGB in [0, 1] -> (B, channels)."""
        least = self.network.least
        if min(pictures.shape[-2:]) < least:
            height, width = pictures.shape[-2:]
            raise PhotostyleError(
                f"a style picture of {width}x{height} is too small for the style network, which needs {least} pixels "
                "a side: use a larger one"
            )
        pooled: Tensor = self.network(pictures).mean((2, 3))
        return pooled

    def forward(self, pictures: Tensor) -> Tensor:
        return self.alpha * F.normalize(self.linear(self.features(pictures)), dim=1)


def style_network(name: StyleNetworkName, inception: nn.Module | None = None) -> StyleNetwork:
    """A style network by name. inception: torchvision's Inception-v3 with its weights; None for random ones."""
    if name == "small":
        return SmallFeatures()
    return InceptionFeatures(random_network("inception_v3").module if inception is None else inception)
