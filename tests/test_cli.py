"""The command line: what it prints, what it writes, how it ends."""

import hashlib
import io
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from skimage.transform import resize
from vgg import narrow_vgg
from waiting import HANGS, until

from photostyle import pipeline
from photostyle.cli import main
from photostyle.cli import program as cli
from photostyle.cli import run as command_run
from photostyle.cli.adjust import AdjustCommand
from photostyle.cli.arguments import parse_config
from photostyle.cli.candidates import TryCommand
from photostyle.cli.console import BAD_INPUT, DONE, FAILED, INTERRUPTED
from photostyle.cli.masks import MasksCommand, SegmentCommand
from photostyle.cli.rerun import RerunCommand
from photostyle.cli.score import ScoreCommand
from photostyle.config import Config
from photostyle.errors import ComputationError
from photostyle.evaluation.artefacts import Artefacts
from photostyle.evaluation.signs import Signs
from photostyle.files.images import read_image
from photostyle.losses import weights as weight_files
from photostyle.optimisers import Step
from photostyle.presets import PRESETS
from photostyle.version import __version__

PHOTOS = ["--content", "photo.png", "--style", "style.png"]
MASKS = ["--masks", "mask.png", "style-mask.png"]
NONE = ["--masks", "none"]
QUICK = [
    "--size",
    "64",
    "--coarsest",
    "32",
    "--iterations",
    "3",
    "2",
    "--patch-draws",
    "4",
    "--boldness",
    "1",
    "--no-metrics",
    "--device",
    "cpu",
    "--threads",
    "1",
]
INSTANT = ["--preset", "instant"]

SOFT = """kind = "soft"
[regions]
left = { file = "left.png", colour = "#0000ff" }
right = { file = "right.png", colour = "#ff0000" }
"""


def picture(image: np.ndarray, height: int, width: int) -> Image.Image:
    return Image.fromarray(np.rint(resize(image, (height, width), anti_aliasing=True) * 255).astype(np.uint8))


def two_regions(height: int, width: int, column: int) -> Image.Image:
    mask = np.zeros((height, width, 3), np.uint8)
    mask[:, :column, 2] = mask[:, column:, 0] = 255
    return Image.fromarray(mask)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """coffee and rocket in small, masks for both as pictures and as soft sets, a narrow random VGG."""
    folder = tmp_path_factory.mktemp("prepared")
    picture(data.coffee(), 64, 96).save(folder / "photo.png")
    picture(data.rocket(), 60, 90).save(folder / "style.png")
    two_regions(64, 96, 50).save(folder / "mask.png")
    two_regions(60, 90, 30).save(folder / "style-mask.png")
    for name, height, width in (("soft", 64, 96), ("style-soft", 60, 90)):
        (folder / name).mkdir()
        left = np.zeros((height, width), np.uint8)
        left[:, : width // 2] = 255
        Image.fromarray(left).save(folder / name / "left.png")
        Image.fromarray(255 - left).save(folder / name / "right.png")
        (folder / name / "legend.toml").write_text(SOFT)
    torch.save(narrow_vgg(), folder / "vgg.pth")
    return folder


@pytest.fixture
def folder(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_start: None) -> Path:
    """The working directory, with the prepared files in it; no weights in any cache and no network."""
    work = tmp_path / "work"
    work.mkdir()
    for source in prepared.rglob("*.*"):
        target = work / source.relative_to(prepared)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(source.read_bytes())
    monkeypatch.chdir(work)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    monkeypatch.setattr(weight_files, "reachable", lambda url: False)
    return work


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


# Usage


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_a_command_with_nothing_says_in_one_line_what_it_needs(command: str, capsys: Any) -> None:
    assert main([command]) == BAD_INPUT
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("photostyle: ")


@pytest.mark.parametrize("arguments", [["-h"], ["--help"]])
def test_usage_names_every_command(arguments: list[str], capsys: Any) -> None:
    assert main(arguments) == DONE
    out = capsys.readouterr().out
    assert all(f"photostyle {command} " in out for command in cli.COMMANDS) and __version__ in out
    assert "photostyle PHOTO REFERENCE " in out


@pytest.mark.parametrize(
    ("arguments", "example"),
    [
        ([], "photostyle photo.jpg sunset.jpg"),
        (["run"], "photostyle run --content photo.jpg --style sunset.jpg"),
        (["run", "--content", "photo.jpg"], "needs --style, as in photostyle run --content"),
        (["photo.jpg"], "photo.jpg alone is too little"),
        (["try"], "photostyle try photo.jpg sunset.jpg"),
        (["adjust", "out.json"], "photostyle adjust out.json --strength 0.5"),
        (["--strength", "0.5", "photo.jpg"], "photostyle photo.jpg sunset.jpg --strength"),
    ],
)
def test_what_is_missing_is_said_with_an_example(arguments: list[str], example: str, capsys: Any) -> None:
    assert main(arguments) == BAD_INPUT
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert line.startswith("photostyle: ") and example in line and said.out == ""


def test_the_version(capsys: Any) -> None:
    assert main(["--version"]) == DONE
    assert capsys.readouterr().out == f"{__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", *PHOTOS, *NONE, *INSTANT],
        ["masks", "mask.png", "style-mask.png"],
        ["rerun", "out.json"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_o_is_short_for_output(arguments: list[str], folder: Path, capsys: Any) -> None:
    if arguments[0] == "rerun":
        assert main(["run", *PHOTOS, *NONE, *INSTANT]) == DONE
    assert main([*arguments, "-o", "short.png"]) == DONE
    assert Path("short.png").exists() and main([arguments[0], "--help"]) == DONE
    assert re.search(r"-o \S+, --output ", capsys.readouterr().out)


def test_o_is_no_value_of_a_list(folder: Path, capsys: Any) -> None:
    assert main(["run", "--content", "photo.png", "--style", "-o", "short.png"]) == BAD_INPUT
    (line,) = capsys.readouterr().err.splitlines()
    assert "--style names no file" in line


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("run", Config),
        ("segment", SegmentCommand),
        ("masks", MasksCommand),
        ("score", ScoreCommand),
        ("rerun", RerunCommand),
        ("try", TryCommand),
        ("adjust", AdjustCommand),
    ],
)
def test_help_lists_every_option_of_a_command(command: str, kind: type, capsys: Any) -> None:
    assert main([command, "--help"]) == DONE
    said = capsys.readouterr()
    positional = {"files", "photos", "result", "record"}
    for field in fields(kind):
        if field.name not in positional:
            assert re.search(rf"--{field.name.replace('_', '-')}\b", said.out), field.name
    assert said.err == ""


