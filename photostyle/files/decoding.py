"""From the bytes of a PNG, JPEG, TIFF, WebP or AVIF to its samples: 8 or 16 bit, upright, in the file's own colours."""

import hashlib
import logging
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image, UnidentifiedImageError, features

from photostyle.errors import PhotostyleError, is_out_of_memory, one_line, shortened
from photostyle.files.avif import bits_in_avif, said_in_avif
from photostyle.files.colour_spaces import Said, said_in_exif, said_in_info, said_in_png
from photostyle.files.exif import Resolution, exif_of, exif_of_tiff, orientation, resolution
from photostyle.files.png import MAGIC, taken_apart
from photostyle.files.profiles import Array
from photostyle.files.reading import file_bytes

# Twice Image.MAX_IMAGE_PIXELS, where Pillow stops too. A number of our own, because others may unset that global.
MAX_PIXELS = 178_956_970
# Pillow opens phones' MPO as JPEG; AVIF it reads from 11.3 on.
_AVIF = ("AVIF",) if "avif" in features.modules and features.check("avif") else ()
_READABLE = ("PNG", "JPEG", "TIFF", "WEBP", *_AVIF)
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # TIFF 6.0 and BigTIFF, either byte order
# What a byte of a file can stand for: a JPEG's block of 64 pixels takes a bit or more (ITU-T T.81, F.1.2), and deflate
# packs 1032 bytes into one (RFC 1951: 258 of them in two bits). A picture of FREE_PIXELS is small enough in any case.
JPEG_PIXELS, PACKED_PIXELS, FREE_PIXELS = 512, 1032, 1 << 25


@dataclass(frozen=True)
class Raster:
    """A decoded file.

    samples: (H, W, C) uint8 or uint16, upright. mode: L, LA, RGB, RGBA, CMYK or P (palette indices).
    profile: the ICC profile's bytes, if there is one. frames: how many pictures the file holds.
    sha256: of the file's bytes. notes: what was decided for the user, one sentence each. palette: (256, 3 or 4) uint8,
    the colours of the indices, with their alpha where they have any. resolution: dots per inch, across and down the
    upright picture; None where the file does not say. lossy: whether the format has changed the colours.
    """

    samples: Array
    mode: str
    profile: bytes | None
    frames: int
    sha256: str = ""
    notes: tuple[str, ...] = ()
    palette: Array | None = None
    resolution: Resolution | None = None
    lossy: bool = False

    @property
    def depth(self) -> int:
        """Bits per channel: 8 or 16."""
        return 8 * self.samples.dtype.itemsize

    @property
    def colour(self) -> Array:
        """The channels without alpha: (H, W, 1, 3 or 4)."""
        return self.samples[..., :-1] if self.mode in ("LA", "RGBA") else self.samples

    @property
    def alpha(self) -> Array | None:
        """(H, W), None where the file has none."""
        return np.ascontiguousarray(self.samples[..., -1]) if self.mode in ("LA", "RGBA") else None


def decode(path: Path, keep_palette: bool = False) -> Raster:
    """Read a file's bytes once, hash and decode them. All pixels come in through here.

    A failure becomes an error of one line, and a decoder's warning becomes a note. keep_palette: return the indices of
    a palette instead of its colours. Raises PhotostyleError for a file that is missing,
    unreadable, damaged, no picture, floating-point or over MAX_PIXELS.
    """
    data = file_bytes(path)
    if not data:
        raise PhotostyleError(f"{path} is empty (0 bytes); expected a picture: export or copy it again")
    with warnings.catch_warnings(record=True) as caught, one_line_errors(path), _heard() as heard:
        warnings.simplefilter("always")
        tiff, png = data[:4] in _TIFF_MAGIC, data.startswith(MAGIC)
        decoder = _decode_tiff if tiff else _decode_png if png else _decode_with_pillow
        raster = decoder(path, data, keep_palette)
    said = [w for w in caught if w.category not in (Image.DecompressionBombWarning, DeprecationWarning)]
    messages = [*(shortened(w.message) for w in said), *map(shortened, heard)]
    notes = tuple(f"may be damaged ({text})" for text in dict.fromkeys(messages))
    return replace(raster, sha256=hashlib.sha256(data).hexdigest(), notes=(*raster.notes, *notes))


