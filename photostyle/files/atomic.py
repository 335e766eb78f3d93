"""Writing a file whole or not at all."""

import hashlib
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from photostyle.errors import ComputationError, PhotostyleError


def check_place(path: Path) -> None:
    """Refuse, before any work, a file that could not be written: a folder stands there, or its own is none to write in.

    Raises PhotostyleError.
    """
    folder = path.parent
    if path.is_dir():
        raise PhotostyleError(f"{path} is a folder; expected a file to write: name a file inside it")
    if not folder.is_dir():
        raise PhotostyleError(
            f"{path} cannot be written: the folder {folder} does not exist: create it first"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PhotostyleError(f"{path} cannot be written: the folder {folder} is read-only: choose another")


def write_bytes_atomically(path: Path, data: bytes) -> str:
    """Write a file whole or not at all; returns its SHA-256. Raises ComputationError where the disk fails."""
    write_atomically(path, lambda beside: beside.write_bytes(data))
    return hashlib.sha256(data).hexdigest()


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let a function write a file beside the path, which is flushed to disk and then renamed.

    Whatever fails, the old file survives and nothing is left beside it. A symbolic link stays one and its target is
    replaced. Raises ComputationError where the disk fails.
    """
    target = path.resolve()
    beside = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        write(beside)
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        beside.replace(target)
    except OSError as error:
        raise ComputationError(
            f"{path} cannot be written ({error.strerror}): check space and permissions"
        ) from error
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
