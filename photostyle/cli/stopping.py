"""Ctrl-C and SIGTERM as a request: a training ends at its next batch, with a checkpoint; the second ends it at once."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from photostyle.cli.signals import ECHO, SIGNALS


@contextmanager
def stop_asked(say: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """For the time of a block: a function that tells whether to stop. The signals' own handlers are put back after.

    A signal that is ignored, as under nohup, stays so.
    """
    asked: list[float] = []

    def ask(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if asked:
            if now - asked[0] > ECHO:
                raise KeyboardInterrupt
            return
        asked.append(now)
        say("stopping at the next batch; once more to stop at once, without a checkpoint")

    before = {
        number: signal.signal(number, ask)
        for number in SIGNALS
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
