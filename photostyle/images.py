"""Files ↔ tensors: PNG, JPEG, TIFF and WebP at 8 and 16 bit, upright and in sRGB. Nothing else reads pixels.

Photographs go through `read_image` and `write_image`. Masks are numbers, not colours, so the three raw
readers (`read_colours`, `read_grey`, `read_indices`) apply the orientation and leave colour profiles alone.
"""

import hashlib
import os
import secrets
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
import torch
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from torch import Tensor

from photostyle.errors import ComputationError, PhotostyleError

# Twice Image.MAX_IMAGE_PIXELS, where Pillow stops too; a constant, for that one is a global others may unset.
MAX_PIXELS = 178_956_970
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")
_READABLE = ("PNG", "JPEG", "TIFF", "WEBP")  # Pillow opens phones' MPO as JPEG
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # TIFF 6.0 and BigTIFF, either byte order
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_ORIENTATION = 0x0112  # the EXIF and TIFF tag

Array = npt.NDArray[Any]


def _dated(profile: bytes) -> bytes:
    """Little CMS stamps profiles with the time, bytes 24–35 (ICC.1:2022, table 17): fixed, for like bytes."""
    return profile[:24] + struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + profile[36:]


SRGB_PROFILE = _dated(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())


@dataclass(frozen=True)
class Picture:
    """A photograph as the library sees it, with what is needed to write it back.

    pixels: (3, H, W) float32, sRGB in [0, 1], contiguous, upright.
    alpha: (H, W) in the file's own uint8 or uint16, untouched; None where the file has none.
    depth: 8 or 16, the file's bits a channel.
    sha256: of the file's bytes.
    notes: what was decided for the user, one sentence each.
    """

    pixels: Tensor
    alpha: Array | None
    depth: int
    path: Path
    sha256: str
    notes: tuple[str, ...]

    @property
    def height(self) -> int:
        return self.pixels.shape[-2]

    @property
    def width(self) -> int:
        return self.pixels.shape[-1]


@dataclass(frozen=True)
class _Raster:
    """A decoded file. samples: (H, W, C) uint8 or uint16, upright; mode: L LA RGB RGBA CMYK, P (indices)."""

    samples: Array
    mode: str
    profile: bytes | None
    frames: int
    sha256: str = ""
    notes: tuple[str, ...] = ()

    @property
    def depth(self) -> int:
        return 8 * self.samples.dtype.itemsize

    @property
    def colour(self) -> Array:
        return self.samples[..., :-1] if self.mode in ("LA", "RGBA") else self.samples

    @property
    def alpha(self) -> Array | None:
        return np.ascontiguousarray(self.samples[..., -1]) if self.mode in ("LA", "RGBA") else None


def read_image(path: Path, minimum: int = 32) -> Picture:
    """Read a photograph: PNG, JPEG, TIFF or WebP; 8 or 16 bit; grey, RGB, palette or CMYK; alpha or none.

    EXIF and TIFF orientation are applied, and an ICC profile is converted to sRGB. 8-bit files go through
    Little CMS (relative colorimetric, black point compensated). 16-bit files with a matrix or grey profile
    (Adobe RGB, Display P3, ProPhoto …) are converted by its formula in float32, well within 1/65535; a 16-bit
    file whose profile is a lookup table goes through Little CMS at 8 bits, and a note says so. A profile
    within one 8-bit level of sRGB everywhere is sRGB: its pixels stay exactly as they are.

    minimum: the shortest side accepted, in pixels.
    Raises PhotostyleError for a file that is missing, unreadable, damaged, no picture, floating-point, over
    MAX_PIXELS or under `minimum`.
    """
    raster = _decode(path)
    height, width = raster.samples.shape[:2]
    if min(height, width) < minimum:
        raise PhotostyleError(
            f"{path} is {width}x{height}; a photo needs at least {minimum} pixels a side: use a larger one"
        )
    rgb, notes = _in_srgb(raster)
    if raster.frames > 1:
        notes = (f"holds {raster.frames} pictures: the first is used", *notes)
    return Picture(
        pixels=torch.from_numpy(rgb.transpose(2, 0, 1).copy()),
        alpha=raster.alpha,
        depth=raster.depth,
        path=path,
        sha256=raster.sha256,
        notes=tuple(f"{path} {note}" for note in (*notes, *raster.notes)),
    )


