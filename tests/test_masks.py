import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from skimage import data

from photostyle.errors import PhotostyleError
from photostyle.files import legends as legend_module
from photostyle.files import masks as mask_module
from photostyle.files.images import read_grey, read_image
from photostyle.files.legends import hex_name
from photostyle.files.masks import MaskSet, read_masks, whole_picture
from photostyle.files.palettes import LIKE_COLOURS

PHOTO = Path("photo.jpg")
BLACK, WHITE, BLUE, GREEN = (0, 0, 0), (255, 255, 255), (0, 0, 255), (0, 255, 0)
HEIGHT, WIDTH = 60, 80


def painted(*colours: tuple[int, int, int], height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Vertical stripes of equal width, (H, W, 3) uint8."""
    stripe = np.arange(width) * len(colours) // width
    return np.broadcast_to(np.array(colours, np.uint8)[stripe], (height, width, 3)).copy()


def discs(scale: int) -> np.ndarray:
    """Blue and black discs on white, smooth-edged where `scale` > 1: drawn so much larger and averaged."""
    y, x = np.mgrid[0 : 120 * scale, 0 : 160 * scale] / scale
    picture = np.full((*y.shape, 3), 255.0)
    picture[(y - 60) ** 2 + (x - 50) ** 2 < 40**2] = BLUE
    picture[(y - 60) ** 2 + (x - 100) ** 2 < 45**2] = BLACK
    return picture.reshape(120, scale, 160, scale, 3).mean((1, 3)).round().astype(np.uint8)


def read(path: Path, height: int = HEIGHT, width: int = WIDTH) -> MaskSet:
    """Read, and check what every mask set promises."""
    found = read_masks(path, PHOTO, height, width)
    assert found.masks.shape == (len(found.names), height, width) and found.masks.dtype == torch.float32
    assert len(set(found.names)) == len(found.names) == len(found.colours) >= 1
    assert found.masks.min() >= 0 and found.masks.sum(0).max() <= 1 + 1e-6  # float32 rounding of a division
    assert (found.masks.amax((1, 2)) > 0).all()
    return found


def refused(path: Path, *words: str, height: int = HEIGHT, width: int = WIDTH) -> None:
    with pytest.raises(PhotostyleError) as caught:
        read_masks(path, PHOTO, height, width)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def save(path: Path, picture: np.ndarray, **options: object) -> Path:
    Image.fromarray(picture).save(path, **options)
    return path


def test_no_masks_mean_one_region_everywhere() -> None:
    whole = whole_picture(3, 5)
    assert whole.names == ("all",) and torch.equal(whole.masks, torch.ones(1, 3, 5))


# colour masks


def test_each_colour_of_a_mask_is_a_region_named_by_it(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", painted(WHITE, BLACK, BLUE, (18, 52, 86)))
    found = read(path)
    assert found.names == ("#000000", "#0000ff", "#123456", "#ffffff")
    assert found.colours == (BLACK, BLUE, (18, 52, 86), WHITE)
    assert found.exact and found.notes == ()
    for mask, stripe in zip(found.masks, (1, 2, 3, 0), strict=True):
        assert torch.equal(mask[0], (torch.arange(WIDTH) * 4 // WIDTH == stripe).float())


def test_rgb_rgba_grey_and_palette_masks_are_one_mask(tmp_path: Path) -> None:
    picture = painted(BLACK, (128, 128, 128), WHITE)
    alpha = (128 + np.arange(HEIGHT * WIDTH) % 128).reshape(HEIGHT, WIDTH, 1).astype(np.uint8)
    paths = [
        save(tmp_path / "rgb.png", picture),
        save(tmp_path / "rgba.png", np.concatenate([picture, alpha], -1)),
        save(tmp_path / "grey.png", picture[..., 0]),
        tmp_path / "palette.png",
    ]
    Image.fromarray(picture).quantize(3).save(paths[3])
    first, *others = [read(path) for path in paths]
    assert first.names == ("#000000", "#808080", "#ffffff")
    for other in others:
        assert other.names == first.names and torch.equal(other.masks, first.masks)


def test_black_is_a_region_like_any_other(tmp_path: Path) -> None:
    found = read(save(tmp_path / "a.png", painted(BLACK)))
    assert found.names == ("#000000",) and (found.masks == 1).all()


def test_a_colour_is_a_region_from_one_percent_of_the_mask_on(tmp_path: Path) -> None:
    picture = painted(WHITE)
    picture.reshape(-1, 3)[: HEIGHT * WIDTH // 100] = BLUE
    assert read(save(tmp_path / "a.png", picture)).names == ("#0000ff", "#ffffff")
    picture[0, 0] = WHITE
    found = read(save(tmp_path / "b.png", picture))
    assert found.names == ("#ffffff",) and (found.masks == 1).all()


def test_the_edge_of_a_smoothly_drawn_mask_invents_no_region(tmp_path: Path) -> None:
    smooth, sharp = (read(save(tmp_path / f"{s}.png", discs(s)), 120, 160) for s in (8, 1))
    assert len(np.unique(discs(8).reshape(-1, 3), axis=0)) > 50
    assert smooth.names == sharp.names == ("#000000", "#0000ff", "#ffffff") and smooth.exact
    # They may differ where the smooth one is mixed: a pixel goes to the nearest pure one, not the majority.
    mixed = torch.from_numpy((discs(8) != discs(1)).any(-1))
    assert torch.equal(smooth.masks[:, ~mixed], sharp.masks[:, ~mixed])
    assert (smooth.masks.sum(0) == 1).all()


def test_a_stray_pixel_takes_the_label_nearest_in_space_not_in_colour(tmp_path: Path) -> None:
    picture = painted(BLUE, WHITE)
    picture[30, 10] = (250, 250, 250)
    found = read(save(tmp_path / "a.png", picture))
    assert found.masks[found.names.index("#0000ff"), 30, 10] == 1


@pytest.mark.parametrize("quality", [30, 75, 95])
def test_a_jpeg_mask_has_the_regions_it_was_painted_with(tmp_path: Path, quality: int) -> None:
    found = read(save(tmp_path / "a.jpg", discs(8), quality=quality), 120, 160)
    assert not found.exact and "gathered into 3 regions" in found.notes[0]
    for colour in (WHITE, BLACK, BLUE):
        nearest = min(np.abs(np.subtract(colour, other)).max() for other in found.colours)
        assert nearest <= 3  # JPEG's YCbCr is 8-bit: blue takes 1.8 times the half level of its chroma
    truth = read(save(tmp_path / "a.png", discs(1)), 120, 160)
    order = [int(np.abs(np.subtract(colour, truth.colours)).sum(1).argmin()) for colour in found.colours]
    # Wrong only along the edges: the discs' outlines are some 500 pixels long, of 19,200.
    assert (found.masks != truth.masks[order]).any(0).float().mean() < 500 / 19200


@pytest.mark.parametrize("suffix", ["webp", "tif", "jpg.png"])
def test_a_lossy_mask_has_its_regions_whatever_it_is_called(tmp_path: Path, suffix: str) -> None:
    """As many as were painted, and a note; lossless WebP is exact."""
    options = {"tif": {"compression": "jpeg"}, "jpg.png": {"format": "JPEG"}}.get(suffix, {})
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(discs(1)).save(path, quality=80, **options)
    found = read(path, 120, 160)
    assert len(found.names) == 3 and not found.exact and "gathered into 3 regions" in found.notes[0]
    exact = read(save(tmp_path / "b.webp", discs(1), lossless=True), 120, 160)
    assert exact.exact and len(exact.names) == 3 and exact.notes == ()


def test_a_png_that_was_a_jpeg_has_one_region_for_colours_a_level_apart(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    picture = painted(BLACK, (200, 30, 30), height=120, width=160)
    picture += (rng.random(picture.shape) < 0.1).astype(np.uint8)
    picture[::20] = rng.integers(0, 256, picture[::20].shape)  # more colours than a palette has
    found = read(save(tmp_path / "a.png", picture), 120, 160)
    assert set(found.names) == {"#000000", "#c81e1e"} and not found.exact


def test_the_numbers_of_a_label_map_without_a_legend_stay_apart(tmp_path: Path) -> None:
    numbers = painted((0, 0, 0), (1, 1, 1), (2, 2, 2))[..., 0]
    assert read(save(tmp_path / "a.png", numbers)).names == ("#000000", "#010101", "#020202")


@pytest.mark.parametrize("photo", ["astronaut", "coffee", "chelsea", "rocket"])
def test_a_photograph_is_no_mask(tmp_path: Path, photo: str) -> None:
    picture = getattr(data, photo)()
    path = save(tmp_path / "a.png", picture)
    refused(path, str(path), "no colour mask", "75%", height=picture.shape[0], width=picture.shape[1])


@pytest.mark.slow
def test_a_mask_of_a_camera_s_size_takes_no_minutes(tmp_path: Path) -> None:
    picture = np.kron(discs(8), np.ones((12, 12, 1), np.uint8))
    path = save(tmp_path / "a.png", picture, compress_level=1)
    start = time.process_time()
    assert len(read(path, 1440, 1920).names) == 3
    # Under 1 s of a core for these 2.8 megapixels; to compare every pixel with every other takes hours.
    assert time.process_time() - start < 60


# sizes


def test_a_mask_of_nearly_the_photo_s_shape_is_resized_and_it_is_said(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", painted(BLUE, WHITE, height=59))
    found = read(path)
    assert found.notes == (f"{path} is 80x59, photo.jpg is 80x60: the mask was resized",)
    assert torch.equal(found.masks[0, 0], (torch.arange(WIDTH) < WIDTH // 2).float())


def test_a_larger_mask_gives_each_pixel_the_label_in_its_middle(tmp_path: Path) -> None:
    small = painted(BLUE, WHITE, GREEN, BLACK)
    large = np.zeros((3 * HEIGHT, 3 * WIDTH, 3), np.uint8)
    large[1::3, 1::3] = small
    third = read(save(tmp_path / "a.png", large))
    assert torch.equal(third.masks, read(save(tmp_path / "b.png", small)).masks)


def test_a_mask_of_another_shape_is_refused_with_both_sizes(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", painted(BLUE, WHITE, height=57))
    refused(path, f"{path} is 80x57, photo.jpg is 80x60", "export the mask at the photo's size")
    refused(save(tmp_path / "b.png", painted(BLUE, WHITE, height=80, width=60)), "60x80")


# legends


@pytest.mark.situation("a mask that lies on its side")
def test_a_mask_that_is_not_turned_as_its_photo_is_told_so(tmp_path: Path) -> None:
    """Programs that pass over EXIF export the mask of a turned photo as the sensor saw it."""
    path = save(tmp_path / "a.png", painted(BLUE, GREEN))
    refused(path, "lies on its side", "EXIF orientation", height=WIDTH, width=HEIGHT)
    said = Image.Exif()
    said[0x0112] = 6
    Image.fromarray(painted(BLUE, GREEN)).save(path, exif=said)
    assert read(path, WIDTH, HEIGHT).masks[0, : WIDTH // 2].all()


def documented(kind: str) -> str:
    """The example in the module's docstring."""
    blocks = re.findall(r"(?:^    .*\n|^\n)+", str(legend_module.__doc__), re.M)
    (example,) = [block for block in blocks if f'kind = "{kind}"' in block]
    return re.sub(r"^    ", "", example, flags=re.M)


def test_the_documented_label_map_is_read(tmp_path: Path) -> None:
    (tmp_path / "legend.toml").write_text(documented("labels"))
    numbers = np.where(np.arange(WIDTH) < 20, 2, 17) * np.ones((HEIGHT, 1))
    save(tmp_path / "labels.png", numbers.astype(np.uint8))
    found = read(tmp_path)
    assert found.names == ("sky", "old wall")
    assert found.colours == ((0x78, 0xB4, 0xFF), (0xB4, 0x64, 0x28))
    assert found.exact and found.notes == ()
    assert torch.equal(found.masks[0, 0], (torch.arange(WIDTH) < 20).float())
    assert torch.equal(read(tmp_path / "labels.png").masks, found.masks)


def test_the_documented_soft_set_is_read_at_8_and_16_bits(tmp_path: Path) -> None:
    (tmp_path / "legend.toml").write_text(documented("soft"))
    sky = np.tile(np.linspace(0, 65535, WIDTH).round().astype(np.uint16), (HEIGHT, 1))
    save(tmp_path / "sky.png", sky)
    save(tmp_path / "ground.png", np.full((HEIGHT, WIDTH), 0, np.uint8) + np.uint8(51) * (sky < 32768))
    found = read(tmp_path)
    assert found.names == ("sky", "ground") and found.notes == ()
    np.testing.assert_array_equal(found.masks[0].numpy(), np.float32(sky / 65535))
    np.testing.assert_array_equal(found.masks[1].numpy(), np.float32(0.2) * (sky < 32768))


@pytest.mark.parametrize("name", ["./labels.png", "../masks/labels.png"])
def test_a_legend_may_spell_the_name_of_its_file_otherwise(tmp_path: Path, name: str) -> None:
    """The file is read by its legend, as its folder is."""
    folder = tmp_path / "masks"
    folder.mkdir()
    (folder / "legend.toml").write_text(documented("labels").replace("labels.png", name))
    save(folder / "labels.png", np.uint8(np.where(np.arange(WIDTH) < 20, 2, 17) * np.ones((HEIGHT, 1))))
    assert read(folder / "labels.png").names == read(folder).names == ("sky", "old wall")


def test_a_soft_mask_of_false_and_true_is_said(tmp_path: Path) -> None:
    """Saved as numbers 0 and 1 it is nearly black."""
    (tmp_path / "legend.toml").write_text(documented("soft"))
    half = np.uint8(np.arange(WIDTH) < 20) * np.ones((HEIGHT, 1), np.uint8)
    save(tmp_path / "sky.png", half)
    save(tmp_path / "ground.png", 255 - 255 * half)
    assert "sky.png is nowhere brighter than 1 of 255" in read(tmp_path).notes[0]


def test_masks_that_no_memory_holds_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mask_module, "free_memory", lambda device: 3 * 4 * HEIGHT * WIDTH - 1)
    assert len(read(save(tmp_path / "a.png", painted(BLUE, GREEN))).names) == 2
    refused(save(tmp_path / "a.png", painted(BLUE, GREEN, WHITE)), "3 regions", "unite regions")


