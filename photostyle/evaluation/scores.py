"""What a result is worth, in numbers: how much style and colour it took, how much of the photo it kept.

All scores are of the result at the content's own size, in sRGB values as they stand in the file. Scores of regions
count those above 1 % of both pictures, weighted by their share of the content. Nothing here depends on how the result
was made, and every random direction is drawn from its own fixed seed, so scores of different methods and runs compare.

Style and colour are ratios to the untouched photo: at 1 nothing was done, at 0 the statistics of the reference are
reached.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from skimage.filters import sobel
from skimage.metrics import structural_similarity
from torch import Tensor

from photostyle.errors import PhotostyleError
from photostyle.evaluation.comparison import HIGHER, LOWER, Comparison, directions
from photostyle.evaluation.sides import Side, lab, thin_lab, thinned
from photostyle.imaging.filters import affine_residual, area_average, fit_within, luma
from photostyle.imaging.matting import EPSILON, WINDOW
from photostyle.kernels.compiler import available, in_parts
from photostyle.kernels.histograms import quantiles_of_rows
from photostyle.losses.encoders import Encoder, Features
from photostyle.losses.gram import region_grams
from photostyle.losses.patches import unit_filters
from photostyle.losses.weights import Weights
from photostyle.regions.guidance import carry_masks

STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")  # Luan et al. 2017, section 4
HALF_LEVEL = 1 / 510  # half an 8-bit level: smaller differences are of the file format, not of the picture
HALF_LEVEL_LAB = 100 / 510  # the same of L*, whose 100 units span the levels

# Random directions of a sliced distance. Other draws of as many change a score by 4 to 9 % (standard deviation over
# four published pairs), so they are drawn once and for all.
DIRECTIONS, COLOUR_SEED, PATCH_SEED = 32, 0, 0
QUANTILES = np.linspace(0.005, 0.995, 200)  # the outer half per cent is noise and clipping
BINS = 4096  # of the histogram behind the quantiles: finer than 8-bit levels along any direction
PATCH = 7  # pixels: not the 5 that the method matches by default, so that no method is scored by its own loss
PATCH_LEVELS = 4  # with halving, patches of 7 to 56 pixels
LEAST_LEVEL = 32  # pixels of the short side of a pyramid level; also of the smallest photo accepted
FEATURE_PIXELS, FEATURE_SIDE = 1_000_000, 700  # 700 px: the long side of the published pictures

SSIM_SIGMA = 1.5  # Wang et al. 2004, section III-B
SSIM_REACH = 5  # pixels of its window to either side: scikit-image cuts the Gaussian off at 3.5 sigma
EDGE_QUANTILE = 0.99  # not the maximum, with which one highlight would dim every other edge
STRIP = 512  # rows of the matting energy at a time, so that its memory does not grow with the picture
DRIFT_SIDE, DRIFT_RIDGE = 256, 1e-4  # ridge (0.01)^2: colour differences below 1 % explain nothing

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """The scores of one result; `comparison.directions` tells which way each is better."""

    style: float = field(metadata=LOWER)
    """distance to the reference's style over the photo's own"""
    colour: float = field(metadata=LOWER)
    """the same for colours alone"""
    edge: float = field(metadata=HIGHER)
    """SSIM of edges with the photo's, at most 1"""
    grey: float = field(metadata=HIGHER)
    """SSIM of luma with the photo's, at most 1"""
    matting: float = field(metadata=LOWER)
    """3x3 matting energy over variance, in thousandths"""
    drift4: float = field(metadata=LOWER)
    """share of chroma that no affine map of the photo explains within 4 px at 256 px"""
    drift16: float = field(metadata=LOWER)
    """the same within 16 px"""
    style_features: str
    """what `style` was measured in: compare only equal ones"""

    def as_dict(self) -> dict[str, float]:
        """The seven numbers by name."""
        return {name: getattr(self, name) for name in SCORES}


SCORES = tuple(directions(Scores))


def score_encoder(weights: Weights, architecture: str, more_layers: Sequence[str] = ()) -> Encoder:
    """An encoder with STYLE_LAYERS, in whose features `style` is measured, and more layers where asked for."""
    return Encoder(weights.state, architecture, layers=(*STYLE_LAYERS, *more_layers))


