"""A legend says what the masks beside it are, or in one line what is wrong with it."""

import re
from pathlib import Path

import pytest

from photostyle.errors import PhotostyleError
from photostyle.files import legends as module
from photostyle.files.legends import Legend, Region, hex_name, parse_legend, read_legend

PATH = Path("folder/legend.toml")
LABELS = 'kind = "labels"\nfile = "labels.png"\n[regions]\nsky = { value = 2, colour = "#78B4ff" }\n'
SOFT = 'kind = "soft"\n[regions]\nsky = { file = "sky.png", colour = "#78b4ff" }\n'
COLOURS = 'kind = "colours"\nfile = "masks.png"\n[regions]\nsky = { colour = "#78B4ff" }\n'
SKY = (0x78, 0xB4, 0xFF)


def refused(text: str, *words: str) -> None:
    with pytest.raises(PhotostyleError) as caught:
        _ = parse_legend(PATH, text).regions
    assert "\n" not in str(caught.value)
    for word in (str(PATH), *words):
        assert word in str(caught.value)


def documented() -> list[Legend]:
    """The examples in the module's docstring."""
    blocks = re.findall(r"(?:^    .*\n|^\n)+", str(module.__doc__), re.M)
    examples = [re.sub(r"^    ", "", block, flags=re.M) for block in blocks if "kind =" in block]
    return [parse_legend(PATH, example) for example in examples]


def test_the_documented_legends_are_read() -> None:
    labels, soft, colours = documented()
    wall, grass = (0xB4, 0x64, 0x28), (0x5A, 0x8C, 0x3C)
    assert (labels.kind, labels.file) == ("labels", "labels.png")
    assert labels.regions == (Region("sky", SKY, 2), Region("old wall", wall, 17))
    assert (soft.kind, soft.file) == ("soft", "")
    assert soft.regions == (Region("sky", SKY, "sky.png"), Region("ground", grass, "ground.png"))
    assert (colours.kind, colours.file) == ("colours", "masks.png")
    assert colours.regions == (Region("sky", SKY, "#78b4ff"), Region("ground", grass, "#5a8c3c"))
    assert [legend.void for legend in (labels, soft, colours)] == [None] * 3


def test_the_documented_void_is_read() -> None:
    (line,) = re.findall(r"`(void = .*?)`", str(module.__doc__))
    assert parse_legend(PATH, line + "\n" + COLOURS).void == (0, 0, 0)


def test_a_region_may_say_how_sure_it_is() -> None:
    for text in (LABELS, SOFT, COLOURS):
        (region,) = parse_legend(PATH, text.replace(" }", ", confidence = 0.87 }")).regions
        assert region.confidence == 0.87 and region.name == "sky"
        assert parse_legend(PATH, text).regions[0].confidence is None
        for value in ("1.5", "-0.1", '"high"', "true"):
            refused(text.replace(" }", f", confidence = {value} }}"), "sky")


def test_a_legend_knows_where_its_masks_lie() -> None:
    assert parse_legend(PATH, LABELS).files == (Path("folder/labels.png"),)
    assert parse_legend(PATH, COLOURS).files == (Path("folder/masks.png"),)
    two = SOFT + 'sea = { file = "deep/sea.png", colour = "#000000" }\n'
    assert parse_legend(PATH, two).files == (Path("folder/sky.png"), Path("folder/deep/sea.png"))


def test_a_file_is_read_as_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "legend.toml"
    path.write_bytes(COLOURS.replace("sky =", '"ciel d’été" =').encode())
    assert read_legend(path).regions[0].name == "ciel d’été"
    path.write_bytes(COLOURS.replace("sky =", '"été" =').encode("latin-1"))
    with pytest.raises(PhotostyleError, match=r"legend\.toml is no TOML file .*utf-8"):
        read_legend(path)
    with pytest.raises(PhotostyleError, match=r"missing\.toml does not exist"):
        read_legend(tmp_path / "missing.toml")