def test_a_file_that_the_legend_beside_it_does_not_name_is_a_colour_mask(tmp_path: Path) -> None:
    (tmp_path / "legend.toml").write_text(documented("labels"))
    numbers = painted((2, 2, 2), (17, 17, 17))[..., 0]
    assert read(save(tmp_path / "other.png", numbers)).names == ("#020202", "#111111")


def test_a_palette_is_a_label_map_by_its_indices(tmp_path: Path) -> None:
    (tmp_path / "legend.toml").write_text(documented("labels").replace("17", "0"))
    image = Image.fromarray(
        np.where(np.arange(WIDTH) < 20, 2, 0).astype(np.uint8) * np.ones((HEIGHT, 1), np.uint8)
    )
    image.putpalette([9, 9, 9, 8, 8, 8, 7, 7, 7])
    image.save(tmp_path / "labels.png")
    assert read(tmp_path).masks.mean((1, 2)).tolist() == [0.25, 0.75]


def test_values_without_a_name_are_in_no_region_and_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "legend.toml").write_text(documented("labels"))
    numbers = painted((2, 2, 2), (17, 17, 17), (255, 255, 255), (255, 255, 255))[..., 0]
    save(tmp_path / "labels.png", numbers)
    found = read(tmp_path)
    assert found.masks.sum(0).mean() == 0.5
    assert "50.0% of its pixels have values" in found.notes[0]


