"""What a transfer spoils, in numbers: one detector per artefact, 0 where there is none.

Each detector compares the result with the photo, so that the photo's own noise, bands, burnt lamps and haze do not
count. Differences of colour are in CIELAB under D65 (ΔE*ab, CIE 1976): a difference of about 1 is seen between
adjoining fields, one of JND between separate ones. Pictures are first reduced by area to a long side of 700 px (smaller
ones stay as they are). All of these artefacts are still there: what vanishes at that size is not seen in the picture as
a whole, and 12 MP take no more memory than their reduction. `clipped` and `foreign`, which count single pixels, take
every n-th pixel instead, because an average would hide them. Lengths are shares of the long side.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import (
    convolve1d,
    gaussian_filter,
    maximum_filter,
    minimum_filter,
    sobel,
    uniform_filter,
    uniform_filter1d,
)
from scipy.spatial import cKDTree
from torch import Tensor

from photostyle.evaluation.comparison import LEAST_SHARE, LOWER, Comparison
from photostyle.evaluation.scores import HALF_LEVEL
from photostyle.evaluation.sides import SIDE, Side, reduced_lab, reduced_masks, thin_lab, thinned
from photostyle.imaging.filters import LUMA
from photostyle.imaging.lightness import JND

STEP = 1.2  # ΔE*ab: the least contour counted. One level of 8 bits in a channel is 1.17 at most (dark greens)

DETAIL = 2  # px: detail is what a 5x5 mean removes
FLANK = 7 / SIDE  # of a step: a band narrower than 7 px of 700 looks like texture
MIDDLE = 2  # px between the middle of a step and its flanks: steps of published results are 1 to 3 px wide

EDGE = 10 * JND  # ΔE*ab across an edge that counts as strong: an outline, not texture
REACHES = (0.01, 0.03)  # of a halo: the smoothing's radius in Luan et al. is 15 px of 700, between the two
MOST_EDGES = 8000  # profiles, evenly taken: the mean of as many is stable to some per cent

NOISE_RADIUS = 8  # px: 289 pixels per window, whose standard deviation is known to 4 %
# The second is the first one applied to every other pixel of (1, 2, 1).
NOISE_MASKS = ((1, -2, 1), (1, 2, -1, -4, -1, 2, 1))
# Of the window in which the gain is taken: 28 px, over which a flat area of a photo still changes.
GAIN_RADIUS = 0.04
NOISE_MARGIN = 1.5  # lightness and chroma have different gains, and noise and structure another share of each
ROUNDING = 0.39  # ΔE*ab: standard deviation of rounding to 8 bits where it is largest, in dark blues

DARK_RADIUS = 0.02  # of the window of dark and light points: 15 px, the patch of He et al. 2009
COLOUR_CELL = 2.0  # ΔE*ab, the side of the cell that a colour is in: below JND
RARE = 0.005  # as the outer half per cent that the colour score leaves out
CODE = 1024  # more than cells along any axis of CIELAB, so that three numbers fit into one
FOREIGN = 10.0  # ΔE: colours farther apart are different colours, not shades
LIGHTNESS = 2.0  # lightness counts half in `foreign`: k_L of CIE 116-1995 where shade matters less than hue

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Artefacts:
    """The artefacts of one result: 0 is none, and less is better."""

    banding: float = field(metadata=LOWER)
    """ΔE climbed in steps per hundredth of the long side, in smooth areas"""
    halo: float = field(metadata=LOWER)
    """ΔE beyond the noticeable between the band along strong edges and what lies behind it"""
    spill: float = field(metadata=LOWER)
    """ΔE, the same for chroma towards that of the other side"""
    noise: float = field(metadata=LOWER)
    """ΔE, standard deviation in flat areas"""
    clipped: float = field(metadata=LOWER)
    """0 to 1, share of the pixels, weighted by lightness and channel"""
    haze: float = field(metadata=LOWER)
    """L* by which blacks are lifted and contrast is lost"""
    foreign: float = field(metadata=LOWER)
    """0 to 1, share of the pixels"""

    def as_dict(self) -> dict[str, float]:
        """The seven numbers by name."""
        return asdict(self)


def find_artefacts(compared: Comparison) -> Artefacts:
    """All artefacts of a result."""
    halo, spill = _edge_artefacts(compared)
    return Artefacts(
        banding=banding(compared),
        halo=halo,
        spill=spill,
        noise=noise(compared),
        clipped=clipped(compared),
        haze=haze(compared),
        foreign=foreign(compared),
    )


def banding(compared: Comparison) -> float:
    """Steps where the photo is smooth: ΔE climbed in them per hundredth of the long side, ≥ 0.

    The step at a pixel, along rows or columns, is the difference of the means of its two flanks, less so much of their
    standard deviation that a ramp of any slope has no step. Noise, which hides bands from the eye, hides them here too.
    The excess over STEP counts, in the smooth area (`smooth_area`), away from where the photo itself has such a step. A
    level of the photo's 8 bits that a steep colour map makes visible does count. Like CAMBI (Tandon et al., PCS 2021)
    it looks for flat fields that differ by little, but beside a photo.
    """
    ours = compared.ours.once(reduced_lab)
    flank = _pixels(FLANK, ours, 3) | 1
    smooth, climbed = compared.photo.once(_smooth_area, flank + MIDDLE), 0.0
    if smooth.mean() < LEAST_SHARE:
        return 0.0
    for axis in (1, 2):
        of_photo = compared.photo.once(_steps_around, axis, flank)
        excess = np.maximum(step_heights(ours, axis, flank) - STEP, 0)
        climbed += float(excess[smooth & (of_photo < STEP)].sum()) / 2
    # A sharp step is found at each of the 2 * MIDDLE places that have it between their flanks.
    return float(climbed / (2 * MIDDLE) / int(smooth.sum()) * max(smooth.shape) / 100)


def halo(compared: Comparison) -> float:
    """Bands along strong edges that differ from what lies behind them: mean ΔE beyond the noticeable, ≥ 0.

    On each side of an edge of the photo, where the photo keeps its colour from 2 px to 3 reaches away (for a reach of 1
    and of 3 % of the long side), the result from 2 px to 1 reach away is compared with the result from 2 to 3 reaches.
    Lightness counts in either direction, and chroma but for what goes towards the chroma of the other side, which is
    `spill`. Taken off are what the photo's own difference explains under the gain of the edge or of the whole picture,
    two standard errors of the difference, which are noise, and JND.
    """
    return _edge_artefacts(compared)[0]


def spill(compared: Comparison) -> float:
    """Chroma of one side of a strong edge on the other: mean ΔE beyond the noticeable, ≥ 0.

    It is measured as `halo` is: how far the chroma of the band goes towards that of the other side.
    """
    return _edge_artefacts(compared)[1]


def noise(compared: Comparison) -> float:
    """Noise in flat areas beyond the photo's own: mean standard deviation in ΔE, ≥ 0.

    Noise is what the mask of Immerkær ("Fast Noise Variance Estimation", CVIU 64(2), 1996) leaves, which does not see
    ramps and straight bands. It is taken at two octaves, of which the worse one counts, because optimisers leave grain
    of several pixels. Taken off are rounding to 8 bits and the photo's own noise under the gain that its coarser
    structure has around there, at least 1, times NOISE_MARGIN. What is amplified beyond that counts: a steep colour map
    may be affine, and so perfect by the matting energy, and turn the photo's faintest grain to speckle.
    """
    ours, own = compared.ours, compared.photo
    smooth = own.once(_smooth_area, NOISE_RADIUS)
    if smooth.mean() < LEAST_SHARE:
        return 0.0
    gain = ours.once(_coarse_variance) / own.once(_coarse_variance)
    allowed, excess = NOISE_MARGIN**2 * np.maximum(gain, 1), np.zeros_like(gain)
    for mask in NOISE_MASKS:
        found, photo = (each.once(_rough_energy, mask) for each in (ours, own))
        excess = np.maximum(excess, found - allowed * photo - ROUNDING**2)
    return float(np.sqrt(excess)[smooth].mean())


def clipped(compared: Comparison) -> float:
    """Pixels newly at 0 or 1 in a channel, beyond the style's share of such pixels: weighted share, 0 to 1.

    A pixel counts by its lightness L*/100, the larger of result and photo: a burnt lamp counts fully, a shadow that
    went black a little. A channel counts by its weight in Rec. 709 luma, a region by its share. From each region,
    channel and end the reference's own share, weighted in the same way, is taken off: where the style is a flame on
    black, black is no loss.
    """
    ours, own = (thinned(side.picture) for side in (compared.ours, compared.photo))
    masks = thinned(compared.content_masks)
    light = np.maximum(compared.ours.once(thin_lab)[0], compared.photo.once(thin_lab)[0]) / 100
    total = 0.0
    for at_end in (_at_black, _at_white):
        new = (at_end(ours) & ~at_end(own)).numpy() * light
        shares = _region_means(new, masks) - compared.reference.once(_share_at, at_end)
        total += float(compared.weights @ np.maximum(shares, 0) @ np.array(LUMA))
    return total


def haze(compared: Comparison) -> float:
    """Grey veil: mean L* by which blacks are lifted and contrast is lost against both photo and style, ≥ 0.

    Around each pixel, the darkest L* and the range of L* within 2 % of the long side (after a 3x3 mean): the
    dark channel of He, Sun & Tang ("Single Image Haze Removal Using Dark Channel Prior", CVPR 2009), on lightness. What
    the style would have there is the value of equal rank in its region. Haze is how far the result's dark point is
    above the higher of the two, but no more than its range is below the smaller of the two, less JND. A veil is an
    affine map, and one that the style has is no haze.
    """
    sides = compared.ours, compared.photo, compared.reference
    (dark, span), (own_dark, own_span), (style_dark, style_span) = (
        each.once(_dark_and_range) for each in sides
    )
    masks, style_masks = (side.once(reduced_masks) for side in sides[1:])
    total = 0.0
    for k in np.flatnonzero(compared.weights):
        inside, there = masks[k] > 0.5, style_masks[k] > 0.5
        if not inside.any() or not there.any():
            continue
        lift = dark[inside] - np.maximum(own_dark[inside], _transported(own_dark[inside], style_dark[there]))
        loss = np.minimum(own_span[inside], _transported(own_span[inside], style_span[there])) - span[inside]
        total += float(compared.weights[k] * np.maximum(np.minimum(lift, loss) - JND, 0).mean())
    return total


def foreign(compared: Comparison) -> float:
    """Share of the pixels whose colour neither the style's region nor the photo's has, 0 to 1.

    Colours are cells of 2 ΔE in CIELAB with half of L*. A colour is foreign where every cell that the photo or the
    style has in that region is more than 10 ΔE away. The rarest half per cent of the style does not count, because its
    mask takes in that much of the neighbours.
    """
    ours, masks, total = compared.ours.once(_cells), thinned(compared.content_masks), 0.0
    for k in np.flatnonzero(compared.weights).tolist():
        inside = masks[k].flatten().numpy() > 0.5
        own, theirs = compared.photo.once(_cells_of_region, k), compared.reference.once(_common_cells, k)
        if not len(own) or not len(theirs):
            continue
        known = np.union1d(own, theirs)
        colours, counts = np.unique(ours[inside], return_counts=True)
        distances = cKDTree(_places(known)).query(_places(colours))[0]
        far = distances > FOREIGN / COLOUR_CELL
        total += float(compared.weights[k] * counts[far].sum() / counts.sum())
    return total


def smooth_area(photo: Array, radius: int) -> Mask:
    """Where the photo has no visible detail. CIELAB (3, H, W) -> (H, W).

    There it departs from its 5x5 mean by less than JND, in the root mean square over the window of that radius.
    """
    detail = photo - _box(photo, DETAIL)
    energy: Array = _box((detail**2).sum(0), radius)
    return energy < JND**2


def _smooth_area(side: Side, radius: int) -> Mask:
    return smooth_area(side.once(reduced_lab), radius)


def _edge_artefacts(compared: Comparison) -> tuple[float, float]:
    """Halo and spill, from the profiles across strong edges of the photo."""
    ours, own = compared.ours.once(reduced_lab), compared.photo.once(reduced_lab)
    points, normals = compared.photo.once(_strong_edges)
    if not len(points):
        return 0.0, 0.0
    gain = max(1.0, float(np.sqrt(ours.var((1, 2)).sum() / max(own.var((1, 2)).sum(), STEP**2))))
    sides = [
        _beside_edges(ours, own, points, sign * normals, _pixels(reach, own, 4), gain)
        for reach in REACHES
        for sign in (-1, 1)
    ]
    # (reaches, sides of an edge, edges); of the two reaches the worse one counts, where it can be measured at all.
    shape = (len(REACHES), 2, len(points))
    halos = np.array([halo for halo, _ in sides]).reshape(shape)
    spills = np.array([spill for _, spill in sides]).reshape(shape)
    measured = ~np.isnan(halos).all(0)
    if not measured.any():
        return 0.0, 0.0
    halo, spill = (np.nan_to_num(each, nan=-np.inf).max(0)[measured].mean() for each in (halos, spills))
    return float(halo), float(spill)


def _strong_edges(side: Side) -> tuple[Array, Array]:
    """Pixels on the crest of strong edges, and unit vectors across them: (n, 2) twice, as (y, x)."""
    smooth = gaussian_filter(side.once(reduced_lab), (0, 1, 1))
    # The two halves of Sobel's mask sum to 4 and are 2 pixels apart, so an eighth of it is ΔE per pixel.
    slopes = np.stack([sobel(smooth, axis) for axis in (1, 2)]) / 8
    strongest = np.abs(slopes).sum(0).argmax(0)
    slope = np.take_along_axis(slopes, strongest[None, None], 1)[:, 0]
    size = np.sqrt((slopes**2).sum((0, 1)))
    across = slope / np.maximum(np.sqrt((slope**2).sum(0)), 1e-12)
    # An outline of the height EDGE that is blurred by 3 px (standard deviation) has about this slope.
    y, x = np.nonzero(size > EDGE / 8)
    points, normals = np.stack((y, x), 1).astype(float), across[:, y, x].T
    crest = np.ones(len(points), bool)
    for sign in (-1, 1):
        crest &= size[y, x] >= _sampled(size[None], points + sign * normals)[0]
    points, normals = points[crest], normals[crest]
    step = max(1, -(-len(points) // MOST_EDGES))
    return points[::step], normals[::step]


def _beside_edges(
    ours: Array, own: Array, points: Array, normals: Array, reach: int, gain: float
) -> tuple[Array, Array]:
    """Halo and spill in ΔE on that side of each edge to which its normal points. CIELAB (3, H, W) twice -> (n,) twice.

    They are not a number where the photo does not keep its colour on that side.
    """
    offsets = np.unique(np.linspace(MIDDLE, 3 * reach, 3 * 7).round())
    near, far = offsets <= reach, offsets >= 2 * reach

    def profile(picture: Array, sign: int) -> Array:
        """The picture along the normals, on this side of the edges or on the other: (3, n, offsets)."""
        return _sampled(picture, points[:, None] + sign * offsets[:, None] * normals[:, None])

    result, photo = profile(ours, 1), profile(own, 1)
    behind, photo_behind = result[..., far].mean(-1), photo[..., far].mean(-1)
    # The colour of the other side is taken far from the edge for the result, where a stain across the edge does not
    # reach, and near it for the photo.
    other, photo_other = profile(ours, -1)[..., far].mean(-1), profile(own, -1)[..., near].mean(-1)
    height = _length(photo_behind - photo_other)
    end = points + 3 * reach * normals
    inside = ((end >= 0) & (end <= np.array(own.shape[1:]) - 1)).all(1)
    calm = np.sqrt(((photo - photo_behind[..., None]) ** 2).sum(0).mean(-1)) < JND
    measured = inside & calm & (height > EDGE)
    edge_gain = _length(behind - other) / np.maximum(height, EDGE)
    photo_change = _length(photo[..., near].mean(-1) - photo_behind)
    # From neighbours' differences (von Neumann), and their median: neither a halo's slope nor its end is noise.
    grain = np.median((np.diff(result, axis=-1) ** 2).sum(0), axis=-1) / 2
    error = np.sqrt(grain * (1 / near.sum() + 1 / far.sum()))
    explained = np.maximum(gain, edge_gain) * photo_change + JND + 2 * error
    parts = _halo_and_spill(result[..., near].mean(-1) - behind, other - behind)
    halos, spills = (np.where(measured, np.maximum(part - explained, 0), np.nan) for part in parts)
    return halos, spills


def _halo_and_spill(change: Array, across: Array) -> tuple[Array, Array]:
    """The length of a change of colour without, and of, its chroma towards the other side. (3, n) twice -> (n,) twice.

    across: from this side's colour to that of the other side.
    """
    towards = across[1:] / np.maximum(_length(across[1:]), 1e-12)
    spilt = np.maximum((change[1:] * towards).sum(0), 0)
    rest = change.copy()
    rest[1:] -= spilt * towards
    return _length(rest), spilt


def step_heights(picture: Array, axis: int, flank: int) -> Array:
    """Height of the step at each pixel along an axis, in ΔE, less that of a ramp or noise. (3, H, W) -> (H, W).

    flank: its length in pixels, odd.
    """
    # Centred first: E[x²] − E[x]² of lightness near 100 leaves 1e-12 of a flat picture, 1e-6 under the root.
    picture = picture - picture.mean((1, 2), keepdims=True)
    mean = uniform_filter1d(picture, flank, axis, mode="nearest")
    square = uniform_filter1d(picture**2, flank, axis, mode="nearest")
    deviation = np.sqrt(np.maximum(square - mean**2, 0).sum(0))
    distance = MIDDLE + flank // 2  # from the step to the middle of a flank
    places = np.arange(picture.shape[axis])
    before, after = (np.clip(places + d, 0, len(places) - 1) for d in (-distance, distance))
    change = _length(mean.take(after, axis) - mean.take(before, axis))
    spread = np.maximum(deviation.take(after, axis - 1), deviation.take(before, axis - 1))
    # A ramp of slope 1 climbs twice the distance and has the variance (n^2 - 1) / 12 of n equidistant numbers.
    ramp = 2 * distance / np.sqrt((flank**2 - 1) / 12)
    height: Array = np.maximum(change - ramp * spread, 0)
    return height


def _steps_around(side: Side, axis: int, flank: int) -> Array:
    """The highest step near each pixel."""
    highest: Array = maximum_filter(step_heights(side.once(reduced_lab), axis, flank), 2 * MIDDLE + 1)
    return highest


def roughness(picture: Array, mask: tuple[int, ...]) -> Array:
    """The picture through a mask along both axes, over its norm, so that white noise keeps its variance. (C, H, W)."""
    for axis in (1, 2):
        picture = convolve1d(picture, np.array(mask, float), axis, mode="mirror")
    rough: Array = picture / np.square(mask).sum()
    return rough


def _rough_energy(side: Side, mask: tuple[int, ...]) -> Array:
    """Mean square of what the mask leaves, around each pixel: (H, W)."""
    return _box((roughness(side.once(reduced_lab), mask) ** 2).sum(0), NOISE_RADIUS)


def _coarse_variance(side: Side) -> Array:
    """Variance of the 5x5 means in the window of the gain, plus that of rounding, so that it is not 0: (H, W)."""
    picture = side.once(reduced_lab)
    coarse, radius = _box(picture, DETAIL), _pixels(GAIN_RADIUS, picture, 4)
    variance: Array = _box((coarse**2).sum(0), radius) - (_box(coarse, radius) ** 2).sum(0)
    variance = np.maximum(variance, 0) + ROUNDING**2
    return variance


def _dark_and_range(side: Side) -> tuple[Array, Array]:
    """Darkest L* and range of L* around each pixel: twice (H, W)."""
    lightness = side.once(reduced_lab)[0]
    smooth = uniform_filter(lightness, 3, mode="nearest")
    size = 2 * max(1, round(DARK_RADIUS * max(lightness.shape))) + 1
    dark = minimum_filter(smooth, size)
    return dark, maximum_filter(smooth, size) - dark


def _transported(values: Array, target: Array) -> Array:
    """The value of equal rank among the target's, for each: the optimal transport of one distribution to the other."""
    ranks = np.searchsorted(np.sort(values), values, side="right") / len(values)
    moved: Array = np.quantile(target, ranks)
    return moved


