"""Colour spaces that a file names without an ICC profile: in EXIF, in the chunks gAMA, cHRM and cICP of a PNG, in AVIF.

Each becomes the ICC profile that it stands for, and goes the way of all profiles.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from photostyle.errors import one_line
from photostyle.files.profiles import SRGB_PROFILE, Array

Said = tuple[bytes | None, tuple[str, ...]]  # a profile, and notes of what was decided

_D65 = (0.3127, 0.3290)  # x and y, as are all below
_SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))  # ITU-R BT.709 too
_ADOBE = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))  # Adobe RGB (1998), 4.3.1.1
_ADOBE_GAMMA = 563 / 256  # 4.3.1.2
_D50 = np.array([0.9642, 1.0, 0.8249])  # XYZ of ICC's connection space: ICC.1:2022, 7.2.16
# Cone responses of the Bradford adaptation: ICC.1:2022, Annex E.
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
# Of cICP (PNG third edition, 11.3.2.6), the numbers of ITU-T H.273, tables 2 and 3.
_PRIMARIES = {
    1: _SRGB,
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),  # BT.2020
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),  # Display P3
}
_CURVES: dict[int, tuple[float, ...]] = {  # as `_curve` takes them
    1: (1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081),
    4: (2.2,),
    5: (2.8,),
    8: (1.0,),
    13: (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045),
} | dict.fromkeys((6, 14, 15), (1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081))
# The gAMA of sRGB, 45455 of 100,000, and what programs round it to: PNG third edition, 11.3.2.2.
_SRGB_GAMMAS = (0.45, 0.46)

_EXIF, _INTEROPERABILITY = 0x8769, 0xA005  # the tags of the two directories: EXIF 2.32, 4.6.3
_COLOUR_SPACE, _INDEX, _SRGB_SPACE = 0xA001, 1, 1
_WHITE, _CHROMATICITIES, _GAMMA, _TRANSFER = 0x013E, 0x013F, 0xA500, 0x012D
# Points of a tone curve that is written: straight lines between them are off by less than a 16-bit level from a power.
_MOST_POINTS = 4096


def said_in_png(chunks: Mapping[bytes, bytes]) -> Said:
    """What the chunks before a PNG's pixels say, by PNG's own order: cICP before iCCP, sRGB before gAMA and cHRM.

    chunks: by type, the profile in iCCP unpacked.
    """
    cicp, iccp = chunks.get(b"cICP"), chunks.get(b"iCCP")
    if cicp is not None:
        primaries, curve, matrix, full = cicp
        profile, notes = said_by_points("cICP", primaries, curve)
        if matrix or full != 1:  # 11.3.2.6 wants RGB; of narrow range nobody reads it
            profile, notes = (
                None,
                ("has samples that are no RGB of full range (cICP): they are taken for that",),
            )
        if profile or iccp is None:
            return profile, notes
    if iccp is not None:
        return iccp, ()
    if b"sRGB" in chunks:
        return SRGB_PROFILE, ()
    gamma = int.from_bytes(chunks.get(b"gAMA", b""), "big")
    x = [value / 100_000 for value in struct.unpack(">8I", chunks.get(b"cHRM", bytes(32)))]
    return _of_gamma(gamma / 100_000, x if any(x) else [])


def said_in_info(info: Mapping[Any, Any]) -> Said:
    """The same of a PIL image in memory, whose `info` has the profile and what Pillow reads of a PNG's chunks."""
    if profile := info.get("icc_profile"):
        return profile, ()
    if "srgb" in info:
        return SRGB_PROFILE, ()
    try:
        return _of_gamma(float(info.get("gamma", 0)), [float(each) for each in info.get("chromaticity", ())])
    except (TypeError, ValueError):
        return None, ()


def said_by_points(where: str, primaries: int, curve: int) -> Said:
    """What the numbers of ITU-T H.273 stand for. where: they were found, for notes."""
    columns, formula = _PRIMARIES.get(primaries), _CURVES.get(curve)
    if columns and formula:
        return _profile(f"{where} {primaries}/{curve}", columns, _D65, [_curve(formula)]), ()
    return None, (f"has colours that are not converted ({where} {primaries}/{curve}): taken as sRGB",)


def _of_gamma(
    gamma: float, x: Sequence[float], where: str = "gAMA and cHRM", tables: Sequence[int] = ()
) -> Said:
    """gamma: the exponent that the samples were encoded with, 0 where it is not said. x: 8 chromaticities, or none.

    tables: a TransferFunction, which goes before gamma; or none.
    """
    pairs = list(zip(x[::2], x[1::2], strict=True)) if len(x) == 8 else []
    if not (gamma or pairs or tables):
        return None, ()
    white, primaries = (pairs[0], pairs[1:]) if pairs else (_D65, _SRGB)
    # White, red, green, blue: PNG third edition, 11.3.2.1.
    like_srgb = np.abs(np.array([white, *primaries]) - np.array([_D65, *_SRGB])).max() < 0.002
    if like_srgb and not tables and (not gamma or _SRGB_GAMMAS[0] <= gamma <= _SRGB_GAMMAS[1]):
        return None, ()
    try:
        curves = _sampled(tables) if tables else [_curve((1 / gamma,) if gamma else _CURVES[13])]
        return _profile(where, primaries, white, curves), ()
    except (ArithmeticError, ValueError, struct.error) as error:
        return None, (f"has {where} that mean nothing ({one_line(error)}): it is taken as sRGB",)


