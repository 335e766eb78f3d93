"""How far apart two sets of pictures are as a whole: the Fréchet distance of Gaussians fitted to their features.

d² = |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½)   (Dowson and Landau 1982; FID: Heusel et al. 2017, eq. 6)

Called FID where the features are an Inception-v3's with published weights, before its last layer, and only there: of
other features the numbers are not comparable with anybody's.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from photostyle.errors import PhotostyleError
from photostyle.losses.encoders import Encoder
from photostyle.networks.network import Network

AT_ONCE = 16  # pictures whose features are in memory together

Matrix = np.ndarray  # float64


@dataclass(frozen=True, eq=False)
class Gaussian:
    """mean (D,), covariance (D, D), both float64."""

    mean: Matrix
    covariance: Matrix

    @classmethod
    def of(cls, features: Tensor) -> "Gaussian":
        """Fitted to (N, D); the covariance over N − 1, as FID has it. Raises PhotostyleError for fewer than two."""
        if len(features) < 2:
            raise PhotostyleError(f"a distribution of {len(features)} pictures: give at least two")
        rows = features.double().cpu().numpy()
        return cls(rows.mean(0), np.atleast_2d(np.cov(rows, rowvar=False)))


def frechet_distance(first: Gaussian, second: Gaussian) -> float:
    """d² above. The trace of (Σ₁ Σ₂)^½ is that of the symmetric (Σ₁^½ Σ₂ Σ₁^½)^½, whose eigenvalues are real.

    Exact for singular covariances too: fewer pictures than features need nothing added.
    """
    values, vectors = np.linalg.eigh(first.covariance)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    between = np.linalg.eigvalsh(root @ second.covariance @ root)
    apart = float(np.square(first.mean - second.mean).sum())
    spread = float(np.trace(first.covariance) + np.trace(second.covariance))
    return apart + spread - 2 * float(np.sqrt(between.clip(min=0)).sum())


def check_inception(network: Network) -> None:
    """Raise PhotostyleError for what FID is not measured in: random weights, whose features mean nothing, or others."""
    if network.source == "random":
        raise PhotostyleError(
            "FID needs an Inception-v3 with published weights, and these are random: give their file, "
            "inception_v3_google-0cc3c7bd.pth"
        )
    if network.name != "inception_v3":
        raise PhotostyleError(f"FID is of inception_v3, not of {network.name}: give its weights")


@torch.no_grad()
def inception_features(inception: Network, pictures: Iterable[Tensor]) -> Tensor:
    """What Inception-v3 has before its last layer: batches (B, 3, H, W) in [0, 1] -> (N, 2048).

    torchvision's network and resizing, not those of TensorFlow that FID was published with: figures are of one scale,
    and not to be mixed. Raises PhotostyleError, see `check_inception`.
    """
    check_inception(inception)
    found = list[Tensor]()
    hook = inception.module.avgpool.register_forward_hook(  # type: ignore[union-attr]
        lambda module, given, made: found.append(made.flatten(1).float().cpu())
    )
    try:
        for batch in pictures:
            inception.module(_as_input(batch, inception))
    finally:
        hook.remove()
    return torch.cat(found)


@torch.no_grad()
def encoder_features(encoder: Encoder, layer: str, pictures: Iterable[Tensor]) -> Tensor:
    """The means over a picture of a VGG's layer: batches (B, 3, H, W) in [0, 1] -> (N, C)."""
    return torch.cat([encoder(batch)[layer].mean((2, 3)).cpu() for batch in pictures])


def distance_between(first: Tensor, second: Tensor) -> float:
    """The Fréchet distance of two sets of features, (N, D) and (M, D)."""
    return frechet_distance(Gaussian.of(first), Gaussian.of(second))


def _as_input(batch: Tensor, inception: Network) -> Tensor:
    side = (inception.size, inception.size)
    shaped = functional.interpolate(batch, side, mode="bilinear", antialias=True, align_corners=False)
    mean, deviation = (
        shaped.new_tensor(each)[:, None, None] for each in (inception.mean, inception.deviation)
    )
    return (shaped - mean) / deviation