def soft(folder: Path, **levels: float) -> Path:
    """A soft set of constant masks."""
    lines = [f'{name} = {{ file = "{name}.png", colour = "#000000" }}' for name in levels]
    (folder / "legend.toml").write_text('kind = "soft"\n[regions]\n' + "\n".join(lines))
    for name, level in levels.items():
        save(folder / f"{name}.png", np.full((HEIGHT, WIDTH), round(255 * level), np.uint8))
    return folder


def test_soft_masks_that_sum_to_more_than_one_are_divided_and_it_is_said(tmp_path: Path) -> None:
    found = read(soft(tmp_path, a=1, b=0.6))
    np.testing.assert_allclose(found.masks[:, 0, 0], (1 / 1.6, 0.6 / 1.6), rtol=1e-6)
    assert "100.0% of the pixels" in found.notes[0] and "divided" in found.notes[0]


def test_sums_above_one_by_rounding_are_no_news(tmp_path: Path) -> None:
    found = read(soft(tmp_path, a=128 / 255, b=128 / 255))
    assert found.notes == () and found.masks.sum(0).max() <= 1


def test_an_empty_region_is_dropped_and_an_empty_set_refused(tmp_path: Path) -> None:
    found = read(soft(tmp_path, a=0.5, b=0))
    assert found.names == ("a",)
    assert found.notes == (f"{tmp_path / 'legend.toml'}: b covers no pixel and was dropped",)
    refused(soft(tmp_path, a=0, b=0), "legend.toml describes masks that cover no pixel")


