"""What lies beside the pixels: it is read where it means something, and never keeps the pixels from being read."""

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, features
from samples import ADOBE_GAMMA, ADOBE_RGB, chunk, gamma_curve, noise, png16, rgb_profile, values

from photostyle.errors import PhotostyleError
from photostyle.files.images import encode_image, read_colours, read_image

PIXELS = (noise(3) // 4 + 90).astype(np.uint8)  # of little chroma: inside every colour space


def stored(image: Image.Image, suffix: str, **options: object) -> bytes:
    buffer = BytesIO()
    lossless = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(suffix, {})
    image.save(buffer, suffix, **(lossless | options))
    return buffer.getvalue()


def png_with(*chunks: bytes, image: Image.Image | None = None) -> bytes:
    whole = stored(image or Image.fromarray(PIXELS), "PNG")
    return whole[:33] + b"".join(chunks) + whole[33:]


def exif(*entries: tuple[int, int, int, bytes]) -> bytes:
    """One directory of entries: tag, type, count, four bytes."""
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    return head + b"".join(struct.pack("<HHI", *each[:3]) + each[3] for each in entries) + bytes(4)


def in_jpeg(kind: int, body: bytes) -> bytes:
    """A JPEG with a segment after its first marker."""
    whole = stored(Image.fromarray(PIXELS), "JPEG")
    return whole[:2] + b"\xff" + bytes([kind]) + struct.pack(">H", len(body) + 2) + body + whole[2:]


SIX = struct.pack("<HH", 6, 0)


@pytest.mark.parametrize(
    "entry",
    [
        (0x0112, 1, 1, b"\x06\0\0\0"),  # a byte
        (0x0112, 2, 2, b"6\0\0\0"),  # a text
        (0x0112, 3, 2, struct.pack("<HH", 6, 6)),  # two
    ],
)
def test_an_orientation_of_another_type_counts(tmp_path: Path, entry: tuple[int, int, int, bytes]) -> None:
    (tmp_path / "a.jpg").write_bytes(in_jpeg(0xE1, b"Exif\0\0" + exif(entry)))
    assert read_image(tmp_path / "a.jpg").pixels.shape == (3, 50, 40)


@pytest.mark.situation("EXIF that nobody can read")
def test_exif_that_cannot_be_written_again_turns_the_picture(tmp_path: Path) -> None:
    """A resolution that is a text, beside an orientation."""
    odd = exif((0x0112, 3, 1, SIX), (0x011A, 2, 4, b"72\0\0"), (0x0128, 3, 1, struct.pack("<HH", 2, 0)))
    (tmp_path / "a.jpg").write_bytes(in_jpeg(0xE1, b"Exif\0\0" + odd))
    (tmp_path / "a.png").write_bytes(png_with(chunk(b"eXIf", odd)))
    for name in ("a.jpg", "a.png"):
        assert read_image(tmp_path / name).pixels.shape == (3, 50, 40)
    np.testing.assert_array_equal(values(tmp_path / "a.png"), np.float32(np.rot90(PIXELS, -1) / 255))


@pytest.mark.parametrize("suffix", ["PNG", "WEBP"])
@pytest.mark.situation("EXIF that nobody can read")
def test_exif_of_rubbish_is_said(tmp_path: Path, suffix: str) -> None:
    whole = stored(Image.fromarray(PIXELS), suffix, exif=b"Exif\0\0rubbish")
    (tmp_path / "a").write_bytes(whole)
    np.testing.assert_array_equal(values(tmp_path / "a"), np.float32(PIXELS / 255))
    assert "EXIF data that cannot be read" in read_image(tmp_path / "a").notes[0]


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"pHYs", b"12"),
        chunk(b"gAMA", b"1"),
        chunk(b"acTL", b"1"),
        chunk(b"fcTL", bytes(26)),
        chunk(b"fdAT", bytes(9)),
        chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 20))) * 70,
    ],
    ids=["pHYs", "gAMA", "acTL", "fcTL", "fdAT", "70 texts of a mebibyte"],
)
@pytest.mark.situation("a PNG with much metadata")
def test_a_chunk_of_rubbish_keeps_nobody_from_reading_a_png(tmp_path: Path, extra: bytes) -> None:
    (tmp_path / "a.png").write_bytes(png_with(extra))
    np.testing.assert_array_equal(values(tmp_path / "a.png"), np.float32(PIXELS / 255))


