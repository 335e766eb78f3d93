"""photostyle batch: what it makes, keeps, makes again and refuses, and how it ends."""

import contextlib
import json
import shutil
import signal
import subprocess
from dataclasses import fields
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from PIL import Image
from test_gallery import BROWSER
from vgg import narrow_vgg
from waiting import HANGS

from photostyle.batch.freshness import Hashes
from photostyle.cli import batch as command_batch
from photostyle.cli import main, scoring
from photostyle.cli import run as command_run
from photostyle.cli.batch_jobs import BatchCommand
from photostyle.cli.console import BAD_INPUT, DONE, FAILED, INTERRUPTED
from photostyle.errors import PhotostyleError
from photostyle.evaluation.records import read_record
from photostyle.files.lock import alone_in
from photostyle.losses import weights as weight_files
from photostyle.workers.pool import LostTask, Task, ThisProcess

STYLE = ["--style", "sunset.jpg", "--preset", "instant", "--device", "cpu"]
PAGE = {"index.html", "contact-sheet.jpg", "batch.json", "thumbnails"}


@pytest.fixture
def album(photographs: Path) -> Path:
    """album/ with a/x.jpg, b/x.jpg and y.png, of 96x64."""
    for place in ("a/x.jpg", "b/x.jpg", "y.png"):
        path = photographs / "album" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.open("photo.jpg").rotate(len(place)).save(path)
    return photographs / "album"


def command(*words: str, photos: tuple[str, ...] = ("album/**/*",)) -> list[str]:
    return ["batch", *photos, *STYLE, "-o", "out", *words]


def summary() -> dict[str, Any]:
    return json.loads(Path("out/batch.json").read_text(encoding="utf-8"))


def states() -> dict[str, str]:
    return {each["output"]: each["state"] for each in summary()["pictures"]}


