"""Any mask → the regions of one picture.

Three kinds are read, all into float masks (K, H, W) that sum to at most 1 in each pixel:

* a **colour mask**: a picture whose flat colours are the regions. It needs no description. A region is named
by its colour ("#0000ff"), so the same colour in two masks means the same thing. * a **label map**: one number
a pixel (grey value or palette index), described by a `legend.toml` in its folder. * a **soft set**: a folder
with one grey picture a region (0 outside, white inside) and a `legend.toml`.

A legend is written by hand. For a label map:

    kind = "labels"
    file = "labels.png"

    [regions]
    sky = { value = 2, colour = "#78b4ff" }
    "old wall" = { value = 17, colour = "#b46428" }

For a soft set:

    kind = "soft"

    [regions]
    sky = { file = "sky.png", colour = "#78b4ff" }
    ground = { file = "ground.png", colour = "#5a8c3c" }

The names are what two pictures pair by; the colours are for showing. Pixels with a value that no region has,
and what soft masks leave below 1, belong to no region.
"""

import hashlib
import re
import tomllib
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
from photostyle.images import read_colours, read_grey, read_indices, sha256_of

LEGEND = "legend.toml"
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
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class MaskSet:
    """The regions of one picture.

    masks: (K, H, W) float32 in [0, 1], K ≥ 1, summing to at most 1 in each pixel.
    names: K different names; two pictures' regions of one name belong together.
    colours: K sRGB colours of 0…255, to show the regions in.
    exact: False where the colours were clustered, so a name may be a level or two off the same colour
    elsewhere. sha256: of the file read; where several were, of their hashes in the order read; "" for none.
    notes: what was decided for the user, one sentence each.
    """

    masks: Tensor
    names: tuple[str, ...]
    colours: tuple[Colour, ...]
    exact: bool
    sha256: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Region:
    name: str
    colour: Colour
    source: int | str  # the label's value, or the soft mask's file


def whole_picture(height: int, width: int) -> MaskSet:
    """One region named "all" over every pixel: what no masks mean."""
    return MaskSet(torch.ones(1, height, width), ("all",), ((255, 255, 255),), True, "", ())


def read_masks(path: Path, photo: Path, height: int, width: int) -> MaskSet:
    """Read the masks of a photo of `height` by `width` pixels: a file, or a folder with a legend.toml.

    A file is a label map where a legend.toml beside it names it, else a colour mask, whatever its pixel type.
    photo: for messages only. A mask of another size but the same aspect (within 2 %) is resized, with a note.
    Raises PhotostyleError, one line, for a mask that cannot be read or does not fit, and for a faulty legend.
    """
    legend = path / LEGEND if path.is_dir() else path.parent / LEGEND
    if path.is_dir() and not legend.is_file():
        raise PhotostyleError(f"{path} is a folder without {LEGEND}; expected one to name its masks: add it")
    table = _legend(legend) if legend.is_file() else {}
    if path.is_dir() or table.get("file") == path.name:
        return _described(legend, table, photo, height, width)
    return _colour_mask(path, photo, height, width)


def mask_size(path: Path) -> tuple[int, int]:
    """(height, width) of a mask by itself: of the file, or of the first that a folder's legend names."""
    if path.is_dir():
        legend = path / LEGEND
        table = _legend(legend)
        path = path / str(table["file"] if table["kind"] == "labels" else _regions(legend, table)[0].source)
    height, width = read_colours(path).shape[:2]
    return height, width


def _colour_mask(path: Path, photo: Path, height: int, width: int) -> MaskSet:
    packed = _packed(read_colours(path))
    notes = _fit(path, packed.shape, photo, height, width)
    counts = np.bincount(packed.ravel(), minlength=1 << 24)
    colours = np.flatnonzero(counts >= LABEL_SHARE * packed.size)
    exact = not _lossy(path, counts, colours)
    if exact:
        index = _index_of(colours, 1 << 24)[packed]
    else:
        index, colours = _clustered(path, packed, counts)
        notes += (f"{path} has blurred or lossy colours: gathered into {len(colours)} regions",)
    index = _nearest(_snapped(index), height, width)
    names = tuple(f"#{c:06x}" for c in colours)
    return MaskSet(
        _one_hot(index, range(len(names))), names, _channels(colours), exact, sha256_of(path), notes
    )


