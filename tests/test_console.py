"""What the commands say, to terminals and pipes of any kind."""

import io
import json
import sys
from pathlib import Path

import pytest

from photostyle.cli.console import (
    BAD_INPUT,
    CLOSED,
    FAILED,
    Ending,
    complain,
    exit_code,
    line,
    write_anywhere,
)
from photostyle.cli.outputs import refuse_to_overwrite
from photostyle.cli.program import main
from photostyle.config import Config
from photostyle.errors import PhotostyleError
from photostyle.evaluation.records import read_record, write_record
from photostyle.evaluation.reports import _table

ENDING = Ending("photostyle", out_of_memory="", interrupted="")


def test_a_line_is_a_line_whatever_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert complain("a\nb\x1b[31m.png is wrong", BAD_INPUT) == BAD_INPUT
    assert capsys.readouterr().err == "photostyle: a\\nb\\x1b[31m.png is wrong\n"
    assert "\x1b" not in _table(("name",), [("\x1b[2J",)])


def test_a_terminal_of_another_encoding_gets_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", narrow)
    write_anywhere()
    sys.stdout.write("MSE ↓")
    sys.stdout.flush()
    assert narrow.buffer.getvalue() == b"MSE \\u2193"  # type: ignore[attr-defined]


def test_nobody_to_tell_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    line("nothing")
    with Path("/dev/null").open() as closed:  # not to be written
        monkeypatch.setattr(sys, "stderr", closed)
        line("nothing")


def test_a_reader_who_has_gone_and_a_full_disk_are_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def raising(error: OSError) -> int:
        raise error

    monkeypatch.setattr("photostyle.cli.console._forget_output", lambda: None)
    assert exit_code(lambda: raising(BrokenPipeError(32, "Broken pipe")), ENDING) == CLOSED
    assert exit_code(lambda: raising(OSError(28, "No space left on device")), ENDING) == FAILED
    with pytest.raises(OSError, match="somebody's"):  # a file's own error is not taken for the output's
        exit_code(lambda: raising(OSError(28, "No space", "somebody's.png")), ENDING)


@pytest.mark.parametrize("word", ["y" * 300 + ".png", "a\0b.png", "y" * 300])
def test_a_name_that_cannot_be_is_a_line(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word, word]) == BAD_INPUT
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("name", [".", "z" * 251 + ".png"])
def test_a_record_must_have_a_name_too(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PhotostyleError, match=r"names no file|more than the"):
        refuse_to_overwrite(Config(content=Path("a.png"), style=(Path("b.png"),), output=Path(name)))


def test_a_record_holds_names_that_are_no_text(tmp_path: Path) -> None:
    file = {"path": "caf\udce9.png", "sha256": ""}
    record = {
        "photostyle": {"format": 1, "version": "0"},
        "ended": "done",
        "config": {},
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
