"""Reading and writing pictures: PNG, JPEG, TIFF and WebP of 8 or 16 bits, and AVIF, upright and in sRGB.

Nothing else reads or writes pixels. Photographs go through `read_image` and `write_image`. Masks are numbers, not
colours, so their three readers (`read_colours`, `read_grey`, `read_indices`) apply the orientation and leave colour
profiles alone.
"""

import hashlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from PIL import Image
from torch import Tensor

from photostyle.errors import ComputationError, PhotostyleError, one_line
from photostyle.files.atomic import check_place, write_bytes_atomically
from photostyle.files.decoding import Raster, decode
from photostyle.files.exif import RESOLUTION_UNIT, X_RESOLUTION, Y_RESOLUTION, Resolution
from photostyle.files.places import check_name
from photostyle.files.profiles import SRGB_PROFILE, Array, cmyk_to_rgb, planar_srgb, unit
from photostyle.files.reading import file_bytes
from photostyle.files.transparency import covered, meant
from photostyle.process import default_modes

LEAST_SIDE = 32  # pixels of a photograph: a shorter side has too few patches for statistics
ROWS = 256  # of a picture that are rounded together: a whole one in float32 is four times what is written
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")

# Pixels of a side: WebP has 14 bits for it (RFC 9649, 2.5 and 2.6), libjpeg stops at 65500 (JPEG_MAX_DIMENSION).
LONGEST = {".webp": 16383, ".jpg": 65500, ".jpeg": 65500}

# Pillow's options for each format. Subsampling 0 is 4:4:4.
JPEG: dict[str, Any] = {"format": "JPEG", "quality": 95, "subsampling": 0}
OPTIONS: dict[str, dict[str, Any]] = {
    # Level 4 in place of the default, 6: files 1 % larger in half the time.
    ".png": {"format": "PNG", "compress_level": 4},
    # "exact" keeps the colours under zero alpha.
    ".webp": {"format": "WEBP", "lossless": True, "exact": True},
}


@dataclass(frozen=True)
class Picture:
    """A photograph as the library sees it, with what is needed to write it back.

    pixels: (3, H, W) float32, sRGB in [0, 1], contiguous, upright. Where alpha is 0, the nearest visible colour.
    alpha: (H, W) in the file's own uint8 or uint16, untouched; None where the file has none, or hides nothing.
    depth: 8 or 16, the file's bits per channel.
    sha256: of the file's bytes.
    notes: what was decided for the user, one sentence each.
    resolution: dots per inch, across and down; None where the file does not say.
    """

    pixels: Tensor
    alpha: Array | None
    depth: int
    path: Path
    sha256: str
    notes: tuple[str, ...]
    resolution: Resolution | None = None

    @property
    def height(self) -> int:
        return self.pixels.shape[-2]

    @property
    def width(self) -> int:
        return self.pixels.shape[-1]


@default_modes()
def read_image(path: Path | str, minimum: int = LEAST_SIDE) -> Picture:
    """Read a photograph: PNG, JPEG, TIFF, WebP or AVIF; 8 or 16 bit; grey, RGB, palette or CMYK; alpha or none.

    EXIF and TIFF orientation are applied, and an ICC profile is converted to sRGB. 8-bit files go through
    Little CMS (relative colorimetric, black point compensated). 16-bit files with a matrix or grey profile
    (Adobe RGB, Display P3, ProPhoto …) are converted by its formula in float32, well within 1/65535; a 16-bit
    file whose profile is a lookup table goes through Little CMS at 8 bits, and a note says so. A profile
    within one 8-bit level of sRGB everywhere is sRGB: its pixels stay exactly as they are.

    minimum: the shortest side accepted, in pixels.
    Raises PhotostyleError for a file that is missing, unreadable, damaged, no picture, floating-point, over
    MAX_PIXELS or under `minimum`.
    """
    path = Path(path)
    raster = decode(path)
    height, width = raster.samples.shape[:2]
    if min(height, width) < minimum:
        raise PhotostyleError(
            f"{path} is {width}x{height}; a photo needs at least {minimum} pixels a side: use a larger one"
        )
    alpha = meant(raster.alpha, path)
    rgb, notes = planar_srgb(raster.colour, raster.profile)
    covered(rgb, alpha)
    if raster.frames > 1:
        notes = (f"holds {raster.frames} pictures: the first is used", *notes)
    return Picture(
        pixels=torch.from_numpy(rgb),
        alpha=alpha,
        depth=raster.depth,
        path=path,
        sha256=raster.sha256,
        notes=tuple(f"{path} {note}" for note in (*notes, *raster.notes)),
        resolution=raster.resolution,
    )


