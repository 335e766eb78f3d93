"""Output that cannot be written costs nothing but itself."""

import errno
import io
import sys
from typing import Any

import pytest

from photostyle.cli.console import BAD_INPUT, DONE, FAILED, Ending, complain, exit_code, line
from photostyle.cli.program import main
from photostyle.cli.streams import Stream

ENDING = Ending("photostyle", "out of memory", "interrupted")


class Failing(io.StringIO):
    """A stream that takes nothing."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def write(self, text: str) -> int:
        raise OSError(self.number, "it fails")


def speak() -> int:
    print("to output")  # noqa: T201
    line("to error")
    return DONE


@pytest.mark.situation("a pipe that closes, a full disk behind it")
@pytest.mark.parametrize(
    ("output", "code"),
    [(Failing(errno.EPIPE), DONE), (Failing(errno.ENOSPC), FAILED), (None, DONE)],
    ids=["a reader who has seen enough", "a full disk", "closed"],
)
def test_output_that_fails(output: Any, code: int, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", output)
        assert exit_code(speak, ENDING) == code
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "to error" and len(said) == (2 if code else 1)
    assert code == DONE or said[1] == "photostyle: standard output cannot be written (it fails)"


@pytest.mark.parametrize("error", [Failing(errno.EPIPE), Failing(errno.ENOSPC), None])
def test_an_error_stream_that_fails_changes_nothing(
    error: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", error)
        assert exit_code(speak, ENDING) == DONE
        assert exit_code(lambda: complain("no", BAD_INPUT), ENDING) == BAD_INPUT
        assert main([]) == BAD_INPUT
    assert capsys.readouterr().out == "to output\n"


def test_a_closed_stream_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", closed)
        patch.setattr(sys, "stderr", closed)
        assert exit_code(speak, ENDING) == DONE


@pytest.mark.situation("a terminal that lacks a letter")
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_an_encoding_lacks_is_escaped(encoding: str) -> None:
    bytes_ = io.BytesIO()
    stream = Stream(io.TextIOWrapper(bytes_, encoding=encoding, write_through=True))
    stream.write("style ↓ caf\udce9\n")
    said = bytes_.getvalue().decode(encoding)
    assert stream.failure is None and said.startswith("style ") and said.endswith("caf\\udce9\n")


def test_it_is_a_terminal_where_the_stream_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    assert Stream(terminal).isatty() and not Stream(io.StringIO()).isatty() and not Stream(None).isatty()
