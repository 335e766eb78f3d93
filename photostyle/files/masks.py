"""Any mask → the regions of one picture.

Four kinds are read, all into float masks (K, H, W) that sum to at most 1 in each pixel:

* a **colour mask**: a picture whose flat colours are the regions. It needs no description. A region is named
by its colour ("#0000ff"), so the same colour in two masks means the same thing.
* a **painting**: a colour mask whose colours a `legend.toml` in its folder names.
* a **label map**: one number a pixel (grey value or palette index), named by a `legend.toml` in its folder.
* a **soft set**: a folder with one grey picture a region (0 outside, white inside) and a `legend.toml`.

legend.py says what a legend looks like. Pixels with a value that no region of a label map has, pixels in the
void colour of a painting, and what soft masks leave below 1, belong to no region.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from photostyle.errors import PhotostyleError
from photostyle.files.images import read_colours, read_grey, read_indices, sha256_of
from photostyle.files.legends import LEGEND, Colour, Legend, Region, hex_name, read_legend

# A colour is a label from 1 % of its mask on: published regions are larger, the colours of their edges rarer.
LABEL_SHARE = 0.01
# Under 90 % of pixels in such colours a mask was stored with loss: 24 published PNG masks have 90.7–100 %.
EXACT_SHARE = 0.90
PALETTE_SIZE = 256  # what an 8-bit label map or a palette can hold: a mask of more colours has stray ones
# Levels a channel: JPEG of quality 30 moves the flat colours of the published masks by less.
LIKE_COLOURS = 16
# Under 75 % flat colour it is no mask: the 24 published masks as JPEG of quality 30 have 87 % or more, 18 of
# their 24 photographs less than 75 %.
FLAT_SHARE = 0.75
ASPECT_TOLERANCE = 0.02  # a published mask is 700x393 for a photo of 700x394; 2 % of 700 is 14 pixels

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class MaskSet:
    """The regions of one picture.

    masks: (K, H, W) float32 in [0, 1], K ≥ 1, summing to at most 1 in each pixel.
    names: K different names; two pictures' regions of one name belong together.
    colours: K sRGB colours of 0…255, to show the regions in.
    exact: False where colours without a name in a legend were clustered, so the name of one may be a level or
    two off the same colour elsewhere.
    sha256: of the file read; where several were, of their hashes in the order read; "" for none.
    notes: what was decided for the user, one sentence each.
    """

    masks: Tensor
    names: tuple[str, ...]
    colours: tuple[Colour, ...]
    exact: bool
    sha256: str
    notes: tuple[str, ...]


def whole_picture(height: int, width: int) -> MaskSet:
    """One region named "all" over every pixel: what no masks mean."""
    return MaskSet(torch.ones(1, height, width), ("all",), ((255, 255, 255),), True, "", ())


def read_masks(path: Path, photo: Path, height: int, width: int) -> MaskSet:
    """Read the masks of a photo of `height` by `width` pixels: a file, or a folder with a legend.toml.

    A file is a label map or a painting where a legend.toml beside it names it, else a colour mask, whatever its
    pixel type. photo: for messages only. A mask of another size but the same aspect (within 2 %) is resized,
    with a note. Raises PhotostyleError, one line, for a mask that cannot be read or does not fit, and for a
    faulty legend.
    """
    beside = path / LEGEND if path.is_dir() else path.parent / LEGEND
    if path.is_dir() and not beside.is_file():
        raise PhotostyleError(f"{path} is a folder without {LEGEND}; expected one to name its masks: add it")
    legend = read_legend(beside) if beside.is_file() else None
    if legend and (path.is_dir() or legend.file == path.name):
        return _described(legend, photo, height, width)
    return _colour_mask(path, photo, height, width)


def mask_size(path: Path) -> tuple[int, int]:
    """(height, width) of a mask by itself: of the file, or of the first that a folder's legend names."""
    if path.is_dir():
        path = read_legend(path / LEGEND).files[0]
    height, width = read_colours(path).shape[:2]
    return height, width


def _colour_mask(path: Path, photo: Path, height: int, width: int) -> MaskSet:
    index, colours, exact, notes = _painted(path, (), photo, height, width)
    names = tuple(hex_name(colour) for colour in colours)
    return MaskSet(_one_hot(index, range(len(names))), names, colours, exact, sha256_of(path), notes)