@dataclass(frozen=True)
class Paint:
    """What a mask's file holds, upright, no colour profile applied.

    values: what its reader gives. lossy: whether its format is (JPEG, AVIF, most WebP). erased: (H, W) bool, what
    transparency leaves out; None where nothing. numbers: whether the colours stand for the numbers of a label map.
    sha256: of the file.
    notes: what was decided for the user.
    """

    values: Array
    erased: Array | None
    sha256: str
    notes: tuple[str, ...] = ()
    numbers: bool = False
    lossy: bool = False


def read_colours(path: Path) -> Paint:
    """A mask's own colours: (H, W, 3) uint8. Erased is what is more transparent than not.

    A 16-bit mask keeps its upper 8 bits, so one made from 8 bits (each value times 257) comes back as it was. A grey
    one of other values is a label map: its number n is the colour (n, n, n) up to 255, as with 8 bits, and
    (n // 256, n % 256, 0) above. So is a palette that has one colour for several numbers in use.
    Errors as `read_image`, and for 16-bit colours that 8 bits do not tell apart.
    """
    return colours_of(_decode_mask(path, keep_palette=True), path)


def colours_of(raster: Raster, path: Path) -> Paint:
    """`read_colours` of what was decoded, with the indices of a palette. path: for messages."""
    alpha = _mask_alpha(raster)
    erased, notes = _erased(alpha, path)
    colour, numbers = raster.colour, False
    if raster.palette is not None:
        index = colour[..., 0]
        if numbers := _shares_colours(raster.palette, index):
            notes += (f"{path} has one colour for several numbers of its palette: its numbers are read",)
            colour = index[..., None]
        else:
            colour = raster.palette[index][..., :3]
    if raster.mode == "CMYK":
        colour = cmyk_to_rgb(colour)
    if colour.dtype == np.uint16:
        numbers = colour.shape[-1] == 1 and _are_numbers(colour)
        colour = _of_numbers(colour[..., 0]) if numbers else _upper_bits(path, colour)
    eight = np.ascontiguousarray(np.broadcast_to(colour, (*colour.shape[:2], 3)), dtype=np.uint8)
    return Paint(eight, erased, raster.sha256, notes, numbers, raster.lossy)


def _mask_alpha(raster: Raster) -> Array | None:
    """Alpha (H, W) of a mask: of its pixels, or of its palette's colours."""
    if raster.palette is None or raster.palette.shape[-1] < 4:
        return raster.alpha
    return np.ascontiguousarray(raster.palette[..., 3][raster.colour[..., 0]])


def _erased(alpha: Array | None, path: Path) -> tuple[Array | None, tuple[str, ...]]:
    """Where a mask has no paint, and a note of it."""
    alpha = meant(alpha, path)
    if alpha is None:
        return None, ()
    erased = alpha < np.iinfo(alpha.dtype).max / 2
    if not erased.any():
        return None, ()
    if erased.all():
        raise PhotostyleError(f"{path} is nearly transparent everywhere: paint the regions opaque")
    return erased, (f"{path} is transparent in {erased.mean():.1%} of its pixels: they are in no region",)


def _shares_colours(palette: Array, index: Array) -> bool:
    """Whether two entries in use have one colour."""
    used = palette[np.flatnonzero(np.bincount(index.ravel(), minlength=len(palette)))]
    return len(np.unique(used[:, :3], axis=0)) < len(used)


def _are_numbers(grey: Array) -> bool:
    """Whether grey values (H, W, 1) of 16 bits are labels: those of a hundredth of the mask were never of 8 bits.

    Where none has a hundredth, a few thousand numbers in all are labels too; a soft edge goes up to white.
    """
    counts = np.bincount(grey.ravel(), minlength=1 << 16)
    frequent = np.flatnonzero(counts * 100 >= grey.size)
    if len(frequent) == 0:
        return bool(np.flatnonzero(counts).max() < 1 << 12)
    return bool((frequent % 257).any())


def _of_numbers(grey: Array) -> Array:
    """(H, W) uint16 to (H, W, 3) uint8 colours that stand for the numbers."""
    small = grey < 256
    high, low = (grey >> 8).astype(np.uint8), (grey & 255).astype(np.uint8)
    return np.stack([np.where(small, low, high), low, np.where(small, low, 0)], -1)