def _cells(side: Side) -> NDArray[np.int64]:
    """Each pixel's cell of colour, as one number: (H W,)."""
    colours = side.once(thin_lab).reshape(3, -1) / np.array([[LIGHTNESS], [1], [1]]) / COLOUR_CELL
    lightness, a, b = np.round(colours).astype(np.int64) + CODE // 2
    cells: NDArray[np.int64] = (lightness * CODE + a) * CODE + b
    return cells


def _cells_of_region(side: Side, region: int) -> NDArray[np.int64]:
    """The cells of a region, each once."""
    return np.unique(side.once(_cells)[thinned(side.masks)[region].flatten().numpy() > 0.5])


def _common_cells(side: Side, region: int) -> NDArray[np.int64]:
    return _common(side.once(_cells)[thinned(side.masks)[region].flatten().numpy() > 0.5])


def _common(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """The different cells but for the rarest, which together hold RARE of the pixels."""
    values, counts = np.unique(cells, return_counts=True)
    order = counts.argsort(kind="stable")
    kept: NDArray[np.int64] = values[order[counts[order].cumsum() > RARE * len(cells)]]
    return kept


def _places(cells: NDArray[np.int64]) -> Array:
    """The numbers of `_cells` as points. (n,) -> (n, 3)."""
    return np.stack((cells // CODE**2, cells // CODE % CODE, cells % CODE), 1).astype(float)


def _share_at(side: Side, at_end: Callable[[Tensor], Tensor]) -> Array:
    """Share of each region's pixels and channel that are at an end, weighted by lightness: (K, 3)."""
    light = side.once(thin_lab)[0] / 100
    return _region_means(at_end(thinned(side.picture)).numpy() * light, thinned(side.masks))


def _at_black(image: Tensor) -> Tensor:
    return image <= HALF_LEVEL


def _at_white(image: Tensor) -> Tensor:
    return image >= 1 - HALF_LEVEL


def _region_means(values: NDArray[np.floating], masks: Tensor) -> Array:
    """Mean over each region, 0 for an empty one. values (3, H, W), masks (K, H, W) -> (K, 3)."""
    weights = masks.flatten(1).double().numpy()
    sums = weights @ values.reshape(3, -1).T
    means: Array = sums / np.maximum(weights.sum(1, keepdims=True), HALF_LEVEL)
    return means


def _sampled(picture: Array, places: Array) -> Array:
    """The nearest pixels; outside the picture those of its border. (C, H, W), places (..., 2) as (y, x) -> (C, ...)."""
    height, width = picture.shape[1:]
    nearest = np.round(places).astype(np.intp)
    y, x = np.clip(nearest[..., 0], 0, height - 1), np.clip(nearest[..., 1], 0, width - 1)
    taken: Array = picture[:, y, x]
    return taken


def _length(vectors: Array) -> Array:
    """Euclidean norm over the first axis."""
    norm: Array = np.sqrt((vectors**2).sum(0))
    return norm


def _box(picture: Array, radius: int) -> Array:
    """Mean over windows of 2r+1 pixels' side, the border repeated. (..., H, W)."""
    mean: Array = uniform_filter(picture, 2 * radius + 1, mode="nearest", axes=(-2, -1))
    return mean


def _pixels(share: float, picture: Array, least: int) -> int:
    """A share of the long side in pixels, at least `least`."""
    return max(least, round(share * float(max(picture.shape[1:]))))
