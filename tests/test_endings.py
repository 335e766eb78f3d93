"""How a run ends where something goes wrong beside its picture: the picture and its record are there."""

import errno
import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from photostyle import pipeline
from photostyle.cli import first, main
from photostyle.cli import run as command_run
from photostyle.cli.console import BAD_INPUT, DONE, FAILED, INTERRUPTED
from photostyle.errors import ComputationError
from photostyle.files.images import read_image, sha256_of, write_image

RUN = "run --content photo.jpg --style sunset.jpg --masks none --device cpu --threads 1".split()
INSTANT = [*RUN, "--preset", "instant", "--metrics"]
QUICK = [
    *RUN,
    *"--preset patches --size 64 --coarsest 64 --iterations 4 --patch-draws 4 --boldness 1".split(),
]
OUT = Path("out.png")


def record() -> dict[str, Any]:
    entries: dict[str, Any] = json.loads(Path("out.json").read_text())
    return entries


def whole() -> bool:
    """The record is that of the picture, and nothing half-written lies beside."""
    return record()["output"]["sha256"] == sha256_of(OUT) and not list(Path().glob(".photostyle-*"))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "no metrics: out of memory"),
        (RuntimeError("[enforce fail] can't allocate memory: you tried"), "no metrics: out of memory"),
        (ValueError("two\nlines"), "no metrics: ValueError: two lines"),
        (KeyboardInterrupt(), "no metrics: interrupted"),
        (ComputationError("no"), "no metrics: no"),
    ],
)
def test_scores_that_fail_cost_the_scores(
    error: BaseException, said: str, photographs: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def fail(*_: Any) -> None:
        assert whole(), "picture and record are there before the scores"
        raise error

    monkeypatch.setattr("photostyle.evaluation.scores.score", fail)
    assert main(INSTANT) == DONE
    assert f"note: {said}" in capsys.readouterr().err.splitlines()
    assert whole() and record()["metrics"] == {} and said in record()["notes"]


def test_a_photo_is_printed_as_large_afterwards(photographs: Path) -> None:
    with Image.open("photo.jpg") as photo:
        photo.save("photo.jpg", dpi=(300, 300))
    assert main([*RUN, "--preset", "instant", "--no-metrics"]) == DONE
    assert read_image(OUT).resolution == pytest.approx((300, 300), rel=1e-3)


def test_scores_come_into_the_record_afterwards(photographs: Path) -> None:
    assert main(INSTANT) == DONE
    assert whole() and record()["metrics"]["doubt"] >= 0


def test_scores_of_a_picture_that_another_run_has_replaced_go_nowhere(
    photographs: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    other = {"photostyle": {"format": 1}, "output": {"sha256": "of another"}}
    real = command_run.scores_of

    def meanwhile(*given: Any) -> Any:
        Path("out.json").write_text(json.dumps(other))
        return real(*given)

    monkeypatch.setattr(command_run, "scores_of", meanwhile)
    assert main(INSTANT) == DONE
    assert record() == other and "was replaced by another run" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a bug"),
        *(pytest.param(each, marks=pytest.mark.slow) for each in (MemoryError(), KeyboardInterrupt())),
    ],
)
@pytest.mark.parametrize("part", ["show_regions", "_plot", "Frames.write"])
def test_what_is_drawn_beside_costs_itself(
    part: str, error: BaseException, photographs: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(command_run.Frames if "." in part else command_run, part.rpartition(".")[2], fail)
    assert main([*QUICK, "--plot", "--no-metrics"]) == DONE
    assert any(each.startswith("note: no ") for each in capsys.readouterr().err.splitlines())
    assert whole()


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")]
)
@pytest.mark.parametrize("call", [1, 3])
def test_memory_that_ends_in_the_solve_leaves_the_last_good_picture(
    error: Exception, call: int, photographs: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    class Exhausted:
        def __init__(self, *_: Any) -> None:
            self.calls = 0

        def __call__(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            self.calls += 1
            if self.calls == call:
                raise error
            return {"patches": image.square().sum()}

    monkeypatch.setattr(pipeline, "Objective", Exhausted)
    assert main([*QUICK, "--optimiser", "adam"]) == FAILED
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("photostyle: out of memory at --size 64")
    assert last.endswith("out.png is the first picture" if call == 1 else "the last good picture is out.png")
    assert whole()


def test_a_disk_that_is_full_for_snapshots_is_said_once(
    photographs: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise ComputationError("out-00001.png cannot be written (No space left on device)")

    monkeypatch.setattr(command_run, "write_snapshot", full)
    assert main([*QUICK, "--save-every", "1", "--no-metrics"]) == DONE
    said = [each for each in capsys.readouterr().err.splitlines() if "No space left" in each]
    assert len(said) == 1 and whole()


@pytest.mark.parametrize("moment", ["rendered", "encode_image"])
def test_a_signal_while_the_picture_is_finished_waits_for_it(
    moment: str, photographs: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    place = pipeline if moment == "rendered" else command_run
    real = getattr(place, moment)

    def interrupted(*given: Any, **settings: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)
        return real(*given, **settings)

    monkeypatch.setattr(place, moment, interrupted)
    assert main([*QUICK, "--no-first-picture"]) == INTERRUPTED
    assert capsys.readouterr().err.splitlines()[-1] == (
        "photostyle: interrupted; out.png is finished, without scores"
    )
    assert whole() and record()["ended"] == "done" and len(record()["trace"]) == 4


@pytest.mark.parametrize(
    "error", [ComputationError("out.png cannot be written (No space left on device)"), None]
)
def test_a_signal_waits_for_no_picture_that_has_failed(
    error: Exception | None, photographs: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Neither for the first picture, which the run goes on without, nor for the last."""

    def fail(*_: Any) -> None:
        if error is None:
            signal.raise_signal(signal.SIGTERM)
        raise error or ComputationError("out.png cannot be written (Input/output error)")

    place = command_run if error is None else first
    monkeypatch.setattr(place, "write_picture", fail)
    step = command_run.Frames.add

    def interrupted(self: Any, image: torch.Tensor) -> None:
        step(self, image)
        if error is not None:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(command_run.Frames, "add", interrupted)
    assert main([*QUICK, "--no-metrics"]) == INTERRUPTED
    last = capsys.readouterr().err.splitlines()[-1]
    if error is None:
        assert last == "photostyle: interrupted; out.png is the first picture"
    else:
        assert last == "photostyle: interrupted; the best picture so far is out.png"
        assert len(record()["trace"]) == 1
    assert whole()


def test_a_picture_that_is_gone_with_its_folder_is_not_said_to_be_there(
    photographs: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    Path("folder").mkdir()
    monkeypatch.setattr(command_run.Frames, "add", lambda *_: shutil.rmtree("folder", ignore_errors=True))
    assert main([*QUICK, "--no-metrics", "-o", "folder/out.png"]) == BAD_INPUT
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("photostyle: folder/out.png cannot be written: the folder folder does not exist")
    assert last.endswith("; folder/out.png was written and is gone")


def test_interrupted_before_its_picture_a_run_says_what_is_there(
    photographs: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "rendered", interrupt)
    assert main([*QUICK, "--no-first-picture"]) == INTERRUPTED
    assert capsys.readouterr().err.splitlines()[-1].endswith("a picture; nothing was written")
    OUT.write_bytes(b"old")
    assert main([*QUICK, "--no-first-picture", "--save-every", "3"]) == INTERRUPTED
    assert capsys.readouterr().err.splitlines()[-1].endswith("a picture; out-00003.png was written")
    assert main([*QUICK, "--no-first-picture"]) == INTERRUPTED
    assert capsys.readouterr().err.splitlines()[-1].endswith("written; out.png is of an earlier run")
    assert OUT.read_bytes() == b"old"


@pytest.mark.parametrize("name", ["photo.jpg", "sunset.jpg", "mask.png", "start.png"])
def test_an_input_that_is_replaced_during_a_run_is_recorded_as_it_was_read(
    name: str, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_image(Path("mask.png"), torch.ones(3, 64, 96))
    write_image(Path("start.png"), torch.full((3, 64, 96), 0.5))
    given = [*QUICK, "--start", "file", "--start-file", "start.png", "--metrics", "--show"]
    given[given.index("none") : given.index("none") + 1] = ["mask.png", "mask.png"]
    before = {each.name: sha256_of(each) for each in photographs.iterdir() if each.is_file()}
    monkeypatch.setattr(command_run.Frames, "add", lambda *_: Path(name).write_bytes(b"another"))
    monkeypatch.setattr("photostyle.evaluation.show.show", lambda *_: None)
    assert main(given) == DONE and whole()
    inputs = {Path(each["path"]).name: each["sha256"] for each in record()["inputs"].values()}
    assert inputs == before and record()["metrics"]


def test_a_kill_between_the_last_two_names_is_told_by_the_record(
    photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never a new picture beside an old record: the record has its name first."""
    assert main([*INSTANT, "--no-metrics"]) == DONE
    before, real = OUT.read_bytes(), Path.replace

    def killed(self: Path, target: Path) -> Path:
        if target.name == OUT.name:
            raise OSError(errno.EIO, "as good as killed")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    assert main([*INSTANT, "--no-metrics", "--strength", "0.5"]) == FAILED
    assert OUT.read_bytes() == before and record()["config"]["strength"] == 0.5
    assert record()["output"]["sha256"] != sha256_of(OUT)


@pytest.mark.situation("a record of another picture")
@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (["score", "out.png"], BAD_INPUT, "give --content, --style and --masks of out.png"),
        (["rerun", "out.json"], DONE, "what is made again is the recorded one"),
        (["adjust", "out.json", "--strength", "0.5"], DONE, "what is adjusted is the recorded one"),
    ],
)
def test_a_record_of_another_picture_is_told_in_one_line(
    command: list[str], code: int, said: str, photographs: Path, capsys: Any
) -> None:
    assert main([*INSTANT, "--no-metrics"]) == DONE
    OUT.write_bytes(Path("photo.jpg").read_bytes())
    capsys.readouterr()
    assert main(command) == code
    lines = [each for each in capsys.readouterr().err.splitlines() if "SHA-256 differs" in each]
    assert len(lines) == 1 and lines[0].endswith(said)
    assert "out.json is the record of another picture than out.png" in lines[0]


@pytest.mark.situation("two pictures that share a record")
def test_the_record_of_another_suffix_is_not_taken_for_this_picture_s(photographs: Path, capsys: Any) -> None:
    """out.png and out.jpg have one name for their record: it is of the later one."""
    assert main([*INSTANT, "--no-metrics"]) == DONE
    swapped = (
        "run --content sunset.jpg --style photo.jpg --masks none --preset instant --no-metrics -o out.jpg"
    )
    assert main(swapped.split()) == DONE
    capsys.readouterr()
    assert main(["score", "out.png"]) == BAD_INPUT
    assert "out.json is the record of another picture than out.png" in capsys.readouterr().err
    assert main(["score", "out.jpg"]) == DONE


@pytest.mark.situation("somebody else's file of a name that a run writes")
@pytest.mark.parametrize("name", ["losses.png", "regions.png", "solved.tif", "00002.png"])
def test_a_file_beside_that_is_not_ours_is_not_overwritten(name: str, photographs: Path, capsys: Any) -> None:
    foreign = Path(f"out-{name}")
    foreign.write_bytes(b"somebody's")
    before = sorted(Path().iterdir())
    assert main([*QUICK, "--plot", "--save-every", "2"]) == BAD_INPUT
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"photostyle: out-{name} would be written") and "choose another --output" in line
    assert sorted(Path().iterdir()) == before and foreign.read_bytes() == b"somebody's"


@pytest.mark.situation("somebody else's file of a name that a run writes")
def test_a_preview_of_masks_that_is_not_ours_is_not_overwritten(photographs: Path, capsys: Any) -> None:
    Path("out-masks").mkdir()
    foreign = Path("out-masks/preview.png")
    foreign.write_bytes(b"somebody's")
    assert main([*RUN[:5], *RUN[7:], "--masks", "cluster"]) == BAD_INPUT
    assert "out-masks/preview.png exists beside no masks" in capsys.readouterr().err
    assert foreign.read_bytes() == b"somebody's"


@pytest.mark.parametrize(
    ("name", "target", "said"),
    [
        ("out.png", "out.png", "out.png cannot be written (Too many levels of symbolic links)"),
        ("out.json", "out.json", "out.json cannot be written (Too many levels of symbolic links)"),
        ("out.png", "nowhere/out.png", "nowhere does not exist: create it first"),
    ],
)
def test_a_link_that_leads_nowhere_is_refused_before_the_work(
    name: str, target: str, said: str, photographs: Path, capsys: Any
) -> None:
    Path(name).symlink_to(target)
    assert main(QUICK) == BAD_INPUT
    (line,) = [each for each in capsys.readouterr().err.splitlines() if each.startswith("photostyle:")]
    assert said in line and Path(name).is_symlink()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["solved.tif", "losses.png", "regions.png", "00002.png"])
def test_a_record_says_which_files_beside_its_picture_are_ours(
    name: str, photographs: Path, capsys: Any
) -> None:
    assert main([*INSTANT, "--no-metrics", "--no-keep-solved"]) == DONE
    assert record()["beside"] == []
    foreign, wanted = Path(f"out-{name}"), [*QUICK, "--plot", "--save-every", "2", "--quiet"]
    foreign.write_bytes(b"somebody's")
    assert main(wanted) == BAD_INPUT
    assert f"out-{name} would be written" in capsys.readouterr().err
    # What no record names that knows of no company was always ours.
    older = record()
    del older["beside"]
    Path("out.json").write_text(json.dumps(older))
    assert main(wanted) == DONE and main(wanted) == DONE
    plotted = ["out-00002.png", "out-00004.png", "out-losses.png", "out-solved.tif"]
    assert record()["beside"] == sorted({*plotted, *([foreign.name] if name == "regions.png" else [])})
    # A run that writes none of them forgets none of them.
    assert main([*INSTANT, "--no-metrics"]) == DONE and main(wanted) == DONE


def test_a_folder_that_may_not_be_listed_may_be_written_in(
    photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", denied)
    monkeypatch.setattr("os.scandir", denied)
    assert main([*INSTANT, "--no-metrics"]) == DONE and OUT.exists()


def test_unfinished_pictures_of_a_killed_run_are_ours(
    photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise SystemExit

    wanted = [*QUICK, "--save-every", "2", "--quiet"]
    with monkeypatch.context() as patch:
        patch.setattr(command_run, "_put", killed)
        main(wanted)
    assert Path("out-00002.png").exists() and not Path("out.json").exists()
    assert main(wanted) == DONE
    read_image(Path("out-00002.png"))


def test_a_search_does_not_overwrite_trials_that_are_not_its_own(photographs: Path, capsys: Any) -> None:
    foreign = Path("search/trials/0000.png")
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"somebody's")
    given = "search --content photo.jpg --style sunset.jpg --trials 1 --device cpu".split()
    assert main(given) == BAD_INPUT
    assert "0000.png exists and is of no search here" in capsys.readouterr().err
    assert foreign.read_bytes() == b"somebody's"


def test_segment_does_not_overwrite_a_preview_that_is_not_its_own(photographs: Path, capsys: Any) -> None:
    Path("masks").mkdir()
    Path("masks/preview.png").write_bytes(b"somebody's")
    assert main(["segment", "photo.jpg", "--method", "cluster", "--device", "cpu"]) == BAD_INPUT
    assert "preview.png exists beside no masks" in capsys.readouterr().err
    assert [each.name for each in Path("masks").iterdir()] == ["preview.png"]