def _packed(colours: Array) -> Array:
    """(H, W, 3) uint8 → (H, W) int32: 0xRRGGBB."""
    wide = colours.astype(np.int32)
    packed: Array = wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]
    return packed


def _channels(packed: Array) -> tuple[Colour, ...]:
    return tuple((int(c) >> 16, int(c) >> 8 & 255, int(c) & 255) for c in packed)


def _lossy(path: Path, counts: Array, colours: Array) -> bool:
    """Whether the file's flat colours are only near what was painted: JPEG, or a PNG that was once one.

    Two labels of nearly one colour (#000000 and #010000: three of the 24 published masks) count as such only
    in a mask of more colours than a palette holds: a plain label map's 0, 1, 2, … are meant.
    """
    if path.suffix.lower() in (".jpg", ".jpeg") or counts[colours].sum() < EXACT_SHARE * counts.sum():
        return True
    levels = np.array(_channels(colours))
    alike = (np.abs(levels[:, None] - levels[None]).max(-1) < LIKE_COLOURS).sum() > len(levels)
    return bool(alike and np.count_nonzero(counts) > PALETTE_SIZE)


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


def _clustered(path: Path, packed: Array, counts: Array) -> tuple[Array, Array]:
    """Labels of a lossy mask: (H, W) with −1 where none, and each label's most frequent colour.

    Only flat pixels vote and are labelled, so an edge is no region however long it is. Colours are counted in
    32³ bins of 8 levels; from the fullest bin on, each takes the bins up to 2 away (16 levels) that are left.
    """
    bins = _bin_of(packed)
    flat = _flat(packed)
    ball_of = _balls(np.bincount(bins[flat], minlength=1 << 15).reshape(32, 32, 32), packed.size).ravel()
    index = np.where(flat, ball_of[bins], -1)
    if (index >= 0).sum() < FLAT_SHARE * packed.size:
        raise PhotostyleError(
            f"{path} is no colour mask: {(index >= 0).mean():.0%} of it is flat colour, expected "
            f"{FLAT_SHARE:.0%}: paint each region in one colour, or describe soft masks in a {LEGEND}"
        )
    present = np.flatnonzero(counts)
    owner = ball_of[_bin_of(present)]
    most = [present[owner == k][counts[present[owner == k]].argmax()] for k in range(owner.max() + 1)]
    return index, np.array(most)


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


