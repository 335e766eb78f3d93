"""What the commands say, to terminals and pipes of any kind."""

import json
import os
import re
import sys
from pathlib import Path

import pytest

from photostyle.cli import console, program
from photostyle.cli.console import BAD_INPUT, FAILED, Ending, complain, exit_code, line, tell
from photostyle.cli.outputs import refuse_to_overwrite
from photostyle.cli.program import ENDING, main
from photostyle.config import Config
from photostyle.errors import PhotostyleError
from photostyle.evaluation.records import read_record, write_record
from photostyle.evaluation.reports import _table


def test_a_line_is_a_line_whatever_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert complain("a\nb\x1b[31m.png is wrong", BAD_INPUT) == BAD_INPUT
    assert capsys.readouterr().err == "photostyle: a\\nb\\x1b[31m.png is wrong\n"
    assert "\x1b" not in _table(("name",), [("\x1b[2J",)])


def test_nobody_to_tell_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    line("nothing")
    with Path("/dev/null").open() as closed:  # not to be written
        monkeypatch.setattr(sys, "stderr", closed)
        line("nothing")


def test_what_the_system_refuses_is_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ending = Ending("photostyle", "", "")

    def full() -> int:
        raise OSError(24, "Too many open files")

    def bug() -> int:
        raise OSError("of no system call")

    assert exit_code(lambda: len((tmp_path / "a").read_bytes()), ending) == BAD_INPUT
    assert exit_code(full, ending) == FAILED
    assert capsys.readouterr().err.splitlines() == [
        f"photostyle: {tmp_path / 'a'} cannot be used (No such file or directory): check its name and permissions",
        "photostyle: Too many open files: check space and limits",
    ]
    with pytest.raises(OSError, match="of no system call"):
        exit_code(bug, ending)


@pytest.mark.parametrize("word", ["y" * 300 + ".png", "a\0b.png", "y" * 300])
@pytest.mark.situation("names too long, folders as files")
def test_a_name_that_cannot_be_is_a_line(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word, word]) == BAD_INPUT
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("name", [".", "z" * 251 + ".png"])
def test_a_record_must_have_a_name_too(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PhotostyleError, match=r"names no file|more than the"):
        refuse_to_overwrite(Config(content=Path("a.png"), style=(Path("b.png"),), output=Path(name)))


@pytest.mark.parametrize("name", [".", "/", "", "y" * 300 + ".png", "z" * 246 + ".png"])
@pytest.mark.parametrize("words", ["stylise a.png --style a.png -o", "recognise", "recognise a.png", "score"])
@pytest.mark.situation("names too long, folders as files")
def test_a_name_that_no_picture_can_have_is_a_line(
    words: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*words.split(), name]) == BAD_INPUT
    assert capsys.readouterr().err.count("\n") == 1


def test_what_the_system_refuses_by_name_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever asks it first, before anything has looked at the name."""
    assert exit_code(lambda: os.stat("y" * 300).st_size, ENDING) == BAD_INPUT  # noqa: PTH116
    assert "cannot be used (File name too long)" in capsys.readouterr().err


@pytest.mark.situation("a file name that is no UTF-8")
def test_a_record_holds_names_that_are_no_text(tmp_path: Path) -> None:
    file = {"path": "caf\udce9.png", "sha256": ""}
    record = {
        "photostyle": {"format": 1, "version": "0"},
        "ended": "done",
        "config": {"content": "a.png", "style": "b.png"},
        "environment": {"threads": 1},
        "inputs": {"content": file},
        "stages": [],
        "output": file,
    }
    write_record(tmp_path / "a.json", record)
    assert read_record(tmp_path / "a.json") == record
    for name in ("ended", "config", "environment", "inputs", "stages", "output"):
        for wrong in (None, 3, ["x"] if name != "stages" else {}):
            (tmp_path / "b.json").write_text(json.dumps(record | {name: wrong}), encoding="utf-8")
            with pytest.raises(PhotostyleError, match="no whole record"):
                read_record(tmp_path / "b.json")
    for wrong in ({"content": 3}, {"style": [3]}, {"style": None}, {"masks": "none"}):
        config = {"config": record["config"] | wrong}
        (tmp_path / "b.json").write_text(json.dumps(record | config), encoding="utf-8")
        with pytest.raises(PhotostyleError, match="its configuration has"):
            read_record(tmp_path / "b.json")


def test_no_escape_of_a_name_reaches_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    tell("one\ntwo", Path("a\x1b]0;title\x07.png"), "–")
    assert capsys.readouterr().out == "one\ntwo\na\\x1b]0;title\\x07.png\n–\n"


def test_commands_print_through_it_alone() -> None:
    """What else prints: usage, the version and the terminal's own progress."""
    folder = Path(console.__file__).parent
    printing = {
        file.name for file in folder.glob("*.py") if re.search(r"(?<![\w.])print\(", file.read_text())
    }
    assert printing == {"console.py", "program.py", "terminal.py"}


@pytest.mark.situation("another program's MPLBACKEND")
def test_a_library_that_another_variable_keeps_from_loading_is_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As torch does where TORCH_LOGS names nothing that it knows."""
    (tmp_path / "library_that_fails.py").write_text("raise ValueError('Invalid log settings:\\n\\nnope')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(program.COMMANDS, "run", ("library_that_fails", "run"))
    assert main(["run"]) == FAILED
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "ValueError: Invalid log settings: nope" in said
