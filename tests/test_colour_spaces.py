import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, PngImagePlugin
from samples import chunk, noise, png16, values

from photostyle.files.colour_spaces import said_by_numbers
from photostyle.files.images import read_image
from photostyle.files.png import taken_apart

# XYZ of the primaries in D65, and back: IEC 61966-2-1 and Adobe RGB (1998), 4.3.5.3.
SRGB = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
ADOBE = np.array([[0.57667, 0.18556, 0.18823], [0.29734, 0.62736, 0.07529], [0.02703, 0.07069, 0.99134]])


def encoded(linear: np.ndarray) -> np.ndarray:
    return np.where(
        linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055
    )


def from_adobe(picture: np.ndarray) -> np.ndarray:
    """What (H, W, 3) in [0, 1] of Adobe RGB is in sRGB, clipped."""
    linear = picture ** (563 / 256) @ np.linalg.solve(SRGB, ADOBE).T
    return encoded(linear.clip(0, 1))


def png(picture: np.ndarray, *chunks: bytes) -> bytes:
    """With more chunks after the header."""
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    whole = buffer.getvalue()
    return whole[:33] + b"".join(chunks) + whole[33:]


def calm() -> np.ndarray:
    """(40, 50, 3) uint8: colours of little chroma, which every space of this test holds."""
    return (noise(3) // 4 + 90).astype(np.uint8)


@pytest.mark.parametrize("said", ["R03", "ColorSpace 2"])
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.situation("Adobe RGB that only EXIF says")
def test_adobe_rgb_said_in_exif_is_converted(tmp_path: Path, said: str, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 1  # or Pillow takes it for empty
    exif[0x8769] = {0xA001: 0xFFFF if said == "R03" else 2}
    if said == "R03":
        exif[0x8769][0xA005] = {1: "R03", 2: b"0100"}
    flat = np.full((40, 50, 3), (60, 150, 90), np.uint8)
    how = {"jpg": {"quality": 100, "subsampling": 0}, "webp": {"lossless": True}}.get(suffix, {})
    Image.fromarray(flat).save(tmp_path / f"a.{suffix}", exif=exif, **how)
    picture = read_image(tmp_path / f"a.{suffix}")
    assert "Adobe RGB" in picture.notes[0]
    np.testing.assert_allclose(
        values(tmp_path / f"a.{suffix}")[5, 5], from_adobe(flat[5, 5] / 255), atol=2 / 255
    )


def test_colours_that_are_not_calibrated_are_said() -> None:
    assert said_by_numbers(1, "R98") == (None, ()) == said_by_numbers(None, "")
    profile, notes = said_by_numbers(0xFFFF, "")
    assert profile is None and "not sRGB" in notes[0]


@pytest.mark.parametrize("gamma", [1.0, 1 / 1.8, 1 / 3.0])
@pytest.mark.situation("a PNG's gamma")
def test_a_png_s_gamma_is_undone(tmp_path: Path, gamma: float) -> None:
    gama = chunk(b"gAMA", round(gamma * 100_000).to_bytes(4, "big"))
    (tmp_path / "a.png").write_bytes(png(calm(), gama))
    (tmp_path / "16.png").write_bytes(png16(calm().astype(np.uint16) * 257, gama))
    meant = encoded((calm() / 255) ** (1 / gamma))
    np.testing.assert_allclose(values(tmp_path / "a.png"), meant, atol=1.5 / 255)
    np.testing.assert_allclose(values(tmp_path / "16.png"), meant, atol=2e-4)
    assert "gAMA" in read_image(tmp_path / "a.png").notes[0]


def test_the_gamma_of_srgb_changes_nothing(tmp_path: Path) -> None:
    chrm = struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
    for extra in (
        (chunk(b"gAMA", (45455).to_bytes(4, "big")), chunk(b"cHRM", chrm)),
        (chunk(b"gAMA", (100000).to_bytes(4, "big")), chunk(b"sRGB", b"\0")),
        (chunk(b"cICP", bytes([1, 13, 0, 1])),),
    ):
        (tmp_path / "a.png").write_bytes(png(calm(), *extra))
        np.testing.assert_array_equal(values(tmp_path / "a.png"), np.float32(calm() / 255))
        assert read_image(tmp_path / "a.png").notes == ()


def test_primaries_of_a_png_are_converted(tmp_path: Path) -> None:
    chrm = struct.pack(">8I", 31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)
    gama = round(256 / 563 * 100_000).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(png(calm(), chunk(b"gAMA", gama), chunk(b"cHRM", chrm)))
    np.testing.assert_allclose(values(tmp_path / "a.png"), from_adobe(calm() / 255), atol=2 / 255)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("exponents", [(1.0,), (3.0, 1.0, 1.8)])
def test_the_transfer_function_of_a_tiff_is_undone(
    tmp_path: Path, bits: int, exponents: tuple[float, ...]
) -> None:
    levels = np.linspace(0, 1, 1 << bits)
    table = np.concatenate([np.rint(levels**power * 65535) for power in exponents]).astype(int).tolist()
    samples = calm() if bits == 8 else calm().astype(np.uint16) * 257
    more = [(301, 3, len(table), table, True)]
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="rgb", extratags=more)
    meant = encoded((calm() / 255) ** np.array(exponents))
    np.testing.assert_allclose(values(tmp_path / "a.tif"), meant, atol=1.5 / 255 if bits == 8 else 2e-4)
    assert "converted to sRGB" in read_image(tmp_path / "a.tif").notes[0]


@pytest.mark.parametrize("table", [[7], [0, 65535, 1], [65535] * 256])
def test_a_transfer_function_of_rubbish_is_no_traceback(tmp_path: Path, table: list[int]) -> None:
    more = [(301, 3, len(table), table, True)]
    tifffile.imwrite(tmp_path / "a.tif", calm(), photometric="rgb", extratags=more)
    assert np.isfinite(values(tmp_path / "a.tif")).all() and read_image(tmp_path / "a.tif").notes


@pytest.mark.situation("a PNG's coding points")
def test_coding_points_of_a_png_are_converted_or_said(tmp_path: Path) -> None:
    grey = np.repeat(calm()[..., :1], 3, axis=-1)
    (tmp_path / "linear.png").write_bytes(png(grey, chunk(b"cICP", bytes([9, 8, 0, 1]))))
    np.testing.assert_allclose(values(tmp_path / "linear.png"), encoded(grey / 255), atol=1.5 / 255)
    (tmp_path / "pq.png").write_bytes(png(grey, chunk(b"cICP", bytes([9, 16, 0, 1]))))
    assert "cICP 9/16" in read_image(tmp_path / "pq.png").notes[0]


@pytest.mark.parametrize("chrm", [bytes(32), b"\xff" * 32, struct.pack(">8I", *[31270, 32900] * 4), b"short"])
def test_primaries_of_rubbish_are_no_traceback(tmp_path: Path, chrm: bytes) -> None:
    (tmp_path / "a.png").write_bytes(png(calm(), chunk(b"gAMA", b"\0\0\0\1"), chunk(b"cHRM", chrm)))
    assert np.isfinite(values(tmp_path / "a.png")).all()


@pytest.mark.situation("a PNG with much metadata")
def test_what_lies_beside_the_pixels_keeps_nobody_from_reading_them(tmp_path: Path) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", "<x/>" * 500_000, zip=True)
    text.add_text("history", "y" * 3_000_000, zip=True)
    text.add_text("note", "z" * 2_000_000)
    Image.fromarray(calm()).save(tmp_path / "a.png", pnginfo=text)
    wrong = chunk(b"tEXt", b"Comment\0hello")[:-1] + b"!"
    (tmp_path / "b.png").write_bytes(png(calm(), wrong))
    (tmp_path / "c.png").write_bytes(png(calm(), chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(1 << 25)))))
    for name in ("a.png", "b.png", "c.png"):
        np.testing.assert_array_equal(values(tmp_path / name), np.float32(calm() / 255))


def test_a_short_text_stays_for_its_orientation() -> None:
    xmp = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x/>")
    whole = png(calm(), xmp)
    assert taken_apart(whole).pixels == whole


def test_a_large_profile_is_read(tmp_path: Path) -> None:
    """Pillow alone takes a mebibyte for an attack."""
    from samples import ADOBE_GAMMA, ADOBE_RGB, gamma_curve, rgb_profile

    profile = rgb_profile(ADOBE_RGB, gamma_curve(ADOBE_GAMMA)) + bytes(2 << 20)
    profile = struct.pack(">I", len(profile)) + profile[4:]
    (tmp_path / "a.png").write_bytes(png(calm(), chunk(b"iCCP", b"x\0\0" + zlib.compress(profile))))
    np.testing.assert_allclose(values(tmp_path / "a.png"), from_adobe(calm() / 255), atol=2 / 255)