def _legend(path: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PhotostyleError(f"{path} is no TOML file ({error}): correct it") from None
    kind = table.get("kind")
    keys = {"labels": {"kind", "file", "regions"}, "soft": {"kind", "regions"}}.get(str(kind))
    if keys is None:
        raise PhotostyleError(f'{path} has kind = {kind!r}; expected "labels" or "soft": set it')
    if table.keys() != keys:
        raise PhotostyleError(
            f"{path} has the keys {', '.join(sorted(table))}; expected {', '.join(sorted(keys))}: correct it"
        )
    if not isinstance(table.get("file", ""), str):
        raise PhotostyleError(f"{path} has file = {table['file']!r}; expected a file name: correct it")
    return table


def _regions(legend: Path, table: dict[str, Any]) -> list[_Region]:
    entries = table["regions"]
    if not isinstance(entries, dict) or not entries:
        raise PhotostyleError(
            f"{legend} names no regions; expected a line for each under [regions]: add them"
        )
    regions = [_region(legend, table["kind"], name, entry) for name, entry in entries.items()]
    sources = [region.source for region in regions]
    for region in regions:
        if sources.count(region.source) > 1:
            raise PhotostyleError(
                f"{legend} gives {region.source!r} to {region.name} and another region: give it to one"
            )
    return regions


def _region(legend: Path, kind: str, name: str, entry: Any) -> _Region:
    key, kind_of, example = ("value", int, "2") if kind == "labels" else ("file", str, '"sky.png"')
    well_formed = (
        isinstance(entry, dict)
        and entry.keys() == {key, "colour"}
        and type(entry[key]) is kind_of
        and re.fullmatch(r"#[0-9a-fA-F]{6}", str(entry["colour"])) is not None
    )
    if not well_formed:
        raise PhotostyleError(
            f"{legend} has {name} = {entry!r}; expected a line like "
            f'{name} = {{ {key} = {example}, colour = "#78b4ff" }}: correct it'
        )
    red, green, blue = bytes.fromhex(entry["colour"][1:])
    return _Region(name, (red, green, blue), entry[key])


def _described(legend: Path, table: dict[str, Any], photo: Path, height: int, width: int) -> MaskSet:
    """The mask set that a legend describes."""
    regions = _regions(legend, table)
    if table["kind"] == "labels":
        files = [legend.parent / table["file"]]
        masks, notes = _label_map(legend, files[0], regions, photo, height, width)
    else:
        files = [legend.parent / str(region.source) for region in regions]
        masks, notes = _soft_set(legend, files, regions, photo, height, width)
    kept = [k for k, mask in enumerate(masks) if mask.any()]
    if not kept:
        raise PhotostyleError(f"{legend} describes masks that cover no pixel: check its entries and files")
    empty = [region.name for k, region in enumerate(regions) if k not in kept]
    if empty:
        notes += (f"{legend}: {', '.join(empty)} covers no pixel and was dropped",)
    hashes = "".join(sha256_of(file) for file in (legend, *files))
    return MaskSet(
        masks[kept],
        tuple(regions[k].name for k in kept),
        tuple(regions[k].colour for k in kept),
        True,
        hashlib.sha256(hashes.encode()).hexdigest(),
        notes,
    )


def _label_map(
    legend: Path, file: Path, regions: list[_Region], photo: Path, height: int, width: int
) -> tuple[Tensor, tuple[str, ...]]:
    with _entry(legend, "file"):
        index = read_indices(file)
    notes = _fit(file, index.shape, photo, height, width)
    values = [int(region.source) for region in regions]
    unnamed = np.setdiff1d(index, values)
    if unnamed.size:
        share = np.isin(index, unnamed).mean()
        notes += (f"{file}: {share:.1%} of its pixels have values {legend} does not name, in no region",)
    return _one_hot(_nearest(index, height, width), values), notes


def _soft_set(
    legend: Path, files: list[Path], regions: list[_Region], photo: Path, height: int, width: int
) -> tuple[Tensor, tuple[str, ...]]:
    masks: list[Array] = []
    for region, file in zip(regions, files, strict=True):
        with _entry(legend, region.name):
            masks.append(read_grey(file))
        if masks[-1].shape != masks[0].shape:
            raise PhotostyleError(
                f"{legend}: {file} is {_size(masks[-1])}, {files[0]} is {_size(masks[0])}; expected "
                "one size: export all at the photo's size"
            )
    notes = _fit(files[0], masks[0].shape, photo, height, width)
    whole, more = _at_most_one(legend, torch.from_numpy(np.stack(masks)))
    return _resampled(whole, height, width), notes + more


def _size(mask: Array) -> str:
    return f"{mask.shape[1]}x{mask.shape[0]}"


def _at_most_one(legend: Path, masks: Tensor) -> tuple[Tensor, tuple[str, ...]]:
    """Divide by the sum where it is over 1; a note where it is by more than rounding, 1/255 for each mask."""
    total = masks.sum(0)
    over = (total > 1 + len(masks) / 255).float().mean().item()
    note = f"{legend}: in {over:.1%} of the pixels the masks sum to more than 1: divided by their sum"
    return masks / total.clamp(min=1), (note,) if over else ()


@contextmanager
def _entry(legend: Path, name: str) -> Iterator[None]:
    """Say which entry of which legend named the file that fails."""
    try:
        yield
    except PhotostyleError as error:
        raise PhotostyleError(f"{legend}, {name}: {error}") from None
