"""Ctrl-C and SIGTERM: one line before anything is begun, KeyboardInterrupt in the work, at once the second time."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from waiting import HANGS

from photostyle.cli import signals

NUMBERS = [*signals.SIGNALS]
pytestmark = pytest.mark.usefixtures("as_in_a_terminal")


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_is_a_keyboard_interrupt_and_afterwards_what_it_was(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), signals.interruptible():
        signal.raise_signal(number)
        pytest.fail("it went on")
    assert signal.getsignal(number) == before


def test_what_is_ignored_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # nohup, a job in the background
    with signals.interruptible():
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("number", NUMBERS)
def test_held_it_waits_and_is_told_of(number: signal.Signals, capfd: pytest.CaptureFixture[str]) -> None:
    with signals.interruptible():
        signals.hold()
        assert not signals.release()
        signals.hold()
        signal.raise_signal(number)
        assert signals.release() and not signals.release()
    assert "the picture is being finished" in capfd.readouterr().err


@pytest.mark.parametrize("number", NUMBERS)
def test_what_a_callback_swallows_comes_again(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    """Numba's loader of compiled code calls back from C, where an exception is printed and forgotten."""
    with pytest.raises(KeyboardInterrupt), signals.interruptible():
        ctypes.CFUNCTYPE(None)(lambda: signal.raise_signal(number))()
        time.sleep(HANGS)
    assert capsys.readouterr().err == ""


def test_a_training_is_asked_to_stop_and_an_echo_asks_nothing_more(capfd: pytest.CaptureFixture[str]) -> None:
    with signals.interruptible(), signals.stop_asked() as stop:
        assert not stop()
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert stop()
    assert capfd.readouterr().err.count("it ends with its next checkpoint") == 1
    with signals.stop_asked() as stop:
        assert not stop(), "nobody takes signals here"


def test_an_echo_of_the_first_signal_is_no_second_one() -> None:
    with signals.interruptible():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)


SECOND = """
import signal
from photostyle.cli import signals
with signals.interruptible():
    try:
        signal.raise_signal(signal.SIGTERM)
    except KeyboardInterrupt:
        signals.ECHO = -1.0
        signal.raise_signal(signal.SIGINT)
    print("it went on")
"""
UNBEGUN = """
import signal
from photostyle.cli import signals
with signals.nothing_begun():
    signal.raise_signal(signal.SIGINT)
    print("it went on")
"""


@pytest.mark.parametrize(
    ("script", "said"), [(SECOND, "ended at once"), (UNBEGUN, "interrupted before anything was begun")]
)
def test_it_ends_in_one_line(script: str, said: str, root: Path) -> None:
    before = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    ended = subprocess.run(
        [sys.executable, "-c", before + script], cwd=root, capture_output=True, text=True, timeout=HANGS
    )
    assert ended.returncode == signals.INTERRUPTED and not ended.stdout
    (line,) = ended.stderr.strip().splitlines()
    assert line.startswith("photostyle: ") and said in line


@pytest.mark.slow
@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_during_imports_is_one_line(number: signal.Signals, root: Path) -> None:
    for wait in (0.2, 0.5, 1.0):
        command = "from photostyle.cli import main; print('imported', flush=True); main(['run'])"
        before = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        with subprocess.Popen(
            [sys.executable, "-c", before + command],
            cwd=root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(root)},
        ) as process:
            assert process.stdout is not None and process.stdout.readline()
            time.sleep(wait)
            process.send_signal(number)
            _, said = process.communicate(timeout=HANGS)
        assert "Traceback" not in said and len(said.strip().splitlines()) <= 1