def test_help_shows_the_defaults_of_the_preset_asked_for(capsys: Any) -> None:
    assert main(["run", "--preset", "released", "--help"]) == DONE
    assert "(default: 700)" in capsys.readouterr().out


# Presets and options


@pytest.mark.parametrize(
    "arguments",
    [
        ["--preset", "search", *PHOTOS, "--seed", "3"],
        [*PHOTOS, "--seed", "3", "--preset", "search"],
        [*PHOTOS, "--preset=search", "--seed=3"],
        [*PHOTOS, "--preset", "released", "--seed", "3", "--preset", "search"],
    ],
)
def test_a_preset_may_stand_anywhere(arguments: list[str]) -> None:
    config = parse_config(arguments)
    assert (config.preset, config.size, config.iterations) == ("search", 128, PRESETS["search"]["iterations"])
    assert config.seed == 3


@pytest.mark.parametrize("preset_first", [True, False])
def test_an_option_overrides_the_preset_wherever_it_stands(preset_first: bool) -> None:
    parts = [["--preset", "search"], ["--size", "99"]]
    config = parse_config([*PHOTOS, *(parts[0] + parts[1] if preset_first else parts[1] + parts[0])])
    assert (config.preset, config.size) == ("search", 99)


def test_underscores_in_options_are_hyphens(folder: Path) -> None:
    assert parse_config([*PHOTOS, "--save_every", "3", "--no_download"]).save_every == 3


def test_auto_becomes_what_it_stands_for(folder: Path) -> None:
    assert parse_config(PHOTOS).preset == "patches"
    config = parse_config([*PHOTOS, "--weights", "vgg.pth"])
    assert config.preset == "photoreal" and config.gram_weight == PRESETS["photoreal"]["gram_weight"]


# run


def test_a_run_writes_a_picture_of_the_photos_size_and_its_record(folder: Path, capsys: Any) -> None:
    assert main(["run", *PHOTOS, *MASKS, *QUICK]) == DONE
    with Image.open("out.png") as result, Image.open("photo.png") as photo:
        assert result.size == photo.size
        assert (
            np.abs(np.asarray(result, float) - np.asarray(photo, float)).mean() > 5
        )  # of 255: it did something
    assert json.loads(Path("out.json").read_text())["ended"] == "done"
    assert capsys.readouterr().out.startswith("out.png  96x64  ")


def test_progress_lines_name_stage_size_evaluation_terms_and_time_left(folder: Path, capsys: Any) -> None:
    main(["run", *PHOTOS, *NONE, *QUICK])
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("stage ")]
    assert len(lines) == 5  # of 3 and 2 evaluations, none is left out
    number = r"[\d.e+-]+"
    names = ("patches", "texture", "structure", "photorealism", "consistency")
    terms = "  ".join(f"{name} {number}" for name in names) + r"  \d+ s left"
    assert re.fullmatch(rf"stage 1/2 32x21  1/3  {terms}", lines[0])
    assert re.fullmatch(rf"stage 2/2 64x43  2/2  {terms}", lines[-1])
    assert lines[-1].endswith("  0 s left")