def test_soft_masks_are_resized_smoothly(tmp_path: Path) -> None:
    found = read_masks(soft(tmp_path, a=0.4, b=0.6), PHOTO, 30, 40)
    np.testing.assert_allclose(found.masks[:, 3, 5], (102 / 255, 153 / 255), rtol=1e-5)
    assert "resized" in found.notes[0]
    stripes = np.tile(np.arange(WIDTH) % 4 == 1, (HEIGHT, 1)) * np.uint8(255)
    save(tmp_path / "a.png", stripes)
    save(tmp_path / "b.png", 255 - stripes)
    quarter = read_masks(tmp_path, PHOTO, 15, 20).masks
    # Samples between pixels 1 and 2 would give 0.5; the triangle over 8 pixels gives their mean.
    np.testing.assert_allclose(quarter[0, 2:-2, 2:-2], 0.25, atol=1e-3)


def test_a_faulty_legend_is_refused_with_the_entry(tmp_path: Path) -> None:
    legend = tmp_path / "legend.toml"
    refused(tmp_path, "is a folder without legend.toml")
    for text, *words in [
        ("kind = ", "is no TOML file"),
        ("", "kind = None", '"labels", "soft" or "colours"'),
        ('kind = "hard"', "kind = 'hard'"),
        ('kind = "soft"', "the keys kind; expected kind, regions"),
        (documented("labels").replace("file =", "flie ="), "flie"),
        (documented("labels").replace('"labels.png"', "3"), "file = 3"),
        ('kind = "soft"\nregions = {}', "names no regions"),
        (documented("labels").replace("value = 2", 'value = "2"'), "sky", "value = 2"),
        (documented("labels").replace("#78b4ff", "blue"), "sky", 'colour = "#78b4ff"'),
        (documented("labels").replace("17", "2"), "gives 2 to", "another region"),
        (documented("soft").replace("ground.png", "sky.png"), "gives 'sky.png' to"),
    ]:
        legend.write_text(text)
        refused(tmp_path, str(legend), *words)


def test_a_missing_or_odd_file_is_refused_with_the_legend_and_the_entry(tmp_path: Path) -> None:
    soft(tmp_path, a=0.5, b=0.5)
    (tmp_path / "b.png").unlink()
    refused(tmp_path, "legend.toml, b:", "b.png does not exist")
    save(tmp_path / "b.png", painted(BLUE, WHITE))
    refused(tmp_path, "legend.toml, b:", "b.png has colours")
    save(tmp_path / "b.png", np.zeros((50, 50), np.uint8))
    refused(tmp_path, "legend.toml", "b.png is 50x50", "a.png is 80x60")


