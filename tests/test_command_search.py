"""photostyle search: what it prints and writes, how it ends, and that nothing else knows Optuna."""

import shlex
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from skimage import data

from photostyle.cli import main
from photostyle.cli import search as command_search
from photostyle.cli.arguments import parse_config
from photostyle.cli.console import BAD_INPUT, DONE, FAILED, INTERRUPTED
from photostyle.cli.search import SearchCommand
from photostyle.config import Config
from photostyle.losses import weights as weight_files
from photostyle.presets import PRESETS
from photostyle.search import study as search_module
from photostyle.search.trials import solve_with
from photostyle.settings import read_settings
from photostyle.workers.pool import Pool, Processes

PHOTOS = ["--content", "photo.png", "--style", "my style.png"]
QUICK = [
    *("--size", "48", "--iterations", "2", "--preset", "patches", "--boldness", "1"),
    *("--device", "cpu", "--threads", "1"),
]
SEARCH = ["search", *PHOTOS, *QUICK, "--trials", "3"]
WRITTEN = {"study.json", "study.log", "trials", "best.toml", "pareto.png", "report.html"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory with two photographs and masks, no weights in any cache and no network."""
    Image.fromarray(data.coffee()).resize((64, 48)).save(tmp_path / "photo.png")
    Image.fromarray(data.rocket()).resize((60, 48)).save(tmp_path / "my style.png")
    for name, size in (("mask", (64, 48)), ("style-mask", (60, 48))):
        mask = Image.new("RGB", size, "#0000ff")
        mask.paste("#00ff00", (0, 24, 64, 48))
        mask.save(tmp_path / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    monkeypatch.setattr(weight_files, "reachable", lambda url: False)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def one_line(arguments: list[str], capsys: Any, code: int = BAD_INPUT) -> str:
    capsys.readouterr()
    assert main(arguments) == code
    said = capsys.readouterr()
    (line,) = [line for line in said.err.splitlines() if not line.startswith("note: ")]
    assert line.startswith("photostyle: ") and not said.out
    return line


@pytest.mark.slow
def test_a_search_says_how_far_it_is_and_ends_with_the_front_and_what_to_do(
    folder: Path, capsys: Any
) -> None:
    assert main([*SEARCH, "--masks", "mask.png", "style-mask.png", "-o", "found"]) == DONE
    said = capsys.readouterr()
    opening, *lines = said.err.splitlines()
    assert "preset patches, 4 settings" in opening and "relatives of the 5x5" in opening
    assert [line.split()[:3] for line in lines] == [["trial", f"{k}", f"{k + 1}/3"] for k in range(3)]
    assert all("style 0." in line and "edge 0." in line and " left" in line for line in lines)
    assert lines[-1].endswith(" 0 s left")
    assert {path.name for path in Path("found").iterdir()} == WRITTEN
    table, command = said.out.splitlines(), said.out.splitlines()[-1]
    assert table[0].split()[:5] == ["style", "↓", "edge", "↑", "distance"]
    assert any(line.startswith("trial 0") and "preset" in line for line in table)
    assert any(line.startswith("chosen: trial") and "the preset's own settings: 0." in line for line in table)
    assert {"found/best.toml", "found/pareto.png", "found/report.html"} <= set(table)
    assert "relatives of the 5x5" in said.out
    words = shlex.split(command)
    assert words[:2] == ["photostyle", "run"]
    config = parse_config(words[2:])
    assert (config.style[0].name, config.masks, config.size) == (
        "my style.png",
        ("mask.png", "style-mask.png"),
        Config.size,
    )
    best = read_settings(Path("found/best.toml"))
    assert best["preset"] == "patches" and {name: getattr(config, name) for name in best} == best
    assert main([*words[1:], "--iterations", "1", "--no-metrics"]) == DONE
    assert Path("found/best.png").is_file()


def test_the_same_command_goes_on(folder: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        command_search, "plot_front", lambda *given: given[-1].touch()
    )  # drawn in the test before
    assert main(SEARCH) == DONE
    before = contents(folder / "search" / "trials")
    capsys.readouterr()
    assert main([*SEARCH[:-1], "4"]) == DONE
    said = capsys.readouterr()
    assert "3 of 4 trials were done before" in said.err and "trial 3  4/4" in said.err
    assert "trial 0  " not in said.err
    after = contents(folder / "search" / "trials")
    assert {name: after[name] for name in before} == before and len(after) == len(before) + 2
    assert main([*SEARCH[:-1], "4"]) == DONE


@pytest.mark.slow
def test_interrupted_it_keeps_and_shows_what_is_done(
    folder: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(9))

    def interrupted(*arguments: Any) -> Any:
        if next(calls) == 2:
            raise KeyboardInterrupt
        return solve_with(*arguments)

    monkeypatch.setattr(search_module, "solve_with", interrupted)
    assert main(SEARCH) == INTERRUPTED
    said = capsys.readouterr()
    assert said.err.splitlines()[-1] == "photostyle: interrupted; the same command goes on"
    assert {path.name for path in Path("search").iterdir()} == WRITTEN
    assert "best.toml" in said.out
    assert main(SEARCH) == DONE


def test_interrupted_before_a_trial_is_done_there_is_nothing_to_show(
    folder: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(search_module, "solve_with", interrupted)
    assert main(SEARCH) == INTERRUPTED
    assert not Path("search/best.toml").exists()
    assert capsys.readouterr().err.splitlines()[-1] == "photostyle: interrupted; the same command goes on"


@pytest.mark.slow
def test_on_local_processes_it_finds_the_same(
    folder: Path, capsys: Any, kept_processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kept(*asked: Any, say: Callable[[str], None], **also: Any) -> Pool:
        assert (asked, also) == (("local", 1), {"gpu": False})
        kept_processes.say = say
        return kept_processes

    assert main(SEARCH) == DONE
    alone = capsys.readouterr().out.splitlines()
    monkeypatch.setattr(command_search, "open_pool", kept)
    place = SEARCH.index("--threads")
    elsewhere = SEARCH[:place] + SEARCH[place + 2 :]
    assert main([*elsewhere, "--cluster", "local", "--output", "search2"]) == DONE
    said = capsys.readouterr()
    assert any("of this machine, 1 core each" in line for line in said.err.splitlines())
    lines = [line.split() for line in said.err.splitlines() if line.startswith("trial ")]
    assert sorted(line[1] for line in lines) == ["0", "1", "2"]
    assert [line[2] for line in lines] == ["1/3", "2/3", "3/3"]
    assert [line.replace("search2", "search") for line in said.out.splitlines()] == alone


def test_where_every_trial_fails_it_failed(
    folder: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from photostyle.search.trials import Solution

    nan = float("nan")
    monkeypatch.setattr(
        search_module, "solve_with", lambda *_: Solution(torch.zeros(3, 8, 8), nan, nan, nan, nan)
    )
    assert main(SEARCH) == FAILED
    said = capsys.readouterr().err
    assert "trial 2  3/3  failed: a score is not finite" in said
    assert "no trial is complete" in said.splitlines()[-1]
    assert not Path("search/best.toml").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--trials", "0"], "--trials is 0; it must be at least 1"),
        (["--masks", "auto"], "make them once with photostyle segment"),
        (["--masks", "cluster"], "make them once with photostyle segment"),
        (["--masks", "mask.png"], "--masks takes two paths"),
        (["--masks", "mask.png", "nowhere.png"], "nowhere.png does not exist"),
        (["--content", "nowhere.png"], "nowhere.png does not exist"),
        (["--preset", "photoreal", "--no-download"], "no vgg19 weights"),
        (["--weights", "nowhere.pth"], "nowhere.pth does not exist"),
        (["--iterations", "0"], "give 1 or more"),
        (["--size", "9"], "--size is 9"),
        (["--cluster", "slurm"], "give auto, local or ray://HOST:PORT"),
        (["--cluster", "local", "--cores", "0"], "--cores is 0; it must be at least 1"),
        (["--cluster", "local", "--cores", "4096"], "--cores is 4096, but this machine has"),
        (["--cores", "2"], "--cores is of what runs on a cluster; add --cluster"),
        (["--cluster", "local"], "--threads is of this process; give --cores"),
        (["--trails", "3"], "did you mean --trials?"),
        (["--output", "photo.png"], "photo.png is a file"),
        (["--storage", "bogus://me:secret@host/db"], "--storage bogus://me:***@host/db cannot be opened"),
    ],
)
def test_bad_input_is_one_line(options: list[str], said: str, folder: Path, capsys: Any) -> None:
    line = one_line([*SEARCH, *options], capsys)
    assert said in line and "secret" not in line
    assert not Path("search/trials").exists()


def test_an_input_is_never_overwritten(folder: Path, capsys: Any) -> None:
    Path("search/trials").mkdir(parents=True)
    Path("photo.png").rename("search/trials/0000.png")
    before = contents(folder)
    line = one_line([*SEARCH, "--content", "search/trials/0000.png"], capsys)
    assert "holds an input; choose another --output" in line and contents(folder) == before
    Path("search/trials/0000.png").rename("search/pareto.png")
    line = one_line([*SEARCH, "--content", "search/pareto.png"], capsys)
    assert "is an input and would be overwritten" in line


def test_files_of_these_names_that_are_no_search_s_are_left_alone(folder: Path, capsys: Any) -> None:
    Path("search").mkdir()
    Path("search/best.toml").write_text("size = 96\n")
    before = contents(folder)
    assert "best.toml exists and is of no search" in one_line(SEARCH, capsys)
    assert contents(folder) == before


def test_the_defaults_are_the_search_preset_s() -> None:
    options = SearchCommand(Path("c"), Path("s"))
    assert {"size": options.size, "iterations": options.iterations} == PRESETS["search"]
    assert options.seed == Config.seed and options.preset == "auto" and options.trials == 50


def test_every_option_is_explained(capsys: Any) -> None:
    assert main(["search", "--help"]) == DONE
    text = capsys.readouterr().out
    assert all(f"--{field.name.replace('_', '-')}" in text for field in fields(SearchCommand))


def test_the_script_is_the_command(root: Path) -> None:
    lines = (root / "scripts/search.py").read_text(encoding="utf-8").splitlines()
    assert lines[-1].strip() == 'script("search")'


@pytest.mark.slow
def test_photographs_that_are_small_at_the_search_s_size_are_searched(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = [*SEARCH, "--size", "32", "--trials", "2"]  # 32x24: under what is read as a photograph
    assert main(small) == DONE
    assert (folder / "search/report.html").exists()