def score(compared: Comparison, encoder: Features | None = None) -> Scores:
    """All scores of a result.

    encoder: on the pictures' device, with STYLE_LAYERS among its layers (`score_encoder`); without one, style is
    scored in patches and `style_features` says so.
    """
    if encoder is None:
        style, features = patch_ratio(compared), f"patches {PATCH}x{PATCH}"
    else:
        style, features = gram_ratio(compared, encoder), "Gram relu1_1-relu5_1"
    return Scores(
        style=style,
        colour=colour_ratio(compared),
        edge=edge_similarity(compared),
        grey=grey_similarity(compared),
        matting=matting_score(compared),
        drift4=drift(compared, 4),
        drift16=drift(compared, 16),
        style_features=features,
    )


def gram_ratio(compared: Comparison, encoder: Features, layers: Sequence[str] = STYLE_LAYERS) -> float:
    """Distance of Gram matrices to the style's over that of the content: geometric mean over layers.

    At a layer, d(X) = sum_k w_k ||G_X,k - G_S,k||_F / ||G_S,k||_F with G_k = F diag(m_k) F^T / sum m_k (Gatys
    et al. 2016, eq. 3, by region as Luan et al. 2017, eq. 3), the masks carried to the layer. Any picture above
    1 MP, content or style, is first reduced by area to a long side of 700 px.
    """
    weights = compared.weights
    reached, untouched, target = (side.once(_grams, encoder, tuple(layers)) for side in _sides(compared))
    # A Gram matrix is quadratic: half a level of full brightness changes it by two half levels.
    return _geometric_mean(
        [
            _ratio(
                _gram_distance(reached[layer], target[layer], weights),
                _gram_distance(untouched[layer], target[layer], weights),
                2 * HALF_LEVEL,
            )
            for layer in layers
        ]
    )


def patch_ratio(compared: Comparison) -> float:
    """Distance of 7x7 patch distributions to the style's over the content's own: geometric mean over levels.

    d(X) = sum_k w_k W1(X_k, S_k), sliced over 32 fixed random unit filters, patches weighted by the mask at their
    centre (Elnekave & Weiss, ECCV 2022, by region), on up to four levels, each half the one before. It stands in for
    `gram_ratio` where there is no encoder. Pictures above 1 MP are reduced as there.
    """
    weights = compared.weights
    counted = _counted(weights)
    reached, untouched, target = (side.once(_patch_quantiles, counted) for side in _sides(compared))
    levels = zip(reached, untouched, target, strict=False)  # the smaller picture has fewer
    return _geometric_mean([_distance_ratio(*level, weights, HALF_LEVEL) for level in levels])


def colour_ratio(compared: Comparison) -> float:
    """Sliced Wasserstein-1 distance of the colours to the style's, over that of the content.

    d(X) = sum_k w_k mean_v mean_q |Q_q(v . Lab(X_k)) - Q_q(v . Lab(S_k))| over 32 fixed unit directions v and
    200 quantiles q from 0.005 to 0.995, in CIELAB under D65 (Rabin et al., "Wasserstein Barycenter and its
    Application to Texture Mixing", SSVM 2011). Of a picture above 1 MP every n-th row and column counts, which keeps
    the distribution; averaging would narrow it.
    """
    counted = _counted(compared.weights)
    reached, untouched, target = (side.once(_colour_quantiles, counted) for side in _sides(compared))
    return _distance_ratio(reached, untouched, target, compared.weights, HALF_LEVEL_LAB)


def edge_similarity(compared: Comparison) -> float:
    """SSIM of the two edge maps (see `edges`), at most 1."""
    return _ssim(compared.ours.once(_edges), compared.photo.once(_edges))


def grey_similarity(compared: Comparison) -> float:
    """SSIM of Rec. 709 luma, computed on the gamma-encoded sRGB values, at most 1."""
    return _ssim(_grey(compared.ours), _grey(compared.photo))


def edges(grey: Tensor) -> Array:
    """Sobel gradient magnitude over its own 99 % quantile, clipped to 1. (H, W) in [0, 1] -> the same.

    It is taken over its own quantile so that contrast may change but not the place of edges. Where that quantile is
    under half an 8-bit level the picture is flat, and half a level is taken instead.
    """
    magnitude = sobel(_array(grey))  # type: ignore[no-untyped-call]
    scale = max(float(np.quantile(magnitude, EDGE_QUANTILE)), HALF_LEVEL)
    normalised: Array = np.minimum(magnitude / scale, 1.0)
    return normalised