def test_the_hash_covers_every_file_read(tmp_path: Path) -> None:
    before = read(soft(tmp_path, a=0.5, b=0.5)).sha256
    after = [read(soft(tmp_path, **levels)).sha256 for levels in ({"a": 0.5, "b": 0.4}, {"a": 0.4, "b": 0.5})]
    assert len({before, *after}) == 3
    legend = tmp_path / "legend.toml"
    legend.write_text(legend.read_text() + "\n")
    assert read(tmp_path).sha256 != after[1]


# paintings: colour masks whose colours a legend names

SKY, WALL = (0x78, 0xB4, 0xFF), (0xB4, 0x64, 0x28)


def painting(folder: Path, name: str = "masks.png", void: str = "", **regions: tuple[int, int, int]) -> Path:
    """Write the legend of a painting, and say where the picture goes."""
    lines = [f'{key} = {{ colour = "{hex_name(colour)}" }}' for key, colour in regions.items()]
    head = f'kind = "colours"\nfile = "{name}"\n{void}\n[regions]\n'
    (folder / "legend.toml").write_text(head + "\n".join(lines))
    return folder / name


def test_the_documented_painting_is_read(tmp_path: Path) -> None:
    (tmp_path / "legend.toml").write_text(documented("colours"))
    save(tmp_path / "masks.png", painted((0x5A, 0x8C, 0x3C), SKY, SKY, SKY))
    found = read(tmp_path)
    assert found.names == ("sky", "ground") and found.colours == (SKY, (0x5A, 0x8C, 0x3C))
    assert found.exact and found.notes == ()
    assert torch.equal(found.masks[1, 0], (torch.arange(WIDTH) < 20).float())
    assert torch.equal(read(tmp_path / "masks.png").masks, found.masks)


@pytest.mark.parametrize("kind", ["RGB", "RGBA", "L", "P"])
def test_a_painting_is_a_colour_mask_with_names(tmp_path: Path, kind: str) -> None:
    path = painting(tmp_path, high=WHITE, middle=(128, 128, 128), low=BLACK)
    picture = Image.fromarray(painted(BLACK, (128, 128, 128), WHITE))
    (picture.quantize(3) if kind == "P" else picture.convert(kind)).save(path)
    found, plain = read(tmp_path), read(Path(shutil.copy(path, tmp_path / "plain.png")))
    assert found.names == ("high", "middle", "low") and found.exact and found.notes == ()
    assert torch.equal(found.masks, plain.masks[[2, 1, 0]])


def test_the_smooth_edges_of_a_painting_invent_no_region(tmp_path: Path) -> None:
    path = save(painting(tmp_path, paper=WHITE, ink=BLACK, sea=BLUE), discs(8))
    found, plain = read(tmp_path, 120, 160), read(Path(shutil.copy(path, tmp_path / "a.png")), 120, 160)
    assert found.names == ("paper", "ink", "sea") and found.exact and found.notes == ()
    assert torch.equal(found.masks, plain.masks[[2, 0, 1]])


def test_a_colour_that_the_legend_does_not_name_is_a_region_and_it_is_said(tmp_path: Path) -> None:
    path = save(painting(tmp_path, sky=SKY, wall=WALL), painted(WALL, SKY, GREEN, (0x77, 0xB4, 0xFF)))
    found = read(tmp_path)
    assert found.names == ("sky", "wall", "#00ff00", "#77b4ff") and found.exact
    assert found.colours == (SKY, WALL, GREEN, (0x77, 0xB4, 0xFF))
    assert found.masks.mean((1, 2)).tolist() == [0.25] * 4
    assert found.notes == (
        f"{path} has colours that {tmp_path / 'legend.toml'} does not name, each a region of its own: "
        "#00ff00, #77b4ff",
    )


def test_a_colour_of_the_legend_counts_from_one_pixel_on(tmp_path: Path) -> None:
    picture = painted(SKY, WALL)
    picture[30, 10], picture[30, 20] = BLUE, GREEN
    save(painting(tmp_path, sky=SKY, wall=WALL, bird=BLUE), picture)
    found = read(tmp_path)
    assert found.names == ("sky", "wall", "bird") and found.notes == ()
    assert found.masks[2].nonzero().tolist() == [[30, 10]]
    assert found.masks[0, 30, 20] == 1  # the green pixel: nobody vouches for it


def test_a_region_that_is_nowhere_painted_is_dropped_and_it_is_said(tmp_path: Path) -> None:
    save(painting(tmp_path, sky=SKY, sea=BLUE), painted(SKY))
    found = read(tmp_path)
    assert found.names == ("sky",) and found.exact
    assert found.notes == (f"{tmp_path / 'legend.toml'}: sea covers no pixel and was dropped",)


def test_pixels_in_the_void_colour_are_in_no_region(tmp_path: Path) -> None:
    save(painting(tmp_path, void='void = "#000000"', sky=SKY, wall=WALL), painted(WALL, BLACK, GREEN, BLACK))
    found = read(tmp_path)
    assert found.names == ("wall", "#00ff00")
    assert found.masks.sum((0, 1)).div(HEIGHT).tolist() == [1.0] * 20 + [0.0] * 20 + [1.0] * 20 + [0.0] * 20
    save(tmp_path / "masks.png", painted(BLACK))
    refused(tmp_path, "legend.toml describes masks that cover no pixel")


