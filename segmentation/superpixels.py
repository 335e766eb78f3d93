"""A photograph as a few hundred superpixels, each with what can be said of it without any training.

The descriptors are chosen to mean the same in two photographs of different light: colours relative to their picture,
texture, height in the picture, and how much contrast lies between a place and the edges of the picture. The last of
them finds skies (no contrast up to the upper edge) and backdrops (none up to any edge).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.color import rgb2lab
from skimage.graph import MCP_Geometric
from skimage.segmentation import slic
from torch import Tensor

from photostyle.imaging.filters import fit_within, resize, size_of
from photostyle.imaging.lightness import JND

SIDE = 256  # long side in pixels at which a picture is described: for regions, not for details
SUPERPIXELS = 800  # of about 8 x 8 pixels; with 400 they miss towers and roofs (experiment 006)
COMPACTNESS = 8.0  # SLIC's weight of place against colour, scikit-image's default being 10: closer to edges
FINE = 1.0  # standard deviation in pixels of a blur: fine texture is what it removes
# In L*: textures under these are noise of the photograph (a level of 8 bits is 0.4 L*).
FINE_NOISE, COARSE_NOISE = 0.2, 0.5

# How much each descriptor counts. Chosen by hand, not by a search: a colour says less in another light.
WEIGHTS = {
    "lightness": 0.5,
    "a": 0.5,
    "b": 0.5,
    "fine texture": 0.7,
    "coarse texture": 0.7,
    "height": 1.0,
    "far from the top": 1.0,
    "far from the edges": 0.3,
}

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Superpixels:
    """One picture's N superpixels.

    index: (h, w), the superpixel of each pixel, on a copy of long side SIDE. pixels: (N,) how many each has.
    colours: (N, 3) mean CIELAB. texture: (N,) log of the fine contrast. features: (N, F), standardised and weighted.
    neighbours: (E, 2) the pairs that touch, lower number first; lengths: (E,) how many pixel sides they share.
    """

    index: Labels
    pixels: Array
    colours: Array
    texture: Array
    features: Array
    neighbours: Labels
    lengths: Array


def describe(photo: Tensor) -> Superpixels:
    """The superpixels of a photo (3, H, W), sRGB in [0, 1]. SLIC: Achanta et al., TPAMI 2012."""
    image = resize(photo, *fit_within(*size_of(photo), SIDE)).permute(1, 2, 0).double().cpu().numpy()
    lab = rgb2lab(image)
    index: Labels = slic(
        image, SUPERPIXELS, compactness=COMPACTNESS, sigma=0.7, start_label=0, channel_axis=-1
    )
    pixels = np.bincount(index.ravel()).astype(np.float64)

    def mean(values: Array) -> Array:
        return np.bincount(index.ravel(), values.ravel()) / pixels

    colours = np.stack([mean(lab[..., channel]) for channel in range(3)], 1)
    lightness = lab[..., 0]
    fine = np.log(mean(np.abs(lightness - ndimage.gaussian_filter(lightness, FINE))) + FINE_NOISE)
    spread = mean((lightness - colours[index, 0]) ** 2)
    described = {
        "lightness": colours[:, 0],
        "a": colours[:, 1],
        "b": colours[:, 2],
        "fine texture": fine,
        "coarse texture": np.log(np.sqrt(spread) + COARSE_NOISE),
        "height": mean(np.linspace(-1, 1, len(index))[:, None] + np.zeros(index.shape)),
        **{name: mean(distance) for name, distance in _distances(lab).items()},
    }
    neighbours, lengths = _neighbours(index)
    return Superpixels(index, pixels, colours, fine, _standardised(described, pixels), neighbours, lengths)


def _distances(lab: Array) -> dict[str, Array]:
    """Log of the geodesic distance to the upper edge and to the nearest edge; a step costs its contrast."""
    smooth = ndimage.gaussian_filter(lab, (1, 1, 0))
    contrast = np.sqrt(sum((np.gradient(smooth, axis=axis) ** 2).sum(-1) for axis in (0, 1)))
    # A strong edge costs 1, flat ground a fiftieth of that, so that a sky is near the top however far down it reaches.
    cost = contrast / max(np.percentile(contrast, 95), JND / SIDE) + 0.02
    height, width = cost.shape
    top = [(0, x) for x in range(width)]
    sides = [(y, x) for y in range(height) for x in (0, width - 1)]
    bottom = [(height - 1, x) for x in range(width)]
    found = {}
    for name, sources in (("far from the top", top), ("far from the edges", [*top, *sides, *bottom])):
        distance, _ = MCP_Geometric(cost).find_costs(sources)
        found[name] = np.log(distance / max(np.median(distance), 1e-6) + 0.1)
    return found


def _neighbours(index: Labels) -> tuple[Labels, Array]:
    sides = [
        np.stack((one.ravel(), other.ravel()), 1)
        for one, other in ((index[:, :-1], index[:, 1:]), (index[:-1], index[1:]))
    ]
    touching = np.sort(np.concatenate(sides), axis=1)
    pairs, counts = np.unique(touching[touching[:, 0] != touching[:, 1]], axis=0, return_counts=True)
    return pairs, counts.astype(np.float64)


def _standardised(described: dict[str, Array], pixels: Array) -> Array:
    """Each descriptor with mean 0 and spread 1 within the picture, times its weight; a flat one is not enlarged."""
    share = pixels / pixels.sum()
    spreads = {name: _spread(values, share) for name, values in described.items()}
    chroma = float(np.hypot(spreads["a"], spreads["b"]) / np.sqrt(2))
    # Under two JND of colour, or a tenth of a log unit, the picture has no variation worth a region.
    least = dict.fromkeys(described, 0.1) | dict.fromkeys(("lightness", "a", "b"), 2 * JND)
    # Both chroma axes by one spread, or the cast of a grey picture would count as its colours. Height means the same in
    # any picture.
    spreads |= {"a": chroma, "b": chroma, "height": 1 / np.sqrt(3)}
    columns = [
        WEIGHTS[name] * (values - values @ share) / max(spreads[name], least[name])
        for name, values in described.items()
    ]
    return np.stack(columns, 1)


def _spread(values: Array, share: Array) -> float:
    return float(np.sqrt((values - values @ share) ** 2 @ share))