def test_the_frames_of_an_animated_png_are_counted(tmp_path: Path) -> None:
    first, second = Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS)
    first.save(tmp_path / "a.png", save_all=True, append_images=[second, first])
    np.testing.assert_array_equal(values(tmp_path / "a.png"), np.float32(PIXELS / 255))
    assert "holds 3 pictures" in read_image(tmp_path / "a.png").notes[0]
    with pytest.raises(PhotostyleError, match="a mask is one"):
        read_colours(tmp_path / "a.png")


@pytest.mark.situation("a colour profile that is damaged")
def test_damaged_colours_are_said(tmp_path: Path) -> None:
    profile = rgb_profile(ADOBE_RGB, gamma_curve(ADOBE_GAMMA))
    iccp = chunk(b"iCCP", b"x\0\0" + zlib.compress(profile))
    for damaged in (iccp[:-1] + bytes([iccp[-1] ^ 1]), chunk(b"iCCP", b"x\0\0rubbish")):
        (tmp_path / "a.png").write_bytes(png_with(damaged))
        assert "damaged iCCP chunk" in read_image(tmp_path / "a.png").notes[0]
    (tmp_path / "a.jpg").write_bytes(in_jpeg(0xE2, b"ICC_PROFILE\0\x01\x02" + profile))  # part 1 of 2
    assert "parts are missing" in read_image(tmp_path / "a.jpg").notes[0]


@pytest.mark.situation("a PNG's coding points")
def test_coding_points_of_narrow_range_are_said(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_with(chunk(b"cICP", bytes([1, 13, 0, 0]))))
    assert "full range" in read_image(tmp_path / "a.png").notes[0]


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.situation("hidden pixels under alpha")
def test_the_transparent_grey_of_a_png_of_few_bits(tmp_path: Path, bits: int) -> None:
    """One value may stand for transparent, in the file's own numbers: PNG third edition, 11.3.1.1."""
    numbers = np.random.default_rng(bits).integers(0, 1 << bits, (40, 48))
    packed = np.packbits(
        (numbers[..., None] >> np.arange(bits - 1, -1, -1) & 1).astype(bool).reshape(40, -1), 1
    )
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 48, 40, bits, 0, 0, 0, 0))
    rows = b"".join(b"\0" + row.tobytes() for row in packed)
    ends = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + header + chunk(b"tRNS", struct.pack(">H", 1)) + ends
    )
    alpha = read_image(tmp_path / "a.png").alpha
    np.testing.assert_array_equal(alpha, np.where(numbers == 1, 0, 255))