# JPEG of quality 30 rounds the mean of a block's luma and chroma by 1.8 levels at most (ITU-T T.81, tables K.1
# and K.2 scaled by 1.67: steps of 27 and 28 for 8 times the mean), so a channel's by 1.8 + 1.772 * 1.8 = 5.
@pytest.mark.parametrize("quality", [30, 75, 95])
def test_a_lossy_painting_has_its_names_and_all_of_its_regions(tmp_path: Path, quality: int) -> None:
    colours = {"sky": SKY, "wall": WALL, "leaf": (90, 140, 60), "bird": (200, 40, 160)}
    picture = painted(*list(colours.values())[:3], height=120, width=192)
    picture[40:56, 16:28] = colours["bird"]  # 0.8 % of the mask: under what a colour without a name needs
    path = save(painting(tmp_path, "masks.jpg", sea=BLUE, **colours), picture, quality=quality)
    found = read(tmp_path, 120, 192)
    assert found.names == tuple(colours) and found.colours == tuple(colours.values())
    assert found.exact  # the names are the legend's, not those of the colours found
    assert found.notes == (
        f"{path} has blurred or lossy colours: gathered into 4 regions",
        f"{tmp_path / 'legend.toml'}: sea covers no pixel and was dropped",
    )
    truth = torch.from_numpy(np.stack([(picture == c).all(-1) for c in colours.values()])).float()
    # Wrong by less than a chroma sample's two pixels on both sides of the edges, 2 · 120 + 2 · 28 long.
    assert (found.masks != truth).any(0).sum() < 4 * 300


def test_a_png_that_was_a_jpeg_has_the_names_of_colours_a_level_off(tmp_path: Path) -> None:
    picture = painted(SKY, WALL, height=120, width=160)
    picture[picture[..., 0] == SKY[0]] += np.array([1, 2, 0], np.uint8)
    rng = np.random.default_rng(0)
    picture[::20] = rng.integers(0, 256, picture[::20].shape)  # more colours than a palette has
    save(painting(tmp_path, sky=SKY, wall=WALL), picture)
    found = read(tmp_path, 120, 160)
    assert found.names == ("sky", "wall") and found.exact and len(found.notes) == 1
    np.testing.assert_allclose(found.masks.mean((1, 2)), 0.5, atol=0.01)  # by chance some noise is flat


def test_a_lossy_colour_takes_the_nearest_name_within_reach(tmp_path: Path) -> None:
    dark, light, off = (100, 100, 100), (100, 100, 112), (100, 100, 112 + LIKE_COLOURS)
    stripes = painted((100, 100, 105), (100, 100, 107), (100, 101, 127), off, height=120, width=160)
    found_in = painting(tmp_path, "masks.jpg", dark=dark, light=light)
    Image.fromarray(stripes).save(found_in, format="PNG")  # exact pixels under a name that says they are not
    found = read(tmp_path, 120, 160)
    assert found.names == ("dark", "light", hex_name(off)) and not found.exact
    assert found.masks.mean((1, 2)).tolist() == [0.25, 0.5, 0.25]
    assert "does not name" in found.notes[1] and found.notes[0].endswith("gathered into 3 regions")


def test_near_colours_that_the_legend_names_are_meant(tmp_path: Path) -> None:
    y, x = np.mgrid[:120, :160]
    picture = painted((10, 10, 10), (12, 10, 10), BLUE, height=120, width=160)
    edge = (x >= 104) & (x < 108)  # beside the last stripe, as many colours as 480 pixels hold
    picture[edge] = np.stack([y + 40, 2 * y, x], -1)[edge]
    save(painting(tmp_path, one=(10, 10, 10), two=(12, 10, 10), sea=BLUE), picture)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 256
    found = read(tmp_path, 120, 160)
    assert found.names == ("one", "two", "sea") and found.exact and found.notes == ()


def test_a_photograph_is_no_painting(tmp_path: Path) -> None:
    picture = data.chelsea()
    path = save(painting(tmp_path, cat=(150, 100, 80)), picture)
    refused(tmp_path, "legend.toml, file:", f"{path} is no colour mask", height=300, width=451)


def test_a_faulty_painting_is_refused_with_the_entry(tmp_path: Path) -> None:
    path = painting(tmp_path, sky=SKY, air=SKY)
    refused(tmp_path, "legend.toml gives '#78b4ff' to sky and another region")
    painting(tmp_path, sky=SKY)
    refused(tmp_path, "legend.toml, file:", f"{path} does not exist")


def test_a_painting_s_hash_covers_its_names_and_its_picture(tmp_path: Path) -> None:
    path = save(painting(tmp_path, sky=SKY, wall=WALL), painted(SKY, WALL))
    hashes = [read(tmp_path).sha256]
    save(path, painted(SKY, WALL, WALL))
    hashes.append(read(tmp_path).sha256)
    painting(tmp_path, sky=SKY, hut=WALL)
    hashes.append(read(tmp_path).sha256)
    assert len(set(hashes)) == 3


