"""photostyle photo.jpg sunset.jpg: the run without a command, and the first picture that any run shows."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from photostyle import pipeline
from photostyle.cli import main
from photostyle.cli import run as command_run
from photostyle.cli.console import BAD_INPUT, DONE, INTERRUPTED
from photostyle.config import Config
from photostyle.errors import PhotostyleError
from photostyle.scene import Scene

QUICK = "--masks none --boldness 1 --size 64 --coarsest 64 --iterations 2 --no-metrics --device cpu --threads 1".split()
CALM = "--preset instant --masks none --boldness 0 --device cpu --threads 1".split()


def interrupt(*arguments: Any, **settings: Any) -> None:
    raise KeyboardInterrupt


def record(name: str) -> dict[str, Any]:
    entries: dict[str, Any] = json.loads(Path(name).read_text())
    return entries


# The form without a command


def test_it_is_run_with_a_name_made_of_both_photographs(photographs: Path, capsys: Any) -> None:
    assert main(["photo.jpg", "sunset.jpg", *QUICK]) == DONE
    assert capsys.readouterr().out.splitlines()[:2][1] == "photo-sunset.json"
    assert main(["run", "--content", "photo.jpg", "--style", "sunset.jpg", *QUICK]) == DONE
    assert Path("photo-sunset.png").read_bytes() == Path("out.png").read_bytes()
    ours, theirs = record("photo-sunset.json")["config"], record("out.json")["config"]
    assert {name for name in ours if ours[name] != theirs[name]} == {"output"}


def test_several_references_are_all_in_the_name(photographs: Path) -> None:
    Path("sunset.jpg").rename("dusk.v2.jpg")
    assert main(["photo.jpg", "dusk.v2.jpg", "photo.jpg", *CALM]) == DONE
    assert len(record("photo-dusk.v2-photo.json")["config"]["style"]) == 2


@pytest.mark.parametrize("option", [["-o", "mine.png"], ["--output=mine.png"], ["--output", "mine.png"]])
def test_a_name_that_is_given_is_taken(photographs: Path, option: list[str]) -> None:
    assert main(["photo.jpg", "sunset.jpg", *CALM, *option]) == DONE
    assert Path("mine.png").exists() and not Path("photo-sunset.png").exists()


def test_the_picture_lies_in_the_working_folder(photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert main(["../photo.jpg", "../sunset.jpg", *CALM]) == DONE
    assert Path("photo-sunset.png").exists()


def make_foreign_picture() -> None:
    Path("photo-sunset.png").write_bytes(b"somebody's own")


def make_foreign_json() -> None:
    Path("photo-sunset.json").write_text("{}")


def make_input_of_that_name() -> None:
    Path("photo-sunset.png").write_bytes(Path("sunset.jpg").read_bytes())
    Path("photo-sunset.json").write_text(json.dumps({"photostyle": {"format": 1}}))


@pytest.mark.parametrize(
    ("prepare", "words", "named"),
    [
        (make_foreign_picture, [], "photo-sunset.png exists and has no photostyle record"),
        (make_foreign_json, [], "photo-sunset.json exists and is no photostyle record"),
        (make_input_of_that_name, ["--start", "file", "--start-file", "photo-sunset.png"], "is an input"),
        (None, ["--style", "photo.jpg"], "--style is given beside photo.jpg sunset.jpg"),
        (None, ["--contnet", "photo.jpg"], "did you mean --content?"),
    ],
)
def test_what_is_not_ours_stays_as_it_is(
    photographs: Path, prepare: Any, words: list[str], named: str, capsys: Any
) -> None:
    if prepare:
        prepare()
    before = {path.name: path.read_bytes() for path in photographs.glob("*.*")}
    assert main(["photo.jpg", "sunset.jpg", *CALM, *words]) == BAD_INPUT
    assert named in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in photographs.glob("*.*")} == before


def test_a_word_that_is_no_file_is_a_command_that_there_is_not(photographs: Path, capsys: Any) -> None:
    assert main(["paint", "photo.jpg"]) == BAD_INPUT
    assert 'no command "paint"' in capsys.readouterr().err
    Path("photo.jpg").rename("paint")  # but a file needs no suffix
    assert main(["paint", "sunset.jpg", *CALM]) == DONE


# The first picture


def test_it_is_there_before_the_solve_and_goes_when_the_result_comes(
    photographs: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    seen: list[bytes] = []
    solve = pipeline.solve

    def watched(scene: Scene, config: Config, *rest: Any, **settings: Any) -> Any:
        if config.preset == "patches":  # and not the first picture's own, which evaluates nothing
            seen.append(Path("photo-sunset.png").read_bytes())
        return solve(scene, config, *rest, **settings)

    monkeypatch.setattr(pipeline, "solve", watched)
    assert main(["photo.jpg", "sunset.jpg", *QUICK]) == DONE
    assert "first picture: photo-sunset.png" in capsys.readouterr().err
    assert main(["photo.jpg", "sunset.jpg", *CALM, "-o", "calm.png"]) == DONE
    first = seen[0]
    assert first == Path("calm.png").read_bytes() != Path("photo-sunset.png").read_bytes()
    assert record("photo-sunset.json")["config"]["preset"] == "patches"


@pytest.mark.parametrize("moment", ["segmentation.make.make_masks", "photostyle.optimisers.optimise"])
def test_it_stays_where_a_run_is_interrupted_early(
    photographs: Path, moment: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr("photostyle.solver.optimise" if "optimise" in moment else moment, interrupt)
    masks = "cluster" if "masks" in moment else "none"
    assert main(["photo.jpg", "sunset.jpg", *QUICK, "--masks", masks]) == INTERRUPTED
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "photostyle: interrupted; photo-sunset.png is the first picture"
    # Picture and record belong together: of a run by itself, which can be made again.
    entries = record("photo-sunset.json")
    assert (entries["ended"], entries["config"]["preset"]) == ("done", "instant")
    monkeypatch.undo()
    monkeypatch.chdir(photographs)
    assert main(["rerun", "photo-sunset.json"]) == DONE
    assert "the same bytes" in capsys.readouterr().out
    assert main(["photo.jpg", "sunset.jpg", *CALM]) == DONE  # and it is ours: the same command goes on


def test_an_interrupt_after_an_evaluation_leaves_the_best_so_far(
    photographs: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(command_run.Progress, "__call__", interrupt)
    assert main(["photo.jpg", "sunset.jpg", *QUICK]) == INTERRUPTED
    assert "the best picture so far" in capsys.readouterr().err
    entries = record("photo-sunset.json")
    assert (entries["ended"], len(entries["trace"])) == ("interrupted", 1)


@pytest.mark.parametrize("words", [["--quiet"], ["--no-first-picture"], ["--preset", "instant"]])
def test_there_is_none_where_nobody_waits_for_it(
    photographs: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("photostyle.cli.first.FirstPicture.shown", lambda self: pytest.fail("it was written"))
    quick = [word for word in QUICK if "instant" not in words or word not in ("--iterations", "2")]
    assert main(["photo.jpg", "sunset.jpg", *quick, *words]) == DONE


def test_a_run_goes_on_without_it(photographs: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def refuse(*arguments: Any) -> None:
        raise PhotostyleError("it needs more memory")

    monkeypatch.setattr("photostyle.cli.first.transfer", refuse)
    assert main(["photo.jpg", "sunset.jpg", *QUICK]) == DONE
    assert "note: no first picture: it needs more memory" in capsys.readouterr().err


def test_an_interrupt_during_the_sheet_does_not_cost_the_picture(
    photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_run, "show_regions", interrupt)
    assert main(["photo.jpg", "sunset.jpg", *QUICK]) == DONE
    assert record("photo-sunset.json")["ended"] == "done"


def test_bad_input_is_found_before_it(photographs: Path) -> None:
    Image.new("RGB", (96, 64), "red").save("mask.png")
    for wrong in (["--masks", "mask.png", "gone.png"], ["--region-strength", "sky=0.5"], ["--size", "3"]):
        assert main(["photo.jpg", "sunset.jpg", *QUICK, *wrong]) == BAD_INPUT
    assert not list(photographs.glob("photo-sunset*"))