def _painted(
    path: Path, known: Sequence[Colour], photo: Path, height: int, width: int
) -> tuple[Array, tuple[Colour, ...], bool, tuple[str, ...]]:
    """(height, width) labels, the colour of each, whether they were read without clustering, and notes.

    The known colours come first, in their order; they count from one pixel on, all others from LABEL_SHARE.
    """
    packed = _packed(read_colours(path))
    notes = _fit(path, packed.shape, photo, height, width)
    counts = np.bincount(packed.ravel(), minlength=1 << 24)
    named = np.array([red << 16 | green << 8 | blue for red, green, blue in known], np.int64)
    others = np.setdiff1d(np.flatnonzero(counts >= LABEL_SHARE * packed.size), named)
    exact = not _lossy(path, counts, named, others)
    if exact:
        colours = np.concatenate([named, others])
        index = _index_of(colours, 1 << 24)[packed]
    else:
        index, colours = _clustered(path, packed, counts, named)
        found = np.isin(np.arange(len(colours)), index).sum()
        notes += (f"{path} has blurred or lossy colours: gathered into {found} regions",)
    return _nearest(_snapped(index), height, width), _channels(colours), exact, notes


def _packed(colours: Array) -> Array:
    """(H, W, 3) uint8 → (H, W) int32: 0xRRGGBB."""
    wide = colours.astype(np.int32)
    packed: Array = wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]
    return packed


def _channels(packed: Array) -> tuple[Colour, ...]:
    return tuple((int(c) >> 16, int(c) >> 8 & 255, int(c) & 255) for c in packed)


def _lossy(path: Path, counts: Array, named: Array, others: Array) -> bool:
    """Whether the file's flat colours are only near what was painted: JPEG, or a PNG that was once one.

    Two labels of nearly one colour (#000000 and #010000: three of the 24 published masks) count as such only
    in a mask of more colours than a palette holds: a plain label map's 0, 1, 2, … are meant. Those that a
    legend names both are meant in any.
    """
    labels = np.concatenate([named, others])
    if path.suffix.lower() in (".jpg", ".jpeg") or counts[labels].sum() < EXACT_SHARE * counts.sum():
        return True
    alike = sum((_distance(labels, colour) < LIKE_COLOURS).sum() for colour in _channels(others))
    return bool(alike > len(others) and np.count_nonzero(counts) > PALETTE_SIZE)


def _distance(packed: Array, colour: Colour) -> Array:
    """Of each colour 0xRRGGBB from one: levels in the channel that differs most."""
    shifts = zip((16, 8, 0), colour, strict=True)
    distance: Array = np.maximum.reduce([np.abs((packed >> shift & 255) - level) for shift, level in shifts])
    return distance


def _index_of(values: Array, size: int) -> Array:
    """(size,) int16: the position of each number in `values`, −1 for the others."""
    table = np.full(size, -1, np.int16)
    table[values] = np.arange(len(values))
    return table


def _snapped(index: Array) -> Array:
    """Each pixel without a label (−1) gets that of the spatially nearest with one: edges invent no region."""
    stray = index < 0
    if not stray.any():
        return index
    nearest = ndimage.distance_transform_edt(stray, return_distances=False, return_indices=True)
    snapped: Array = index[tuple(nearest)]
    return snapped


def _clustered(path: Path, packed: Array, counts: Array, named: Array) -> tuple[Array, Array]:
    """Labels of a lossy mask: (H, W) with −1 where none, and each label's colour.

    Only flat pixels vote and are labelled, so an edge is no region however long it is. Those within
    LIKE_COLOURS of a named colour take the nearest. The others are counted in 32³ bins of 8 levels; from the
    fullest bin on, each takes the bins up to 2 away (16 levels) that are left, and its most frequent colour.
    """
    present = np.flatnonzero(counts)
    label_of = np.full(1 << 24, -1, np.int16)
    label_of[present] = _likest(present, named)
    flat, bins = _flat(packed), _bin_of(packed)
    left = flat & (label_of[packed] < 0)
    balls = _balls(np.bincount(bins[left], minlength=1 << 15).reshape(32, 32, 32), packed.size).ravel()
    present = present[label_of[present] < 0]
    owner = balls[_bin_of(present)]
    label_of[present] = np.where(owner < 0, -1, owner + len(named))
    index = np.where(flat, label_of[packed], -1)
    if (index >= 0).sum() < FLAT_SHARE * packed.size:
        raise PhotostyleError(
            f"{path} is no colour mask: {(index >= 0).mean():.0%} of it is flat colour, expected "
            f"{FLAT_SHARE:.0%}: paint each region in one colour, or describe soft masks in a {LEGEND}"
        )
    most = [present[owner == k][counts[present[owner == k]].argmax()] for k in range(balls.max() + 1)]
    return index, np.concatenate([named, np.array(most, np.int64)])