def test_a_mask_by_itself_has_the_size_of_its_file(tmp_path: Path) -> None:
    def size(path: Path) -> tuple[int, ...]:
        found = read_masks(path, path)
        assert found.notes == ()
        return tuple(found.masks.shape[1:])

    picture = painted(SKY, WALL, height=12, width=34)
    assert size(save(painting(tmp_path, sky=SKY, wall=WALL), picture)) == (12, 34) == size(tmp_path)
    (tmp_path / "legend.toml").write_text(documented("labels"))
    save(tmp_path / "labels.png", painted((2, 2, 2), (17, 17, 17), height=5, width=34)[..., 0])
    assert size(tmp_path) == (5, 34)
    soft(tmp_path, a=0.5, b=0.5)
    assert size(tmp_path) == (HEIGHT, WIDTH)


# the published masks

PUBLISHED = {  # pair: regions of the content, of the style; counted by eye
    1: (3, 3),
    3: (2, 3),
    7: (2, 2),
    8: (2, 2),
    13: (1, 1),
    16: (2, 2),
    20: (2, 2),
    30: (4, 5),
    33: (2, 2),
    42: (3, 3),
    51: (4, 4),
    57: (1, 1),
}
PRIMARIES = np.array(np.meshgrid(*[[0, 255]] * 3)).reshape(3, -1).T


@pytest.mark.parametrize("pair", PUBLISHED)
def test_the_published_masks_have_their_regions_and_no_grey(shared: Path, pair: int) -> None:
    sides = (("input", f"in{pair}.png"), ("style", f"tar{pair}.png"))
    for (side, name), count in zip(sides, PUBLISHED[pair], strict=True):
        photo = read_image(shared / "dpst" / side / name)
        found = read(shared / "dpst" / "segmentation" / name, photo.height, photo.width)
        assert len(found.names) == count
        for colour in found.colours:  # no grey: what was painted is black, white and the primaries
            assert np.abs(PRIMARIES - colour).max(1).min() <= 1
        assert (found.masks.sum(0) == 1).all()


@pytest.mark.parametrize("pair", PUBLISHED)
def test_the_published_masks_as_jpeg_paintings_have_their_regions(
    shared: Path, tmp_path: Path, pair: int
) -> None:
    for name in (f"in{pair}.png", f"tar{pair}.png"):
        mask = shared / "dpst" / "segmentation" / name
        size = read_masks(mask, mask).masks.shape[1:]
        plain = read(mask, *size)
        names = {f"r{k}": colour for k, colour in enumerate(plain.colours)}
        Image.open(mask).convert("RGB").save(painting(tmp_path, "masks.jpg", **names), quality=30)
        found = read(tmp_path, *size)
        assert found.names == tuple(names) and found.exact
        # Wrong along the edges only: up to 0.021 measured (a mask of thin branches), median 0.002.
        assert (found.masks != plain.masks).any(0).float().mean() < 0.03


def test_the_mask_of_a_whole_picture_takes_no_room() -> None:
    masks = whole_picture(3000, 4000).masks
    assert masks.shape == (1, 3000, 4000) and masks.untyped_storage().nbytes() == 4 and bool(masks.all())


# what a mask's file means beside its colours


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.situation("label numbers of 16 bits")
def test_numbers_of_16_bits_stay_apart_and_are_those_of_8(tmp_path: Path, suffix: str) -> None:
    numbers = painted((0, 0, 0), (1, 1, 1), (2, 2, 2))[..., 0]
    eight = read(save(tmp_path / f"8.{suffix}", numbers))
    sixteen = read(save(tmp_path / f"16.{suffix}", numbers.astype(np.uint16)))
    assert sixteen.names == eight.names == ("#000000", "#010101", "#020202")
    assert torch.equal(sixteen.masks, eight.masks) and sixteen.exact
    large = read(save(tmp_path / f"large.{suffix}", numbers.astype(np.uint16) + 1000))
    assert torch.equal(large.masks, eight.masks)
    assert read(save(tmp_path / f"deep.{suffix}", numbers.astype(np.uint16) * 257)).names == eight.names


def test_many_numbers_of_16_bits_stay_apart(tmp_path: Path) -> None:
    numbers = np.kron(np.arange(15 * 20).reshape(15, 20), np.ones((4, 4))).astype(np.uint16)
    assert len(read(save(tmp_path / "a.png", numbers)).names) == 300


def test_the_soft_edge_of_a_deep_mask_is_no_label(tmp_path: Path) -> None:
    smooth = (discs(8)[..., 0].astype(float) * 257 + 0.3 * discs(8)[..., 0]).clip(0, 65535).astype(np.uint16)
    found = read(save(tmp_path / "a.png", smooth), 120, 160)
    assert found.names == ("#000000", "#ffffff")


@pytest.mark.situation("palette entries that share a colour")
def test_palette_entries_of_one_colour_stay_apart_and_it_is_said(tmp_path: Path) -> None:
    image = Image.fromarray(painted((0, 0, 0), (1, 1, 1), (2, 2, 2))[..., 0])
    image.putpalette([9, 9, 9] * 3)
    image.save(tmp_path / "a.png")
    found = read(tmp_path / "a.png")
    assert len(found.names) == 3 and "one colour for several numbers" in found.notes[0]


