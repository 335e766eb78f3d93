"""The photo's own light under another picture's colours: CIELAB, and the way back into sRGB's gamut.

L* is a function of the luminance Y alone, so keeping it fixes Y, and grey of that Y is always in the gamut.
"""

import numpy as np
import torch
from torch import Tensor

from photostyle.imaging.filters import STRIP

JND = 2.3  # ΔE*ab just noticed: Mahy, Van Eycken & Oosterlinck, Color Research & Application 19(2), 1994
# Linear RGB to XYZ for sRGB's primaries and D65, with the digits of skimage (whose import takes a fifth of a second).
XYZ_FROM_RGB = np.array(
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
)
RGB_FROM_XYZ = np.linalg.inv(XYZ_FROM_RGB)
# And its rounding of CIE 15:2004 in `lab`, with which scores were first recorded: the white point of D65 for 2 degrees,
# where the cube root goes on as a line, its slope and its start.
LAB_WHITE = (0.95047, 1.0, 1.08883)
LAB_LINE_END, LAB_LINE_SLOPE, LAB_LINE_START = 0.008856, 7.787, 16 / 116
LINE_END = (6 / 29) ** 3  # CIE 15:2004, 8.2.1: below it the cube root goes on as a line
# Halvings of the interval of the chroma. The greatest CIELAB chroma in sRGB is 134 (blue): 0.002 of it is left open.
HALVINGS = 16
# Of float32 on its way to CIELAB and back: at most 0.002 in L*, where 8 bits have steps of 0.3.
ROUNDING = 2e-6


def keep_lightness(photo: Tensor, picture: Tensor) -> Tensor:
    """The photo's L* with the picture's a* and b*. (3, H, W) twice, sRGB in [0, 1] -> the same.

    A colour that sRGB does not have at that lightness keeps L* and hue and loses as much chroma as it must: gamut
    mapping by chroma reduction (CSS Color Module Level 4, section 13.2, with CIELAB for OKLCh and no clipping). The
    chroma is found by bisection along the ray from grey. Grey is in the gamut, so L* is kept in every pixel. The hue
    is CIELAB's, whose lines bend in the blue: the blue of a night in the white sky of a day becomes lavender (Hung &
    Berns 1995).
    """
    result = torch.empty_like(photo)
    for top in range(0, photo.shape[1], STRIP):
        rows = slice(top, top + STRIP)
        result[:, rows] = _keep(photo[:, rows], picture[:, rows])
    return result


def _keep(photo: Tensor, picture: Tensor) -> Tensor:
    luminance = torch.einsum("c,chw->hw", _matrix(XYZ_FROM_RGB, photo)[1], linear_light(photo))
    x, y, z = _root(_relative_xyz(linear_light(picture)))
    # a* / 500 and -b* / 200 from grey outwards.
    return _shown(torch.stack((luminance, _root(luminance), x - y, z - y)))


def _shown(rays: Tensor) -> Tensor:
    """sRGB of as much of each ray's chroma as there is. (4, ...) -> (3, ...)."""
    mixed = _mix(rays, torch.ones_like(rays[0]))
    outside = ~_in_gamut(mixed)
    mixed[:, outside] = _mix(rays[:, outside], _greatest_share(rays[:, outside]))
    return encode_light(mixed.clamp(0, 1))


def _mix(rays: Tensor, share: Tensor) -> Tensor:
    """Linear RGB at a share of the chroma. rays (4, ...), share (...) -> (3, ...), outside [0, 1] where sRGB ends."""
    luminance, light, red, blue = rays
    x, z = _cube(light + share * red), _cube(light + share * blue)
    white = _matrix(XYZ_FROM_RGB, luminance).sum(1)
    matrix = _matrix(RGB_FROM_XYZ, luminance) * white
    return torch.einsum("ck,k...->c...", matrix, torch.stack((x, luminance / white[1], z)))


def _greatest_share(rays: Tensor) -> Tensor:
    """How much of the chroma of each ray sRGB has at its lightness and hue, 0 to 1. (4, n) -> (n,)."""
    low, high = torch.zeros_like(rays[0]), torch.ones_like(rays[0])
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        inside = _in_gamut(_mix(rays, middle))
        low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
    return low


def _in_gamut(linear: Tensor) -> Tensor:
    return ((linear >= -ROUNDING) & (linear <= 1 + ROUNDING)).all(0)


def lightness(picture: Tensor) -> Tensor:
    """CIELAB L* in [0, 100] of (3, ...) sRGB in [0, 1] -> (...)."""
    luminance = torch.einsum("c,c...->...", _matrix(XYZ_FROM_RGB, picture)[1], linear_light(picture))
    return 116 * _root(luminance) - 16


def linear_light(encoded: Tensor) -> Tensor:
    """sRGB values in [0, 1] to light in [0, 1]: IEC 61966-2-1, 5.2."""
    return torch.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def encode_light(linear: Tensor) -> Tensor:
    """The inverse of `linear_light`: IEC 61966-2-1, 5.3."""
    return torch.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def lab(image: Tensor) -> Tensor:
    """CIELAB under D65, 2 degree observer, as `skimage.color.rgb2lab` has it. (3, ...) sRGB in [0, 1] -> float64."""
    light = linear_light(image.double())
    white = _matrix(LAB_WHITE, light)[:, None]
    relative = torch.einsum("ck,k...->c...", _matrix(XYZ_FROM_RGB, light) / white, light)
    line = LAB_LINE_SLOPE * relative + LAB_LINE_START
    x, y, z = torch.where(relative > LAB_LINE_END, relative.clamp(min=LAB_LINE_END) ** (1 / 3), line)
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)))


def to_lab(image: Tensor) -> Tensor:
    """CIELAB as `from_lab` undoes it. (3, ...) sRGB in [0, 1] -> float64.

    Differs from `lab` in the fifth digit: here the matrix's own white is white, and what sRGB can show stays that.
    """
    x, y, z = _root(_relative_xyz(linear_light(image.double())))
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)))


def from_lab(colour: Tensor) -> Tensor:
    """sRGB in [0, 1] of a colour in CIELAB, with less chroma where sRGB has no such colour. (3, ...) -> (3, ...)."""
    lightness, a, b = colour
    root = (lightness + 16) / 116
    return _shown(torch.stack((_cube(root), root, a / 500, -b / 200)))


def _relative_xyz(linear: Tensor) -> Tensor:
    """XYZ relative to white (1, 1, 1), so that grey has no chroma to the last digit."""
    matrix = _matrix(XYZ_FROM_RGB, linear)
    return torch.einsum("ck,k...->c...", matrix / matrix.sum(1, keepdim=True), linear)


def _root(relative: Tensor) -> Tensor:
    """f of CIE 15:2004, 8.2.1: L* = 116 f(Y) - 16, a* = 500 (f(X) - f(Y)), b* = 200 (f(Y) - f(Z))."""
    line = relative * (29 / 6) ** 2 / 3 + 4 / 29
    return torch.where(relative > LINE_END, relative.clamp(min=LINE_END) ** (1 / 3), line)


def _cube(root: Tensor) -> Tensor:
    return torch.where(root > 6 / 29, root**3, (root - 4 / 29) * 3 * (6 / 29) ** 2)


def _matrix(values: object, like: Tensor) -> Tensor:
    return torch.as_tensor(values, dtype=like.dtype, device=like.device)