def _upper_bits(path: Path, colour: Array) -> Array:
    """(H, W, C) uint16 with 8 bits. Raises PhotostyleError where frequent colours become one."""
    if (colour % 257).any() and colour.shape[-1] == 3:
        whole = colour.astype(np.uint64)
        numbers = whole[..., 0] << 32 | whole[..., 1] << 16 | whole[..., 2]
        values, counts = np.unique(numbers, return_counts=True)
        frequent = values[counts * 100 >= numbers.size]
        if len(np.unique(frequent & 0xFF00FF00FF00)) < len(frequent):
            raise PhotostyleError(
                f"{path} has 16-bit colours that 8 bits do not tell apart: paint regions in colours further apart"
            )
    upper: Array = colour >> 8
    return upper


def read_grey(path: Path) -> Paint:
    """One soft mask: (H, W) float32 in [0, 1] at the file's 8 or 16 bits. What is erased is outside.

    Where the colour is one and alpha is not, the mask is in the alpha channel, and a note says so.
    Raises PhotostyleError for a file with colours (RGB of three equal channels is grey), and as `read_image`.
    """
    raster = _decode_mask(path)
    colour, alpha = raster.colour, meant(raster.alpha, path)
    if alpha is not None and (colour == colour[0, 0]).all():
        return Paint(unit(alpha), None, raster.sha256, (f"{path}: its mask is in the alpha channel",))
    if (colour != colour[..., :1]).any() or raster.mode == "CMYK":
        raise PhotostyleError(
            f"{path} has colours; a soft mask is grey, 0 outside and white inside: save it as grey"
        )
    notes: tuple[str, ...] = ()
    if colour.max() == 1:  # a mask of numbers, false and true
        notes = (f"{path} is nowhere brighter than 1 of {np.iinfo(colour.dtype).max}: save white for inside",)
    grey = unit(np.ascontiguousarray(colour[..., 0]))
    if alpha is None:
        return Paint(grey, None, raster.sha256, notes)
    notes = (*notes, f"{path}: what is transparent in it is outside")
    return Paint(grey * unit(alpha), None, raster.sha256, notes)


def read_indices(path: Path) -> Paint:
    """A label map's own numbers: (H, W) int32: palette indices, or grey values at 8 or 16 bits.

    Raises PhotostyleError for a file with three channels or of a lossy format, and as `read_image`.
    """
    raster = _decode_mask(path, keep_palette=True)
    if raster.colour.shape[-1] != 1:
        raise PhotostyleError(
            f"{path} has {raster.colour.shape[-1]} channels; a label map has one, grey or palette: "
            "save it so, or leave it out of legend.toml to read its colours"
        )
    if raster.lossy:
        raise PhotostyleError(
            f"{path} is stored with loss, which changes numbers; expected a label map of exact ones: save it as PNG"
        )
    erased, notes = _erased(_mask_alpha(raster), path)
    return Paint(raster.colour[..., 0].astype(np.int32), erased, raster.sha256, notes, numbers=True)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal. Raises PhotostyleError where the file cannot be read."""
    return hashlib.sha256(file_bytes(path)).hexdigest()


def _decode_mask(path: Path, keep_palette: bool = False) -> Raster:
    raster = decode(path, keep_palette)
    if raster.frames > 1:
        raise PhotostyleError(
            f"{path} holds {raster.frames} pictures; a mask is one: save the right one alone"
        )
    return raster


def check_output(
    path: Path, *, alpha: bool, depth: int, size: tuple[int, int] | None = None
) -> tuple[str, ...]:
    """Refuse an output that could not be written, before any work is done for it. Returns notes.

    alpha, depth: whether the photo has transparency, and its bits per channel (8 or 16).
    size: its height and width, where they are known.
    Raises PhotostyleError for an unknown suffix, a name or size that cannot be, a missing or read-only folder, a folder
    in the file's place, and for JPEG where there is transparency.
    """
    suffix = path.suffix.lower()
    if path.name and suffix not in SUFFIXES:
        raise PhotostyleError(
            f'{path} ends in "{path.suffix}"; expected one of {" ".join(SUFFIXES)}: rename it'
        )
    check_name(path)
    check_place(path)
    most = LONGEST.get(suffix)
    if most and size and max(size) > most:
        raise PhotostyleError(
            f"{path} cannot hold {size[1]}x{size[0]} pixels, its format allows {most} a side: use .png or .tif"
        )
    if alpha and suffix in (".jpg", ".jpeg"):
        raise PhotostyleError(
            f"{path} is a JPEG, which cannot hold the photo's alpha: use .png, .webp or .tif"
        )
    if depth == 16 and suffix not in (".tif", ".tiff"):
        return (f"the photo has 16 bits a channel, {path} is written with 8: use .tif to keep 16",)
    return ()


def write_image(path: Path | str, pixels: Tensor, *, alpha: Array | None = None, depth: int = 8) -> str:
    """Write a picture, see `encode_image`, as `atomic.write_bytes_atomically`. Returns the file's SHA-256."""
    path = Path(path)
    return write_bytes_atomically(path, encode_image(path, pixels, alpha=alpha, depth=depth))


