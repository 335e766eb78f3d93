"""Colour profiles (ICC.1:2022): from a file's own colours to sRGB, by Little CMS or by the profile's own formula."""

import struct
from functools import lru_cache
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from photostyle.errors import shortened

Array = npt.NDArray[Any]

# Of a picture that are converted together, so that the work space is a small part of what comes out.
ROWS = 256


def with_fixed_date(profile: bytes) -> bytes:
    """The profile with a fixed time in bytes 24–35 (ICC.1:2022, table 17), where Little CMS puts the current one."""
    return profile[:24] + struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + profile[36:]


SRGB_PROFILE = with_fixed_date(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())


def planar_srgb(colour: Array, profile: bytes | None) -> tuple[Array, tuple[str, ...]]:
    """`to_srgb` as planes: (H, W, 1, 3 or 4) -> (3, H, W) float32, contiguous, and notes.

    In strips of rows: 100 MP are 1.2 GB as they come out, and whole they took as much again on the way.
    """
    planes, notes = np.empty((3, *colour.shape[:2]), np.float32), tuple[str, ...]()
    for top in range(0, colour.shape[0], ROWS):
        rows = slice(top, top + ROWS)
        rgb, notes = to_srgb(colour[rows], profile)
        planes[:, rows] = rgb.transpose(2, 0, 1)
    return planes, notes


def to_srgb(colour: Array, profile: bytes | None) -> tuple[Array, tuple[str, ...]]:
    """Convert grey, RGB or CMYK (H, W, 1, 3 or 4), uint8 or uint16, from the colours of an ICC profile to sRGB.

    Returns (H, W, 3) float32 in [0, 1] and notes of what was decided. A profile that is missing, that is for other
    channels or that cannot be used is no error: a note says what was done instead.
    """
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
        with np.errstate(all="ignore"):  # of damaged curves; what is no number is found out below
            return _profiled(colour, profile, space)
    except (ImageCms.PyCMSError, OSError, struct.error, LookupError, ArithmeticError, ValueError) as error:
        return _unprofiled(
            colour, f"has a colour profile that cannot be used ({shortened(error)})", said=True
        )


def _unprofiled(colour: Array, why: str, said: bool = False) -> tuple[Array, tuple[str, ...]]:
    if colour.shape[-1] == 4:
        return unit(cmyk_to_rgb(colour)), (f"is CMYK and {why}: its colours are approximate",)
    rgb = np.broadcast_to(unit(colour), (*colour.shape[:2], 3))
    return rgb, (f"{why}: it is taken as sRGB",) if said else ()


def _profiled(colour: Array, profile: bytes, space: bytes) -> tuple[Array, tuple[str, ...]]:
    if _is_srgb(profile, space):
        return np.broadcast_to(unit(colour), (*colour.shape[:2], 3)), ()
    name = shortened(ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(BytesIO(profile))))
    note = f'was converted to sRGB from its colour profile "{name}"'
    if colour.dtype == np.uint8:
        return unit(_little_cms(colour, profile)), (note,)
    exact = _through_curves(colour, _icc_tags(profile), profile[20:24])
    if exact is not None:
        return exact, (note,)
    eight = np.rint(colour / 257).astype(np.uint8)
    remedy = (
        "a lookup table, which is applied with 8 bits: export as sRGB, Adobe RGB or Display P3 to keep 16"
    )
    return unit(_little_cms(eight, profile)), (f"{note}, {remedy}",)


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


def cmyk_to_rgb(colour: Array) -> Array:
    """8-bit CMYK (H, W, 4) to 8-bit RGB (H, W, 3) without a profile: ink on ideal paper, so approximate."""
    return np.array(_as_image(colour).convert("RGB"))


@lru_cache(maxsize=4)
def _is_srgb(profile: bytes, space: bytes) -> bool:
    """Whether the profile is sRGB under any name: Little CMS moves no probe by more than one 8-bit level.

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
    """Convert 16-bit grey or RGB (H, W, C) to sRGB (H, W, 3) exactly: ICC.1:2022, Annex F.3, and IEC 61966-2-1.

    None where the profile holds a table instead (A2B0, which goes before curves, or no curves at all) or connects
    through Lab.
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
    if not np.isfinite(linear).all():
        raise ValueError("its curves or primaries are not numbers")
    return np.broadcast_to(_srgb_encoded(linear.clip(0, 1)), (*colour.shape[:2], 3))


def _srgb_encoded(linear: Array) -> Array:
    """IEC 61966-2-1: a line up to 0.0031308, the power 1/2.4 above."""
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
    """(a·x + b)^g + e from d on, c·x + f below: ICC.1:2022, parametricCurveType; types 0–3 leave out some."""
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


def unit(samples: Array) -> Array:
    """uint8 or uint16 to float32 in [0, 1], of any shape."""
    return np.divide(samples, np.iinfo(samples.dtype).max, dtype=np.float32)