def read_colours(path: Path) -> Array:
    """A mask's own colours: (H, W, 3) uint8, upright, no profile applied, alpha ignored.

    A 16-bit mask keeps its upper 8 bits, so one made from 8 bits (each value times 257) comes back as it was.
    Errors as `read_image`.
    """
    raster = _decode_mask(path)
    colour = raster.colour
    if raster.mode == "CMYK":
        colour = _cmyk_to_rgb(colour)
    if colour.dtype == np.uint16:
        colour = colour >> 8
    return np.ascontiguousarray(np.broadcast_to(colour, (*colour.shape[:2], 3)), dtype=np.uint8)


def read_grey(path: Path) -> Array:
    """One soft mask: (H, W) float32 in [0, 1] at the file's 8 or 16 bits, upright.

    Raises PhotostyleError for a file with colours (RGB of three equal channels is grey), and as `read_image`.
    """
    raster = _decode_mask(path)
    colour = raster.colour
    if (colour != colour[..., :1]).any() or raster.mode == "CMYK":
        raise PhotostyleError(
            f"{path} has colours; a soft mask is grey, 0 outside and white inside: save it as grey"
        )
    return _unit(np.ascontiguousarray(colour[..., 0]))


def read_indices(path: Path) -> Array:
    """A label map's own numbers: (H, W) int32: palette indices, or grey values at 8 or 16 bits; upright.

    Raises PhotostyleError for a file with three channels, and as `read_image`.
    """
    raster = _decode_mask(path, keep_palette=True)
    if raster.colour.shape[-1] != 1:
        raise PhotostyleError(
            f"{path} has {raster.colour.shape[-1]} channels; a label map has one, grey or palette: "
            "save it so, or leave it out of legend.toml to read its colours"
        )
    return raster.colour[..., 0].astype(np.int32)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal. Raises PhotostyleError where the file cannot be read."""
    return hashlib.sha256(_file_bytes(path)).hexdigest()


def _file_bytes(path: Path) -> bytes:
    if path.is_dir():
        raise PhotostyleError(f"{path} is a folder; expected a file: name one inside it")
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise PhotostyleError(f"{path} does not exist: check the name") from None
    except OSError as error:
        raise PhotostyleError(f"{path} cannot be read ({error.strerror}): check its permissions") from None


def _decode_mask(path: Path, keep_palette: bool = False) -> _Raster:
    raster = _decode(path, keep_palette)
    if raster.frames > 1:
        raise PhotostyleError(
            f"{path} holds {raster.frames} pictures; a mask is one: save the right one alone"
        )
    return raster


def _decode(path: Path, keep_palette: bool = False) -> _Raster:
    """The one door: bytes read once, hashed and decoded; a failure becomes one line, a warning a note."""
    data = _file_bytes(path)
    if not data:
        raise PhotostyleError(f"{path} is empty (0 bytes); expected a picture: export or copy it again")
    with warnings.catch_warnings(record=True) as caught, _one_line_errors(path):
        warnings.simplefilter("always")
        raster = _decode_tiff(path, data) if data[:4] in _TIFF_MAGIC else None
        raster = raster or _decode_with_pillow(path, data, keep_palette)
    said = [w for w in caught if w.category not in (Image.DecompressionBombWarning, DeprecationWarning)]
    notes = tuple(dict.fromkeys(f"may be damaged ({_one_line(w.message)})" for w in said))
    return replace(raster, sha256=hashlib.sha256(data).hexdigest(), notes=(*raster.notes, *notes))


@contextmanager
def _one_line_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (PhotostyleError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise PhotostyleError(
            f"{path} is not a readable picture; expected PNG, JPEG, TIFF or WebP: export it as one of these"
        ) from None
    except Image.DecompressionBombError:
        raise _too_large(path) from None
    except Exception as error:  # decoders meet damaged bytes with any type: struct, zlib, Index, Runtime …
        raise PhotostyleError(
            f"{path} is damaged or cut short ({_one_line(error)}): export or copy it again"
        ) from None


def _one_line(message: object) -> str:
    return " ".join(str(message).split()) or type(message).__name__


def _too_large(path: Path) -> PhotostyleError:
    return PhotostyleError(
        f"{path} has more than {MAX_PIXELS:,} pixels, the most that is read: scale it down"
    )


def _decode_with_pillow(path: Path, data: bytes, keep_palette: bool) -> _Raster:
    image = Image.open(BytesIO(data), formats=_READABLE)
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(path)
    # What stands behind the photo in an MPO is its preview or depth: nothing one would call a second picture.
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    profile = image.info.get("icc_profile")
    if data.startswith(_PNG_MAGIC) and data[24] == 16:  # IHDR's bit depth: PNG specification, 11.2.1
        samples, mode = _png_of_16_bits(data)
        return _Raster(_upright(samples, image.getexif().get(_ORIENTATION, 1)), mode, profile, frames)
    samples, mode, notes = _plain_samples(path, ImageOps.exif_transpose(image), keep_palette)
    return _Raster(samples, mode, profile, frames, notes=notes)


def _plain_samples(path: Path, image: Image.Image, keep_palette: bool) -> tuple[Array, str, tuple[str, ...]]:
    notes = ("has a fourth channel of no stated meaning: it is ignored",) if image.mode == "RGBX" else ()
    if image.mode == "P" and keep_palette:
        return np.array(image)[..., None], "P", notes
    grey = image.mode in ("1", "L", "LA", "La")
    if not grey and image.mode not in ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "YCbCr", "CMYK"):
        raise PhotostyleError(
            f"{path} has pixels of type {image.mode}; expected grey, RGB or CMYK: save it as RGB"
        )
    if image.mode != "CMYK":
        image = image.convert(("L" if grey else "RGB") + ("A" if image.has_transparency_data else ""))
    return np.array(image).reshape(image.height, image.width, -1), image.mode, notes


def _png_of_16_bits(data: bytes) -> tuple[Array, str]:
    """All 16 bits of a PNG: Pillow alone keeps them for grey and silently drops the lower 8 of the rest.

    RGB and RGBA are read twice, for the high and for the low bytes. Grey with alpha has four bytes a pixel,
    so the same stream under an 8-bit RGBA header holds them one by one.
    """
    if data[25] == 4:  # colour type: grey with alpha
        header = data[12:24] + bytes((8, 6)) + data[26:29]
        octets = _pixels(data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:])
        return octets[..., ::2].astype(np.uint16) << 8 | octets[..., 1::2], "LA"
    grey = data[25] == 0
    samples = _pixels(data) if grey else _pixels(data).astype(np.uint16) << 8 | _pixels(data, low_bytes=True)
    key = Image.open(BytesIO(data)).info.get("transparency")
    if key is not None:  # one colour stands for transparent: PNG specification, 11.3.2.1
        opaque = (samples != np.array(key)).any(-1, keepdims=True)
        samples = np.concatenate([samples, opaque * np.uint16(65535)], axis=-1)
    return samples, {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[samples.shape[-1]]


def _pixels(data: bytes, low_bytes: bool = False) -> Array:
    image = Image.open(BytesIO(data), formats=("PNG",))
    if low_bytes:
        # "16L" takes the first byte for the low one, so of big-endian PNG it keeps what "16B" drops.
        image.tile = [tile._replace(args=str(tile.args).replace("16B", "16L")) for tile in image.tile]
    return np.array(image).reshape(image.height, image.width, -1)


def _upright(samples: Array, orientation: int) -> Array:
    """Undo the camera's turn: EXIF 2.32, tag 0x0112, whose 8 values are the symmetries of the rectangle."""
    if orientation >= 5:
        samples = samples.swapaxes(0, 1)
    rows = slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1)
    columns = slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1)
    return np.ascontiguousarray(samples[rows, columns])


