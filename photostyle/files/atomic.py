"""Writing a file whole or not at all."""

import hashlib
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from photostyle.errors import ComputationError


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
