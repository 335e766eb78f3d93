import contextlib
import hashlib
import io
import os
import struct
import tracemalloc
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageCms
from samples import (
    ADOBE_GAMMA,
    ADOBE_RGB,
    HEIGHT,
    WIDTH,
    chunk,
    gamma_curve,
    noise,
    png16,
    rgb_profile,
    values,
)

from photostyle.errors import ComputationError, PhotostyleError
from photostyle.files import images
from photostyle.files import profiles as icc
from photostyle.files.decoding import MAX_PIXELS
from photostyle.files.images import (
    as_kept,
    check_output,
    read_colours,
    read_grey,
    read_image,
    read_indices,
    sha256_of,
    write_image,
)
from photostyle.files.profiles import SRGB_PROFILE


def smooth(channels: int = 3) -> np.ndarray:
    """What JPEG stores well: a gradient, so that only the handling of the file can go wrong."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    planes = [40 + 3 * y, 60 + 3 * x, 90 + 2 * y, 20 + y][:channels]
    return np.stack(planes, -1).astype(np.uint8)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# formats


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_eight_bits_are_read_exactly(tmp_path: Path, suffix: str, mode: str) -> None:
    samples, path = noise(len(mode)), tmp_path / f"a.{suffix}"
    Image.fromarray(samples).save(path, lossless=True, exact=True)
    picture = read_image(path)
    assert picture.pixels.dtype == torch.float32 and picture.pixels.is_contiguous()
    assert (picture.height, picture.width, picture.depth, picture.notes) == (HEIGHT, WIDTH, 8, ())
    assert picture.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    np.testing.assert_array_equal(values(path), np.float32(samples[..., :3] / 255))
    if mode == "RGBA":
        assert picture.alpha is not None and picture.alpha.dtype == np.uint8
        np.testing.assert_array_equal(picture.alpha, samples[..., 3])
    else:
        assert picture.alpha is None


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate"])
def test_eight_bit_tiff_is_read_in_every_lossless_compression(tmp_path: Path, compression: str) -> None:
    Image.fromarray(noise(3)).save(tmp_path / "a.tif", compression=compression)
    np.testing.assert_array_equal(values(tmp_path / "a.tif"), np.float32(noise(3) / 255))


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_lossy_files_are_read_to_their_quality(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(smooth()).save(tmp_path / f"a.{suffix}", quality=95)
    # Chroma has half the size: at the border a gradient of 3 levels a pixel is off by up to 3, and blue takes
    # 1.8 times the error of its chroma (JFIF 1.02). As much again for what codecs may do: 7 levels were seen.
    np.testing.assert_allclose(values(tmp_path / f"a.{suffix}"), smooth() / 255, atol=14 / 255)


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    samples = noise(2)
    Image.fromarray(samples).save(tmp_path / "la.png")
    Image.fromarray(samples[..., 0]).save(tmp_path / "l.jpg", quality=100)
    picture = read_image(tmp_path / "la.png")
    np.testing.assert_array_equal(values(tmp_path / "la.png"), np.float32(samples[..., [0, 0, 0]] / 255))
    np.testing.assert_array_equal(picture.alpha, samples[..., 1])
    assert np.ptp(values(tmp_path / "l.jpg"), axis=2).max() == 0


def test_a_palette_is_expanded_with_its_transparency(tmp_path: Path) -> None:
    indices = noise(1)[..., 0] % 3
    palette = np.array([[250, 10, 20], [30, 240, 50], [60, 70, 230]], np.uint8)
    image = Image.fromarray(indices)
    image.putpalette(palette.tobytes())
    image.save(tmp_path / "a.png", transparency=bytes([255, 1, 128]))
    np.testing.assert_array_equal(values(tmp_path / "a.png"), np.float32(palette[indices] / 255))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").alpha, np.array([255, 1, 128])[indices])


def test_black_and_white_is_zero_and_one(tmp_path: Path) -> None:
    bits = noise(1)[..., 0] > 127
    Image.fromarray(bits).save(tmp_path / "a.png")
    np.testing.assert_array_equal(values(tmp_path / "a.png")[..., 1], bits)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_read_exactly(tmp_path: Path, channels: int, suffix: str) -> None:
    samples, path = noise(channels, np.uint16), tmp_path / f"a.{suffix}"
    if suffix == "png":
        path.write_bytes(png16(samples))
    else:
        extra = ["unassalpha"] if channels in (2, 4) else None
        photometric = "rgb" if channels > 2 else "minisblack"
        planes = samples if channels > 1 else samples[..., 0]
        tifffile.imwrite(path, planes, photometric=photometric, extrasamples=extra, compression="zlib")
    picture = read_image(path)
    assert picture.depth == 16
    colours = samples[..., [0, 0, 0]] if channels < 3 else samples[..., :3]
    np.testing.assert_array_equal(np.rint(values(path) * 65535), colours)
    if channels in (2, 4):
        assert picture.alpha is not None and picture.alpha.dtype == np.uint16
        np.testing.assert_array_equal(picture.alpha, samples[..., -1])


def test_sixteen_bit_tiff_in_planes_and_white_is_zero_are_read(tmp_path: Path) -> None:
    samples = noise(3, np.uint16)
    planes = np.moveaxis(samples, -1, 0)
    tifffile.imwrite(tmp_path / "planes.tif", planes, photometric="rgb", planarconfig="separate")
    tifffile.imwrite(tmp_path / "negative.tif", 65535 - samples[..., 0], photometric="miniswhite")
    np.testing.assert_array_equal(np.rint(values(tmp_path / "planes.tif") * 65535), samples)
    np.testing.assert_array_equal(np.rint(values(tmp_path / "negative.tif")[..., 0] * 65535), samples[..., 0])


def test_colours_multiplied_by_alpha_are_divided_again(tmp_path: Path) -> None:
    samples = noise(4, np.uint16) | 0x4000
    multiplied = samples.copy()
    multiplied[..., :3] = np.rint(samples[..., :3] * (samples[..., 3:] / 65535))
    tifffile.imwrite(tmp_path / "a.tif", multiplied, photometric="rgb", extrasamples=["assocalpha"])
    # Alpha is at least a quarter: rounding by half a level grows to 2 in the quotient, which is rounded too.
    np.testing.assert_allclose(np.rint(values(tmp_path / "a.tif") * 65535), samples[..., :3], atol=2.5)


def test_a_transparent_colour_of_a_sixteen_bit_png_becomes_alpha(tmp_path: Path) -> None:
    samples = noise(3, np.uint16)
    key = chunk(b"tRNS", struct.pack(">3H", *samples[5, 7]))
    (tmp_path / "a.png").write_bytes(png16(samples, key))
    alpha = read_image(tmp_path / "a.png").alpha
    assert alpha is not None and alpha[5, 7] == 0 and (alpha == 65535).sum() == alpha.size - 1


@pytest.mark.situation("names as strings")
def test_a_name_may_be_a_string(tmp_path: Path) -> None:
    digest = write_image(str(tmp_path / "a.png"), pixels())
    assert read_image(str(tmp_path / "a.png")).sha256 == digest


def test_levels_are_no_floats(tmp_path: Path) -> None:
    """A picture of 0 to 255 would be clipped to black and white."""
    with pytest.raises(ValueError, match="uint8; expected"):
        write_image(tmp_path / "a.png", (pixels() * 255).byte())


def test_the_first_of_several_pictures_is_used_and_said(tmp_path: Path) -> None:
    first, second = Image.fromarray(noise(3)), Image.fromarray(255 - noise(3))
    first.save(tmp_path / "pages.tif", save_all=True, append_images=[second])
    first.save(tmp_path / "frames.webp", save_all=True, append_images=[second], lossless=True)
    tifffile.imwrite(tmp_path / "deep.tif", np.stack([noise(3, np.uint16)] * 2), photometric="rgb")
    for name in ("pages.tif", "frames.webp", "deep.tif"):
        picture = read_image(tmp_path / name)
        assert picture.notes == (f"{tmp_path / name} holds 2 pictures: the first is used",)
    np.testing.assert_array_equal(values(tmp_path / "pages.tif"), np.float32(noise(3) / 255))


@pytest.mark.situation("a thumbnail first in a TIFF")
def test_a_thumbnail_in_front_is_not_the_picture(tmp_path: Path) -> None:
    """NewSubfileType says which page is a reduced copy of another: TIFF 6.0, page 36."""
    for name, dtype in (("8.tif", np.uint8), ("16.tif", np.uint16)):
        whole = noise(3, dtype)
        with tifffile.TiffWriter(tmp_path / name) as file:
            file.write(whole[::2, ::2].copy(), photometric="rgb", subfiletype=1)
            file.write(whole, photometric="rgb", subfiletype=0)
        np.testing.assert_array_equal(values(tmp_path / name), np.float32(whole / np.iinfo(dtype).max))
        assert read_image(tmp_path / name).notes == ()
    np.testing.assert_array_equal(read_colours(tmp_path / "8.tif").values, noise(3))  # nor the mask


@pytest.mark.situation("a thumbnail first in a TIFF")
def test_the_profile_and_the_resolution_of_a_thumbnail_are_not_the_picture_s(tmp_path: Path) -> None:
    whole, profile = noise(3), rgb_profile(ADOBE_RGB, gamma_curve(1.0))
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        small = whole[::2, ::2].copy()
        file.write(
            small, photometric="rgb", subfiletype=1, iccprofile=profile, resolution=(9, 9), resolutionunit=2
        )
        file.write(whole, photometric="rgb", subfiletype=0)
    np.testing.assert_array_equal(values(tmp_path / "a.tif"), np.float32(whole / 255))
    assert read_image(tmp_path / "a.tif").notes == () and read_image(tmp_path / "a.tif").resolution is None


@pytest.mark.situation("a thumbnail first in a TIFF")
def test_a_thumbnail_whose_picture_is_elsewhere_is_refused(tmp_path: Path) -> None:
    """As raw files have it: the picture is in a SubIFD of the thumbnail's directory."""
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(noise(3), photometric="rgb", subfiletype=1, subifds=1)
        file.write(np.kron(noise(3), np.ones((2, 2, 1), np.uint8)), photometric="rgb")
    refused(tmp_path / "a.tif", "a thumbnail", "raw files")