@contextmanager
def one_line_errors(path: Path) -> Iterator[None]:
    """Whatever a decoder raises in the block becomes a PhotostyleError; memory that ends stays what it is."""
    try:
        yield
    except (PhotostyleError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise PhotostyleError(
            f"{path} is not a readable picture; expected PNG, JPEG, TIFF, WebP or AVIF: export it as one of these"
        ) from None
    except Image.DecompressionBombError:
        raise _too_large(path) from None
    except (
        Exception
    ) as error:  # on damaged bytes decoders raise whatever comes: struct, zlib, Index, Runtime …
        if is_out_of_memory(error):
            raise
        raise PhotostyleError(
            f"{path} is damaged or cut short ({one_line(error)}): export or copy it again"
        ) from None


def _too_large(path: Path) -> PhotostyleError:
    return PhotostyleError(
        f"{path} has more than {MAX_PIXELS:,} pixels, the most that is read: scale it down"
    )


@contextmanager
def _heard() -> Iterator[list[str]]:
    """What decoders log in the block, which would else reach standard error, line after line."""
    messages: list[str] = []
    loggers = [logging.getLogger(name) for name in ("tifffile", "PIL.TiffImagePlugin")]

    def listen(record: logging.LogRecord) -> bool:
        messages.append(record.getMessage())
        return False

    for logger in loggers:
        logger.addFilter(listen)
    try:
        yield messages
    finally:
        for logger in loggers:
            logger.removeFilter(listen)


def _check_size(
    path: Path, width: int, height: int, data: bytes, *, jpeg: bool = False, bits: int = 8
) -> None:
    """Refuse what is too large, and what claims more pixels than its bytes can hold, before memory is taken for it.

    bits: of a pixel.
    """
    pixels = width * height
    if pixels > MAX_PIXELS:
        raise _too_large(path)
    packed = PACKED_PIXELS * len(data)
    if bits < 8:  # several pixels in a byte: as many as masks of large cameras have
        packed = max(packed, min(packed * 8 // bits, 2 * FREE_PIXELS))
    if pixels > (JPEG_PIXELS * len(data) if jpeg else max(FREE_PIXELS, packed)):
        raise PhotostyleError(
            f"{path} claims {width}x{height} pixels in {len(data):,} bytes, too few for a picture of that size: "
            "export or copy it again"
        )


def _decode_with_pillow(
    path: Path, data: bytes, keep_palette: bool, page: int = 0, pages: int = 0, bits: int = 8
) -> Raster:
    """page, pages, bits: of a TIFF, which to read, how many there are, and its bits a pixel; 0: as the file says."""
    image = Image.open(BytesIO(data), formats=_READABLE)
    if page:
        image.info.clear()  # the profile and the resolution of the first page stay there else
        image.seek(page)
    _check_size(path, image.width, image.height, data, jpeg=image.format in ("JPEG", "MPO"), bits=bits)
    # Behind the photo, an MPO holds its preview or a depth map, which nobody would call a second picture.
    frames = 1 if image.format == "MPO" else pages or getattr(image, "n_frames", 1)
    said: Said = None, ()
    notes: tuple[str, ...] = ()
    if image.format == "AVIF":
        said = said_in_avif(data)
        notes = bits_in_avif(data)
    elif _has_parts_of_a_profile(image):
        notes = ("has a colour profile of which parts are missing: it is not used",)
    raster = raster_of(image, path, keep_palette, said)
    return replace(raster, frames=frames, notes=(*raster.notes, *notes), lossy=_is_lossy(image, data))


def _is_lossy(image: Image.Image, data: bytes) -> bool:
    """Whether it is a JPEG, by itself or in a TIFF, an AVIF, or a WebP with a lossy frame (RFC 9649, 2.5)."""
    if image.format == "WEBP":
        return any(kind == b"VP8 " for kind in _chunks_of_webp(data))
    return image.format in ("JPEG", "MPO", "AVIF") or image.info.get("compression") in ("jpeg", "webp")


def _chunks_of_webp(data: bytes) -> Iterator[bytes]:
    """The types of the chunks in a WebP, frames of an animation left out."""
    at = 12
    while at + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, at)
        yield kind
        at += 8 + size + size % 2


def _has_parts_of_a_profile(image: Image.Image) -> bool:
    """Whether a JPEG holds an ICC profile that Pillow passes over because a part of it is missing: ICC.1:2022, B.4."""
    parts: list[tuple[str, bytes]] = getattr(image, "applist", [])
    found = any(kind == "APP2" and body.startswith(b"ICC_PROFILE\0") for kind, body in parts)
    return found and not image.info.get("icc_profile")


def _decode_png(path: Path, data: bytes, keep_palette: bool) -> Raster:
    png = taken_apart(data)
    image = Image.open(BytesIO(png.pixels), formats=("PNG",))
    _check_size(path, image.width, image.height, png.pixels, bits=png.bits_per_pixel)
    image.info["dpi"] = png.resolution
    said = said_in_png(png.said)
    if png.bits == 16:
        exif, notes = exif_of(image)
        raster = _upright_raster(*_png_of_16_bits(png.pixels), exif, said, notes, png.resolution)
    else:
        if png.is_grey and png.transparent:
            # Pillow spreads grey of fewer bits over 0 to 255, but not the grey that is transparent.
            image.info["transparency"] = int.from_bytes(png.transparent) * 255 // (2**png.bits - 1)
        raster = raster_of(image, path, keep_palette, said)
    damage = tuple(f"has a damaged {kind} chunk, which is not used" for kind in png.damaged)
    return replace(raster, frames=png.frames, notes=(*raster.notes, *damage))


def raster_of(
    image: Image.Image, name: object, keep_palette: bool = False, said: Said = (None, ())
) -> Raster:
    """A PIL image of up to 8 bits, or 16 of grey, upright. said: of its colours, by what Pillow does not read.

    name: of the picture, for messages. Raises PhotostyleError for modes that are no picture's.
    """
    lies = orientation(getattr(image, "tag_v2", {})) >= 5
    image.load()  # Pillow turns a TIFF here, and takes the orientation out of its EXIF
    exif, notes = exif_of(image)
    samples, mode, more = _plain_samples(name, image, keep_palette)
    said = said if any(said) else said_in_info(image.info)
    dots = resolution(image.info.get("dpi"), exif)
    dots = dots[::-1] if dots and lies else dots
    raster = _upright_raster(samples, mode, exif, said, (*notes, *more), dots)
    return replace(raster, palette=_palette_of(image) if mode == "P" else None)


def _upright_raster(
    samples: Array, mode: str, exif: Image.Exif, said: Said, notes: tuple[str, ...], dots: Resolution | None
) -> Raster:
    """One frame as its EXIF has it. said: of its colours, which goes before EXIF. dots: its resolution as it lies."""
    turn = orientation(exif)
    profile, more = said if any(said) else said_in_exif(exif)
    dots = dots[::-1] if dots and turn >= 5 else dots
    return Raster(_upright(samples, turn), mode, profile, 1, notes=(*more, *notes), resolution=dots)


def _palette_of(image: Image.Image) -> Array:
    """(256, 3 or 4) uint8: the colours of a palette's indices, black where the file gives none."""
    strip = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    strip.putpalette((image.getpalette("RGB") or [])[: 3 * 256] or [0, 0, 0])
    if "transparency" in image.info:
        strip.info["transparency"] = image.info["transparency"]
    mode = "RGBA" if image.has_transparency_data else "RGB"
    colours: Array = np.array(strip.convert(mode))[0]
    return colours


def _plain_samples(
    name: object, image: Image.Image, keep_palette: bool
) -> tuple[Array, str, tuple[str, ...]]:
    notes = ("has a fourth channel of no stated meaning: it is ignored",) if image.mode == "RGBX" else ()
    if image.mode == "P" and keep_palette:
        return np.array(image)[..., None], "P", notes
    if image.mode in ("I;16", "I;16L", "I;16B"):
        return np.array(image).astype(np.uint16)[..., None], "L", notes
    grey = image.mode in ("1", "L", "LA", "La")
    if not grey and image.mode not in ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "YCbCr", "CMYK"):
        raise PhotostyleError(
            f"{name} has pixels of type {image.mode}; expected grey, RGB or CMYK: save it as RGB"
        )
    wanted = ("L" if grey else "RGB") + ("A" if image.has_transparency_data else "")
    if image.mode not in ("CMYK", wanted):
        image = image.convert(wanted)
    return np.array(image).reshape(image.height, image.width, -1), image.mode, notes


def _png_of_16_bits(data: bytes) -> tuple[Array, str]:
    """All 16 bits of a PNG. Pillow alone keeps them for grey only and silently drops the lower 8 of the rest.

    RGB and RGBA are read twice, for the high and for the low bytes. Grey with alpha has four bytes per pixel, so the
    same stream is read under the header of an 8-bit RGBA picture, which has as many.
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
        # PNG is big-endian. "16L" takes the first byte for the low one, so it keeps the byte that "16B" drops.
        image.tile = [tile._replace(args=str(tile.args).replace("16B", "16L")) for tile in image.tile]
    return np.array(image).reshape(image.height, image.width, -1)


def _upright(samples: Array, orientation: int) -> Array:
    """Undo the camera's rotation: EXIF 2.32, tag 0x0112, whose 8 values are the symmetries of the rectangle.

    Pillow's own way writes all of the EXIF again, and fails where that cannot be written.
    """
    if orientation >= 5:
        samples = samples.swapaxes(0, 1)
    rows = slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1)
    columns = slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1)
    return np.ascontiguousarray(samples[rows, columns])


def _decode_tiff(path: Path, data: bytes, keep_palette: bool) -> Raster:
    """The first page that is no thumbnail. One of up to 8 bits reads Pillow, in every compression.

    Bits of NewSubfileType: 1 a reduced copy of another page, 4 a mask of one: TIFF 6.0, page 36.
    """
    with tifffile.TiffFile(BytesIO(data)) as file:
        pages: list[Any] = list(file.pages)
        kept = [number for number, each in enumerate(pages) if not int(each.subfiletype) & 5]
        kept = kept or list(range(len(pages)))
        page = pages[kept[0]]
        if int(page.subfiletype) & 1 and page.subifds:
            raise PhotostyleError(
                f"{path} holds a thumbnail and, in a directory of its own, the picture, as raw files do: "
                "export it as JPEG, PNG or a plain TIFF"
            )
        bits = int(page.bitspersample) * int(page.samplesperpixel)
        _check_size(path, page.imagewidth, page.imagelength, data, bits=bits)
        if page.sampleformat != 1 or page.bitspersample not in (1, 2, 4, 8, 16):
            kind = {2: "signed integer", 3: "floating-point"}.get(page.sampleformat, "integer")
            raise PhotostyleError(
                f"{path} is a {page.bitspersample}-bit {kind} TIFF; expected 8 or 16 bits, unsigned: "
                "export it as a 16-bit integer TIFF"
            )
        if page.bitspersample == 16:
            exif, notes = exif_of_tiff(data, file, page)
            raster = _tiff_of_16_bits(path, page, exif)
            return replace(raster, frames=len(kept), notes=(*raster.notes, *notes))
    return _decode_with_pillow(path, data, keep_palette, kept[0], len(kept), bits)


def _tiff_of_16_bits(path: Path, page: Any, exif: Image.Exif) -> Raster:
    # White is zero, black is zero, RGB: TIFF 6.0, page 37.
    colours = {0: 1, 1: 1, 2: 3}.get(int(page.photometric))
    if colours is None or page.axes not in ("YX", "YXS", "SYX"):
        raise PhotostyleError(
            f"{path} is a 16-bit TIFF of {page.photometric.name} pixels ({page.axes}); expected grey or RGB: "
            "export it as RGB"
        )
    samples = _tiff_samples(path, page)
    if samples.shape[-1] < colours:
        raise PhotostyleError(
            f"{path} is a TIFF of {page.photometric.name} pixels with {samples.shape[-1]} channels; "
            f"expected {colours}: export it again"
        )
    if page.photometric == 0:
        samples[..., 0] = 65535 - samples[..., 0]
    extra = page.extrasamples[0] if page.extrasamples else 0
    # 1: alpha that the colours are multiplied by; 2: alpha that they are not: TIFF 6.0, page 31.
    channels = colours + (extra in (1, 2) and samples.shape[-1] > colours)
    if extra == 1 and channels > colours:
        samples = _unmultiplied(samples[..., :channels])
    notes = () if samples.shape[-1] == channels else ("has channels beside its colours: they are ignored",)
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
    said = page.iccprofile, ()
    return _upright_raster(samples[..., :channels], mode, exif, said, notes, resolution(None, exif))


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
