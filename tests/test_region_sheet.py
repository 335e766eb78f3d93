"""The sheet of the regions: names where the regions are widest; and what a run shows of its pairing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from photostyle.cli import main
from photostyle.cli.console import DONE
from photostyle.evaluation.region_sheet import widest, with_names

CALM = "--preset instant --device cpu --threads 1".split()


def halves(height: int, width: int, column: int) -> torch.Tensor:
    left = (torch.arange(width) < column).float().expand(height, width)
    return torch.stack((left, 1 - left))


def test_a_region_is_widest_in_the_middle_of_its_largest_disc() -> None:
    # 61 high. Left, 41 wide: column 20 is the middle. Right, 81 wide: whatever is 30 away from three sides.
    (y, x), (there_y, there_x) = widest(halves(61, 122, 41))
    assert x == 20 and 20 <= y <= 40
    assert there_y == 30 and 41 + 30 <= there_x <= 121 - 30


def test_what_is_nowhere_the_strongest_has_no_place() -> None:
    masks = torch.stack((torch.full((9, 9), 0.7), torch.full((9, 9), 0.3)))
    assert widest(masks) == [(4, 4), None]
    assert widest(torch.full((1, 9, 9), 0.4)) == [None]  # what no region covers is stronger


def test_names_are_written_in_their_regions_and_nowhere_else() -> None:
    grey, masks = torch.full((3, 200, 400), 0.5), halves(200, 400, 200)
    only_right = with_names(grey, torch.stack((torch.zeros(200, 400), masks[1])), ("left", "right"))
    changed = (only_right - grey).abs().amax(0) > 0.1
    assert changed[:, 200:].any() and not changed[:, :200].any()
    assert torch.equal(with_names(grey, masks, ("", "")).round(decimals=1), grey)


def test_a_long_name_stays_inside_the_picture() -> None:
    shown = with_names(torch.full((3, 100, 300), 0.5), halves(100, 300, 20), ("a long name", ""))
    drawn = (shown - 0.5).abs().amax(0) > 0.1
    assert drawn.any() and not drawn[:, 0].all()
    assert drawn.nonzero()[:, 1].max() < 200  # it begins at the left border


def masks() -> list[str]:
    for name, size in (("mask", (96, 64)), ("their-mask", (90, 60))):
        mask = Image.new("RGB", size, "#0000ff")
        mask.paste("#ff0000", (0, 0, size[0] // 3, size[1]))
        mask.save(f"{name}.png")
    return ["--masks", "mask.png", "their-mask.png"]


def test_a_run_prints_and_draws_its_pairing(photographs: Path, capsys: Any) -> None:
    command = ["photo.jpg", "sunset.jpg", *CALM, "--region-strength", "ff0000=0.2"]
    assert main([*command, *masks()]) == DONE
    picture, _, sheet, _, header, *rows = capsys.readouterr().out.splitlines()
    assert picture.startswith("photo-sunset.png ") and sheet == "photo-sunset-regions.png"
    assert header.split() == ["region", "photo", "takes", "after", "reference", "how", "far", "remark"]
    assert sorted(" ".join(row.split()[:7]) for row in rows) == [
        "#0000ff 67% #0000ff 67% full same label",
        "#ff0000 33% #ff0000 33% full, strength 0.20",
    ]
    with Image.open(sheet) as drawn:
        assert drawn.width == 3 * 420 + 4 * 12  # photo, reference, result
        assert np.asarray(drawn).std() > 10


@pytest.mark.parametrize("options", [["--masks", "none"], ["--no-region-sheet"], ["--quiet"]])
def test_where_it_is_not_shown(photographs: Path, options: list[str], capsys: Any) -> None:
    regions = [] if "none" in options else masks()
    assert main(["photo.jpg", "sunset.jpg", *CALM, *regions, *options]) == DONE
    assert Path("photo-sunset-regions.png").exists() == ("--quiet" in options)
    assert ("takes after" in capsys.readouterr().out) == ("--no-region-sheet" in options)
