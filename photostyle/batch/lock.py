"""One batch at a time in a folder: a lock that ends with its process, however that ends."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from photostyle.errors import ComputationError, PhotostyleError

if sys.platform != "win32":
    import fcntl

NAME = ".photostyle-batch.lock"


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold an existing folder for a batch. Raises PhotostyleError where another process does.

    Where a file system has no locks, and on Windows, nothing is held.
    """
    path = folder / NAME
    descriptor = _held(path, folder)
    try:
        yield
        with suppress(OSError):  # while it is held: nobody else's
            path.unlink()
    finally:
        os.close(descriptor)


def _held(path: Path, folder: Path) -> int:
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise ComputationError(
                f"{path} cannot be written ({error.strerror}): check space and permissions"
            ) from error
        try:
            _take(descriptor, folder)
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(
            descriptor
        )  # another batch has ended, and its file with it, between the opening and the lock


def _take(descriptor: int, folder: Path) -> None:
    if sys.platform == "win32":
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise PhotostyleError(
            f"another photostyle batch is at work in {folder}; wait for it, or choose another --output"
        ) from None
    except OSError:  # a file system without locks
        return