@pytest.mark.parametrize("channels", [1, 2])
def test_a_deep_tiff_of_fewer_channels_than_it_says_is_refused(tmp_path: Path, channels: int) -> None:
    tifffile.imwrite(tmp_path / "a.tif", noise(3, np.uint16), photometric="rgb", metadata=None)
    whole = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        tag = file.pages.first.tags["SamplesPerPixel"]
    whole[tag.valueoffset : tag.valueoffset + 2] = struct.pack("<H", channels)
    (tmp_path / "a.tif").write_bytes(whole)
    refused(tmp_path / "a.tif", "a.tif")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_cut_tiff_says_nothing_beside_its_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], dtype: type
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", noise(3, dtype), photometric="rgb")
    whole = bytearray((tmp_path / "a.tif").read_bytes())
    for place in range(8, 200, 3):
        damaged = whole.copy()
        damaged[place] ^= 0x7F
        (tmp_path / "b.tif").write_bytes(damaged)
        with contextlib.suppress(PhotostyleError):
            read_image(tmp_path / "b.tif")
    assert capfd.readouterr() == ("", "")


def header_png(width: int, height: int, depth: int = 8) -> bytes:
    """A sound PNG header over no more than a few bytes of pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")


def test_a_claim_that_the_bytes_cannot_hold_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    (tmp_path / "row.png").write_bytes(header_png(MAX_PIXELS, 1))
    (tmp_path / "bits.png").write_bytes(header_png(13_000, 13_000, 1))
    buffer = io.BytesIO()
    Image.fromarray(noise(3)).save(buffer, "JPEG")
    jpeg = bytearray(buffer.getvalue())
    size = jpeg.index(b"\xff\xc0") + 5  # SOF0: marker, length, precision, height, width
    jpeg[size : size + 4] = struct.pack(">HH", 13_377, 13_377)
    (tmp_path / "lie.jpg").write_bytes(jpeg)
    tracemalloc.start()
    for name in ("row.png", "bits.png", "lie.jpg"):
        refused(tmp_path / name, "claims", "too few for a picture of that size")
    assert tracemalloc.get_traced_memory()[1] < 1 << 24
    tracemalloc.stop()


@pytest.mark.slow
def test_a_flat_picture_may_be_as_small_as_its_format_makes_it(tmp_path: Path) -> None:
    flat = Image.new("L", (3000, 2000), 90)
    flat.save(tmp_path / "a.jpg", quality=5, optimize=True)
    flat.convert("1").save(tmp_path / "b.png")
    flat.save(tmp_path / "c.webp", lossless=True)
    for name in ("a.jpg", "b.png", "c.webp"):
        assert read_image(tmp_path / name).width == 3000


# orientation

UPRIGHT = {  # EXIF 2.32, 4.6.4: which corner of the scene the file's first row and column are
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("kind", ["png", "webp", "tif", "png16", "tif16"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_turn_is_undone_for_colours_and_alpha(tmp_path: Path, orientation: int, kind: str) -> None:
    samples = noise(4, np.uint16 if kind.endswith("16") else np.uint8)
    path = tmp_path / f"a.{kind.removesuffix('16')}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    if kind == "png16":
        path.write_bytes(png16(samples, chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))))
    elif kind == "tif16":
        tag = (0x0112, "H", 1, orientation, True)
        tifffile.imwrite(path, samples, photometric="rgb", extrasamples=["unassalpha"], extratags=[tag])
    else:
        Image.fromarray(samples).save(path, exif=exif, lossless=True, exact=True)
    expected = UPRIGHT[orientation](samples)
    np.testing.assert_array_equal(np.rint(values(path) * np.iinfo(samples.dtype).max), expected[..., :3])
    np.testing.assert_array_equal(read_image(path).alpha, expected[..., 3])


def test_a_jpeg_s_turn_is_undone(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(smooth()).save(tmp_path / "a.jpg", exif=exif, quality=95)
    np.testing.assert_allclose(values(tmp_path / "a.jpg"), np.rot90(smooth(), -1) / 255, atol=14 / 255)


# errors


def refused(path: Path, *words: str) -> None:
    """One line that names the file and says these words; no warning leaks."""
    with pytest.raises(PhotostyleError) as caught:
        read_image(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message
    for word in words:
        assert word in message


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("not a picture\n" * 20)
    Image.fromarray(noise(3)).save(tmp_path / "a.gif")
    refused(tmp_path / "nothing.png", "does not exist", "check the name")
    refused(tmp_path, "is a folder")
    refused(tmp_path / "empty.png", "empty (0 bytes)")
    refused(tmp_path / "text.png", "not a readable picture", "PNG, JPEG, TIFF, WebP or AVIF")
    refused(tmp_path / "a.gif", "not a readable picture")


def test_a_file_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path, flags: int) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    Image.fromarray(noise(3)).save(tmp_path / "a.png")
    monkeypatch.setattr(
        "photostyle.files.reading.os.open", denied
    )  # the superuser, as whom tests may run, may read anything
    refused(tmp_path / "a.png", "Permission denied", "check its name and permissions")


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "tif", "png16", "tif16"])
def test_a_file_cut_anywhere_is_refused_or_whole(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind.removesuffix('16')}"
    if kind == "png16":
        path.write_bytes(png16(noise(3, np.uint16)))
    elif kind == "tif16":
        tifffile.imwrite(path, noise(3, np.uint16), photometric="rgb", compression="zlib")
    else:
        Image.fromarray(noise(3)).save(path)
    whole, data = values(path), path.read_bytes()
    for length in [*range(1, len(data), len(data) // 60), *range(len(data) - 20, len(data))]:
        path.write_bytes(data[:length])
        try:
            cut = values(path)
        except PhotostyleError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)
        else:  # a PNG without its last, empty chunk is whole
            np.testing.assert_array_equal(cut, whole)
            assert length >= len(data) - 20


@pytest.mark.parametrize("kind", ["png", "tif"])
@pytest.mark.parametrize("pillow_s_limit", [Image.MAX_IMAGE_PIXELS, None])
def test_more_pixels_than_the_limit_are_refused_before_they_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, pillow_s_limit: int | None
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillow_s_limit)
    side = int(MAX_PIXELS**0.5) + 1
    if kind == "png":
        data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        data += chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    else:
        Image.fromarray(noise(3)).save(tmp_path / "small.tif")
        data = (tmp_path / "small.tif").read_bytes()
        for tag, old in ((256, WIDTH), (257, HEIGHT)):  # width and height in the file's directory
            entry = struct.pack("<HHII", tag, 4, 1, old)
            assert data.count(entry) == 1
            data = data.replace(entry, struct.pack("<HHII", tag, 4, 1, side))
    (tmp_path / f"bomb.{kind}").write_bytes(data)
    refused(tmp_path / f"bomb.{kind}", "178,956,970 pixels", "scale it down")


def test_a_large_photo_under_the_limit_gives_no_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", HEIGHT * WIDTH - 1)
    Image.fromarray(noise(3)).save(tmp_path / "a.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(tmp_path / "a.png").notes == ()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (31, 400), (400, 31)])
def test_a_photo_under_32_pixels_a_side_is_refused(tmp_path: Path, height: int, width: int) -> None:
    Image.fromarray(noise(3, height=height, width=width)).save(tmp_path / "a.png")
    refused(tmp_path / "a.png", f"{width}x{height}", "at least 32 pixels")
    assert read_image(tmp_path / "a.png", minimum=1).width == width


def test_pixels_of_other_types_are_refused_with_the_remedy(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "float.tif", np.zeros((40, 40, 3), np.float32), photometric="rgb")
    tifffile.imwrite(tmp_path / "long.tif", np.zeros((40, 40), np.uint32))
    tifffile.imwrite(tmp_path / "signed.tif", np.zeros((40, 40), np.int16))
    ink = np.zeros((40, 40, 4), np.uint16)
    tifffile.imwrite(tmp_path / "cmyk.tif", ink, photometric="separated")
    Image.new("LAB", (40, 40)).save(tmp_path / "lab.tif")
    refused(tmp_path / "float.tif", "32-bit floating-point TIFF", "export it as a 16-bit integer TIFF")
    refused(tmp_path / "long.tif", "32-bit integer TIFF")
    refused(tmp_path / "signed.tif", "16-bit signed integer TIFF")
    refused(tmp_path / "cmyk.tif", "SEPARATED", "export it as RGB")
    refused(tmp_path / "lab.tif", "type LAB", "save it as RGB")


def test_a_compression_that_needs_another_package_is_named(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", noise(3, np.uint16), photometric="rgb")
    data = (tmp_path / "a.tif").read_bytes()
    entry = struct.pack("<HHIHH", 259, 3, 1, 1, 0)  # Compression: none
    assert data.count(entry) == 1
    (tmp_path / "a.tif").write_bytes(data.replace(entry, struct.pack("<HHIHH", 259, 3, 1, 5, 0)))  # LZW
    refused(tmp_path / "a.tif", "LZW", "pip install imagecodecs", "ZIP")


# masks


def test_a_mask_s_colours_are_its_own(tmp_path: Path) -> None:
    colours = noise(3)
    adobe = rgb_profile(ADOBE_RGB, gamma_curve(ADOBE_GAMMA))
    Image.fromarray(colours).save(tmp_path / "rgb.png", icc_profile=adobe)
    Image.fromarray(np.dstack([colours, noise(1)])).save(tmp_path / "rgba.png")
    (tmp_path / "deep.png").write_bytes(png16(colours.astype(np.uint16) * 257))
    for name in ("rgb.png", "rgba.png", "deep.png"):
        read = read_colours(tmp_path / name).values
        assert read.dtype == np.uint8
        np.testing.assert_array_equal(read, colours)


def test_grey_and_palette_masks_are_read_as_colours(tmp_path: Path) -> None:
    grey = noise(1)[..., 0]
    Image.fromarray(grey).save(tmp_path / "l.png")
    Image.fromarray(np.dstack([grey, grey])).save(tmp_path / "la.png")
    Image.fromarray(grey > 99).save(tmp_path / "1.png")
    palette = Image.fromarray(grey % 4)
    palette.putpalette([9, 8, 7, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    palette.save(tmp_path / "p.png", transparency=0)
    for name in ("l.png", "la.png"):
        np.testing.assert_array_equal(read_colours(tmp_path / name).values, np.dstack([grey] * 3))
    np.testing.assert_array_equal(read_colours(tmp_path / "1.png").values[..., 2], 255 * (grey > 99))
    expected = np.array([[9, 8, 7], [255, 0, 0], [0, 255, 0], [0, 0, 255]])[grey % 4]
    np.testing.assert_array_equal(read_colours(tmp_path / "p.png").values, expected)


def test_a_mask_is_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(3)).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_colours(tmp_path / "a.png").values, np.rot90(noise(3), -1))


def test_a_soft_mask_keeps_its_bits(tmp_path: Path) -> None:
    eight, sixteen = noise(1)[..., 0], noise(1, np.uint16)
    Image.fromarray(eight).save(tmp_path / "8.png")
    Image.fromarray(np.dstack([eight] * 3)).save(tmp_path / "rgb.png")
    (tmp_path / "16.png").write_bytes(png16(sixteen))
    for name in ("8.png", "rgb.png"):
        np.testing.assert_array_equal(read_grey(tmp_path / name).values, np.float32(eight / 255))
    np.testing.assert_array_equal(read_grey(tmp_path / "16.png").values, np.float32(sixteen[..., 0] / 65535))
    Image.fromarray(noise(3)).save(tmp_path / "colours.png")
    with pytest.raises(PhotostyleError, match=r"colours\.png has colours; a soft mask is grey"):
        read_grey(tmp_path / "colours.png")


def test_a_label_map_gives_its_numbers(tmp_path: Path) -> None:
    numbers = noise(1)[..., 0]
    Image.fromarray(numbers).save(tmp_path / "l.png")
    palette = Image.fromarray(numbers)
    palette.putpalette(noise(3, height=256, width=1).tobytes())
    palette.save(tmp_path / "p.png")
    (tmp_path / "16.png").write_bytes(png16(numbers[..., None] + np.uint16(1000)))
    for name in ("l.png", "p.png"):
        assert read_indices(tmp_path / name).values.dtype == np.int32
        np.testing.assert_array_equal(read_indices(tmp_path / name).values, numbers)
    np.testing.assert_array_equal(read_indices(tmp_path / "16.png").values, numbers.astype(int) + 1000)
    Image.fromarray(noise(3)).save(tmp_path / "rgb.png")
    with pytest.raises(PhotostyleError, match=r"rgb\.png has 3 channels; a label map has one"):
        read_indices(tmp_path / "rgb.png")
    Image.fromarray(numbers).save(tmp_path / "l.jpg")
    with pytest.raises(PhotostyleError, match=r"l\.jpg is stored with loss, which changes numbers"):
        read_indices(tmp_path / "l.jpg")


def test_a_transparent_entry_of_a_label_maps_palette_is_erased(tmp_path: Path) -> None:
    numbers = np.arange(64, dtype=np.uint8).reshape(8, 8) // 16
    palette = Image.fromarray(numbers)
    palette.putpalette(noise(3, height=256, width=1).tobytes())
    palette.save(tmp_path / "p.png", transparency=2)
    paint = read_indices(tmp_path / "p.png")
    np.testing.assert_array_equal(paint.erased, numbers == 2)
    assert "transparent in 25.0%" in paint.notes[0]


def test_a_mask_of_several_pictures_is_refused(tmp_path: Path) -> None:
    image = Image.fromarray(noise(3))
    image.save(tmp_path / "a.tif", save_all=True, append_images=[image])
    with pytest.raises(PhotostyleError, match="holds 2 pictures; a mask is one"):
        read_colours(tmp_path / "a.tif")


# writing


def pixels(dtype: type = np.uint8) -> torch.Tensor:
    return torch.from_numpy(noise(3, dtype).transpose(2, 0, 1).astype(np.float32) / np.iinfo(dtype).max)


@pytest.mark.parametrize("suffix", ["png", "tif", "tiff", "webp", "PNG"])
def test_what_was_read_is_written_back_exactly(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(noise(4)).save(tmp_path / "a.png")
    photo = read_image(tmp_path / "a.png")
    digest = write_image(tmp_path / f"b.{suffix}", photo.pixels, alpha=photo.alpha)
    assert digest == sha256_of(tmp_path / f"b.{suffix}")
    again = read_image(tmp_path / f"b.{suffix}")
    assert torch.equal(again.pixels, photo.pixels) and again.notes == () and again.depth == 8
    np.testing.assert_array_equal(again.alpha, photo.alpha)


def test_sixteen_bits_are_written_back_exactly_as_tiff(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png16(noise(4, np.uint16)))
    photo = read_image(tmp_path / "a.png")
    write_image(tmp_path / "b.tif", photo.pixels, alpha=photo.alpha, depth=photo.depth)
    again = read_image(tmp_path / "b.tif")
    assert again.depth == 16 and torch.equal(again.pixels, photo.pixels)
    np.testing.assert_array_equal(again.alpha, photo.alpha)


def test_alpha_of_the_other_depth_is_scaled(tmp_path: Path) -> None:
    deep = noise(1, np.uint16)[..., 0]
    write_image(tmp_path / "a.png", pixels(), alpha=deep, depth=16)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").alpha, np.rint(deep / 257))
    flat = noise(1)[..., 0]
    write_image(tmp_path / "a.tif", pixels(), alpha=flat, depth=16)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").alpha, flat.astype(int) * 257)


@pytest.mark.parametrize("suffix", ["jpg", "jpeg"])
def test_jpeg_is_written_at_quality_95_without_subsampling(tmp_path: Path, suffix: str) -> None:
    ours, reference = tmp_path / f"a.{suffix}", tmp_path / "reference.jpg"
    write_image(ours, pixels())
    Image.fromarray(noise(3)).save(reference, quality=95, subsampling="4:4:4")
    with Image.open(ours) as image, Image.open(reference) as expected:
        assert image.quantization == expected.quantization
        assert {layer[1:3] for layer in image.layer} == {(1, 1)}  # no component is subsampled
        np.testing.assert_array_equal(np.asarray(image), np.asarray(expected))


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.webp"])
def test_files_are_tagged_as_srgb(tmp_path: Path, name: str) -> None:
    write_image(tmp_path / name, pixels())
    with Image.open(tmp_path / name) as image:
        assert image.info["icc_profile"] == SRGB_PROFILE
    described = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(SRGB_PROFILE)))
    assert "sRGB" in described


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.webp"])
def test_the_same_pixels_give_the_same_bytes(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = write_image(tmp_path / name, pixels(), depth=16)
    stamp = struct.pack(">6H", 1999, 9, 9, 9, 9, 9)
    later = icc.with_fixed_date(SRGB_PROFILE[:24] + stamp + SRGB_PROFILE[36:])
    monkeypatch.setattr(images, "SRGB_PROFILE", later)  # as if imported at another time
    assert write_image(tmp_path / name, pixels(), depth=16) == first


def test_a_picture_is_known_as_a_file_of_16_bits_will_keep_it(tmp_path: Path) -> None:
    any_values = torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(0)) * 1.2 - 0.1
    before = any_values.clone()
    write_image(tmp_path / "kept.tif", any_values, depth=16)
    assert torch.equal(as_kept(any_values), read_image(tmp_path / "kept.tif").pixels)
    assert torch.equal(any_values, before)


def test_eight_bits_are_rounded_half_to_even_and_clipped(tmp_path: Path) -> None:
    levels = torch.tensor([-3.0, 0.5, 1.5, 2.4, 2.6, 254.5, 255.5, 400.0])
    write_image(tmp_path / "a.png", (levels / 255).repeat(3, 4, 1))
    with Image.open(tmp_path / "a.png") as image:
        assert np.asarray(image)[0, :, 0].tolist() == [0, 0, 2, 2, 3, 254, 255, 255]


def test_an_encoder_that_fails_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Image.Image, target: io.BytesIO, **options: object) -> None:
        target.write(b"half a pict")
        raise OSError("encoder error")

    (tmp_path / "a.png").write_bytes(b"old")
    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(PhotostyleError, match=r"a\.png cannot be encoded \(encoder error\)"):
        write_image(tmp_path / "a.png", pixels())
    assert (tmp_path / "a.png").read_bytes() == b"old"
    assert names(tmp_path) == ["a.png"]


def test_pixels_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    broken = pixels()
    broken[1, 2, 3] = torch.nan
    with pytest.raises(ComputationError, match="not numbers"):
        write_image(tmp_path / "a.png", broken)
    with pytest.raises(PhotostyleError, match=r"16383.*use \.png or \.tif"):
        write_image(tmp_path / "a.webp", torch.zeros(3, 1, 16384))
    assert names(tmp_path) == []


@pytest.mark.situation("what a format of pictures cannot hold")
def test_an_output_is_checked_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder.png").mkdir()
    for name, words in {
        "a.gif": r'ends in "\.gif"; expected one of \.png \.jpg \.jpeg \.tif \.tiff \.webp',
        "a": 'ends in ""',
        "folder.png": "is a folder",
        "none/a.png": "the folder .*none does not exist",
        "a.jpg": r"alpha: use \.png, \.webp or \.tif",
    }.items():
        with pytest.raises(PhotostyleError, match=words):
            check_output(tmp_path / name, alpha=True, depth=8)
    assert check_output(tmp_path / "a.jpg", alpha=False, depth=8) == ()
    assert check_output(tmp_path / "a.TIF", alpha=True, depth=16) == ()
    (note,) = check_output(tmp_path / "a.png", alpha=True, depth=16)
    assert "use .tif to keep 16" in note
    for size in ((10, 16_384), (16_384, 10)):
        with pytest.raises(PhotostyleError, match=r"its format allows 16383 a side: use \.png or \.tif"):
            check_output(tmp_path / "a.webp", alpha=False, depth=8, size=size)
    assert check_output(tmp_path / "a.webp", alpha=False, depth=8, size=(16_383, 16_383)) == ()
    with pytest.raises(PhotostyleError, match="more than the 255 bytes"):
        check_output(tmp_path / f"{'z' * 253}.png", alpha=False, depth=8)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PhotostyleError, match="read-only"):
        check_output(tmp_path / "a.png", alpha=False, depth=8)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("alpha", [None, np.uint8, np.uint16])
def test_a_picture_of_several_strips_is_rounded_as_a_whole_one(
    tmp_path: Path, depth: int, alpha: type | None
) -> None:
    tall = torch.rand(3, images.ROWS + 40, 33, generator=torch.Generator().manual_seed(3)) * 1.2 - 0.1
    opacity = None if alpha is None else np.arange(tall[0].numel()).reshape(tall.shape[1:]).astype(alpha)
    write_image(tmp_path / "a.tif", tall, alpha=opacity, depth=depth)
    written = tifffile.imread(tmp_path / "a.tif")
    top = 2**depth - 1
    expected = (tall.clamp(0, 1) * top).round().permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(written[..., :3], expected)
    if opacity is not None:
        np.testing.assert_allclose(
            written[..., 3] / top, opacity / np.iinfo(opacity.dtype).max, atol=0.5 / top
        )


def test_a_number_that_is_none_is_found_in_the_last_strip(tmp_path: Path) -> None:
    tall = torch.zeros(3, images.ROWS + 40, 33)
    tall[2, -1, -1] = torch.nan
    with pytest.raises(ComputationError, match="not numbers"):
        write_image(tmp_path / "a.png", tall)