def _decode_tiff(path: Path, data: bytes) -> _Raster | None:
    """A TIFF of 16 bits; None for one of up to 8 bits, which Pillow reads in every compression."""
    with tifffile.TiffFile(BytesIO(data)) as file:
        page = file.pages.first
        if page.imagewidth * page.imagelength > MAX_PIXELS:
            raise _too_large(path)
        if page.sampleformat != 1 or page.bitspersample not in (1, 2, 4, 8, 16):
            kind = {2: "signed integer", 3: "floating-point"}.get(page.sampleformat, "integer")
            raise PhotostyleError(
                f"{path} is a {page.bitspersample}-bit {kind} TIFF; expected 8 or 16 bits, unsigned: "
                "export it as a 16-bit integer TIFF"
            )
        return _tiff_of_16_bits(path, page, len(file.pages)) if page.bitspersample == 16 else None


def _tiff_of_16_bits(path: Path, page: Any, frames: int) -> _Raster:
    colours = {0: 1, 1: 1, 2: 3}.get(
        int(page.photometric)
    )  # white is zero, black is zero, RGB: TIFF 6.0, page 37
    if colours is None or page.axes not in ("YX", "YXS", "SYX"):
        raise PhotostyleError(
            f"{path} is a 16-bit TIFF of {page.photometric.name} pixels ({page.axes}); expected grey or RGB: "
            "export it as RGB"
        )
    samples = _tiff_samples(path, page)
    if page.photometric == 0:
        samples[..., 0] = 65535 - samples[..., 0]
    extra = page.extrasamples[0] if page.extrasamples else 0
    channels = colours + (
        extra in (1, 2)
    )  # 1: alpha that the colours are multiplied by, 2: alpha: TIFF 6.0, page 31
    if extra == 1:
        samples = _unmultiplied(samples[..., :channels])
    notes = () if samples.shape[-1] == channels else ("has channels beside its colours: they are ignored",)
    tag = page.tags.get(_ORIENTATION)
    upright = _upright(samples[..., :channels], int(tag.value) if tag else 1)
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
    return _Raster(upright, mode, page.iccprofile, frames, notes=notes)