def said_in_exif(exif: Image.Exif) -> Said:
    """What EXIF says of the colour space: Adobe RGB by the Interoperability index R03 (DCF 2.0), or by ColorSpace 2.

    Where it says no more than that it is not sRGB, or nothing, WhitePoint, PrimaryChromaticities, TransferFunction and
    Gamma count, which a TIFF has too.
    """
    try:
        own = exif.get_ifd(_EXIF)
        space = own.get(_COLOUR_SPACE)
        # Pillow 11.0 raises for a directory that is not there.
        directory = exif.get_ifd(_INTEROPERABILITY) if _INTEROPERABILITY in own else {}
        index = str(directory.get(_INDEX, "")).strip("\0 ")
    except Exception:  # whatever a damaged directory raises: it says nothing then
        return None, ()
    profile, notes = said_by_numbers(space, index)
    if profile or space == _SRGB_SPACE:
        return profile, notes
    try:
        x = [float(each) for each in (*exif.get(_WHITE, ()), *exif.get(_CHROMATICITIES, ()))]
        gamma = float(own.get(_GAMMA, 0))
        more = _of_gamma(1 / gamma if gamma else 0, x, "EXIF", tuple(exif.get(_TRANSFER, ())))
    except (TypeError, ValueError, ArithmeticError):
        return None, notes
    return more if any(more) else (None, notes)


def said_by_numbers(space: object, index: str) -> Said:
    """The same from EXIF's ColorSpace and the Interoperability index."""
    if index == "R03" or space == 2:
        return _profile("Adobe RGB (1998), said in EXIF", _ADOBE, _D65, [_curve((_ADOBE_GAMMA,))]), ()
    if space not in (None, _SRGB_SPACE):  # 0xFFFF by the standard, others by cameras
        return None, ("says in EXIF that its colours are not sRGB, and not which: it is taken as sRGB",)
    return None, ()


def _profile(
    name: str,
    primaries: Sequence[tuple[float, float]],
    white: tuple[float, float],
    curves: Sequence[bytes],
) -> bytes:
    """An ICC profile of three primaries (x, y), a white and tone curves, three or one for all: ICC.1:2022, 8.3.

    Raises ValueError.
    """
    columns = _adapted(primaries, white)
    text = name.encode("ascii", "replace")
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(text) + 1) + text + bytes(1 + 4 + 4 + 2 + 1 + 67),
        b"wtpt": b"XYZ " + bytes(4) + _fixed(*_D50),
    }
    for k, (letter, column) in enumerate(zip((b"r", b"g", b"b"), columns.T, strict=True)):
        tags[letter + b"XYZ"] = b"XYZ " + bytes(4) + _fixed(*column)
        tags[letter + b"TRC"] = curves[k % len(curves)]
    table, data, start = b"", b"", 128 + 4 + 12 * len(tags)
    for signature, tag in tags.items():
        table += struct.pack(">4sII", signature, start + len(data), len(tag))
        data += tag + bytes(-len(tag) % 4)
    head = struct.pack(">I4sI4s4s4s", start + len(data), b"none", 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + _fixed(*_D50) + bytes(48)
    return head + struct.pack(">I", len(tags)) + table + data


def _adapted(primaries: Sequence[tuple[float, float]], white: tuple[float, float]) -> Array:
    """(3, 3): the columns are the XYZ of red, green and blue, which sum to the white, adapted to D50."""

    def xyz(x: float, y: float) -> Array:
        return np.array([x, y, 1 - x - y]) / y

    if min(y for _, y in (*primaries, white)) <= 0:
        raise ValueError("primaries without light")
    columns = np.stack([xyz(*each) for each in primaries], -1)
    columns = columns * np.linalg.solve(columns, xyz(*white))
    gains = (_BRADFORD @ _D50) / (_BRADFORD @ xyz(*white))
    adapted: Array = np.linalg.solve(_BRADFORD, gains[:, None] * (_BRADFORD @ columns))
    if not np.isfinite(adapted).all() or np.abs(adapted).max() > 4:
        raise ValueError("primaries that span no colours")
    return adapted


def _curve(numbers: Sequence[float]) -> bytes:
    """A parametricCurveType: one exponent (type 0), or g, a, b, c and d (type 3)."""
    return b"para" + bytes(4) + struct.pack(">HH", 0 if len(numbers) == 1 else 3, 0) + _fixed(*numbers)


def _sampled(tables: Sequence[int]) -> list[bytes]:
    """The curveTypes of a TransferFunction: the 16-bit light of each of 2^n samples, once or for three channels.

    TIFF 6.0, page 84. Raises ValueError.
    """
    rows = np.array(tables, np.float64).reshape(1 if len(tables) % 3 else 3, -1)
    if rows.shape[1] < 2 or rows.min() < 0 or rows.max() > 65535:
        raise ValueError("a transfer function that is none")
    count = min(rows.shape[1], _MOST_POINTS)
    at = np.linspace(0, rows.shape[1] - 1, count)
    points = [np.rint(np.interp(at, np.arange(rows.shape[1]), row)).astype(">u2") for row in rows]
    return [b"curv" + bytes(4) + struct.pack(">I", count) + each.tobytes() for each in points]


def _fixed(*numbers: float) -> bytes:
    return b"".join(struct.pack(">i", round(number * 65536)) for number in numbers)