def pixels(path: str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def one_line(words: list[str], capsys: Any, code: int = BAD_INPUT) -> str:
    capsys.readouterr()
    assert main(words) == code
    (said,) = [each for each in capsys.readouterr().err.splitlines() if not each.startswith("note: ")]
    return said


def test_every_photograph_is_what_run_makes_of_it(album: Path, capsys: Any) -> None:
    assert main(command()) == DONE
    said = capsys.readouterr()
    assert {each.name for each in Path("out").iterdir()} == PAGE | {
        f"{stem}{suffix}" for stem in ("a-x", "b-x") for suffix in (".jpg", ".json")
    } | {"y.png", "y.json"}
    assert [each.split()[0] for each in said.err.splitlines()] == ["1/3", "2/3", "3/3"]
    assert said.err.splitlines()[-1].endswith(" 0 s left")
    assert said.out.splitlines()[0].startswith("3 photographs: 3 made, 0 kept")
    assert main(["album/y.png", "sunset.jpg", *STYLE[2:], "--masks", "none", "-o", "alone.png"]) == DONE
    assert Path("alone.png").read_bytes() == Path("out/y.png").read_bytes()
    assert summary()["ended"] == "done"


@pytest.mark.slow
def test_the_same_command_makes_what_is_missing_damaged_or_of_another_time(album: Path, capsys: Any) -> None:
    assert main(command()) == DONE
    before = {path: path.read_bytes() for path in Path("out").glob("*.jp*g")}
    capsys.readouterr()
    assert main(command()) == DONE
    assert "3 of 3 pictures are as they would be made, and kept" in capsys.readouterr().err
    assert set(states().values()) == {"kept"}
    Path("out/y.png").unlink()
    Path("out/a-x.jpg").write_bytes(b"cut")
    assert main(command()) == DONE
    assert states() == {"a-x.jpg": "made", "b-x.jpg": "kept", "y.png": "made"}
    assert "again: a-x.jpg (changed since it was made)" in capsys.readouterr().err
    assert Path("out/a-x.jpg").read_bytes() == before[Path("out/a-x.jpg")]
    # A date says nothing, bytes do.
    Path("album/b/x.jpg").touch()
    Image.open("photo.jpg").rotate(90).save("album/y.png")
    assert main(command()) == DONE
    assert states() == {"a-x.jpg": "kept", "b-x.jpg": "kept", "y.png": "made"}
    assert main(command("--strength", "0.5")) == DONE
    assert set(states().values()) == {"made"}
    assert "other settings: strength" in capsys.readouterr().err
    Image.open("photo.jpg").save("sunset.jpg")
    assert main(command("--strength", "0.5")) == DONE
    assert set(states().values()) == {"made"}


def test_a_moved_folder_has_nothing_to_make_again(album: Path, monkeypatch: Any) -> None:
    Image.new("RGB", (96, 64), "red").save("mask.png")
    row = "album/y.png,photo.jpg,mask.png|mask.png\n"
    Path("pairs.csv").write_text(f"content,style,masks\n{row}", encoding="utf-8")
    words = ["batch", "--pairs", "pairs.csv", "--preset", "instant", "-o", "out"]
    assert main(words) == DONE
    moved = album.parent.with_name("moved")
    shutil.move(album.parent, moved)
    monkeypatch.chdir(moved)
    assert main(words) == DONE
    assert set(states().values()) == {"kept"}
    Image.new("RGB", (96, 64), "blue").save("mask.png")
    assert main(words) == DONE
    assert set(states().values()) == {"made"}


def test_a_photograph_that_fails_is_named_and_the_others_go_on(album: Path, capsys: Any) -> None:
    Path("album/bad.jpg").write_bytes(b"no picture")
    assert main(command()) == FAILED
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == "photostyle: 1 of 4 pictures failed; the others are done"
    assert said[-2].startswith("failed: album/bad.jpg: album/bad.jpg is not a readable picture")
    assert states() == {"a-x.jpg": "made", "b-x.jpg": "made", "bad.jpg": "failed", "y.png": "made"}
    assert "bad.jpg" in Path("out/index.html").read_text(encoding="utf-8")
    Image.open("photo.jpg").save("album/bad.jpg")
    assert main(command("--quiet")) == DONE
    assert states() == {"a-x.jpg": "kept", "b-x.jpg": "kept", "bad.jpg": "made", "y.png": "kept"}
    assert capsys.readouterr() == ("", "")


def test_interrupted_it_shows_what_there_is_and_goes_on(
    album: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = command_batch.make

    def interrupted(config: Any) -> Any:
        if config.output.name == "b-x.jpg":
            raise KeyboardInterrupt
        return made(config)

    with monkeypatch.context() as patch:
        patch.setattr(command_batch, "make", interrupted)
        assert main(command()) == INTERRUPTED
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == "photostyle: interrupted; 1 of 3 pictures are done: the same command goes on"
    assert states() == {"a-x.jpg": "made", "b-x.jpg": "not begun", "y.png": "not begun"}
    assert summary()["ended"] == "interrupted" and Path("out/index.html").is_file()
    assert main(command()) == DONE
    assert states() == {"a-x.jpg": "kept", "b-x.jpg": "made", "y.png": "made"}


@pytest.mark.parametrize("moment", [pytest.param("_scores", marks=pytest.mark.slow), "encode_image"])
def test_a_signal_while_a_picture_is_finished_ends_the_batch_after_it(
    moment: str, album: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = scoring if moment == "_scores" else command_run
    real = getattr(place, moment)

    def interrupted(*given: Any, **named: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)
        return real(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(place, moment, interrupted)
        assert main(command("--metrics")) == INTERRUPTED
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == "photostyle: interrupted; 1 of 3 pictures are done: the same command goes on"
    assert main(command()) == DONE
    assert states() == {"a-x.jpg": "kept", "b-x.jpg": "made", "y.png": "made"}


@pytest.mark.slow
def test_nothing_that_is_not_the_batch_s_own_is_written_over(album: Path, capsys: Any) -> None:
    Path("out").mkdir()
    for name, said in (
        ("y.png", "out/y.png exists and is not the result of album/y.png"),
        ("y.json", "out/y.json exists and is no photostyle record"),
        ("index.html", "out/index.html exists and is of no batch here"),
        ("contact-sheet.jpg", "is of no batch here"),
        ("batch.json", "out/batch.json"),
    ):
        Path("out", name).write_bytes(b"{}")
        assert said in one_line(command(), capsys)
        assert [each.name for each in Path("out").iterdir()] == [name]
        Path("out", name).unlink()
    # Of another photograph.
    assert main(command()) == DONE
    shutil.copytree("album", "other")
    words = command(photos=("other/y.png",))
    assert main(words) == DONE, "what this folder's batch made it may replace"
    assert main(["run", "--content", "photo.jpg", *STYLE, "--masks", "none", "-o", "out/z.png"]) == DONE
    Image.open("photo.jpg").save("album/z.png")
    assert "out/z.png exists and is not the result of album/z.png" in one_line(command(), capsys)


def test_an_input_is_never_written_over(album: Path, capsys: Any) -> None:
    words = ["batch", "album/y.png", *STYLE, "-o", "album"]
    before = Path("album/y.png").read_bytes()
    assert "album/y.png is an input and would be overwritten" in one_line(words, capsys)
    assert Path("album/y.png").read_bytes() == before


def test_two_batches_do_not_work_in_one_folder(album: Path, capsys: Any) -> None:
    Path("out").mkdir()
    with alone_in(Path("out"), "batch"):
        assert "another photostyle command is at work in out" in one_line(command(), capsys)
    assert main(command()) == DONE


def test_a_csv_of_pairs_has_options_of_its_own(album: Path, capsys: Any) -> None:
    Path("pairs.csv").write_text(
        "content,style,strength,output\nalbum/y.png,sunset.jpg,,\nalbum/y.png,sunset.jpg,0.5,half.png\n"
        "album/a/x.jpg,photo.jpg|sunset.jpg,,\n",
        encoding="utf-8",
    )
    words = ["batch", "--pairs", "pairs.csv", "--preset", "instant", "-o", "out", "--strength", "1"]
    assert main(words) == DONE
    assert states() == {"y-sunset.png": "made", "half.png": "made", "x-photo.jpg": "made"}
    strengths = {
        name: read_record(Path("out", name))["config"]["strength"] for name in ("half.json", "y-sunset.json")
    }
    assert strengths == {"half.json": 0.5, "y-sunset.json": 1.0}
    assert main(words) == DONE and set(states().values()) == {"kept"}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("album/y.png,9", "pairs.csv, line 3: --size is 9"),
        ("album/y.png,large", "pairs.csv, line 3: "),
        ("album/gone.png,64", "pairs.csv, line 3: content album/gone.png does not exist"),
    ],
)
def test_a_bad_row_is_said_before_any_work(row: str, said: str, album: Path, capsys: Any) -> None:
    Path("pairs.csv").write_text(f"content,size\nalbum/a/x.jpg,64\n{row}\n", encoding="utf-8")
    assert said in one_line(["batch", "--pairs", "pairs.csv", *STYLE, "-o", "out"], capsys)
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["batch", *STYLE], "no photographs; give them before the options"),
        (["batch", "album/y.png"], "needs --style"),
        (["batch", "nowhere.jpg", *STYLE], "nowhere.jpg does not exist"),
        (["batch", "album", "--style", "nowhere.jpg"], "nowhere.jpg does not exist"),
        (["batch", "album", "--pairs", "p.csv", *STYLE], "--pairs is given beside album"),
        (["batch", "album", *STYLE, "--content", "photo.jpg"], "--content is given to photostyle batch"),
        (["batch", "album", *STYLE, "--animate", "x.gif"], "--animate is given to photostyle batch"),
        (["batch", "album", *STYLE, "--masks", "a.png", "b.png"], "--masks a.png is of one photograph"),
        (["batch", "album", *STYLE, "--consistant"], "did you mean --consistent?"),
        (["batch", "album", *STYLE, "--strenght", "1"], "did you mean --strength?"),
        (["batch", "album", *STYLE, "--cores", "2"], "--cores is of what runs on a cluster"),
        (["batch", "album", *STYLE, "--consistent", "--protect", "skin"], "--protect would not"),
        (["batch", "album", *STYLE, "--consistent", "--masks", "auto"], "have no common names"),
        (["batch", "album", *STYLE, "--output", "photo.jpg"], "photo.jpg is a file"),
        (["batch", "album", *STYLE, "--output", "loop"], "Too many levels of symbolic links"),
        (["batch", "album", "--style", "loop"], "loop cannot be read (Too many levels"),
    ],
)
def test_bad_input_is_one_line(words: list[str], said: str, album: Path, capsys: Any) -> None:
    Path("loop").symlink_to("loop")
    line = one_line(words, capsys)
    assert said in line and line.startswith("photostyle: ")


