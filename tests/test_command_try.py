"""photostyle try: six candidates, one sheet, and commands that make them in full."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from photostyle.cli import candidates, main
from photostyle.cli.arguments import parse_config
from photostyle.cli.candidates import CANDIDATES, SIDE, Candidate
from photostyle.cli.console import BAD_INPUT, DONE
from photostyle.cli.photographs import split
from photostyle.presets import PRESETS

FAST = ["--device", "cpu", "--threads", "1"]


@pytest.fixture
def few_evaluations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS["search"], "iterations", (2,))
    monkeypatch.setitem(PRESETS["search"], "size", 64)


@pytest.mark.slow
def test_it_prints_a_command_for_each_and_draws_them(
    photographs: Path, few_evaluations: None, capsys: Any
) -> None:
    assert main(["try", "photo.jpg", "sunset.jpg", *FAST]) == DONE
    *commands, blank, sheet = capsys.readouterr().out.splitlines()
    assert (len(commands), blank, sheet) == (6, "", "photo-sunset-try.png")
    assert len({command.rpartition(" ")[2] for command in commands}) == 6  # each to a file of its own
    with Image.open(sheet) as drawn:
        assert drawn.width == 4 * 420 + 5 * 12  # photo, reference and six candidates: two rows of four
    assert {path.name for path in photographs.iterdir()} == {
        "photo.jpg",
        "sunset.jpg",
        "photo-sunset-try.png",
    }


def test_every_command_is_understood_as_the_candidate_it_stands_for(photographs: Path) -> None:
    for number, candidate in enumerate(CANDIDATES, 1):
        words = shlex.split(candidates.command([Path("photo.jpg"), Path("sunset.jpg")], number, candidate))
        (photo, style), options = split(words[1:])
        config = parse_config(["--content", photo, "--style", style, *options])
        said = {name: getattr(config, name) for name in candidate.settings}
        assert said | {"masks": config.masks[0]} == candidate.settings
        assert config.output == Path(f"photo-sunset-{number}.png")


@pytest.mark.slow
def test_a_closed_form_candidate_is_what_its_command_makes(
    photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The photographs here are smaller than the sheet's pictures, so the two differ by rounding to 8 bits alone."""
    calm, shown = CANDIDATES[0], list[Any]()
    monkeypatch.setattr(candidates, "CANDIDATES", (calm,))
    monkeypatch.setattr(candidates, "_write_sheet", lambda *given: shown.extend(given[2]))
    assert main(["try", "photo.jpg", "sunset.jpg", *FAST]) == DONE
    command = shlex.split(candidates.command([Path("photo.jpg"), Path("sunset.jpg")], 1, calm))
    assert main([*command[1:], *FAST]) == DONE
    written = torch.frombuffer(bytearray(Image.open("photo-sunset-1.png").tobytes()), dtype=torch.uint8)
    full = written.view(64, 96, 3).permute(2, 0, 1) / 255
    torch.testing.assert_close(shown[0], full, atol=0.5 / 255 + 1e-5, rtol=0)


@pytest.mark.slow
def test_large_photographs_are_made_small_first(photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Image.open("photo.jpg") as photo:
        photo.resize((1200, 800)).save("photo.jpg")
    sizes = list[tuple[int, ...]]()
    monkeypatch.setattr(candidates, "CANDIDATES", CANDIDATES[:1])
    monkeypatch.setattr(candidates, "_write_sheet", lambda *given: sizes.append(tuple(given[2][0].shape)))
    assert main(["try", "photo.jpg", "sunset.jpg", *FAST]) == DONE
    assert sizes == [(3, 256, SIDE)]


def test_settings_become_words() -> None:
    candidate = Candidate("x", {"preset": "instant", "strength": 1.0, "preserve_luminance": True})
    assert candidate.options() == ["--preset", "instant", "--strength", "1", "--preserve-luminance"]


def test_a_sheet_does_not_replace_a_photograph(photographs: Path, capsys: Any) -> None:
    before = Path("photo.jpg").read_bytes()
    assert main(["try", "photo.jpg", "sunset.jpg", "-o", "photo.jpg"]) == BAD_INPUT
    assert "photo.jpg is an input" in capsys.readouterr().err and Path("photo.jpg").read_bytes() == before