def _tiff_samples(path: Path, page: Any) -> Array:
    """(H, W, C) uint16."""
    try:
        samples = page.asarray().astype(np.uint16)
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        raise PhotostyleError(
            f"{path} is a 16-bit TIFF with {page.compression.name} compression, which needs the imagecodecs "
            "package: install it (pip install imagecodecs), or save the file with ZIP compression or none"
        ) from None
    if page.axes == "SYX":
        samples = np.moveaxis(samples, 0, -1)
    return samples.reshape(page.imagelength, page.imagewidth, -1)  # type: ignore[no-any-return]


def _unmultiplied(samples: Array) -> Array:
    colour, alpha = samples[..., :-1].astype(np.float64), samples[..., -1:]
    colour = np.rint(np.minimum(colour * 65535 / np.maximum(alpha, 1), 65535)).astype(np.uint16)
    return np.concatenate([colour, alpha], axis=-1)


def _unit(samples: Array) -> Array:
    return np.divide(samples, np.iinfo(samples.dtype).max, dtype=np.float32)


def _in_srgb(raster: _Raster) -> tuple[Array, tuple[str, ...]]:
    """(H, W, 3) float32 in sRGB, and what was decided on the way."""
    colour, profile = raster.colour, raster.profile
    space = {1: b"GRAY", 3: b"RGB ", 4: b"CMYK"}[colour.shape[-1]]
    if profile is None:
        return _unprofiled(colour, "has no colour profile")
    if profile[16:20] == b"RGB " and space == b"GRAY":
        colour, space = np.repeat(colour, 3, axis=-1), b"RGB "
    if profile[16:20] != space:
        return _unprofiled(
            colour, "has a colour profile for other channels than its own, not used", said=True
        )
    try:
        return _profiled(colour, profile, space)
    except (ImageCms.PyCMSError, OSError, struct.error, IndexError, ValueError) as error:
        return _unprofiled(
            colour, f"has a colour profile that cannot be used ({_one_line(error)})", said=True
        )