def _likest(present: Array, named: Array) -> Array:
    """Of each colour the position of the nearest named one within LIKE_COLOURS, the first of two; else −1."""
    nearest, label = np.full(present.shape, LIKE_COLOURS), np.full(present.shape, -1, np.int16)
    for k, colour in enumerate(_channels(named)):
        distance = _distance(present, colour)
        label[distance < nearest] = k
        nearest = np.minimum(nearest, distance)
    return label


def _bin_of(packed: Array) -> Array:
    """0xRRGGBB → the upper 5 bits of each channel, as one number of 15 bits."""
    bins: Array = packed >> 9 & 0x7C00 | packed >> 6 & 0x3E0 | packed >> 3 & 0x1F
    return bins


def _flat(packed: Array) -> Array:
    """(H, W) bool: no channel varies by more than LIKE_COLOURS in the 3×3 window."""
    channels = [(packed >> shift & 255).astype(np.uint8) for shift in (16, 8, 0)]
    spans = [ndimage.maximum_filter(c, 3) - ndimage.minimum_filter(c, 3) for c in channels]
    flat: Array = np.maximum.reduce(spans) <= LIKE_COLOURS
    return flat


def _balls(histogram: Array, pixels: int) -> Array:
    """(32, 32, 32) int16: the label of each colour bin, from the fullest on; −1 for what stays rare."""
    left, labels, count = histogram.copy(), np.full(histogram.shape, -1, np.int16), 0
    while left.sum() >= LABEL_SHARE * pixels:
        peak = np.unravel_index(left.argmax(), left.shape)
        ball = tuple(slice(max(int(p) - 2, 0), int(p) + 3) for p in peak)
        if left[ball].sum() >= LABEL_SHARE * pixels:
            labels[ball] = np.where(left[ball] > 0, count, labels[ball])
            count += 1
        left[ball] = 0
    return labels


def _fit(path: Path, shape: Sequence[int], photo: Path, height: int, width: int) -> tuple[str, ...]:
    """Refuse a mask of another aspect than the photo's; note one of another size."""
    rows, columns = shape
    if (rows, columns) == (height, width):
        return ()
    sizes = f"{path} is {columns}x{rows}, {photo} is {width}x{height}"
    if abs(columns * height / (rows * width) - 1) > ASPECT_TOLERANCE:
        raise PhotostyleError(f"{sizes}; expected one shape: export the mask at the photo's size, uncropped")
    return (f"{sizes}: the mask was resized",)


def _nearest(index: Array, height: int, width: int) -> Array:
    """Labels resized by taking the nearest pixel centre: no label in between."""
    rows, columns = index.shape
    y = ((np.arange(height) + 0.5) * rows / height).astype(int)
    x = ((np.arange(width) + 0.5) * columns / width).astype(int)
    resized: Array = index[y[:, None], x]
    return resized


def _resampled(masks: Tensor, height: int, width: int) -> Tensor:
    """Soft masks resized linearly, and by the area a pixel covers when smaller; sums stay at most 1."""
    if tuple(masks.shape[-2:]) == (height, width):
        return masks
    return functional.interpolate(masks[None], (height, width), mode="bilinear", antialias=True)[0].clamp(
        0, 1
    )


def _one_hot(index: Array, values: Iterable[int]) -> Tensor:
    """(H, W) numbers → (K, H, W) float32, one mask a value."""
    return torch.from_numpy(np.stack([index == value for value in values]).astype(np.float32))