@pytest.mark.slow
def test_a_large_mask_of_one_bit_does_not_claim_too_much(tmp_path: Path) -> None:
    """36 million pixels of black and white are a few thousand bytes: eight in a byte, a thousand bytes in one."""
    mask = np.zeros((6000, 6000), bool)
    mask[:, 3000:] = True
    Image.fromarray(mask).save(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size < 6000 * 6000 / 1032
    assert read_colours(tmp_path / "a.png").values.shape == (6000, 6000, 3)


# colours


def deep_tiff(path: Path, space: int) -> None:
    """A TIFF of 16 bits whose EXIF directory names a colour space, at the end of the file."""
    samples = PIXELS.astype(np.uint16) * 257
    place = (0x8769, 4, 1, 0x12345678, True)
    tifffile.imwrite(path, samples, photometric="rgb", metadata=None, extratags=[(0x8768, *place[1:])])
    whole = bytearray(path.read_bytes())
    at = whole.index(struct.pack("<HHII", 0x8768, 4, 1, 0x12345678))
    whole[at : at + 12] = struct.pack("<HHII", 0x8769, 4, 1, len(whole))
    path.write_bytes(bytes(whole) + struct.pack("<HHHIHHI", 1, 0xA001, 3, 1, space, 0, 0))


@pytest.mark.situation("Adobe RGB that only EXIF says")
def test_the_exif_of_a_tiff_of_16_bits_is_read(tmp_path: Path) -> None:
    deep_tiff(tmp_path / "a.tif", 2)
    eight = Image.Exif()
    eight[0x0112] = 1
    eight[0x8769] = {0xA001: 2}
    (tmp_path / "a.png").write_bytes(stored(Image.fromarray(PIXELS), "PNG", exif=eight))
    assert "Adobe RGB" in read_image(tmp_path / "a.tif").notes[0]
    np.testing.assert_allclose(values(tmp_path / "a.tif"), values(tmp_path / "a.png"), atol=1.5 / 255)
    deep_tiff(tmp_path / "b.tif", 0xFFFF)
    assert "not sRGB" in read_image(tmp_path / "b.tif").notes[0]


def test_what_a_png_says_itself_goes_before_its_exif(tmp_path: Path) -> None:
    said = Image.Exif()
    said[0x0112] = 1
    said[0x8769] = {0xA001: 2}
    whole = stored(Image.fromarray(PIXELS), "PNG", exif=said)
    (tmp_path / "a.png").write_bytes(whole[:33] + chunk(b"sRGB", b"\0") + whole[33:])
    np.testing.assert_array_equal(values(tmp_path / "a.png"), np.float32(PIXELS / 255))
    assert read_image(tmp_path / "a.png").notes == ()


@pytest.mark.situation("Adobe RGB that only EXIF says")
def test_primaries_and_gamma_in_exif_are_converted(tmp_path: Path) -> None:
    """Of Adobe RGB: the result is that of the PNG whose chunks have the same numbers."""
    x = (0.3127, 0.3290, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
    said = Image.Exif()
    said[0x013E], said[0x013F] = x[:2], x[2:]
    said[0x8769] = {0xA500: ADOBE_GAMMA}
    (tmp_path / "a.webp").write_bytes(stored(Image.fromarray(PIXELS), "WEBP", exif=said))
    chrm = chunk(b"cHRM", struct.pack(">8I", *(round(100_000 * each) for each in x)))
    gama = chunk(b"gAMA", struct.pack(">I", round(100_000 / ADOBE_GAMMA)))
    (tmp_path / "a.png").write_bytes(png_with(gama, chrm))
    assert "EXIF" in read_image(tmp_path / "a.webp").notes[0]
    np.testing.assert_allclose(values(tmp_path / "a.webp"), values(tmp_path / "a.png"), atol=1.5 / 255)


# AVIF

avif = pytest.mark.skipif(
    not ("avif" in features.modules and features.check("avif")), reason="this Pillow reads no AVIF"
)


@avif
def test_an_avif_is_read_upright(tmp_path: Path) -> None:
    said = Image.Exif()
    said[0x0112] = 6
    smooth = np.broadcast_to(np.arange(50, dtype=np.uint8) * 4, (40, 50))
    Image.fromarray(smooth).save(tmp_path / "a.avif", exif=said, quality=100, subsampling="4:4:4")
    np.testing.assert_allclose(values(tmp_path / "a.avif")[..., 1], np.rot90(smooth, -1) / 255, atol=3 / 255)
    assert read_image(tmp_path / "a.avif").notes == ()


@avif
def test_the_colours_and_the_depth_of_an_avif_are_said(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.avif", quality=100)
    whole = bytearray((tmp_path / "a.avif").read_bytes())
    nclx = whole.index(b"colrnclx") + 8
    whole[nclx : nclx + 4] = struct.pack(">HH", 9, 16)  # BT.2020, PQ
    (tmp_path / "a.avif").write_bytes(whole)
    assert "nclx 9/16" in read_image(tmp_path / "a.avif").notes[0]


# resolution


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
@pytest.mark.parametrize("turn", [1, 6])
@pytest.mark.situation("a resolution for print")
def test_the_resolution_of_a_photo_is_kept(tmp_path: Path, suffix: str, turn: int) -> None:
    """Across and down of the picture as it is seen."""
    said = Image.Exif()
    said[0x0112] = turn
    Image.fromarray(PIXELS).save(tmp_path / "photo.tif", dpi=(300, 150), exif=said)
    photo = read_image(tmp_path / "photo.tif")
    expected = (300, 150) if turn == 1 else (150, 300)
    assert photo.resolution == pytest.approx(expected)
    result = tmp_path / f"out.{suffix}"
    result.write_bytes(encode_image(result, photo.pixels, resolution=photo.resolution))
    # PNG has whole dots in a metre.
    assert read_image(result).resolution == pytest.approx(expected, rel=1e-3)
    assert result.read_bytes() == encode_image(result, photo.pixels, resolution=photo.resolution)


def test_a_deep_picture_keeps_its_resolution(tmp_path: Path) -> None:
    deep = PIXELS.astype(np.uint16) * 257
    tifffile.imwrite(tmp_path / "a.tif", deep, photometric="rgb", resolution=(118, 59), resolutionunit=3)
    assert read_image(tmp_path / "a.tif").resolution == pytest.approx((118 * 2.54, 59 * 2.54))
    (tmp_path / "a.png").write_bytes(png16(deep, chunk(b"pHYs", struct.pack(">IIB", 11811, 5906, 1))))
    assert read_image(tmp_path / "a.png").resolution == pytest.approx((300, 150), rel=1e-4)
    (tmp_path / "b.png").write_bytes(png16(deep, chunk(b"pHYs", struct.pack(">IIB", 2, 1, 0))))  # an aspect
    assert read_image(tmp_path / "b.png").resolution is None