def _unprofiled(colour: Array, why: str, said: bool = False) -> tuple[Array, tuple[str, ...]]:
    if colour.shape[-1] == 4:
        return _unit(_cmyk_to_rgb(colour)), (f"is CMYK and {why}: its colours are approximate",)
    rgb = np.broadcast_to(_unit(colour), (*colour.shape[:2], 3))
    return rgb, (f"{why}: it is taken as sRGB",) if said else ()


def _profiled(colour: Array, profile: bytes, space: bytes) -> tuple[Array, tuple[str, ...]]:
    if _is_srgb(profile, space):
        return np.broadcast_to(_unit(colour), (*colour.shape[:2], 3)), ()
    name = _one_line(ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(BytesIO(profile))))
    note = f'was converted to sRGB from its colour profile "{name}"'
    if colour.dtype == np.uint8:
        return _unit(_little_cms(colour, profile)), (note,)
    exact = _through_curves(colour, _icc_tags(profile), profile[20:24])
    if exact is not None:
        return exact, (note,)
    eight = np.rint(colour / 257).astype(np.uint8)
    remedy = (
        "a lookup table, which is applied with 8 bits: export as sRGB, Adobe RGB or Display P3 to keep 16"
    )
    return _unit(_little_cms(eight, profile)), (f"{note}, {remedy}",)


