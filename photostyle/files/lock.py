"""One command at a time in a folder: a lock that ends with its process, however that ends."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from photostyle.errors import ComputationError, PhotostyleError

if sys.platform != "win32":
    import fcntl


@contextmanager
def alone_in(folder: Path, what: str, patience: float = 0.0) -> Iterator[None]:
    """Hold an existing folder for what is done in it ("batch"), by a file that is there meanwhile.

    Raises PhotostyleError where another process does that for longer than so many seconds. Where a file system has no
    locks, and on Windows, nothing is held.
    """
    path = lock_path(folder, what)
    descriptor = _held(path, folder, what, time.monotonic() + patience)
    try:
        yield
    finally:
        with suppress(OSError):  # while it is held: nobody else's
            path.unlink()
        os.close(descriptor)


def lock_path(folder: Path, what: str) -> Path:
    """The file of the lock."""
    return folder / f".photostyle-{what}.lock"


def _held(path: Path, folder: Path, what: str, deadline: float) -> int:
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise ComputationError(
                f"{path} cannot be written ({error.strerror}): check space and permissions"
            ) from error
        try:
            taken = _take(descriptor)
            if taken and os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except FileNotFoundError:  # another has ended, and its file with it, between the opening and the lock
            taken = True
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if not taken and time.monotonic() >= deadline:
            raise PhotostyleError(
                f"another photostyle command is at work in {folder}; wait for it, or choose another --output"
            )
        if not taken:
            time.sleep(0.01)


def _take(descriptor: int) -> bool:
    if sys.platform != "win32":
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks
            pass
    return True
