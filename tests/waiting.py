"""Waiting for what has to happen, whatever else the machine does; and an address at which nobody answers."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Seconds after which something hangs rather than works. It bounds a broken test and measures nothing: a process that
# imports torch took 22 s to start on a busy machine of two cores.
HANGS = 300


def until(happened: Callable[[], object], what: str = "what was waited for") -> None:
    """Look a hundred times a second until it has happened; fails when it does not in HANGS seconds."""
    deadline = time.monotonic() + HANGS
    while not happened():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.01)


@contextmanager
def closed_port() -> Iterator[int]:
    """A port of this machine that refuses connections, and that no other process can open meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound and not listened at
        yield held.getsockname()[1]
