"""Reading what somebody else made: once, from a file or a pipe, and no more than any such file can be."""

import codecs
import json
import os
import select
import stat
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from photostyle.errors import PhotostyleError, one_line, shortened

# The most pixels that are read (decoding.MAX_PIXELS) with four channels of 16 bits, uncompressed, and as much again
# for what lies beside them.
MOST_BYTES = 2 * 8 * 178_956_970
MOST_TEXT = 1 << 20  # bytes of settings or a legend: all settings with a comment each are 10 kB
MOST_RECORD = 1 << 28  # bytes of a record: 300 for each evaluation, and no run has a hundred thousand
SILENCE = 30.0  # seconds without a byte after which nobody is taken to write into a pipe
_PART = 1 << 20  # bytes read at a time


def file_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """All of a file or of a pipe, opened and read once.

    Raises PhotostyleError where it cannot be read, holds more than `most` bytes, is a folder or a device, or is a pipe
    into which nobody writes.
    """
    try:
        # A named pipe that nobody has opened for writing would be waited for without an end.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise PhotostyleError(f"{path} does not exist: check the name") from None
    except IsADirectoryError:
        raise _folder(path) from None
    except OSError as error:
        if path_is_dir(path):
            raise _folder(path) from None
        raise _unreadable(path, error.strerror) from None
    except ValueError as error:  # a null byte in the name
        raise _unreadable(path, one_line(error)) from None
    try:
        return _all_of(path, handle, most)
    except OSError as error:
        raise _unreadable(path, error.strerror) from None
    finally:
        os.close(handle)


def path_is_dir(path: Path) -> bool:
    """Whether there is a folder; False too where the system refuses to say: names too long, folders not to enter."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def path_is_file(path: Path) -> bool:
    """Whether there is an ordinary file; False too where the system refuses to say."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def path_exists(path: Path) -> bool:
    """Whether there is anything; False too where the system refuses to say."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def real_path(path: Path) -> Path:
    """Where a path leads when every link is followed; a loop of links leads to itself."""
    return Path(os.path.realpath(path))  # Path.resolve raises for a loop before Python 3.13


def check_folder(path: Path, of: str) -> None:
    """Raise PhotostyleError where a path is no folder that can be looked into. of: what it should hold."""
    if path_is_dir(path):
        return
    try:
        path.stat()
        what = "is a file"
    except (FileNotFoundError, NotADirectoryError):
        what = "does not exist"
    except (OSError, ValueError) as error:
        what = f"cannot be read ({(isinstance(error, OSError) and error.strerror) or one_line(error)})"
    raise PhotostyleError(f"{path} {what}; expected a folder of {of}: check the name")


def parsed_toml(path: Path, data: bytes | str) -> dict[str, Any]:
    """A TOML file's table, with or without a byte order mark. Raises PhotostyleError, one line."""
    table: dict[str, Any] = _parsed(path, data, tomllib.loads, "TOML file")
    return table


def parsed_json(path: Path, data: bytes | str) -> object:
    """What a JSON file holds, with or without a byte order mark. Raises PhotostyleError, one line."""
    return _parsed(path, data, json.loads, "JSON file")


def _parsed(path: Path, data: bytes | str, parse: Callable[[str], Any], kind: str) -> Any:
    try:
        return parse(text_of(data) if isinstance(data, bytes) else data)
    except RecursionError:
        raise PhotostyleError(f"{path} is no {kind} (nested too deeply): correct it") from None
    except ValueError as error:  # not UTF-8, not of this form, or a number of thousands of digits
        raise PhotostyleError(f"{path} is no {kind} ({shortened(error)}): correct it") from None


def text_of(data: bytes) -> str:
    """UTF-8, or UTF-16 where its byte order mark stands first, as some editors and shells of Windows write.

    Raises UnicodeDecodeError.
    """
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if wide else "utf-8-sig")


def _all_of(path: Path, handle: int, most: int) -> bytes:
    status = os.fstat(handle)
    if stat.S_ISDIR(status.st_mode):
        raise _folder(path)
    if stat.S_ISREG(status.st_mode):
        if status.st_size > most:
            raise _too_large(path, most)
        data = _in_parts(handle, most)  # at once, Python would take memory for the most
    elif stat.S_ISFIFO(status.st_mode) or stat.S_ISSOCK(status.st_mode):
        data = _from_pipe(path, handle, most)
    else:
        raise PhotostyleError(f"{path} is a device; expected a file: name one")
    if len(data) > most:
        raise _too_large(path, most)
    return data


def _from_pipe(path: Path, handle: int, most: int) -> bytes:
    ready = select.poll()
    ready.register(handle, select.POLLIN)

    def wait() -> None:
        if not ready.poll(SILENCE * 1000):
            raise PhotostyleError(
                f"{path} is a pipe into which nothing was written for {SILENCE:.0f} seconds: write a file into it"
            )

    return _in_parts(handle, most, wait)


def _in_parts(handle: int, most: int, wait: Callable[[], None] = lambda: None) -> bytes:
    """To the end, or to more than the most; wait comes before each part."""
    parts, size = list[bytes](), 0
    while size <= most:
        wait()
        part = os.read(handle, _PART)
        if not part:
            break
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def _folder(path: Path) -> PhotostyleError:
    return PhotostyleError(f"{path} is a folder; expected a file: name one inside it")


def _unreadable(path: Path, why: str | None) -> PhotostyleError:
    return PhotostyleError(f"{path} cannot be read ({why}): check its name and permissions")


def _too_large(path: Path, most: int) -> PhotostyleError:
    return PhotostyleError(f"{path} has more than {most:,} bytes, more than any such file: name another")
