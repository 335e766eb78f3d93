"""What a small ImageNet network sees at each place of a photograph: by it hair goes to hair and sky to sky.

It is EfficientNet-Lite0 (photostyle.networks.lite), whose weights come with a package.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn

from photostyle.imaging.filters import fit_within, resize, size_of
from photostyle.networks.lite import DEVIATION, MEAN, NAME
from photostyle.networks.network import find_network
from segmentation.superpixels import Array, Superpixels

# The last block of stride 16, of 112 channels. With the last of stride 32, which knows more and sees less, clusters
# agreed worse with painted masks (IoU on 12 published photographs 0.49 to 0.57 where this gave 0.72 to 0.77).
BLOCK, CHANNELS = 4, 112
SIDE = 512  # long side it looks at; with 256, 0.64 where this gave 0.72 to 0.77
STRIDE = 32  # sides are multiples of it, so that cells lie where the picture has them
# Components of the features that are kept. Mean IoU with 6, 8, 10, 12, 16: 0.73, 0.81, 0.72, 0.74, 0.77. That is a band
# of 0.75 ± 0.03 in which 8 was lucky.
COMPONENTS = 8
# Each component's deviation is its singular value's to this power: between all alike (0) and as they are (1).
SPREAD = 0.5


class DeepFeatures(nn.Module):
    """The network up to BLOCK: (1, 3, H, W) → (1, CHANNELS, ⌈H/16⌉, ⌈W/16⌉), of mean 0 and deviation 1 over ImageNet.

    Mean and variance are those that the block's batch normalisations were trained to give, added up along its
    shortcuts as if they were independent.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.layers = nn.Sequential(network.conv_stem, network.bn1, *network.blocks[: BLOCK + 1])
        last = [block.bn3 for block in network.blocks[BLOCK]]  # the first of the block has no shortcut
        self.mean = torch.stack([each.bias for each in last]).sum(0)[:, None, None]
        self.deviation = torch.stack([each.weight**2 for each in last]).sum(0).sqrt()[:, None, None]

    def forward(self, batch: Tensor) -> Tensor:
        """batch: RGB as the model card normalises it."""
        features: Tensor = (self.layers(batch) - self.mean) / self.deviation
        return features


def load_network(file: Path) -> DeepFeatures:
    """The network of a file: the package's, or the state dict of timm's."""
    return DeepFeatures(find_network(NAME, file).module).eval()


def see(network: nn.Module, photo: Tensor, superpixels: Superpixels) -> Array:
    """Mean features of each superpixel, (N, CHANNELS). photo: (3, H, W), sRGB in [0, 1]."""
    height, width = (max(round(side / STRIDE), 1) * STRIDE for side in fit_within(*size_of(photo), SIDE))
    image = (resize(photo.float().cpu(), height, width) - MEAN) / DEVIATION
    with torch.inference_mode():
        features = resize(network(image[None])[0].clone(), *superpixels.index.shape)
    return averaged(features.flatten(1).T.double().numpy(), superpixels)


def averaged(values: Array, superpixels: Superpixels) -> Array:
    """Values of each pixel (h w, C) → their mean in each superpixel, (N, C)."""
    index = superpixels.index.ravel()
    members = csr_array((np.ones(len(index)), (index, np.arange(len(index)))))
    means: Array = (members @ values) / superpixels.pixels[:, None]
    return means


def standardised(seen: Sequence[Array], shares: Sequence[Array]) -> list[Array]:
    """Features of all pictures, each with mean 0 and deviation 1 over them together. shares: weights of sum 1 each."""
    every, weights = np.concatenate(seen), np.concatenate(shares) / len(shares)
    mean = weights @ every
    deviation = np.sqrt(weights @ (every - mean) ** 2)
    # A channel that says nothing here stays 0, and no rounding is made large.
    whole = (every - mean) / np.maximum(deviation, 1e-6)
    return np.split(whole, np.cumsum([len(each) for each in seen])[:-1])


def principal(seen: Sequence[Array], shares: Sequence[Array]) -> list[Array]:
    """Principal components of `standardised` features, (N, COMPONENTS); the first has deviation 1."""
    every, weights = np.concatenate(seen), np.concatenate(shares) / len(shares)
    _, values, axes = np.linalg.svd(every * np.sqrt(weights)[:, None], full_matrices=False)
    values, axes = values[:COMPONENTS], axes[:COMPONENTS]
    # Flat pictures have no second component: its rounding is not made large.
    scale = (
        np.where(values > 1e-6 * values[0], values, np.inf) if values[0] > 0 else np.full(len(values), np.inf)
    )
    parts = every @ axes.T / scale * (values / max(values[0], 1e-12)) ** SPREAD
    return np.split(parts, np.cumsum([len(each) for each in seen])[:-1])
