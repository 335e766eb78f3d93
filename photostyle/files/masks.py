"""From a mask of any kind to the regions of one picture.

Four kinds are read, all into float masks (K, H, W) that sum to at most 1 in each pixel:

* a **colour mask**: a picture whose flat colours are the regions. It needs no description. A region is named
by its colour ("#0000ff"), so the same colour in two masks means the same thing.
* a **painting**: a colour mask whose colours a `legend.toml` in its folder names.
* a **label map**: one number per pixel (grey value or palette index), named by a `legend.toml` in its folder.
* a **soft set**: a folder with one grey picture per region (0 outside, white inside) and a `legend.toml`.

The module `legends` says what a legend looks like. No region has the pixels of a label map whose value the legend does
not name, the pixels in the void colour of a painting, and what soft masks leave below 1.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from photostyle.errors import NotEnoughMemory, PhotostyleError
from photostyle.files.images import Paint, read_colours, read_grey, read_indices
from photostyle.files.legends import LEGEND, Colour, Legend, Region, hex_name, read_legend
from photostyle.files.palettes import (
    LIKE_COLOURS,
    PALETTE_SIZE,
    Palette,
    filling,
    palette_of,
    positions_of,
    rare_colours,
    tuples,
)
from photostyle.files.reading import path_is_dir, path_is_file
from photostyle.process import free_memory

# A colour is a label from 1 % of its mask on. Published regions are larger, the colours of their edges are rarer.
LABEL_SHARE = 0.01
# A mask with less than 90 % of its pixels in such colours was stored with loss: 24 published PNG masks have 90.7–100 %.
EXACT_SHARE = 0.90
# A picture with less than 75 % flat colour is no mask: the 24 published masks as JPEG of quality 30 have 87 % or more,
# 18 of their 24 photographs have less than 75 %.
FLAT_SHARE = 0.75
ASPECT_TOLERANCE = 0.02  # a published mask is 700x393 for a photo of 700x394; 2 % of 700 is 14 pixels

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class MaskSet:
    """The regions of one picture.

    masks: (K, H, W) float32 in [0, 1], K ≥ 1, summing to at most 1 in each pixel.
    names: K different names; regions of two pictures that have the same name belong together.
    colours: K sRGB colours of 0…255, to show the regions in.
    exact: False where colours without a name in a legend were clustered, so that the name of one may be a level or two
    off the same colour elsewhere.
    sha256: of the file that was read; of several, of their hashes in the order read; "" where none was.
    notes: what was decided for the user, one sentence each.
    confidence: K numbers in [0, 1], how sure it is that the region is the same thing in all the pictures that it was
    made for; () where nobody knows.
    """

    masks: Tensor
    names: tuple[str, ...]
    colours: tuple[Colour, ...]
    exact: bool
    sha256: str
    notes: tuple[str, ...]
    confidence: tuple[float, ...] = ()


def whole_picture(height: int, width: int) -> MaskSet:
    """One region named "all" over every pixel: what a picture without a mask has. One number, seen at every pixel."""
    return MaskSet(torch.ones(1, 1, 1).expand(1, height, width), ("all",), ((255, 255, 255),), True, "", ())


def read_masks(path: Path, photo: Path, height: int = 0, width: int = 0) -> MaskSet:
    """Read the masks of a photo of `height` by `width` pixels, 0 by 0: of any: a file, or a folder with a legend.toml.

    A file is a label map or a painting where a legend.toml beside it names it, else a colour mask, whatever its pixel
    type. photo: for messages only. A mask of another size but the same aspect (within 2 %) is resized, with a note.
    Raises PhotostyleError for a mask that cannot be read or does not fit, and for a faulty legend.
    """
    folder = path_is_dir(path)
    beside = path / LEGEND if folder else path.parent / LEGEND
    described = path_is_file(beside)
    if folder and not described:
        raise PhotostyleError(f"{path} is a folder without {LEGEND}; expected one to name its masks: add it")
    legend = read_legend(beside) if described else None
    if legend is None or not (folder or _is_named(path, legend)):
        return _colour_mask(path, photo, height, width)
    try:
        masks = _described(legend, photo, height, width)
    except PhotostyleError:
        if not _is_replaced(legend):
            raise
    else:
        if not _is_replaced(legend):
            return masks
    return read_masks(path, photo, height, width)  # the legend was one set's and the files another's


def _is_replaced(legend: Legend) -> bool:
    """Whether another legend has taken its place since it was read, and so another set of masks."""
    try:
        return read_legend(legend.path).sha256 != legend.sha256
    except PhotostyleError:
        return False


def _is_named(path: Path, legend: Legend) -> bool:
    """Whether a legend is of this file, however it spells its name."""
    if legend.kind == "soft":
        return False
    try:
        return legend.file == path.name or path.samefile(legend.path.parent / legend.file)
    except (OSError, ValueError):
        return False


def _colour_mask(path: Path, photo: Path, height: int, width: int) -> MaskSet:
    paint = read_colours(path)
    index, colours, exact, notes = _painted(path, paint, (), photo, height, width)
    names = tuple(hex_name(colour) for colour in colours)
    return MaskSet(_one_hot(path, index, range(len(names))), names, colours, exact, paint.sha256, notes)


def _painted(
    path: Path, paint: Paint, known: Sequence[Colour], photo: Path, height: int, width: int
) -> tuple[Array, tuple[Colour, ...], bool, tuple[str, ...]]:
    """(height, width) labels, −1 in none, the colour of each, whether they were read without clustering, and notes.

    The known colours come first, in their order. They count from one pixel on. All others count from LABEL_SHARE on,
    or where they fill a window in a mask of no more colours than a palette: the mixed colours of an edge do not. What
    is erased has no vote, and is in no region.
    """
    pixels, size = paint.values, paint.values.shape[0] * paint.values.shape[1]
    palette = palette_of(pixels, paint.erased)
    notes = _fit(path, pixels.shape[:2], photo, height, width) + paint.notes
    size = int(palette.counts.sum())
    counts = palette.counts >= LABEL_SHARE * size
    if paint.numbers or len(palette.colours) <= PALETTE_SIZE:
        counts |= filling(palette)
    others = [colour for colour in tuples(palette.colours[counts]) if colour not in known]
    # What is called a JPEG has mostly been one.
    lossy = paint.lossy or path.suffix.lower() in (".jpg", ".jpeg")
    exact = paint.numbers or not (lossy or _blurred(palette, known, others))
    if exact:
        colours = [*known, *others]
        index = positions_of(palette, colours)[palette.index]
        rare = rare_colours(palette, colours)
        notes += (f"{path}: {rare}",) if rare else ()
    else:
        index, colours = _clustered(path, pixels, palette, known)
        found = len(np.unique(index[index >= 0]))
        notes += (f"{path} has blurred or lossy colours: gathered into {found} regions",)
    if (index < 0).all():
        raise PhotostyleError(
            f"{path} has no region: none of its {len(palette.colours)} colours or numbers has {LABEL_SHARE:.0%} of "
            f"it or fills a spot; unite regions, or name its numbers in a {LEGEND}"
        )
    index = _snapped(index)
    if paint.erased is not None:
        index = np.where(paint.erased, -1, index)
    return _nearest(index, height, width), tuple(colours), exact, notes


def _blurred(palette: Palette, known: Sequence[Colour], others: Sequence[Colour]) -> bool:
    """Whether the flat colours are only near what was painted: a PNG that was once a JPEG, or soft edges.

    Two labels of nearly one colour (#000000 and #010000: three of the 24 published masks) are a sign of that only in a
    mask of more colours than a palette holds, because the 0, 1, 2, … of a plain label map are meant. Two such labels
    that a legend names are meant in any mask.
    """
    labels = [*known, *others]
    flat = palette.counts[positions_of(palette, labels) >= 0].sum()
    if flat < EXACT_SHARE * palette.counts.sum():
        return True
    alike = sum((_distance(np.array(labels), colour) < LIKE_COLOURS).sum() for colour in others)
    return bool(alike > len(others) and len(palette.colours) > PALETTE_SIZE)


def _distance(colours: Array, colour: Colour) -> Array:
    """Of each of (N, 3) colours from one: levels in the channel that differs most. (N,)."""
    distance: Array = np.abs(colours - np.array(colour)).max(1)
    return distance


def _snapped(index: Array) -> Array:
    """Give each pixel without a label (−1) that of the nearest pixel with one, so that edges become no regions."""
    stray = index < 0
    if not stray.any():
        return index
    from scipy import ndimage  # here and below: soft masks need none of its 0.2 s

    nearest = ndimage.distance_transform_edt(stray, return_distances=False, return_indices=True)
    snapped: Array = index[tuple(nearest)]
    return snapped


def _clustered(
    path: Path, pixels: Array, palette: Palette, known: Sequence[Colour]
) -> tuple[Array, list[Colour]]:
    """Labels of a lossy mask, (H, W) with −1 where there is none, and each label's colour.

    Only flat pixels vote and are labelled, so an edge is no region however long it is. Those within LIKE_COLOURS of a
    known colour take the nearest. The others are counted in 32³ bins of 8 levels. From the fullest bin on, each takes
    the bins up to 2 away (16 levels) that are left, and stands for its most frequent colour.
    """
    labels, flat = _likest(palette.colours, known), _flat(pixels)
    size = int(palette.counts.sum())
    if palette.erased is not None:
        flat &= ~palette.erased
    votes = np.bincount(palette.index[flat], minlength=len(labels))
    votes[labels >= 0] = 0
    histogram, bins = np.zeros((32, 32, 32), np.int64), tuple((palette.colours >> 3).T)
    np.add.at(histogram, bins, votes)
    gathered = np.where(labels < 0, _balls(histogram, size)[bins], -1)
    labels = np.where(gathered >= 0, gathered + len(known), labels)
    index = np.where(flat, labels[palette.index], -1)
    if (index >= 0).sum() < FLAT_SHARE * size:
        raise PhotostyleError(
            f"{path} is no colour mask: {(index >= 0).sum() / size:.0%} of it is flat colour, expected "
            f"{FLAT_SHARE:.0%}: paint each region in one colour, or describe soft masks in a {LEGEND}"
        )
    most = [np.where(gathered == k, palette.counts, 0).argmax() for k in range(gathered.max() + 1)]
    return index, [*known, *tuples(palette.colours[most])]


def _likest(colours: Array, known: Sequence[Colour]) -> Array:
    """(N,): of each colour the position of the nearest known one within LIKE_COLOURS, the first of two; else −1."""
    nearest, label = np.full(len(colours), LIKE_COLOURS), np.full(len(colours), -1, np.int16)
    for k, colour in enumerate(known):
        distance = _distance(colours, colour)
        label[distance < nearest] = k
        nearest = np.minimum(nearest, distance)
    return label


def _flat(pixels: Array) -> Array:
    """(H, W) bool: no channel varies by more than LIKE_COLOURS in the 3×3 window. pixels: (H, W, 3) uint8."""
    from scipy import ndimage

    channels = [pixels[..., channel] for channel in range(3)]
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
    height, width = _own(shape, height, width)
    if (rows, columns) == (height, width):
        return ()
    sizes = f"{path} is {columns}x{rows}, {photo} is {width}x{height}"
    if not _alike(rows, columns, height, width):
        remedy = "export the mask at the photo's size, uncropped"
        if _alike(columns, rows, height, width):
            remedy = "the mask lies on its side: turn it upright, as the photo is once its EXIF orientation is applied"
        raise PhotostyleError(f"{sizes}; expected one shape: {remedy}")
    return (f"{sizes}: the mask was resized",)


def _own(shape: Sequence[int], height: int, width: int) -> tuple[int, int]:
    """The size that masks are to have: their own where none is asked for."""
    return (height, width) if height else (shape[0], shape[1])


def _alike(rows: int, columns: int, height: int, width: int) -> bool:
    """Whether two sizes have one aspect."""
    return abs(columns * height / (rows * width) - 1) <= ASPECT_TOLERANCE


def _nearest(index: Array, height: int, width: int) -> Array:
    """Labels resized by taking the nearest pixel centre: no label in between."""
    rows, columns = index.shape
    height, width = _own(index.shape, height, width)
    y = ((np.arange(height) + 0.5) * rows / height).astype(int)
    x = ((np.arange(width) + 0.5) * columns / width).astype(int)
    resized: Array = index[y[:, None], x]
    return resized


def _resampled(masks: Tensor, height: int, width: int) -> Tensor:
    """Soft masks resized linearly, antialiased where they shrink; sums stay at most 1."""
    height, width = _own(masks.shape[-2:], height, width)
    if tuple(masks.shape[-2:]) == (height, width):
        return masks
    resized = functional.interpolate(masks[None], (height, width), mode="bilinear", antialias=True)[0]
    return resized.clamp(0, 1)


def _one_hot(path: Path, index: Array, values: Sequence[int]) -> Tensor:
    """(H, W) numbers → (K, H, W) float32, one mask per value. Raises NotEnoughMemory before there is none left."""
    height, width = index.shape
    needed, free = 4 * len(values) * index.size, free_memory(torch.device("cpu"))
    if free is not None and needed > free:
        raise NotEnoughMemory(
            f"{path} has {len(values)} regions, whose masks at {width}x{height} need {needed / 1e9:.1f} GB of memory, "
            f"and {free / 1e9:.1f} GB are free: unite regions, or use a smaller photo"
        )
    masks = torch.empty(len(values), height, width)
    for mask, value in zip(masks, values, strict=True):
        mask.copy_(torch.from_numpy(index == value))
    return masks


def _described(legend: Legend, photo: Path, height: int, width: int) -> MaskSet:
    """The mask set that a legend describes."""
    regions, exact = legend.regions, True
    if legend.kind == "labels":
        masks, hashes, notes = _label_map(legend, photo, height, width)
    elif legend.kind == "soft":
        masks, hashes, notes = _soft_set(legend, photo, height, width)
    else:
        masks, hashes, regions, exact, notes = _painting(legend, photo, height, width)
    kept = [k for k, mask in enumerate(masks) if mask.any()]
    if not kept:
        raise PhotostyleError(
            f"{legend.path} describes masks that cover no pixel: check its entries and files"
        )
    empty = [region.name for k, region in enumerate(regions) if k not in kept]
    if empty:
        notes += (f"{legend.path}: {', '.join(empty)} covers no pixel and was dropped",)
    sure = tuple(regions[k].confidence for k in kept)
    whole = "".join((legend.sha256, *hashes))
    return MaskSet(
        masks[kept],
        tuple(regions[k].name for k in kept),
        tuple(regions[k].colour for k in kept),
        exact,
        hashlib.sha256(whole.encode()).hexdigest(),
        notes,
        # A region that somebody painted in beside those that were made is certain.
        () if set(sure) == {None} else tuple(1.0 if each is None else each for each in sure),
    )


def _painting(
    legend: Legend, photo: Path, height: int, width: int
) -> tuple[Tensor, list[str], tuple[Region, ...], bool, tuple[str, ...]]:
    """A colour mask of named colours; a colour the legend does not name is a region named by it."""
    void = [] if legend.void is None else [legend.void]
    known = [*(region.colour for region in legend.regions), *void]
    with _entry(legend, "file"):
        paint = read_colours(legend.files[0])
        index, colours, exact, notes = _painted(legend.files[0], paint, known, photo, height, width)
    new = tuple(Region(hex_name(colour), colour, hex_name(colour)) for colour in colours[len(known) :])
    if new:
        names = ", ".join(region.name for region in new)
        notes += (
            f"{legend.files[0]} has colours that {legend.path} does not name, each a region of its own: {names}",
        )
    labels = [k for k in range(len(colours)) if not len(legend.regions) <= k < len(known)]
    return (
        _one_hot(legend.files[0], index, labels),
        [paint.sha256],
        (*legend.regions, *new),
        exact or not new,
        notes,
    )


def _label_map(
    legend: Legend, photo: Path, height: int, width: int
) -> tuple[Tensor, list[str], tuple[str, ...]]:
    (file,) = legend.files
    with _entry(legend, "file"):
        paint = read_indices(file)
    index = paint.values if paint.erased is None else np.where(paint.erased, -1, paint.values)
    notes = _fit(file, index.shape, photo, height, width) + paint.notes
    values = [int(region.source) for region in legend.regions]
    unnamed = np.setdiff1d(index, [*values, -1])
    if unnamed.size:
        share = np.isin(index, unnamed).mean()
        notes += (f"{file}: {share:.1%} of its pixels have values {legend.path} does not name, in no region",)
    return _one_hot(file, _nearest(index, height, width), values), [paint.sha256], notes


def _soft_set(
    legend: Legend, photo: Path, height: int, width: int
) -> tuple[Tensor, list[str], tuple[str, ...]]:
    files = legend.files
    masks, hashes, said = list[Array](), list[str](), tuple[str, ...]()
    for region, file in zip(legend.regions, files, strict=True):
        with _entry(legend, region.name):
            paint = read_grey(file)
        masks.append(paint.values)
        hashes.append(paint.sha256)
        said += paint.notes
        if masks[-1].shape != masks[0].shape:
            raise PhotostyleError(
                f"{legend.path}: {file} is {_size(masks[-1])}, {files[0]} is {_size(masks[0])}; expected "
                "one size: export all at the photo's size"
            )
    notes = _fit(files[0], masks[0].shape, photo, height, width)
    whole, more = _at_most_one(legend, torch.from_numpy(np.stack(masks)))
    return _resampled(whole, height, width), hashes, notes + said + more


def _size(mask: Array) -> str:
    return f"{mask.shape[1]}x{mask.shape[0]}"


def _at_most_one(legend: Legend, masks: Tensor) -> tuple[Tensor, tuple[str, ...]]:
    """Divide by the sum where it is over 1. A note says so where it is by more than rounding, 1/255 for each mask."""
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