def matting_score(compared: Comparison) -> float:
    """Matting energy over variance, in thousandths: 1e3 sum_c v_c^T L v_c / sum_c ||v_c - mean v_c||^2.

    L is the Laplacian of the content at eps 1e-7 (Levin et al. 2008; `matting.matting_laplacian`), v are the result's
    channels in [0, 1]. v^T L v is summed over 3x3 windows as 9 `affine_residual` (Levin's eq. 3, minimised), in float64
    and in strips, so that 12 MP need no matrix.
    """
    guide, target = compared.content.detach().cpu(), compared.result.detach().cpu()
    energy = 0.0
    for top in range(0, target.shape[1] - 2, STRIP):
        rows = slice(top, top + STRIP + 2)
        windows = affine_residual(guide[:, rows], target[:, rows], 1, EPSILON / WINDOW)
        energy += WINDOW * float(windows[1:-1, 1:-1].sum())
    variance = float(target.double().var((1, 2), correction=0).sum())
    return 1e3 * energy / (target[0].numel() * max(variance, HALF_LEVEL**2))


def drift(compared: Comparison, radius: int) -> float:
    """Share of the chroma variance that no affine map of the content explains within (2r+1)^2 windows.

    It sees the slow coloured stains to which the 3x3 matting energy is blind. Both pictures are reduced by area to a
    long side of 256 px. The drift is the mean over all windows, clipped at the border, of the `affine_residual` of
    CIELAB a, b on the content's RGB with ridge 1e-4, over the variance of a, b in the whole picture: 0 to 1.
    """
    guide = compared.photo.once(at_drift_size)
    chroma = compared.ours.once(_chroma)
    residual = affine_residual(guide, chroma, radius, DRIFT_RIDGE).mean()
    chroma = chroma.double()
    variance = chroma.var((1, 2), correction=0).sum()
    return float(residual / variance.clamp(min=HALF_LEVEL_LAB**2))


def _ratio(distance: float, untouched: float, least: float) -> float:
    """A distance over that of the untouched photo, or over 8-bit rounding (`least`) where the photo is nearer."""
    return distance / max(untouched, least)


def _geometric_mean(values: Sequence[float]) -> float:
    return math.prod(values) ** (1 / len(values))


def _sides(compared: Comparison) -> tuple[Side, Side, Side]:
    return compared.ours, compared.photo, compared.reference


def _counted(weights: Array) -> tuple[int, ...]:
    """The numbers of the regions that count."""
    return tuple(np.flatnonzero(weights).tolist())


def _grams(side: Side, encoder: Features, layers: tuple[str, ...]) -> dict[str, Tensor]:
    """The Gram matrices of the regions at each layer: (K, C, C)."""
    with torch.no_grad():
        return _grams_of(_at_feature_size(side.picture), _at_feature_size(side.masks), encoder, layers)


def _grams_of(image: Tensor, masks: Tensor, encoder: Features, layers: Sequence[str]) -> dict[str, Tensor]:
    features, carried = encoder(image), carry_masks(masks, encoder.plan)
    if missing := [layer for layer in layers if layer not in features]:
        raise PhotostyleError(
            f"the style score needs {', '.join(layers)} but the encoder lacks {', '.join(missing)}"
        )
    return {layer: region_grams(features[layer], carried[layer]) for layer in layers}


def _gram_distance(grams: Tensor, targets: Tensor, weights: Array) -> float:
    total = 0.0
    for k in np.flatnonzero(weights):
        # A region that excites no channel has a Gram matrix of zero. In the ratio the least norm cancels.
        norm = targets[k].norm().clamp(min=1e-12)
        total += float(weights[k]) * float((grams[k] - targets[k]).norm() / norm)
    return total


def _at_feature_size(stack: Tensor) -> Tensor:
    if stack[0].numel() <= FEATURE_PIXELS:
        return stack
    return area_average(stack, *fit_within(stack.shape[1], stack.shape[2], FEATURE_SIDE))


