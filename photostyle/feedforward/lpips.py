"""LPIPS (Zhang et al. 2018): a distance of two pictures in a network's normalised features, weighted as people judged.

d(x, y) = Σ_l mean_hw Σ_c w_lc (x̂_lc − ŷ_lc)², x̂ being of unit length in every pixel. The network is a VGG-16
with published weights, w the authors' linear layers ("vgg.pth" of their version 0.1, 7 KB): both by path, neither is
shipped.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from photostyle.errors import PhotostyleError
from photostyle.losses.encoders import Encoder
from photostyle.losses.weights import read_state

# The layers that are compared, and how the authors' file names their weights.
LAYERS = {
    "relu1_2": "lin0.model.1.weight",
    "relu2_2": "lin1.model.1.weight",
    "relu3_3": "lin2.model.1.weight",
    "relu4_3": "lin3.model.1.weight",
    "relu5_3": "lin4.model.1.weight",
}
LEAST_LENGTH = 1e-10  # the authors' eps


def read_linear(path: Path) -> dict[str, Tensor]:
    """The weights (C,) by layer. Raises PhotostyleError where the file is not the authors'."""
    state = read_state(path)
    if not isinstance(state, Mapping) or (missing := [key for key in LAYERS.values() if key not in state]):
        lacks = missing[0] if isinstance(state, Mapping) else "everything"
        raise PhotostyleError(f"{path} lacks {lacks}: give LPIPS's linear layers for VGG, its v0.1/vgg.pth")
    return {layer: state[key].flatten().float() for layer, key in LAYERS.items()}


@torch.no_grad()
def lpips(encoder: Encoder, linear: Mapping[str, Tensor], first: Tensor, second: Tensor) -> Tensor:
    """The distance of each couple, (B, 3, H, W) twice in [0, 1] -> (B,). encoder: a VGG-16 with LAYERS.

    The authors' input scaling of [-1, 1] is ImageNet's of [0, 1], the encoder's own. Sides divisible by 16 are pooled
    as theirs are; of others the encoder keeps the half cell at the border that theirs drops.
    """
    ours, theirs = encoder(first), encoder(second)
    layers = [
        (linear[layer][:, None, None] * (_unit(ours[layer]) - _unit(theirs[layer])).square()).sum(1)
        for layer in LAYERS
    ]
    return torch.stack([each.mean((1, 2)) for each in layers]).sum(0)


def art_fid(lpips_of_contents: float, fid_of_styles: float) -> float:
    """ArtFID (Wright and Ommer 2022): (1 + LPIPS) (1 + FID), content kept times style reached; 1 is best."""
    return (1 + lpips_of_contents) * (1 + fid_of_styles)


def _unit(features: Tensor) -> Tensor:
    return features / (features.square().sum(1, keepdim=True).sqrt() + LEAST_LENGTH)