@pytest.mark.slow
def test_a_consistent_set_has_one_map_and_a_new_photograph_changes_it(album: Path, capsys: Any) -> None:
    assert main(command("--consistent")) == DONE
    looks = [json.loads(each.read_text(encoding="utf-8"))["look"] for each in Path("out").glob("[!b]*.json")]
    looks.append(json.loads(Path("out/b-x.json").read_text(encoding="utf-8"))["look"])
    assert looks == [summary()["look"]] * 3
    assert "is a record of photostyle 'batch --consistent'" in one_line(["rerun", "out/y.json"], capsys)
    Path("out/y.png").unlink()
    assert main(command("--consistent")) == DONE
    assert states() == {"a-x.jpg": "kept", "b-x.jpg": "kept", "y.png": "made"}
    assert "colours of the set" not in capsys.readouterr().err, "the look is known"
    Image.open("sunset.jpg").save("album/new.png")
    assert main(command("--consistent")) == DONE
    assert set(states().values()) == {"made"} and len(states()) == 4
    assert main(command()) == DONE
    assert set(states().values()) == {"made"}, "of its own look each"


@pytest.mark.slow
def test_crops_of_one_picture_join_without_a_seam(album: Path) -> None:
    Path("parts").mkdir()
    whole = Image.open("photo.jpg")
    for k, (left, top) in enumerate(((0, 0), (48, 0), (0, 32), (48, 32))):
        whole.crop((left, top, left + 48, top + 32)).save(f"parts/{k}.png")
    whole.save("parts/whole.png")
    assert main(command("--consistent", photos=("parts",))) == DONE
    parts = [pixels(f"out/{k}.png") for k in range(4)]
    joined = np.concatenate([np.concatenate(parts[:2], 1), np.concatenate(parts[2:], 1)])
    # Sums of float32 in another order may round to the next level.
    assert np.abs(joined - pixels("out/whole.png")).max() <= 1


