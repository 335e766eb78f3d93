"""What Ctrl-C and SIGTERM do: end a process that has not begun, end the work with what there is, and end at once.

Both signals mean the same, and so does that of a terminal that is closed. Nothing here waits for torch to be imported.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType

INTERRUPTED = 130  # the shell's exit code of a command that SIGINT ended
SIGNALS = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))
# Seconds in which a second signal is the first one's echo: `timeout` sends to the process and then to its whole group.
ECHO = 0.5
AGAIN = 0.05  # seconds after which a signal is sent once more that a callback has swallowed


class _Interrupts:
    """Takes the signals. The first raises KeyboardInterrupt, or waits where it is held; the next ends the process."""

    def __init__(self, begun: bool) -> None:
        """begun: whether there is any work that could end with what it has."""
        self.begun, self.held, self.waits = begun, False, False
        self.meanwhile = ""  # what is done while a signal is held
        self.first: float | None = None
        self.number = signal.SIGINT

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.begun:
            _leave("interrupted before anything was begun")
        if self.first is not None:
            if now - self.first > ECHO:
                _leave("ended at once; every file that was there is whole")
            return
        self.first, self.number = now, signal.Signals(number)
        if not self.held:
            raise KeyboardInterrupt
        self.waits = True
        _say(f"interrupted: {self.meanwhile}; once more ends at once")

    def again(self) -> None:
        """What it raised went nowhere: it came in the middle of a destructor, or of a callback from C."""
        self.first = None
        threading.Timer(AGAIN, os.kill, (os.getpid(), self.number)).start()


@contextmanager
def nothing_begun() -> Iterator[None]:
    """For the time of imports, which would end in their own traceback, or not at all: a signal ends the process."""
    with _taken_by(_Interrupts(begun=False)):
        yield


@contextmanager
def interruptible() -> Iterator[None]:
    """For the time of a command: the first signal raises KeyboardInterrupt, a second one ends the process."""
    taker, others = _Interrupts(begun=True), sys.unraisablehook

    def unraisable(what: "sys.UnraisableHookArgs") -> None:
        if isinstance(what.exc_value, KeyboardInterrupt):
            taker.again()
        elif taker.first is None:  # after a signal also what it has cut in the making, and cannot be unmade
            others(what)

    with _taken_by(taker):
        sys.unraisablehook = unraisable
        try:
            yield
        finally:
            sys.unraisablehook = others


def hold(meanwhile: str = "the picture is being finished") -> None:
    """Let a first signal wait until `release`: there is something to finish, and it takes seconds."""
    if taker := _taker():
        taker.held, taker.meanwhile = True, meanwhile


def release() -> bool:
    """Signals are taken again as they come; whether one has come since `hold`."""
    taker = _taker()
    if taker is None:
        return False
    waits, taker.held, taker.waits = taker.waits, False, False
    return waits


@contextmanager
def held() -> Iterator[None]:
    """Let a first signal wait until the end of the block, however that ends; then it raises KeyboardInterrupt."""
    hold()
    try:
        yield
    finally:
        if release():
            raise KeyboardInterrupt


def came() -> bool:
    """Whether a first signal has come, also where what it interrupted was no more than a part of the work."""
    taker = _taker()
    return taker is not None and taker.first is not None


@contextmanager
def stop_asked() -> Iterator[Callable[[], bool]]:
    """For the time of a training: a function that tells whether a signal has asked it to stop, with a checkpoint."""
    hold("it ends with its next checkpoint")
    try:
        yield lambda: (taker := _taker()) is not None and taker.waits
    finally:
        release()


@contextmanager
def _taken_by(taker: _Interrupts) -> Iterator[None]:
    """Only in the main thread can signals be taken; who ignores one, or takes it themselves, keeps it."""
    with ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():
            for each in SIGNALS:
                before = signal.getsignal(each)
                if before in (signal.SIG_DFL, signal.default_int_handler) or isinstance(before, _Interrupts):
                    signal.signal(each, taker)
                    stack.callback(signal.signal, each, before)
        yield


def _taker() -> _Interrupts | None:
    return next((each for each in map(signal.getsignal, SIGNALS) if isinstance(each, _Interrupts)), None)


def _say(text: str) -> None:
    # Straight to the file: the interpreter may be in the middle of a line of its own.
    with suppress(OSError):
        os.write(2, f"\nphotostyle: {text}\n".encode())


def _leave(text: str) -> None:
    _say(text)
    os._exit(INTERRUPTED)
