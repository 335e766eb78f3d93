"""Writing a file whole or not at all."""

import hashlib
import os
import secrets
from contextlib import suppress
from pathlib import Path

from photostyle.errors import ComputationError


def write_bytes_atomically(path: Path, data: bytes) -> str:
    """Write a file whole or not at all: to a file beside it, flushed to disk, then renamed. Returns its SHA-256.

    Whatever fails, the old file survives and nothing is left beside it. A symbolic link stays one and its target is
    replaced. Raises ComputationError where the disk fails.
    """
    target = path.resolve()
    beside = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with beside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
    except OSError as error:
        raise ComputationError(
            f"{path} cannot be written ({error.strerror}): check space and permissions"
        ) from error
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
    return hashlib.sha256(data).hexdigest()