def test_long_stages_print_a_handful_of_lines(folder: Path, capsys: Any) -> None:
    main(["run", *PHOTOS, *NONE, *QUICK, "--size", "32", "--iterations", "20"])
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("stage")]
    assert [line.split("  ")[1] for line in lines] == ["4/20", "8/20", "12/20", "16/20", "20/20"]


def test_the_five_gram_layers_are_one_number_in_the_progress(folder: Path, capsys: Any) -> None:
    main(["run", *PHOTOS, *NONE, *QUICK, "--weights", "vgg.pth"])
    line = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("stage"))
    assert line.count("gram") == 1 and "relu" not in line


def test_on_a_terminal_there_is_a_bar(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert main(["run", *PHOTOS, *NONE, *QUICK]) == DONE
    lines = re.split("[\r\n]+", terminal.getvalue())
    noted = [line for line in lines if "note: " in line]
    assert noted and not any("%" in line for line in noted)  # notes come above the bar, not through it
    bars = [line for line in lines if "%|" in line]
    assert any("stage 2/2 64x43  2/2  patches" in bar for bar in bars)
    assert bars[-1].startswith("100%|") and bars[-1].strip().endswith("done")
    assert terminal.getvalue().endswith("\n")


@pytest.mark.slow
def test_quiet_prints_nothing(folder: Path, capfd: Any) -> None:
    assert main(["run", *PHOTOS, *MASKS, *QUICK, "--quiet", "--plot", "--save-every", "2"]) == DONE
    assert tuple(capfd.readouterr()) == ("", "")
    assert Path("out.png").exists()


def test_quiet_still_says_what_went_wrong(folder: Path, capsys: Any) -> None:
    assert main(["run", *PHOTOS, "--quiet", "--size", "3"]) == BAD_INPUT
    assert "--size is 3" in capsys.readouterr().err


def test_save_every_writes_the_unfinished_pictures_of_each_stage(folder: Path) -> None:
    assert main(["run", *PHOTOS, *NONE, *QUICK, "--save-every", "2"]) == DONE
    sizes = {path.name: size_of(path) for path in Path().glob("out-*.png")}
    assert sizes == {"out-00002.png": (32, 21), "out-00004.png": (64, 43)}


@pytest.mark.slow
def test_plot_draws_the_losses(folder: Path) -> None:
    assert main(["run", *PHOTOS, *NONE, *QUICK, "--plot"]) == DONE
    assert size_of(Path("out-losses.png")) == (1080, 600)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_every_format_can_be_written(folder: Path, suffix: str) -> None:
    assert main(["run", *PHOTOS, *NONE, *INSTANT, "--output", f"result{suffix}"]) == DONE
    assert read_image(Path(f"result{suffix}")).width == 96 and Path("result.json").is_file()


def test_the_photos_alpha_comes_through_untouched(folder: Path) -> None:
    photo = Image.open("photo.png")
    photo.putalpha(Image.linear_gradient("L").resize(photo.size))
    photo.save("clear.png")
    assert main(["run", "--content", "clear.png", "--style", "style.png", *INSTANT]) == DONE
    with Image.open("out.png") as result:
        assert result.getchannel("A").tobytes() == photo.getchannel("A").tobytes()


def test_an_interrupt_writes_the_picture_so_far_and_its_record(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def interrupt(self: Any, step: Step) -> None:
        if step.stage.number == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(command_run.Progress, "__call__", interrupt)
    assert main(["run", *PHOTOS, *NONE, *QUICK]) == INTERRUPTED
    record = json.loads(Path("out.json").read_text())
    assert record["ended"] == "interrupted" and len(record["trace"]) == 4
    assert size_of(Path("out.png")) == (96, 64)
    assert capsys.readouterr().err.splitlines()[-1] == (
        "photostyle: interrupted; the best picture so far is out.png"
    )


def test_an_interrupt_before_there_is_a_picture_writes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def interrupt(*arguments: Any) -> None:
        raise KeyboardInterrupt

    before = contents(folder)
    monkeypatch.setattr(command_run, "read_photograph", interrupt)
    assert main(["run", *PHOTOS, *NONE, *QUICK]) == INTERRUPTED
    assert "nothing was written" in capsys.readouterr().err
    assert contents(folder) == before


def test_an_interrupt_during_the_scores_does_not_cost_the_picture(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def interrupt(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("photostyle.evaluation.scores.score", interrupt)
    assert main(["run", *PHOTOS, *NONE, *INSTANT, "--metrics"]) == DONE
    assert "note: no metrics: interrupted" in capsys.readouterr().err
    assert Path("out.png").exists() and json.loads(Path("out.json").read_text())["metrics"] == {}


def test_a_run_that_breaks_down_writes_the_last_good_picture_and_ends_with_1(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    class Broken:
        def __init__(self, *arguments: Any) -> None:
            self.calls = 0

        def __call__(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            self.calls += 1
            return {"patches": image.sum() * (torch.nan if self.calls == 3 else 1)}

    monkeypatch.setattr(pipeline, "Objective", Broken)
    assert main(["run", *PHOTOS, *NONE, *QUICK, "--optimiser", "adam"]) == FAILED
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("photostyle: ")]
    assert "patches is not finite at evaluation 3" in line and "the last good picture is out.png" in line
    assert Path("out.png").exists() and "not finite" in json.loads(Path("out.json").read_text())["ended"]


@pytest.mark.parametrize(
    "error",
    [
        ComputationError("out of memory at --size 64; try a smaller --size"),
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried"
        ),
    ],
)
def test_a_full_memory_is_one_line_and_1_whoever_reports_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, error: Exception
) -> None:
    def exhaust(*arguments: Any, **settings: Any) -> None:
        raise error

    before = contents(folder)
    monkeypatch.setattr(command_run, "transfer", exhaust)
    assert main(["run", *PHOTOS, *NONE, *QUICK, "--quiet"]) == FAILED
    (line,) = capsys.readouterr().err.splitlines()
    assert "out of memory" in line and "--size" in line
    assert contents(folder) == before


def test_a_bug_is_not_dressed_up_as_anything_else(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(*arguments: Any, **settings: Any) -> None:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(command_run, "transfer", stumble)
    with pytest.raises(RuntimeError, match="shapes differ"):
        main(["run", *PHOTOS, *NONE, *QUICK])


def test_a_full_disk_is_one_line_and_1_and_the_old_picture_survives(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    Path("out.png").write_bytes(b"the old picture")
    before = contents(folder)
    monkeypatch.setattr(os, "fsync", full)
    assert main(["run", *PHOTOS, *NONE, *INSTANT, "--quiet"]) == FAILED
    (line,) = capsys.readouterr().err.splitlines()
    assert "out.png cannot be written (No space left on device)" in line
    assert contents(folder) == before


# masks


def test_masks_prints_the_pairing_and_draws_the_regions(folder: Path, capsys: Any) -> None:
    assert main(["masks", "mask.png", "style-mask.png", *PHOTOS, "--output", "view.png"]) == DONE
    header, first, second, name = capsys.readouterr().out.splitlines()
    assert header.split()[:4] == ["colour", "region", "content", "style"]
    assert first.split()[:5] == [
        "#0000ff",
        "#0000ff",
        "52.1%",
        "33.3%",
        "#0000ff",
    ]  # 50 of 96, 30 of 90 columns
    assert second.split()[:5] == ["#ff0000", "#ff0000", "47.9%", "66.7%", "#ff0000"]
    assert name == "view.png" and size_of(Path("view.png"))[0] > 800  # two pictures side by side


def test_masks_needs_no_photos(folder: Path, capsys: Any) -> None:
    assert main(["masks", "mask.png", "style-mask.png"]) == DONE
    assert "52.1%" in capsys.readouterr().out and Path("masks.png").is_file()


@pytest.mark.situation("an input from a pipe")
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_masks_from_pipes_are_read_once(folder: Path, capsys: Any) -> None:
    for name in ("mask.png", "style-mask.png"):
        os.mkfifo(f"{name}.pipe")
        data = Path(name).read_bytes()
        threading.Thread(target=Path(f"{name}.pipe").write_bytes, args=(data,), daemon=True).start()
    assert main(["masks", "mask.png.pipe", "style-mask.png.pipe"]) == DONE
    assert "52.1%" in capsys.readouterr().out


def test_masks_reads_folders_with_a_legend(folder: Path, capsys: Any) -> None:
    assert main(["masks", "soft", "style-soft"]) == DONE
    assert re.search(r"#0000ff +left +50\.0% +50\.0% +left +same label", capsys.readouterr().out)


def test_masks_says_what_it_decided(folder: Path, capsys: Any) -> None:
    assert main(["masks", "mask.png", "style-soft", *PHOTOS]) == DONE
    assert "note: no label is in both masks" in capsys.readouterr().err


def test_masks_does_not_overwrite_a_mask_with_its_picture(folder: Path, capsys: Any) -> None:
    Path("mask.png").rename("masks.png")  # the name that the picture would have
    before = contents(folder)
    assert main(["masks", "masks.png", "style-mask.png"]) == BAD_INPUT
    assert "masks.png is an input and would be overwritten" in capsys.readouterr().err
    assert contents(folder) == before


@pytest.mark.slow
def test_masks_are_made_for_every_reference_and_a_rerun_reads_them(folder: Path, capsys: Any) -> None:
    several = [
        "--content",
        "photo.png",
        "--style",
        "style.png",
        "photo.png",
        "--style-weights",
        "0.75",
        "0.25",
    ]
    assert main(["run", *several, *INSTANT, "--masks", "cluster"]) == DONE
    assert {path.name for path in Path("out-masks").iterdir()} == {
        "content", "style", "style-2", "preview.png",
    }  # fmt: skip
    record = json.loads(Path("out.json").read_text())
    assert [Path(name).name for name in record["config"]["masks"]] == ["content", "style", "style-2"]
    assert [set(each["gives"].values()) for each in record["references"]] == [{0.75}, {0.25}]
    assert main(["rerun", "out.json"]) == DONE
    assert "the same bytes" in capsys.readouterr().out


# score


def test_score_takes_what_a_result_was_made_from_out_of_its_record(folder: Path, capsys: Any) -> None:
    main(["run", *PHOTOS, *MASKS, *INSTANT])
    capsys.readouterr()
    assert main(["score", "out.png"]) == DONE
    header, ours, photo, baseline, gap, spoilt, *rows = capsys.readouterr().out.splitlines()
    assert header.split()[:4] == ["style", "↓", "colour", "↓"]
    assert [row.split("  ")[0] for row in (ours, photo, baseline)] == [
        "out.png",
        "untouched photo",
        "Monge-Kantorovich",
    ]
    assert photo.split()[2:4] == ["1.000", "1.000"]  # by definition
    assert float(ours.split()[2]) < 0.9  # the colours moved: a tenth at the very least
    assert gap == "" and spoilt.split()[::2] == list(Artefacts.__dataclass_fields__)
    names = ["out.png", "Monge-Kantorovich"]
    assert [row.split("  ")[0] for row in rows] == [*names, "", rows[3].split("  ")[0], *names]
    assert rows[3].split()[::2] == ["doubt", *Signs.__dataclass_fields__]
    assert all(0 < float(row.split()[-7]) < 1 for row in rows[4:])


@pytest.mark.slow
def test_a_picture_that_is_doubted_is_said_to_be(folder: Path, capsys: Any, monkeypatch: Any) -> None:
    for limit, said in ((0.0, True), (1.0, False)):
        monkeypatch.setattr("photostyle.evaluation.doubt.DOUBTFUL", limit)
        main(["run", *PHOTOS, *NONE, *INSTANT, "--metrics"])
        main(["score", "out.png"])
        heard = [each for each in capsys.readouterr().err.splitlines() if each.startswith("doubtful: ")]
        assert (
            len(heard) == 2 * said
            and len(set(heard)) <= 1
            and all("; try --strength" in each for each in heard)
        )
        main(["run", *PHOTOS, *NONE, *INSTANT, "--metrics", "--quiet"])
        assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_score_says_in_what_features_the_style_was_measured(folder: Path, capsys: Any) -> None:
    main(["run", *PHOTOS, *NONE, *INSTANT])
    capsys.readouterr()
    main(["score", "out.png"])
    assert "patches 7x7" in capsys.readouterr().out
    assert main(["score", "out.png", "--weights", "vgg.pth"]) == DONE
    assert "Gram relu1_1-relu5_1" in capsys.readouterr().out


@pytest.mark.slow
def test_score_without_a_record_takes_the_pictures_it_is_given(folder: Path, capsys: Any) -> None:
    main(["run", *PHOTOS, *MASKS, *INSTANT])
    recorded = main(["score", "out.png"]), capsys.readouterr().out.splitlines()[-12:]
    Path("out.json").unlink()
    given = main(["score", "out.png", *PHOTOS, *MASKS]), capsys.readouterr().out.splitlines()[-12:]
    assert recorded == given


@pytest.mark.slow
def test_score_takes_recorded_masks_where_only_the_pictures_are_given(folder: Path, capsys: Any) -> None:
    main(["run", *PHOTOS, *MASKS, *INSTANT])
    capsys.readouterr()
    assert main(["score", "out.png"]) == DONE
    recorded = capsys.readouterr().out
    main(["score", "out.png", *PHOTOS])
    assert capsys.readouterr().out == recorded
    main(["score", "out.png", *PHOTOS, "--masks", "none"])
    assert capsys.readouterr().out != recorded


# Bad input. Each case prepares a folder and gives the arguments, and what the one line has to name and to advise.


def truncate(folder: Path) -> None:
    whole = (folder / "photo.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])


def bomb(folder: Path) -> None:
    """A PNG of a few kilobytes that claims 40000 x 40000 pixels."""
    header = bytearray((folder / "photo.png").read_bytes())
    header[16:24] = (40_000).to_bytes(4, "big") * 2
    header[29:33] = crc32(header[12:29]).to_bytes(4, "big")
    (folder / "bomb.png").write_bytes(header)


def empty_soft_set(folder: Path) -> None:
    for name in ("left.png", "right.png"):
        Image.fromarray(np.zeros((64, 96), np.uint8)).save(folder / "soft" / name)


class Evil:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("ran.txt"),)


def write(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


def make_vgg16(folder: Path) -> None:
    torch.save(narrow_vgg("vgg16"), folder / "vgg16.pth")


def make_alpha(folder: Path) -> None:
    photo = Image.open(folder / "photo.png")
    photo.putalpha(128)
    photo.save(folder / "clear.png")


def make_tiny(folder: Path) -> None:
    Image.new("RGB", (1, 1)).save(folder / "tiny.png")


def make_square_mask(folder: Path) -> None:
    two_regions(64, 64, 32).save(folder / "square.png")


def content(name: str) -> list[str]:
    return ["run", "--content", name, "--style", "style.png"]


def nothing(folder: Path) -> None:
    pass


def renamed(name: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / "photo.png").rename(folder / name)


def unlink_legend(folder: Path) -> None:
    (folder / "soft" / "legend.toml").unlink()


def link(folder: Path) -> None:
    (folder / "link.png").symlink_to("photo.png")


RUN, ANOTHER = ["run", *PHOTOS], "choose another --output"
SOFT_SETS = [*RUN, "--masks", "soft", "style-soft"]
SQUARE = [*RUN, "--masks", "square.png", "style-mask.png"]


def two_references(folder: Path) -> None:
    config = {"content": "photo.png", "style": ["style.png", "photo.png"], "masks": ["none"]}
    picture = (folder / "photo.png").read_bytes()
    record = {
        "photostyle": {"format": 1},
        "config": config,
        "ended": "done",
        "environment": {"threads": 1},
        "inputs": {},
        "stages": [],
        "output": {"path": str(folder / "both.png"), "sha256": hashlib.sha256(picture).hexdigest()},
    }
    (folder / "both.json").write_text(json.dumps(record))
    (folder / "both.png").write_bytes(picture)


def masks_of_two(folder: Path) -> None:
    two_references(folder)
    record = json.loads((folder / "both.json").read_text())
    record["config"]["masks"] = ["mask.png", "style-mask.png", "mask.png"]
    (folder / "both.json").write_text(json.dumps(record))


EVIL = write("evil.pth", pickle.dumps(Evil()))
BAD: dict[str, tuple[Callable[[Path], Any], list[str], str, str]] = {
    # files
    "missing photo": (nothing, content("gone.png"), "gone.png", "check the name"),
    "missing style": (nothing, ["run", "--content", "photo.png", "--style", "gone.png"], "gone.png", "check the name"),
    "missing mask": (nothing, [*RUN, "--masks", "mask.png", "gone.png"], "gone.png", "check the name"),
    "missing weights": (nothing, [*RUN, "--weights", "gone.pth"], "gone.pth", "give the path"),
    "folder": (nothing, content("soft"), "soft", "name one inside it"),
    "truncated": (truncate, content("cut.png"), "cut.png", "export or copy it again"),
    "zero bytes": (write("zero.png", b""), content("zero.png"), "zero.png", "export or copy it again"),
    "no picture": (write("text.png", b"hello, world"), content("text.png"), "text.png", "export it as one of these"),
    "bomb": (bomb, content("bomb.png"), "bomb.png", "scale it down"),
    "one pixel": (make_tiny, content("tiny.png"), "tiny.png is 1x1", "use a larger one"),
    # masks
    "mask shape": (make_square_mask, SQUARE, "square.png is 64x64", "export the mask"),
    "one mask": (nothing, [*RUN, "--masks", "mask.png"], "--masks", "two paths"),
    "three masks": (nothing, [*RUN, "--masks", "a", "b", "c"], "--masks", "two paths"),
    "no mask name": (nothing, [*RUN, "--masks"], "--masks", "two paths"),
    "photo as mask": (nothing, [*RUN, "--masks", "photo.png", "style-mask.png"], "photo.png", "paint each region"),
    "empty soft set": (empty_soft_set, SOFT_SETS, "legend.toml", "check its entries"),
    "no legend": (unlink_legend, SOFT_SETS, "soft", "add it"),
    # weights
    "wrong architecture": (make_vgg16, [*RUN, "--weights", "vgg16.pth"], "vgg16.pth is no vgg19", "use it as vgg16"),
    "code in a pickle": (EVIL, [*RUN, "--weights", "evil.pth"], "evil.pth", "state_dict() alone"),
    "released without weights": (nothing, [*RUN, "--preset", "released"], "vgg19", "put it at"),
    # outputs
    "output in a file": (nothing, [*RUN, "--output", "photo.png/out.png"], "photo.png/out.png", "create it first"),
    "output in no folder": (nothing, [*RUN, "--output", "gone/out.png"], "gone/out.png", "create it first"),
    "output is a folder": (lambda f: (f / "out.png").mkdir(), [*RUN], "out.png is a folder", "name a file inside it"),
    "unknown suffix": (nothing, [*RUN, "--output", "out.gif"], "out.gif", "rename it"),
    "no suffix": (nothing, [*RUN, "--output", "out"], "out", "rename it"),
    "jpeg with alpha": (make_alpha, [*content("clear.png"), "--output", "out.jpg"], "out.jpg", "use .png, .webp"),
    "output = content": (nothing, [*RUN, "--output", "photo.png"], "photo.png", ANOTHER),
    "output = style": (nothing, [*RUN, "--output", "./style.png"], "style.png", ANOTHER),
    "output = mask": (nothing, [*RUN, *MASKS, "--output", "mask.png"], "mask.png", ANOTHER),
    "output in a soft set": (nothing, [*SOFT_SETS, "--output", "soft/left.png"], "soft/left.png", ANOTHER),
    "output = link": (link, [*RUN, "--output", "link.png"], "link.png", ANOTHER),
    "plot = content": (renamed("out-losses.png"), [*content("out-losses.png"), "--plot"], "out-losses.png", ANOTHER),
    "snapshot = content": (
        renamed("out-00001.png"), [*content("out-00001.png"), "--save-every", "1"], "out-00001.png", ANOTHER,
    ),
    "foreign json": (write("out.json", b'{"mine": 1}'), RUN, "out.json", ANOTHER),
    # options
    "content layer": (nothing, [*RUN, "--content-layers", "relu9_9"], "relu9_9", "did you mean"),
    "style layer": (nothing, [*RUN, "--style-layers", "relu1_1", "relu41"], "relu41", 'did you mean "relu4_1"'),
    "no style layer": (nothing, [*RUN, "--style-layers"], "no layers", "name some"),
    "strength of no region": (nothing, [*RUN, *NONE, "--region-strength", "sky=0.5"], "sky", "are: all"),
    "strength without a number": (nothing, [*RUN, "--region-strength", "sky"], "'sky'", "NAME=STRENGTH"),
    "strengths that a shell ate": (nothing, [*RUN, "--region-strength", "--quiet"], "--region-strength", "leave out"),
    "strengths in two": (
        nothing, [*RUN, "--region-strength", "a=1", "--region_strength=b=0"], "given 2 times", "give it once",
    ),
    "no reference": (nothing, ["run", "--content", "photo.png", "--style"], "--style names no file", "name one"),
    "style weights": (nothing, [*RUN, "--style-weights", "1", "2"], "2 numbers for 1 references", "give one each"),
    "no style weight": (nothing, [*RUN, "--style-weights"], "--style-weights", "leave it out"),
    "styles in two": (nothing, [*RUN, "--style", "photo.png"], "--style is given 2 times", "give it once"),
    "masks of two": (nothing, [*RUN, "style.png", *MASKS], "--masks takes 3 paths", "one for each of 2"),
    "output = second style": (
        nothing, [*content("style.png"), "photo.png", "--output", "photo.png"], "photo.png", ANOTHER,
    ),
    "unknown preset": (nothing, [*RUN, "--preset", "finest"], "'finest' for argument '--preset'", "'released'"),
    "preset without a name": (nothing, [*RUN, "--preset"], "'--preset'", "--help"),
    "iterations without one": (nothing, [*RUN, "--iterations", "--size", "64"], "--iterations has no", "leave it out"),
    "negative size": (nothing, [*RUN, "--size", "-5"], "--size is -5", "at least 32"),
    "tiny size": (nothing, [*RUN, "--size", "8"], "--size is 8", "at least 32"),
    "size is a word": (nothing, [*RUN, "--size", "big"], "--size", "--help"),
    "size without a number": (nothing, [*RUN, "--size"], "'--size'", "--help"),
    "start file": (nothing, [*RUN, "--start", "file"], "--start file", "needs --start-file PICTURE"),
    "start file gone": (nothing, [*RUN, "--start", "file", "--start-file", "gone.png"], "gone.png", "check the name"),
    "start file unused": (nothing, [*RUN, "--start-file", "style.png"], "--start-file", "add --start file"),
    "unknown option": (nothing, [*RUN, "--siez", "3"], "--siez", "did you mean --size?"),
    "misspelt photo": (nothing, ["run", "--contnet", "photo.png", "--style", "s.png"], "--contnet", "mean --content?"),
    "unlike any option": (nothing, [*RUN, "--zzzzz=1"], "--zzzzz", "--help lists all"),
    "option value": (nothing, [*RUN, "--optimiser", "sgd"], "'sgd' for argument '--optimiser'", "'adam', 'lbfgs'"),
    "stray argument": (nothing, ["run", "style.png", *PHOTOS], "style.png", "--help"),
    "no photo": (nothing, ["run", "--style", "style.png"], "--content", "--help"),
    "unknown command": (nothing, ["paint"], '"paint"', "run, batch, try, adjust, segment, search, stylise"),
    # the other commands
    "masks with one": (nothing, ["masks", "mask.png"], "Expected 2 values", "--help"),
    "masks shape": (make_square_mask, ["masks", *SQUARE[-2:], *PHOTOS], "square.png is 64x64", "export the mask"),
    "score one of two": (masks_of_two, ["score", "both.png", "--style", "style.png"], "masks of 2 refer", "of one"),
    "score of two": (two_references, ["score", "both.png"], "both.png is of 2 references", "of one"),
    "masks suffix": (nothing, ["masks", "mask.png", "style-mask.png", "--output", "x.gif"], "x.gif", "rename it"),
    "score alone": (nothing, ["score", "photo.png"], "photo.json", "give --content, --style and --masks"),
    "score nothing": (nothing, ["score"], "PATH", "--help"),
    "score one mask": (nothing, ["score", "photo.png", *PHOTOS, "--masks", "mask.png"], "--masks", "two paths"),
    "score another size": (nothing, ["score", "style.png", *PHOTOS, "--masks", "none"], "90", "96"),
    "rerun nothing": (nothing, ["rerun", "gone.json"], "gone.json", "beside a picture"),
    "rerun a picture": (nothing, ["rerun", "photo.png"], "photo.png", "beside a picture"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_that_names_it_and_a_remedy_and_touches_nothing(
    case: str, folder: Path, capfd: Any
) -> None:
    prepare, arguments, named, remedy = BAD[case]
    prepare(folder)
    if not (folder / "out.png").exists():
        (folder / "out.png").write_bytes(b"an earlier picture")
    before = contents(folder)
    assert main(arguments) == BAD_INPUT
    said = capfd.readouterr()
    (line,) = [line for line in said.err.splitlines() if not line.startswith("note: ")]
    assert line.startswith("photostyle: ") and named in line and remedy in line, line
    assert said.out == ""
    assert contents(folder) == before


@pytest.mark.parametrize("columns", ["40", "200"])
def test_the_line_is_the_same_on_any_terminal(
    folder: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert main([*RUN, "--optimiser", "sgd"]) == BAD_INPUT
    assert capsys.readouterr().err == (
        "photostyle: invalid choice 'sgd' for argument '--optimiser'. Expected one of ('mm', 'adam', 'lbfgs'); "
        "photostyle run --help explains the options\n"
    )


def test_no_write_permission_is_refused_before_any_work(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """os.access is asked, since nothing is read-only to root, who may run the tests."""
    (folder / "locked").mkdir()
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "locked" and real(path, mode))
    monkeypatch.setattr(command_run, "transfer", lambda *a, **s: pytest.fail("work was done"))
    assert main([*RUN, "--output", "locked/out.png"]) == BAD_INPUT
    (line,) = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("note: ")]
    assert "locked/out.png cannot be written: the folder locked is read-only: choose another" in line


def test_cuda_where_there_is_none_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main([*RUN, "--preset", "instant", "--device", "cuda"]) == BAD_INPUT
    (line,) = capsys.readouterr().err.splitlines()
    assert "--device cuda" in line and "use --device cpu or auto" in line


# As processes


def environment(folder: Path) -> dict[str, str]:
    return os.environ | {
        "TORCH_HOME": str(folder / "empty"),
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "passive",
    }


def test_the_installed_command_ends_with_the_exit_code_and_no_traceback(folder: Path) -> None:
    command = [str(Path(sys.executable).with_name("photostyle")), *content("gone.png"), "--preset", "instant"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(folder), timeout=HANGS)
    assert (done.returncode, done.stdout) == (BAD_INPUT, "")
    assert done.stderr == "photostyle: gone.png does not exist: check the name\n"


@pytest.mark.slow
def test_control_c_in_the_middle_of_the_script_leaves_picture_and_record(folder: Path, root: Path) -> None:
    endless = "--size 64 --coarsest 64 --iterations 100000 --boldness 1 --preset patches --device cpu".split()
    command = [sys.executable, str(root / "scripts" / "run.py"), *PHOTOS, *NONE, *endless]
    command += ["--save-every", "3"]
    # A shell that starts the tests in the background has SIGINT ignored, and its children inherit that.
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment(folder))
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        until(lambda: Path("out-00003.png").exists() or process.poll() is not None, "the third iteration")
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=HANGS)
    finally:
        process.kill()
    assert process.returncode == INTERRUPTED
    assert said.splitlines()[-1] == "photostyle: interrupted; the best picture so far is out.png"
    assert "Traceback" not in said
    record = json.loads(Path("out.json").read_text())
    assert record["ended"] == "interrupted" and len(record["trace"]) >= 3
    assert size_of(Path("out.png")) == (96, 64)
