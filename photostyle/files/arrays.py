"""Pictures and masks that are in memory already: PIL images, NumPy arrays, torch tensors, in the place of files."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from photostyle.errors import PhotostyleError
from photostyle.files.decoding import one_line_errors, raster_of
from photostyle.files.images import LEAST_SIDE, Picture, colours_of, read_image
from photostyle.files.legends import Colour, hex_name
from photostyle.files.masks import MaskSet
from photostyle.files.profiles import Array, planar_srgb
from photostyle.files.transparency import covered, meant
from photostyle.process import default_modes

IN_MEMORY = Path("in-memory")  # what messages call a picture that has no file
PHOTO, MASKS = Path("a photo in memory"), Path("masks in memory")
MOST_COLOURS = 256  # what a palette holds: a painted mask of more has soft edges, and is no set of labels
# A mask each, of four bytes a pixel: numbers that are no labels, such as a depth map, may be as many as pixels.
MOST_LABELS = 4096
SUM_TOLERANCE = 1e-3  # of soft masks over 1: a quarter of an 8-bit level, as rounding leaves it

Photograph = Image.Image | Array | Tensor
Regions = Image.Image | Array | Tensor


@default_modes()
def picture_of(image: Photograph) -> Picture:
    """A photograph in memory as `read_image` would have read it.

    A PIL image: its orientation is applied and its colour profile converted to sRGB. An array (H, W), (H, W, 3) or
    (H, W, 4), sRGB: uint8, uint16, or float in [0, 1]. A tensor (3, H, W), sRGB, float in [0, 1].
    Raises PhotostyleError for anything else.
    """
    if isinstance(image, Image.Image):
        return _pil_picture(image)
    if isinstance(image, Tensor):
        if image.ndim != 3 or len(image) != 3 or not image.is_floating_point():
            raise PhotostyleError(
                f"a photo is a tensor {tuple(image.shape)} of {image.dtype}; expected (3, height, width), floats "
                "in [0, 1]"
            )
        image = image.detach().cpu().float().permute(1, 2, 0).numpy()
    return _picture(np.asarray(image))


@default_modes()
def mask_set_of(regions: Regions) -> MaskSet:
    """Masks in memory as `read_masks` would have read them.

    Whole numbers (H, W): labels, one region for each number, of which it has the name. Floats (K, H, W) in [0, 1],
    of sum at most 1 in each pixel: soft masks, named by their place ("1", "2", …). A PIL image or uint8 (H, W, 3): a
    painted mask, one region for each colour. Raises PhotostyleError for anything else.
    """
    if isinstance(regions, Image.Image):
        return _pil_masks(regions)
    if isinstance(regions, Tensor):
        floats = regions.is_floating_point()
        regions = (regions.float() if floats else regions).detach().cpu().numpy()
    array = np.asarray(regions)
    if array.ndim == 3 and array.shape[-1] == 3 and array.dtype == np.uint8:
        return _labelled(_numbers(array), painted=True)
    if array.ndim == 2 and (np.issubdtype(array.dtype, np.integer) or array.dtype == bool):
        return _labelled(array.astype(np.int64), painted=False)
    if array.ndim == 3 and len(array) and np.issubdtype(array.dtype, np.floating):
        return _soft(array.astype(np.float32))
    raise PhotostyleError(
        f"masks are {array.shape} of {array.dtype}; expected whole numbers (height, width), floats (regions, height, "
        "width) or uint8 colours (height, width, 3)"
    )


def _pil_picture(image: Image.Image) -> Picture:
    with one_line_errors(PHOTO):  # it may still be a file, damaged or closed
        raster = raster_of(image, PHOTO)
    picture = _picture(raster.samples, raster.profile, raster.mode == "CMYK")
    notes = tuple(f"{PHOTO} {note}" for note in (*picture.notes, *raster.notes))
    return replace(picture, notes=notes, resolution=raster.resolution)


def _pil_masks(image: Image.Image) -> MaskSet:
    """As `read_colours` reads a file, but every colour is a region."""
    if image.mode == "I":  # whole numbers of 32 bits: labels, if they are those of 16
        numbers = np.array(image)
        if numbers.min() < 0 or numbers.max() > np.iinfo(np.uint16).max:
            raise PhotostyleError(
                "masks in memory have numbers that are no uint16; number the regions from 0"
            )
        image = Image.fromarray(numbers.astype(np.uint16))
    with one_line_errors(MASKS):
        raster = raster_of(image, MASKS, keep_palette=True)
    paint = colours_of(raster, MASKS)
    found = _labelled(_numbers(paint.values), painted=True, erased=paint.erased)
    return replace(found, notes=paint.notes)


def _numbers(colours: Array) -> Array:
    """(H, W, 3) uint8 as whole numbers 0xrrggbb."""
    wide = colours.astype(np.int64)
    numbers: Array = wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]
    return numbers


def _picture(samples: Array, profile: bytes | None = None, cmyk: bool = False) -> Picture:
    samples = samples.astype(samples.dtype.newbyteorder("="), copy=False)
    samples = samples[..., None] if samples.ndim == 2 else samples
    if samples.ndim != 3 or samples.shape[-1] not in (1, 2, 3, 4) or min(samples.shape[:2]) < LEAST_SIDE:
        raise PhotostyleError(
            f"a photo is {samples.shape}; expected (height, width, 3) of at least {LEAST_SIDE} pixels a side"
        )
    alpha = samples[..., -1] if samples.shape[-1] in (2, 4) and not cmyk else None
    colour = samples if alpha is None else samples[..., :-1]
    if np.issubdtype(samples.dtype, np.floating):
        if not np.isfinite(samples).all() or samples.min() < 0 or samples.max() > 1:
            raise PhotostyleError("a photo has floats outside [0, 1]; divide by its highest value")
        wide = np.broadcast_to(colour, (*colour.shape[:2], 3))
        rgb: Array = np.array(wide.transpose(2, 0, 1), np.float32, order="C")
        notes: tuple[str, ...] = ()
        alpha = None if alpha is None else np.rint(alpha * 255).astype(np.uint8)
    elif samples.dtype in (np.uint8, np.uint16):
        rgb, notes = planar_srgb(colour, profile)
    else:
        raise PhotostyleError(
            f"a photo is an array of {samples.dtype}; expected uint8, uint16 or floats in [0, 1]"
        )
    alpha = meant(alpha, PHOTO)
    covered(rgb, alpha)
    return Picture(
        pixels=torch.from_numpy(rgb),
        alpha=None if alpha is None else np.ascontiguousarray(alpha),
        depth=16 if samples.dtype == np.uint16 else 8,
        path=IN_MEMORY,
        sha256=_sha256(samples),
        notes=notes,
    )


def _labelled(labels: Array, painted: bool, erased: Array | None = None) -> MaskSet:
    """erased: (H, W) bool, what is in no region."""
    values = np.unique(labels if erased is None else labels[~erased])
    if painted and len(values) > MOST_COLOURS:
        raise PhotostyleError(f"a painted mask has {len(values)} colours; paint flat ones, or give labels")
    if len(values) > MOST_LABELS:
        raise PhotostyleError(
            f"masks have {len(values)} labels, more than {MOST_LABELS}; give each region one number"
        )
    colours: tuple[Colour, ...] = tuple(
        (int(v) >> 16, int(v) >> 8 & 255, int(v) & 255) if painted else _shown_in(k)
        for k, v in enumerate(values)
    )
    masks = labels == values[:, None, None]
    return MaskSet(
        masks=torch.from_numpy((masks if erased is None else masks & ~erased).astype(np.float32)),
        names=tuple(hex_name(each) if painted else str(v) for each, v in zip(colours, values, strict=True)),
        colours=colours,
        exact=True,
        sha256=_sha256(labels),
        notes=(),
    )


def _soft(masks: Array) -> MaskSet:
    if not (masks >= 0).all() or not (masks.sum(0) <= 1 + SUM_TOLERANCE).all():
        raise PhotostyleError(
            "soft masks are negative, or more than 1 in sum in a pixel; divide by their sum"
        )
    return MaskSet(
        masks=torch.from_numpy(masks),
        names=tuple(str(k + 1) for k in range(len(masks))),
        colours=tuple(map(_shown_in, range(len(masks)))),
        exact=True,
        sha256=_sha256(masks),
        notes=(),
    )


def _shown_in(place: int) -> Colour:
    """A colour to show the region at a place in: hues a golden ratio apart, which stay apart however many there are."""
    hue = place * 0.618034 % 1
    red, green, blue = (
        round(255 * (0.5 + 0.5 * np.cos(2 * np.pi * (hue - third / 3)))) for third in range(3)
    )
    return red, green, blue


def _sha256(array: Array) -> str:
    head = f"{array.dtype.str} {array.shape} ".encode()
    return hashlib.sha256(head + np.ascontiguousarray(array).tobytes()).hexdigest()


def read_photograph(source: Path | Picture) -> Picture:
    """A photograph from its file, or as it is where it is in memory. Errors as `read_image`."""
    return source if isinstance(source, Picture) else read_image(source)


def path_of(source: Path | Picture) -> Path:
    """The file of a photograph; IN_MEMORY where it has none."""
    return source.path if isinstance(source, Picture) else source