def _little_cms(colour: Array, profile: bytes) -> Array:
    """8-bit grey, RGB or CMYK (H, W, C) to 8-bit sRGB (H, W, 3)."""
    converted = ImageCms.profileToProfile(
        _as_image(colour),
        ImageCms.ImageCmsProfile(BytesIO(profile)),
        ImageCms.ImageCmsProfile(BytesIO(SRGB_PROFILE)),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    return np.array(converted)


def _as_image(colour: Array) -> Image.Image:
    if colour.shape[-1] == 4:
        height, width = colour.shape[:2]
        return Image.frombytes("CMYK", (width, height), np.ascontiguousarray(colour).tobytes())
    return Image.fromarray(np.ascontiguousarray(colour.squeeze(-1) if colour.shape[-1] == 1 else colour))


def _cmyk_to_rgb(colour: Array) -> Array:
    return np.array(_as_image(colour).convert("RGB"))


def _is_srgb(profile: bytes, space: bytes) -> bool:
    """Whether Little CMS moves no probe by more than one 8-bit level: what is sRGB under any name, files of
    ours too.

    The probes are every grey level, and for RGB every 32nd level of each channel (729 colours).
    """
    if space == b"CMYK":
        return False
    levels = np.minimum(np.arange(0, 257, 32), 255).astype(np.uint8)
    probes = np.arange(256, dtype=np.uint8)[:, None]
    if space == b"RGB ":
        cube = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(-1, 3)
        probes = np.concatenate([cube, np.repeat(probes, 3, axis=-1)])
    moved = _little_cms(probes[None], profile).astype(int) - probes[None]
    return bool(np.abs(moved).max() <= 1)


def _through_curves(colour: Array, tags: dict[bytes, bytes], connection: bytes) -> Array | None:
    """16-bit grey or RGB (H, W, C) to sRGB (H, W, 3), exactly: ICC.1:2022, Annex F.3 and the sRGB of IEC
    61966-2-1.

    None where the profile holds a table instead (A2B0, which comes first, or no curves) or connects through
    Lab.
    """
    channels = (b"k",) if colour.shape[-1] == 1 else (b"r", b"g", b"b")
    needed = {c + b"TRC" for c in channels} | (
        {c + b"XYZ" for c in channels} if len(channels) == 3 else set()
    )
    if connection != b"XYZ " or b"A2B0" in tags or not needed <= tags.keys():
        return None
    linear = np.stack([_tone_curve(tags[c + b"TRC"])[colour[..., i]] for i, c in enumerate(channels)], -1)
    if len(channels) == 3:
        to_srgb = np.linalg.solve(_primaries(_icc_tags(SRGB_PROFILE)), _primaries(tags))
        linear = linear @ to_srgb.T.astype(np.float32)
    return np.broadcast_to(_srgb_encoded(linear.clip(0, 1)), (*colour.shape[:2], 3))


def _srgb_encoded(linear: Array) -> Array:
    """IEC 61966-2-1: the toe below 0.0031308, the power 1/2.4 above."""
    return np.where(
        linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** np.float32(1 / 2.4) - 0.055
    ).astype(np.float32)


def _icc_tags(profile: bytes) -> dict[bytes, bytes]:
    """ICC.1:2022, 7.3: a count at byte 128, then signature, offset and size of each tag."""
    (count,) = struct.unpack_from(">I", profile, 128)
    entries = (struct.unpack_from(">4sII", profile, 132 + 12 * i) for i in range(count))
    return {signature: profile[offset : offset + size] for signature, offset, size in entries}


def _primaries(tags: dict[bytes, bytes]) -> Array:
    """(3, 3): the columns are the XYZ (D50) of red, green and blue; s15Fixed16 numbers: ICC.1:2022, 4.6."""
    columns = [np.frombuffer(tags[c + b"XYZ"], ">i4", 3, offset=8) / 65536 for c in (b"r", b"g", b"b")]
    return np.stack(columns, -1)


def _tone_curve(tag: bytes) -> Array:
    """(65536,) float32: the linear light of each 16-bit value: ICC.1:2022, curveType, parametricCurveType."""
    x = np.linspace(0, 1, 65536)
    if tag[:4] == b"para":
        return _parametric(x, tag).astype(np.float32)
    if tag[:4] != b"curv":
        raise ValueError(f"tone curve of type {tag[:4]!r}")
    (count,) = struct.unpack_from(">I", tag, 8)
    points = np.frombuffer(tag, ">u2", count, offset=12)
    if count == 0:
        return x.astype(np.float32)
    if count == 1:
        x = x ** (float(points[0]) / 256)  # u8Fixed8: one exponent
        return x.astype(np.float32)
    curve: Array = np.interp(x, np.linspace(0, 1, count), points / 65535)
    return curve.astype(np.float32)


def _parametric(x: Array, tag: bytes) -> Array:
    """(a·x + b)^g + e from d on, c·x + f below: ICC.1:2022, parametricCurveType, whose types 0–3 fix some."""
    (kind,) = struct.unpack_from(">H", tag, 8)
    p = [float(v) for v in np.frombuffer(tag, ">i4", (1, 3, 4, 5, 7)[kind], offset=12) / 65536]
    g, a, b = (*p, 1.0, 0.0)[:3] if kind == 0 else p[:3]
    c, d, e, f = {
        0: lambda: (0.0, 0.0, 0.0, 0.0),
        1: lambda: (0.0, -b / a, 0.0, 0.0),
        2: lambda: (0.0, -b / a, p[3], p[3]),
        3: lambda: (p[3], p[4], 0.0, 0.0),
        4: lambda: (p[3], p[4], p[5], p[6]),
    }[kind]()
    return np.where(x >= d, np.maximum(a * x + b, 0) ** g + e, c * x + f).clip(0, 1)


def check_output(path: Path, *, alpha: bool, depth: int) -> tuple[str, ...]:
    """Refuse an output that could not be written, before any work is done for it; returns notes.

    alpha, depth: whether the photo has transparency, and its bits a channel (8 or 16).
    Raises PhotostyleError for an unknown suffix, a missing or read-only folder, a folder in the file's place,
    and for JPEG where there is transparency.
    """
    suffix, folder = path.suffix.lower(), path.parent
    if suffix not in SUFFIXES:
        raise PhotostyleError(
            f'{path} ends in "{path.suffix}"; expected one of {" ".join(SUFFIXES)}: rename it'
        )
    if path.is_dir():
        raise PhotostyleError(f"{path} is a folder; expected a file to write: name a file inside it")
    if not folder.is_dir():
        raise PhotostyleError(
            f"{path} cannot be written: the folder {folder} does not exist: create it first"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PhotostyleError(f"{path} cannot be written: the folder {folder} is read-only: choose another")
    if alpha and suffix in (".jpg", ".jpeg"):
        raise PhotostyleError(
            f"{path} is a JPEG, which cannot hold the photo's alpha: use .png, .webp or .tif"
        )
    if depth == 16 and suffix not in (".tif", ".tiff"):
        return (f"the photo has 16 bits a channel, {path} is written with 8: use .tif to keep 16",)
    return ()


def write_image(path: Path, pixels: Tensor, *, alpha: Array | None = None, depth: int = 8) -> str:
    """Write a picture, tagged as sRGB; the same pixels give the same bytes. Returns the file's SHA-256.

    pixels: (3, H, W) in [0, 1], clipped, rounded half to even. alpha: (H, W) uint8 or uint16, written as it
    is at its own depth and scaled by 257 at the other. depth: 8 or 16; TIFF keeps 16, the other formats are 8
    bit as `check_output` has said. PNG, TIFF (ZIP) and WebP are lossless, JPEG is quality 95 without chroma
    subsampling. Atomic as `write_bytes_atomically`. Raises PhotostyleError for what the format cannot hold,
    ComputationError for pixels that are not numbers and for a failing disk.
    """
    suffix = path.suffix.lower()
    check_output(path, alpha=alpha is not None, depth=depth)
    if pixels.ndim != 3 or pixels.shape[0] != 3:
        raise ValueError(f"pixels are {tuple(pixels.shape)}; expected (3, H, W)")
    if not bool(torch.isfinite(pixels).all()):
        raise ComputationError(f"{path} is not written: the picture holds values that are not numbers")
    samples = _quantised(pixels, alpha, depth if suffix in (".tif", ".tiff") else 8)
    try:
        data = _encoded(samples, suffix)
    except (OSError, ValueError) as error:  # in the first place a side over the format's limit: 16383 in WebP
        raise PhotostyleError(f"{path} cannot be encoded ({_one_line(error)}): use .png or .tif") from error
    return write_bytes_atomically(path, data)


def _quantised(pixels: Tensor, alpha: Array | None, depth: int) -> Array:
    """(H, W, 3 or 4) uint8 or uint16; torch.round is half to even."""
    kind: type[np.unsignedinteger[Any]] = np.uint16 if depth == 16 else np.uint8
    levels = (pixels.detach().cpu().clamp(0, 1) * (2**depth - 1)).round().permute(1, 2, 0)
    colour = levels.numpy().astype(kind)
    if alpha is None:
        return np.ascontiguousarray(colour)
    if alpha.dtype != kind:
        alpha = np.rint(alpha / 257) if depth == 8 else alpha.astype(kind) * 257
    return np.dstack([colour, alpha.astype(kind)])


def _encoded(samples: Array, suffix: str) -> bytes:
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
        )
        return buffer.getvalue()
    jpeg: dict[str, Any] = {"format": "JPEG", "quality": 95, "subsampling": 0}  # 0: 4:4:4
    # "exact" keeps the colours under zero alpha.
    webp: dict[str, Any] = {"format": "WEBP", "lossless": True, "exact": True}
    png: dict[str, Any] = {
        "format": "PNG",
        "compress_level": 4,
    }  # of 6, the default: 1 % larger in half the time
    options = {".png": png, ".webp": webp}.get(suffix, jpeg)
    Image.fromarray(samples).save(buffer, icc_profile=SRGB_PROFILE, **options)
    return buffer.getvalue()


def write_bytes_atomically(path: Path, data: bytes) -> str:
    """Write a file whole or not at all: beside it first, flushed to disk, then renamed. Returns its SHA-256.

    Whatever fails, the old file survives and nothing is left beside it. A symbolic link stays one; its target
    is replaced. Raises ComputationError where the disk does not take it.
    """
    target = path.resolve()
    beside = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with beside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
    except OSError as error:
        raise ComputationError(
            f"{path} cannot be written ({error.strerror}): check space and permissions"
        ) from error
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
    return hashlib.sha256(data).hexdigest()