def test_colours_that_8_bits_do_not_tell_apart_are_refused(tmp_path: Path) -> None:
    colours = painted(BLUE, WHITE).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", colours // 255, photometric="rgb")
    refused(tmp_path / "a.tif", "do not tell apart")


@pytest.mark.situation("a label map of many small objects")
def test_a_label_map_of_many_small_objects_is_exact(tmp_path: Path) -> None:
    """Objects that cover a tenth of it, each less than a hundredth, are regions, and so are the others."""
    numbers = painted((2, 2, 2), (1, 1, 1), (4, 4, 4))[..., 0]
    for number in range(12):
        numbers[2 + 9 * (number // 3) :, 4 + 27 * (number % 3) :][:6, :6] = 20 + number
    found = read(save(tmp_path / "a.png", numbers))
    assert found.exact and found.notes == ()
    assert {"#010101", "#020202", "#040404", "#141414", "#1f1f1f"} <= set(found.names)


@pytest.mark.situation("a small region, painted exactly")
def test_a_small_region_that_is_painted_exactly_is_a_region(tmp_path: Path) -> None:
    picture = painted(BLUE, WHITE)
    picture[5:11, 5:11] = GREEN  # 0.75 %
    assert read(save(tmp_path / "a.png", picture)).names == ("#0000ff", "#00ff00", "#ffffff")


@pytest.mark.situation("a small region, painted exactly")
def test_a_colour_that_is_too_rare_for_a_region_is_said(tmp_path: Path) -> None:
    picture = painted(BLUE, WHITE, GREEN)
    picture[::20, 5:15] = (255, 0, 0)  # lines of one pixel, as a label map has of wires: 0.6 %
    found = read(save(tmp_path / "a.png", picture))
    assert found.names == ("#0000ff", "#00ff00", "#ffffff") and found.masks.sum() == HEIGHT * WIDTH
    assert [
        note for note in found.notes if "#ff0000 cover 0.62%" in note and "too little for a region" in note
    ]


@pytest.mark.parametrize("scale", [2, 4])
def test_of_the_mixtures_along_soft_edges_nothing_is_said(tmp_path: Path, scale: int) -> None:
    found = read(save(tmp_path / "a.png", discs(scale)), 120, 160)
    assert len(found.names) == 3 and not found.notes


@pytest.mark.situation("a label map of many small objects")
def test_a_mask_of_nothing_but_specks_is_refused(tmp_path: Path) -> None:
    numbers = (np.arange(HEIGHT * WIDTH) // 15).astype(np.uint16).reshape(HEIGHT, WIDTH)
    tifffile.imwrite(tmp_path / "a.tif", numbers)
    refused(tmp_path / "a.tif", "has no region: none of its 320 colours or numbers")


@pytest.mark.parametrize("hidden", [BLACK, WHITE, BLUE])
def test_erased_paint_is_no_paint_and_it_is_said(tmp_path: Path, hidden: tuple[int, int, int]) -> None:
    picture = np.dstack([painted(BLUE, GREEN), np.full((HEIGHT, WIDTH), 255, np.uint8)])
    picture[:, 60:, :3], picture[:, 60:, 3] = hidden, 20
    found = read(save(tmp_path / "a.png", picture))
    assert found.names == ("#0000ff", "#00ff00") and "transparent in 25.0%" in found.notes[0]
    assert found.masks.sum(0)[:, 60:].max() == 0 and (found.masks.sum(0)[:, :60] == 1).all()


def test_a_transparent_entry_of_a_palette_is_erased(tmp_path: Path) -> None:
    image = Image.fromarray(painted((0, 0, 0), (1, 1, 1))[..., 0])
    image.putpalette([0, 0, 255, 9, 9, 9])
    image.save(tmp_path / "a.png", transparency=1)
    found = read(tmp_path / "a.png")
    assert found.names == ("#0000ff",) and float(found.masks.mean()) == 0.5


def test_a_mask_that_nobody_can_see_is_refused(tmp_path: Path) -> None:
    for alpha, said in ((0, "transparent everywhere"), (20, "transparent everywhere")):
        picture = np.dstack([painted(BLUE, GREEN), np.full((HEIGHT, WIDTH), alpha, np.uint8)])
        refused(save(tmp_path / "a.png", picture), said)


@pytest.mark.situation("a mask in the alpha channel")
def test_a_soft_mask_may_be_in_the_alpha_channel(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, WIDTH).astype(np.uint8) * np.ones((HEIGHT, 1), np.uint8)
    for colour in (0, 255):
        save(tmp_path / "a.png", np.dstack([np.full_like(ramp, colour), ramp]))
        paint = read_grey(tmp_path / "a.png")
        np.testing.assert_array_equal(paint.values, np.float32(ramp / 255))
        assert "in the alpha channel" in paint.notes[0]
    save(tmp_path / "b.png", np.dstack([ramp, np.where(ramp > 99, 255, 0).astype(np.uint8)]))
    np.testing.assert_array_equal(read_grey(tmp_path / "b.png").values, np.float32(ramp * (ramp > 99) / 255))
