"""photostyle adjust: the same solve finished otherwise, from what a run keeps."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from left import Left
from PIL import Image
from skimage import data

from photostyle import pipeline
from photostyle.cli import main
from photostyle.cli.console import BAD_INPUT, DONE
from photostyle.files.images import sha256_of

QUICK = (
    "--boldness 1 "
    "--size 48 --coarsest 48 --iterations 3 --no-metrics --no-region-sheet --device cpu --threads 1 --quiet"
).split()
MASKS = ["--masks", "mask.png", "their-mask.png"]


@pytest.fixture(scope="module")
def left() -> Left:
    return Left()


@pytest.fixture
def finished(photographs: Path, left: Left) -> Callable[..., dict[str, Any]]:
    """What photostyle photo.jpg sunset.jpg -o out.png leaves with what is given besides; returns its record."""
    for name, size in (("mask", (96, 64)), ("their-mask", (90, 60))):
        mask = Image.new("RGB", size, "#0000ff")
        mask.paste("#ff0000", (0, 0, size[0] // 2, size[1]))
        mask.save(f"{name}.png")

    def run(*options: str) -> None:
        assert main(["photo.jpg", "sunset.jpg", *QUICK, "-o", "out.png", *options]) == DONE

    def finished(*options: str) -> dict[str, Any]:
        left.by(run, *options)
        return record("out.json")

    return finished


def record(name: str) -> dict[str, Any]:
    entries: dict[str, Any] = json.loads(Path(name).read_text())
    return entries


def pixels(name: str) -> np.ndarray:
    with Image.open(name) as image:
        return np.asarray(image).astype(float)


def test_what_is_kept_gives_the_bytes_of_the_run(finished: Callable[..., dict[str, Any]]) -> None:
    kept = finished("--strength", "0.8", *MASKS)["solved"]
    assert Path(kept["path"]).name == "out-solved.tif" and sha256_of(Path(kept["path"])) == kept["sha256"]
    assert main(["adjust", "out.json", "--strength", "0.8"]) == DONE
    assert Path("out-adjusted.png").read_bytes() == Path("out.png").read_bytes()


@pytest.mark.parametrize(
    "options",
    [
        ["--strength", "0.5"],
        ["--region-strength", "0000ff=0.2"],
        ["--preserve-luminance"],
        ["--smooth-radius", "2", "--smooth-edge", "0.1"],
    ],
)
def test_it_is_what_a_run_with_these_settings_would_have_been(
    finished: Callable[..., dict[str, Any]], options: list[str], capsys: Any
) -> None:
    finished(*MASKS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "solve", lambda *a, **s: pytest.fail("it was solved again"))
        assert main(["adjust", "out.json", *options, "-o", "less.png"]) == DONE
    assert capsys.readouterr().out.startswith("less.png  96x64  ")
    before = Path("out.png").read_bytes()
    finished(*MASKS, *options)
    assert Path("less.png").read_bytes() == Path("out.png").read_bytes() != before


def test_a_picture_that_was_held_back_is_let_go(photographs: Path, capsys: Any) -> None:
    chelsea = Image.fromarray(data.chelsea()).resize((90, 60))
    chelsea.save("cat.png")
    Image.fromarray((np.asarray(chelsea) * [0.2, 1, 0.2]).astype(np.uint8)).save("green.png")
    command = [
        "run",
        "--content",
        "cat.png",
        "--style",
        "green.png",
        "--preset",
        "instant",
        "--masks",
        "none",
    ]
    assert main([*command, "--no-metrics", "--output", "out.png"]) == DONE
    assert "note: held back to 0." in capsys.readouterr().err
    assert main(["adjust", "out.json", "--protect", "none", "-o", "same.png"]) == DONE
    assert Path("same.png").read_bytes() == Path("out.png").read_bytes()
    assert main(["adjust", "out.json", "--no-second-look", "-o", "gone-on.png"]) == DONE
    assert main([*command, "--no-metrics", "--no-second-look", "--output", "free.png"]) == DONE
    assert Path("gone-on.png").read_bytes() == Path("free.png").read_bytes() != Path("out.png").read_bytes()


def test_its_record_says_what_it_was_made_from_and_can_be_rerun(
    finished: Callable[..., dict[str, Any]], capsys: Any
) -> None:
    run = finished(*MASKS)
    assert main(["adjust", "out.json", "--strength", "0.5"]) == DONE
    adjusted = record("out-adjusted.json")
    assert adjusted["adjusted"] == {
        "record": str(Path("out.json").absolute()),
        "sha256": sha256_of(Path("out.json")),
        "changed": {"strength": 0.5},
    }
    assert adjusted["config"]["strength"] == 0.5 and adjusted["output"]["sha256"] == sha256_of(
        Path("out-adjusted.png")
    )
    assert all(adjusted[name] == run[name] for name in ("trace", "stages", "solved", "ended", "inputs"))
    assert main(["rerun", "out-adjusted.json"]) == DONE
    assert "the same bytes" in capsys.readouterr().out


def test_an_adjusted_picture_can_be_adjusted(finished: Callable[..., dict[str, Any]]) -> None:
    finished(*MASKS)
    main(["adjust", "out.json", "--strength", "0.5", "-o", "half.png"])
    assert main(["adjust", "half.json", "--strength", "1", "-o", "whole.png"]) == DONE
    assert Path("whole.png").read_bytes() == Path("out.png").read_bytes()
    assert main(["adjust", "half.json", "--strength", "0", "-o", "none.png"]) == DONE
    assert np.abs(pixels("none.png") - pixels("photo.jpg")).max() <= 1  # to 8 bits and back


@pytest.mark.slow
def test_a_run_can_be_adjusted_in_its_place(finished: Callable[..., dict[str, Any]]) -> None:
    finished(*MASKS)
    before = Path("out.png").read_bytes()
    assert main(["adjust", "out.json", "--strength", "0.5", "-o", "out.png"]) == DONE
    assert Path("out.png").read_bytes() != before
    assert main(["adjust", "out.json", "--strength", "1", "-o", "out.png"]) == DONE
    assert Path("out.png").read_bytes() == before


def test_of_a_closed_form_nothing_is_kept_and_it_is_made_again(photographs: Path) -> None:
    instant = ["--preset", "instant", "--masks", "none", "--device", "cpu", "--threads", "1"]
    assert main(["photo.jpg", "sunset.jpg", *instant, "-o", "out.png"]) == DONE
    assert record("out.json")["solved"] is None and not Path("out-solved.tif").exists()
    assert main(["adjust", "out.json", "--strength", "0.6"]) == DONE
    assert main(["photo.jpg", "sunset.jpg", *instant, "--strength", "0.6", "-o", "calm.png"]) == DONE
    assert Path("out-adjusted.png").read_bytes() == Path("calm.png").read_bytes()


def unlink_solved() -> None:
    Path("out-solved.tif").unlink()


def change_solved() -> None:
    Path("out-solved.tif").write_bytes(Path("out-solved.tif").read_bytes() + b" ")


def change_photo() -> None:
    Image.new("RGB", (96, 64)).save("photo.jpg")


def make_foreign_record() -> None:
    Path("out-adjusted.json").write_text("{}")


@pytest.mark.parametrize(
    ("prepare", "options", "named"),
    [
        (unlink_solved, [], "out-solved.tif, the solved picture of out.json, is gone"),
        (change_solved, [], "out-solved.tif has changed since out.json was written"),
        (change_photo, [], "photo.jpg has changed since the record was made"),
        (make_foreign_record, [], "out-adjusted.json exists and is no photostyle record"),
        (None, ["-o", "photo.jpg"], "photo.jpg is an input"),
        (None, ["-o", "out-solved.tif"], "out-solved.tif is an input"),
        (None, ["--strength", "2"], "--strength is 2"),
        (None, ["--region-strength", "sky=0.5"], "sky, which is no region of the photo"),
        (None, ["--size", "64"], "unknown option --size"),
    ],
)
def test_what_cannot_be_adjusted_is_said_and_nothing_is_written(
    finished: Callable[..., dict[str, Any]], prepare: Any, options: list[str], named: str, capsys: Any
) -> None:
    finished(*MASKS)
    if prepare:
        prepare()
    before = {path.name: path.read_bytes() for path in Path().glob("*.*")}
    assert main(["adjust", "out.json", "--strength", "0.5", *options]) == BAD_INPUT
    said = capsys.readouterr().err
    assert named in said and len(said.splitlines()) == 1, said
    assert {path.name: path.read_bytes() for path in Path().glob("*.*")} == before


def test_a_run_that_keeps_nothing_cannot_be_adjusted(
    finished: Callable[..., dict[str, Any]], capsys: Any
) -> None:
    assert finished("--masks", "none", "--no-keep-solved")["solved"] is None
    assert not Path("out-solved.tif").exists()
    assert main(["adjust", "out.json", "--strength", "0.5"]) == BAD_INPUT
    assert "out.json keeps no solved picture" in capsys.readouterr().err
