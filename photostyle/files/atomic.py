"""Writing files whole or not at all, and several of them so that it can be told which belong together.

Also temporary folders, which are as sure to be removed as temporary files are.
"""

import hashlib
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from photostyle.errors import ComputationError, PhotostyleError
from photostyle.files.reading import real_path

if sys.platform != "win32":
    import fcntl

# What a file or folder that is being written is called. Who writes it holds a lock on it: one without is nobody's.
PREFIX, SUFFIX = ".photostyle-", ".tmp"
# Seconds to wait for whoever renames files in the same folder, which takes milliseconds; a stopped process may keep
# the lock for ever, and then it is better to go on without: what belongs together can be told by its SHA-256.
PATIENCE = 5.0


def check_place(path: Path) -> None:
    """Refuse, before any work, a file that could not be written: a folder stands there, or its own is none to write in.

    Raises PhotostyleError.
    """
    folder = real_path(path).parent if path.is_symlink() else path.parent
    if path.is_dir():
        raise PhotostyleError(f"{path} is a folder; expected a file to write: name a file inside it")
    if not folder.is_dir():
        raise PhotostyleError(
            f"{path} cannot be written: the folder {folder} does not exist: create it first"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PhotostyleError(f"{path} cannot be written: the folder {folder} is read-only: choose another")


def write_bytes_atomically(path: Path, data: bytes) -> str:
    """Write a file whole or not at all, as `write_together`. Returns its SHA-256."""
    write_together({path: data})
    return hashlib.sha256(data).hexdigest()


def write_together(files: Mapping[Path, bytes], provided: Callable[[], bool] = lambda: True) -> bool:
    """Write files, each whole or not at all: beside their places, flushed to disk, then renamed in the given order.

    A full disk shows before anything is touched: the old files survive and nothing is left beside them. Only a process
    that is killed leaves some of the new files beside some of the old ones, the first of the new ones always among
    them, and what it was writing, which the next one that writes into the folder removes. Of two processes that write
    the same files the last one's stay, all of them. A symbolic link stays one and its target is replaced.

    provided: asked while no other process can rename files there; where it says no, nothing is put in place.
    Returns what it said. Raises ComputationError where the disk fails.
    """
    targets = {path: real_path(path) for path in files}
    folders = list(dict.fromkeys(target.parent for target in targets.values()))
    for folder in folders:
        _remove_what_is_nobodys(folder)
    with ExitStack() as stack:
        written = dict[Path, Path]()
        # The last first: it is the largest, which a full disk is the first to have no room for.
        for path in reversed([*files]):
            with _failing(path):
                written[path] = stack.enter_context(_written_beside(targets[path], files[path]))
        for folder in sorted(folders):
            stack.enter_context(_alone_in(folder))
        if not provided():
            return False
        for path, target in targets.items():
            with _failing(path):
                written[path].replace(target)
        for folder in folders:
            _flush(folder)
    return True


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let a function write a file beside the path, which is flushed to disk and then renamed, as `write_together`.

    For what is too large to be held in memory once more. Raises ComputationError where the disk fails.
    """
    target = real_path(path)
    _remove_what_is_nobodys(target.parent)
    with _failing(path), _written_beside(target, b"") as beside:
        write(beside)
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        beside.replace(target)
    _flush(target.parent)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for what need not last, removed with it; before that, those of processes that were killed."""
    _remove_what_is_nobodys(Path(tempfile.gettempdir()))
    folder, descriptor = _new_folder()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


@contextmanager
def _failing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ComputationError(
            f"{path} cannot be written ({error.strerror}): check space and permissions"
        ) from error


@contextmanager
def _written_beside(target: Path, data: bytes) -> Iterator[Path]:
    """A locked file with the data in the target's folder; what is not renamed by the end of the block is removed."""
    beside, file = _new_file(target.parent)
    try:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        if sys.platform == "win32":
            file.close()  # where an open file cannot be renamed
        yield beside
    finally:
        # The name first: a file that is closed is nobody's.
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        with suppress(OSError):  # a full disk once more
            file.close()


def _new_file(folder: Path) -> tuple[Path, BinaryIO]:
    while True:
        beside = folder / f"{PREFIX}{secrets.token_hex(8)}{SUFFIX}"
        file = beside.open("xb")
        _lock(file.fileno())
        with suppress(FileNotFoundError):
            if os.path.samestat(beside.stat(), os.fstat(file.fileno())):
                return beside, file
        file.close()  # another process took it for nobody's, between its making and its lock


def _new_folder() -> tuple[Path, int | None]:
    while True:
        folder = Path(tempfile.mkdtemp(SUFFIX, PREFIX))
        descriptor = _opened(folder)
        if descriptor is None:  # a system that opens no folders, and so removes none
            return folder, None
        _lock(descriptor, PATIENCE)
        if folder.is_dir():
            return folder, descriptor
        os.close(descriptor)  # as in _new_file


def _remove_what_is_nobodys(folder: Path) -> None:
    """Remove what processes that are gone were writing: the lock of a process ends with it, however it ends."""
    for path in _left_in(folder):
        descriptor = _opened(path)
        if descriptor is None:
            continue
        try:
            with suppress(OSError):
                if _lock(descriptor):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        finally:
            os.close(descriptor)


def _left_in(folder: Path) -> Iterable[Path]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries]
    except OSError:  # a folder may be written in and not be read
        return []
    return [folder / name for name in names if name.startswith(PREFIX) and name.endswith(SUFFIX)]


def _lock(descriptor: int, patience: float = 0.0) -> bool:
    """Whether a file or folder could be locked within so many seconds, until it is closed."""
    if sys.platform == "win32":
        return False
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:  # held by another process
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.01)
        except OSError:  # a file system without locks
            return False


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Let no other process rename files in a folder meanwhile, as far as it can be had."""
    descriptor = _opened(folder)
    if descriptor is None:
        yield
        return
    try:
        _lock(descriptor, PATIENCE)
        yield
    finally:
        os.close(descriptor)


def _flush(folder: Path) -> None:
    """Let names survive a loss of power too, where folders can be flushed."""
    descriptor = _opened(folder)
    if descriptor is None:
        return
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _opened(folder: Path) -> int | None:
    try:
        return os.open(folder, os.O_RDONLY)
    except OSError:  # no right to read it, or a system that opens no folders
        return None