def _patch_quantiles(side: Side, counted: tuple[int, ...]) -> list[Array]:
    """Region quantiles of the filters' responses, one array per pyramid level, from fine to coarse; one at least."""
    filters = unit_filters(DIRECTIONS, PATCH, torch.Generator().manual_seed(PATCH_SEED))
    image, masks = (_at_feature_size(each).detach().cpu() for each in (side.picture, side.masks))
    quantiles: list[Array] = []
    while not quantiles or (len(quantiles) < PATCH_LEVELS and min(image.shape[1:]) >= LEAST_LEVEL):
        # With the border repeated every pixel is the centre of a patch, so no thin region at the border is lost.
        padded = F.pad(image[None], (PATCH // 2,) * 4, mode="replicate")
        responses = F.conv2d(padded, filters)[0].flatten(1).numpy()
        quantiles.append(_region_quantiles(responses, masks.flatten(1).numpy(), counted))
        half = [(length + 1) // 2 for length in image.shape[1:]]
        image, masks = area_average(image, *half), area_average(masks, *half)
    return quantiles


def _colour_quantiles(side: Side, counted: tuple[int, ...]) -> Array:
    rays = np.random.default_rng(COLOUR_SEED).normal(size=(DIRECTIONS, 3))
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    colours = side.once(thin_lab).reshape(3, -1).astype(np.float32)
    return _region_quantiles(
        rays.astype(np.float32) @ colours, thinned(side.masks).flatten(1).numpy(), counted
    )


def _region_quantiles(samples: np.ndarray, masks: np.ndarray, counted: tuple[int, ...]) -> Array:
    """samples (P, n), masks (K, n) -> (counted regions, P, 200)."""
    return np.stack([_quantiles(samples, masks[region]) for region in counted])


def _quantiles(samples: np.ndarray, weights: np.ndarray) -> Array:
    """Weighted quantiles of each row, to within a 4096th of its range. (P, n), (n,) -> (P, 200).

    From a histogram, which takes a tenth of the time of sorting and has weights for nothing.
    """
    inside = np.flatnonzero(weights > 0)
    if not available() or samples.dtype != np.float32:
        return _numpy_quantiles(samples[:, inside], weights[inside])
    quantiles = np.empty((len(samples), len(QUANTILES)))
    given = np.ascontiguousarray(samples), inside.astype(np.int32), weights[inside].astype(np.float32)
    in_parts(
        lambda first, end: quantiles_of_rows(*given, QUANTILES, BINS, quantiles, first, end), len(samples)
    )
    return quantiles


def _numpy_quantiles(samples: np.ndarray, weights: np.ndarray) -> Array:
    """The same without a compiler."""
    quantiles = np.empty((len(samples), len(QUANTILES)))
    # Row by row, because a row stays in the cache and the whole array does not.
    for row, values in enumerate(samples):
        low = values.min()
        # With this least width a constant row keeps its value without a division by zero.
        width = max((values.max() - low) / BINS, np.finfo(np.float32).tiny)
        bins = np.minimum(((values - low) / width).astype(np.intp), BINS - 1)
        mass = np.bincount(bins, weights, BINS)
        cumulative = np.concatenate(([0.0], mass.cumsum())) / mass.sum()
        quantiles[row] = low + width * np.interp(QUANTILES, cumulative, np.arange(BINS + 1))
    return quantiles


def _distance_ratio(reached: Array, untouched: Array, target: Array, weights: Array, least: float) -> float:
    """Ratio of two sliced W1 distances, each the mean difference of quantiles weighted by region."""
    counted = weights[weights > 0]
    ours, own = (float(counted @ np.abs(each - target).mean((1, 2))) for each in (reached, untouched))
    return _ratio(ours, own, least)


def _ssim(ours: Array, theirs: Array) -> float:
    # A side that is no longer than the window is mirrored at its ends: each of its pixels is the centre of one.
    ends = [(SSIM_REACH, SSIM_REACH) if length <= 2 * SSIM_REACH else (0, 0) for length in ours.shape]
    ours, theirs = np.pad(ours, ends, mode="symmetric"), np.pad(theirs, ends, mode="symmetric")
    return float(
        structural_similarity(  # type: ignore[no-untyped-call]
            ours,
            theirs,
            gaussian_weights=True,
            sigma=SSIM_SIGMA,
            use_sample_covariance=False,
            data_range=1.0,
        )
    )


def _edges(side: Side) -> Array:
    return edges(luma(side.picture))


def _grey(side: Side) -> Array:
    return _array(luma(side.picture))


def at_drift_size(side: Side) -> Tensor:
    """The picture by area to a long side of 256 px, averaged in float64."""
    height, width = side.picture.shape[1:]
    return area_average(_double(side.picture), *fit_within(height, width, DRIFT_SIDE)).float()


def _chroma(side: Side) -> Tensor:
    """CIELAB a, b of the picture at that size. (2, h, w)."""
    return torch.from_numpy(lab(side.once(at_drift_size))[1:]).float()


def _array(tensor: Tensor) -> Array:
    return _double(tensor).numpy()


def _double(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().double()