def _described(legend: Legend, photo: Path, height: int, width: int) -> MaskSet:
    """The mask set that a legend describes."""
    regions, exact = legend.regions, True
    if legend.kind == "labels":
        masks, notes = _label_map(legend, photo, height, width)
    elif legend.kind == "soft":
        masks, notes = _soft_set(legend, photo, height, width)
    else:
        masks, regions, exact, notes = _painting(legend, photo, height, width)
    kept = [k for k, mask in enumerate(masks) if mask.any()]
    if not kept:
        raise PhotostyleError(
            f"{legend.path} describes masks that cover no pixel: check its entries and files"
        )
    empty = [region.name for k, region in enumerate(regions) if k not in kept]
    if empty:
        notes += (f"{legend.path}: {', '.join(empty)} covers no pixel and was dropped",)
    hashes = "".join(sha256_of(file) for file in (legend.path, *legend.files))
    return MaskSet(
        masks[kept],
        tuple(regions[k].name for k in kept),
        tuple(regions[k].colour for k in kept),
        exact,
        hashlib.sha256(hashes.encode()).hexdigest(),
        notes,
    )


def _painting(
    legend: Legend, photo: Path, height: int, width: int
) -> tuple[Tensor, tuple[Region, ...], bool, tuple[str, ...]]:
    """A colour mask of named colours; a colour the legend does not name is a region named by it."""
    void = [] if legend.void is None else [legend.void]
    known = [*(region.colour for region in legend.regions), *void]
    with _entry(legend, "file"):
        index, colours, exact, notes = _painted(legend.files[0], known, photo, height, width)
    new = tuple(Region(hex_name(colour), colour, hex_name(colour)) for colour in colours[len(known) :])
    if new:
        names = ", ".join(region.name for region in new)
        notes += (
            f"{legend.files[0]} has colours that {legend.path} does not name, each a region of its own: {names}",
        )
    labels = [k for k in range(len(colours)) if not len(legend.regions) <= k < len(known)]
    return _one_hot(index, labels), (*legend.regions, *new), exact or not new, notes


def _label_map(legend: Legend, photo: Path, height: int, width: int) -> tuple[Tensor, tuple[str, ...]]:
    (file,) = legend.files
    with _entry(legend, "file"):
        index = read_indices(file)
    notes = _fit(file, index.shape, photo, height, width)
    values = [int(region.source) for region in legend.regions]
    unnamed = np.setdiff1d(index, values)
    if unnamed.size:
        share = np.isin(index, unnamed).mean()
        notes += (f"{file}: {share:.1%} of its pixels have values {legend.path} does not name, in no region",)
    return _one_hot(_nearest(index, height, width), values), notes


def _soft_set(legend: Legend, photo: Path, height: int, width: int) -> tuple[Tensor, tuple[str, ...]]:
    files = legend.files
    masks: list[Array] = []
    for region, file in zip(legend.regions, files, strict=True):
        with _entry(legend, region.name):
            masks.append(read_grey(file))
        if masks[-1].shape != masks[0].shape:
            raise PhotostyleError(
                f"{legend.path}: {file} is {_size(masks[-1])}, {files[0]} is {_size(masks[0])}; expected "
                "one size: export all at the photo's size"
            )
    notes = _fit(files[0], masks[0].shape, photo, height, width)
    whole, more = _at_most_one(legend, torch.from_numpy(np.stack(masks)))
    return _resampled(whole, height, width), notes + more


def _size(mask: Array) -> str:
    return f"{mask.shape[1]}x{mask.shape[0]}"


def _at_most_one(legend: Legend, masks: Tensor) -> tuple[Tensor, tuple[str, ...]]:
    """Divide by the sum where it is over 1; a note where it is by more than rounding, 1/255 for each mask."""
    total = masks.sum(0)
    over = (total > 1 + len(masks) / 255).float().mean().item()
    note = f"{legend.path}: in {over:.1%} of the pixels the masks sum to more than 1: divided by their sum"
    return masks / total.clamp(min=1), (note,) if over else ()


@contextmanager
def _entry(legend: Legend, name: str) -> Iterator[None]:
    """Say which entry of which legend named the file that fails."""
    try:
        yield
    except PhotostyleError as error:
        raise PhotostyleError(f"{legend.path}, {name}: {error}") from None
