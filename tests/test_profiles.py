"""Colour profiles: each against its printed formula or Little CMS, through whole files."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms
from samples import (
    ADOBE_GAMMA,
    ADOBE_RGB,
    HEIGHT,
    WIDTH,
    chunk,
    fixed,
    gamma_curve,
    noise,
    png16,
    profile,
    rgb_profile,
    values,
)

from photostyle.files.images import read_image
from photostyle.files.profiles import ROWS, SRGB_PROFILE, planar_srgb, to_srgb

# As ADOBE_RGB: the colorants of Apple's profile.
DISPLAY_P3 = np.array(
    [[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]]
)
# B. Lindbloom's sRGB to XYZ (D50) matrix: independent of the profile that Little CMS makes.
SRGB = np.array(
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)
# The two sRGB matrices differ by 1e-4, their inverses by three times that, and the toe's slope is 12.92.
MATRIX_ERROR = 4e-3


def sampled_curve(gamma: float) -> bytes:
    points = np.rint(np.linspace(0, 1, 1024) ** gamma * 65535).astype(">u2")
    return b"curv\0\0\0\0" + struct.pack(">I", len(points)) + points.tobytes()


def parametric_curve(kind: int, *numbers: float) -> bytes:
    return b"para\0\0\0\0" + struct.pack(">HH", kind, 0) + fixed(*numbers)


def encoded(linear: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1."""
    linear = linear.clip(0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def analytic(rgb: np.ndarray, primaries: np.ndarray, gamma: float) -> np.ndarray:
    return encoded(rgb**gamma @ (np.linalg.inv(SRGB) @ primaries).T)


def save(path: Path, samples: np.ndarray, icc: bytes) -> Path:
    if samples.dtype == np.uint8:
        Image.fromarray(samples.squeeze()).save(path, icc_profile=icc)
    elif path.suffix == ".tif":
        photometric = "rgb" if samples.shape[-1] == 3 else "minisblack"
        tifffile.imwrite(path, samples.squeeze(), photometric=photometric, iccprofile=icc)
    else:
        path.write_bytes(png16(samples, chunk(b"iCCP", b"icc\0\0" + zlib.compress(icc))))
    return path


def test_eight_bits_in_adobe_rgb_become_srgb(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", noise(3), rgb_profile(ADOBE_RGB, gamma_curve(ADOBE_GAMMA)))
    expected = analytic(noise(3) / 255, ADOBE_RGB, ADOBE_GAMMA)
    # Little CMS computes a linear value to 14 bits, half a level at the toe's slope, and rounds the result to 8.
    np.testing.assert_allclose(values(path), expected, atol=2 / 255)
    assert np.abs(noise(3) / 255 - expected).max() > 0.1
    assert read_image(path).notes == (f'{path} was converted to sRGB from its colour profile "test"',)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_in_adobe_rgb_become_srgb_exactly(tmp_path: Path, suffix: str) -> None:
    samples = noise(3, np.uint16)
    path = save(tmp_path / f"a.{suffix}", samples, rgb_profile(ADOBE_RGB, gamma_curve(ADOBE_GAMMA)))
    expected = analytic(samples / 65535, ADOBE_RGB, ADOBE_GAMMA)
    np.testing.assert_allclose(values(path), expected, atol=MATRIX_ERROR)


def test_sixteen_bits_differ_where_eight_would_not(tmp_path: Path) -> None:
    samples = np.full((HEIGHT, WIDTH, 3), 30000, np.uint16)
    samples[:, :, 0] += np.arange(WIDTH, dtype=np.uint16)
    path = save(tmp_path / "a.tif", samples, rgb_profile(DISPLAY_P3, gamma_curve(2.2)))
    assert (np.diff(values(path)[0, :, 0]) > 0).all()


CURVES = {
    "identity": b"curv\0\0\0\0" + struct.pack(">I", 0),
    "sampled": sampled_curve(1.8),
    "para0": parametric_curve(0, 1.8),
    "para1": parametric_curve(1, 2.4, 1.4, -0.4),
    "para2": parametric_curve(2, 2.4, 1.3, -0.4, 0.1),
    "para3": parametric_curve(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045),
    "para4": parametric_curve(4, 2.2, 0.9, 0.05, 0.3, 0.1, 0.02, 0.01),
}


@pytest.mark.parametrize("curve", CURVES)
def test_every_tone_curve_gives_what_little_cms_gives(tmp_path: Path, curve: str) -> None:
    icc = rgb_profile(DISPLAY_P3, CURVES[curve])
    levels = noise(3) // 2 + 64  # inside sRGB for most colours; clipping is tested with Adobe RGB
    sixteen = save(tmp_path / "a.tif", levels.astype(np.uint16) * 257, icc)
    eight = ImageCms.profileToProfile(
        Image.fromarray(levels),
        ImageCms.ImageCmsProfile(io.BytesIO(icc)),
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,  # the default compensates black points
    )
    # The oracle rounds to 8 bits and computes with 14, which the toe amplifies for colours at sRGB's border.
    error = np.abs(values(sixteen) - np.asarray(eight) / 255)
    assert np.quantile(error, 0.99) < 1 / 255 and error.max() < 4 / 255


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_grey_profile_is_applied(tmp_path: Path, dtype: type) -> None:
    samples = noise(1, dtype)
    path = save(tmp_path / "a.png", samples, profile({b"kTRC": gamma_curve(1.75)}, b"GRAY"))
    top = np.iinfo(dtype).max
    expected = encoded((samples / top) ** 1.75)
    # 16 bits: float32 tables. 8 bits: Little CMS rounds on the way, and the toe's slope is 12.92: 1.7 levels.
    tolerance = 4 / 255 if dtype == np.uint8 else 2e-5
    np.testing.assert_allclose(values(path), np.repeat(expected, 3, -1), atol=tolerance)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_an_rgb_profile_in_a_grey_file_is_applied_to_grey(tmp_path: Path, dtype: type) -> None:
    samples = noise(1, dtype)
    path = save(tmp_path / "a.png", samples, rgb_profile(ADOBE_RGB, gamma_curve(ADOBE_GAMMA)))
    expected = encoded((samples / np.iinfo(dtype).max) ** ADOBE_GAMMA)
    np.testing.assert_allclose(values(path), np.repeat(expected, 3, -1), atol=1.5 / 255)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_an_srgb_profile_leaves_the_pixels_as_they_are(tmp_path: Path, dtype: type) -> None:
    samples = noise(3, dtype)
    path = save(tmp_path / "a.png", samples, SRGB_PROFILE)
    np.testing.assert_array_equal(values(path), np.float32(samples / np.iinfo(dtype).max))
    assert read_image(path).notes == ()


def test_a_profile_within_a_level_of_srgb_is_srgb(tmp_path: Path) -> None:
    x = np.linspace(0, 1, 1024)
    linear = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    points = np.rint(linear * 0.994 * 65535).astype(">u2")  # 0.6 % darker: 0.6 levels (÷ 2.4) in white
    icc = rgb_profile(SRGB, b"curv\0\0\0\0" + struct.pack(">I", 1024) + points.tobytes())
    path = save(tmp_path / "a.png", noise(3), icc)
    moved = ImageCms.profileToProfile(
        Image.open(path), ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB")
    )
    assert (np.asarray(moved) != noise(3)).any()
    np.testing.assert_array_equal(values(path), np.float32(noise(3) / 255))


def test_a_profile_of_other_channels_or_of_rubbish_is_said_and_not_used(tmp_path: Path) -> None:
    grey = save(tmp_path / "grey.png", noise(3), profile({b"kTRC": gamma_curve(1.8)}, b"GRAY"))
    rubbish = save(tmp_path / "rubbish.png", noise(3), bytes(16) + b"RGB XYZ " + bytes(200))
    for path in (grey, rubbish):
        np.testing.assert_array_equal(values(path), np.float32(noise(3) / 255))
        (note,) = read_image(path).notes
        assert note.startswith(str(path)) and note.endswith("it is taken as sRGB")


def lookup_profile() -> bytes:
    """A table profile whose colours are the channels rotated: 2³ nodes, lut16Type (ICC.1:2022, 10.10)."""
    nodes = np.stack(np.meshgrid(*[[0, 1]] * 3, indexing="ij"), -1).reshape(-1, 3)
    xyz = np.rint(np.roll(nodes, 1, axis=1) @ SRGB.T * 32768).clip(0, 65535).astype(">u2")
    ends = np.array([0, 65535] * 3, ">u2").tobytes()
    head = b"mft2\0\0\0\0" + bytes([3, 3, 2, 0]) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1) + struct.pack(">HH", 2, 2)
    table = {b"A2B0": head + ends + xyz.tobytes() + ends}
    curves = {c + b"TRC": gamma_curve(2.2) for c in (b"r", b"g", b"b")}  # which the table takes precedence of
    return profile(
        table | curves | {c + b"XYZ": b"XYZ \0\0\0\0" + fixed(0.3, 0.3, 0.3) for c in (b"r", b"g", b"b")}
    )


def test_sixteen_bits_through_a_table_profile_are_converted_with_eight_and_it_is_said(tmp_path: Path) -> None:
    samples = noise(3, np.uint16)
    path = save(tmp_path / "a.tif", samples, lookup_profile())
    expected = encoded(np.roll(samples / 65535, 1, axis=-1))
    # Half a level of 8 bits at the way in, by sRGB's slope of 12.92 in the dark, and one at the way out.
    error = np.abs(values(path) - expected)
    assert np.quantile(error, 0.9) < 1.5 / 255 and error.max() < 8 / 255
    (note,) = read_image(path).notes
    assert "lookup table, which is applied with 8 bits" in note
    assert read_image(path).depth == 16


def test_cmyk_without_a_profile_is_read_and_said(tmp_path: Path) -> None:
    ink = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    ink[:, :20] = (0, 255, 255, 0)
    ink[:, 20:40] = (255, 255, 255, 255)
    Image.frombytes("CMYK", (WIDTH, HEIGHT), ink.tobytes()).save(tmp_path / "a.jpg", quality=100)
    colours = values(tmp_path / "a.jpg")
    np.testing.assert_allclose(colours[10, 5], (1, 0, 0), atol=3 / 255)  # magenta and yellow ink: red
    np.testing.assert_allclose(colours[10, 30], (0, 0, 0), atol=3 / 255)
    np.testing.assert_allclose(colours[10, 45], (1, 1, 1), atol=3 / 255)  # no ink: paper
    (note,) = read_image(tmp_path / "a.jpg").notes
    assert "CMYK" in note and "approximate" in note


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    "icc", [None, rgb_profile(ADOBE_RGB, gamma_curve(ADOBE_GAMMA))], ids=["none", "adobe"]
)
def test_strips_of_rows_give_what_the_whole_picture_gives(dtype: type, icc: bytes | None) -> None:
    colour = np.tile(noise(3, dtype), (2 * ROWS // HEIGHT + 1, 1, 1))
    planes, notes = planar_srgb(colour, icc)
    whole, expected = to_srgb(colour, icc)
    np.testing.assert_array_equal(planes, whole.transpose(2, 0, 1))
    assert notes == expected and planes.flags.c_contiguous


@pytest.mark.parametrize(
    "damage",
    [
        "curve divides by zero",
        "no primaries",
        "kind of curve",
        "singular",
        "curve cut",
        "count",
        "head",
        "steep",
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_profile_that_cannot_be_used_is_no_traceback(tmp_path: Path, damage: str, dtype: type) -> None:
    curve = {
        "curve divides by zero": parametric_curve(1, 2.4, 0.0, 0.1),
        "kind of curve": parametric_curve(9, 2.4),
        "curve cut": b"para\0\0\0\0\0\3\0\0",
        "steep": parametric_curve(0, -30_000.0),
    }.get(damage, gamma_curve(2.2))
    primaries = np.zeros((3, 3)) if damage == "singular" else ADOBE_RGB
    icc = rgb_profile(primaries, curve)
    icc = {
        "no primaries": icc.replace(b"rXYZ", b"xxxx"),
        "count": icc[:128] + b"\xff" * 4 + icc[132:],
        "head": icc[:100],
    }.get(damage, icc)
    samples = noise(3, dtype)
    if dtype is np.uint8:
        Image.fromarray(samples).save(tmp_path / "a.png", icc_profile=icc)
    else:
        (tmp_path / "a.png").write_bytes(png16(samples, chunk(b"iCCP", b"x\0\0" + zlib.compress(icc))))
    read = values(tmp_path / "a.png")
    assert np.isfinite(read).all() and read.min() >= 0 and read.max() <= 1