class Unreadable(Hashes):
    def __init__(self) -> None:
        super().__init__()
        real = self.of

        def of(path: Path) -> str:
            if path.name == "bad.jpg":
                raise PhotostyleError(f"{path} cannot be read (Permission denied)")
            return real(path)

        self.of = of


@pytest.mark.slow
def test_a_photograph_that_cannot_be_read_is_no_part_of_the_look(
    album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("album/bad.jpg").write_bytes(b"no picture")
    assert main(command("--consistent")) == FAILED
    assert states()["bad.jpg"] == "failed" and states()["y.png"] == "made"
    assert main(command("--consistent")) == FAILED
    assert states()["bad.jpg"] == "failed" and states()["y.png"] == "kept"
    monkeypatch.setattr(command_batch, "Hashes", Unreadable)  # no right to read it
    assert main(command("--consistent")) == FAILED
    assert states()["bad.jpg"] == "failed" and states()["y.png"] == "made"


@pytest.mark.slow  # test_pool holds by default that a study and other tasks come out the same on processes
def test_on_processes_pictures_are_the_same(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(command("--threads", "1")) == DONE
    alone = {path.name: path.read_bytes() for path in Path("out").glob("*.[jp][pn]g")}
    shutil.rmtree("out")
    monkeypatch.setattr(command_batch, "_processes", lambda jobs: 2)
    assert main(command()) == DONE
    assert {path.name: path.read_bytes() for path in Path("out").glob("*.[jp][pn]g")} == alone | {
        "contact-sheet.jpg": Path("out/contact-sheet.jpg").read_bytes()
    }


@pytest.mark.slow
def test_workers_of_a_cluster_are_given_absolute_paths(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their working folder may be another, on another machine."""

    class Elsewhere(ThisProcess):
        description = "elsewhere"

        def _ended(self) -> tuple[Any, Any]:
            with contextlib.chdir("/"):
                return super()._ended()

    monkeypatch.setattr(command_batch, "open_pool", lambda *_, **__: Elsewhere())
    assert main(command("--cluster", "auto")) == DONE
    assert set(states().values()) == {"made"}
    assert main(command("--consistent", "--cluster", "auto")) == DONE
    assert set(states().values()) == {"made"}
    assert main(command("--consistent")) == DONE and set(states().values()) == {"kept"}


class Killing(ThisProcess):
    """Loses every worker that has the second task."""

    def finished(self) -> tuple[Any, Any]:
        key, value = super().finished()
        if key == 1:
            raise LostTask(key)
        return key, value


def test_a_photograph_that_kills_its_processes_is_one_that_failed() -> None:
    tasks = [Task(number, str, (number,)) for number in range(4)]
    found = dict(command_batch._results(Killing(), tasks))
    assert {key: found[key] for key in (0, 2, 3)} == {0: "0", 2: "2", 3: "3"}
    assert "its process was killed" in found[1].failure


def test_every_option_is_explained(capsys: Any) -> None:
    assert main(["batch", "--help"]) == DONE
    text = capsys.readouterr().out
    assert all(f"--{field.name}" in text for field in fields(BatchCommand) if field.name != "photos")


class Links(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attributes if name in ("src", "href")]


def test_every_link_of_the_page_is_a_file_beside_it(album: Path) -> None:
    Path("album/y.png").rename("album/ä <b> #1%.png")
    assert main(command()) == DONE
    links = Links(Path("out/index.html").read_text(encoding="utf-8")).found
    assert len(links) == 4 * 3 and all(Path("out", unquote(each)).is_file() for each in links)


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")
def test_a_browser_shows_the_pictures(album: Path, tmp_path: Path) -> None:
    assert main(command()) == DONE
    page = Path("out/index.html")
    text = page.read_text(encoding="utf-8").replace('loading="lazy"', "")
    probe = (
        "<script>onload=()=>document.title=[...document.images].map(i=>i.naturalWidth).join()</script></body>"
    )
    page.write_text(text.replace("</body>", probe), encoding="utf-8")
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--dump-dom",
    ]
    seen = subprocess.run(
        [str(BROWSER), *options, page.absolute().as_uri()], capture_output=True, timeout=HANGS
    )
    assert b"<title>" + b",".join([b"96"] * 6) + b"</title>" in seen.stdout


@pytest.mark.slow
def test_weights_are_read_once_for_all(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(narrow_vgg(), "vgg.pth")
    read, read_state = list[Path](), weight_files.read_state
    monkeypatch.setattr(weight_files, "read_state", lambda path: read.append(path) or read_state(path))
    solved = [*STYLE[:2], "--preset", "photoreal", "--weights", "vgg.pth", "--boldness", "1", "--size", "32"]
    solved += ["--iterations", "1", "1", "1", "--device", "cpu", "--no-metrics"]
    assert main(["batch", "album/a/x.jpg", "album/y.png", *solved, "-o", "out"]) == DONE
    assert len(read) == 1
    alone = [*solved, "--masks", "none", "--no-region-sheet", "-o", "alone.png"]
    assert main(["run", "--content", "album/y.png", *alone]) == DONE
    assert Path("alone.png").read_bytes() == Path("out/y.png").read_bytes()
    records = [read_record(Path(each)) for each in ("alone.json", "out/y.json")]
    assert records[0]["weights"] | {"relative": "../vgg.pth"} == records[1]["weights"]
    assert (
        records[0]["config"]["weights"] == records[1]["config"]["weights"] == str(Path("vgg.pth").absolute())
    )
    torch.save(narrow_vgg(seed=1), "vgg.pth")
    assert main(["batch", "album/a/x.jpg", "album/y.png", *solved, "-o", "out"]) == DONE
    assert len(read) == 3  # the run's own, and the new ones
    assert set(states().values()) == {"made"}
