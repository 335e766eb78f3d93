"""Pictures and masks in memory are what files of them would have been."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from samples import ADOBE_GAMMA, ADOBE_RGB, chunk, gamma_curve, noise, rgb_profile

from photostyle import configure, transfer
from photostyle.errors import PhotostyleError
from photostyle.evaluation.records import config_to_json, make_record
from photostyle.files.arrays import mask_set_of, path_of, picture_of, read_photograph
from photostyle.files.images import read_image
from photostyle.files.masks import read_masks

QUICK: dict[str, Any] = {"size": 48, "coarsest": 48, "iterations": (2,), "boldness": 1.0, "device": "cpu"}
COLOURS = noise(3)  # (40, 50, 3) uint8
LABELS = np.repeat(np.arange(50)[None] // 20, 40, 0)


def saved(image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    return path


# Pictures


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "CMYK", "1"])
def test_a_pil_image_is_its_file(tmp_path: Path, mode: str) -> None:
    image = (
        Image.fromarray(noise(4)).convert(mode) if mode != "CMYK" else Image.fromarray(COLOURS).convert(mode)
    )
    there = read_image(saved(image, tmp_path / ("a.tif" if mode == "CMYK" else "a.png")))
    here = picture_of(image)
    assert torch.equal(here.pixels, there.pixels) and here.depth == there.depth
    assert (here.alpha is None) == (there.alpha is None)
    assert here.alpha is None or np.array_equal(here.alpha, there.alpha)


def test_a_pil_image_s_colour_profile_and_orientation_are_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = rgb_profile(ADOBE_RGB, gamma_curve(ADOBE_GAMMA))
    path = saved(Image.fromarray(COLOURS), tmp_path / "a.png", icc_profile=profile, exif=exif)
    with Image.open(path) as image:
        here = picture_of(image)
    assert torch.equal(here.pixels, read_image(path).pixels) and here.pixels.shape == (3, 50, 40)
    assert any("colour profile" in note for note in here.notes)


def test_the_profile_of_srgb_changes_nothing() -> None:
    image = Image.fromarray(COLOURS)
    image.info["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert torch.equal(picture_of(image).pixels, picture_of(COLOURS).pixels)


@pytest.mark.parametrize(
    "array",
    [
        COLOURS,
        COLOURS.astype(np.uint16) * 257,
        COLOURS / 255,
        (COLOURS / 255).astype(np.float32),
        torch.from_numpy(COLOURS / 255).permute(2, 0, 1),
    ],
    ids=["uint8", "uint16", "float64", "float32", "tensor"],
)
def test_arrays_of_every_kind_are_the_same_picture(array: Any) -> None:
    """To a float32's rounding, 6e-8 of 1; integers are divided exactly as a file's are."""
    expected = torch.from_numpy(COLOURS).permute(2, 0, 1).double() / 255
    torch.testing.assert_close(picture_of(array).pixels.double(), expected, rtol=0, atol=1.2e-7)


def test_a_grey_pil_image_of_16_bits_keeps_them() -> None:
    deep = COLOURS[..., 0].astype(np.uint16) * 257 + 1
    here = picture_of(Image.fromarray(deep))
    assert here.depth == 16 and torch.equal(here.pixels, picture_of(deep).pixels)


def test_grey_and_alpha() -> None:
    grey = picture_of(COLOURS[..., 0])
    assert torch.equal(grey.pixels[0], grey.pixels[2]) and grey.alpha is None
    transparent = picture_of(noise(4))
    assert np.array_equal(transparent.alpha, noise(4)[..., 3])
    assert torch.equal(transparent.pixels, picture_of(noise(4)[..., :3]).pixels)


def test_the_hash_is_of_the_pixels() -> None:
    assert picture_of(COLOURS).sha256 == picture_of(COLOURS.copy()).sha256
    other = COLOURS.copy()
    other[0, 0, 0] ^= 1
    assert picture_of(COLOURS).sha256 != picture_of(other).sha256
    assert picture_of(COLOURS).sha256 != picture_of(COLOURS.transpose(1, 0, 2)).sha256


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (COLOURS[:8], r"a photo is \(8, 50, 3\); expected \(height, width, 3\) of at least 32 pixels a side"),
        (COLOURS.astype(np.float32), r"floats outside \[0, 1\]"),
        (np.full((40, 50, 3), np.nan), r"floats outside \[0, 1\]"),
        (COLOURS.astype(np.int32), "array of int32; expected uint8, uint16 or floats"),
        (torch.zeros(40, 50, 3), r"a photo is a tensor \(40, 50, 3\).*expected \(3, height, width\)"),
        (torch.zeros(3, 40, 50, dtype=torch.uint8), "tensor .* of torch.uint8"),
        (np.zeros((40, 50, 5), np.uint8), r"a photo is \(40, 50, 5\)"),
        (Image.fromarray(COLOURS[..., 0].astype(np.float32)), "pixels of type F; expected grey"),
    ],
)
def test_what_is_no_photo_is_refused(image: Any, said: str) -> None:
    with pytest.raises(PhotostyleError, match=said):
        picture_of(image)


def test_a_path_is_read_and_a_picture_is_itself(tmp_path: Path) -> None:
    path, picture = saved(Image.fromarray(COLOURS), tmp_path / "a.png"), picture_of(COLOURS)
    assert torch.equal(read_photograph(path).pixels, picture.pixels) and path_of(path) == path
    assert read_photograph(picture) is picture and path_of(picture) == picture.path


# Masks


def test_labels_are_one_region_each_under_their_numbers() -> None:
    regions = mask_set_of(LABELS)
    assert regions.names == ("0", "1", "2") and len(set(regions.colours)) == 3
    assert (
        torch.equal(regions.masks.argmax(0), torch.from_numpy(LABELS)) and (regions.masks.sum(0) == 1).all()
    )
    assert mask_set_of(torch.from_numpy(LABELS > 0)).names == ("0", "1")


def test_a_painted_mask_is_its_file(tmp_path: Path) -> None:
    painted = np.array([[0, 0, 255], [255, 0, 0], [0, 0, 0]], np.uint8)[LABELS]
    there = read_masks(saved(Image.fromarray(painted), tmp_path / "a.png"), tmp_path / "photo.png", 40, 50)
    for here in (mask_set_of(painted), mask_set_of(Image.fromarray(painted))):
        assert here.names == there.names and here.colours == there.colours
        assert torch.equal(here.masks, there.masks)


def test_soft_masks_stay_as_they_are() -> None:
    soft = np.stack((np.tile(np.linspace(0, 1, 50), (40, 1)), np.tile(np.linspace(1, 0, 50), (40, 1))))
    regions = mask_set_of(soft)
    assert regions.names == ("1", "2")
    torch.testing.assert_close(regions.masks.double(), torch.from_numpy(soft), rtol=0, atol=1.2e-7)


@pytest.mark.parametrize(
    ("masks", "said"),
    [
        (np.full((2, 40, 50), 0.8), "more than 1 in sum"),
        (np.full((2, 40, 50), -0.1), "negative"),
        (COLOURS, "a painted mask has .* colours; paint flat ones"),
        (np.zeros((40, 50)), r"masks are \(40, 50\) of float64; expected whole numbers"),
        (np.zeros((0, 40, 50)), "expected whole numbers"),
    ],
)
def test_what_is_no_mask_is_refused(masks: Any, said: str) -> None:
    with pytest.raises(PhotostyleError, match=said):
        mask_set_of(masks)


# In the place of files


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    style = np.ascontiguousarray(COLOURS[::-1] // 2)
    mask = np.array([[0, 0, 255], [255, 0, 0], [255, 255, 0]], np.uint8)[LABELS]
    pictures = {"content": COLOURS, "style": style, "mask": mask, "style-mask": mask[:, ::-1]}
    for name, array in pictures.items():
        saved(Image.fromarray(np.ascontiguousarray(array)), tmp_path / f"{name}.png")
    return {name: (tmp_path / f"{name}.png", array) for name, array in pictures.items()}


def test_a_transfer_of_arrays_is_that_of_their_files(files: dict[str, Any]) -> None:
    names = ("content", "style", "mask", "style-mask")
    there, here = ([files[name][kind] for name in names] for kind in (0, 1))
    results = [
        transfer(configure("patches", content=content, style=style, masks=masks, **QUICK))
        for content, style, *masks in (
            there,
            here,
            [Image.fromarray(np.ascontiguousarray(each)) for each in here],
        )
    ]
    for each in results[1:]:
        assert torch.equal(each.image, results[0].image)
        assert each.guidance.names == results[0].guidance.names
    assert results[1].mask_paths == ("in memory", "in memory")


def test_several_references_and_a_start_may_be_in_memory(files: dict[str, Any]) -> None:
    path, array = files["style"]
    config = configure(
        "patches", content=files["content"][1], style=[path, array], start="file", start_file=array, **QUICK
    )
    result = transfer(config)
    assert len(result.references) == 2 and torch.equal(
        result.references[0].pixels, result.references[1].pixels
    )


def test_masks_in_memory_have_the_photo_s_size(files: dict[str, Any]) -> None:
    wrong = (LABELS[:, :49], LABELS)
    config = configure("patches", content=COLOURS, style=COLOURS, masks=wrong, **QUICK)
    with pytest.raises(PhotostyleError, match="masks in memory are 49x40 but in-memory is 50x40"):
        transfer(config)


def test_a_record_names_what_was_in_memory_by_its_hash(files: dict[str, Any]) -> None:
    config = configure("patches", content=COLOURS, style=files["style"][0], masks=(LABELS, LABELS), **QUICK)
    record = make_record(config, transfer(config), "", 0.0, {}, {})
    name = f"in memory {picture_of(COLOURS).sha256}"
    assert record["config"]["content"] == record["inputs"]["content"]["path"] == name
    assert record["inputs"]["content mask"]["path"] == "in memory"
    assert config_to_json(config)["masks"] == [f"in memory {mask_set_of(LABELS).sha256}"] * 2


def test_an_image_that_is_still_open_is_read_once() -> None:
    buffer = BytesIO()
    Image.fromarray(COLOURS).save(buffer, format="PNG")
    buffer.seek(0)
    with Image.open(buffer) as image:
        assert torch.equal(picture_of(image).pixels, picture_of(COLOURS).pixels)


@pytest.mark.situation("label numbers of 16 bits")
@pytest.mark.parametrize("mode", ["I;16", "I"])
def test_a_pil_mask_keeps_its_numbers(mode: str) -> None:
    numbers = LABELS.astype(np.uint16 if mode == "I;16" else np.int32) * 1000
    regions = mask_set_of(Image.fromarray(numbers))
    assert torch.equal(regions.masks, mask_set_of(LABELS).masks)


@pytest.mark.situation("palette entries that share a colour")
def test_a_pil_mask_keeps_the_numbers_of_its_palette() -> None:
    image = Image.fromarray(LABELS.astype(np.uint8))
    image.putpalette([9, 9, 9] * 3)
    regions = mask_set_of(image)
    assert torch.equal(regions.masks, mask_set_of(LABELS).masks) and "its palette" in regions.notes[0]


@pytest.mark.situation("a mask in the alpha channel")
def test_the_alpha_and_the_turn_of_a_pil_mask_count(tmp_path: Path) -> None:
    colours = np.dstack([np.full((40, 50, 3), 255, np.uint8), np.where(LABELS == 0, 0, 255).astype(np.uint8)])
    regions = mask_set_of(Image.fromarray(colours))
    assert (
        torch.equal(regions.masks[0] > 0, torch.from_numpy(LABELS != 0)) and "transparent" in regions.notes[0]
    )
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(saved(Image.fromarray(LABELS.astype(np.uint8)), tmp_path / "a.png", exif=exif)) as image:
        assert mask_set_of(image).masks.shape == (3, 50, 40)


@pytest.mark.situation("Adobe RGB that only EXIF says")
def test_the_colours_of_a_pil_image_are_those_of_its_file(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 1
    exif[0x8769] = {0xA001: 2}
    path = saved(Image.fromarray(COLOURS), tmp_path / "a.png", exif=exif)
    gamma = saved(Image.fromarray(COLOURS), tmp_path / "b.png")
    whole = gamma.read_bytes()
    gamma.write_bytes(whole[:33] + chunk(b"gAMA", (100_000).to_bytes(4, "big")) + whole[33:])
    for each in (path, gamma):
        with Image.open(each) as image:
            here = picture_of(image)
        assert torch.equal(here.pixels, read_image(each).pixels) and "converted" in here.notes[0]


def test_other_number_formats_are_the_same_picture() -> None:
    deep = COLOURS.astype(np.uint16) * 257
    assert torch.equal(picture_of(deep.astype(">u2")).pixels, picture_of(deep).pixels)
    half = torch.from_numpy(COLOURS / 255).permute(2, 0, 1).bfloat16()
    assert torch.equal(picture_of(half).pixels, half.float())


def test_numbers_that_are_no_labels_are_refused() -> None:
    with pytest.raises(PhotostyleError, match="10000 labels"):
        mask_set_of(np.arange(10_000).reshape(100, 100))


def test_a_pil_image_that_cannot_be_decoded_is_refused(tmp_path: Path) -> None:
    path = saved(Image.fromarray(COLOURS), tmp_path / "a.png")
    path.write_bytes(path.read_bytes()[:200])
    for read in (picture_of, mask_set_of):
        with Image.open(path) as image, pytest.raises(PhotostyleError, match="damaged"):
            read(image)


@pytest.mark.parametrize(
    "mode",
    [
        "float64",
        "inference_mode",
        *(pytest.param(each, marks=pytest.mark.slow) for each in ("float16", "no_grad", "autocast")),
    ],
)
@pytest.mark.situation("torch in another mode")
def test_a_transfer_is_the_same_in_every_mode_of_torch(mode: str) -> None:
    """Another default dtype, no gradients, casts: the caller's own, and theirs again afterwards."""

    def made() -> torch.Tensor:
        halves = (LABELS > 0, LABELS > 0)
        return transfer(
            configure("patches", content=COLOURS, style=COLOURS[::-1], masks=halves, **QUICK)
        ).image

    expected = made()
    modes = {
        "no_grad": torch.no_grad,
        "inference_mode": torch.inference_mode,
        "autocast": lambda: torch.autocast("cpu"),
    }
    if mode in modes:
        with modes[mode]():
            found = made()
            assert torch.is_grad_enabled() == (mode == "autocast")
    else:
        torch.set_default_dtype(getattr(torch, mode))
        try:
            found = made()
            assert torch.get_default_dtype() == getattr(torch, mode)
        finally:
            torch.set_default_dtype(torch.float32)
    assert found.dtype == torch.float32 and torch.equal(found, expected)