def encode_image(
    path: Path,
    pixels: Tensor,
    *,
    alpha: Array | None = None,
    depth: int = 8,
    resolution: Resolution | None = None,
) -> bytes:
    """The bytes of a picture's file, tagged as sRGB. The same pixels give the same bytes. path: where it will stand.

    pixels: (3, H, W) in [0, 1], clipped, rounded half to even. alpha: (H, W) uint8 or uint16, written as it is where
    the file has its depth, else scaled by 257. depth: 8 or 16; TIFF keeps 16, the other formats have 8 bits, as
    `check_output` has said. PNG, TIFF (ZIP) and WebP are lossless, JPEG has quality 95 without chroma subsampling.
    resolution: dots per inch, across and down, to be printed at: in WebP by EXIF, in the others by the format's own.
    Raises PhotostyleError for what the format cannot hold, ComputationError for pixels that are not numbers.
    """
    suffix = path.suffix.lower()
    check_output(path, alpha=alpha is not None, depth=depth, size=(pixels.shape[-2], pixels.shape[-1]))
    if pixels.ndim != 3 or pixels.shape[0] != 3 or not pixels.is_floating_point():
        raise ValueError(f"pixels are {tuple(pixels.shape)} of {pixels.dtype}; expected (3, H, W), floats")
    if not all(bool(torch.isfinite(rows).all()) for rows in pixels.split(ROWS, 1)):
        raise ComputationError(f"{path} is not written: the picture holds values that are not numbers")
    samples = _quantised(pixels, alpha, depth if suffix in (".tif", ".tiff") else 8)
    try:
        return _encoded(samples, suffix, resolution)
    except (OSError, ValueError) as error:  # above all a side over the format's limit: 16383 in WebP
        raise PhotostyleError(f"{path} cannot be encoded ({one_line(error)}): use .png or .tif") from error


def as_kept(pixels: Tensor) -> Tensor:
    """A picture (3, H, W) in [0, 1] as a TIFF of 16 bits gives it back: `write_image`, then `read_image`."""
    levels = 2**16 - 1
    return pixels.clamp(0, 1).mul_(levels).round_().div_(levels)


def _quantised(pixels: Tensor, alpha: Array | None, depth: int) -> Array:
    """(H, W, 3 or 4) uint8 or uint16; torch.round is half to even. In strips of rows."""
    kind: type[np.unsignedinteger[Any]] = np.uint16 if depth == 16 else np.uint8
    samples = np.empty((*pixels.shape[1:], 3 if alpha is None else 4), kind)
    for top in range(0, len(samples), ROWS):
        rows = slice(top, top + ROWS)
        levels = pixels[:, rows].detach().cpu().clamp(0, 1).mul_(2**depth - 1).round_()
        samples[rows, :, :3] = levels.permute(1, 2, 0).numpy()
        if alpha is not None:
            samples[rows, :, 3] = _rescaled(alpha[rows], kind)
    return samples


def _rescaled(alpha: Array, kind: type[np.unsignedinteger[Any]]) -> Array:
    """Alpha of 8 or 16 bits at the depth of a file."""
    if alpha.dtype == kind:
        return alpha
    return np.rint(alpha / 257) if kind is np.uint8 else alpha.astype(kind) * 257


def _encoded(samples: Array, suffix: str, resolution: Resolution | None) -> bytes:
    buffer = BytesIO()
    if suffix in (".tif", ".tiff"):
        tifffile.imwrite(
            buffer,
            samples,
            photometric="rgb",
            extrasamples=["unassalpha"] if samples.shape[-1] == 4 else None,
            compression="zlib",
            predictor=2,
            iccprofile=SRGB_PROFILE,
            metadata=None,
            software=False,
            resolution=resolution,
            resolutionunit=None if resolution is None else "INCH",
        )
        return buffer.getvalue()
    options = OPTIONS.get(suffix, JPEG)
    if resolution is not None:
        options = options | (_as_exif(resolution) if suffix == ".webp" else {"dpi": resolution})
    Image.fromarray(samples).save(buffer, icc_profile=SRGB_PROFILE, **options)
    return buffer.getvalue()


def _as_exif(resolution: Resolution) -> dict[str, Image.Exif]:
    exif = Image.Exif()
    exif[X_RESOLUTION], exif[Y_RESOLUTION] = resolution
    exif[RESOLUTION_UNIT] = 2  # inch
    return {"exif": exif}