def test_a_faulty_head_is_refused() -> None:
    refused("kind = ", "is no TOML file")
    refused("", "kind = None", '"labels", "soft" or "colours"')
    refused(SOFT.replace('"soft"', '["soft"]'), "kind = ['soft']")
    refused('kind = "soft"', "the keys kind; expected kind, regions")
    refused('kind = "colours"\nregions = 1', "the keys kind, regions; expected file, kind, regions")
    refused(SOFT.replace("[regions]", 'file = "a.png"\n[regions]'), "expected kind, regions")
    refused(LABELS.replace('"labels.png"', "3"), "file = 3")
    for text in (LABELS, SOFT):
        refused('void = "#000000"\n' + text, "void")
    refused("void = 0\n" + COLOURS, "void = 0", "#000000")
    refused('void = "#0000000"\n' + COLOURS, "void = '#0000000'")


@pytest.mark.parametrize(
    ("text", "entry", "example"),
    [
        (LABELS, "{ value = true, colour = '#000000' }", '{ value = 2, colour = "#78b4ff" }'),
        (LABELS, "{ colour = '#000000' }", '{ value = 2, colour = "#78b4ff" }'),
        (SOFT, "{ file = 3, colour = '#000000' }", '{ file = "sky.png", colour = "#78b4ff" }'),
        (COLOURS, "{ value = 3, colour = '#000000' }", 'sea = { colour = "#78b4ff" }'),
        (COLOURS, "{ colour = '#00000' }", '{ colour = "#78b4ff" }'),
        (COLOURS, "{ colour = 0 }", '{ colour = "#78b4ff" }'),
        (COLOURS, "'#000000'", '{ colour = "#78b4ff" }'),
    ],
)
def test_a_faulty_entry_is_refused_with_a_good_one(text: str, entry: str, example: str) -> None:
    refused(
        f"{text}sea = {entry}\n", "has sea = ", f"expected a line like sea = {example[example.index('{') :]}"
    )


def test_no_regions_are_refused() -> None:
    for regions in ("{}", "3", "[]"):
        refused(f'kind = "soft"\nregions = {regions}', "names no regions")


def test_one_source_for_two_regions_is_refused() -> None:
    refused(LABELS + 'air = { value = 2, colour = "#000000" }', "gives 2 to sky and another region")
    refused(SOFT + 'air = { file = "sky.png", colour = "#000000" }', "gives 'sky.png' to sky")
    refused(COLOURS + 'air = { colour = "#78b4FF" }', "gives '#78b4ff' to sky and another region")
    refused('void = "#78b4ff"\n' + COLOURS, "gives '#78b4ff' to sky and to void")


def test_regions_of_other_kinds_may_share_a_colour() -> None:
    assert len(parse_legend(PATH, LABELS + 'air = { value = 3, colour = "#78b4ff" }').regions) == 2
    assert len(parse_legend(PATH, SOFT + 'air = { file = "air.png", colour = "#78b4ff" }').regions) == 2


def test_a_painting_s_region_is_not_named_by_another_colour() -> None:
    # The name of what somebody may paint in that colour: two regions of one name.
    refused(
        COLOURS + '"#00ff00" = { colour = "#ff0000" }', "#00ff00 whose colour is #ff0000", "choose another"
    )
    assert parse_legend(PATH, COLOURS + '"#00ff00" = { colour = "#00FF00" }').regions[1].name == "#00ff00"
    assert parse_legend(PATH, SOFT + '"#00ff00" = { file = "a.png", colour = "#ff0000" }').regions


def test_the_entries_wait_until_they_are_asked_for() -> None:
    # A colour mask beside a legend that does not name it is nobody's business but its own.
    assert parse_legend(PATH, LABELS + "sea = 3").file == "labels.png"


def test_a_colour_is_written_with_six_digits() -> None:
    assert hex_name((1, 2, 255)) == "#0102ff"
